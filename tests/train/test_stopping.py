import signal
import threading

import pytest

from train.stopping import Stopping


def test_nothing_asks_at_first() -> None:
    assert not Stopping().asked()


def test_a_time_limit() -> None:
    now = 100.0
    stopping = Stopping(lambda: now)
    stopping.after_minutes(2)
    now = 219.0
    assert not stopping.asked()
    now = 221.0
    assert stopping.asked()
    assert "max_minutes" in stopping.reason


def test_no_limit() -> None:
    stopping = Stopping()
    stopping.after_minutes(0)
    assert not stopping.asked()


def test_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stopping = Stopping()
        stopping.listen()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stopping.asked()
    assert stopping.reason == "by SIGTERM"


def test_whoever_asks_in_time_is_left_alone() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    gave_up = threading.Event()
    try:
        stopping = Stopping()
        stopping.listen()
        end = stopping.watch(gave_up.set, 0.2)
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked()
        assert not gave_up.wait(0.5)
        end()
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_watching_ends_with_the_training() -> None:
    gave_up = threading.Event()
    Stopping().watch(gave_up.set, 0.0)()
    assert not gave_up.is_set()
