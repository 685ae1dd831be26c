"""The command line itself, before any command runs."""

import json

import pytest

from tests.scripts.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "message", "helped"),
    [
        (("train", "--nope"), "No such option: --nope", "byoc train --help"),
        (("jobs", "--limit", "0"), "--limit", "byoc jobs --help"),
        (("local", "nope"), "No such command 'nope'", "byoc local --help"),
        (("nope",), "No such command 'nope'", "byoc --help"),
    ],
)
def test_a_wrong_command_line_is_told_as_json_where_that_was_asked_for(
    run: Run, arguments: tuple[str, ...], message: str, helped: str
) -> None:
    error = json.loads(run(*arguments, "--json", code=2).stdout)["error"]
    assert message in error["message"]
    assert helped in error["remedy"]
    assert error["exit"] == 2
    assert run(*arguments, code=2).stdout == ""
