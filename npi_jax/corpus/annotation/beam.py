"""Annotated text as a TFDS data set, written by an Apache Beam pipeline: for corpora too large for one machine.

The pipeline reads and splits files with `npi_jax.corpus.text.sources`, and annotates them with the table of a
phenomenon. The data set is in the array_record format and keeps the order of files and sentences. A config reads it
with ``corpus.source = "tfds"`` and does not annotate it again
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

_MAX_SENTENCES = 1 << 40  # per file; the key of a sentence is file * _MAX_SENTENCES + sentence
# With this option DirectRunner runs in this process. Without it, Beam 2.77 first tries to download a binary.
_DIRECT = ("--runner=DirectRunner", "--allow_unsafe_triggers")


def annotated_examples(
    numbered: tuple[int, str], *, phenomenon: str, unit: str, field: str = ""
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file and annotate its sentences, for `apache_beam.FlatMap`.

    Args:
        numbered: number of the file in the order of files, and its path.
        phenomenon: name or path, see `load_phenomenon`.
        unit: one of `sources.UNITS`.
        field: field of JSON lines that contains the text; "" for plain text.

    Returns:
        key and features (`AnnotatedText`) of each sentence; keys increase in the order of the text.

    Raises:
        SourceError: as for `sources.read_text` and `sources.read_jsonl`.
    """
    number, path = numbered
    table, annotate = load_phenomenon(phenomenon), annotator(phenomenon).annotate
    documents = sources.read_files(path, unit=unit, field=field)
    sentences = ((document.name, text) for document in documents for text in document.sentences)
    for position, (document, text) in enumerate(sentences):
        annotations = AnnotationTable.from_sentences([annotate(split_words(text), contexts=True)], table)
        columns = {name: getattr(annotations, name).astype(np.int32) for name in ANNOTATION_FEATURES}
        yield number * _MAX_SENTENCES + position, {"document": document, "text": text, **columns}


class AnnotatedText(tfds.core.GeneratorBasedBuilder):
    """Sentences with their annotations, in the order of the text.

    Args:
        splits: files of each split by its name, in order.
        phenomenon, unit, field: as for `annotated_examples`.
    """

    name = DATASET
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, splits: Mapping[str, Sequence[str]], phenomenon: str, unit: str, field: str = "", **options: Any
    ) -> None:
        # Set before TFDS' __init__, which calls _info.
        self._splits, self._phenomenon = splits, phenomenon
        self._work = partial(annotated_examples, phenomenon=phenomenon, unit=unit, field=field)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        column = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features = {"document": tfds.features.Text(), "text": tfds.features.Text()}
        table = load_phenomenon(self._phenomenon)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features | dict.fromkeys(ANNOTATION_FEATURES, column)),
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
    """Annotate text and write it as a TFDS data set; return its folder.

    Args:
        splits: files, folders or patterns of each split by its name.
        data_dir: folder in which the data set `DATASET` is created.
        phenomenon, unit, field: as for `annotated_examples`.
        options: command-line options of the Beam pipeline; by default it runs in this process.
        shards: number of files to write; None for the default of TFDS.

    Raises:
        UserError: if the data set exists, text is missing or damaged, or Beam lacks the runner.
    """
    ending = ".jsonl" if field else ".txt"
    files = {name: [str(file.path) for file in find_files(paths, ending)] for name, paths in splits.items()}
    builder = AnnotatedText(
        splits=files, phenomenon=phenomenon, unit=unit, field=field, data_dir=str(data_dir), file_format="array_record"
    )
    folder = Path(builder.data_dir)
    if folder.exists():
        raise UserError(f"{folder} exists already; remove it, or choose another folder")
    builder.download_and_prepare(download_config=_beam_config(options, shards))
    return folder


def _beam_config(options: Sequence[str], shards: int | None) -> tfds.download.DownloadConfig:
    beam_options = PipelineOptions(list(options))
    runner = beam_options.get_all_options().get("runner") or "DirectRunner"
    try:
        apache_beam.runners.create_runner(runner)
    except (ValueError, ImportError) as error:
        raise UserError(f"Beam has no runner {runner!r}: {error}") from error
    return tfds.download.DownloadConfig(beam_runner=runner, beam_options=beam_options, num_shards=shards)
