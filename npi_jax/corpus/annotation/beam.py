"""Annotated text as a TFDS data set, made by an Apache Beam pipeline: for corpora that one machine is too small for.

The work is that of `npi_jax.corpus.annotation.stored_text`: files are read and split by `npi_jax.corpus.text.sources`
and annotated by the table of a phenomenon. The data set is in the array_record format and keeps the order of files and
sentences; a config reads it with ``corpus.source = "tfds"`` and annotates nothing again
(`npi_jax.corpus.annotation.stored_text.annotated_blocks`). Neither writing nor reading needs TensorFlow.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions

from npi_jax.corpus.annotation.annotator import annotator
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.annotation.stored_text import ANNOTATION_FEATURES, DATASET
from npi_jax.corpus.annotation.table import AnnotationTable
from npi_jax.corpus.text import sources
from npi_jax.corpus.text.files import find_files
from npi_jax.corpus.text.words import split_words
from npi_jax.errors import UserError

_SENTENCES = 1 << 40  # that a file may have: keys are file * _SENTENCES + sentence
# With this option DirectRunner runs in this process; without it Beam 2.77 first looks for a binary to download.
_DIRECT = ("--runner=DirectRunner", "--allow_unsafe_triggers")


def annotated_examples(
    numbered: tuple[int, str], *, phenomenon: str, unit: str, field: str = ""
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file and annotate its sentences, for `apache_beam.FlatMap`.

    Args:
        numbered: a number and a path; numbers give the order of files.
        phenomenon: name or path, see `load_phenomenon`.
        unit: one of `sources.UNITS`.
        field: of JSON lines; "" for plain text.

    Returns:
        for each sentence a key that grows with its place, and its features (`AnnotatedText`).

    Raises:
        SourceError: as `sources.read_text` and `sources.read_jsonl`.
    """
    number, path = numbered
    table, annotate = load_phenomenon(phenomenon), annotator(phenomenon).annotate
    documents = sources.read_files(path, unit=unit, field=field)
    sentences = ((document.name, text) for document in documents for text in document.sentences)
    for place, (document, text) in enumerate(sentences):
        found = AnnotationTable.from_sentences([annotate(split_words(text), contexts=True)], table)
        columns = {name: getattr(found, name).astype(np.int32) for name in ANNOTATION_FEATURES}
        yield number * _SENTENCES + place, {"document": document, "text": text, **columns}


class AnnotatedText(tfds.core.GeneratorBasedBuilder):
    """Sentences with their annotations, in the order of the text.

    Args:
        splits: name of each split, and the files of its text, in order.
        phenomenon, unit, field: as for `annotated_examples`.
    """

    name = DATASET
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, splits: Mapping[str, Sequence[str]], phenomenon: str, unit: str, field: str = "", **options: Any
    ) -> None:
        # Before TFDS' own, which calls _info.
        self._splits, self._phenomenon = splits, phenomenon
        self._work = partial(annotated_examples, phenomenon=phenomenon, unit=unit, field=field)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        whole = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features = {"document": tfds.features.Text(), "text": tfds.features.Text()}
        table = load_phenomenon(self._phenomenon)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features | dict.fromkeys(ANNOTATION_FEATURES, whole)),
            metadata=tfds.core.MetadataDict(phenomenon=table.name, phenomenon_sha256=table.digest),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {name: self._generate_examples(files) for name, files in self._splits.items()}

    def _generate_examples(self, files: Sequence[str]) -> Any:
        return apache_beam.Create(list(enumerate(files)), reshuffle=False) | apache_beam.FlatMap(self._work)


def write_dataset(
    splits: Mapping[str, sources.Paths],
    data_dir: Path,
    *,
    phenomenon: str = "npi_en",
    unit: str = "document",
    field: str = "",
    options: Sequence[str] = _DIRECT,
    shards: int | None = None,
) -> Path:
    """Annotate text and write it as a TFDS data set; returns its folder.

    Args:
        splits: name of each split, and the files, folders or patterns of its text.
        data_dir: where data sets are kept; the data set is `DATASET`.
        phenomenon, unit, field: as for `annotated_examples`.
        options: of the Beam pipeline, as on its command line; by default it runs in this process.
        shards: files to write; None leaves it to TFDS.

    Raises:
        UserError: if the data set is there already, or text is missing or damaged.
    """
    ending = ".jsonl" if field else ".txt"
    files = {name: [str(file.path) for file in find_files(paths, ending)] for name, paths in splits.items()}
    builder = AnnotatedText(
        splits=files, phenomenon=phenomenon, unit=unit, field=field, data_dir=str(data_dir), file_format="array_record"
    )
    folder = Path(builder.data_dir)
    if folder.exists():
        raise UserError(f"{folder} is there already; remove it, or name another folder")
    given = PipelineOptions(list(options))
    runner = given.get_all_options().get("runner") or "DirectRunner"
    try:
        apache_beam.runners.create_runner(runner)
    except (ValueError, ImportError) as error:
        raise UserError(f"Beam has no runner {runner!r} here: {error}") from error
    download = tfds.download.DownloadConfig(beam_runner=runner, beam_options=given, num_shards=shards)
    builder.download_and_prepare(download_config=download)
    return folder
