"""Experiments on damaged text, suites and vocabularies: they are prepared, or refused without a trace."""

import json
import os
import shutil
from pathlib import Path

import pytest
from calls import assert_refused, call
from damage import MORE, damaged
from hostile_cases import BLIMP, DOCUMENTS, PACKING, SENTENCES, SYNTAXGYM, TABLE, ZORRO, jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


CONFIG = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({values!r})\n"


SOURCES: dict[str, bytes] = {
    **{f"train.txt{ending}": pack("\n".join(SENTENCES).encode()) for ending, pack in PACKING.items()},
    **{f"train.jsonl{ending}": pack(DOCUMENTS) for ending, pack in PACKING.items()},
}
PAIRS: dict[str, tuple[str, bytes]] = {
    "x.csv": ("table", TABLE),
    "x.tsv": ("table", TABLE.replace(b",", b"\t")),
    "x.jsonl": ("blimp", jsonl(BLIMP, {**BLIMP, "pairID": "1"})),
    "x.txt": ("zorro", ZORRO),
    "x.json": ("syntaxgym", json.dumps(SYNTAXGYM).encode()),
}
WORDS = ("\n".join(["<unk>", "<eos>", *sorted({word for line in SENTENCES for word in line.split()})]) + "\n").encode()


@st.composite
def experiments(draw: st.DrawFn, at: Path) -> str:
    """Write the inputs of an experiment, of which one or two are damaged, and its config; return the config's path."""
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
