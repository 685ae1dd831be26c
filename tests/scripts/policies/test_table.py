"""The tables in docs/aws.md are those of the policies."""

from scripts.policies import table


def test_the_page_has_them() -> None:
    page = table.PAGE.read_text()
    assert table.filled(page) == page, "run `python -m scripts.policies.table`"


def test_what_may_be_missing_is_in_italics() -> None:
    user = table.tables()["user"]
    [jobs] = [line for line in user.splitlines() if line.startswith("| `jobs`")]
    assert "`tag:` *GetResources*" in jobs
    assert "ListEndpoints" in jobs
    assert "*ListEndpoints*" not in jobs
