"""Numerical functions of all models: mixed-precision products, dropout, varying axes."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped, UInt

from npi_jax.models.config import ComputeDtype, Remat


def rematerialized(block: type[nn.Module], remat: Remat) -> type[nn.Module]:
    """Return `block` with a backward pass that recomputes values (see `TrainConfig.remat`); results do not change."""
    if remat == "none":
        return block
    kept = {"blocks": None, "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}
    remade: type[nn.Module] = nn.remat(block, policy=kept[remat])
    return remade


def matmul(
    left: Float[Array, "*rows inner"], right: Float[Array, "inner columns"], dtype: ComputeDtype
) -> Float[Array, "*rows columns"]:
    """Return ``left @ right`` with operands cast to ``dtype`` and sums in float32."""
    return jnp.matmul(left.astype(dtype), right.astype(dtype), preferred_element_type=jnp.float32)


def transposed(matrix: Float[Array, "rows columns"], dtype: ComputeDtype) -> Float[Array, "columns rows"]:
    """Return ``matrix.T`` in ``dtype``, as the operand of a product.

    On CPU, bfloat16 products are fast only with row-major operands: 183 GFLOP/s per core instead of 75 to 95, measured
    with avx512_bf16. XLA would fold a plain transposition into the product, which makes the operand column-major. It
    does not fold a concatenation of two transposed halves. In float32 and on other platforms both orders are fast.
    """
    matrix = matrix.astype(dtype)
    if dtype == "float32":
        return matrix.T
    turned: Array = jax.lax.platform_dependent(matrix, cpu=_in_halves, default=jnp.transpose)
    return turned


def _in_halves(matrix: Array) -> Array:
    half = matrix.shape[0] // 2
    return jnp.concatenate([matrix[:half].T, matrix[half:].T], axis=1)


def project(
    values: Float[Array, "*rows inner"],
    kernel: Float[Array, "inner columns"],
    dtype: ComputeDtype,
    *,
    plain: bool = False,
) -> Float[Array, "*rows columns"]:
    """Return the result of `matmul`, with a backward pass that also casts its operands and transposes them efficiently.

    With ``plain`` the derivative is left to automatic differentiation, as forward mode requires.
    """
    if plain:
        return matmul(values, kernel, dtype)
    rows = values.reshape(-1, values.shape[-1])
    return _project(*vary_alike(rows, kernel), dtype).reshape(*values.shape[:-1], kernel.shape[1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _project(rows: Array, kernel: Array, dtype: ComputeDtype) -> Array:
    return matmul(rows, kernel, dtype)


def _project_forward(rows: Array, kernel: Array, dtype: ComputeDtype) -> tuple[Array, tuple[Array, ...]]:
    # Saving the cast operands halves the memory of bfloat16 products. The empty arrays keep the original dtypes.
    operands = rows.astype(dtype), kernel.astype(dtype)
    return matmul(*operands, dtype), (*operands, jnp.zeros(0, rows.dtype), jnp.zeros(0, kernel.dtype))


def _project_backward(dtype: ComputeDtype, saved: tuple[Array, ...], cotangent: Array) -> tuple[Array, Array]:
    rows, kernel, like_rows, like_kernel = saved
    cotangent = cotangent.astype(dtype)
    d_rows = matmul(cotangent, transposed(kernel, dtype), dtype)
    d_kernel = matmul(transposed(rows, dtype), cotangent, dtype)
    return d_rows.astype(like_rows.dtype), d_kernel.astype(like_kernel.dtype)


_project.defvjp(_project_forward, _project_backward)


def dropout(
    values: Float[Array, "*shape"],
    key: Key[Array, "*rows"] | None,
    rate: Float[Array, ""] | float | None,
    *,
    axis: int = 0,
) -> Float[Array, "*shape"]:
    """Set a share ``rate`` of ``values`` to zero and scale the rest by ``1 / (1 - rate)``.

    Args:
        values: the input.
        key: None for no dropout. With one key the mask depends only on the key and the shape. With a key for each
            row, the mask of a row depends only on its key and shape, not on the other rows.
        rate: the share, at least 0 and below 1. It may be traced, so that members of one program can differ in it.
        axis: axis of ``values`` that indexes the rows, if each row has a key.

    Raises:
        ValueError: if there is a key but no rate.
    """
    if key is None:
        return values
    if rate is None:
        raise ValueError("dropout_key was given without dropout_rate; give both, or neither")
    if key.ndim == 0:
        halves = _random_halves(key, values.shape)
    else:
        of_row = partial(_random_halves, shape=values.shape[:axis] + values.shape[axis + 1 :])
        halves = jax.vmap(of_row, out_axes=axis)(key)
    keep = 1.0 - jnp.asarray(rate, jnp.float32)
    kept = halves < jnp.round(keep * 65536.0).astype(jnp.uint32)
    return jnp.where(kept, values / keep.astype(values.dtype), jnp.zeros((), values.dtype))


def _random_halves(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt[Array, "*shape"]:
    """Draw uniform integers below 65536, at half the cost of 32-bit integers. Rates are rounded to 1/65536."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    return jnp.concatenate([words & 0xFFFF, words >> 16])[:size].reshape(shape)


def site_key(key: Key[Array, "*rows"] | None, site: int) -> Key[Array, "*rows"] | None:
    """Return the key, or the rows' keys, of dropout site number ``site``; None without dropout."""
    if key is None or key.ndim == 0:
        return None if key is None else jax.random.fold_in(key, site)
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, site)


def vary_alike(*arrays: Shaped[Array, "..."]) -> tuple[Shaped[Array, "..."], ...]:
    """Mark all ``arrays`` as varying over every mesh axis that any of them varies over.

    Inside `jax.shard_map` the carry of a scan and the operands of a custom derivative must vary over the same axes.
    The derivative of this function sums a cotangent over the added axes. Outside `jax.shard_map` the function has no
    effect.
    """
    axes = frozenset[str]().union(*(_varying_axes(array) for array in arrays))
    return tuple(jax.lax.pcast(array, tuple(sorted(axes - _varying_axes(array))), to="varying") for array in arrays)


def _varying_axes(array: Array) -> frozenset[str]:
    aval = jax.typeof(array)
    # JAX renamed the attribute within the 0.10 series.
    return aval.vma if hasattr(aval, "vma") else aval.manual_axis_type.varying
