"""The `rules` command: evaluates a job's rules while it runs.

rules --job NAME --tensors DIR_OR_S3 --profiler DIR_OR_S3 --config rules.json --output DIR [--once]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from train.debug.sampler import SHORTEST_MS, SystemSampler
from train.rules.evaluator import Evaluator, SourceError
from train.rules.job import SageMakerJob
from train.rules.registry import DEBUGGER_RULES, PROFILER_RULES
from train.rules.source import open_source

MAX_CONFIG_BYTES = 1_000_000
SECTIONS = ("Debug", "Profiler")


def main(arguments: list[str] | None = None) -> int:
    """Run; returns 0 whatever the rules found, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="rules",
        description="Evaluate the Debugger and Profiler rules of a training job while it runs.",
        epilog=f"Debugger rules: {', '.join(sorted(DEBUGGER_RULES))}. "
        f"Profiler rules: {', '.join(sorted(PROFILER_RULES))}.",
    )
    parser.add_argument("--job", required=True, help="the training job's name")
    parser.add_argument("--tensors", help="the hook's output: a folder or s3://bucket/prefix")
    parser.add_argument("--profiler", help="the profiler's output: a folder or s3://bucket/prefix")
    parser.add_argument("--config", help="JSON with the rule configurations of CreateTrainingJob")
    for section in SECTIONS:
        parser.add_argument(
            f"--{section.lower()}-rule",
            action="append",
            default=[],
            metavar="JSON",
            help="one such configuration; repeatable, in place of --config",
        )
    parser.add_argument("--output", required=True, help="folder for status.json, findings.json, series.json")
    parser.add_argument(
        "--once", action="store_true", help="judge what is there now instead of following the job"
    )
    parser.add_argument(
        "--sample-system",
        type=int,
        metavar="MS",
        help="also measure this machine, every so many milliseconds, into the folder --profiler",
    )
    parser.add_argument(
        "--sagemaker-job",
        action="store_true",
        help="end when SageMaker says that the job has ended; stop it where a rule's action asks for it",
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="rules: %(message)s", stream=sys.stderr)
    if not given.tensors and not given.profiler:
        parser.error("give --tensors, --profiler or both: there is nothing to judge")
    if given.sample_system is not None:
        if not given.profiler or given.profiler.startswith("s3://"):
            parser.error("--sample-system needs --profiler to be a folder")
        if given.once or given.sample_system < SHORTEST_MS:
            parser.error(f"--sample-system takes {SHORTEST_MS} or more, and no --once")
    config = _config(parser, Path(given.config)) if given.config else _listed(parser, given)
    # The training is what this machine is for.
    os.nice(5)
    with tempfile.TemporaryDirectory(prefix="rules-") as scratch:
        tensors = open_source(given.tensors, Path(scratch), "tensors") if given.tensors else None
        profile = open_source(given.profiler, Path(scratch), "profiler") if given.profiler else None
        try:
            watched = SageMakerJob(given.job) if given.sagemaker_job else None
            evaluator = Evaluator(given.job, tensors, profile, config, Path(given.output), watched)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *unused: evaluator.stop())
            with _sampler(given):
                evaluator.run(once=given.once)
        except (OSError, SourceError) as error:
            print(f"rules: {error}", file=sys.stderr)
            return 1
    for evaluation in evaluator.evaluations:
        print(f"{evaluation.name}: {evaluation.status}. {evaluation.details}".rstrip(". "), flush=True)
    return 0


def _sampler(given: argparse.Namespace) -> contextlib.AbstractContextManager[object]:
    if given.sample_system is None:
        return contextlib.nullcontext()
    return SystemSampler(Path(given.profiler), given.sample_system)


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


def _listed(parser: argparse.ArgumentParser, given: argparse.Namespace) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for section in SECTIONS:
        for text in getattr(given, f"{section.lower()}_rule"):
            try:
                rule = json.loads(text)
            except (ValueError, RecursionError) as error:
                parser.error(f"--{section.lower()}-rule {text[:60]!r} is not JSON: {error}")
            config.setdefault(f"{section}RuleConfigurations", []).append(rule)
    if not config:
        parser.error("give --config, --debug-rule or --profiler-rule: there is no rule to evaluate")
    return config


if __name__ == "__main__":
    sys.exit(main())
