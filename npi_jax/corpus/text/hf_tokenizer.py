"""Tokenizers of Hugging Face directories, read with the `tokenizers` library; no code in a directory is run."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from npi_jax.corpus.text.hf_backends import TOKENIZER_FILE, Settings, open_backend, read_settings
from npi_jax.corpus.text.tokenizer import Encoding, LibraryTokenizer, Tokenizer, TokenizerError
from npi_jax.errors import first_line

CONFIG_FILE = "tokenizer_config.json"


class HFTokenizer(LibraryTokenizer):
    """The tokenizer of a Hugging Face directory.

    As in transformers, the string of a special token in a text becomes that special token.

    Args:
        backend: the library's tokenizer.
        start, end: ids of the tokens before and after a sentence; None without such a token.
        prefix, suffix: ids that the tokenizer itself adds before and after a text.
    """

    kind = "hf"
    notes: tuple[str, ...] = ()
    """Settings in the tokenizer's files that have no effect here, one sentence each."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        start: int | None,
        end: int | None,
        prefix: tuple[int, ...],
        suffix: tuple[int, ...] = (),
    ) -> None:
        super().__init__(backend)
        self.unk = _unknown_id(backend)
        self._start, self._end, self.prefix, self.suffix = start, end, prefix, suffix

    @property
    def start(self) -> int | None:
        """Id of the beginning-of-sentence token, or of the end-of-sentence token if the former is missing."""
        return self._end if self._start is None else self._start

    @property
    def end(self) -> int | None:
        """Id of the end-of-sentence token."""
        return self._end

    @property
    def fingerprint(self) -> str:
        """Digest of the tokenizer; tokenizers with equal digests give the same ids."""
        state = [self._backend.to_str(), self.start, self.end, self.prefix, self.suffix]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def encode(self, text: str) -> Encoding:  # noqa: D102
        with _library_errors():
            return super().encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:  # noqa: D102
        with _library_errors():
            return super().encode_many(texts)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:  # noqa: D102
        with _library_errors():
            return super().encode_batch(texts)

    def token(self, token_id: int) -> str:
        """Return the text of a token, including a space before it.

        Raises:
            TokenizerError: if there is no such id.
        """
        if self._backend.id_to_token(token_id) is None:
            raise TokenizerError(f"there is no token with id {token_id}")
        return self._backend.decode([token_id], skip_special_tokens=False)

    def _write(self, directory: Path) -> dict[str, Any]:
        raise TokenizerError(
            f"{directory}: the tokenizer of a Hugging Face directory cannot be saved; use the directory itself"
        )


def load_hf_tokenizer(path: str | Path) -> HFTokenizer | None:
    """Open the tokenizer of a directory; None if the directory has no tokenizer files.

    The ids are those of `transformers.AutoTokenizer`, version 5.24. Ids of version 4 can differ, see
    `npi_jax.corpus.text.hf_backends`. The vocabulary is read from ``tokenizer.json``, or from ``vocab.json`` and
    ``merges.txt`` (byte-level BPE of GPT-2 and OPT). Special tokens are read from ``tokenizer_config.json``,
    ``special_tokens_map.json`` and ``config.json``.

    Raises:
        TokenizerError: if a file is damaged, or the tokenizer has an unsupported format.
    """
    path = Path(path)
    config = read_settings(path / "config.json")
    settings = Settings.read(path, config)
    opened = open_backend(settings)
    if opened is None:
        if (path / "tokenizer.model").exists():
            raise TokenizerError(
                f"{path / 'tokenizer.model'}: SentencePiece models are not supported; write tokenizer.json with "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        return None
    backend, notes = opened
    start, end = (_special_id(backend, settings, config, name) for name in ("bos_token", "eos_token"))
    tokenizer = HFTokenizer(backend, start, end, *_ends(backend, path))
    tokenizer.notes = tuple(notes)
    return tokenizer


@contextmanager
def _library_errors(file: str = "") -> Iterator[None]:
    """Turn bare exceptions of the library into `TokenizerError`, for example for a word outside the vocabulary."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise TokenizerError(f"{file}the tokenizer cannot encode a text: {first_line(error)}") from error


def _ends(backend: tokenizers.Tokenizer, path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the tokenizer's template adds before and after a text, such as <s> and [SEP]."""
    with _library_errors(f"{path / TOKENIZER_FILE}: "):
        # The vocabulary may lack Latin letters, so search for a text that has tokens.
        texts = chain(["a"], (token for token in backend.get_vocab()))
        text = next((text for text in texts if backend.encode(text, add_special_tokens=False).ids), "a")
        encoded = backend.encode(text, add_special_tokens=True)
    # The mask does not mark special tokens that are part of the text.
    inside = [at for at, added in enumerate(encoded.special_tokens_mask) if not added]
    first, last = (inside[0], inside[-1] + 1) if inside else (len(encoded.ids), len(encoded.ids))
    return tuple(encoded.ids[:first]), tuple(encoded.ids[last:])


def _unknown_id(backend: tokenizers.Tokenizer) -> int | None:
    """Return the id of the unknown word; the library does not expose the id of a Unigram model."""
    model = json.loads(backend.to_str())["model"]
    if model.get("type") == "Unigram":
        unknown_id: int | None = model.get("unk_id")
        return unknown_id
    unknown = model.get("unk_token")
    return None if unknown is None else backend.token_to_id(unknown)


def hf_tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Return the files, by name, from which `transformers.AutoTokenizer` reads a BPE tokenizer of this package.

    Raises:
        TokenizerError: for a vocabulary of words: transformers has no equivalent of `split_words`.
    """
    if not isinstance(tokenizer, LibraryTokenizer):
        raise TokenizerError(
            f"a {tokenizer.kind} tokenizer cannot be written for transformers, which splits words differently; "
            "train with tokenizer.kind = 'bpe', or export without it (--no-tokenizer) and pass token ids"
        )
    backend = tokenizers.Tokenizer.from_str(tokenizer._backend.to_str())
    special = {}
    for name, token_id in (("bos_token", tokenizer.start), ("eos_token", tokenizer.end)):
        if token_id is not None:
            special[name] = backend.id_to_token(token_id)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    return {
        TOKENIZER_FILE: (backend.to_str(pretty=True) + "\n").encode(),
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
        "special_tokens_map.json": (json.dumps(special, indent=2) + "\n").encode(),
    }


def _special_id(backend: tokenizers.Tokenizer, settings: Settings, config: Mapping[str, Any], name: str) -> int | None:
    token = settings.token(name)
    if token is not None:
        token_id: int | None = backend.token_to_id(token)
        if token_id is None:
            raise TokenizerError(f"{settings.files}: {name} is {repr(token)[:80]}, which is not in the vocabulary")
        return token_id
    if (default := settings.default(name)) is not None and backend.token_to_id(default) is not None:
        return backend.token_to_id(default)
    # An id in config.json may be the default of a model class, so it counts only if the token is special.
    token_id = config.get(f"{name}_id")
    known = [i for i, added in backend.get_added_tokens_decoder().items() if added.special]
    return token_id if name not in settings.values and token_id in known else None
