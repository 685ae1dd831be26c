import pytest
from scipy import stats

from report.accuracy import described, differ, interval


@pytest.mark.parametrize(("right", "of"), [(264, 269), (0, 10), (66, 66), (33, 66)])
def test_the_interval_is_wilsons(right: int, of: int) -> None:
    known = stats.binomtest(right, of).proportion_ci(0.95, "wilson")
    assert interval(right / of, of) == pytest.approx((known.low, known.high), abs=1e-6)


def test_words() -> None:
    assert described(264 / 269, 269.0) == "98.14 % of 269 pictures (95 % interval: 95.7 to 99.2 %)"
    assert described(0.5, None) == "50.00 %"


def test_what_chance_explains() -> None:
    assert not differ(0.95, 0.92, 66)
    assert differ(0.95, 0.60, 66)
    assert differ(0.95, 0.92, 5000)
    assert not differ(1.0, 1.0, 10)
