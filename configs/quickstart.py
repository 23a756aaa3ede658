"""Four corpora x three seeds on the built-in grammar: a complete experiment in two to four minutes on a laptop.

    npi-jax run --config quickstart

Train 12 LSTMs (2 x 96) on the full corpus, on one without any NPI, and on two that lack the NPIs of one environment.
Expected: `full` reaches at least .95 mean accuracy over the nine environments, and `no_npi` stays near chance. Models
without one environment's NPIs show how much of it they learn from the other environments. In `full`, the gradients of
the nine environments align in the recurrent weights (median cosine .3 to .45). In `no_npi` they do not (within .1 of
0).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "name": "quickstart",
            "run_dir": "",
            "variants": ("full", "no_npi", "without(only)", "without(conditional)"),
            "seeds": (0, 1, 2),
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
                "embedding": 96,
                "hidden": 96,
                "layers": 2,
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
