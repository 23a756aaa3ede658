"""Data amplification: 12 corpora with 0 to 100 % of one environment's data, with and without those of the others.

    npi-jax run --config data_amplification:tiny        on the built-in grammar, a few minutes on two cores
    npi-jax run --config data_amplification:tiny,only   for another environment than adverbs
    npi-jax plan --config data_amplification            LSTM 2 x 650; the user provides the text
    npi-jax run --config data_amplification:,only --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=...

Question: can the data of other environments replace the data of one environment? A task with little data should gain
most from the data of related tasks (Caruana 1997). The corpora keep nested subsets of all sentences of this
environment, with an NPI or without: 1, 3, 10, 30 and 100 %. Each subset is used once with the NPIs of the other eight
environments (`scarce`) and once without them (`alone`). Two further corpora keep its licensors but none of its NPIs
(`without`, `no_npi`): what do the others teach about an environment that was never seen with an NPI? This gives twelve
corpora, with five seeds each (tiny: three). Cost: 60 members x 3.2 billion tokens x 0.24 GFLOP per token, about 5e19
FLOP. Expected: if the other data can replace those of the environment, accuracy with them stays high down to smaller
shares (`tables/amplification.parquet`, `tables/gains.parquet`, and the report).

Measured with `:tiny` on adverbs when this configuration thinned the sentences with NPIs only (`downsample(adverbs,
SHARE)`, not `scarce`), accuracies at 100, 30, 10, 3, 1 and 0 %: .98, .90, .73, .53, .43, .33 with the other NPIs; .86,
.59, .54, .67, .41, .46 without, with three seeds.
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
    kept = ("full", *(f"scarce({environment}, {share})" for share in SHARES), f"without({environment})")
    alone = tuple(f"alone({environment}, {share})" for share in (*SHARES, 1))
    suites = {"warstadt2019": {"path": "npi_warstadt2019", "limit": 500}}
    published = {**wikipedia(), **gulordava_lstm(), "score": {"every": 5_000, "suites": suites}}
    return ConfigDict(
        {
            "name": "_".join(filter(None, ("data_amplification", size, environment))),
            "run_dir": "",
            "variants": (*kept, *alone, "no_npi"),
            "seeds": (0, 1, 2) if size else (0, 1, 2, 3, 4),
            **(tiny() if size else published),
        }
    )
