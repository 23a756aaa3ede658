"""Minimal-pair scoring for any JAX model.

    score = make_scorer(logits_fn, suite.encode(tokenizer), ScoreSpec.preset("blimp_paper"))
    scores = score(params)        # jitted; score.stacked(params) for parameters stacked along axis 0
    scores.delta()                # log p(good) - log p(bad) of every pair, nats
    scores.to_polars()            # a tidy table; every row names its conventions

The package imports only jax and numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npi_jax.scoring.encoded import ABSENT, Encodable, EncodedSentences, encode_pairs
    from npi_jax.scoring.packed_suite import PackedSuite
    from npi_jax.scoring.packing import Packed, pack
    from npi_jax.scoring.predict import HiddenOutput, log_normalizers
    from npi_jax.scoring.scorer import Scorer, make_scorer
    from npi_jax.scoring.scores import Scores, fixed_columns
    from npi_jax.scoring.spec import ScoreSpec, SpecMismatchError, pair_accuracy
    from npi_jax.scoring.token_scores import TokenScores

__all__ = [
    "ABSENT",
    "Encodable",
    "EncodedSentences",
    "HiddenOutput",
    "Packed",
    "PackedSuite",
    "ScoreSpec",
    "Scorer",
    "Scores",
    "SpecMismatchError",
    "TokenScores",
    "encode_pairs",
    "fixed_columns",
    "log_normalizers",
    "make_scorer",
    "pack",
    "pair_accuracy",
]

_MODULES = {
    "encoded": (
        "ABSENT",
        "Encodable",
        "EncodedSentences",
        "encode_pairs",
    ),
    "packed_suite": ("PackedSuite",),
    "packing": (
        "Packed",
        "pack",
    ),
    "predict": (
        "HiddenOutput",
        "log_normalizers",
    ),
    "scorer": (
        "Scorer",
        "make_scorer",
    ),
    "scores": (
        "Scores",
        "fixed_columns",
    ),
    "spec": (
        "ScoreSpec",
        "SpecMismatchError",
        "pair_accuracy",
    ),
    "token_scores": ("TokenScores",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Imported on first use, because configs contain a `ScoreSpec` and are checked before JAX is imported.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
