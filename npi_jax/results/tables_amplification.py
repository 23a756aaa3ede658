"""Tables of the analysis about data amplification: environments with few data, with and without those of others."""

from typing import Final

from npi_jax.results import names
from npi_jax.results.columns import NATS, SHARE, Column, Table, integer, number, text
from npi_jax.results.shared import (
    DROPOUT,
    KIND,
    LEARNING_RATE,
    N_CENSORED,
    N_SEEDS,
    OLD_TABLE,
    REGION,
    SUITE,
    VARIANT,
    WEIGHT_DECAY,
    P,
    lower_end,
    upper_end,
)

_OF_OUTCOME = "unit of the outcome"


def _thinned(optional: str = "") -> Column:
    return text(
        "The environment's sentences of which a share stayed: those with an NPI of it, or all, with an NPI or without.",
        values=names.THINNED,
        optional=optional,
    )


_SHARE: Final = number("Share of these sentences that stayed.", SHARE)


class Amplification(
    Table,
    name="amplification",
    file="tables/amplification.parquet",
    key="environment thinned others donor share suite kind region variant learning_rate weight_decay dropout",
):
    """Accuracy and delta of a task by the share of its environment's sentences that stayed in the text."""

    environment = text("Environment whose sentences were reduced, and whose task is measured.")
    thinned = _thinned(f'{OLD_TABLE}, where it is always "items"')
    others = text(
        "Whether the other environments' NPIs were in the text; those of one environment if there is a donor.",
        values=(names.OTHERS_KEPT, names.OTHERS_REMOVED, names.ONE_OTHER_KEPT),
    )
    donor = text(
        'The one other environment whose NPIs were in the text; "" if the others were all kept or all removed.',
        optional=OLD_TABLE,
    )
    share = _SHARE
    npis = integer("Number of the environment's NPIs in the text; null where it was not counted.", nullable=True)
    suite = SUITE
    kind = KIND
    region = REGION
    accuracy = number("Accuracy after the last step, median over seeds.", SHARE)
    low = lower_end("the accuracy", SHARE)
    high = upper_end("the accuracy", SHARE)
    delta = number("Mean of log p(good) - log p(bad) after the last step, median over seeds.", NATS)
    delta_low = lower_end("delta", NATS)
    delta_high = upper_end("delta", NATS)
    n_seeds = N_SEEDS
    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class Gains(
    Table,
    name="gains",
    file="tables/gains.parquet",
    key="environment thinned share donor outcome suite kind region learning_rate weight_decay dropout",
):
    """Gain of an environment's task from the other environments' data, by the share of its own data that stayed."""

    environment = text(
        f'Environment whose sentences were reduced, and whose task is measured; "{names.MEAN_OVER_ENVIRONMENTS}" in '
        "rows about the mean over all environments with this share, if there are at least two."
    )
    thinned = _thinned()
    share = _SHARE
    donor = text('The one environment whose data the gain is from; "" for all other environments together.')
    outcome = text("What is compared, as in transfer.", values=names.OUTCOMES)
    suite = SUITE
    kind = KIND
    region = REGION
    gain = number(
        "Mean over seeds and items of the paired difference: with the other environments' NPIs in the text minus "
        "without them. A negative gain in log2_steps is fewer steps.",
        _OF_OUTCOME,
    )
    low = lower_end("the gain", _OF_OUTCOME)
    high = upper_end("the gain", _OF_OUTCOME)
    p = P
    p_adjusted = number(
        "The p-value adjusted for all environments of the outcome and share (and donors, if any); the rows about "
        "means are adjusted separately. NaN where there is no test."
    )
    n_seeds = N_SEEDS
    n_environments = integer("Number of environments in the mean; 1 in the rows of one environment.")
    n_censored = N_CENSORED
    level_with = number("Mean over the paired seeds of the outcome, with the other environments' NPIs.", _OF_OUTCOME)
    level_without = number("Mean over the paired seeds of the outcome, without them.", _OF_OUTCOME)
    variant_with = text('Variant with the other environments\' NPIs; "" in rows about means.')
    variant_without = text('Variant without them; "" in rows about means.')
    reason = text('Reason why a number is missing; "" where none is.')
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
