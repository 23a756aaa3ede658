"""The training step of one member. Nothing here knows of ensembles; `npi_jax.training.devices.mesh` maps it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt

from npi_jax.config.schema import TrainConfig
from npi_jax.models import LanguageModel, Model
from npi_jax.models.custom import dropped_by_row
from npi_jax.models.segments import text_segments
from npi_jax.training.devices.data_axis import NAME, DataAxis
from npi_jax.training.member.loss import cross_entropy
from npi_jax.training.member.optimizer import HyperParameters, init_optimizer, update_params

INIT_STREAM, DROPOUT_STREAM = 0, 1


class MemberState(NamedTuple):
    """What a member carries from step to step.

    Attributes:
        params, opt_state: as the model and the optimizer define them.
        loss_sum: sum of the steps' mean losses since the last checkpoint, nats a token.
        loss_steps: how many steps that are.
    """

    params: Any
    opt_state: Any
    loss_sum: Float[Array, "..."]
    loss_steps: Float[Array, "..."]


class Pool(NamedTuple):
    """The rows on the device: tokens [rows, length + 1], and how many of a row's tokens are predicted [rows].

    Rows of one call alone have the axes of its batches in the place of ``rows``, see `npi_jax.training.feed`.
    """

    tokens: UInt[Array | np.ndarray, "*rows length_and_one"]
    used: Int[Array | np.ndarray, "*rows"]


class Progress(NamedTuple):
    """What a call reports besides the new state; scalars of one member."""

    loss_sum: Float[Array | np.ndarray, "..."]
    loss_steps: Float[Array | np.ndarray, "..."]
    skipped_updates: Int[Array | np.ndarray, "..."]


class Batch(NamedTuple):
    """Rows as the model reads them; all [rows, length]."""

    tokens: Int[Array, "rows length"]
    targets: Int[Array, "rows length"]
    segment_ids: Int[Array, "rows length"]
    positions: Int[Array, "rows length"]
    mask: Float[Array, "rows length"]


def member_key(seed: UInt[Array, ""], stream: int) -> jax.Array:
    """The key of one of a member's random streams; the same for all members with this seed."""
    # threefry, said aloud: other generators draw differently under vmap, so that seeds would not be seeds.
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), stream)


def read_rows(pool: Pool, index: Int[Array, " rows"], eos: int) -> Batch:
    """Gather rows; every `<eos>` that is read begins a new segment."""
    rows = pool.tokens[index].astype(jnp.int32)
    tokens, targets = rows[:, :-1], rows[:, 1:]
    mask = jnp.arange(tokens.shape[1]) < pool.used[index][:, None]
    segment_ids, positions = text_segments(tokens, eos)
    return Batch(tokens, targets, segment_ids * mask, positions, mask.astype(jnp.float32))


def init_member(data: DataAxis, config: TrainConfig) -> Callable[[Any], MemberState]:
    """A function from a seed to the member's state before the first step; of a split member, this device's share."""

    def init(seed: UInt[Array, ""]) -> MemberState:
        params = data.own(data.model.init(member_key(seed, INIT_STREAM)))
        zero = jnp.zeros((), jnp.float32)
        return MemberState(params, init_optimizer(config, params), zero, zero)

    return init


def batch_loss(
    model: Model,
    params: Any,
    batch: Batch,
    *,
    chunk: int,
    dropout_keys: Key[Array, " rows"] | None = None,
    dropout_rate: Array | None = None,
) -> Float[Array, ""]:
    """Sum of the negative log-likelihoods of a batch's real tokens, nats; `dropout_keys` holds a key for each row."""
    rows = batch.tokens, batch.segment_ids, batch.positions
    if dropout_keys is None or isinstance(model, LanguageModel):
        hidden = model.hidden(params, *rows, dropout_key=dropout_keys, dropout_rate=dropout_rate)
    else:
        hidden = dropped_by_row(model, params, rows, dropout_keys, dropout_rate)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return cross_entropy(
        flat,
        *model.output(params),
        batch.targets.reshape(-1),
        batch.mask.reshape(-1),
        chunk=chunk,
        compute_dtype=model.config.compute_dtype,
    )


def train_step(
    data: DataAxis,
    config: TrainConfig,
    eos: int,
    state: MemberState,
    hyper: HyperParameters,
    seed: UInt[Array, ""],
    step: Int[Array, ""],
    rows: Int[Array, " rows"],
    pool: Pool,
) -> MemberState:
    """One optimizer step of one member on the mean loss over the batch's tokens.

    Args:
        data: the member's model, and the devices that share its batch.
        rows: the pool rows of this device's share of the batch.
    """
    key = jax.random.fold_in(member_key(seed, DROPOUT_STREAM), step) if any(config.dropout) else None
    # Rows keep their number in the batch, and with it their dropout, however devices and micro-batches share them.
    first = jax.lax.axis_index(NAME) * len(rows) if data.size > 1 else 0
    numbers = first + jnp.arange(len(rows))

    def micro_batch(numbers: Array, part: Array) -> tuple[Array, Array, Any]:
        batch = read_rows(pool, part, eos)
        loss, gradient = jax.value_and_grad(
            lambda params: batch_loss(
                data.model,
                data.whole_params(params),
                batch,
                chunk=config.loss_chunk,
                dropout_keys=None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(key, numbers),
                dropout_rate=jnp.asarray(hyper.dropout),
            )
        )(state.params)
        return loss, batch.mask.sum(), gradient

    loss, tokens, gradient = data.sum(*_accumulate(micro_batch, (numbers, rows), config.accumulate))
    norm = data.norm(gradient)
    params, opt_state = update_params(config, hyper, step, gradient, 1 / tokens, norm, state.opt_state, state.params)
    return MemberState(params, opt_state, state.loss_sum + loss / tokens, state.loss_steps + 1)


def _accumulate(micro_batch: Callable[..., Any], rows: tuple[Int[Array, " rows"], ...], parts: int) -> Any:
    """The sum of what `micro_batch` gives for each part of the rows."""
    if parts == 1:
        return micro_batch(*rows)
    split = tuple(array.reshape(parts, -1) for array in rows)
    shapes = jax.eval_shape(micro_batch, *(array[0] for array in split))
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, part: tuple[Array, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, micro_batch(*part)), None

    return jax.lax.scan(add, total, split)[0]


def make_train_call(data: DataAxis, config: TrainConfig, eos: int) -> Callable[..., tuple[MemberState, Progress]]:
    """Several steps of one member as one function of arrays.

    The function takes ``(state, hyper, seed, rows [steps_per_call, rows], pool, first_step, n_steps, restart)``:
    it runs `n_steps` steps (a traced number: shorter calls need no new program) and, if `restart`, begins the
    running loss anew.
    """

    def call(
        state: MemberState,
        hyper: HyperParameters,
        seed: Array,
        rows: Array,
        pool: Pool,
        first_step: Array,
        n_steps: Array,
        restart: Array,
    ) -> tuple[MemberState, Progress]:
        # Rows of this call alone come as the steps' batches; numbers count them one after the other.
        pool = Pool(pool.tokens.reshape(-1, pool.tokens.shape[-1]), pool.used.reshape(-1))
        state = state._replace(
            loss_sum=jnp.where(restart, 0.0, state.loss_sum), loss_steps=jnp.where(restart, 0.0, state.loss_steps)
        )

        def body(index: Array, state: MemberState) -> MemberState:
            return train_step(data, config, eos, state, hyper, seed, first_step + index, rows[index], pool)

        state = jax.lax.fori_loop(0, n_steps, body, state)
        return state, Progress(state.loss_sum, state.loss_steps, state.opt_state.skipped)

    return call


def make_valid_call(data: DataAxis, config: TrainConfig, eos: int) -> Callable[[Any, Pool], Array]:
    """Mean negative log-likelihood (nats a token) of one member over all rows of a pool [chunks, rows, ...].

    Devices that share the member's batch share the rows of each chunk too.
    """

    def call(params: Any, chunks: Pool) -> Array:
        def of_chunk(chunk: Pool) -> tuple[Array, Array]:
            batch = read_rows(chunk, jnp.arange(chunk.used.shape[0]), eos)
            return batch_loss(data.model, params, batch, chunk=config.loss_chunk), batch.mask.sum()

        losses, tokens = jax.lax.map(of_chunk, chunks)
        loss, count = data.total((losses.sum(), tokens.sum()))
        return loss / count

    return call
