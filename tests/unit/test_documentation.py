"""Documentation fails the build when it lies: links, targets, commands and variables exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from stack.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "langfuse/*.md",
        "datahub/*.md",
        "compose/*.md",
        "benchmarks/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
)
#: No command: what is written into the associated data of sealed secrets (docs/identity.md).
SEALED_AS = "oversight secret"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def _commands(page: Path) -> list[str]:
    """Lines of shell blocks, and what stands in backticks."""
    blocks = [body for language, body in _FENCE.findall(page.read_text()) if language == "sh"]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", _prose(page))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in _anchors(linked), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in _commands(page):
        for named in re.findall(r"(?:^|=\S+ )make ([a-z-]+)", command):
            assert named in targets, f"`make {named}` does not exist"


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_subcommands_exist(page: Path) -> None:
    for command in _commands(page):
        if command.startswith("oversight ") and command != SEALED_AS:
            for words in _alternatives(command.split()[1:]):
                _check_subcommand(words)


def _alternatives(words: list[str]) -> list[list[str]]:
    """``user|key list`` stands for ``user list`` and ``key list``."""
    return [[first, *words[1:]] for first in words[0].split("|")]


def _check_subcommand(words: list[str]) -> None:
    """Walk down the groups; then every long option must be one of the command's."""
    command = get_command(app)
    context = typer.Context(command)
    while words and hasattr(command, "get_command") and not words[0].startswith("-"):
        word = words.pop(0)
        found = command.get_command(context, word)
        assert found is not None, f"`oversight ... {word}` does not exist"
        command = found
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"{word} is no option of {command.name}"


def test_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"({page.name})" in index, f"{page.name} is not listed"


def test_files_that_a_newcomer_looks_for() -> None:
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        assert (ROOT / name).is_file(), name
