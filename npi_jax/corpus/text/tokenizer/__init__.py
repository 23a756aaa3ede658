"""Tokenizers: vocabularies of words, and of byte-level BPE."""

from npi_jax.corpus.text.tokenizer.base import EOS, UNK, Encoding, Tokenizer, TokenizerError
from npi_jax.corpus.text.tokenizer.bpe import BPETokenizer, LibraryTokenizer
from npi_jax.corpus.text.tokenizer.word import WordTokenizer

__all__ = [
    "EOS",
    "UNK",
    "BPETokenizer",
    "Encoding",
    "LibraryTokenizer",
    "Tokenizer",
    "TokenizerError",
    "WordTokenizer",
]
