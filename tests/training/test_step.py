import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference_loss import cross_entropy_reference

from npi_jax.config.schema import TrainConfig
from npi_jax.models import LSTMConfig, make_model
from npi_jax.training.devices.data_axis import DataAxis
from npi_jax.training.member.optimizer import HyperParameters
from npi_jax.training.member.step import (
    Pool,
    init_member,
    make_train_call,
    make_valid_call,
    read_rows,
)

EOS, VOCABULARY = 0, 12
CONFIG = TrainConfig(steps=20, batch_size=4, row_length=8, optimizer="sgd", clip=0.0, steps_per_call=5)
MODEL = make_model(LSTMConfig(embedding=6, hidden=6, layers=1), VOCABULARY)
DATA = DataAxis(MODEL)


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCABULARY, (10, 9)).astype(np.uint16)
    tokens[:, 0] = EOS
    tokens[:, 4] = EOS
    used = rng.integers(5, 9, 10).astype(np.int32)
    for row, length in enumerate(used):
        tokens[row, length:] = EOS
    return Pool(jnp.asarray(tokens), jnp.asarray(used))


def hyper(rate: float = 0.5, dropout: float = 0.0) -> HyperParameters:
    return HyperParameters(jnp.float32(rate), jnp.float32(0), jnp.float32(dropout))


def run(pool: Pool, *, config: TrainConfig = CONFIG, steps: int = 3, seed: int = 1, calls=None, rate=0.5):
    call = jax.jit(make_train_call(DATA, config, EOS))
    state = jax.jit(init_member(DATA, config))(jnp.uint32(seed))
    rows = np.random.default_rng(1).integers(0, 10, (steps, config.batch_size)).astype(np.int32)
    first = 0
    for n_steps in calls or [steps]:
        part = np.zeros((config.steps_per_call, config.batch_size), np.int32)
        part[:n_steps] = rows[first : first + n_steps]
        dropout = config.dropout[0]
        state, progress = call(state, hyper(rate, dropout), jnp.uint32(seed), part, pool, first, n_steps, first == 0)
        first += n_steps
    return state, progress, rows


def test_rows_are_read_with_their_segments(pool):
    batch = read_rows(pool, jnp.array([3]), EOS)
    used = int(pool.used[3])
    assert batch.mask[0].tolist() == [1.0] * used + [0.0] * (8 - used)
    assert batch.tokens[0].tolist() == pool.tokens[3, :-1].tolist()
    assert batch.targets[0].tolist() == pool.tokens[3, 1:].tolist()
    assert batch.positions[0, :5].tolist() == [0, 1, 2, 3, 0]
    assert batch.segment_ids[0, :5].tolist() == [1, 1, 1, 1, 2]
    assert (np.asarray(batch.segment_ids[0, used:]) == 0).all()


def test_a_step_is_gradient_descent_on_the_mean_loss(pool):
    state, progress, rows = run(pool, steps=1)
    start = jax.jit(init_member(DATA, CONFIG))(jnp.uint32(1))

    def loss(params):
        batch = read_rows(pool, jnp.asarray(rows[0]), EOS)
        hidden = MODEL.hidden(params, batch.tokens, batch.segment_ids, batch.positions)
        flat = (hidden.reshape(-1, 6), *MODEL.output(params), batch.targets.reshape(-1), batch.mask.reshape(-1))
        return cross_entropy_reference(*flat) / batch.mask.sum()

    value, gradient = jax.value_and_grad(loss)(start.params)
    expected = optax.apply_updates(start.params, jax.tree.map(lambda g: -0.5 * g, gradient))
    np.testing.assert_allclose(progress.loss_sum, value, rtol=1e-5)
    for got, want in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def assert_same(first, second) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_how_steps_are_split_into_calls_changes_no_bit(pool, dropout):
    config = dataclasses.replace(CONFIG, dropout=(dropout,))
    whole, *_ = run(pool, config=config, steps=5)
    split, *_ = run(pool, config=config, steps=5, calls=[2, 1, 2])
    assert_same(whole, split)


def test_dropout_is_drawn_anew_for_each_step_and_each_seed(pool):
    config = dataclasses.replace(CONFIG, dropout=(0.5,))
    call = jax.jit(make_train_call(DATA, config, EOS))
    state = jax.jit(init_member(DATA, config))(jnp.uint32(1))
    rows = np.zeros((5, 4), np.int32)

    def after_one_step(seed: int, step: int) -> np.ndarray:
        new, _ = call(state, hyper(0.5, 0.5), jnp.uint32(seed), rows, pool, step, 1, True)
        return np.asarray(new.params["output_bias"])

    np.testing.assert_array_equal(after_one_step(1, 0), after_one_step(1, 0))
    assert (after_one_step(1, 0) != after_one_step(1, 1)).any()
    assert (after_one_step(1, 0) != after_one_step(2, 0)).any()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_accumulating_changes_nothing_but_rounding(pool, dropout):
    config = dataclasses.replace(CONFIG, dropout=(dropout,))
    whole, *_ = run(pool, config=config)
    parts, *_ = run(pool, config=dataclasses.replace(config, accumulate=2))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_running_loss_is_summed_until_restarted(pool):
    state, progress, _ = run(pool, steps=4, calls=[1, 3])
    assert float(progress.loss_steps) == 4
    assert 4 * 1.0 < float(progress.loss_sum) < 4 * 4.0
    assert float(state.loss_sum) == float(progress.loss_sum)


def test_gradients_that_are_not_finite_are_skipped_and_counted(pool):
    state = jax.jit(init_member(DATA, CONFIG))(jnp.uint32(1))
    broken = state.params | {"output_bias": jnp.full(VOCABULARY, jnp.nan)}
    call = jax.jit(make_train_call(DATA, CONFIG, EOS))
    rows = np.zeros((5, 4), np.int32)
    after, progress = call(state._replace(params=broken), hyper(), jnp.uint32(1), rows, pool, 0, 5, True)
    assert int(progress.skipped_updates) == 5
    assert_same(after.params, broken)


def test_validation_loss_is_the_mean_over_real_tokens(pool):
    params = jax.jit(init_member(DATA, CONFIG))(jnp.uint32(1)).params
    chunks = Pool(pool.tokens.reshape(2, 5, 9), pool.used.reshape(2, 5))
    got = jax.jit(make_valid_call(DATA, CONFIG, EOS))(params, chunks)
    batch = read_rows(pool, jnp.arange(10), EOS)
    logits = MODEL.logits(params, batch.tokens, batch.segment_ids, batch.positions)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(got, (nll * batch.mask).sum() / batch.mask.sum(), rtol=1e-5)
