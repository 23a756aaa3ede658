"""Small corpora, tokenized as the pipeline does it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from npi_jax.corpus.annotation.annotations import Annotation
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.annotation.stored_text import AnnotatedStore, annotated_block, write_blocks
from npi_jax.corpus.encoded import Corpus, encode_store
from npi_jax.corpus.text.tokenizer import Tokenizer


def build_corpus(
    sentences: Sequence[str], annotations: Sequence[tuple[Annotation, ...]], tokenizer: Tokenizer, *, row_length: int
) -> Corpus:
    """Tokenize sentences whose annotations are known."""
    phenomenon = load_phenomenon("npi_en")
    # The arrays stay mapped into memory when the folder is gone.
    with tempfile.TemporaryDirectory() as name:
        text, tokens = Path(name, "text"), Path(name, "tokens")
        write_blocks(text, [annotated_block(list(sentences), annotations, "npi_en")])
        store = AnnotatedStore.open(text)
        encode_store(tokens, store, tokenizer, phenomenon, row_length=row_length)
        return Corpus.open(tokens, store, phenomenon)
