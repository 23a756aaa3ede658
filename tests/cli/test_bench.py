import io
import json

import jax
import pytest
from facts import facts, sentence_with
from rich.console import Console
from tiny import tiny_values

from npi_jax.cli.actions.bench import bench
from npi_jax.config.build import make_config
from npi_jax.errors import UserError
from npi_jax.training.arrangement import Arrangement, arrange, choice_file

KNOWN = {"tokenizer__size": 100, "corpus__planned_tokens": 3200}


def config(tmp_path, **changes):
    return make_config(tiny_values(corpus__cache=str(tmp_path), train__steps_per_call=0, **KNOWN, **changes))


@pytest.mark.drill
def test_a_run_uses_the_choice_of_bench(tmp_path):
    stream = io.StringIO()
    chosen = bench(config(tmp_path), Console(file=stream, width=120), 0.01)
    shown = stream.getvalue()
    assert "tokens/s, all members" in shown
    assert sentence_with(shown, "chosen", chosen.mapping, f"{chosen.steps_per_call} steps")
    path = choice_file(config(tmp_path))
    assert arrange(config(tmp_path)) == Arrangement(chosen.mapping, chosen.steps_per_call, str(path))
    kept = json.loads(path.read_text())["measured"]
    assert {(one["mapping"], one["members_per_device"]) for one in kept} >= {("map", 1), ("vmap", 1), ("map", 2)}
    assert all(one["tokens_per_second"] > 0 for one in kept)
    # For another model nothing was measured.
    other = config(tmp_path, model={"kind": "lstm", "embedding": 9, "hidden": 9, "layers": 1})
    assert arrange(other).source == "default"


def test_the_order_is_config_then_the_run_then_the_file_then_the_default(tmp_path):
    plain = config(tmp_path)
    assert arrange(plain) == Arrangement("map" if jax.devices()[0].platform == "cpu" else "vmap", 50, "default")
    path = choice_file(plain)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mapping": "vmap", "steps_per_call": 7}))
    assert arrange(plain) == Arrangement("vmap", 7, str(path))
    assert arrange(plain, {"mapping": "map", "steps_per_call": 9}).mapping == "map"
    told = make_config(tiny_values(corpus__cache=str(tmp_path), mesh__mapping="map", **KNOWN))
    assert arrange(told) == Arrangement("map", 3, "config")


@pytest.mark.parametrize(
    "text", ["[]", '{"mapping": "pmap", "steps_per_call": 5}', '{"mapping": "map", "steps_per_call": 0}']
)
def test_a_file_that_holds_no_choice_is_named(tmp_path, text):
    path = choice_file(config(tmp_path))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=facts("npi-jax bench")):
        arrange(config(tmp_path))
