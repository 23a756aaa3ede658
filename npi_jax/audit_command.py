"""``npi-jax audit``: a sample of a corpus, judged in the terminal, and how well the annotator does on it."""

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from npi_jax.corpus import sources
from npi_jax.corpus.annotate import annotator
from npi_jax.corpus.annotations import OTHER, UNLICENSED
from npi_jax.corpus.audit import (
    CLEAN,
    FREE,
    NO_ITEM,
    UNCLEAR,
    Case,
    Estimate,
    Findings,
    Key,
    Sample,
    draw,
    estimate,
)
from npi_jax.errors import UserError
from npi_jax.files import read_json, write_text

HOLDS_ITEM = "holds_item"
"""The verdict on a clean sentence that holds an item after all."""

_KEYS = {"o": OTHER, "f": FREE, "n": NO_ITEM, "u": UNLICENSED, "?": UNCLEAR}
_CLEAN_KEYS = {"y": HOLDS_ITEM, "n": NO_ITEM, "?": UNCLEAR}
_MEANING = {
    OTHER: "something else licenses it",
    FREE: "free choice",
    NO_ITEM: "no item",
    UNLICENSED: "nothing licenses it",
    UNCLEAR: "cannot tell",
}

Verdicts = dict[Key, list[str]]


def audit(arguments: argparse.Namespace, console: Console) -> None:
    """Draw a sample if there is none yet, go on judging where that is possible, and report.

    Raises:
        UserError: if the folder holds another sample than asked for, or a file of it is damaged.
    """
    folder = Path(arguments.out)
    if not (folder / "sample.json").exists():
        if not arguments.text:
            raise UserError(f"{folder} holds no sample yet: name the text to draw it from, as in --help")
        save_sample(folder, _drawn(arguments, console))
        console.print(f"sample: {folder / 'sample.json'}", highlight=False)
    sample, verdicts = load_sample(folder), load_verdicts(folder)
    if not arguments.report and console.is_terminal:
        _judge(sample, verdicts, folder, console)
    elif not arguments.report:
        console.print("no terminal to judge in; --report is to be used without one", highlight=False)
    print_findings(sample, estimate(sample, verdicts), console)


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


def save_sample(folder: Path, sample: Sample) -> None:
    """Write ``sample.json``, references alone, and ``texts.jsonl``, the sentences, which need not be passed on."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in sample.texts)
    (folder / "texts.jsonl").write_text(texts, encoding="utf-8")
    fields = [field.name for field in dataclasses.fields(Case)]
    head = {
        "phenomenon": sample.phenomenon,
        "environments": sample.environments,
        "sizes": sample.sizes,
        "columns": fields,
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
    if not path.exists():
        return verdicts
    for number, record in sources.read_json_lines(path):
        try:
            key = (str(record["document"]), int(record["sentence"]), int(record["start"]))
            verdicts[key] = [str(label) for label in record["labels"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: not a judgement: {error}") from error
    return verdicts


def _judge(sample: Sample, verdicts: Verdicts, folder: Path, console: Console) -> None:
    """Ask for a verdict on each case that has none; each answer is on disk before the next question."""
    if len(sample.texts) != len(sample.cases):
        raise UserError(f"{folder}/texts.jsonl is missing: without the sentences nothing can be judged; use --report")
    open_cases = [at for at, case in enumerate(sample.cases) if case.key not in verdicts]
    at = 0
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
        console.print("Does it hold an item?  [y] yes  [n] no  [?] cannot tell  [b] back  [q] stop", markup=False)
        return
    numbered = "  ".join(f"[{number}] {name}" for number, name in enumerate(sample.environments, 1))
    others = "  ".join(f"[{key}] {_MEANING[verdict]}" for key, verdict in _KEYS.items())
    console.print(f"What licenses it?  {numbered}\n{others}  [b] back  [q] stop; several: 2 7", markup=False)


def _ask(case: Case, sample: Sample, console: Console) -> list[str] | None:
    """The verdict; an empty list to go back, None to stop."""
    while True:
        try:
            answer = console.input("> ").strip().lower()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return None
        if answer in ("b", "q"):
            return [] if answer == "b" else None
        keys = _CLEAN_KEYS if case.stratum == CLEAN else _KEYS
        numbers = {} if case.stratum == CLEAN else {str(n): name for n, name in enumerate(sample.environments, 1)}
        labels = [(keys | numbers).get(part) for part in answer.split()]
        if labels and None not in labels:
            return [label for label in labels if label is not None]
        console.print(f"not an answer: {answer!r}; one of {', '.join((*keys, *numbers, 'b', 'q'))}", markup=False)


def print_findings(sample: Sample, found: Findings, console: Console) -> None:
    """Precision and recall with intervals, and the most frequent errors."""
    table = Table(title=f"{sample.phenomenon}: how well it finds what licenses", box=box.SIMPLE_HEAD)
    table.title_justify = "left"
    for head in ("", "in the text", "right of judged", "precision [95%]", "recall [95%]"):
        table.add_column(head, justify="left" if not head else "right", no_wrap=True)
    for name in sample.environments:
        one = found.precision[name]
        hits = f"{one.hits} of {one.judged}"
        table.add_row(name, f"{sample.sizes[name]:,}", hits, _share(one), _share(found.recall[name]))
    total = sum(sample.sizes[name] for name in sample.environments)
    table.add_row("all environments", f"{total:,}", "", "", _share(found.overall), style="bold")
    console.print(table)
    missed = found.missed
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
