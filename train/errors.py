"""Failures that a person can understand and act upon."""


class TrainingError(Exception):
    """Ends the job. The text is one sentence: what is wrong, with which value, and what to do about it."""
