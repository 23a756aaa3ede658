"""A mesh of two by four devices: members over `ens`, each split over `data`."""

import jax
import numpy as np
import pytest
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.models import make_model
from npi_jax.planning import make_plan
from npi_jax.preparation.prepare import prepare
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.runner import make_runner

pytestmark = pytest.mark.eight_devices

LSTM = {"kind": "lstm", "embedding": 32, "hidden": 32, "layers": 2}
TRANSFORMER = {"kind": "transformer", "width": 32, "layers": 2, "heads": 2, "mlp": 64}
TRAIN = {"steps": 10, "batch_size": 8, "row_length": 32, "steps_per_call": 5, "dropout": 0.1}


@pytest.fixture(scope="module")
def prepared():
    return prepare(make_config(tiny_values()), lambda line: None)


def trained(prepared, ens: int, data: int, model, *, streamed: bool = False, **changes):
    mesh = {"ens": ens, "data": data, "fsdp": data > 1}
    config = make_config(tiny_values(mesh=mesh, model=model, train=TRAIN | changes))
    model = make_model(config.model, prepared.tokenizer.vocab_size, remat=config.train.remat)
    data_parts = (prepared.records() if streamed else prepared.pool, prepared.variants, prepared.orders, prepared.valid)
    ensemble = Ensemble(config, model, make_mesh(ens, data, n_members=4))
    made = make_runner(ensemble, prepared.tokenizer.eos, *data_parts, scorers={})
    state, progress = made.train(made.init(), 0, 5, restart=True)
    return made, state, progress


@pytest.mark.parametrize("remat", ["none", "blocks"])
@pytest.mark.parametrize(
    ("model", "tolerance"),
    [(LSTM, 1e-4), (TRANSFORMER, 1e-4), ({**TRANSFORMER, "compute_dtype": "bfloat16"}, 1e-2)],
    ids=["lstm", "transformer", "bfloat16"],
)
def test_split_members_train_as_whole_ones_and_hold_a_quarter_each(prepared, model, tolerance, remat):
    assert jax.device_count() == 8
    _, whole, of_whole = trained(prepared, 1, 1, model)
    made, split, of_split = trained(prepared, 2, 4, model, remat=remat)
    assert made.ensemble.mesh.shape == {"ens": 2, "data": 4}
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(split), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=1e-3)
    np.testing.assert_allclose(of_whole.loss_sum, of_split.loss_sum, rtol=1e-3 if tolerance > 1e-3 else 1e-5)
    large = [leaf for leaf in jax.tree.leaves(split) if leaf.size >= 4 * 4096]
    assert large
    for leaf in large:
        assert {shard.data.size for shard in leaf.addressable_shards} == {leaf.size // 8}


@pytest.mark.parametrize("model", [LSTM, TRANSFORMER], ids=["lstm", "transformer"])
def test_nothing_passes_between_members(model):
    mesh = {"ens": 2, "data": 4, "fsdp": True}
    plan = make_plan(make_config(tiny_values(mesh=mesh, model=model, train=TRAIN)))
    assert plan.exchanges
    assert {one.axes for one in plan.exchanges} == {("data",)}


def test_rows_from_disk_train_as_rows_on_devices_bitwise(prepared):
    _, held, _ = trained(prepared, 2, 4, LSTM)
    streaming, streamed, _ = trained(prepared, 2, 4, LSTM, streamed=True)
    for a, b in zip(jax.tree.leaves(held), jax.tree.leaves(streamed), strict=True):
        np.testing.assert_array_equal(a, b)
    # A device gets its shard of its members' batches, and nothing else.
    _, pool = streaming.data.feed.take((0, 5))
    assert {shard.data.shape for shard in pool.tokens.addressable_shards} == {(2, 5, 2, TRAIN["row_length"] + 1)}
