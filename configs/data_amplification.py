"""Do the other environments' NPIs stand in for an environment's own? 0 to 100 % of them, with the others and without.

    npi-jax run --config data_amplification:tiny        on the built-in grammar, a few minutes on two cores
    npi-jax run --config data_amplification:tiny,only   of another environment than adverbs
    npi-jax plan --config data_amplification            LSTM 2 x 650; the text is the user's to bring
    npi-jax run --config data_amplification:,only --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=...

Data amplification (Caruana 1997): a task with little data of its own should gain most from related tasks' data. One
environment's sentences with NPIs are thinned to 0, 1, 3, 10, 30 and 100 %, nested, once with those of the other eight
kept and once without them: twelve corpora, five seeds (tiny: three). Cost: 60 members x 3.2 billion tokens x 0.24
GFLOP a token is about 5e19 FLOP. Expected: if the others' data
stand in for its own, the curve (`tables/amplification.parquet`, and in the report) falls later with the others than
without them. Measured with `:tiny` (adverbs; accuracy at 100, 30, 10, 3, 1 and 0 %): .98, .90, .73, .53, .43, .33 with
the others, .86, .59, .54, .67, .41, .46 without; with three seeds the bands of the two overlap.
"""

from ml_collections import ConfigDict

from npi_jax.config.recipes import gulordava_lstm, tiny, wikipedia
from npi_jax.corpus.annotation.annotations import ENVIRONMENTS

SHARES = (0.01, 0.03, 0.1, 0.3)


def get_config(argument: str = "") -> ConfigDict:
    size, _, environment = argument.partition(",")
    environment = environment or "adverbs"
    if size not in ("", "tiny") or environment not in ENVIRONMENTS:
        raise ValueError(
            f"{argument!r}: write data_amplification[:[tiny][,ENVIRONMENT]], the environment one of "
            f"{', '.join(ENVIRONMENTS)}"
        )
    kept = ("full", *(f"downsample({environment}, {share})" for share in SHARES), f"without({environment})")
    alone = tuple(f"only({environment}) + downsample({environment}, {share})" for share in SHARES)
    suites = {"warstadt2019": {"path": "npi_warstadt2019", "limit": 500}}
    published = {**wikipedia(), **gulordava_lstm(), "score": {"every": 5_000, "suites": suites}}
    return ConfigDict(
        {
            "name": "_".join(filter(None, ("data_amplification", size, environment))),
            "run_dir": "",
            "variants": (*kept, f"only({environment})", *alone, "no_npi"),
            "seeds": (0, 1, 2) if size else (0, 1, 2, 3, 4),
            **(tiny() if size else published),
        }
    )
