"""A small part of `python -m bench.fuzz`."""

from __future__ import annotations

import pytest

from bench import fuzz


@pytest.mark.slow
def test_mutated_requests_are_answered() -> None:
    codes, bad, _ = fuzz.in_process(4000, 7, None, 2)
    assert bad == []
    assert sum(codes.values()) == 4000
    assert set(codes) <= {200, 400, 406, 413, 415, 422}
    assert codes[200] > 100
    assert codes[422] > 100
