"""The debugger's hook and the profiler, as the training loop sees them: one `Monitor`."""

from train.debug.monitor import Monitor

__all__ = ["Monitor"]
