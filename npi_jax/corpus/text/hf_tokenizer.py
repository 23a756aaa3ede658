"""Tokenizers of Hugging Face directories, through the `tokenizers` library; nothing in them is executed."""

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

    As with transformers, special tokens that are written out in a text are taken for special tokens.

    Arguments:
        backend: the library's tokenizer.
        start, end: ids of the tokens that begin and end a sentence, None where there are none.
        prefix, suffix: ids that it puts before and after a text of its own accord.
    """

    kind = "hf"
    notes: tuple[str, ...] = ()
    """What its files say in vain, in sentences."""

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
        """Id of the beginning-of-sentence token, or if there is none of the end-of-sentence token."""
        return self._end if self._start is None else self._start

    @property
    def end(self) -> int | None:
        """Id of the end-of-sentence token."""
        return self._end

    @property
    def fingerprint(self) -> str:
        """Equal for two tokenizers that give the same ids."""
        state = [self._backend.to_str(), self.start, self.end, self.prefix, self.suffix]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def encode(self, text: str) -> Encoding:  # noqa: D102
        with _said():
            return super().encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[Encoding]:  # noqa: D102
        with _said():
            return super().encode_many(texts)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:  # noqa: D102
        with _said():
            return super().encode_batch(texts)

    def token(self, token_id: int) -> str:
        """The text that a token stands for, with the space before it if it has one.

        Raises:
            TokenizerError: there is no such id.
        """
        if self._backend.id_to_token(token_id) is None:
            raise TokenizerError(f"there is no token with id {token_id}")
        return self._backend.decode([token_id], skip_special_tokens=False)

    def _write(self, directory: Path) -> dict[str, Any]:
        raise TokenizerError(f"{directory}: the tokenizer of a Hugging Face directory is kept there, and not written")


def load_hf_tokenizer(path: str | Path) -> HFTokenizer | None:
    """The tokenizer of a directory, or None if it has no file of one.

    It gives the ids of `transformers.AutoTokenizer`, version 5.24, which are not always those of version 4: see
    `npi_jax.corpus.text.hf_backends`. Reads ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` (byte-level BPE as
    of GPT-2 and OPT); the special tokens from ``tokenizer_config.json``, ``special_tokens_map.json`` and
    ``config.json``.

    Raises:
        TokenizerError: a file is damaged, or the directory has a form of tokenizer that is not read; says which.
    """
    path = Path(path)
    config = read_settings(path / "config.json")
    settings = Settings.read(path, config)
    opened = open_backend(settings)
    if opened is None:
        if (path / "tokenizer.model").exists():
            raise TokenizerError(
                f"{path / 'tokenizer.model'}: SentencePiece models are not read; write tokenizer.json with "
                "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        return None
    backend, notes = opened
    start, end = (_special_id(backend, settings, config, name) for name in ("bos_token", "eos_token"))
    tokenizer = HFTokenizer(backend, start, end, *_ends(backend, path))
    tokenizer.notes = tuple(notes)
    return tokenizer


@contextmanager
def _said(place: str = "") -> Iterator[None]:
    """Turn the library's bare exceptions, as for a word outside a vocabulary without unknown words, into ours."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise TokenizerError(f"{place}the tokenizer cannot encode a text: {first_line(error)}") from error


def _ends(backend: tokenizers.Tokenizer, path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that the tokenizer's template puts before and after a text, such as <s> and [SEP]."""
    with _said(f"{path / TOKENIZER_FILE}: "):
        # A text with tokens; a vocabulary need not have Latin letters.
        texts = chain(["a"], (token for token in backend.get_vocab()))
        text = next((text for text in texts if backend.encode(text, add_special_tokens=False).ids), "a")
        encoded = backend.encode(text, add_special_tokens=True)
    # Special tokens in a text itself are not in this mask.
    inside = [place for place, added in enumerate(encoded.special_tokens_mask) if not added]
    first, last = (inside[0], inside[-1] + 1) if inside else (len(encoded.ids), len(encoded.ids))
    return tuple(encoded.ids[:first]), tuple(encoded.ids[last:])


def _unknown_id(backend: tokenizers.Tokenizer) -> int | None:
    """Id of the unknown word; a Unigram model keeps it as a number, which the library's class does not show."""
    model = json.loads(backend.to_str())["model"]
    if model.get("type") == "Unigram":
        unknown_id: int | None = model.get("unk_id")
        return unknown_id
    unknown = model.get("unk_token")
    return None if unknown is None else backend.token_to_id(unknown)


def hf_tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Files by name from which `transformers.AutoTokenizer` reads one of our BPE vocabularies.

    Raises:
        TokenizerError: for a vocabulary of words: its way to split words cannot be said in such files.
    """
    if not isinstance(tokenizer, LibraryTokenizer):
        raise TokenizerError(
            f"a {tokenizer.kind} tokenizer cannot be written for transformers, which cannot split words as it does; "
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
    # What config.json has may be no more than the default of its class: only a special token is believed.
    token_id = config.get(f"{name}_id")
    known = [i for i, added in backend.get_added_tokens_decoder().items() if added.special]
    return token_id if name not in settings.values and token_id in known else None
