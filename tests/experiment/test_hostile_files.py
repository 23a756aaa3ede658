"""Whatever a file holds, reading it gives a value or a `UserError` that names the file, and runs nothing.

Every loader is given files damaged at random: bytes changed, cut off, put in or doubled, and JSON in which any value is
exchanged for any other. Suites (`tests/suites/test_relatives.py`) and weights (`tests/models/test_hf.py`) have more.
"""

import functools
import gzip
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
import zstandard
from calls import assert_refused, at_most, call
from facts import facts
from gram_files import draw_gradients, file_arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_values
from tokenizers import models, pre_tokenizers, processors, trainers

from npi_jax.analysis.alignment.grams import load_grams
from npi_jax.cli.audit import load_sample, load_verdicts
from npi_jax.cli.main import main
from npi_jax.config.build import make_config
from npi_jax.corpus.annotation.phenomenon import load_phenomenon
from npi_jax.corpus.storage.columns import Columns, ColumnWriter
from npi_jax.corpus.stored import StoredVariants
from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files
from npi_jax.corpus.text.sources import read_jsonl, read_text
from npi_jax.corpus.text.tokenizer import BPETokenizer, Tokenizer, WordTokenizer
from npi_jax.corpus.variants.builder import RowPool
from npi_jax.corpus.variants.row_files import RowRecords, write_records
from npi_jax.errors import UserError
from npi_jax.evaluation.scoring import open_models
from npi_jax.models import TransformerConfig, load_hf, make_model, save_hf
from npi_jax.preparation.prepare import prepare
from npi_jax.results.directory import open_run
from npi_jax.suites import load_suite

# What Orbax began to read beside the damaged file is left where it was.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

SENTENCES = ["Nobody has ever seen it .", "Somebody has often seen it .", "Did she leave yet ?"] * 4

MORE = int(os.environ.get("TEST_FUZZ", "1"))
"""How many times as many files are tried as usual."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("../../etc/passwd"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@dataclass(frozen=True)
class Case:
    """A loader with a whole file: what to damage, and what then reads it."""

    write: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    draws: int = 60


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


def _exchanged(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _exchanged(value[path[0]], path[1:], new)
    return copy


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few faults."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if value is not None and draw(st.booleans()):
        place = draw(st.sampled_from(_places(value)))
        return json.dumps(_exchanged(value, place, draw(JSON))).encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 40)))
        match draw(st.sampled_from(["change", "cut off", "take out", "put in", "double"])):
            case "change":
                content = content[:at] + draw(st.binary(min_size=1, max_size=2)) + content[at + 1 :]
            case "cut off":
                content = content[:at]
            case "take out":
                content = content[:at] + content[to:]
            case "put in":
                content = content[:at] + draw(st.binary(max_size=8)) + content[at:]
            case "double":
                content = content[:to] + content[at:]
    return content


def _jsonl(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


DOCUMENTS = _jsonl(*({"text": sentence, "id": number} for number, sentence in enumerate(SENTENCES)))
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
        ("blimp", "x.jsonl"): _jsonl(BLIMP, {**BLIMP, "pairID": "1"}),
        ("syntaxgym", "x.json"): json.dumps(SYNTAXGYM).encode(),
        ("zorro", "x.txt"): ZORRO,
        ("table", "x.csv"): TABLE,
        ("table", "x.jsonl"): _jsonl({"good": "a b", "bad": "a c", "paradigm": "x"}),
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


def _columns(at: Path) -> None:
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
    """A vocabulary with ▁ for spaces and a template, of which LlamaTokenizer makes its own."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    special = ["<unk>", "<eos>"]
    backend.train_from_iterator(SENTENCES, trainers.BpeTrainer(special_tokens=special, show_progress=False))
    backend.post_processor = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 1)])
    return backend


@functools.cache
def _hf_files(family: str) -> dict[str, bytes]:
    """The files of a tiny Hugging Face directory, with a tokenizer of the family's class."""
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


def _write_hf(at: Path, family: str) -> None:
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
            lambda at, family=family: _write_hf(at, family),
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
    "columns": Case(_columns, ("columns.json", "tokens.bin"), lambda at: dict(Columns(at))),
    "records": Case(
        lambda at: write_records(at, RowPool(np.ones((40, 5), np.uint16), np.ones(40, np.int32))),
        ("records.json", "00000.array_record"),
        lambda at: RowRecords(at).read(np.arange(40)),
    ),
    "audit": Case(_audit, ("sample.json", "judgements.jsonl"), lambda at: (load_sample(at), load_verdicts(at))),
}


def is_read_or_refused_by_name(read: Callable[[Path], Any], path: Path) -> bool:
    """Whether reading gives something, or a refusal that names the path; whatever else it raises is raised here."""
    try:
        read(path)
    except UserError as error:
        return str(path) in str(error)
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("name", CASES)
def test_what_is_damaged_is_read_or_refused_by_name(folder, name):
    @settings(deadline=None, max_examples=CASES[name].draws * MORE)
    @given(data=st.data())
    def fuzz(data):
        damage_and_read(folder, name, data)

    fuzz()


def damage_and_read(folder, name, data):
    case, at = CASES[name], folder / name.replace(" ", "_")
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    case.write(at)
    case.read(at)
    which = at / data.draw(st.sampled_from(case.files))
    which.write_bytes(data.draw(damaged(which.read_bytes())))
    before = sorted(folder.rglob("*"))
    with at_most(30):
        assert is_read_or_refused_by_name(case.read, at)
    assert sorted(folder.rglob("*")) == before


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(10 << 40)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "npi_jax.json"]
)
@pytest.mark.parametrize(
    "make",
    [_pipe, _endless, _huge, lambda file: file.write_bytes(b"\xff{}"), lambda file: file.write_bytes(b"[" * 99_999)],
    ids=["pipe", "device", "huge", "not UTF-8", "deep"],
)
def test_the_command_line_refuses_files_that_are_none_within_seconds(tmp_path, name, make):
    _write_hf(tmp_path, "llama")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    words = ("--suite", "grammar", "--limit", "1", "--model", str(tmp_path), "--out", str(tmp_path / "x.csv"))
    assert str(tmp_path) in assert_refused(call("score", *words, seconds=60))
    assert not (tmp_path / "x.csv").exists()


# A run directory, and what is prepared: made once, and copied for each damage.

CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"


def _read_prepared(path: Path) -> None:
    assert StoredVariants.open(path).variants


def _read_tables(path: Path) -> None:
    run = open_run(path)
    for table in (run.members(), run.corpus(), run.metrics(), run.scores()):
        assert len(table)
    assert isinstance(run.manifest, dict)


def _read_models(path: Path) -> None:
    for stack, _ in open_models([path]).batches():
        assert jax.tree.leaves(stack)


@pytest.fixture(scope="module")
def prepared():
    """Variants in the cache."""
    return prepare(make_config(tiny_values()), lambda line: None).folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny run; its vocabulary, checkpoint and tables."""
    folder = tmp_path_factory.mktemp("whole")
    values = tiny_values(train__steps=2, seeds=(0,), run_dir=str(folder / "run"), score__every=2)
    (folder / "tiny.py").write_text(CONFIG.format(values=values))
    assert main(["train", "--config", str(folder / "tiny.py")]) == 0
    _read_tables(folder / "run")
    _read_models(folder / "run")
    return folder / "run"


IN_FOLDERS = [
    (_read_prepared, ("variants.json", "pool/columns.json", "rows/rows_0.bin", "corpus.parquet")),
    (_read_tables, ("manifest.json", "members.parquet", "corpus.parquet", "metrics/2.parquet", "scores/2.parquet")),
    (_read_tables, ("scores/checksums.json",)),
    (_read_models, ("config.json", "tokenizer/tokenizer.json", "tokenizer/vocab.txt", "checkpoints")),
]


@pytest.mark.parametrize(("read", "name"), [(read, name) for read, names in IN_FOLDERS for name in names])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30 * MORE)
@given(data=st.data())
def test_a_folder_with_a_damaged_file_is_read_or_refused_by_name(whole, prepared, folder, read, name, data):
    at = folder / "copy"
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(prepared if read is _read_prepared else whole, at)
    files = sorted(file for file in (at / name).rglob("*") if file.is_file()) if (at / name).is_dir() else [at / name]
    which = data.draw(st.sampled_from(files))
    which.write_bytes(data.draw(damaged(which.read_bytes())))
    assert is_read_or_refused_by_name(read, at)


# All that an experiment reads, through the command.


SOURCES: dict[str, bytes] = {
    **{f"train.txt{ending}": pack("\n".join(SENTENCES).encode()) for ending, pack in PACKING.items()},
    **{f"train.jsonl{ending}": pack(DOCUMENTS) for ending, pack in PACKING.items()},
}
PAIRS: dict[str, tuple[str, bytes]] = {
    "x.csv": ("table", TABLE),
    "x.tsv": ("table", TABLE.replace(b",", b"\t")),
    "x.jsonl": ("blimp", _jsonl(BLIMP, {**BLIMP, "pairID": "1"})),
    "x.txt": ("zorro", ZORRO),
    "x.json": ("syntaxgym", json.dumps(SYNTAXGYM).encode()),
}
WORDS = ("\n".join(["<unk>", "<eos>", *sorted({word for line in SENTENCES for word in line.split()})]) + "\n").encode()


@st.composite
def experiments(draw: st.DrawFn, at: Path) -> str:
    """Write what an experiment reads, one or two files of it damaged, and its config."""
    text, pairs = draw(st.sampled_from(sorted(SOURCES))), draw(st.sampled_from(sorted(PAIRS)))
    loader, content = PAIRS[pairs]
    files = {text: SOURCES[text], pairs: content, "words.txt": WORDS, "valid" + text[5:]: SOURCES[text]}
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        files[name] = draw(damaged(files[name]))
    for name, content in files.items():
        (at / name).write_bytes(content)
    corpus = {
        "source": "jsonl" if "jsonl" in text else "text",
        "paths": (str(at / draw(st.sampled_from([text, "train*", "**/train*", "", "."]))),),
        "valid_paths": (str(at / ("valid" + text[5:])),),
        "unit": draw(st.sampled_from(["sentence", "document"])),
        "allow_repeats": draw(st.booleans()),
        "allow_empty": draw(st.booleans()),
    }
    values = tiny_values(
        corpus=corpus,
        train__batch_size=1,
        run_dir=str(at / "runs" / "own"),
        variants=draw(st.sampled_from([("full",), ("full", "no_npi"), ("without(only)",)])),
        tokenizer=draw(st.sampled_from([{"kind": "word"}, {"file": str(at / "words.txt")}])),
        score__suites={"mine": {"loader": loader, "path": str(at / pairs)}},
        gradients={"enabled": draw(st.booleans()), "micro_batches": 3, "text_rows": 0},
    )
    (at / "own.py").write_text(CONFIG.format(values=values))
    return str(at / "own.py")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25 * MORE)
@given(data=st.data())
def test_an_experiment_on_damaged_files_is_prepared_or_refused_and_leaves_nothing(folder, data):
    at = folder / "experiment"
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    config = data.draw(experiments(at))
    before = sorted(at.rglob("*"))
    outcome = call("prepare", "--config", config, seconds=60)
    if outcome.status:
        assert_refused(outcome)
        assert sorted(at.rglob("*")) == before
    cache = Path(os.environ["NPI_JAX_CACHE"])
    assert not [path for path in cache.glob("*/.*") if path.suffix != ".lock"]


# What would run something if it were taken for more than data.


GPT2 = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 9}


class Runs:
    """Unpickling this makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(tmp_path):
    mark = tmp_path / "was run"
    pickle.loads(pickle.dumps(Runs(mark)))
    mark.unlink()
    weights = tmp_path / "pytorch_model.bin"
    weights.write_bytes(pickle.dumps(Runs(mark)))
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    with pytest.raises(UserError, match=facts("pickle")):
        load_hf(tmp_path)
    arrays = file_arrays(draw_gradients()) | {"tasks": np.array([Runs(mark)] * 4, object)}
    np.savez(tmp_path / "5.npz", allow_pickle=True, **arrays)
    with pytest.raises(UserError, match=facts("5.npz", "gradient products")):
        load_grams(tmp_path / "5.npz")
    assert not mark.exists()


def test_code_that_a_model_directory_names_is_not_run(tmp_path):
    mark = tmp_path / "was run"
    (tmp_path / "modeling.py").write_text(f"open({str(mark)!r}, 'w')\nclass Model: pass\n")
    config = {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json"):
        load_hf(tmp_path)
    assert not mark.exists()


def test_code_that_a_run_names_is_run_only_if_told_so(tmp_path):
    mark = tmp_path / "was run"
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w')\ndef make(config, vocab_size): return None\n")
    model = {"kind": "custom", "factory": f"{tmp_path / 'own.py'}:make"}
    config = make_config(tiny_values(model=model))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    WordTokenizer.train(SENTENCES).save(tmp_path / "tokenizer")
    with pytest.raises(UserError, match=facts("npi-jax score --run-code")):
        open_models([tmp_path])
    assert not mark.exists()
    with pytest.raises(UserError, match=facts("without")):
        open_models([tmp_path], run_code=True)
    assert mark.exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ""])
def test_names_in_an_index_do_not_lead_out_of_its_folder(tmp_path, name):
    _columns(tmp_path)
    index = json.loads((tmp_path / "columns.json").read_text())
    (tmp_path / "columns.json").write_text(json.dumps(index | {"columns": {name: index["columns"]["tokens"]}}))
    with pytest.raises(UserError, match=r"columns\.json: columns"):
        Columns(tmp_path)
    write_records(tmp_path, RowPool(np.ones((4, 5), np.uint16), np.ones(4, np.int32)))
    facts = json.loads((tmp_path / "records.json").read_text())
    (tmp_path / "records.json").write_text(json.dumps(facts | {"files": {name: 1}}))
    with pytest.raises(UserError, match=r"records\.json: files"):
        RowRecords(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60 * MORE)
@given(data=st.data())
def test_damaged_gradients_are_read_or_refused_by_name(folder, data):
    at = folder / "5.npz"
    np.savez(at, **file_arrays(draw_gradients(members=1, groups=2, tasks=2, batches=2), 2, ("a", "b"), ("x", "y")))
    at.write_bytes(data.draw(damaged(at.read_bytes())))
    assert is_read_or_refused_by_name(load_grams, at)
