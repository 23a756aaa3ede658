"""The documentation's examples run, each page from top to bottom."""

import re
from pathlib import Path

import pytest
from facts import denies, sentence_with

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


PAGES = [page for page in sorted(DOCS.glob("*.md")) if blocks(page)]


def test_pages_have_examples():
    assert {page.name for page in PAGES} >= {"alignment.md", "scoring.md", "transfer.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "docs"}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    shown = capsys.readouterr().out
    if page.name == "scoring.md":
        assert denies(sentence_with(shown, "compared"))
