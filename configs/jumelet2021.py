"""Jumelet et al. (2021): the full corpus, one without NPIs, and nine without the NPIs of one environment (37 models).

    npi-jax run --config jumelet2021:tiny               on the built-in grammar, a few minutes on two cores
    npi-jax plan --config jumelet2021                   as published; cost on the devices at hand
    npi-jax run --config jumelet2021 --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=wiki/valid.txt

As in the paper, `full` and `no_npi` have five seeds, and each corpus without one environment's NPIs has three. One
program trains all models. Two things differ from the paper. Another sentence replaces each removed one, so that all
corpora have the same size (`--config.corpus.removal=delete` drops sentences, as the paper did). `npi_en` recognizes the
NPIs, since the paper's filters were not published. Cost: 37 members x 3.2 billion tokens x 0.24 GFLOP per token, about
3e19 FLOP. Expected: accuracy on an environment whose NPIs were removed is above chance and below that of `full`.
`tables/published.parquet` and the report show each environment's accuracy next to the published one. Compare only
direction and rank, since model, text and items differ.
"""

from ml_collections import ConfigDict

from npi_jax.config.recipes import HELD_OUT, gulordava_lstm, tiny, wikipedia
from npi_jax.config.sweep import chain, param, prod


def get_config(size: str = "") -> ConfigDict:
    if size not in ("", "tiny"):
        raise ValueError(f"{size!r}: write jumelet2021 or jumelet2021:tiny")
    sweep = chain(
        prod(param("variant", ("full", "no_npi")), param("seed", range(5))),
        prod(param("variant", HELD_OUT), param("seed", range(3))),
    )
    suites = {"warstadt2019": {"path": "npi_warstadt2019", "limit": 500}}
    published = {**wikipedia(), **gulordava_lstm(), "score": {"every": 5_000, "suites": suites}}
    return ConfigDict(
        {
            "name": "jumelet2021_tiny" if size else "jumelet2021",
            "run_dir": "",
            "sweep": sweep,
            **(tiny() if size else published),
        }
    )
