import signal

import pytest

from train.stopping import Stopping


def test_nothing_asks_at_first() -> None:
    assert not Stopping().asked()


def test_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    stopping = Stopping()
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
