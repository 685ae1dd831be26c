"""How findings and verdicts of the debugger's rules are shown in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from contract.findings import FindingLine, Findings, Outcome, StopLine, VerdictLine
from report.read.findings import LABELS, stop_sentence
from scripts.output import Output

STYLES: Final[Mapping[Outcome, str]] = {
    Outcome.NO_ISSUES: "green",
    Outcome.ISSUES_FOUND: "bold red",
    Outcome.ERROR: "red",
    Outcome.DOES_NOT_APPLY: "dim",
}
_LOUD: Final = (Outcome.ISSUES_FOUND, Outcome.ERROR, Outcome.COULD_NOT_JUDGE)
_SHOWN_AT_ONCE: Final = 3


class FindingsLog:
    """Shows findings the moment they are made: the first ones of each rule, each remedy once."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._total: Counter[str] = Counter()
        self._remedies: set[tuple[str, str]] = set()

    def show(self, line: FindingLine | StopLine | VerdictLine) -> None:
        """Show a finding or a stop; verdicts follow in the table of `show_verdicts`."""
        if isinstance(line, FindingLine):
            self._show_finding(line)
        elif isinstance(line, StopLine):
            where = f" at step {line.step:,}" if line.step is not None else ""
            self._out.say(
                "[bold red]■ {rule}[/] ended the training{where}: {message}",
                rule=line.rule,
                where=where,
                message=line.message,
            )

    def _show_finding(self, line: FindingLine) -> None:
        self._total[line.rule] += 1
        remedy = line.remedy if (line.rule, line.remedy) not in self._remedies else ""
        self._remedies.add((line.rule, line.remedy))
        if self._total[line.rule] > _SHOWN_AT_ONCE and not remedy:
            return
        step = f"step {line.step:,}" if line.step is not None else ""
        style = "bold red" if line.severity == "high" else "yellow"
        self._out.say(
            "[" + style + "]! {rule}[/] [dim]{where}[/] {message}",
            rule=line.rule,
            where=", ".join(part for part in (step, line.tensor or "") if part),
            message=line.message,
        )
        if remedy:
            self._out.say("  [green]→[/] {remedy}", remedy=remedy)


def show_verdicts(out: Output, findings: Findings | None) -> None:
    """A table of the rules that found something, with evidence; a line for each other outcome."""
    from rich.text import Text

    if findings is None:
        return
    quiet: dict[Outcome, list[str]] = {}
    table = out.table("rule", "verdict", "evidence")
    for rule in findings.rules:
        if rule.outcome in _LOUD:
            verdict = Text(LABELS[rule.outcome], STYLES.get(rule.outcome, "yellow"))
            out.row(table, rule.name, verdict, rule.summary)
        else:
            quiet.setdefault(rule.outcome, []).append(rule.name)
    if table.row_count:
        out.show(table)
    for outcome, names in quiet.items():
        style = STYLES.get(outcome, "yellow")
        out.say("[" + style + "]{label}[/]: {names}", label=LABELS[outcome], names=", ".join(names))
    if sentence := stop_sentence(findings):
        out.warn(sentence)
    for problem in findings.problems:
        out.warn(problem)
