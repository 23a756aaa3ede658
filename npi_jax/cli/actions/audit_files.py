"""Files of an audit: the sample, its sentences, and the judgements."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from npi_jax.corpus.annotation.audit import VERDICTS, Case, Key, Sample
from npi_jax.corpus.text.files import read_json_lines
from npi_jax.errors import UserError
from npi_jax.files.writing import read_json, write_text

HOLDS_ITEM = "holds_item"
"""Verdict on a sentence with an item that the annotator missed."""

SAMPLE_FILE = "sample.json"
TEXTS_FILE = "texts.jsonl"
JUDGEMENTS_FILE = "judgements.jsonl"

Verdicts = dict[Key, list[str]]


def save_sample(folder: Path, sample: Sample, drawn: Mapping[str, Any] | None = None) -> None:
    """Write ``sample.json`` with references to sentences, and ``texts.jsonl`` with the text of the sentences.

    ``sample.json`` can be published even if the license of the text forbids publishing sentences.

    Args:
        folder: target folder, created if it does not exist.
        sample: the sample.
        drawn: settings with which the sample was drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in sample.texts)
    write_text(folder / TEXTS_FILE, texts)
    fields = [field.name for field in dataclasses.fields(Case)]
    head = {
        "phenomenon": sample.phenomenon,
        "environments": sample.environments,
        "sizes": sample.sizes,
        "columns": fields,
        "drawn": drawn,
    }
    cases = ",\n".join(json.dumps([getattr(case, name) for name in fields]) for case in sample.cases)
    write_text(folder / SAMPLE_FILE, f'{json.dumps(head)[:-1]}, "cases": [\n{cases}\n]}}\n')


def load_sample(folder: Path) -> Sample:
    """Read the files of `save_sample`; without ``texts.jsonl``, the sample has no sentences.

    Raises:
        UserError: if a file is damaged.
    """
    path = folder / SAMPLE_FILE
    try:
        values = read_json(path)
        cases = [Case(**dict(zip(values["columns"], row, strict=True))) for row in values["cases"]]
        sample = Sample(values["phenomenon"], tuple(values["environments"]), values["sizes"], cases)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a sample of npi-jax audit: {error}") from error
    texts = folder / TEXTS_FILE
    if not texts.exists():
        return sample
    lines = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    if len(lines) != len(cases):
        raise UserError(f"{texts} has {len(lines)} sentences, {path} has {len(cases)} cases")
    return dataclasses.replace(sample, texts=lines)


def load_verdicts(folder: Path) -> Verdicts:
    """Read ``judgements.jsonl``; the last judgement of a case counts.

    Raises:
        UserError: naming the line that is not a judgement.
    """
    path = folder / JUDGEMENTS_FILE
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


def append_judgement(file: IO[str], case: Case, labels: list[str]) -> None:
    """Write one judgement to the open ``judgements.jsonl``, and wait until it is on disk."""
    record = {"document": case.document, "sentence": case.sentence, "start": case.start, "labels": labels}
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())
