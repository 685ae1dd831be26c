"""The commands of `byoc`, by topic. Heavy imports wait until a command runs."""
