from __future__ import annotations

import threading

from contract import container
from local.jobs.slots import Share, Slots


def test_a_job_alone_gets_all_cores_and_the_next_its_fair_share() -> None:
    slots = Slots(8)
    never = threading.Event()
    assert slots.acquire(1, never) == Share(8)
    assert slots.acquire(1, never) == Share(4)
    slots.release()
    slots.release()
    assert slots.acquire(1, never) == Share(8)


def test_siblings_get_their_share_from_the_start() -> None:
    assert Slots(2).acquire(2, threading.Event()) == Share(1)
    assert Slots(8).acquire(3, threading.Event()) == Share(2)
    assert Slots(2).acquire(100, threading.Event()) == Share(1)


def test_jobs_beyond_the_cores_wait_for_one_to_end() -> None:
    slots = Slots(2)
    never = threading.Event()
    slots.acquire(1, never)
    slots.acquire(1, never)
    got: list[Share | None] = []
    waiting = threading.Thread(target=lambda: got.append(slots.acquire(1, never)))
    waiting.start()
    slots.release()
    waiting.join(10)
    assert got == [Share(1)]


def test_a_waiting_job_can_be_cancelled() -> None:
    slots = Slots(1)
    for _ in range(2):
        slots.acquire(1, threading.Event())
    cancelled = threading.Event()
    got: list[Share | None] = []
    waiting = threading.Thread(target=lambda: got.append(slots.acquire(1, cancelled)))
    waiting.start()
    cancelled.set()
    slots.wake()
    waiting.join(10)
    assert got == [None]


def test_by_default_the_cores_are_those_of_this_machine() -> None:
    assert Slots().cores == container.cores()
