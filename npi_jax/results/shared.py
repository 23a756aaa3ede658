"""Columns that several tables share."""

from typing import Final

from npi_jax.results.columns import STEPS, Column, integer, number, text

OLD_TABLE: Final = "tables from before it was kept"

MEMBER: Final = integer("Number of the member, from 0.")
VARIANT: Final = text("Corpus variant that the member was trained on.")
SEED: Final = integer("Seed of initial weights, order of the data and dropout.")
STEP: Final = integer("Training step of the checkpoint.", STEPS)

LEARNING_RATE: Final = number("Highest learning rate.")
WEIGHT_DECAY: Final = number("Weight decay.")
DROPOUT: Final = number("Dropout rate.")

SUITE: Final = text("Suite of minimal pairs.")
PARADIGM: Final = text("Paradigm: a named subset of the suite.")
TASK: Final = text("Task that the items count for, by default one licensing environment.")
KIND: Final = text('How the two sentences of a pair differ: "licensor", "npi", "scope" or "other".')
REGION: Final = text('Scored region: "critical" (the NPI), "sentence" (everything), or a region that the suite names.')
ITEM: Final = text("Name of the minimal pair, unique within its suite.")

GROUP: Final = text('Group of parameters: "embedding", "recurrent_0", "output", ...; "all" is the sum of all groups.')
TASK_I: Final = text('First task; "lm" is ordinary text.')
TASK_J: Final = text('Second task; "lm" is ordinary text.')

N_SEEDS: Final = integer("Number of seeds that enter; diverged members do not.")
P: Final = number("Two-sided p-value of the test that the true value is 0; NaN where there is no test.")
P_ADJUSTED: Final = number("The p-value adjusted for all tests of its family; NaN where there is no test.")
N_CENSORED: Final = integer("Pairs of members of which one never reached the threshold; counted as the last step.")


def lower_end(of: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Declare the lower end of a 95 % interval."""
    return number(f"Lower end of the 95 % interval of {of}.", unit, nullable=nullable)


def upper_end(of: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Declare the upper end of a 95 % interval."""
    return number(f"Upper end of the 95 % interval of {of}.", unit, nullable=nullable)
