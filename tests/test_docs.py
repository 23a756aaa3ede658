"""The documentation's examples run, each page from top to bottom; its commands are understood, its links lead on."""

import gzip
import re
import sys
from pathlib import Path

import pytest
from documents import DOCS, README, ROOT, SHELL, Block, blocks, commands, commands_of, links
from facts import denies, sentence_with

from npi_jax.cli.arguments import parse
from npi_jax.cli.main import main, parser
from npi_jax.config.load import load_config, preset_names
from npi_jax.corpus.grammar.generate import GrammarSpec, generate

TUTORIALS = [README, DOCS / "get-started.md", *sorted((DOCS / "tutorials").glob("*.md"))]
"""Pages whose Python, files and commands belong together, and are run in their order."""

PAGES = sorted(DOCS.rglob("*.md"))
ALL = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "launch" / "README.md", *PAGES]

SMALL = {
    "quickstart": {
        "corpus.grammar.sentences": "3000",
        "corpus.grammar_valid_sentences": "60",
        "seeds": "0,1",
        "train.steps": "8",
        "score.every": "4",
        "score.suites.grammar.limit": "3",
        "gradients.limit": "12",
        "gradients.single_items": "2",
        "checkpoints.every": "4",
    },
    "my.py": {
        "seeds": "0",
        "model.embedding": "16",
        "model.hidden": "16",
        "train.learning_rate": "0.002",
        "train.steps": "4",
        "score.every": "2",
    },
}
"""Overrides with which the experiments of README and "Get started" are run here; the tutorials' own are small."""

ELSEWHERE = {
    "pip": "the wheel is installed by a drill",
    "make": "continuous integration runs them",
    "git": "there is no network",
    "cd": "after git",
}
"""Commands of these pages that are not run here, and why."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_pages_have_examples():
    executed = {page.stem for page in PAGES if any(block.language == "python" for block in blocks(page))}
    assert executed >= {"alignment", "scoring", "transfer", "own-corpus", "own-model", "own-suite"}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TUTORIALS], ids=name)
def test_the_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "docs"}
    for number, block in enumerate(blocks(page)):
        if block.language == "python":
            exec(compile(block.text, f"{page.name}, block {number}", "exec"), names)
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
            assert load_config(block.file).members
    shown = capsys.readouterr().out
    if page.stem == "scoring":
        assert denies(sentence_with(shown, "compared"))


class Reader:
    """Somebody who does what a page says, with smaller experiments."""

    def __init__(self, *, gradients: bool) -> None:
        self.gradients = gradients
        self.names: dict = {"__name__": "docs"}
        self.ran: list[str] = []

    def follow(self, block: Block) -> None:
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, "documentation", "exec"), self.names)
        elif block.language in SHELL:
            for words in commands(block.text):
                self.run(words)

    def run(self, words: list[str]) -> None:
        if words[0] not in ELSEWHERE:
            assert words[0] == "npi-jax", words
            assert main([*self.smaller(words[1:])]) == 0, words
            self.ran.append(words[1])

    def smaller(self, words: list[str]) -> list[str]:
        if words[0] not in ("run", "prepare"):
            return words
        small = dict(SMALL.get(words[1], {}))
        # Compiling them takes longer than all else; one run whose tables are read has them.
        if small and not (self.gradients and len(words) == 2):
            small["gradients.enabled"] = "False"
        kept = [word for word in words if word.removeprefix("--config.").partition("=")[0] not in small]
        return [*kept, *(f"--config.{field}={value}" for field, value in small.items())]


@pytest.mark.drill
@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_what_a_reader_does_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    files_of_the_readme(tmp_path)
    reader = Reader(gradients=page.stem == "get-started")
    for block in blocks(page):
        reader.follow(block)
    assert "run" in reader.ran


def files_of_the_readme(folder: Path) -> None:
    """The text and the pairs that the README's own experiment is about."""
    text = generate(GrammarSpec(sentences=2000))
    sentences = [" ".join(words).capitalize() + "\n\n" for words in text.sentences]
    (folder / "text" / "train").mkdir(parents=True)
    with gzip.open(folder / "text" / "train" / "part.txt.gz", "wt", encoding="utf-8") as file:
        file.writelines(sentences[:1900])
    (folder / "text" / "valid.txt").write_text("".join(sentences[1900:]), encoding="utf-8")
    pairs = '{"good": "no teacher has ever left .", "bad": "some teacher has ever left ."}\n'
    (folder / "pairs.jsonl").write_text(pairs, encoding="utf-8")


@pytest.mark.parametrize("page", ALL, ids=name)
def test_commands_are_understood(page):
    """Commands that would take too long here, or need other machines and files, are parsed and not run."""
    for words in commands_of(page):
        understood(words)


def understood(words: list[str]) -> None:
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    match words:
        case ["npi-jax", *rest]:
            npi_jax_understands(rest)
        case ["python", "-m", "npi_jax.lm_eval" | "timeit" | "pytest", *_]:
            pass
        case ["python", file, *flags]:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert all(flag.partition("=")[0] in source for flag in flags if flag.startswith("--")), words
        case ["pytest", *rest]:
            assert all((ROOT / word).exists() for word in rest if word.startswith("tests/")), words
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), words
        case [file, *_] if file.startswith((".ci/", "launch/")):
            assert (ROOT / file).exists(), words
        case [file, *_]:
            assert file in {*ELSEWHERE, "bash", "sbatch", "pre-commit", "kubectl"}, words


def npi_jax_understands(words: list[str]) -> None:
    """The command line is valid; if it is about a preset, so are the fields that it overrides."""
    arguments, overrides = parse(parser(), words)
    config = getattr(arguments, "config", None)
    if config and config.partition(":")[0] in preset_names():
        load_config(config, overrides)


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_lead_to_files(page):
    """Or to pages that are generated; `mkdocs build` is strict about these."""
    for link in links(page):
        target = (page.parent / link).resolve()
        assert target.exists() or target.is_relative_to(DOCS), link
        if page == README:
            assert target.exists(), link
