"""Which precision is chosen, without a network."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from serve import precision, select
from serve.engine import Heat, Pixels, Probabilities

TRUTH = np.array([[0.7, 0.3], [0.2, 0.8], [0.53, 0.47]], dtype=np.float32)
ACCEPTED = {"accepted": True, "reason": "agrees"}


@dataclasses.dataclass
class Fixed:
    """An engine that always says the same. `rows`: for each of the pictures, which are their own numbers."""

    precision: str
    rows: np.ndarray[Any, np.dtype[np.float32]]
    name: str = "fixed"
    reason: str = ""
    about: str = ""

    def probabilities(self, pictures: Any) -> Probabilities:
        return self.rows[[int(picture[0, 0, 0]) for picture in pictures]]

    def heat(self, picture: Pixels, index: int) -> Heat:
        raise NotImplementedError


PICTURES = [np.full((1, 1, 3), number, dtype=np.uint8) for number in range(3)]
SAMPLES = precision.Samples(PICTURES, "pictures", TRUTH)
FULL = Fixed("fp32", TRUTH)
SECONDS = {"fp32": 3.0, "bf16": 2.0, "int8": 1.0}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    real = select.timed

    def timed(engine: Any, pictures: Any) -> Any:
        return real(engine, pictures)[0], SECONDS[engine.precision]

    monkeypatch.setattr(select, "timed", timed)


def choose(made: dict[str, Any], *, faster: bool = True, samples: precision.Samples = SAMPLES) -> Any:
    def make(name: str) -> Fixed:
        if isinstance(made[name], Exception):
            raise made[name]
        return Fixed(name, np.array(made[name], dtype=np.float32))

    return select.fastest(FULL, list(made), make, samples, faster=faster)


@pytest.mark.parametrize(
    ("wanted", "proved", "expected"),
    [
        ("auto", {}, []),
        ("auto", {"bf16": ACCEPTED}, ["bf16"]),
        ("auto", {"bf16": ACCEPTED, "int8": ACCEPTED}, ["int8", "bf16"]),
        ("auto", {"bf16": ACCEPTED, "int8": {"accepted": False}}, ["bf16"]),
        ("auto", {"bf16": {"accepted": False}}, []),
        ("fp32", {"bf16": ACCEPTED}, []),
        ("bf16", {}, ["bf16"]),
        ("fp16", {}, ["fp16"]),
        ("int8", {"int8": ACCEPTED}, ["int8"]),
        ("int8", {"int8": {"accepted": False}}, []),
    ],
)
def test_what_is_tried(wanted: str, proved: Any, expected: list[str]) -> None:
    assert select.candidates(wanted, proved)[0] == expected


def test_int8_that_training_refused_is_not_served_and_says_why() -> None:
    _, reason = select.candidates("int8", {"int8": {"accepted": False, "reason": "too few pictures"}})
    assert "int8 cannot be had: too few pictures" in reason


def test_the_fastest_that_agrees_is_taken() -> None:
    engine, reason = choose({"int8": TRUTH + np.array([0.01, -0.01]), "bf16": TRUTH})
    assert engine.precision == "int8"
    assert "3.0 times the speed of fp32" in reason


def test_what_does_not_run_here_is_passed_over_and_named() -> None:
    engine, reason = choose({"int8": RuntimeError("no such instruction\n  in line 3"), "bf16": TRUTH})
    assert engine.precision == "bf16"
    assert "int8 does not run here (no such instruction)" in reason


def test_integers_that_saturate_are_noticed() -> None:
    engine, reason = choose({"int8": [[0.4, 0.6], [0.2, 0.8], [0.55, 0.45]]})
    assert engine is FULL
    assert "changes the class" in reason


def test_8_bits_may_decide_what_is_a_toss_up_and_16_may_not() -> None:
    close = TRUTH.copy()
    close[2] = [0.49, 0.51]
    engine, _ = choose({"int8": close})
    assert engine.precision == "int8"
    engine, _ = choose({"bf16": close})
    assert engine is FULL


def test_what_is_not_faster_is_taken_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECONDS, "bf16", 4.0)
    engine, reason = choose({"bf16": TRUTH})
    assert engine is FULL
    assert "not faster here" in reason
    engine, _ = choose({"bf16": TRUTH}, faster=False)
    assert engine.precision == "bf16"


def test_a_processor_whose_fp32_is_off_gets_no_other_precision() -> None:
    engine, reason = choose({"int8": TRUTH}, samples=dataclasses.replace(SAMPLES, trained=TRUTH[:, ::-1]))
    assert engine is FULL
    assert "off what training found" in reason
