"""Tokenizers of the `tokenizers` library: byte-level BPE, and the base class of `HFTokenizer`."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32, Integer

from npi_jax.corpus.text.tokenizer.base import EOS, Encoding, Tokenizer, TokenizerError, check_id
from npi_jax.files.plain import read_named
from npi_jax.files.writing import write_text

# Texts that the library encodes at once. Its encodings hold strings and offsets besides the ids, so only a few are
# kept in memory.
_BLOCK = 8192
_BPE_FILE = "bpe.json"
_SMALLEST = 258
"""Minimum size of a BPE vocabulary: 256 bytes, `<eos>` and one merge."""


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library; no special tokens are added to a text.

    Args:
        backend: the library's tokenizer.
    """

    unk: int | None = None

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend

    def digest(self) -> str:
        """Return the SHA-256 of the tokenizer as the library writes it."""
        # The strings of tokens do not suffice: different parts of characters have equal strings.
        return hashlib.sha256(str(self._backend.to_str()).encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of token types, including special ones."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> Encoding:
        """Return the ids of a text's tokens with their characters."""
        return _encoding(text, self._backend.encode(text, add_special_tokens=False))

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """Return the ids of many texts with their characters, several texts at once."""
        return [
            _encoding(text, encoded)
            for block in _blocks(texts)
            for text, encoded in zip(block, self._backend.encode_batch(block, add_special_tokens=False), strict=True)
        ]

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """Return the text of many tokens, with the spaces that the tokens hold."""
        return self._backend.decode([int(token_id) for token_id in ids], skip_special_tokens=False)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """Return the ids of many texts, without characters."""
        return [
            np.array(encoded.ids, dtype=np.int32)
            for block in _blocks(texts)
            for encoded in self._backend.encode_batch_fast(block, add_special_tokens=False)
        ]


class BPETokenizer(LibraryTokenizer):
    """Byte-level BPE; every text can be encoded, no word is unknown.

    The first word of a text is encoded as if a space came before it. A word therefore has the same ids at the start of
    a sentence as inside it. Texts are encoded as written: "left ." and "left." have different ids.

    Args:
        backend: a tokenizer of the library, with ``<eos>`` in its vocabulary.
    """

    kind = "bpe"

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        super().__init__(backend)
        eos = backend.token_to_id(EOS)
        if eos is None:
            raise TokenizerError(f"the vocabulary has no {EOS}")
        self.eos = eos

    @classmethod
    def train(cls, sentences: Iterable[str], *, size: int) -> "BPETokenizer":
        """Learn merges until there are `size` token types; fewer if the text has no more pairs.

        The vocabulary always holds the 256 bytes and ``<eos>`` (id 0). Equal sentences give equal vocabularies.

        Raises:
            TokenizerError: if `size` is too small, or there is no text.
        """
        if size < _SMALLEST:
            raise TokenizerError(f"size is {size}; 256 bytes, {EOS} and one merge need at least {_SMALLEST}")
        backend = _untrained()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[EOS],
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(sentences, trainer)
        if backend.get_vocab_size() == _SMALLEST - 1:
            raise TokenizerError("the vocabulary is empty: the sentences have no pair of letters to merge")
        # The library also recognizes special tokens in running text. A text must not end its sentence, so <eos> is
        # removed from the special tokens, and no text is encoded to its id.
        state = json.loads(backend.to_str())
        state["added_tokens"] = []
        return cls(tokenizers.Tokenizer.from_str(json.dumps(state)))

    @classmethod
    def from_file(cls, path: Path) -> "BPETokenizer":
        """Read a JSON file of the `tokenizers` library.

        Raises:
            TokenizerError: no such file, not a file of that library, or without ``<eos>``.
        """
        try:
            text = read_named(Path(path)).decode("utf-8").removeprefix("\ufeff")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{path}: cannot read the vocabulary: {error}") from error
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"{path}: not a usable file of the tokenizers library: {error}") from error

    def token(self, token_id: int) -> str:
        """Return the text of a token, including a space before it."""
        check_id(token_id, self.vocab_size)
        return EOS if token_id == self.eos else self._backend.decode([token_id], skip_special_tokens=False)

    def _write(self, directory: Path) -> dict[str, Any]:
        write_text(directory / _BPE_FILE, self._backend.to_str(pretty=True) + "\n")
        return {}

    @classmethod
    def _read(cls, directory: Path, settings: Mapping[str, Any]) -> "BPETokenizer":
        del settings
        return cls.from_file(directory / _BPE_FILE)


def _untrained() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.post_processor = tokenizers.processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    return backend


def _encoding(text: str, encoded: tokenizers.Encoding) -> Encoding:
    offsets = encoded.offsets
    # The library does not trim spaces at the start of a text.
    if any(text[start : start + 1].isspace() for start, _ in offsets):
        offsets = [_trim(text, start, end) for start, end in offsets]
    return Encoding(np.array(encoded.ids, dtype=np.int32), np.array(offsets, dtype=np.int32).reshape(-1, 2))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Remove spaces from the start of a token's characters; a token of spaces then has no characters."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while block := list(islice(texts, _BLOCK)):
        yield block
