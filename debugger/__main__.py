"""The `rules` command: judges a job by the files of smdebug and AWS's profiler, and measures its machine.

rules --job NAME [--tensors DIR] [--profiler DIR] [--config rules.json] --output DIR [--sample-system MS]
[--once]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from contract.rules import names
from debugger.evaluator import Evaluator
from debugger.sampler import SHORTEST_MS, FileSampler

MAX_CONFIG_BYTES = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run; returns 0 whatever the rules found, 1 where a folder cannot be used, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="rules",
        description="Judge a training job by SageMaker Debugger's and Profiler's rules while it runs, and "
        "measure its machine. A job of this image does both by itself; this is for jobs of other images.",
        epilog=f"Debugger rules: {', '.join(names('debugger'))}. "
        f"Profiler rules: {', '.join(names('profiler'))}.",
    )
    parser.add_argument("--job", required=True, help="the training job's name")
    parser.add_argument("--tensors", type=Path, help="folder of the hook's output")
    parser.add_argument("--profiler", type=Path, help="folder of the profiler's output")
    parser.add_argument("--config", type=Path, help="JSON with the rule configurations of CreateTrainingJob")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for status.json, findings.json, series.json"
    )
    parser.add_argument(
        "--once", action="store_true", help="judge what is there now instead of following the job"
    )
    parser.add_argument(
        "--sample-system",
        type=int,
        metavar="MS",
        help="measure this machine, every so many milliseconds, into the folder --profiler",
    )
    wanted = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="rules: %(message)s", stream=sys.stderr)
    if wanted.tensors is None and wanted.profiler is None:
        parser.error("give --tensors, --profiler or both: there is nothing to judge")
    if wanted.config is None and wanted.sample_system is None:
        parser.error("give --config, --sample-system or both: there is nothing to do")
    if wanted.sample_system is not None:
        if wanted.profiler is None:
            parser.error("--sample-system needs --profiler, the folder to write to")
        if wanted.once or wanted.sample_system < SHORTEST_MS:
            parser.error(f"--sample-system takes {SHORTEST_MS} or more, and no --once")
    config = _config(parser, wanted.config) if wanted.config else {}
    # The training is what this machine is for.
    os.nice(5)
    evaluator = Evaluator(wanted.job, wanted.tensors, wanted.profiler, config, wanted.output)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: evaluator.stop())
    sampler: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if wanted.sample_system is not None:
        sampler = FileSampler(wanted.profiler, wanted.sample_system)
    try:
        with sampler:
            evaluator.run(once=wanted.once)
    except OSError as error:
        print(f"rules: {error}", file=sys.stderr)
        return 1
    for result in evaluator.results():
        print(f"{result.name}: {result.outcome}. {result.summary}".rstrip(". "), flush=True)
    return 0


def _config(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            parser.error(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(path.read_text())
    except OSError as error:
        parser.error(f"cannot read {path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        parser.error(f"{path} is not JSON: {error}")
    if not isinstance(config, dict):
        parser.error(
            f"{path} must hold an object with DebugRuleConfigurations and ProfilerRuleConfigurations"
        )
    return config


if __name__ == "__main__":
    sys.exit(main())
