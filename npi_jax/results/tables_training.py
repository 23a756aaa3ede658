"""Tables that training writes: the members, and at every checkpoint their losses and scores."""

from typing import Final

from npi_jax.results import names
from npi_jax.results.columns import NATS, SHARE, STEPS, TOKENS, Table, integer, number, text
from npi_jax.results.shared import (
    DROPOUT,
    ITEM,
    KIND,
    LEARNING_RATE,
    PARADIGM,
    REGION,
    SEED,
    SUITE,
    TASK,
    VARIANT,
    WEIGHT_DECAY,
)


class Members(Table, name="members", file="members.parquet", key="member"):
    """The trained models: corpus variant, seed, hyper-parameters and how each one fared."""

    member = integer("Number of the member, from 0.", bits=32)
    variant = VARIANT
    seed = SEED
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    status = text(
        '"diverged" if the latest updates were not finite or the validation loss is twice that of guessing.',
        values=names.STATUSES,
    )
    skipped_updates = integer("Steps whose update was not finite and was therefore skipped.", STEPS, bits=32)


HYPERPARAMETERS: Final[tuple[str, ...]] = (Members.learning_rate, Members.weight_decay, Members.dropout)
"""Hyper-parameters that can differ between members."""
GROUP: Final[tuple[str, ...]] = (Members.variant, *HYPERPARAMETERS)
"""Columns whose values are the same for all members in a mean over seeds."""


class Metrics(Table, name="metrics", file="metrics/STEP.parquet", key="member step"):
    """Losses of every member at one checkpoint."""

    member = integer("Number of the member, from 0.", bits=32)
    step = integer("Training step of the checkpoint.", STEPS, bits=32)
    train_loss = number(
        "Mean training loss a token since the previous checkpoint; null at step 0.", NATS, nullable=True
    )
    valid_loss = number("Validation loss a token.", NATS)
    skipped_updates = integer("Steps so far whose update was not finite and was skipped.", STEPS, bits=32)
    variant = text("Corpus variant of the member.", joined=True)
    seed = integer("Seed of the member.", joined=True)


class Scores(Table, name="scores", file="scores/STEP.parquet", key="member step suite item region"):
    """Scores of every member on every minimal pair and region at one checkpoint."""

    suite = SUITE
    paradigm = PARADIGM
    task = TASK
    kind = KIND
    item = ITEM
    region = REGION
    spec = text(
        "ScoreSpec that the scores were made by; the manifest has it in full.",
        optional="runs from before there was one",
    )
    n_good = integer("Tokens scored of the good sentence.", TOKENS, bits=32)
    n_bad = integer("Tokens scored of the bad sentence.", TOKENS, bits=32)
    member = integer("Number of the member, from 0.", bits=32)
    step = integer("Training step of the checkpoint.", STEPS, bits=32)
    good = number("Log-probability of the good sentence's region, or as the ScoreSpec normalizes it.", NATS)
    bad = number("Log-probability of the bad sentence's region, or as the ScoreSpec normalizes it.", NATS)
    delta = number("good - bad.", NATS)
    correct = number("1 if delta is above 0, 0 if it is below; a tie counts as the ScoreSpec says.", SHARE)
    variant = text("Corpus variant of the member.", joined=True)
    seed = integer("Seed of the member.", joined=True)
