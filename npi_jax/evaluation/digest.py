"""Digests of the parameters of scored models; equal digests reveal one model under two names."""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import polars as pl

DIGEST = "parameters_sha256"
"""Column of a score table: the first 16 hexadecimal digits of the SHA-256 of a model's parameters."""

DIGITS = 16
MAX_NAMES = 12
"""Largest number of models that a warning lists."""


def model_digests(stack: Any) -> list[str]:
    """Return a digest of the names, types, shapes and values of the parameters, for each model of a stack.

    Args:
        stack: parameters with the models along axis 0 of every array.
    """
    leaves = [
        (jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(stack)
    ]
    size = leaves[0][1].shape[0] if leaves else 0
    return [_digest((name, leaf[index]) for name, leaf in leaves) for index in range(size)]


def _digest(leaves: Iterator[tuple[str, np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for name, array in leaves:
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:DIGITS]


def same_models(table: pl.DataFrame) -> list[str]:
    """Return a warning for every set of models with equal parameters in a table of scores.

    Equal models at step 0 get no warning, since members of a run with one seed begin with equal parameters.
    """
    names = [name for name in ("model", "member", "step") if name in table.columns]
    models = table.select(*names, DIGEST).unique(maintain_order=True)
    warnings = []
    for (digest,), rows in models.group_by(DIGEST, maintain_order=True):
        at_start = "step" in names and rows["step"].max() == 0
        if len(rows) > 1 and not at_start:
            shown = [_name(row) for row in rows.head(MAX_NAMES).iter_rows(named=True)]
            more = [f"{len(rows) - MAX_NAMES:,} more"] if len(rows) > MAX_NAMES else []
            warnings.append(
                f"the same model under {len(rows):,} names ({DIGEST} {digest}): {', '.join([*shown, *more])}"
            )
    return warnings


def _name(row: dict[str, Any]) -> str:
    if "member" not in row:
        return str(row["model"])
    return f"member {row['member']} at step {row['step']}"
