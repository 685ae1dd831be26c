"""The pages: what is shown of one job, of several, of a tuning job, in which order and in which words."""
