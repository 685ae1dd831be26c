"""What a rule's findings become."""

from debugger.judge import Evaluation
from debugger.rules.rule import Plan


def test_each_finding_is_news_once_after_one_was_withdrawn_too() -> None:
    evaluation = Evaluation("loss", "LossNotDecreasing", "debugger", {}, Plan())
    rule = evaluation.rule
    assert rule is not None
    refuted = rule.add(message="It stands still.", cause="", remedy="")
    assert evaluation.news(final=False) == [refuted]
    rule.withdraw(refuted)
    lasting = rule.add(message="It rises.", cause="", remedy="")
    assert evaluation.news(final=True) == [lasting]
    assert evaluation.news(final=True) == []
    assert rule.total == len(rule.findings) == 1
