"""Runs what the control plane's documents describe: training jobs, tuning jobs, endpoints, rules."""

from local.jobs.engine import Engine

__all__ = ["Engine"]
