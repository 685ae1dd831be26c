"""What the documentation promises exists: links, `make` targets, `byoc` commands and their options."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from scripts.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def shell_lines(page: Path) -> Iterator[str]:
    """Commands in the page's shell blocks and in its inline code, continuation lines joined."""
    text = page.read_text()
    for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"\s#.*", "", line).strip().removeprefix("$ ")
    for code in re.findall(r"`([^`\n]+)`", without_code(text)):
        yield code.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        destination = (page.parent / file).resolve() if file else page
        if not destination.exists() or (anchor and anchor not in anchors(destination)):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    database = subprocess.run(
        ["make", "-pRrq", "-f", "Makefile"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    targets = set(re.findall(r"^([a-z][\w-]*):", database, re.M))
    rule = re.search(r"\(BENCHES\),([\w ]+)\)", (ROOT / "Makefile").read_text())
    benches = set(rule[1].split()) if rule else set()
    named = set()
    for line in shell_lines(page):
        if match := re.search(r"(?:^|&&\s*|[A-Z_]+=\S+\s+)make((?:\s+[\w=./:-]+)*)$", line):
            words = [word for word in match[1].split() if "=" not in word and not word.startswith("-")]
            if words[:1] == ["bench"]:  # the words after it say what to measure
                assert set(words[1:]) <= benches
                words = words[:1]
            named |= set(words)
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_byoc_commands_and_options_exist(page: Path) -> None:
    wrong = []
    for line in shell_lines(page):
        if match := re.match(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?byoc((?: .*)?)$", line):
            command, words = get_command(app), match[1].split()
            while words and hasattr(command, "commands") and words[0] in command.commands:
                command = command.commands[words.pop(0)]
            if hasattr(command, "commands") and words and not words[0].startswith(("-", "…", "[")):
                wrong.append(f"{line}: no command {words[0]}")
            options = {
                name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
            }
            options |= {name for parameter in get_command(app).params for name in parameter.opts} | {"--help"}
            wrong += [
                f"{line}: no option {word}"
                for word in words
                if word.startswith("-") and word.split("=")[0] not in options
            ]
    assert not wrong
