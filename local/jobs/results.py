"""What a training job leaves: its results in the bucket, or the reason of its failure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.config import Config
from local.jobs.artifacts import pack, put_uncompressed
from local.jobs.files import open_below, regular_files
from local.jobs.run import JobFailure

_LIMIT = 960  # characters of output/failure that become the reason, which has 1,024 with its exit code


def upload(config: Config, doc: Mapping[str, Any], base: Path, scratch: Path, *, model: bool) -> str | None:
    """Puts the output of a job, and with `model` its model, into its bucket; the model's address. JobFailure.

    `base`: the first host's `/opt/ml`. `scratch`: a folder on the bucket's disk.
    """
    output = doc["OutputDataConfig"]
    uri = f"{output['S3OutputPath'].rstrip('/')}/{doc['TrainingJobName']}/output"
    try:
        target = config.output_path(uri)
        data = base / "output" / "data"
        if any(True for _ in regular_files(data, base)):
            pack(data, target / "output.tar.gz", scratch, base)
        if not model:
            return None
        if output.get("CompressionType") == "NONE":
            uri += "/model/"
            put_uncompressed(base / "model", target / "model", scratch, base)
        else:
            uri += "/model.tar.gz"
            pack(base / "model", target / "model.tar.gz", scratch, base)
    except (OSError, ValueError) as error:
        text = (error.strerror if isinstance(error, OSError) else None) or error
        raise JobFailure(f"ClientError: Artifact upload failed: {uri}: {text}.") from error
    return uri


def failure_reason(base: Path, code: int | None, last: str) -> str:
    """Why a container failed. `base`: its `/opt/ml`; `last`: the last line of its log."""
    try:
        with os.fdopen(open_below(base, base / "output" / "failure"), errors="replace") as file:
            text = file.read(_LIMIT).strip()
    except OSError:
        text = ""
    if not text and code == 137:
        text = "The process was killed (SIGKILL), most likely because the machine ran out of memory"
    if not text:
        text = f"No /opt/ml/output/failure; the log's last line: {last}" if last else "No output"
    return f"AlgorithmError: {text[:_LIMIT]}, exit code: {code}"
