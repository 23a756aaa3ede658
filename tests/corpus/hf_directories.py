"""Tokenizer directories in the forms of Llama, GPT-2, GPT-NeoX, OPT and SmolLM, and what transformers makes of them.

``python tests/corpus/hf_directories.py`` writes the ids of the transformers that is installed to
``hf_golden_ids.json``; neither torch nor this project is needed.
"""

import importlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

TEXTS = [
    "no teacher has ever seen it.",
    "Did the café's naïve owner ever, at all, sing?",
    " two  spaces",
    "日本語 ok 1234",
    "a <s> b</s> and <|endoftext|> in <it>",
    "ﬁrst №5\ttab\nline ",
    "",
]
GOLDEN = Path(__file__).with_name("hf_golden_ids.json")
VOCABULARIES = json.loads(Path(__file__).with_name("hf_vocabularies.json").read_text(encoding="utf-8"))
"""Vocabulary and merges of a byte-fallback BPE with ▁ for spaces, and of a byte-level one."""


@dataclass(frozen=True)
class Case:
    """A directory.

    Attributes:
        model_type: of its config.json.
        form: of its vocabulary, see `backend`; ``"files"`` has vocab.json and merges.txt alone.
        settings: its tokenizer_config.json.
        before: the token that its template puts before a text, if any.
        special_map: its special_tokens_map.json, if any.
    """

    model_type: str
    form: str
    settings: dict[str, Any]
    before: str = ""
    special_map: dict[str, Any] = field(default_factory=dict)


def backend(form: str) -> tokenizers.Tokenizer:
    """Return a tokenizer of the library.

    Args:
        form: ``"normalizer"`` and ``"metaspace"`` put ▁ for spaces, as transformers 4 and 5 write Llama's; ``"bytes"``
            is GPT-2's, ``"digits"`` splits numbers as SmolLM's, ``"nfc"`` is GPT-NeoX's.
    """
    if form in ("normalizer", "metaspace"):
        model = models.BPE(**_model("llama"), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        made = tokenizers.Tokenizer(model)
        if form == "normalizer":
            made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        made.add_special_tokens(["<unk>", "<s>", "</s>"])
        return made
    made = tokenizers.Tokenizer(models.BPE(**_model("bytes")))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    made.pre_tokenizer = digits if form == "digits" else plain
    if form == "nfc":
        made.normalizer = normalizers.NFC()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    return made


def _model(name: str) -> dict[str, Any]:
    merges = [tuple(merge.split(" ")) for merge in VOCABULARIES[name]["merges"]]
    return {"vocab": VOCABULARIES[name]["vocab"], "merges": merges}


LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
GPT = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
ADDED = {"content": "<it>", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False, "special": True}


def _llama() -> dict[str, Case]:
    changes: dict[str, dict[str, Any]] = {
        "plain": {},
        "legacy": {"legacy": True},
        "not legacy": {"legacy": False},
        "no space": {"add_prefix_space": False},
        "null space": {"add_prefix_space": None},
        "no space, legacy": {"add_prefix_space": False, "legacy": True},
        "no bos": {"add_bos_token": False},
        "bos and eos": {"add_bos_token": True, "add_eos_token": True},
        "added token": {"added_tokens_decoder": {"420": ADDED}},
        "null bos": {"bos_token": None},
        "extra tokens": {"additional_special_tokens": ["it", "nowhere"]},
    }
    cases = {}
    for form in ("normalizer", "metaspace"):
        for name, more in changes.items():
            for kind in ("LlamaTokenizer", "PreTrainedTokenizerFast"):
                settings = {**LLAMA, **more, "tokenizer_class": kind}
                cases[f"llama {form}, {kind}, {name}"] = Case("llama", form, settings, "<s>")
        fast = {**LLAMA, "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True}
        cases[f"llama {form}, LlamaTokenizerFast, no template"] = Case("llama", form, fast)
        cases[f"llama {form}, no class"] = Case("llama", form, {**LLAMA, "add_prefix_space": False}, "<s>")
        mapped = {"bos_token": {"content": "<s>"}, "eos_token": "it"}
        only = {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}
        cases[f"llama {form}, special tokens in their map"] = Case("llama", form, only, "<s>", mapped)
        cases[f"llama {form}, only the class"] = Case("llama", form, {"tokenizer_class": "LlamaTokenizer"}, "<s>")
    return cases


def _byte_level() -> dict[str, Case]:
    cases = {}
    kinds = (
        ("GPT2Tokenizer", "gpt2"),
        ("GPT2TokenizerFast", "opt"),
        ("GPTNeoXTokenizer", "gpt_neox"),
        ("PreTrainedTokenizerFast", "gpt_neox"),
        ("GPT2Tokenizer", "llama"),
        ("LlamaTokenizerFast", "llama"),
        (None, "gpt2"),
        (None, "gpt_neox"),
    )
    for form in ("bytes", "digits", "nfc"):
        for kind, model_type in kinds:
            named = {**GPT, "tokenizer_class": kind} if kind else GPT
            start = f"{model_type} {form}, {kind}"
            cases[f"{start}, plain"] = Case(model_type, form, named)
            cases[f"{start}, space"] = Case(model_type, form, {**named, "add_prefix_space": True})
            cases[f"{start}, template"] = Case(model_type, form, {**named, "add_bos_token": False}, "<|endoftext|>")
            cases[f"{start}, add_bos_token"] = Case(model_type, form, {**named, "add_bos_token": True})
    for model_type in ("gpt2", "opt"):
        for name, more in {
            "plain": {},
            "bos": {"add_bos_token": True},
            "space": {"add_prefix_space": True},
            "class": {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_eos_token": True},
        }.items():
            cases[f"{model_type} files, {name}"] = Case(model_type, "files", {**GPT, **more})
    cases["gpt2 files, no settings"] = Case("gpt2", "files", {})
    return cases


CASES = {**_llama(), **_byte_level()}


def write(path: Path, case: Case) -> None:
    """Write the files of a directory."""
    (path / "config.json").write_text(json.dumps({"model_type": case.model_type}))
    (path / "tokenizer_config.json").write_text(json.dumps(case.settings))
    if case.special_map:
        (path / "special_tokens_map.json").write_text(json.dumps(case.special_map))
    if case.form == "files":
        (path / "vocab.json").write_text(json.dumps(VOCABULARIES["bytes"]["vocab"]))
        (path / "merges.txt").write_text("\n".join(["#version: 0.2", *VOCABULARIES["bytes"]["merges"], ""]))
        return
    made = backend(case.form)
    if case.before:
        special = [(case.before, made.token_to_id(case.before))]
        made.post_processor = processors.TemplateProcessing(single=f"{case.before} $A", special_tokens=special)
    made.save(str(path / "tokenizer.json"))


def results(theirs: Any) -> dict[str, Any]:
    """Return what is kept of a tokenizer of transformers: ids of texts, a text with its template, both ends."""
    return {
        "ids": [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS],
        "whole": theirs("it")["input_ids"],
        "ends": [theirs.bos_token_id, theirs.eos_token_id],
    }


def main() -> None:
    """Write what the installed transformers gives; cases with equal results share them."""
    transformers = importlib.import_module("transformers")
    kept: list[Any] = []
    places = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), case)
            found = results(transformers.AutoTokenizer.from_pretrained(folder))
        if found not in kept:
            kept.append(found)
        places[name] = kept.index(found)
    golden = {"transformers": transformers.__version__, "cases": places, "results": kept}
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
