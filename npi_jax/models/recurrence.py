"""The LSTM recurrence over packed rows, with a custom backward pass.

One product projects the inputs of all steps before the scan, which then multiplies only the hidden state. The forward
scan saves the derivatives by which the backward scan multiplies. The backward scan returns only the gradients of the
gates. Afterwards one product over all steps computes the gradients of the weights; automatic differentiation would add
up one product for each step.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from npi_jax.models.config import ComputeDtype
from npi_jax.models.numerics import matmul, transposed, vary_alike

State = tuple[Float[Array, "batch hidden"], Float[Array, "batch hidden"]]
Operands = tuple[Array, ...]
"""Projected inputs, hidden kernel, bias, and a factor [time, batch, 1]: 0 where the state is reset, otherwise 1."""


def lstm_layer(
    projected: Float[Array, "time batch gates"],
    hidden_kernel: Float[Array, "hidden gates"],
    bias: Float[Array, " gates"],
    starts: Bool[Array, "time batch"],
    *,
    compute_dtype: ComputeDtype = "float32",
    plain: bool = False,
) -> Float[Array, "time batch hidden"]:
    """Return the hidden states of one LSTM layer.

    Args:
        projected: the inputs times the input kernel. Gates are in the order of PyTorch's ``nn.LSTM``: input, forget,
            cell, output.
        hidden_kernel: kernel of the hidden state.
        bias: the sum of the two biases of ``nn.LSTM``.
        starts: True where hidden and cell state are reset to zero before the step.
        compute_dtype: dtype of the operands of products.
        plain: leave the derivative to automatic differentiation; forward mode requires it, reverse mode is slower.
    """
    keep = 1.0 - starts.astype(jnp.float32)[..., None]
    operands = vary_alike(projected, hidden_kernel, bias, keep)
    return _scan(operands, compute_dtype)[0] if plain else _layer(operands, compute_dtype)


def _activate(gates: Float[Array, "batch gates"]) -> Float[Array, "batch gates"]:
    """Apply the sigmoid to the input, forget and output gates, and the hyperbolic tangent to the cell gate.

    Because ``sigmoid(x) = tanh(x / 2) / 2 + 1 / 2``, one pass over contiguous memory computes all four. On CPU this
    makes the forward scan about a third faster than four slices and their concatenation.
    """
    scale = jnp.where(_is_cell(gates.shape[-1]), 1.0, 0.5).astype(gates.dtype)
    return jnp.tanh(gates * scale) * scale + (1.0 - scale)


def _is_cell(size: int) -> Bool[Array, " gates"]:
    return jnp.arange(4).repeat(size // 4) == 2


def _scan(operands: Operands, compute_dtype: ComputeDtype, *, slopes: bool = False) -> tuple[Array, ...]:
    """Return the hidden states of all steps, and with ``slopes`` also the derivatives for the backward pass.

    The derivatives are those of the cell (for the output gate, the hidden state) with respect to each gate's input, of
    the hidden state with respect to the cell, and of the cell with respect to the previous cell.
    """
    projected, hidden_kernel, bias, keep = operands
    # Cast before the scan instead of in each step.
    recurrent = hidden_kernel.astype(compute_dtype)

    def step(state: State, step_inputs: tuple[Array, Array]) -> tuple[State, tuple[Array, ...]]:
        projected, kept = step_inputs
        hidden, cell = state
        gates = _activate(projected + bias + matmul(hidden * kept, recurrent, compute_dtype))
        enter, forget, candidate, output = jnp.split(gates, 4, axis=-1)
        before = cell * kept
        cell = forget * before + enter * candidate
        squashed = jnp.tanh(cell)
        hidden = output * squashed
        if not slopes:
            return (hidden, cell), (hidden,)
        # sigmoid' = (1 - s) s and tanh' = (1 - t) (1 + t) are one expression for all four gates.
        of_activation = (1.0 - gates) * (gates + _is_cell(gates.shape[-1]))
        of_gates = of_activation * jnp.concatenate([candidate, before, enter, squashed], axis=-1)
        return (hidden, cell), (hidden, of_gates, output * (1.0 - squashed * squashed), forget * kept)

    zeros, _ = vary_alike(jnp.zeros((projected.shape[1], hidden_kernel.shape[0]), projected.dtype), projected)
    return jax.lax.scan(step, (zeros, zeros), (projected, keep))[1]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _layer(operands: Operands, compute_dtype: ComputeDtype) -> Float[Array, "time batch hidden"]:
    return _scan(operands, compute_dtype)[0]


def _forward(operands: Operands, compute_dtype: ComputeDtype) -> tuple[Array, tuple[Array, ...]]:
    hidden, *slopes = _scan(operands, compute_dtype, slopes=True)
    _, hidden_kernel, _, keep = operands
    return hidden, (hidden_kernel, keep, hidden, *slopes)


def _before(states: Float[Array, "time batch hidden"], keep: Float[Array, "time batch 1"]) -> Array:
    """Return the state before each step: that of the previous step, or zero after a reset."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]]) * keep


def _backward(
    compute_dtype: ComputeDtype, saved: tuple[Array, ...], cotangent: Float[Array, "time batch hidden"]
) -> tuple[Operands]:
    hidden_kernel, keep, hidden, of_gates, of_cell, of_before = saved
    back = transposed(hidden_kernel, compute_dtype)

    def step(state: State, step_inputs: tuple[Array, ...]) -> tuple[State, Array]:
        d_hidden, d_cell = state
        of_gates, of_cell, of_before, from_output, kept = step_inputs
        d_hidden = d_hidden + from_output
        d_cell = d_cell + d_hidden * of_cell
        d_gates = jnp.concatenate([d_cell, d_cell, d_cell, d_hidden], axis=-1) * of_gates
        return (matmul(d_gates, back, compute_dtype) * kept, d_cell * of_before), d_gates

    zeros = jnp.zeros_like(hidden[0])
    zeros, _ = vary_alike(zeros, cotangent)
    steps = (of_gates, of_cell, of_before, cotangent, keep)
    _, d_gates = jax.lax.scan(step, (zeros, zeros), steps, reverse=True)

    # Reshape to matrices, because with two contracted axes XLA would first transpose the largest array.
    flat = d_gates.reshape(-1, d_gates.shape[-1])
    before = _before(hidden, keep).reshape(-1, hidden.shape[-1])
    d_kernel = matmul(transposed(before, compute_dtype), flat, compute_dtype)
    return ((d_gates, d_kernel, flat.sum(axis=0), jnp.zeros_like(keep)),)


_layer.defvjp(_forward, _backward)
