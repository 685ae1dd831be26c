"""The tables of docs/aws.md, from the policies: `python -m scripts.policies.table` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scripts.policies.grants import Grant
from scripts.policies.jobs import jobs
from scripts.policies.names import Names
from scripts.policies.user import administrator, user
from scripts.settings import load

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "aws.md"
_MARK: Final = "<!-- {name}: written by `python -m scripts.policies.table` -->"
_END: Final = "<!-- end -->"
_KEY: Final = ("aws.kms_key=alias/mine",)
_VPC: Final = ('aws.subnets=["subnet-1"]', 'aws.security_groups=["sg-1"]')


def tables() -> dict[str, str]:
    """Each table by its name."""
    return {
        "user": _table("command", _rows(user(_names())), _extra()),
        "setup": _table("command", _rows(administrator(_names())), []),
        "role": _table("for", _rows(jobs(_names())), []),
    }


def _names(*overrides: str) -> Names:
    settings = load(required=False, overrides=overrides, environment={})
    return Names(settings, "aws", "us-east-1", "123456789012")


def _rows(grants: Iterable[Grant]) -> dict[str, dict[str, bool]]:
    """User → action → whether all that use it do without."""
    rows: dict[str, dict[str, bool]] = {}
    for each in grants:
        for name in each.users:
            for action in each.actions:
                actions = rows.setdefault(name, {})
                actions[action] = actions.get(action, True) and each.optional
    return dict(sorted(rows.items()))


def _extra() -> list[tuple[str, dict[str, bool]]]:
    """Rows for what is needed only where a setting is set."""
    plain = {action for each in user(_names()) for action in each.actions}
    rows = []
    for name, overrides in (("with `aws.kms_key`", _KEY), ("with `aws.subnets`", _VPC)):
        more = [each for each in user(_names(*overrides)) if not plain & {*each.actions}]
        merged: dict[str, bool] = {}
        for actions in _rows(more).values():
            for action, optional in actions.items():
                merged[action] = merged.get(action, True) and optional
        rows.append((name, merged))
    return rows


def _table(head: str, rows: dict[str, dict[str, bool]], extra: Iterable[tuple[str, dict[str, bool]]]) -> str:
    lines = [f"| {head} | actions |", "|---|---|"]
    same: dict[str, list[str]] = {}
    for name, actions in rows.items():
        same.setdefault(_cell(actions), []).append(f"`{name}`" if head == "command" else name)
    lines += [f"| {', '.join(names)} | {cell} |" for cell, names in same.items()]
    lines += [f"| {name} | {_cell(actions)} |" for name, actions in extra]
    return "\n".join(lines)


def _cell(actions: dict[str, bool]) -> str:
    services: dict[str, list[str]] = {}
    for action, optional in sorted(actions.items()):
        service, _, name = action.partition(":")
        services.setdefault(service, []).append(f"*{name}*" if optional else name)
    return "; ".join(f"`{service}:` {', '.join(names)}" for service, names in services.items())


def filled(page: str) -> str:
    """The page's text with its tables written anew."""
    for name, table in tables().items():
        mark = _MARK.format(name=name)
        pattern = re.escape(mark) + r"\n.*?" + re.escape(_END)
        page, count = re.subn(pattern, lambda _, t=table, m=mark: f"{m}\n\n{t}\n\n{_END}", page, flags=re.S)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE} has no place for the table {name}")
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
