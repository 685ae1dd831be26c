"""ProfilerReport: all profiler rules in one."""

from __future__ import annotations

from collections.abc import Sequence

from train.rules.batch_size import BatchSize
from train.rules.bottleneck import CPUBottleneck, IOBottleneck
from train.rules.dataloader import Dataloader
from train.rules.gpu_memory_increase import GPUMemoryIncrease
from train.rules.load_balancing import LoadBalancing
from train.rules.low_gpu_utilization import LowGPUUtilization
from train.rules.max_initialization_time import MaxInitializationTime
from train.rules.overall_framework_metrics import OverallFrameworkMetrics
from train.rules.overall_system_usage import OverallSystemUsage
from train.rules.profile import Profile
from train.rules.rule import PLATFORM_KEYS, ParameterError, Rule
from train.rules.step_outlier import StepOutlier
from train.rules.system import NO_GPU

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
    source = "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#profiler-report"
    looks_for = "anything that any of the profiler rules looks for"
    needs = "step timings or system metrics: ask for them with ProfilerConfig"

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        own = {key: value for key, value in (raw or {}).items() if key in PLATFORM_KEYS}
        super().__init__(own)
        given: dict[str, dict[str, object]] = {}
        classes = {part.name.lower(): part for part in PARTS}
        for key, value in (raw or {}).items():
            if key in PLATFORM_KEYS:
                continue
            rule, _, parameter = key.partition("_")
            if rule.lower() not in classes or not parameter:
                allowed = ", ".join(part.name for part in PARTS)
                raise ParameterError(
                    f"{key} is no parameter of ProfilerReport: write <Rule>_<parameter>, with one of "
                    f"{allowed}"
                )
            given.setdefault(rule.lower(), {})[parameter.lower()] = value
        self._rules = [part(given.get(part.name.lower(), {})) for part in PARTS]
        self.values = {
            f"{rule.name}_{name}": value for rule in self._rules for name, value in rule.values.items()
        }

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
        undecided = sum(bool(rule.undecided()) for rule in self._rules)
        self.lacking = "none of its rules could; each says why" if undecided == len(self._rules) else ""

    def parts(self) -> Sequence[Rule]:
        return self._rules

    def summary(self) -> str:
        fired = [rule.name for rule in self._rules if rule.findings]
        if fired:
            return f"{', '.join(fired)} found issues."
        undecided = [rule.name for rule in self._rules if rule.undecided()]
        idle = sum(rule.evidence == NO_GPU for rule in self._rules)
        text = f"{len(self._rules) - len(undecided) - idle} of {len(self._rules)} rules found nothing"
        text += f"; {idle} do not apply without a GPU" if idle else ""
        text += f"; {len(undecided)} could not judge: {', '.join(undecided)}" if undecided else ""
        return f"{text}."
