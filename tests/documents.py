"""Reading Markdown as its readers use it: blocks of code, the commands among them, and links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
SHELL = ("sh", "shell")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is the content of (or none), and its text."""

    language: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.findall(r'^```(\w*)(?: title="([^"]*)")?[^\n]*\n(.*?)^```', _text(page), re.DOTALL | re.MULTILINE)
    return [Block(*parts) for parts in found]


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command of a shell block, without comments."""
    for line in text.splitlines():
        for command in line.split("&&"):
            if words := shlex.split(command, comments=True):
                yield words


def commands_of(page: Path) -> Iterator[list[str]]:
    """The commands of a page: those of its shell blocks, and those that fill a cell of a table."""
    for block in blocks(page):
        if block.language in SHELL:
            yield from commands(block.text)
    for cell in re.findall(r"(?<=\| )`([^`]+)`(?= \|)", _text(page)):
        if cell.startswith(("npi-jax ", "python ", "pytest ", "make ")):
            yield from commands(cell)


def links(page: Path) -> list[str]:
    """What a page links to or shows within the project, without the places in pages."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", _text(page), flags=re.DOTALL | re.MULTILINE))
    return [link.partition("#")[0] for link in found if "://" not in link and not link.startswith("#")]


def assert_is_shown(shown: str) -> None:
    """What the README shows of the quickstart's output was printed, whatever its numbers, badges and line breaks."""
    (excerpt,) = (block.text for block in blocks(README) if block.language == "text")
    printed = _without_numbers(shown)
    for part in re.split(r"^\.\.\.$", excerpt, flags=re.MULTILINE):
        assert _without_numbers(part) in printed, part


def _without_numbers(text: str) -> str:
    """Text without numbers, signs of p-values, badges, rules and spaces."""
    return re.sub(r"p [<=] |\[(clear|suggestive)\]|[−-]?\d*\.?\d+|[─\s]+", "", text)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")
