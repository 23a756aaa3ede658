"""Vocabularies of whole words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from npi_jax.corpus.text.tokenizer.base import EOS, META_FILE, UNK, Encoding, Tokenizer, TokenizerError, check_id
from npi_jax.corpus.text.words import split_spans, split_words
from npi_jax.files.plain import read_named
from npi_jax.files.writing import write_text

LARGEST_VOCABULARY = 64 << 20
"""Maximum size of a vocabulary file, bytes."""

_VOCABULARY_FILE = "vocab.txt"


class WordTokenizer(Tokenizer):
    """A vocabulary of whole words (of `split_words`); all other words are ``<unk>``.

    Args:
        words: the vocabulary in the order of the ids, including ``<eos>`` and ``<unk>``, without repetition.
        lowercase: True to look up words in lower case.
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
        """Take the most frequent words of the sentences; ties are in alphabetical order.

        Args:
            max_size: maximum number of token types, including ``<eos>`` (id 0) and ``<unk>`` (id 1); None for no limit.
            min_count: minimum frequency of a word.

        Raises:
            TokenizerError: if no word qualifies, or a limit is out of range.
        """
        _check_limits(max_size, min_count)
        counts = _count_words(sentences, lowercase=lowercase)
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        if not ranked:
            raise TokenizerError(
                f"the vocabulary is empty: of {len(counts)} word types none occurs {min_count} times or more"
            )
        kept = len(ranked) if max_size is None else max_size - 2
        return cls([EOS, UNK, *(word for _, word in ranked[:kept])], lowercase=lowercase)

    @classmethod
    def from_file(cls, path: Path, *, lowercase: bool = False) -> "WordTokenizer":
        """Read a vocabulary of one word per line; the id of a word is its line number, counted from 0.

        Raises:
            TokenizerError: an empty or repeated line, no ``<eos>`` or ``<unk>``, not UTF-8, or no such file.
            UserError: not a plain file, or larger than `LARGEST_VOCABULARY`.
        """
        path = Path(path)
        try:
            # Editors on Windows put a byte order mark before the first word.
            text = read_named(path, most=LARGEST_VOCABULARY).decode("utf-8").removeprefix("\ufeff")
        except OSError as error:
            raise TokenizerError(f"{path}: cannot read the vocabulary: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
        # splitlines() would also split at characters that may be words of a vocabulary (U+0085, U+2028).
        lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        _check_lines(path, lines)
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
        check_id(token_id, self.vocab_size)
        return self._words[token_id]

    def _lookup(self, words: list[str]) -> Int32[np.ndarray, " _"]:
        get, unk = self._ids.get, self.unk
        # Words are lower-cased one by one, since lower-casing the text could shift its characters ("İ" becomes two).
        if self.lowercase:
            return np.array([get(word.lower(), unk) for word in words], dtype=np.int32)
        return np.array([get(word, unk) for word in words], dtype=np.int32)

    def _write(self, directory: Path) -> dict[str, Any]:
        write_text(directory / _VOCABULARY_FILE, "\n".join(self._words) + "\n")
        return {"lowercase": self.lowercase}

    @classmethod
    def _read(cls, directory: Path, settings: Mapping[str, Any]) -> "WordTokenizer":
        if "lowercase" not in settings:
            raise TokenizerError(f"{directory / META_FILE}: not a saved tokenizer's description: it has no lowercase")
        return cls.from_file(directory / _VOCABULARY_FILE, lowercase=bool(settings["lowercase"]))


def _check_limits(max_size: int | None, min_count: int) -> None:
    if min_count < 1:
        raise TokenizerError(f"min_count is {min_count}; it must be at least 1")
    if max_size is not None and max_size < 3:
        raise TokenizerError(f"max_size is {max_size}; it must be at least 3: {EOS}, {UNK} and one word")


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


def _check_lines(path: Path, lines: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, word in enumerate(lines, start=1):
        if not word:
            raise TokenizerError(f"{path}, line {number}: empty line; a vocabulary has one word per line")
        if word in seen:
            raise TokenizerError(f"{path}, line {number}: {word!r} is on line {seen[word]} already")
        seen[word] = number
    for special in (EOS, UNK):
        if special not in seen:
            raise TokenizerError(f"{path}, lines 1 to {len(lines)}: none is {special}; add a line for it")
