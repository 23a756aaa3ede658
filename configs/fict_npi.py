"""FiCT (Patil et al., 2024): corpora without NPIs under *only*, under sentential negation, or in simple questions.

    npi-jax run --config fict_npi:tiny                  on the built-in grammar, a few minutes on two cores
    npi-jax plan --config fict_npi                      the LSTM as published; fict_npi:transformer the transformer
    npi-jax run --config fict_npi --config.corpus.paths=wiki/train.txt --config.corpus.valid_paths=wiki/valid.txt

The full corpus, three filtered ones and their random controls, five seeds each (35 models): LSTM 2 x 1024, tied,
dropout .1, or a transformer with 8 layers of width 768. Text: the corpus of Gulordava et al. (2018). Suite: the seven
NPI paradigms of BLiMP. The paper's NPI filters were not published, so that `npi_en` replaces them. The random
controls are new. Cost: 35 members x 3.2 billion tokens, about 5e19 FLOP for the LSTM. Expected: changes in the same
direction as in the paper. There, without NPIs under *only*, accuracy on BLiMP's `only_npi_licensor_present` falls from
.984 to .915 (LSTM) and from .924 to .631 (transformer). Without NPIs under negation or in questions, it changes by at
most .05.
"""

from ml_collections import ConfigDict

from npi_jax.config.recipes import gulordava_lstm, tiny, wikipedia
from npi_jax.corpus.variants.interventions import controls


def get_config(size: str = "") -> ConfigDict:
    if size not in ("", "transformer", "tiny"):
        raise ValueError(f"{size!r}: write fict_npi, fict_npi:transformer or fict_npi:tiny")
    filtered = ("without(only)", "without(sentential_negation)", "without(simple_question)")
    published = {
        **wikipedia(),
        **gulordava_lstm(),
        "score": {"every": 5_000, "suites": {"blimp_npi": {"path": "blimp/data"}}},
    }
    published["model"] = {"kind": "lstm", "embedding": 1024, "hidden": 1024, "layers": 2, "tie": True}
    published["train"] |= {"dropout": (0.1,)}
    if size == "transformer":
        published["model"] = {"kind": "transformer", "width": 768, "layers": 8, "heads": 8, "mlp": 768}
        published["train"] |= {"optimizer": "adamw", "learning_rate": (5e-4,), "warmup": 5_000, "clip": 1.0}
    return ConfigDict(
        {
            "name": f"fict_npi_{size}" if size else "fict_npi",
            "run_dir": "",
            "variants": ("full", *filtered, *controls(filtered)),
            "seeds": (0, 1, 2) if size == "tiny" else (0, 1, 2, 3, 4),
            **(tiny() if size == "tiny" else published),
        }
    )
