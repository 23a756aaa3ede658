"""Weber et al. (2021), at full scale: no NPIs, or none of one environment, with random controls (105 LSTMs, 2 x 650).

    npi-jax plan --config weber2021                     cost on the devices at hand; reads no text
    npi-jax run --config weber2021 --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=wiki/valid.txt

Variants: the full corpus, one without NPIs, nine without the NPIs of one environment, and a random control of each
removal; five seeds each. Model, vocabulary (50,000 words) and batch follow Gulordava et al. (2018), whose training
script Jumelet et al. (2021) used; Weber et al. (2021) name the same task. `npi_jax.config.recipes` lists the
differences. The user provides the text (80 million tokens of English Wikipedia, one sentence a line).
`--config.tokenizer.file=vocab.txt` takes a published vocabulary. Cost: 105 members x 3.2 billion tokens x 0.24 GFLOP
per token, about 8e19 FLOP. This takes hours on a TPU pod and a dozen years on two CPU cores. Expected: the same
direction as in Jumelet et al. (2021). They report a mean accuracy of .82 on these environments with the full corpus,
and .65 to .89 on an environment whose NPIs were removed.
"""

from ml_collections import ConfigDict

from npi_jax.config.recipes import HELD_OUT, gulordava_lstm, wikipedia
from npi_jax.corpus.variants.interventions import controls


def get_config() -> ConfigDict:
    removals = ("no_npi", *HELD_OUT)
    return ConfigDict(
        {
            "name": "weber2021",
            "run_dir": "",
            "variants": ("full", *removals, *controls(removals)),
            "seeds": (0, 1, 2, 3, 4),
            **wikipedia(),
            **gulordava_lstm(),
            "score": {
                "every": 5_000,
                "suites": {"warstadt2019": {"path": "npi_warstadt2019", "limit": 500}},
            },
        }
    )
