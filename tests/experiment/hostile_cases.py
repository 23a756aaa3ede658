"""Valid files of every kind that is read, and the function that reads each."""

import functools
import gzip
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
import tokenizers
import zstandard
from tokenizers import models, pre_tokenizers, processors, trainers

from npi_jax.cli.actions.audit_files import load_sample, load_verdicts
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.corpus.text.sources import read_jsonl, read_text
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer, WordTokenizer
from npi_jax.corpus.variants.row_files import RowRecords, write_records
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.evaluation.models import open_models
from npi_jax.models import TransformerConfig, make_model, save_hf
from npi_jax.suites import load_suite

SENTENCES = ["Nobody has ever seen it .", "Somebody has often seen it .", "Did she leave yet ?"] * 4


@dataclass(frozen=True)
class Case:
    """A loader with valid files.

    Attributes:
        write: writes the files into a folder.
        files: names of the files that may be damaged.
        read: reads them from the folder.
        draws: number of examples.
    """

    write: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    draws: int = 60


def jsonl(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


DOCUMENTS = jsonl(*({"text": sentence, "id": number} for number, sentence in enumerate(SENTENCES)))
PACKING: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def _sources() -> dict[str, Case]:
    cases = {}
    for ending, pack in PACKING.items():
        text, lines = f"a.txt{ending}", f"a.jsonl{ending}"
        plain = "\n".join(SENTENCES).encode()
        cases[text] = Case(
            lambda at, text=text, pack=pack, plain=plain: (at / text).write_bytes(pack(plain)),
            (text,),
            lambda at, text=text: list(read_text([at / text], unit="sentence")),
        )
        cases[lines] = Case(
            lambda at, lines=lines, pack=pack: (at / lines).write_bytes(pack(DOCUMENTS)),
            (lines,),
            lambda at, lines=lines: list(read_jsonl([at / lines], field="text")),
        )
    return cases


BLIMP = {"sentence_good": "Nobody ever left.", "sentence_bad": "Somebody ever left.", "UID": "x", "pairID": "0"}
SYNTAXGYM = {
    "meta": {"name": "npi", "metric": "sum"},
    "predictions": [{"type": "formula", "formula": "(1;%a%) < (1;%b%)"}],
    "region_meta": {"1": "NPI"},
    "items": [
        {
            "item_number": 1,
            "conditions": [
                {"condition_name": name, "regions": [{"region_number": 1, "content": content}]}
                for name, content in (("a", "ever"), ("b", "often"))
            ],
        }
    ],
}
ZORRO = b"no one saw it .\nsomeone saw it .\n"
TABLE = b"good,bad,paradigm\nNobody ever left.,Somebody ever left.,x\n"


def _suites() -> dict[str, Case]:
    contents = {
        ("blimp", "x.jsonl"): jsonl(BLIMP, {**BLIMP, "pairID": "1"}),
        ("syntaxgym", "x.json"): json.dumps(SYNTAXGYM).encode(),
        ("zorro", "x.txt"): ZORRO,
        ("table", "x.csv"): TABLE,
        ("table", "x.jsonl"): jsonl({"good": "a b", "bad": "a c", "paradigm": "x"}),
    }
    return {
        f"{name} {file}": Case(
            lambda at, file=file, content=content: (at / file).write_bytes(content),
            (file,),
            lambda at, name=name, file=file: load_suite(name, at / file),
        )
        for (name, file), content in contents.items()
    }


def _audit(at: Path) -> None:
    source = Path(__file__).parents[2] / "docs" / "audit"
    head = json.loads((source / "sample.json").read_text())
    (at / "sample.json").write_text(json.dumps({**head, "cases": head["cases"][:3]}))
    lines = (source / "judgements.jsonl").read_text().splitlines()[:3]
    (at / "judgements.jsonl").write_text("\n".join(lines) + "\n")


def write_columns(at: Path) -> None:
    with ColumnWriter(at, {"tokens": np.uint16, "used": np.int32}) as writer:
        writer.append(tokens=np.arange(6), used=np.arange(2))
        writer.close(row_length=2)


def _phenomenon(at: Path) -> None:
    shipped = Path(__file__).parents[2] / "npi_jax" / "corpus" / "annotation" / "phenomena"
    shutil.copy(next(shipped.glob("npi_en.toml")), at / "own.toml")


LAYERED = {"norm": "layer", "gated": False, "attention_bias": True, "mlp_bias": True, "activation": "gelu"}
HF_MODELS = {
    "llama": TransformerConfig(width=8, layers=1, heads=2, mlp=8, rotary_scaling=(4.0, 1.0, 4.0, 8.0)),
    "gpt2": TransformerConfig(
        width=8, layers=1, heads=2, mlp=8, positions="learned", max_positions=8, tie=True, **LAYERED
    ),
    "gpt_neox": TransformerConfig(width=8, layers=1, heads=2, mlp=8, rotary_fraction=0.5, **LAYERED),
}
HF_CLASSES = {"llama": "LlamaTokenizer", "gpt2": "GPT2Tokenizer", "gpt_neox": "PreTrainedTokenizerFast"}


def _metaspace() -> tokenizers.Tokenizer:
    """Train a vocabulary with ▁ for spaces and a template, both of which LlamaTokenizer replaces."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    special = ["<unk>", "<eos>"]
    backend.train_from_iterator(SENTENCES, trainers.BpeTrainer(special_tokens=special, show_progress=False))
    backend.post_processor = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 1)])
    return backend


@functools.cache
def _hf_files(family: str) -> dict[str, bytes]:
    """Return the files of a tiny Hugging Face directory, with a tokenizer of the family's class."""
    bpe = BPETokenizer.train(SENTENCES, size=300)
    model = make_model(HF_MODELS[family], bpe.vocab_size)
    files = hf_tokenizer_files(bpe)
    settings = json.loads(files["tokenizer_config.json"]) | {"tokenizer_class": HF_CLASSES[family], "legacy": False}
    if family == "llama":
        files["tokenizer.json"] = _metaspace().to_str().encode()
        settings["added_tokens_decoder"] = {"1": {"content": "<eos>", "special": True}}
    files["tokenizer_config.json"] = json.dumps(settings).encode()
    files["generation_config.json"] = json.dumps({"bos_token_id": 0, "eos_token_id": [0], "max_length": 9}).encode()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "m"
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), shapes)
        save_hf(at, model, params, start=0, end=0, files=files)
        {"gpt2": _as_words_and_merges, "gpt_neox": _as_shards}.get(family, lambda _: None)(at)
        return {file.name: file.read_bytes() for file in at.iterdir()}


def _as_words_and_merges(at: Path) -> None:
    model = json.loads((at / "tokenizer.json").read_text())["model"]
    (at / "tokenizer.json").unlink()
    (at / "vocab.json").write_text(json.dumps(model["vocab"]))
    (at / "merges.txt").write_text("\n".join(" ".join(merge) for merge in model["merges"]))


def _as_shards(at: Path) -> None:
    tensors = safetensors.numpy.load_file(at / "model.safetensors")
    (at / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, at / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (at / "model.safetensors.index.json").write_text(json.dumps(index))


def write_hf(at: Path, family: str) -> None:
    for name, content in _hf_files(family).items():
        (at / name).write_bytes(content)


def _read_hf(at: Path) -> None:
    opened = open_models([at])
    for stack, _ in opened.batches():
        assert {leaf.dtype for leaf in jax.tree.leaves(stack)} == {np.dtype(np.float32)}
    encodings = opened.tokenizer.encode_many([*SENTENCES[:2], "", "日本 <eos>"])
    assert all(len(encoding.ids) == len(encoding.offsets) for encoding in encodings)


def _hf_folders() -> dict[str, Case]:
    vocabulary = {"gpt2": ("vocab.json", "merges.txt")}
    weights = {"gpt_neox": ("model.safetensors.index.json", "a.safetensors", "b.safetensors")}
    settings = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
    return {
        f"hugging face {family}": Case(
            lambda at, family=family: write_hf(at, family),
            (*settings, *vocabulary.get(family, ("tokenizer.json",)), *weights.get(family, ("model.safetensors",))),
            _read_hf,
            20,
        )
        for family in HF_MODELS
    }


CASES: dict[str, Case] = {
    **_sources(),
    **_suites(),
    **_hf_folders(),
    "phenomenon": Case(_phenomenon, ("own.toml",), lambda at: load_phenomenon(at / "own.toml")),
    "vocabulary": Case(
        lambda at: (at / "v.txt").write_text("<unk>\n<eos>\nnobody\never\n"),  # type: ignore[arg-type,return-value]
        ("v.txt",),
        lambda at: WordTokenizer.from_file(at / "v.txt"),
    ),
    "words": Case(WordTokenizer.train(SENTENCES).save, ("tokenizer.json", "vocab.txt"), Tokenizer.load),
    "bpe": Case(BPETokenizer.train(SENTENCES, size=300).save, ("tokenizer.json", "bpe.json"), Tokenizer.load),
    "columns": Case(write_columns, ("columns.json", "tokens.bin"), lambda at: dict(Columns(at))),
    "records": Case(
        lambda at: write_records(at, RowPool(np.ones((40, 5), np.uint16), np.ones(40, np.int32))),
        ("records.json", "00000.array_record"),
        lambda at: RowRecords(at).read(np.arange(40)),
    ),
    "audit": Case(_audit, ("sample.json", "judgements.jsonl"), lambda at: (load_sample(at), load_verdicts(at))),
}
