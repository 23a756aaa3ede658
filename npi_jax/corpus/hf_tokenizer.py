"""Tokenizers of Hugging Face directories, through the `tokenizers` library; nothing in them is executed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from npi_jax.corpus.tokenizer import LibraryTokenizer, Tokenizer, TokenizerError

TOKENIZER_FILE = "tokenizer.json"
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

    Reads ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` (byte-level BPE as of GPT-2 and OPT); the special
    tokens from ``tokenizer_config.json``, ``special_tokens_map.json`` and ``config.json``, in this order.

    Raises:
        TokenizerError: a file is damaged, or the directory has a form of tokenizer that is not read; says which.
    """
    path = Path(path)
    settings = _read_json(path / CONFIG_FILE)
    if (path / TOKENIZER_FILE).is_file():
        backend = _with_settings(_open(path / TOKENIZER_FILE), settings)
    elif (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        backend = _byte_level(path, settings)
    elif (path / "tokenizer.model").is_file():
        raise TokenizerError(
            f"{path / 'tokenizer.model'}: SentencePiece models are not read; write tokenizer.json with "
            "transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    else:
        return None
    special = {**_read_json(path / "special_tokens_map.json"), **settings}
    config = _read_json(path / "config.json")
    start, end = (_special_id(backend, special, config, name, path) for name in ("bos_token", "eos_token"))
    encoded = backend.encode("a", add_special_tokens=True)
    plain = backend.encode("a", add_special_tokens=False)
    n_before = next((i for i, is_special in enumerate(encoded.special_tokens_mask) if not is_special), 0)
    prefix = tuple(encoded.ids[:n_before]) if len(encoded.ids) > len(plain.ids) else ()
    # Tokenizers of Llama type follow this setting rather than their file's template.
    if "Llama" in str(settings.get("tokenizer_class")) and start is not None:
        if settings.get("add_bos_token") is True and not prefix:
            prefix = (start,)
        elif settings.get("add_bos_token") is False and prefix == (start,):
            prefix = ()
    return HFTokenizer(backend, start, end, prefix, _suffix(backend))


def _suffix(backend: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Ids that the tokenizer's template puts after a text, such as [SEP]."""
    encoded = backend.encode("a", add_special_tokens=True)
    n_after = next((i for i, added in enumerate(reversed(encoded.special_tokens_mask)) if not added), 0)
    return tuple(encoded.ids[len(encoded.ids) - n_after :])


def _unknown_id(backend: tokenizers.Tokenizer) -> int | None:
    """Id of the unknown word; a Unigram model keeps it as a number, which the library's class does not show."""
    model = json.loads(backend.to_str())["model"]
    if model.get("type") == "Unigram":
        return model.get("unk_id")
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


def _open(path: Path) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"{path}: not a file of the tokenizers library: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    return backend


def _with_settings(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """GPT-2's classes put a space before a text or not as tokenizer_config.json says, whatever tokenizer.json has."""
    state = json.loads(backend.to_str())
    pre = state.get("pre_tokenizer") or {}
    if "GPT2Tokenizer" not in str(settings.get("tokenizer_class")) or pre.get("type") != "ByteLevel":
        return backend
    pre["add_prefix_space"] = bool(settings.get("add_prefix_space", False))
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _byte_level(path: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE; OPT's has the same files and puts ``</s>`` before every text."""
    try:
        backend = tokenizers.Tokenizer(models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt")))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"{path / 'vocab.json'}, merges.txt: not a byte-level BPE: {error}") from error
    space = settings.get("add_prefix_space", False)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(space))
    backend.decoder = decoders.ByteLevel()
    special = {**_read_json(path / "special_tokens_map.json"), **settings}
    names = [_content(special.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")]
    known = [name for name in dict.fromkeys(names) if name and backend.token_to_id(name) is not None]
    backend.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in known])
    bos = names[0]
    if settings.get("tokenizer_class") == "GPT2Tokenizer" and settings.get("add_bos_token") and bos in known:
        template = f"{bos} $A"
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return backend


def _special_id(
    backend: tokenizers.Tokenizer, special: Mapping[str, Any], config: Mapping[str, Any], name: str, path: Path
) -> int | None:
    token = _content(special.get(name))
    if token is not None:
        token_id: int | None = backend.token_to_id(token)
        if token_id is None:
            raise TokenizerError(f"{path}: {name} is {token!r}, which is not in the vocabulary")
        return token_id
    # What config.json has may be no more than the default of its class: only a special token is believed.
    token_id = config.get(f"{name}_id")
    known = {i for i, added in backend.get_added_tokens_decoder().items() if added.special}
    return token_id if name not in special and token_id in known else None


def _content(value: Any) -> str | None:
    """The string of a special token, which may be written as an object."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: a JSON {type(value).__name__}, not an object")
    return value
