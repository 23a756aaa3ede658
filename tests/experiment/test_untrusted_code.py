"""Files that would execute code, or lead to other files, if they were taken for more than data."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from facts import facts
from gram_files import draw_gradients, file_arrays
from hostile_cases import SENTENCES, write_columns
from tiny import tiny_values

from npi_jax.analysis.alignment.grams import load_grams
from npi_jax.config.build import make_config
from npi_jax.corpus.storage.columns import Columns
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.corpus.variants.row_files import RowRecords, write_records
from npi_jax.corpus.variants.variant import RowPool
from npi_jax.errors import UserError
from npi_jax.evaluation.models import open_models
from npi_jax.models import load_hf

GPT2 = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 9}


class Runs:
    """An object that creates a file when it is unpickled."""

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
    (tmp_path / "modeling.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Model: pass\n")
    config = {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json"):
        load_hf(tmp_path)
    assert not mark.exists()


def test_code_that_a_run_names_is_run_only_if_told_so(tmp_path):
    mark = tmp_path / "was run"
    (tmp_path / "own.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\ndef make(config, vocab_size): return None\n"
    )
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
    write_columns(tmp_path)
    index = json.loads((tmp_path / "columns.json").read_text())
    (tmp_path / "columns.json").write_text(json.dumps(index | {"columns": {name: index["columns"]["tokens"]}}))
    with pytest.raises(UserError, match=r"columns\.json: columns"):
        Columns(tmp_path)
    write_records(tmp_path, RowPool(np.ones((4, 5), np.uint16), np.ones(4, np.int32)))
    facts = json.loads((tmp_path / "records.json").read_text())
    (tmp_path / "records.json").write_text(json.dumps(facts | {"files": {name: 1}}))
    with pytest.raises(UserError, match=r"records\.json: files"):
        RowRecords(tmp_path)
