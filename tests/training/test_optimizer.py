import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from facts import facts

from npi_jax.config.members import HYPERPARAMETERS
from npi_jax.config.schema import TrainConfig
from npi_jax.training.member.optimizer import (
    HyperParameters,
    init_optimizer,
    learning_rate_factor,
    update_params,
)


def factors(**changes) -> list[float]:
    config = TrainConfig(steps=10, **changes)
    return [float(learning_rate_factor(config, jnp.int32(step))) for step in range(10)]


def test_schedules():
    np.testing.assert_allclose(factors(), 1.0)
    np.testing.assert_allclose(factors(schedule="linear"), 1 - np.arange(10) / 10, atol=1e-6)
    np.testing.assert_allclose(factors(schedule="cosine"), (1 + np.cos(np.pi * np.arange(10) / 10)) / 2, atol=1e-6)
    warm = factors(schedule="linear", warmup=4)
    np.testing.assert_allclose(warm[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(warm[4:], 1 - np.arange(6) / 6, atol=1e-6)


def one_update(config: TrainConfig, gradient, hyper: HyperParameters, params=None):
    params = {"w": jnp.ones(3)} if params is None else params
    norm = jnp.linalg.norm(gradient)
    moved, state = update_params(
        config, hyper, jnp.int32(0), {"w": gradient}, jnp.ones(()), norm, init_optimizer(config, params), params
    )
    return jax.tree.map(jnp.subtract, moved, params), state


def hyper(rate=0.1, decay=0.0) -> HyperParameters:
    return HyperParameters(jnp.float32(rate), jnp.float32(decay), jnp.float32(0))


def test_sgd_clips_the_norm_of_one_member():
    updates, _ = one_update(TrainConfig(optimizer="sgd", clip=1.0), jnp.array([3.0, 0.0, 4.0]), hyper())
    np.testing.assert_allclose(updates["w"], [-0.06, 0, -0.08], rtol=1e-5)
    updates, _ = one_update(TrainConfig(optimizer="sgd", clip=0.0), jnp.array([3.0, 0.0, 4.0]), hyper())
    np.testing.assert_allclose(updates["w"], [-0.3, 0, -0.4], rtol=1e-5)


def test_adam_moves_by_the_learning_rate_and_adamw_decays():
    updates, _ = one_update(TrainConfig(optimizer="adam", clip=0.0), jnp.array([2.0, -1.0, 5.0]), hyper())
    np.testing.assert_allclose(updates["w"], [-0.1, 0.1, -0.1], rtol=1e-4)
    config = TrainConfig(optimizer="adamw", clip=0.0, weight_decay=(0.5,))
    updates, _ = one_update(config, jnp.array([2.0, -1.0, 5.0]), hyper(decay=0.5))
    np.testing.assert_allclose(updates["w"], [-0.15, 0.05, -0.15], rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("clip", [0.0, 0.7])
def test_many_updates_are_those_of_optax(optimizer, clip):
    config = TrainConfig(optimizer=optimizer, clip=clip, weight_decay=(0.3,) if optimizer == "adamw" else (0.0,))
    rules = {
        "sgd": [],
        "adam": [optax.scale_by_adam()],
        "adamw": [optax.scale_by_adam(), optax.add_decayed_weights(0.3)],
    }[optimizer]
    chain = optax.chain(*([optax.clip_by_global_norm(clip)] if clip else []), *rules, optax.scale(-0.1))
    theirs = ours = {"w": jnp.arange(12.0).reshape(3, 4) / 7, "b": jnp.ones(3)}
    their_state, our_state = chain.init(theirs), init_optimizer(config, ours)
    rng = np.random.default_rng(0)
    for step in range(30):
        gradient = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), ours)
        norm = optax.tree.norm(gradient)
        ours, our_state = update_params(
            config, hyper(decay=0.3), jnp.int32(step), gradient, jnp.float32(0.5), norm, our_state, ours
        )
        halved = jax.tree.map(lambda leaf: 0.5 * leaf, gradient)
        updates, their_state = chain.update(halved, their_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_update_that_is_not_finite_is_left_out_and_counted():
    updates, state = one_update(TrainConfig(), jnp.array([jnp.nan, 1.0, 1.0]), hyper())
    np.testing.assert_array_equal(updates["w"], 0.0)
    assert int(state.skipped) == 1


def test_members_do_not_share_a_norm():
    config = TrainConfig(optimizer="sgd", clip=1.0)
    gradients = jnp.array([[0.1, 0.0, 0.0], [1000.0, 0.0, 0.0]])
    rates = HyperParameters(jnp.array([0.1, 1.0]), jnp.zeros(2), jnp.zeros(2))
    updates, _ = jax.vmap(lambda g, h: one_update(config, g, h))(gradients, rates)
    np.testing.assert_allclose(updates["w"][:, 0], [-0.01, -1.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight_decay": (0.1,)}, "optimizer='adamw'"),
        ({"batch_size": 9, "accumulate": 2}, ("accumulate=2", "batch_size=9")),
    ],
)
def test_contradictions_are_refused(changes, words):
    with pytest.raises(ValueError, match=facts(words)):
        TrainConfig(**changes)


def test_members_have_every_hyper_parameter_of_the_optimizer():
    assert HyperParameters._fields == HYPERPARAMETERS
