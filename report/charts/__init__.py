"""The figures of the report: each function makes one, and none where the job has nothing to draw."""
