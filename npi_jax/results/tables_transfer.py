"""Tables of the analysis about interventions: effects of an environment's data on each task."""

from npi_jax.results import names
from npi_jax.results.columns import SHARE, STEPS, Table, flag, integer, number, text
from npi_jax.results.shared import (
    DROPOUT,
    KIND,
    LEARNING_RATE,
    N_CENSORED,
    N_SEEDS,
    OLD_TABLE,
    P_ADJUSTED,
    REGION,
    SEED,
    SUITE,
    TASK,
    WEIGHT_DECAY,
    P,
    lower_end,
    upper_end,
)

_OF_OUTCOME = "unit of the outcome"
_OUTCOME = text(
    "What is compared: accuracy, delta (nats), their means over training (auc, auc_delta), or log2(1 + step) at which "
    "the accuracy comes to stay at .75.",
    values=names.OUTCOMES,
)
_REASON = text('Reason why a number is missing; "" where none is.')


class Transfer(
    Table,
    name="transfer",
    file="tables/transfer.parquet",
    key="intervention control suite kind region task outcome learning_rate weight_decay dropout",
):
    """Effect of each intervention on each task, as a difference to the baseline or to the random control."""

    intervention = text("Variant whose effect is given.")
    removed = text('Environment whose NPIs it removes; "all" for no_npi; "" for any other intervention.')
    control = text('Random control that the effect is a difference to; "" where it is one to the baseline.')
    suite = SUITE
    kind = KIND
    region = REGION
    task = TASK
    outcome = _OUTCOME
    effect = number("Mean over seeds and items of the paired difference.", _OF_OUTCOME)
    low = lower_end("the effect", _OF_OUTCOME)
    high = upper_end("the effect", _OF_OUTCOME)
    p = P
    p_adjusted = P_ADJUSTED
    n_seeds = N_SEEDS
    n_items = integer("Number of minimal pairs.")
    n_censored = N_CENSORED
    interval_over = text(
        'What the interval is over; "" where there is none.',
        values=(names.SEEDS_AND_ITEMS, names.ITEMS, names.NO_INTERVAL),
    )
    reason = _REASON
    baseline = text("Variant that the effect is a difference to.", optional=OLD_TABLE)
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class TransferBySeed(
    Table,
    name="transfer_by_seed",
    file="tables/transfer_by_seed.parquet",
    key="intervention control suite kind region task outcome seed learning_rate weight_decay dropout",
):
    """Effect of each intervention on each task in each seed; the mean over seeds is the effect in `transfer`."""

    intervention = text("Variant whose effect is given.")
    removed = text('Environment whose NPIs it removes; "all" for no_npi; "" for any other intervention.')
    control = text('Random control that the effect is a difference to; "" where it is one to the baseline.')
    suite = SUITE
    kind = KIND
    region = REGION
    task = TASK
    outcome = _OUTCOME
    seed = SEED
    effect = number("Mean over items of the difference between the two models with this seed.", _OF_OUTCOME)
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class TransferPooled(
    Table,
    name="transfer_pooled",
    file="tables/transfer_pooled.parquet",
    key="controlled suite kind region outcome learning_rate weight_decay dropout",
):
    """Mean effect of removing one environment on the other tasks, over all pairs of both, tested over seeds."""

    controlled = flag("True where effects are differences to random controls, false where to the baseline.")
    suite = SUITE
    kind = KIND
    region = REGION
    outcome = _OUTCOME
    effect = number("Mean over seeds and over pairs of a removed environment and another task.", _OF_OUTCOME)
    low = lower_end("the effect", _OF_OUTCOME)
    high = upper_end("the effect", _OF_OUTCOME)
    p = P
    n_seeds = N_SEEDS
    n_pairs = integer("Number of pairs of a removed environment and another task.")
    reason = _REASON
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class Asymmetry(
    Table,
    name="asymmetry",
    file="tables/asymmetry.parquet",
    key="removed_i removed_j outcome suite kind region learning_rate weight_decay dropout",
):
    """Difference between the effect of removing i on task j and that of removing j on task i."""

    removed_i = text("First environment.")
    removed_j = text("Second environment.")
    outcome = _OUTCOME
    effect_ij = number("Effect on task j of removing i.", _OF_OUTCOME)
    effect_ji = number("Effect on task i of removing j.", _OF_OUTCOME)
    difference = number("effect_ij - effect_ji.", _OF_OUTCOME)
    low = lower_end("the difference", _OF_OUTCOME)
    high = upper_end("the difference", _OF_OUTCOME)
    p = P
    p_adjusted = P_ADJUSTED
    n_seeds = N_SEEDS
    suite = SUITE
    kind = KIND
    region = REGION
    control = text('Both random controls, where both removals have one; "" where effects are against the baseline.')
    reason = _REASON
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class Eavesdropping(
    Table,
    name="eavesdropping",
    file="tables/eavesdropping.parquet",
    key="task without suite kind region learning_rate weight_decay dropout",
):
    """Delay of a task if the NPIs of an environment that is acquired earlier are removed."""

    task = TASK
    without = text("Environment whose NPIs were removed, acquired earlier than the task.")
    steps_full = number("Steps to the threshold in the baseline or the control, geometric mean over seeds.", STEPS)
    steps_without = number("Steps to the threshold without the environment, geometric mean over seeds.", STEPS)
    lag_log2 = number("Mean difference of log2(1 + steps): 1 means twice as many steps.")
    low = lower_end("lag_log2")
    high = upper_end("lag_log2")
    p = P
    p_adjusted = P_ADJUSTED
    n_seeds = N_SEEDS
    n_censored = N_CENSORED
    suite = SUITE
    kind = KIND
    region = REGION
    control = text(
        'Random control that the lag is a difference to; "" where it is one to the baseline.', optional=OLD_TABLE
    )
    reason = _REASON
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class Power(Table, name="power", key="outcome seeds items effect"):
    """Share of simulated experiments in which the test of transfer finds an effect (`npi-jax plan --power`)."""

    outcome = text("Outcome that the numbers are about.")
    seeds = integer("Number of seeds.")
    items = integer("Number of minimal pairs of the task.")
    effect = number("True effect.", _OF_OUTCOME)
    rejected = number("Share of experiments in which the test rejects.", SHARE)
    error = number("Standard error of that share, from the number of simulations.", SHARE)
    detectable = number("Effect that is found in 80 % of experiments; NaN where no accuracy can.", _OF_OUTCOME)
    false_alarms = number("Share of experiments without an effect in which the test rejects.", SHARE)
    simulations = integer("Number of simulated experiments.")


class VarianceComponents(Table, name="variance_components", key="intervention suite kind region task outcome"):
    """Variance of paired differences between seeds, between items, and of the residual."""

    intervention = text("Variant that is compared with the baseline.")
    suite = SUITE
    kind = KIND
    region = REGION
    task = TASK
    outcome = text("What is compared.", values=names.LINEAR_OUTCOMES)
    effect = number("Mean of the paired differences.", _OF_OUTCOME)
    seed_sd = number("Standard deviation between seeds; 0 where the variance came out negative.", _OF_OUTCOME)
    item_sd = number("Standard deviation between items; 0 where the variance came out negative.", _OF_OUTCOME)
    residual_sd = number("Standard deviation of the residual.", _OF_OUTCOME)
    seed_variance = number("Estimated variance between seeds, which may be negative.", "squared unit of the outcome")
    item_variance = number("Estimated variance between items, which may be negative.", "squared unit of the outcome")
    residual_variance = number("Estimated variance of the residual.", "squared unit of the outcome")
    n_seeds = N_SEEDS
    n_items = integer("Number of minimal pairs.")
