"""Paper scale: LSTM 2 x 650 over 50,000 words, five seeds, the NPIs of each environment removed in turn (105 models).

    npi-jax plan --config weber2021                     cost on the devices at hand; reads no text
    npi-jax run --config weber2021 --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=wiki/valid.txt

Model, vocabulary and batch follow Gulordava et al. (2018), whose training script Jumelet et al. (2021) used; Weber
et al. (2021) name the same task. `npi_jax.config.recipes` lists the differences. The user provides the text (80 million
tokens of English Wikipedia, one sentence a line); `--config.tokenizer.file=vocab.txt` takes a published vocabulary.
Cost: 105 members x 3.2 billion tokens x 0.24 GFLOP per token, about 8e19 FLOP: hours on a TPU pod, a dozen years on two
CPU cores. Expected, by direction only: Jumelet et al. (2021) report a mean accuracy of .82 on these environments with
the full corpus, and .65 to .89 on an environment whose own NPIs were removed.
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
