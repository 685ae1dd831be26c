"""Which numbers a CPU computes with: the fastest that training has proved and that this processor confirms.

Training has measured on its machine whether bf16 and int8 answer like fp32. Another processor may compute
8-bit integers otherwise (without VNNI sums overflow in 16 bits, and nothing says so), or be slower with bf16
than without. So each candidate is put to the test at start, for a few tenths of a second in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from serve import precision
from serve.engine import Engine, Pixels, Probabilities

_SECONDS: Final = 0.1  # for each of at most three: fp32, int8, bf16
_FEWEST: Final = 3
_FASTEST_FIRST: Final = ("int8", "bf16")

E = TypeVar("E", bound=Engine)


def candidates(wanted: str, proved: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], str]:
    """What to try before fp32, the fastest first; and where there is nothing, why, if that was asked for.

    Args:
        wanted: one of settings.PRECISIONS. Whoever names bf16 or fp16 gets it without a proof of training's.
        proved: by precision, what training found; int8 only where its graph is there.
    """
    accepted = [name for name in _FASTEST_FIRST if name in proved and proved[name].get("accepted", True)]
    if wanted == "auto":
        return accepted, ""
    if wanted == "int8" and "int8" not in accepted:
        reason = proved.get("int8", {}).get("reason") or "the model has no int8 that training accepted"
        return [], f"fp32, because int8 cannot be had: {reason}"
    return ([] if wanted == "fp32" else [wanted]), ""


def fastest(
    full: E, names: Sequence[str], make: Callable[[str], E], samples: precision.Samples, *, faster: bool
) -> tuple[E, str]:
    """The first that answers like fp32 and, where `faster`, in less time; else `full`. And why, in words.

    Args:
        names: what to try, in this order.
        make: a ready engine for a name; whatever it raises speaks against the name.
    """
    expected, seconds = timed(full, samples.pictures)
    if samples.trained is not None:
        if words := precision.drifted(expected, samples.trained, samples.name):
            return full, f"fp32, because {names[0]} cannot be checked: {words}"
        expected = samples.trained
    refused = []
    for name in names:
        try:
            engine = make(name)
            found, taken = timed(engine, samples.pictures[: len(expected)])
        except MemoryError:
            raise
        except Exception as error:  # of a library that meets a processor it does not know
            refused.append(f"{name} does not run here ({first_line(error)})")
            continue
        verdict = precision.judge(expected[: len(found)], found, samples.name, whole=name != "int8")
        if not verdict.passed:
            refused.append(f"{name} was checked: {verdict.reason}")
        elif faster and taken >= seconds:
            refused.append(f"{name} is not faster here ({1e3 * taken:.1f} ms, not {1e3 * seconds:.1f})")
        else:
            also = f"; not {', '.join(refused)}" if refused else ""
            return engine, f"{name} ({verdict.reason}; {seconds / taken:.1f} times the speed of fp32{also})"
    return full, f"fp32, because {'; '.join(refused)}"


def timed(engine: Engine, pictures: Sequence[Pixels]) -> tuple[Probabilities, float]:
    """Answers for as many of the pictures as there is time for, and seconds for one: the least, as others may
    use this machine too."""
    answers: list[Probabilities] = []
    seconds: list[float] = []
    for picture in pictures:
        begin = time.perf_counter()
        answers.append(engine.probabilities([picture]))
        seconds.append(time.perf_counter() - begin)
        if sum(seconds) > _SECONDS and len(answers) >= _FEWEST:
            break
    return np.concatenate(answers), min(seconds)


def first_line(error: BaseException) -> str:
    """OpenVINO's messages are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    specific = [
        line for line in lines if not line.startswith(("Exception from", "Check '", "FrontEnd API failed"))
    ]
    return (specific or lines or [type(error).__name__])[0][:200]
