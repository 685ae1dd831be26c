"""How often the debugger looks at a collection where nobody chose."""

import pytest

from contract.collections import fitting_interval


@pytest.mark.parametrize("steps", [5, 42, 330, 2_340, 10_000, 200_000])
def test_a_training_is_looked_at_from_the_first_tenth_on(steps: int) -> None:
    """One that is stopped early has something to judge."""
    looks = -(-steps // fitting_interval("relu_output", steps))
    assert 4 <= looks <= 101
    if steps >= 1_000:
        assert looks >= 10
