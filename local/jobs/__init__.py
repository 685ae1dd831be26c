"""Runs what the control plane's documents describe: training jobs, tuning jobs, endpoints, rules."""
