"""Which results a Gaussian process learns from, where there are very many."""

from local.jobs.gaussian import _MOST, _worth_learning


def test_of_many_results_the_best_and_the_newest_are_learned_from() -> None:
    few = [0.5, 0.1, 0.9]
    assert _worth_learning(few) == [0, 1, 2]
    many = [1.0, *[0.1] * 300, 0.9, *[0.2] * 300]
    kept = _worth_learning(many)
    assert {0, 301, 601} <= set(kept)
    assert len(kept) <= _MOST
    assert kept == sorted(kept)
