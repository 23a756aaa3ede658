import jax
import jax.numpy as jnp
import numpy as np
import pytest
from facts import facts

from npi_jax.training.devices.mesh import MEMBERS, REPLICATED, make_mesh, map_members, padded_size, put


def test_the_mesh_takes_no_more_devices_than_members():
    assert make_mesh(0, 1, n_members=1).shape == {"ens": 1, "data": 1}
    assert make_mesh(0, 1, n_members=5).shape == {"ens": 2, "data": 1}
    assert make_mesh(0, 2, n_members=5).shape == {"ens": 1, "data": 2}
    with pytest.raises(ValueError, match=facts("mesh.ens=2", "mesh.data=2", "4 devices", "2")):
        make_mesh(2, 2, n_members=5)


def test_members_are_padded_to_the_devices():
    mesh = make_mesh(2, 1, n_members=3)
    assert [padded_size(n, mesh) for n in (1, 2, 3)] == [2, 2, 4]


@pytest.mark.parametrize("mapping", ["map", "vmap"])
@pytest.mark.parametrize("ens", [1, 2])
def test_mapping_applies_the_function_to_each_member(mapping, ens):
    mesh = make_mesh(ens, 1, n_members=4)
    fn = map_members(lambda x, y: {"sum": x.sum() + y}, mesh, [MEMBERS, REPLICATED], mapping=mapping)
    stacked = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(fn(put(stacked, mesh, MEMBERS), 100.0)["sum"], stacked.sum(axis=1) + 100)


@pytest.mark.parametrize("mapping", ["map", "vmap"])
def test_updating_takes_over_the_first_argument(mapping):
    mesh = make_mesh(2, 1, n_members=4)

    def step(state, scale):
        return {"x": state["x"] * scale}, state["x"].sum()

    fn = map_members(step, mesh, [MEMBERS, MEMBERS], mapping=mapping, update_first=True)
    start = np.arange(8.0).reshape(4, 2)
    scale = np.arange(1.0, 5.0)
    given = put({"x": start}, mesh, MEMBERS)
    state, sums = fn(given, put(scale, mesh, MEMBERS))
    np.testing.assert_allclose(state["x"], start * scale[:, None])
    np.testing.assert_allclose(sums, start.sum(axis=1))
    assert given["x"].is_deleted()


def test_nothing_is_exchanged_between_members():
    mesh = make_mesh(2, 1, n_members=4)

    def loop(x):
        # Members stop after different numbers of rounds: mapped naively, this would couple them.
        return jax.lax.while_loop(lambda v: v < 10, lambda v: v * 2, x)

    fn = map_members(loop, mesh, [MEMBERS])
    text = fn.lower(put(np.arange(1.0, 5.0), mesh, MEMBERS)).compile().as_text()
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter"):
        assert collective not in text


def test_in_turn_holds_the_state_once():
    mesh = make_mesh(1, 1, n_members=8)
    state = jnp.zeros((8, 1 << 18))

    def steps(x):
        return jax.lax.fori_loop(0, 5, lambda i, s: (s[0] * 1.5 + i, s[1] + s[0].sum()), (x, 0.0))

    fn = map_members(steps, mesh, [MEMBERS], mapping="map", update_first=True)
    scratch = fn.lower(state).compile().memory_analysis().temp_size_in_bytes
    assert scratch < 3 * state.nbytes // 8
