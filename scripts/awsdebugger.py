"""AWS's own Debugger and Profiler, for accounts that still have them: `debugger.service = "sagemaker"`.

AWS closed them to new customers on 30 July 2026, and starts an instance for each rule. Everything that byoc
knows of them is in this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from contract.collections import REGEXES
from contract.errors import ByocError
from contract.rules import find
from scripts.ranges import Scalar, text_of
from scripts.settings import Settings

Request = dict[str, Any]

INSTANCE_TYPE: Final = "ml.t3.medium"
VOLUME_GB: Final = 10
# How often a collection is saved that has no interval in the settings. Whole tensors are written, and the
# weights and gradients of a ResNet-18 are 89 MB a step.
INTERVALS: Final[Mapping[str, int]] = {
    "losses": 10, "loss_inputs": 10, "gradients": 50, "weights": 50, "relu_input": 500, "relu_output": 500,
}  # fmt: skip
# Accounts that hold the image of the rules, as AWS documents them ("Docker images for Debugger rules").
ACCOUNTS: Final[Mapping[str, str]] = {
    "af-south-1": "314341159256", "ap-east-1": "199566480951", "ap-northeast-1": "430734990657",
    "ap-northeast-2": "578805364391", "ap-northeast-3": "364406365360", "ap-south-1": "904829902805",
    "ap-southeast-1": "972752614525", "ap-southeast-2": "184798709955", "ca-central-1": "519511493484",
    "cn-north-1": "618459771430", "cn-northwest-1": "658757709296", "eu-central-1": "482524230118",
    "eu-north-1": "314864569078", "eu-south-1": "563282790590", "eu-west-1": "929884845733",
    "eu-west-2": "250201462417", "eu-west-3": "447278800020", "me-south-1": "986000313247",
    "sa-east-1": "818342061345", "us-east-1": "503895931360", "us-east-2": "915447279597",
    "us-gov-west-1": "515509971035", "us-west-1": "685455198987", "us-west-2": "895741380848",
}  # fmt: skip


def rules_image(region: str, suffix: str = "amazonaws.com") -> str:
    """The image that evaluates AWS's rules in a region; `suffix` ends the host names of its partition.

    Raises:
        ByocError: Debugger never was in that region.
    """
    if region not in ACCOUNTS:
        raise ByocError(
            f'debugger.service is "sagemaker", and SageMaker Debugger does not exist in {region}.',
            "Delete the line: the training container has the rules.",
            kind="NoDebugger",
        )
    return f"{ACCOUNTS[region]}.dkr.ecr.{region}.{suffix}/sagemaker-debugger-rules:latest"


def members(settings: Settings, output: str, image: str) -> Request:
    """The members of CreateTrainingJob.

    Args:
        output: S3 address below which SageMaker makes <job>/debug-output, /profiler-output and /rule-output.
        image: see `rules_image`.
    """
    return _debugger(settings, output, image) | _profiler(settings, output, image)


def _debugger(settings: Settings, output: str, image: str) -> Request:
    debugger = settings.debugger
    if not debugger.enabled:
        return {}
    hook: Request = {"S3OutputPath": output, "CollectionConfigurations": _collections(settings)}
    if debugger.hook:
        hook["HookParameters"] = {key: text_of(value) for key, value in debugger.hook.items()}
    request: Request = {"DebugHookConfig": hook}
    if debugger.rules:
        request["DebugRuleConfigurations"] = _rules(image, debugger.rules, debugger.parameters)
    return request


def _collections(settings: Settings) -> list[dict[str, Any]]:
    collections: dict[str, dict[str, Scalar]] = {name: {} for name in INTERVALS}
    for name, changes in settings.debugger.collections.items():
        if changes is False:
            collections.pop(name, None)
        else:
            collections.setdefault(name, {}).update(changes if isinstance(changes, Mapping) else {})
    for name, parameters in collections.items():
        if name in INTERVALS:
            parameters.setdefault("save_interval", INTERVALS[name])
        if name in REGEXES:
            parameters.setdefault("include_regex", REGEXES[name])
    return [
        {
            "CollectionName": name,
            "CollectionParameters": {key: text_of(value) for key, value in parameters.items()},
        }
        for name, parameters in collections.items()
    ]


def _profiler(settings: Settings, output: str, image: str) -> Request:
    profiler = settings.profiler
    if not profiler.enabled:
        # Without this SageMaker would profile the machine all the same.
        return {"ProfilerConfig": {"DisableProfiler": True}}
    config: Request = {"S3OutputPath": output, "ProfilingIntervalInMilliseconds": profiler.interval_ms}
    if profiler.window_steps:
        window = {"StartStep": profiler.window_start, "NumSteps": profiler.window_steps}
        config["ProfilingParameters"] = {"DetailedProfilingConfig": json.dumps(window)}
    request: Request = {"ProfilerConfig": config}
    if profiler.rules:
        request["ProfilerRuleConfigurations"] = _rules(image, profiler.rules, profiler.parameters)
    return request


def _rules(image: str, names: Sequence[str], parameters: Mapping[str, Mapping[str, Scalar]]) -> list[Request]:
    # Our names may be in any case, AWS's evaluator wants its own.
    changed = {find(name).name: values for name, values in parameters.items()}
    return [
        {
            "RuleConfigurationName": name,
            "RuleEvaluatorImage": image,
            "InstanceType": INSTANCE_TYPE,
            "VolumeSizeInGB": VOLUME_GB,
            "RuleParameters": {
                "rule_to_invoke": name,
                **{key: text_of(value) for key, value in changed.get(name, {}).items()},
            },
        }
        for name in (find(name).name for name in names)
    ]
