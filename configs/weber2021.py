"""Paper scale: LSTM 2 x 650 over 50,000 words, five seeds, every environment taken away in turn (105 models).

    npi-jax plan --config weber2021                     what it takes on the devices at hand; reads no text
    npi-jax run --config weber2021 --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=wiki/valid.txt

Model, vocabulary and batch follow Gulordava et al. (2018), whose training script Jumelet et al. (2021) used; Weber
et al. (2021) name the same task. Differences: rows hold whole sentences (64 tokens) and state is reset at each,
where that script reads a stream 35 words at a time; the learning rate falls on a cosine where that script divides
it by four when validation stalls. The text (80 million tokens of English Wikipedia, one sentence a line) is the
user's to bring; a published vocabulary is used with `--config.tokenizer.file=vocab.txt`. Cost: 105 members x 3.2
billion tokens x 0.24 GFLOP a token is about 8e19 FLOP: hours on a TPU pod, a dozen years on two CPU cores. Expected,
by direction only: Jumelet et al. (2021) report a mean accuracy of .82 on these environments with the full corpus,
and .65 to .89 on an environment whose own NPIs were removed.
"""

from ml_collections import ConfigDict

from npi_jax.corpus.annotations import ENVIRONMENTS


def get_config() -> ConfigDict:
    held_out = tuple(f"without({name})" for name in ENVIRONMENTS)
    controls = tuple(f"random({variant})" for variant in ("no_npi", *held_out))
    return ConfigDict(
        {
            "name": "weber2021",
            "run_dir": "",
            "variants": ("full", "no_npi", *held_out, *controls),
            "seeds": (0, 1, 2, 3, 4),
            "corpus": {
                "source": "text",
                "paths": ("wiki/train.txt",),
                "valid_paths": ("wiki/valid.txt",),
                "unit": "sentence",
                "removal": "replace",
                "planned_tokens": 80_000_000,
            },
            "tokenizer": {"kind": "word", "size": 50_002},
            "model": {"kind": "lstm", "embedding": 650, "hidden": 650, "layers": 2, "tie": False},
            "train": {
                "steps": 390_000,
                "batch_size": 128,
                "row_length": 64,
                "optimizer": "sgd",
                "learning_rate": (20.0,),
                "dropout": (0.2,),
                "schedule": "cosine",
                "clip": 0.25,
                "steps_per_call": 100,
            },
            "score": {
                "every": 5_000,
                "suites": {"warstadt2019": {"path": "npi_warstadt2019", "limit": 500}},
            },
            "checkpoints": {"every": 5_000, "keep": 2, "keep_period": 50_000},
            "mesh": {"ens": 0, "data": 1, "mapping": "auto"},
        }
    )
