"""``npi-jax audit``: a sample of a corpus, judged in the terminal, and how well the annotator does on it."""

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from npi_jax.cli.text_flags import AUDIT_DEFAULTS
from npi_jax.corpus.annotation.annotations import OTHER, UNLICENSED
from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.audit import (
    CLEAN,
    FREE,
    NO_ITEM,
    UNCLEAR,
    VERDICTS,
    Case,
    Estimate,
    Findings,
    Key,
    Sample,
    draw,
    estimate,
)
from npi_jax.corpus.annotation.phenomenon import PHENOMENA, load_phenomenon
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.files import read_json_lines
from npi_jax.errors import UserError
from npi_jax.files.writing import check_output, read_json, write_text
from npi_jax.terminal.tables import TextTable

HOLDS_ITEM = "holds_item"
"""The verdict on a clean sentence that holds an item after all."""

_KEYS = {"o": OTHER, "f": FREE, "n": NO_ITEM, "u": UNLICENSED, "?": UNCLEAR}
_CLEAN_KEYS = {"y": HOLDS_ITEM, "n": NO_ITEM, "?": UNCLEAR}
_MEANING = {
    OTHER: "something licenses it that belongs to none of these (without, before, than, too ... to)",
    FREE: 'free choice: "no matter which", which needs no licensor (any child can do it)',
    NO_ITEM: "the words are no such item here (and yet, for ever, either of them)",
    UNLICENSED: "it is one, but nothing licenses it",
    UNCLEAR: "cannot tell",
}

Verdicts = dict[Key, list[str]]


def audit(arguments: argparse.Namespace, console: Console) -> None:
    """Draw a sample if there is none yet, go on judging where that is possible, and report.

    Raises:
        UserError: if the folder holds another sample than asked for, or a file of it is damaged.
    """
    folder = Path(arguments.out)
    check_output(folder, folder=True)
    if (folder / "sample.json").exists():
        _check_drawn(folder, arguments)
    else:
        if not arguments.text:
            raise UserError(f"{folder} holds no sample yet: name the text to draw it from, as in --help")
        save_sample(folder, _drawn(arguments, console), _how(arguments))
        console.print(f"sample: {folder / 'sample.json'}", highlight=False, markup=False, soft_wrap=True)
    sample, verdicts = load_sample(folder), load_verdicts(folder)
    if (folder / "about.txt").exists():
        console.print((folder / "about.txt").read_text(encoding="utf-8").strip(), highlight=False, markup=False)
    if not arguments.report and console.is_terminal:
        _judge(sample, verdicts, folder, console)
    elif not arguments.report:
        console.print("no terminal to judge in; --report is to be used without one", highlight=False)
    print_findings(sample, estimate(sample, verdicts), console)


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """How a sample is drawn, as the command line says it."""
    return {name: getattr(arguments, name) for name in ("text", *AUDIT_DEFAULTS)}


def _check_drawn(folder: Path, arguments: argparse.Namespace) -> None:
    """Refuse text and settings that are not those of the sample that is there."""
    asked = _how(arguments)
    if not arguments.text:
        given = [name for name, value in AUDIT_DEFAULTS.items() if asked[name] != value]
        if given:
            raise UserError(f"{folder} holds a sample already; {', '.join(given)} would only matter to a new one")
        return
    drawn = read_json(folder / "sample.json").get("drawn") or {}
    if drawn != asked:
        changed = ", ".join(name for name, value in asked.items() if drawn.get(name) != value)
        raise UserError(f"{folder} holds a sample that was drawn otherwise ({changed}); name another folder with --out")


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


def save_sample(folder: Path, sample: Sample, drawn: Mapping[str, Any] | None = None) -> None:
    """Write ``sample.json``, references alone, and ``texts.jsonl``, the sentences, which need not be passed on.

    Args:
        folder: where to, made if need be.
        sample: what was drawn.
        drawn: how, for the reader.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in sample.texts)
    write_text(folder / "texts.jsonl", texts)
    fields = [field.name for field in dataclasses.fields(Case)]
    head = {
        "phenomenon": sample.phenomenon,
        "environments": sample.environments,
        "sizes": sample.sizes,
        "columns": fields,
        "drawn": drawn,
    }
    cases = ",\n".join(json.dumps([getattr(case, name) for name in fields]) for case in sample.cases)
    write_text(folder / "sample.json", f'{json.dumps(head)[:-1]}, "cases": [\n{cases}\n]}}\n')


def load_sample(folder: Path) -> Sample:
    """Read what `save_sample` wrote; the sentences are missing where ``texts.jsonl`` is.

    Raises:
        UserError: if a file is not as it was written.
    """
    path = folder / "sample.json"
    try:
        found = read_json(path)
        cases = [Case(**dict(zip(found["columns"], row, strict=True))) for row in found["cases"]]
        sample = Sample(found["phenomenon"], tuple(found["environments"]), found["sizes"], cases)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a sample of npi-jax audit: {error}") from error
    texts = folder / "texts.jsonl"
    if not texts.exists():
        return sample
    lines = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    if len(lines) != len(cases):
        raise UserError(f"{texts} has {len(lines)} sentences, {path} has {len(cases)} cases")
    return dataclasses.replace(sample, texts=lines)


def load_verdicts(folder: Path) -> Verdicts:
    """Read ``judgements.jsonl``; of several on one case the last counts.

    Raises:
        UserError: naming the line that is no judgement.
    """
    path = folder / "judgements.jsonl"
    verdicts: Verdicts = {}
    environments = load_sample(folder).environments
    if not path.exists():
        return verdicts
    for number, record in read_json_lines(path):
        try:
            key = (str(record["document"]), int(record["sentence"]), int(record["start"]))
            verdicts[key] = [str(label) for label in record["labels"]]
            if strange := set(verdicts[key]) - {*environments, *VERDICTS, HOLDS_ITEM}:
                raise ValueError(f"no label {sorted(strange)[0]!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: not a judgement: {error}") from error
    return verdicts


def _judge(sample: Sample, verdicts: Verdicts, folder: Path, console: Console) -> None:
    """Ask for a verdict on each case that has none; each answer is on disk before the next question."""
    if len(sample.texts) != len(sample.cases):
        raise UserError(f"{folder}/texts.jsonl is missing: without the sentences nothing can be judged; use --report")
    open_cases = [at for at, case in enumerate(sample.cases) if case.key not in verdicts]
    at = 0
    if open_cases:
        _help(sample, console)
    check_output(folder / "judgements.jsonl")
    with (folder / "judgements.jsonl").open("a", encoding="utf-8") as file:
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
            record = {"document": case.document, "sentence": case.sentence, "start": case.start, "labels": labels}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            at += 1


def _show(case: Case, text: str, place: str, sample: Sample, console: Console) -> None:
    shown = Text(text)
    if case.stratum != CLEAN:
        shown.stylize("bold reverse", case.start, case.end)
    console.rule(place)
    console.print(shown)
    if case.stratum == CLEAN:
        question = "Does it hold an item? y, n, ?"
    else:
        question = f"What licenses the item? 1 to {len(sample.environments)}, {', '.join(_KEYS)}"
    console.print(f"{question} (h: help, b: back, q: stop)", markup=False, highlight=False)


def _help(sample: Sample, console: Console) -> None:
    """What the keys mean."""
    table = TextTable("What licenses the item that is marked?", ["", ""], words={0, 1})
    known = load_phenomenon(sample.phenomenon).environments if sample.phenomenon in PHENOMENA else ()
    words = {entry.name: [form for group in entry.licensors for form in group.forms] for entry in known}
    for number, name in enumerate(sample.environments, 1):
        shown = ", ".join(list(dict.fromkeys(words.get(name, ())))[:8])
        table.add_row(str(number), f"{name.replace('_', ' ')}: {shown}" if shown else name)
    for key, verdict in _KEYS.items():
        table.add_row(key, _MEANING[verdict])
    table.add_row("", "several, with a space between them, where several would do: 2 7")
    console.print(table)


def _ask(case: Case, sample: Sample, console: Console) -> list[str] | None:
    """The verdict; an empty list to go back, None to stop."""
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
        console.print(f"not an answer: {answer!r}; one of {', '.join((*keys, *numbers, 'b', 'q'))}", markup=False)


def print_findings(sample: Sample, found: Findings, console: Console) -> None:
    """Precision and recall with intervals, and the most frequent errors."""
    heads = ("", "in the text", "right of judged", "precision [95%]", "recall [95%]")
    table = TextTable(f"{sample.phenomenon}: how well it finds what licenses", heads)
    for name in sample.environments:
        one = found.precision[name]
        hits = f"{one.hits} of {one.judged}"
        table.add_row(name, f"{sample.sizes[name]:,}", hits, _share(one), _share(found.recall[name]))
    total = sum(sample.sizes[name] for name in sample.environments)
    table.add_row("all environments", f"{total:,}", "", "", _share(found.overall), style="bold")
    console.print(table)
    missed = found.missed
    judged = sum(one.judged for one in found.precision.values())
    drawn = sum(case.stratum in sample.environments for case in sample.cases)
    console.print(f"Judged so far: {judged} of {drawn} items with an environment.", highlight=False)
    console.print(
        f"Of {sample.sizes[CLEAN]:,} sentences without an item found, {missed.hits} of {missed.judged} judged hold "
        f"one: {_share(missed)}. Not to be told: {found.unclear} cases, left out.",
        highlight=False,
    )
    if found.errors:
        console.print("Most frequent errors (found, judged):", highlight=False)
        for (label, verdict), count in _first(found.errors, 8):
            console.print(f"  {count} x {label}, {verdict}", highlight=False)


def _first(errors: Mapping[tuple[str, str], int], most: int) -> Iterator[tuple[tuple[str, str], int]]:
    yield from sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


def _share(found: Estimate) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found.judged else "–"
