from contract.log import alert, with_level


def test_levels_above_information_stand_before_the_text() -> None:
    assert with_level("INFO", "epoch 1") == "epoch 1"
    assert with_level("WARNING", "few pictures") == "level=warning few pictures"


def test_only_levels_make_an_alert() -> None:
    assert alert(with_level("ERROR", "no pictures")) == ("error", "no pictures")
    for line in ("epoch 1", "level=high", "a level=warning inside", "warning: by someone else"):
        assert alert(line) is None
