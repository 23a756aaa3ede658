"""Minimal-pair scoring for any JAX model. Imports jax and numpy, and nothing else of this package's needs.

score = make_scorer(pairs, ScoreSpec(), hidden_fn=hidden_fn, output_fn=output_fn, start=eos)
scores = score(params)            # jitted; `score.apply` maps over stacked parameters
scores.critical                   # float32 [pairs, 2]: log p of the good and the bad critical region, nats
"""

from npi_jax.scoring.packing import EncodedPairs, PackedPairs, pack_pairs
from npi_jax.scoring.scorer import Scorer, Scores, make_scorer, token_log_probs
from npi_jax.scoring.spec import ScoreSpec, pair_accuracy

__all__ = [
    "EncodedPairs",
    "PackedPairs",
    "ScoreSpec",
    "Scorer",
    "Scores",
    "make_scorer",
    "pack_pairs",
    "pair_accuracy",
    "token_log_probs",
]
