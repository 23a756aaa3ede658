"""Columns and types of the tables of transfer."""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from npi_jax.analysis.curves import HYPERPARAMETERS
from npi_jax.analysis.transfer.outcomes import CELL

_TEST: Final = ("effect", "low", "high", "p", "p_adjusted")
_SETTING: Final = dict.fromkeys(HYPERPARAMETERS, pl.Float64)
_NAMES: Final = dict.fromkeys(CELL, pl.String)
SCHEMAS: Final[Mapping[str, dict[str, Any]]] = {
    "transfer": {
        **dict.fromkeys(("intervention", "removed", "control", *CELL, "task", "outcome"), pl.String),
        **dict.fromkeys(_TEST, pl.Float64),
        **dict.fromkeys(("n_seeds", "n_items", "n_censored"), pl.Int64),
        **dict.fromkeys(("interval_over", "reason", "baseline"), pl.String),
        **_SETTING,
    },
    "asymmetry": {
        **dict.fromkeys(("removed_i", "removed_j", "outcome"), pl.String),
        **dict.fromkeys(("effect_ij", "effect_ji", "difference", "low", "high", "p", "p_adjusted"), pl.Float64),
        "n_seeds": pl.Int64,
        **_NAMES,
        **dict.fromkeys(("control", "reason"), pl.String),
        **_SETTING,
    },
    "amplification": {
        **dict.fromkeys(("environment", "others"), pl.String),
        "share": pl.Float64,
        "npis": pl.Int64,
        **_NAMES,
        **dict.fromkeys(("accuracy", "low", "high", "delta", "delta_low", "delta_high"), pl.Float64),
        "n_seeds": pl.Int64,
        "variant": pl.String,
        **_SETTING,
    },
    "eavesdropping": {
        **dict.fromkeys(("task", "without"), pl.String),
        **dict.fromkeys(("steps_full", "steps_without", "lag_log2", "low", "high", "p", "p_adjusted"), pl.Float64),
        **dict.fromkeys(("n_seeds", "n_censored"), pl.Int64),
        **_NAMES,
        **dict.fromkeys(("control", "reason"), pl.String),
        **_SETTING,
    },
}
"""Columns and types of the tables."""
