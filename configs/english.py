"""Real English: nine LSTMs (2 x 256, tied, 10,000 words) on the full corpus, one without NPIs, and its random control.

    NPI_JAX_DATA=/path/to/data npi-jax run --config english

Text: 62,000 sentences drawn at random from ``$NPI_JAX_DATA/corpus``, whose ``manifest.tsv`` splits documents into
training and validation text. They have about 1.3 million tokens, of which each member sees 1.1 million, once. Suites:
the seven NPI paradigms of BLiMP and the nine environments of Warstadt et al. (2019), at every checkpoint. Cost: 20 to
30 minutes on two cores. Expected: validation perplexity is below a third of the unigram model's. Accuracies are far
below those of models trained on a hundred times as much text. Most differences between variants are within the noise of
three seeds. Alignment between environments is near 0. The documentation lists the measured figures.
"""

import csv
import os
from pathlib import Path

from ml_collections import ConfigDict


def data_folder() -> Path:
    """Return the folder that NPI_JAX_DATA names; it must contain the corpus."""
    folder = os.environ.get("NPI_JAX_DATA", "")
    if not folder or not (Path(folder) / "corpus" / "manifest.tsv").is_file():
        raise ValueError(
            f"NPI_JAX_DATA={folder!r}: set it to the folder that holds corpus/manifest.tsv, blimp/ "
            "and npi_warstadt2019/"
        )
    return Path(folder).resolve()


def documents(corpus: Path, split: str) -> tuple[str, ...]:
    """Return the files of a split, as the corpus' manifest lists them."""
    with (corpus / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(str(corpus / row["path"]) for row in rows if row["split"] == split)


def get_config() -> ConfigDict:
    data = data_folder()
    return ConfigDict(
        {
            "name": "english",
            "run_dir": "",
            "variants": ("full", "no_npi", "random(no_npi)"),
            "seeds": (0, 1, 2),
            "corpus": {
                "source": "text",
                "paths": documents(data / "corpus", "train"),
                "valid_paths": documents(data / "corpus", "valid"),
                "unit": "sentence",
                "max_sentences": 62_000,
                "max_valid_sentences": 2_000,
                "removal": "replace",
                "seed": 0,
                "planned_tokens": 1_300_000,
            },
            "tokenizer": {"kind": "word", "size": 10_000, "lowercase": True},
            "model": {
                "kind": "lstm",
                "embedding": 256,
                "hidden": 256,
                "layers": 2,
                "tie": True,
                "initialization": "scaled",
            },
            "train": {
                "steps": 1_700,
                "batch_size": 12,
                "row_length": 56,
                "optimizer": "adam",
                "learning_rate": (0.005,),
                "dropout": (0.0,),
                "schedule": "linear",
                "warmup": 50,
                "clip": 1.0,
                "steps_per_call": 25,
            },
            "score": {
                "every": 425,
                "suites": {
                    "blimp_npi": {"path": str(data / "blimp" / "data"), "limit": 50},
                    "warstadt2019": {"path": str(data / "npi_warstadt2019"), "limit": 50},
                },
            },
            "gradients": {"suite": "warstadt2019", "kind": "licensor", "limit": 80},
            "checkpoints": {"every": 425, "keep": 2},
            "mesh": {"ens": 0, "data": 1, "mapping": "auto"},
        }
    )
