"""The commands of `byoc`, by what they are about. Heavy imports wait until a command runs."""
