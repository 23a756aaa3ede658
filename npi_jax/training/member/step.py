"""The training step of one member.

These functions treat a single member; `npi_jax.training.devices.mesh.map_members` maps them over members.
"""

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
from npi_jax.training.devices.data_axis import DATA, DataAxis
from npi_jax.training.member.loss import cross_entropy
from npi_jax.training.member.optimizer import HyperParameters, init_optimizer, update_params

INIT_STREAM, DROPOUT_STREAM = 0, 1
"""Numbers of a member's random streams."""


class MemberState(NamedTuple):
    """State of a member between two steps.

    Attributes:
        params: parameters of the model.
        opt_state: state of the optimizer.
        loss_sum: sum of the mean losses of all steps since the last checkpoint, nats per token.
        loss_steps: number of steps since the last checkpoint.
    """

    params: Any
    opt_state: Any
    loss_sum: Float[Array, "..."]
    loss_steps: Float[Array, "..."]


class Pool(NamedTuple):
    """Rows of text on the devices.

    The axes ``rows`` are either one axis for all rows of the corpus, or the axes of the batches of one training call
    (see `npi_jax.training.feed`).

    Attributes:
        tokens: token ids.
        used: number of tokens that are predicted in each row.
    """

    tokens: UInt[Array | np.ndarray, "*rows length_and_one"]
    used: Int[Array | np.ndarray, "*rows"]


class Progress(NamedTuple):
    """Report of a training call: scalars of one member.

    Attributes:
        loss_sum, loss_steps: as in `MemberState`.
        skipped_updates: number of updates since step 0 that were skipped because they were not finite.
    """

    loss_sum: Float[Array | np.ndarray, "..."]
    loss_steps: Float[Array | np.ndarray, "..."]
    skipped_updates: Int[Array | np.ndarray, "..."]


class Batch(NamedTuple):
    """Rows as the model reads them.

    Attributes:
        tokens, targets: ids of the input tokens, and of the tokens that follow them.
        segment_ids: number of each token's segment in the row, from 1; 0 for padding.
        positions: position of each token in its segment, from 0.
        mask: 1 for tokens whose target counts as a prediction, otherwise 0.
    """

    tokens: Int[Array, "rows length"]
    targets: Int[Array, "rows length"]
    segment_ids: Int[Array, "rows length"]
    positions: Int[Array, "rows length"]
    mask: Float[Array, "rows length"]


def member_key(seed: UInt[Array, ""], stream: int) -> Key[Array, ""]:
    """Return the key of a random stream; all members with the same seed have the same key."""
    # Use threefry, the only generator that draws the same numbers with and without vmap.
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), stream)


def read_rows(pool: Pool, index: Int[Array, " rows"], eos: int) -> Batch:
    """Gather rows of the pool; every `<eos>` begins a new segment."""
    rows = pool.tokens[index].astype(jnp.int32)
    tokens, targets = rows[:, :-1], rows[:, 1:]
    mask = jnp.arange(tokens.shape[1]) < pool.used[index][:, None]
    segment_ids, positions = text_segments(tokens, eos)
    return Batch(tokens, targets, segment_ids * mask, positions, mask.astype(jnp.float32))


def init_member(data: DataAxis, config: TrainConfig) -> Callable[[Any], MemberState]:
    """Make a function that maps a seed to the member's state before the first step.

    If members are split over devices, the function returns this device's shard of the state.
    """

    def init(seed: UInt[Array, ""]) -> MemberState:
        params = data.shard(data.model.init(member_key(seed, INIT_STREAM)))
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
    dropout_rate: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Compute the sum of the negative log-likelihoods of a batch's predicted tokens, nats.

    Args:
        model: the architecture.
        params: its parameters.
        batch: the rows.
        chunk: maximum number of rows whose logits are held at once (`cross_entropy`).
        dropout_keys: a key for each row; None for no dropout.
        dropout_rate: share of units to drop.
    """
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
    """Update one member with the gradient of the mean loss over the tokens of a batch.

    Args:
        data: the model, and the devices over which the batch is split.
        config: configuration of training.
        eos: id of `<eos>`.
        state: state of the member.
        hyper: its hyper-parameters.
        seed: its seed.
        step: number of the step, from 0.
        rows: numbers of the batch's rows on this device.
        pool: the rows that these numbers index.
    """
    key = jax.random.fold_in(member_key(seed, DROPOUT_STREAM), step) if any(config.dropout) else None
    # Dropout depends on a row's number in the batch, not on the device or micro-batch that computes it.
    first = jax.lax.axis_index(DATA) * len(rows) if data.size > 1 else 0
    numbers = first + jnp.arange(len(rows))

    def micro_batch(numbers: Array, part: Array) -> tuple[Array, Array, Any]:
        batch = read_rows(pool, part, eos)
        loss, gradient = jax.value_and_grad(
            lambda params: batch_loss(
                data.model,
                data.gather_params(params),
                batch,
                chunk=config.loss_chunk,
                dropout_keys=None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(key, numbers),
                dropout_rate=jnp.asarray(hyper.dropout),
            )
        )(state.params)
        return loss, batch.mask.sum(), gradient

    loss, tokens, gradient = data.sum_gradients(*_accumulate(micro_batch, (numbers, rows), config.accumulate))
    norm = data.norm(gradient)
    params, opt_state = update_params(config, hyper, step, gradient, 1 / tokens, norm, state.opt_state, state.params)
    return MemberState(params, opt_state, state.loss_sum + loss / tokens, state.loss_steps + 1)


def _accumulate(micro_batch: Callable[..., Any], rows: tuple[Int[Array, " rows"], ...], parts: int) -> Any:
    """Split the rows into equal parts, apply `micro_batch` to each, and return the sum of the results."""
    if parts == 1:
        return micro_batch(*rows)
    split = tuple(array.reshape(parts, -1) for array in rows)
    shapes = jax.eval_shape(micro_batch, *(array[0] for array in split))
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, part: tuple[Array, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, micro_batch(*part)), None

    return jax.lax.scan(add, total, split)[0]


def make_train_call(data: DataAxis, config: TrainConfig, eos: int) -> Callable[..., tuple[MemberState, Progress]]:
    """Make a function that trains one member for several steps.

    The function takes ``(state, hyper, seed, rows [steps_per_call, rows], pool, first_step, n_steps, restart)``. The
    number of steps, `n_steps`, is traced, so that shorter calls need no new program. If `restart` is true, the running
    loss is reset first.
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
        # Streamed rows arrive as [step, batch]; flatten so that indices address them.
        pool = Pool(pool.tokens.reshape(-1, pool.tokens.shape[-1]), pool.used.reshape(-1))
        state = state._replace(
            loss_sum=jnp.where(restart, 0.0, state.loss_sum), loss_steps=jnp.where(restart, 0.0, state.loss_steps)
        )

        def body(index: Array, state: MemberState) -> MemberState:
            return train_step(data, config, eos, state, hyper, seed, first_step + index, rows[index], pool)

        state = jax.lax.fori_loop(0, n_steps, body, state)
        return state, Progress(state.loss_sum, state.loss_steps, state.opt_state.skipped)

    return call


def make_valid_call(data: DataAxis, config: TrainConfig, eos: int) -> Callable[[Any, Pool], Float[Array, ""]]:
    """Make a function that computes one member's mean negative log-likelihood, nats per token.

    The function takes parameters and a pool with the leading axes [chunks, rows]. The rows of each chunk are split over
    the devices along ``data``.
    """

    def call(params: Any, chunks: Pool) -> Array:
        def of_chunk(chunk: Pool) -> tuple[Array, Array]:
            batch = read_rows(chunk, jnp.arange(chunk.used.shape[0]), eos)
            return batch_loss(data.model, params, batch, chunk=config.loss_chunk), batch.mask.sum()

        losses, tokens = jax.lax.map(of_chunk, chunks)
        loss, count = data.psum((losses.sum(), tokens.sum()))
        return loss / count

    return call
