"""Builds tokenizers of the `tokenizers` library from the files of a directory, as transformers 5 does.

The reference is `transformers.AutoTokenizer` of version 5.24. Its classes LlamaTokenizer, GPT2Tokenizer and
GPTNeoXTokenizer read vocabulary, merges and template from ``tokenizer.json``, but build normalizer and pre-tokenizer
themselves. For every other class ``tokenizer.json`` is used unchanged. Ids of version 4 can differ: it also used the
file's normalizer and pre-tokenizer, and changed them for some settings only.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from npi_jax.corpus.text.tokenizer import TokenizerError
from npi_jax.errors import first_line
from npi_jax.files.plain import read_json_object, read_text_plain

TOKENIZER_FILE = "tokenizer.json"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
VOCABULARY_LIMIT = 512 << 20
"""Maximum size of a vocabulary file, bytes; a file with 256,000 tokens has 33 MB."""

_CLASS_OF_MODEL = {"gpt2": "GPT2Tokenizer", "opt": "GPT2Tokenizer", "gpt_neox": "GPTNeoXTokenizer"}
_BUILT: dict[str, dict[str, str]] = {
    "LlamaTokenizer": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "GPT2Tokenizer": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "GPTNeoXTokenizer": {
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
        "pad_token": "<|padding|>",
    },
}
"""Classes that build normalizer and pre-tokenizer themselves, with their default special tokens."""
_MADE_BY = {
    "LlamaTokenizer": {"Prepend", "Replace", "Metaspace"},
    "GPT2Tokenizer": {"ByteLevel"},
    "GPTNeoXTokenizer": {"ByteLevel", "NFC"},
}
"""Normalizers and pre-tokenizers that a class replaces by an equivalent one."""
_AS_IT_IS = {"TokenizersBackend", "PreTrainedTokenizer"}
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

Made = TypeVar("Made")


@dataclass(frozen=True)
class Settings:
    """Settings of a tokenizer besides its vocabulary.

    Attributes:
        kind: class name in transformers, without ``Fast``; empty if the files name none.
        values: content of ``tokenizer_config.json``, with the special tokens of ``special_tokens_map.json``.
        files: the directory.
    """

    kind: str
    values: Mapping[str, Any]
    files: Path

    @classmethod
    def read(cls, path: Path, config: Mapping[str, Any]) -> "Settings":
        """Read the settings of a directory, given the content of its ``config.json``, which may name the class."""
        values = read_settings(path / "tokenizer_config.json")
        kind = values.get("tokenizer_class") or config.get("tokenizer_class")
        if not isinstance(kind, str):
            kind = _CLASS_OF_MODEL.get(str(config.get("model_type")), "")
        # transformers ignores the older file if the newer list of added tokens exists.
        if "added_tokens_decoder" not in values:
            values = {**values, **read_settings(path / "special_tokens_map.json")}
        return cls(kind.removesuffix("Fast"), values, path)

    def flag(self, name: str, default: bool) -> bool:
        """Return a Boolean setting; null counts as missing."""
        value = self.values.get(name)
        return default if value is None else bool(value)

    def token(self, name: str) -> str | None:
        """Return the string of a special token; the file may hold a string or an object."""
        return content(self.values.get(name))

    def default(self, name: str) -> str | None:
        """Return the class's default for a special token; None if the files have the setting, even as null."""
        return None if name in self.values else _BUILT.get(self.kind, {}).get(name)


def content(value: Any) -> str | None:
    """Return the string of a token, which the file may hold as a string or an object."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def read_settings(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; an empty one if there is no such file.

    Raises:
        TokenizerError: if the path is not a plain JSON file with an object.
    """
    try:
        return read_json_object(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TokenizerError(f"{path}: {error}") from error


def open_backend(settings: Settings) -> tuple[tokenizers.Tokenizer, list[str]] | None:
    """Return the tokenizer of a directory, with notes on settings without effect; None without tokenizer files.

    Raises:
        TokenizerError: if a file is damaged or too large.
    """
    path = settings.files
    if (path / TOKENIZER_FILE).exists():
        backend, notes = _from_tokenizer_file(path / TOKENIZER_FILE, settings)
    elif (path / VOCABULARY_FILE).exists() and (path / MERGES_FILE).exists():
        backend, notes = _from_vocabulary(settings), _class_note(path / VOCABULARY_FILE, settings, "as GPT-2's")
    else:
        return None
    backend.no_padding()
    backend.no_truncation()
    return backend, notes


def _from_tokenizer_file(file: Path, settings: Settings) -> tuple[tokenizers.Tokenizer, list[str]]:
    try:
        text = read_text_plain(file, VOCABULARY_LIMIT)
        state = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise TokenizerError(f"{file}: not a file of the tokenizers library: {first_line(error)}") from error
    _check_merges(file, state)
    backend = _library(file, lambda: tokenizers.Tokenizer.from_str(text))
    model = state["model"]
    notes = _class_note(file, settings, "as it is")
    if _is_built(settings.kind, model, text):
        if unused := sorted(set(_types(state)) - _MADE_BY[settings.kind]):
            notes.append(
                f"{file}: {', '.join(unused)} not used, as in transformers 5, whose {settings.kind} builds its own"
            )
        template = backend.post_processor
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        backend = _library(file, lambda: _build(settings, model["vocab"], pairs))
        if settings.kind != "GPTNeoXTokenizer" and template is not None:
            backend.post_processor = template
    _add_tokens(backend, settings, state.get("added_tokens") or [])
    return backend, notes


def _class_note(file: Path, settings: Settings, manner: str) -> list[str]:
    """Return a note if transformers has a special class for this tokenizer that this package does not imitate."""
    if settings.kind in _AS_IT_IS | _BUILT.keys() | {""}:
        return []
    return [f"{file}: read {manner}; transformers may change it for its class {settings.kind[:80]!r}"]


def _check_merges(file: Path, state: Any) -> None:
    """Refuse merges without the prefix of continuations.

    The library would panic on them, and print a backtrace.
    """
    model = state.get("model") if isinstance(state, dict) else None
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(prefix, str) or not prefix or not isinstance(merges, list):
        return
    seconds = (
        merge.split(" ")[-1] if isinstance(merge, str) else (merge or [None])[-1]
        for merge in merges
        if isinstance(merge, list | str)
    )
    if any(not isinstance(second, str) or not second.startswith(prefix) for second in seconds):
        raise TokenizerError(f"{file}: model.continuing_subword_prefix is {prefix[:80]!r}, which merges lack")


def _library(file: Path, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the library raises bare Exception, and its panics do not derive from Exception
        raise TokenizerError(f"{file}: not a file of the tokenizers library: {first_line(error)}") from error


def _is_built(kind: str, model: Mapping[str, Any], text: str) -> bool:
    """Return True if transformers builds normalizer and pre-tokenizer itself.

    LlamaTokenizer does not do so for byte-level BPE.
    """
    if kind not in _BUILT or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        return False
    return kind != "LlamaTokenizer" or '"ByteLevel"' not in text


def _types(state: Mapping[str, Any]) -> Iterable[str]:
    for part in ("normalizer", "pre_tokenizer"):
        value = state.get(part) or {}
        inner = value.get("normalizers") or value.get("pretokenizers") or [value]
        yield from (str(one["type"]) for one in inner if one)


def _build(settings: Settings, vocabulary: Any, merges: Any) -> tokenizers.Tokenizer:
    if settings.kind == "LlamaTokenizer":
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True))
        scheme = "always" if settings.flag("legacy", False) else "first"
        if not settings.flag("add_prefix_space", True):
            scheme = "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if scheme != "never" else [])])
        return backend
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)
    )
    if settings.kind == "GPTNeoXTokenizer":
        backend.normalizer = normalizers.NFC()
    space = settings.flag("add_prefix_space", False)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    backend.decoder = decoders.ByteLevel()
    return backend


def _from_vocabulary(settings: Settings) -> tokenizers.Tokenizer:
    """Build the byte-level BPE of GPT-2 or OPT, whose directories may lack ``tokenizer.json``."""
    file, merges = settings.files / VOCABULARY_FILE, settings.files / MERGES_FILE
    try:
        vocabulary = read_json_object(file, VOCABULARY_LIMIT)
        lines = read_text_plain(merges, VOCABULARY_LIMIT).split("\n")
    except OSError as error:
        raise TokenizerError(f"{file}, {MERGES_FILE}: not a byte-level BPE: {error}") from error
    pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    backend = _library(file, lambda: _build(settings, vocabulary, pairs))
    _add_tokens(backend, settings, [])
    ends = [
        settings.token(f"{end}_token") or settings.default(f"{end}_token")
        if settings.flag(f"add_{end}_token", False)
        else None
        for end in ("bos", "eos")
    ]
    before, after = ([name] if name and backend.token_to_id(name) is not None else [] for name in ends)
    special = [(name, backend.token_to_id(name)) for name in dict.fromkeys([*before, *after])]
    backend.post_processor = _library(
        file, lambda: processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=special)
    )
    return backend


def _add_tokens(backend: tokenizers.Tokenizer, settings: Settings, listed: list[Any]) -> None:
    """Add the listed tokens, and those special tokens of the settings that are in the vocabulary."""
    decoder = settings.values.get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        listed = [
            {"id": int(key), **value} for key, value in decoder.items() if str(key).isdecimal() and _is_token(value)
        ]
    present = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    tokens = [_added(token) for token in sorted(filter(_is_token, listed), key=lambda token: int(token["id"]))]
    backend.add_tokens([token for token in tokens if repr(token) not in present])
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    extra = settings.values.get("extra_special_tokens") or settings.values.get("additional_special_tokens") or []
    extra = extra.values() if isinstance(extra, Mapping) else extra if isinstance(extra, list) else []
    names = [*(settings.token(name) or settings.default(name) for name in _NAMED), *map(content, extra)]
    # Tokens outside the vocabulary are not added, since the embedding has no row for their ids.
    new = [
        name for name in dict.fromkeys(names) if name and name not in known and backend.token_to_id(name) is not None
    ]
    backend.add_tokens([AddedToken(name, special=True, normalized=False) for name in new])


def _is_token(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("content"), str)


def _added(token: Mapping[str, Any]) -> AddedToken:
    flags = {name: bool(token.get(name)) for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(token["content"], **flags)
