"""The interface of all tokenizers."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int32, Integer

from npi_jax.errors import UserError
from npi_jax.files.plain import read_named
from npi_jax.files.writing import write_json

EOS = "<eos>"
UNK = "<unk>"

META_FILE = "tokenizer.json"


class TokenizerError(UserError):
    """A vocabulary that cannot be built, read or used."""


@dataclass(frozen=True)
class Encoding:
    """The tokens of a text.

    Attributes:
        ids: token ids, without an end-of-sentence token.
        offsets: characters of each token in the text as ``[start, end)``, without the space before the token. If
            several tokens share a character, each of them covers all of it.
    """

    ids: Int32[np.ndarray, " n"]
    offsets: Int32[np.ndarray, "n 2"]


class Tokenizer(ABC):
    """A tokenizer; `Tokenizer.load` opens a saved one of any kind.

    Attributes:
        eos: id of the end-of-sentence token.
        unk: id of the unknown word; None if every text can be encoded.
        start, end: ids of the tokens before and after a sentence; None without such a token. Both are `eos` in
            vocabularies that this package trains.
        prefix, suffix: ids that the tokenizer adds before and after a text by default; empty in vocabularies that this
            package trains.
    """

    kind: ClassVar[str]
    eos: int
    unk: int | None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()

    @property
    def start(self) -> int | None:
        """Id of the token before a sentence."""
        return self.eos

    @property
    def end(self) -> int | None:
        """Id of the token after a sentence."""
        return self.eos

    @property
    def name(self) -> str:
        """Kind and size, such as ``"word-5000"``."""
        return f"{self.kind}-{self.vocab_size}"

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of token types, including special ones; all ids are below it."""

    @abstractmethod
    def encode(self, text: str) -> Encoding:
        """Return the ids of a text's tokens with their characters; no end-of-sentence token is added."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """Return the ids of many texts, without characters; much faster than `encode` for each."""

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """Return the ids of many texts with their characters."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def token(self, token_id: int) -> str:
        """Return the string of a token id; for BPE this is the text of the token, including a space before it.

        Raises:
            TokenizerError: if there is no such id.
        """

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """Return the text of many tokens; words are joined by spaces."""
        return " ".join(self.token(int(token_id)) for token_id in ids)

    def digest(self) -> str:
        """Return a SHA-256 that differs between tokenizers of different kinds or vocabularies."""
        settings = f"{type(self).__name__} {getattr(self, 'lowercase', '')}"
        sha = hashlib.sha256(settings.encode())
        for index in range(self.vocab_size):
            sha.update(self.token(index).encode() + b"\n")
        return sha.hexdigest()

    # -- files ------------------------------------------------------------------------------------------

    _saved: ClassVar[dict[str, type["Tokenizer"]]] = {}
    """The classes that can be saved, by kind."""

    def __init_subclass__(cls) -> None:
        if "_read" in vars(cls):
            cls._saved[cls.kind] = cls

    @abstractmethod
    def _write(self, directory: Path) -> dict[str, Any]:
        """Write the vocabulary file, and return the other settings that `_read` needs."""

    @classmethod
    def _read(cls, directory: Path, settings: Mapping[str, Any]) -> "Tokenizer":
        """Read what `_write` wrote; a class that implements this can be saved."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        """Write the tokenizer to a directory as text files; the directory is created if it is missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        meta = {"kind": self.kind, "vocab_size": self.vocab_size, **self._write(directory)}
        # This file is written last, so that a directory with it is complete.
        write_json(directory / META_FILE, meta)

    @staticmethod
    def load(directory: Path) -> "Tokenizer":
        """Open a tokenizer that `save` wrote.

        Raises:
            TokenizerError: if the directory holds no saved tokenizer, or a damaged one.
        """
        path = Path(directory) / META_FILE
        if not path.is_file():
            raise TokenizerError(f"{path}: no such file; give a directory that Tokenizer.save wrote")
        meta = _read_meta(path)
        if meta.kind not in Tokenizer._saved:
            known = " or ".join(map(repr, Tokenizer._saved))
            raise TokenizerError(f"{path}: kind is {meta.kind!r}, not {known}")
        tokenizer = Tokenizer._saved[meta.kind]._read(path.parent, meta.settings)
        if tokenizer.vocab_size != meta.vocab_size:
            raise TokenizerError(
                f"{path}: vocab_size is {meta.vocab_size}, but the vocabulary beside it has {tokenizer.vocab_size}"
            )
        return tokenizer


class _Meta(NamedTuple):
    """Content of the file that describes a saved tokenizer."""

    kind: str
    vocab_size: int
    settings: dict[str, Any]


def _read_meta(path: Path) -> _Meta:
    try:
        settings = json.loads(read_named(path))
        return _Meta(str(settings["kind"]), settings["vocab_size"], settings)
    except (ValueError, KeyError, TypeError) as error:
        raise TokenizerError(f"{path}: not a saved tokenizer's description: {error!r}") from error


def check_id(token_id: int, size: int) -> None:
    """Refuse an id that no token has.

    Raises:
        TokenizerError: naming the id and the valid ones.
    """
    if not 0 <= token_id < size:
        raise TokenizerError(f"token id {token_id} is outside 0 to {size - 1}")
