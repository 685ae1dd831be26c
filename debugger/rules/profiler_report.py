"""ProfilerReport: all profiler rules in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contract.findings import Outcome
from debugger.profile import Profile
from debugger.rules.batch_size import BatchSize
from debugger.rules.bottleneck import CPUBottleneck, IOBottleneck
from debugger.rules.dataloader import Dataloader
from debugger.rules.gpu_memory_increase import GPUMemoryIncrease
from debugger.rules.load_balancing import LoadBalancing
from debugger.rules.low_gpu_utilization import LowGPUUtilization
from debugger.rules.max_initialization_time import MaxInitializationTime
from debugger.rules.overall_framework_metrics import OverallFrameworkMetrics
from debugger.rules.overall_system_usage import OverallSystemUsage
from debugger.rules.rule import Plan, Rule
from debugger.rules.step_outlier import StepOutlier

PARTS: tuple[type[Rule], ...] = (
    BatchSize,
    CPUBottleneck,
    Dataloader,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    StepOutlier,
)


class ProfilerReport(Rule):
    """Runs every profiler rule; their parameters are given as `<Rule>_<parameter>`. Fires when one of them
    does.

    Like AWS's it adds a report to its verdict; that is findings.json, from which `byoc report` draws.
    """

    name = "ProfilerReport"
    needs = "step timings or measurements of the machine: switch the profiler on"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        own = {
            rule.name: {
                name.removeprefix(f"{rule.name}_"): value
                for name, value in self.values.items()
                if name.startswith(f"{rule.name}_")
            }
            for rule in PARTS
        }
        self._rules = [rule(dict(own[rule.name].items()), plan) for rule in PARTS]

    def profile(self, profile: Profile) -> None:
        self.replace(None)
        for rule in self._rules:
            rule.profile(profile)
            for finding in rule.findings:
                self.add(
                    step=finding.step,
                    tensor=finding.tensor,
                    severity=finding.severity,
                    message=f"{rule.name}: {finding.message}",
                    cause=finding.cause,
                    remedy=finding.remedy,
                )
        self.seen = max(rule.seen for rule in self._rules)
        undecided = sum(rule.verdict()[0] is Outcome.COULD_NOT_JUDGE for rule in self._rules)
        self.lacking = "none of its rules could; each says why" if undecided == len(self._rules) else ""

    def parts(self) -> Sequence[Rule]:
        return self._rules

    def summary(self) -> str:
        by_outcome: dict[Outcome, list[str]] = {}
        for rule in self._rules:
            by_outcome.setdefault(rule.verdict()[0], []).append(rule.name)
        if fired := by_outcome.get(Outcome.ISSUES_FOUND):
            return f"{', '.join(fired)} found issues."
        idle, undecided = (
            by_outcome.get(Outcome.DOES_NOT_APPLY, []),
            by_outcome.get(Outcome.COULD_NOT_JUDGE, []),
        )
        text = f"{len(self._rules) - len(undecided) - len(idle)} of {len(self._rules)} rules found nothing"
        text += f"; {len(idle)} do not apply without a GPU" if idle else ""
        text += f"; {len(undecided)} could not judge: {', '.join(undecided)}" if undecided else ""
        return f"{text}."
