"""The training container's side of the contract: folders, configuration files, environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.files import write_atomically
from local.jobs.channels import input_data_config
from local.runtime.container import Runtime

CHECKPOINTS = "/opt/ml/checkpoints"
TENSORS = "/opt/ml/output/tensors"
PROFILER = "/opt/ml/output/profiler"
TENSORBOARD = "/opt/ml/output/tensorboard"

# Configuration block of the job, its file, the variable that names it, where the container writes by default.
_BLOCKS = (
    ("CheckpointConfig", "checkpointconfig.json", "CHECKPOINT_CONFIG_FILE_PATH", CHECKPOINTS),
    ("DebugHookConfig", "debughookconfig.json", "SMDEBUG_CONFIG_FILE_PATH", TENSORS),
    ("ProfilerConfig", "profilerconfig.json", "SMPROFILER_CONFIG_PATH", PROFILER),
    ("TensorBoardOutputConfig", "tensorboardoutputconfig.json", "TENSORBOARD_CONFIG_FILE_PATH", TENSORBOARD),
)
_GROUP = "homogeneousCluster"


@dataclass(frozen=True)
class Host:
    """One instance of a training job: its name and its `/opt/ml`."""

    name: str
    base: Path

    def local(self, runtime: Runtime, doc: Mapping[str, Any], block: str) -> Path | None:
        """The folder on this machine behind a block's LocalPath; None if the job has no such block."""
        if block not in doc:
            return None
        default = next(default for key, _, _, default in _BLOCKS if key == block)
        return runtime.outside(self.base, doc[block].get("LocalPath") or default)


def host_names(doc: Mapping[str, Any]) -> list[str]:
    count = int(doc.get("ResourceConfig", {}).get("InstanceCount", 1))
    return [f"algo-{number}" for number in range(1, count + 1)]


def channels(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The job's channels, each with its InputMode, which by default is the job's."""
    mode = doc.get("AlgorithmSpecification", {}).get("TrainingInputMode", "File")
    return [{"InputMode": mode, **channel} for channel in doc.get("InputDataConfig", [])]


def prepare(runtime: Runtime, doc: Mapping[str, Any], host: Host, hosts: list[str]) -> dict[str, str]:
    """Makes the folders and configuration files of `host`; the variables that the contract adds.

    ValueError if a LocalPath is no absolute path.
    """
    for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (host.base / folder).mkdir(parents=True, exist_ok=True)
    config = host.base / "input" / "config"
    _write(config / "hyperparameters.json", doc.get("HyperParameters", {}))
    _write(config / "inputdataconfig.json", input_data_config(channels(doc)))
    _write(config / "resourceconfig.json", _resource_config(doc, host.name, hosts, runtime.multi_host))
    environment = {
        "TRAINING_JOB_NAME": doc["TrainingJobName"],
        "TRAINING_JOB_ARN": doc["TrainingJobArn"],
    }
    for block, file, variable, default in _BLOCKS:
        if block not in doc:
            continue
        path = doc[block].get("LocalPath") or default
        runtime.outside(host.base, path).mkdir(parents=True, exist_ok=True)
        content = {**doc[block], "LocalPath": runtime.inside(host.base, path)}
        if block == "ProfilerConfig":
            content.setdefault("DisableProfiler", False)
        _write(config / file, content)
        # smdebug looks in /opt/ml unless a variable names another place.
        environment[variable] = runtime.inside(host.base, f"/opt/ml/input/config/{file}")
    return environment


def _write(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value))


def _resource_config(doc: Mapping[str, Any], host: str, hosts: list[str], networked: bool) -> dict[str, Any]:
    instance = doc.get("ResourceConfig", {}).get("InstanceType", "local")
    return {
        "current_host": host,
        "current_instance_type": instance,
        "current_group_name": _GROUP,
        "hosts": hosts,
        "instance_groups": [{"instance_group_name": _GROUP, "instance_type": instance, "hosts": hosts}],
        "network_interface_name": "eth0" if networked else "lo",
    }
