"""Text to token ids: vocabularies of words, and of byte-level BPE."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tokenizers
from jaxtyping import Int32

from npi_jax.corpus.text.words import split_spans, split_words
from npi_jax.errors import UserError
from npi_jax.files.plain import read_named
from npi_jax.files.writing import write_json, write_text

__all__ = [
    "EOS",
    "UNK",
    "BPETokenizer",
    "Encoding",
    "Tokenizer",
    "TokenizerError",
    "WordTokenizer",
    "split_spans",
    "split_words",
]

EOS = "<eos>"
UNK = "<unk>"

_META_FILE = "tokenizer.json"
_VOCABULARY_FILE = "vocab.txt"
BPE_FILE = "bpe.json"
LARGEST_VOCABULARY = 64 << 20
"""Most bytes of a vocabulary of words."""
# The library's encodings hold strings and offsets besides the ids; blocks of this many sentences keep only a
# few of them in memory.
_BLOCK = 8192


class TokenizerError(UserError):
    """A vocabulary that cannot be built, read or used."""


@dataclass(frozen=True)
class Encoding:
    """A text's tokens.

    Attributes:
        ids: int32 [n], without an end-of-sentence token.
        offsets: int32 [n, 2], each token's characters in the text as ``[start, end)``, without the space
            before it. Where a character is divided among tokens each of them has the whole character.
    """

    ids: Int32[np.ndarray, " n"]
    offsets: Int32[np.ndarray, "n 2"]


class Tokenizer(ABC):
    """What every tokenizer can do; `Tokenizer.load` opens a saved one of either kind.

    Attributes:
        eos: id of the end-of-sentence token.
        unk: id of the unknown word; None where nothing is unknown.
        start, end: ids of the tokens before and after a sentence, None where there is none; of our own
            vocabularies both are `eos`.
        prefix, suffix: ids that the tokenizer itself puts before and after a text; our own put none.
    """

    kind: ClassVar[str]
    eos: int
    unk: int | None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()

    @property
    def start(self) -> int | None:
        """Id of the token that a sentence is read after."""
        return self.eos

    @property
    def end(self) -> int | None:
        """Id of the token that ends a sentence."""
        return self.eos

    @property
    def name(self) -> str:
        """Kind and size, such as ``"word-5000"``."""
        return f"{self.kind}-{self.vocab_size}"

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of token types, special ones included; ids are below it."""

    @abstractmethod
    def encode(self, text: str) -> Encoding:
        """Ids and character offsets of a text's tokens, no end-of-sentence token added."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """The ids alone of many texts; much faster than `encode` for each."""

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        """Ids and character offsets of many texts."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def token(self, token_id: int) -> str:
        """The string of a token id; for BPE the text it stands for, with the space before it if it has one.

        Raises:
            TokenizerError: there is no such id.
        """

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of many tokens; words are joined by spaces."""
        return " ".join(self.token(int(token_id)) for token_id in ids)

    @abstractmethod
    def _write(self, directory: Path) -> dict[str, Any]:
        """Write the vocabulary's own file, and return what must be known besides it to read it again."""

    def digest(self) -> str:
        """Return a SHA-256 that differs between tokenizers of another kind or vocabulary."""
        settings = f"{type(self).__name__} {getattr(self, 'lowercase', '')}"
        sha = hashlib.sha256(settings.encode())
        for index in range(self.vocab_size):
            sha.update(self.token(index).encode() + b"\n")
        return sha.hexdigest()

    def save(self, directory: Path) -> None:
        """Write the tokenizer as text files into a directory, which is made if need be."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        meta = {"kind": self.kind, "vocab_size": self.vocab_size, **self._write(directory)}
        # Last, so that a directory with this file in it is complete.
        write_json(directory / _META_FILE, meta)

    @staticmethod
    def load(directory: Path) -> "Tokenizer":
        """Open what `save` wrote.

        Raises:
            TokenizerError: the directory holds no saved tokenizer, or a damaged one.
        """
        path = Path(directory) / _META_FILE
        if not path.is_file():
            raise TokenizerError(f"{path}: no such file; give a directory that Tokenizer.save wrote")
        try:
            meta = json.loads(read_named(path))
            kind, size = meta["kind"], meta["vocab_size"]
            lowercase = bool(meta["lowercase"]) if kind == WordTokenizer.kind else False
        except (ValueError, KeyError, TypeError) as error:
            raise TokenizerError(f"{path}: not a saved tokenizer's description: {error!r}") from error
        tokenizer: Tokenizer
        if kind == WordTokenizer.kind:
            vocabulary = path.parent / _VOCABULARY_FILE
            tokenizer = WordTokenizer.from_file(vocabulary, lowercase=lowercase)
        elif kind == BPETokenizer.kind:
            tokenizer = BPETokenizer.from_file(path.parent / BPE_FILE)
        else:
            raise TokenizerError(f"{path}: kind is {kind!r}, not 'word' or 'bpe'")
        if tokenizer.vocab_size != size:
            raise TokenizerError(
                f"{path}: vocab_size is {size} but the vocabulary beside it has {tokenizer.vocab_size} tokens"
            )
        return tokenizer


class WordTokenizer(Tokenizer):
    """A vocabulary of whole words (of `split_words`); others are ``<unk>``.

    Arguments:
        words: the vocabulary in the order of the ids, with ``<eos>`` and ``<unk>`` among them, none twice.
        lowercase: words are looked up in lower case.
    """

    kind = "word"
    unk: int

    def __init__(self, words: Sequence[str], *, lowercase: bool = False) -> None:
        self._words = tuple(words)
        self._ids = {word: i for i, word in enumerate(self._words)}
        self.lowercase = lowercase
        if len(self._ids) != len(self._words):
            word, _ = Counter(self._words).most_common(1)[0]
            raise TokenizerError(f"the vocabulary has the word {word!r} twice")
        for special in (EOS, UNK):
            if special not in self._ids:
                raise TokenizerError(f"the vocabulary has no {special}")
        self.eos, self.unk = self._ids[EOS], self._ids[UNK]

    @classmethod
    def train(
        cls,
        sentences: Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
    ) -> "WordTokenizer":
        """Take the commonest words of the sentences; ties in alphabetical order, so it is deterministic.

        Arguments:
            max_size: most token types, ``<eos>`` (id 0) and ``<unk>`` (id 1) included; None for no limit.
            min_count: words seen less often are left out.

        Raises:
            TokenizerError: no word qualifies, or a limit is out of range.
        """
        if min_count < 1:
            raise TokenizerError(f"min_count is {min_count}; it must be at least 1")
        if max_size is not None and max_size < 3:
            raise TokenizerError(f"max_size is {max_size}; it must be at least 3: {EOS}, {UNK} and one word")
        counts = _count_words(sentences, lowercase=lowercase)
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        if not ranked:
            raise TokenizerError(
                f"the vocabulary is empty: of {len(counts)} word types none occurs {min_count} times or more"
            )
        room = len(ranked) if max_size is None else max_size - 2
        return cls([EOS, UNK, *(word for _, word in ranked[:room])], lowercase=lowercase)

    @classmethod
    def from_file(cls, path: Path, *, lowercase: bool = False) -> "WordTokenizer":
        """Read a vocabulary of one word a line; the line's number from 0 is the word's id.

        Raises:
            TokenizerError: an empty or repeated line, no ``<eos>`` or ``<unk>``, not UTF-8, or no such file.
            UserError: no plain file, or beyond `LARGEST_VOCABULARY`.
        """
        path = Path(path)
        try:
            # Editors on Windows put a byte order mark before the first word.
            text = read_named(path, most=LARGEST_VOCABULARY).decode("utf-8").removeprefix("\ufeff")
        except OSError as error:
            raise TokenizerError(f"{path}: cannot read the vocabulary: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
        # Not splitlines: it also cuts at signs that may be words of a vocabulary (U+0085, U+2028).
        lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        _check_vocabulary(path, lines)
        return cls(lines, lowercase=lowercase)

    @property
    def vocab_size(self) -> int:  # noqa: D102
        return len(self._words)

    def encode(self, text: str) -> Encoding:  # noqa: D102
        spans = split_spans(text)
        offsets = np.array([span[1:] for span in spans], dtype=np.int32).reshape(-1, 2)
        return Encoding(self._lookup([span[0] for span in spans]), offsets)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:  # noqa: D102
        return [self._lookup(split_words(text)) for text in texts]

    def token(self, token_id: int) -> str:  # noqa: D102
        _check_id(token_id, self.vocab_size)
        return self._words[token_id]

    def _lookup(self, words: list[str]) -> Int32[np.ndarray, " _"]:
        get, unk = self._ids.get, self.unk
        # Word by word: lowering a whole text first could move its characters ("İ" becomes two).
        if self.lowercase:
            return np.array([get(word.lower(), unk) for word in words], dtype=np.int32)
        return np.array([get(word, unk) for word in words], dtype=np.int32)

    def _write(self, directory: Path) -> dict[str, Any]:
        write_text(directory / _VOCABULARY_FILE, "\n".join(self._words) + "\n")
        return {"lowercase": self.lowercase}


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library; no special tokens are added to a text.

    Arguments:
        backend: the library's tokenizer.
    """

    unk: int | None = None

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend

    def digest(self) -> str:
        # Not token by token: tokens that are parts of characters have equal strings.
        return hashlib.sha256(str(self._backend.to_str()).encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> Encoding:
        return _encoding(text, self._backend.encode(text, add_special_tokens=False))

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:
        return [
            _encoding(text, encoded)
            for block in _blocks(texts)
            for text, encoded in zip(block, self._backend.encode_batch(block, add_special_tokens=False), strict=True)
        ]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._backend.decode([int(token_id) for token_id in ids], skip_special_tokens=False)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        return [
            np.array(encoded.ids, dtype=np.int32)
            for block in _blocks(texts)
            for encoded in self._backend.encode_batch_fast(block, add_special_tokens=False)
        ]


class BPETokenizer(LibraryTokenizer):
    """Byte-level BPE of the `tokenizers` library; any text can be encoded, nothing is unknown.

    A text's first word is encoded as if a space came before it, so that a word has the same ids at the start
    of a sentence as inside it. Sentences are encoded as given: "left ." and "left." have different ids.

    Arguments:
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
        """Learn merges until there are `size` token types; fewer where the text has no more pairs.

        The 256 bytes and ``<eos>`` (id 0) are always in; the same sentences give the same vocabulary.

        Raises:
            TokenizerError: `size` is below 258, or there is no text.
        """
        if size < 258:
            raise TokenizerError(f"size is {size}; 256 bytes, {EOS} and one merge need at least 258")
        backend = tokenizers.Tokenizer(tokenizers.models.BPE())
        backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.post_processor = tokenizers.processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
        backend.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[EOS],
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(sentences, trainer)
        if backend.get_vocab_size() == 257:
            raise TokenizerError("the vocabulary is empty: the sentences have no pair of letters to merge")
        # The library finds special tokens in running text too. A text must not end its own sentence, so <eos>
        # is kept as an id that no text reaches.
        state = json.loads(backend.to_str())
        state["added_tokens"] = []
        return cls(tokenizers.Tokenizer.from_str(json.dumps(state)))

    @classmethod
    def from_file(cls, path: Path) -> "BPETokenizer":
        """Read a JSON file of the `tokenizers` library.

        Raises:
            TokenizerError: no such file, not of that library, or without ``<eos>``.
        """
        try:
            text = read_named(Path(path)).decode("utf-8").removeprefix("\ufeff")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{path}: cannot read the vocabulary: {error}") from error
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"{path}: not a usable file of the tokenizers library: {error}") from error

    def token(self, token_id: int) -> str:  # noqa: D102
        _check_id(token_id, self.vocab_size)
        return EOS if token_id == self.eos else self._backend.decode([token_id], skip_special_tokens=False)

    def _write(self, directory: Path) -> dict[str, Any]:
        write_text(directory / BPE_FILE, self._backend.to_str(pretty=True) + "\n")
        return {}


def _count_words(sentences: Iterable[str], *, lowercase: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(split_words(sentence))
    if lowercase:
        lowered: Counter[str] = Counter()
        for word, count in counts.items():
            lowered[word.lower()] += count
        counts = lowered
    del counts[EOS], counts[UNK]
    return counts


def _check_vocabulary(path: Path, lines: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, word in enumerate(lines, start=1):
        if not word:
            raise TokenizerError(f"{path}, line {number}: empty line; a vocabulary has one word a line")
        if word in seen:
            raise TokenizerError(f"{path}, line {number}: {word!r} is on line {seen[word]} already")
        seen[word] = number
    for special in (EOS, UNK):
        if special not in seen:
            raise TokenizerError(f"{path}, lines 1 to {len(lines)}: none is {special}; add a line for it")


def _check_id(token_id: int, size: int) -> None:
    if not 0 <= token_id < size:
        raise TokenizerError(f"token id {token_id} is outside 0 to {size - 1}")


def _encoding(text: str, encoded: tokenizers.Encoding) -> Encoding:
    offsets = encoded.offsets
    # The library's own trimming of spaces misses them at a text's start.
    if any(text[start : start + 1].isspace() for start, _ in offsets):
        offsets = [_trim(text, start, end) for start, end in offsets]
    return Encoding(np.array(encoded.ids, dtype=np.int32), np.array(offsets, dtype=np.int32).reshape(-1, 2))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Take the space off a token's characters; a token of nothing but spaces has none left."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while block := list(islice(texts, _BLOCK)):
        yield block
