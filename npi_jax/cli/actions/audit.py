"""Judging of a sample in the terminal, and the report of precision and recall, for ``npi-jax audit``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from npi_jax.cli.actions.audit_files import (
    HOLDS_ITEM,
    JUDGEMENTS_FILE,
    SAMPLE_FILE,
    TEXTS_FILE,
    Verdicts,
    append_judgement,
    load_sample,
    load_verdicts,
    save_sample,
)
from npi_jax.corpus.annotation.annotations import OTHER, UNLICENSED
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.audit import (
    CLEAN,
    FREE,
    NO_ITEM,
    UNCLEAR,
    Case,
    Estimate,
    Findings,
    Sample,
    draw,
    estimate,
)
from npi_jax.corpus.annotation.phenomenon import PHENOMENA, load_phenomenon
from npi_jax.corpus.text import sources
from npi_jax.errors import UserError
from npi_jax.files.writing import check_output, read_json
from npi_jax.terminal.tables import TextTable

MAX_ERRORS = 8
"""Largest number of kinds of errors that the report lists."""

_KEYS = {"o": OTHER, "f": FREE, "n": NO_ITEM, "u": UNLICENSED, "?": UNCLEAR}
_CLEAN_KEYS = {"y": HOLDS_ITEM, "n": NO_ITEM, "?": UNCLEAR}
_MEANING = {
    OTHER: "an expression of another environment licenses it (without, before, than, too ... to)",
    FREE: 'free choice: "no matter which", which needs no licensor (any child can do it)',
    NO_ITEM: "the words are not an item here (and yet, for ever, either of them)",
    UNLICENSED: "it is an item, but nothing licenses it",
    UNCLEAR: "cannot tell",
}

Settings = Mapping[str, Any]
"""Values of the flags that control the drawing of a sample, by name."""


def audit(arguments: argparse.Namespace, defaults: Settings, console: Console) -> None:
    """Draw a sample unless the folder has one, continue judging if there is a terminal, and report the results.

    Args:
        arguments: flags of the command.
        defaults: default values of the flags that control drawing.
        console: the terminal.

    Raises:
        UserError: if the folder's sample was drawn with other settings, or a file is damaged.
    """
    folder = Path(arguments.out)
    check_output(folder, folder=True)
    settings = {name: getattr(arguments, name) for name in ("text", *defaults)}
    if (folder / SAMPLE_FILE).exists():
        _check_drawn(folder, settings, defaults)
    else:
        if not arguments.text:
            raise UserError(f"{folder} holds no sample yet: name the text to draw it from, as in --help")
        save_sample(folder, _drawn(arguments, console), settings)
        console.print(f"sample: {folder / SAMPLE_FILE}", highlight=False, markup=False, soft_wrap=True)
    sample, verdicts = load_sample(folder), load_verdicts(folder)
    if (folder / "about.txt").exists():
        console.print((folder / "about.txt").read_text(encoding="utf-8").strip(), highlight=False, markup=False)
    if not arguments.report and console.is_terminal:
        _judge(sample, verdicts, folder, console)
    elif not arguments.report:
        console.print("judging needs a terminal; use --report without one", highlight=False)
    print_findings(sample, estimate(sample, verdicts), console)


def _check_drawn(folder: Path, settings: Settings, defaults: Settings) -> None:
    """Refuse text or settings other than those with which the folder's sample was drawn."""
    if not settings["text"]:
        given = [name for name, value in defaults.items() if settings[name] != value]
        if given:
            raise UserError(f"{folder} already holds a sample; {', '.join(given)} would only affect a new one")
        return
    drawn = read_json(folder / SAMPLE_FILE).get("drawn") or {}
    if drawn != settings:
        changed = ", ".join(name for name, value in settings.items() if drawn.get(name) != value)
        raise UserError(f"{folder} holds a sample drawn with another {changed}; name another folder with --out")


def _drawn(arguments: argparse.Namespace, console: Console) -> Sample:
    documents = sources.read_files(arguments.text, unit=arguments.unit, field=arguments.field)
    with console.status("reading text ..."):
        return draw(
            documents,
            annotator(arguments.phenomenon),
            per_environment=arguments.per_environment,
            without=arguments.without,
            clean=arguments.clean,
            seed=arguments.seed,
        )


def _judge(sample: Sample, verdicts: Verdicts, folder: Path, console: Console) -> None:
    """Ask for a verdict on each case without one, and save each answer before the next question."""
    if len(sample.texts) != len(sample.cases):
        raise UserError(f"{folder / TEXTS_FILE} is missing: judging needs the sentences; use --report without them")
    open_cases = [at for at, case in enumerate(sample.cases) if case.key not in verdicts]
    at = 0
    if open_cases:
        _help(sample, console)
    check_output(folder / JUDGEMENTS_FILE)
    with (folder / JUDGEMENTS_FILE).open("a", encoding="utf-8") as file:
        while at < len(open_cases):
            case, text = sample.cases[open_cases[at]], sample.texts[open_cases[at]]
            _show(case, text, f"{at + 1} of {len(open_cases)}", sample, console)
            labels = _ask(case, sample, console)
            if labels is None:
                return
            if labels == []:  # back
                at = max(at - 1, 0)
                continue
            verdicts[case.key] = labels
            append_judgement(file, case, labels)
            at += 1


def _show(case: Case, text: str, progress: str, sample: Sample, console: Console) -> None:
    shown = Text(text)
    if case.stratum != CLEAN:
        shown.stylize("bold reverse", case.start, case.end)
    console.rule(progress)
    console.print(shown)
    if case.stratum == CLEAN:
        question = "Does the sentence contain an item? y, n, ?"
    else:
        question = f"What licenses the marked item? 1 to {len(sample.environments)}, {', '.join(_KEYS)}"
    console.print(f"{question} (h: help, b: back, q: stop)", markup=False, highlight=False)


def _help(sample: Sample, console: Console) -> None:
    """Print the keys and their meanings."""
    table = TextTable("What licenses the marked item?", ["", ""], words={0, 1})
    known = load_phenomenon(sample.phenomenon).environments if sample.phenomenon in PHENOMENA else ()
    words = {entry.name: [form for group in entry.licensors for form in group.forms] for entry in known}
    for number, name in enumerate(sample.environments, 1):
        shown = ", ".join(list(dict.fromkeys(words.get(name, ())))[:8])
        table.add_row(str(number), f"{name.replace('_', ' ')}: {shown}" if shown else name)
    for key, verdict in _KEYS.items():
        table.add_row(key, _MEANING[verdict])
    table.add_row("", "if several are possible, give all, with spaces between them: 2 7")
    console.print(table)


def _ask(case: Case, sample: Sample, console: Console) -> list[str] | None:
    """Return the labels of the verdict; an empty list to go back one case, None to stop."""
    while True:
        try:
            answer = console.input("> ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return None
        if answer in ("h", ""):
            _help(sample, console)
            continue
        if answer in ("b", "q"):
            return [] if answer == "b" else None
        keys = _CLEAN_KEYS if case.stratum == CLEAN else _KEYS
        numbers = {} if case.stratum == CLEAN else {str(n): name for n, name in enumerate(sample.environments, 1)}
        labels = [(keys | numbers).get(part) for part in answer.replace(",", " ").split()]
        if labels and None not in labels:
            return [label for label in labels if label is not None]
        console.print(f"not an answer: {answer!r}; give one of {', '.join((*keys, *numbers, 'b', 'q'))}", markup=False)


def print_findings(sample: Sample, findings: Findings, console: Console) -> None:
    """Print precision and recall with their intervals, and the most frequent errors."""
    heads = ("", "in the text", "correct of judged", "precision [95%]", "recall [95%]")
    table = TextTable(f"{sample.phenomenon}: precision and recall of environments", heads)
    for name in sample.environments:
        one = findings.precision[name]
        hits = f"{one.hits} of {one.judged}"
        table.add_row(name, f"{sample.sizes[name]:,}", hits, _share(one), _share(findings.recall[name]))
    total = sum(sample.sizes[name] for name in sample.environments)
    table.add_row("all environments", f"{total:,}", "", "", _share(findings.overall), style="bold")
    console.print(table)
    missed = findings.missed
    judged = sum(one.judged for one in findings.precision.values())
    drawn = sum(case.stratum in sample.environments for case in sample.cases)
    console.print(f"Judged so far: {judged} of {drawn} items with an environment.", highlight=False)
    console.print(
        f"The annotator found no item in {sample.sizes[CLEAN]:,} sentences: {missed.hits} of {missed.judged} judged "
        f"contain one: {_share(missed)}. Excluded as unclear: {findings.unclear} cases.",
        highlight=False,
    )
    if findings.errors:
        console.print("Most frequent errors (annotator, judge):", highlight=False)
        ranked = sorted(findings.errors.items(), key=lambda error: (-error[1], error[0]))
        for (label, verdict), count in ranked[:MAX_ERRORS]:
            console.print(f"  {count} x {label}, {verdict}", highlight=False)


def _share(one: Estimate) -> str:
    if not one.judged:
        return "–"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
