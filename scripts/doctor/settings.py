"""byoc.toml is read strictly already; here the trainer's definitions judge what is meant for it."""

from __future__ import annotations

from scripts import account
from scripts.doctor.finding import Finding
from scripts.settings import Settings


def settings(chosen: Settings) -> Finding:
    account.check_hyperparameters(chosen.hyperparameters)
    account.check_tuning(chosen)
    account.check_debugger(chosen)
    account.check_debugger(chosen, trial=True)
    return Finding("settings", "ok", "byoc.toml, hyperparameters, ranges and rules are valid")
