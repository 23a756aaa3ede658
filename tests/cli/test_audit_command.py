import argparse
import io
import json

import pytest
from facts import facts
from rich.console import Console

from npi_jax.cli import audit
from npi_jax.cli.actions import audit as audit_action
from npi_jax.cli.actions.audit_files import load_sample, load_verdicts
from npi_jax.cli.main import main, parser
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS
from npi_jax.errors import UserError

TEXT = ["Nobody has ever left.", "He did not see any of it.", "Any child can do it.", "The man saw it."]


class Judge(Console):
    """A terminal at which the given answers are typed."""

    def __init__(self, *answers: str) -> None:
        super().__init__(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
        self.answers = list(answers)

    def input(self, *_: object, **__: object) -> str:
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)

    @property
    def said(self) -> str:
        return self.file.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXT) + "\n")
    return tmp_path


def arguments(folder, *flags: str) -> argparse.Namespace:
    return parser().parse_args(
        ["audit", str(folder / "a.txt"), "--unit", "sentence", "--out", str(folder / "o"), *flags]
    )


def judge(given: argparse.Namespace, console: Judge) -> None:
    audit_action.audit(given, audit.DEFAULTS, console)


NUMBER = {name: str(number) for number, name in enumerate(ENVIRONMENTS, 1)}
TRUE = {
    "ever": NUMBER["determiner_negation"],
    "any": NUMBER["sentential_negation"],
    "Any": "f",
    "": "n",
}


def answers_for(folder) -> list[str]:
    sample = load_sample(folder / "o")
    return [TRUE[t[c.start : c.end]] for c, t in zip(sample.cases, sample.texts, strict=True)]


def test_drawing_judging_stopping_and_going_on(folder):
    first = Judge("nonsense", "q")
    judge(arguments(folder), first)
    assert "'nonsense'" in first.said
    assert "1 of 4" in first.said
    answers = answers_for(folder)
    # A wrong answer, back, the right ones, and the end of input after two.
    wrong = "u" if answers[0] != "n" or len(answers[0]) > 1 else "y"
    second = Judge(wrong if answers[0] in ("n",) else "?", "b", answers[0], answers[1])
    judge(arguments(folder), second)
    third = Judge(*answers[2:])
    judge(arguments(folder), third)
    assert "2 of 2" in third.said
    verdicts = load_verdicts(folder / "o")
    assert len(verdicts) == 4
    assert "1 of 1" in third.said
    assert "0 of 1" in third.said
    # References only, no sentences.
    kept = (folder / "o" / "sample.json").read_text() + (folder / "o" / "judgements.jsonl").read_text()
    assert "child" not in kept


def test_the_report_needs_no_terminal_and_no_sentences(folder, capsys):
    judge(arguments(folder), Judge(*["q"]))
    judge(arguments(folder), Judge(*answers_for(folder)))
    (folder / "o" / "texts.jsonl").unlink()
    assert main(["audit", "--out", str(folder / "o"), "--report"]) == 0
    assert "determiner_negation" in capsys.readouterr().out
    with pytest.raises(UserError, match=facts("texts.jsonl", "missing")):
        judge(arguments(folder), Judge("q"))


def test_another_sample_than_asked_for_is_refused(folder):
    judge(arguments(folder), Judge("q"))
    judge(arguments(folder), Judge("h", "q"))
    with pytest.raises(UserError, match=facts("clean, seed")):
        judge(arguments(folder, "--seed", "3", "--clean", "7"), Judge("q"))
    (folder / "file").write_text("")
    with pytest.raises(UserError, match=facts("plain file", "folder")):
        judge(arguments(folder, "--out", str(folder / "file")), Judge("q"))


def test_faults_are_named(folder, capsys):
    assert main(["audit", "--out", str(folder / "nothing")]) == 1
    assert "no sample" in capsys.readouterr().err
    judge(arguments(folder), Judge("q"))
    (folder / "o" / "judgements.jsonl").write_text('{"document": "a"}\n')
    assert main(["audit", "--out", str(folder / "o"), "--report"]) == 1
    assert "judgements.jsonl, line 1" in capsys.readouterr().err
    (folder / "o" / "judgements.jsonl").write_text(
        '{"document": "a", "sentence": 1, "start": 0, "labels": ["adverb"]}\n'
    )
    assert main(["audit", "--out", str(folder / "o"), "--report"]) == 1
    assert "'adverb'" in capsys.readouterr().err
    found = json.loads((folder / "o" / "sample.json").read_text())
    del found["sizes"]
    (folder / "o" / "sample.json").write_text(json.dumps(found))
    assert main(["audit", "--out", str(folder / "o"), "--report"]) == 1
    assert "npi-jax audit" in capsys.readouterr().err
