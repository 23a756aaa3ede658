"""Four corpora x six seeds on the built-in grammar: is grammar learned as one task or nine? A few minutes on two cores.

    npi-jax run --config quickstart

Train 24 LSTMs (1 x 64) on the full corpus, one without any NPI, and two with a tenth of the sentences with *only*:
`scarce` keeps the other environments' NPIs, and `alone` removes them. The report answers two questions. Are the nine
environments fewer than nine tasks to the weights, compared with models that saw no NPI? Does the other environments'
data help an environment that has little of its own?
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "quickstart",
            "run_dir": "",
            "variants": ("full", "no_npi", "scarce(only, 0.1)", "alone(only, 0.1)"),
            "seeds": (0, 1, 2, 3, 4, 5),
            "corpus": {
                "source": "grammar",
                "grammar": {"sentences": 60_000, "seed": 0, "sharing": 1.0},
                "grammar_valid_sentences": 400,
                "removal": "replace",
                "seed": 0,
            },
            "tokenizer": {"kind": "word"},
            "model": {
                "kind": "lstm",
                "embedding": 64,
                "hidden": 64,
                "layers": 1,
                "tie": False,
                "initialization": "scaled",
            },
            "train": {
                "steps": 800,
                "batch_size": 24,
                "row_length": 48,
                "optimizer": "adam",
                "learning_rate": (0.02,),
                "dropout": (0.0,),
                "schedule": "linear",
                "warmup": 20,
                "clip": 1.0,
                "steps_per_call": 25,
            },
            "score": {"every": 200, "suites": {"grammar": {"limit": 40}}},
            "gradients": {"limit": 120, "micro_batches": 6, "single_items": 36},
            "checkpoints": {"every": 200, "keep": 2},
            "mesh": {"ens": 0, "data": 1, "mapping": "auto"},
        }
    )
