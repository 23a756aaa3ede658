"""The LSTM recurrence over packed rows, with a backward pass of its own.

One layer is one matrix product for the inputs of all steps, then a scan that multiplies the hidden state
only. The backward scan emits the gradients of the gates and nothing else; the gradients of the weights are
one product over all steps afterwards, where automatic differentiation would add up one product a step.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from npi_jax.models.config import ComputeDtype
from npi_jax.models.numerics import matmul, vary_alike

State = tuple[Float[Array, "batch hidden"], Float[Array, "batch hidden"]]


def lstm_layer(
    inputs: Float[Array, "time batch features"],
    input_kernel: Float[Array, "features gates"],
    hidden_kernel: Float[Array, "hidden gates"],
    bias: Float[Array, " gates"],
    starts: Bool[Array, "time batch"],
    *,
    compute_dtype: ComputeDtype = "float32",
    plain: bool = False,
) -> Float[Array, "time batch hidden"]:
    """One LSTM layer; hidden and cell state are zero before every position where ``starts`` is True.

    The gates lie in the order of PyTorch's ``nn.LSTM`` (input, forget, cell, output); ``bias`` stands for the
    sum of its two. With ``plain`` the scan is left to automatic differentiation, which is slower in reverse
    mode and the only way in forward mode.
    """
    projected = matmul(inputs, input_kernel, compute_dtype) + bias
    keep = 1.0 - starts.astype(projected.dtype)[..., None]
    projected, hidden_kernel, keep = vary_alike(projected, hidden_kernel, keep)
    if plain:
        return _scan(projected, hidden_kernel, keep, compute_dtype)[0]
    return _recurrence(projected, hidden_kernel, keep, compute_dtype)


def _cell(
    gates: Float[Array, "batch gates"], cell: Float[Array, "batch hidden"]
) -> tuple[Array, Array, Array]:
    """The state after one step and the four activated gates side by side."""
    width = cell.shape[-1]
    enter, forget, output = (jax.nn.sigmoid(gates[:, k * width : (k + 1) * width]) for k in (0, 1, 3))
    candidate = jnp.tanh(gates[:, 2 * width : 3 * width])
    cell = forget * cell + enter * candidate
    return output * jnp.tanh(cell), cell, jnp.concatenate([enter, forget, candidate, output], axis=-1)


def _scan(
    projected: Float[Array, "time batch gates"],
    kernel: Float[Array, "hidden gates"],
    keep: Float[Array, "time batch 1"],
    compute_dtype: ComputeDtype,
) -> tuple[Array, Array, Array]:
    """Hidden states, cells and activated gates of all steps."""

    def step(state: State, step_inputs: tuple[Array, Array]) -> tuple[State, tuple[Array, Array, Array]]:
        gates_in, kept = step_inputs
        hidden, cell = state
        gates = gates_in + matmul(hidden * kept, kernel, compute_dtype)
        hidden, cell, activated = _cell(gates, cell * kept)
        return (hidden, cell), (hidden, cell, activated)

    zeros = jnp.zeros((projected.shape[1], kernel.shape[0]), projected.dtype)
    zeros, _ = vary_alike(zeros, projected)
    _, outputs = jax.lax.scan(step, (zeros, zeros), (projected, keep))
    return outputs


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _recurrence(
    projected: Float[Array, "time batch gates"],
    kernel: Float[Array, "hidden gates"],
    keep: Float[Array, "time batch 1"],
    compute_dtype: ComputeDtype,
) -> Float[Array, "time batch hidden"]:
    return _scan(projected, kernel, keep, compute_dtype)[0]


def _forward(
    projected: Array, kernel: Array, keep: Array, compute_dtype: ComputeDtype
) -> tuple[Array, tuple]:
    hidden, cells, activated = _scan(projected, kernel, keep, compute_dtype)
    return hidden, (hidden, cells, activated, kernel, keep)


def _before(states: Float[Array, "time batch hidden"], keep: Float[Array, "time batch 1"]) -> Array:
    """The state that each step started from: the step before's, or zero at a start."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]]) * keep


def _backward(compute_dtype: ComputeDtype, saved: tuple, cotangent: Array) -> tuple[Array, Array, Array]:
    hidden, cells, activated, kernel, keep = saved
    transposed = kernel.T

    def step(state: State, step_inputs: tuple[Array, ...]) -> tuple[State, Array]:
        d_hidden, d_cell = state
        gates, cell, cell_before, from_output, kept = step_inputs
        enter, forget, candidate, output = jnp.split(gates, 4, axis=-1)
        d_hidden = d_hidden + from_output
        squashed = jnp.tanh(cell)
        d_cell = d_cell + d_hidden * output * (1.0 - squashed * squashed)
        d_gates = jnp.concatenate(
            [
                d_cell * candidate * enter * (1.0 - enter),
                d_cell * cell_before * forget * (1.0 - forget),
                d_cell * enter * (1.0 - candidate * candidate),
                d_hidden * squashed * output * (1.0 - output),
            ],
            axis=-1,
        )
        return (matmul(d_gates, transposed, compute_dtype) * kept, d_cell * forget * kept), d_gates

    zeros, _ = vary_alike(jnp.zeros_like(hidden[0]), cotangent)
    inputs = (activated, cells, _before(cells, keep), cotangent, keep)
    _, d_projected = jax.lax.scan(step, (zeros, zeros), inputs, reverse=True)
    d_kernel = jnp.einsum(
        "tbh,tbg->hg",
        _before(hidden, keep).astype(compute_dtype),
        d_projected.astype(compute_dtype),
        preferred_element_type=jnp.float32,
    )
    return d_projected, d_kernel, jnp.zeros_like(keep)


_recurrence.defvjp(_forward, _backward)
