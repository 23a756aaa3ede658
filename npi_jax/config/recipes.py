"""Settings of models, training and text that several presets share, as plain values."""

from typing import Any

from npi_jax.corpus.annotation.annotations import ENVIRONMENTS

HELD_OUT: tuple[str, ...] = tuple(f"without({name})" for name in ENVIRONMENTS)
"""Interventions that each remove the NPIs of one environment."""


def wikipedia() -> dict[str, Any]:
    """Return settings for a text of 80 million tokens of English Wikipedia, one sentence a line.

    The user provides the text. The sizes of text and vocabulary are those of Gulordava et al. (2018).
    ``--config.tokenizer.file=vocab.txt`` takes their vocabulary.
    """
    return {
        "corpus": {
            "source": "text",
            "paths": ("wiki/train.txt",),
            "valid_paths": ("wiki/valid.txt",),
            "unit": "sentence",
            "removal": "replace",
            "planned_tokens": 80_000_000,
        },
        "tokenizer": {"kind": "word", "size": 50_002},
    }


def gulordava_lstm() -> dict[str, Any]:
    """Return the LSTM of Gulordava et al. (2018) and its training, with two differences.

    First, rows of 64 tokens contain complete sentences, and the state is reset for each sentence. Their script reads a
    stream in pieces of 35 words. Second, the learning rate follows a cosine; theirs is divided by four when the
    validation loss stops falling.
    """
    return {
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
        "checkpoints": {"every": 5_000, "keep": 2, "keep_period": 50_000},
        "mesh": {"ens": 0, "data": 1, "mapping": "auto"},
    }


def tiny() -> dict[str, Any]:
    """Return settings for a small experiment: the built-in grammar, and an LSTM that learns it within a minute."""
    return {
        "corpus": {
            "source": "grammar",
            "grammar": {"sentences": 40_000, "seed": 0, "sharing": 1.0},
            "grammar_valid_sentences": 300,
            "removal": "replace",
            "seed": 0,
        },
        "tokenizer": {"kind": "word"},
        "model": {
            "kind": "lstm",
            "embedding": 64,
            "hidden": 64,
            "layers": 2,
            "tie": False,
            "initialization": "scaled",
        },
        "train": {
            "steps": 700,
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
        "score": {"every": 350, "suites": {"grammar": {"limit": 40}}},
        "gradients": {"enabled": False},
        "checkpoints": {"every": 350, "keep": 2},
        "mesh": {"ens": 0, "data": 1, "mapping": "auto"},
    }
