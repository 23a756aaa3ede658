"""Tables of the analysis about learning: curves, final accuracy, acquisition, comparison with published results."""

from npi_jax.results import names
from npi_jax.results.columns import NATS, SHARE, STEPS, Table, integer, number, text
from npi_jax.results.shared import (
    DROPOUT,
    KIND,
    LEARNING_RATE,
    MEMBER,
    N_SEEDS,
    PARADIGM,
    REGION,
    SEED,
    SUITE,
    TASK,
    VARIANT,
    WEIGHT_DECAY,
    lower_end,
    upper_end,
)

_TASK_OR_MEAN = text('Task, or "mean over tasks" (each task counts the same).')
_N_DIVERGED = integer("Members of the row that diverged; they are left out.")


class Curves(Table, name="curves", file="tables/curves.parquet", key="member step suite paradigm task kind region"):
    """Accuracy and delta of every member at every checkpoint, by task and region."""

    member = integer("Number of the member, from 0.", bits=32)
    variant = VARIANT
    seed = SEED
    step = integer("Training step of the checkpoint.", STEPS, bits=32)
    suite = SUITE
    paradigm = PARADIGM
    task = TASK
    kind = KIND
    region = REGION
    accuracy = number("Share of pairs whose good sentence is more probable; NaN where a delta is not finite.", SHARE)
    delta = number("Mean of log p(good) - log p(bad); NaN where one is not finite.", NATS)
    ties = number("Share of pairs whose two scores are equal.", SHARE)
    n_items = integer("Number of minimal pairs.")


class FinalResults(
    Table,
    name="final",
    file="tables/final.parquet",
    key="variant learning_rate weight_decay dropout suite kind region task",
):
    """Accuracy and delta of each variant's typical seed after the last step, by task, with intervals."""

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    suite = SUITE
    kind = KIND
    region = REGION
    task = _TASK_OR_MEAN
    step = integer("Last scored step.", STEPS)
    accuracy = number("Accuracy, median over seeds; null where all members diverged.", SHARE, nullable=True)
    low = lower_end("the accuracy", SHARE, nullable=True)
    high = upper_end("the accuracy", SHARE, nullable=True)
    delta = number(
        "Mean of log p(good) - log p(bad), median over seeds; null where all members diverged.", NATS, nullable=True
    )
    delta_low = lower_end("delta", NATS, nullable=True)
    delta_high = upper_end("delta", NATS, nullable=True)
    n_seeds = N_SEEDS
    n_items = integer("Number of minimal pairs.")
    n_diverged = _N_DIVERGED
    n_nonfinite = integer("Deltas that are not finite; the row's numbers are NaN if there is one.")
    interval_over = text(
        'What the intervals are over; "too few seeds" or "" (a score is not finite) where there is none; null where '
        "all members diverged.",
        values=(names.SEEDS_AND_ITEMS, names.ITEMS, names.TOO_FEW, names.NO_INTERVAL),
        nullable=True,
    )
    ngram = number(
        "Accuracy of the n-gram model of the variant's text; null where there is none.",
        SHARE,
        nullable=True,
        optional="runs without an n-gram model",
    )


class FailedSeeds(
    Table,
    name="failed_seeds",
    file="tables/failed_seeds.parquet",
    key="member suite kind",
):
    """Members that failed to learn what the other seeds of their variant learned."""

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    suite = SUITE
    kind = KIND
    region = REGION
    seed = SEED
    member = MEMBER
    accuracy = number("The member's accuracy after the last step, mean over tasks.", SHARE)
    others = number("Median of the variant's seeds that did not fail.", SHARE)
    margin = number("Distance below that median up to which variation between seeds explains an accuracy.", SHARE)
    step = integer("First checkpoint from which on the accuracy is below the others' by more than the margin.", STEPS)
    n_seeds = integer("Number of the variant's seeds, with those that failed; diverged members are not counted.")


class Acquisition(
    Table,
    name="acquisition",
    file="tables/acquisition.parquet",
    key="variant learning_rate weight_decay dropout suite kind region task",
):
    """The checkpoint from which on each variant's accuracy in a task stays at or above a threshold."""

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    suite = SUITE
    kind = KIND
    region = REGION
    task = _TASK_OR_MEAN
    acquired = integer(
        "First checkpoint from which on the accuracy (median over seeds) stays up; null if it is below at the end.",
        STEPS,
        nullable=True,
    )
    threshold = number("The threshold.", SHARE)
    n_seeds = N_SEEDS
    n_diverged = _N_DIVERGED


class Published(
    Table,
    name="published",
    file="tables/published.parquet",
    key="source suite kind region task",
    when="runs that repeat a published experiment",
):
    """Accuracy with and without an environment's NPIs in the text, beside published values."""

    source = text("Publication.")
    suite = SUITE
    kind = KIND
    region = REGION
    task = text("Environment whose NPIs were removed from the text, and whose pairs are scored.")
    full = number("Accuracy with the full corpus, median over seeds.", SHARE)
    full_low = lower_end("the accuracy with the full corpus", SHARE)
    full_high = upper_end("the accuracy with the full corpus", SHARE)
    held_out = number("Accuracy without the environment's NPIs, median over seeds.", SHARE)
    held_out_low = lower_end("the accuracy without the NPIs", SHARE)
    held_out_high = upper_end("the accuracy without the NPIs", SHARE)
    effect = number("Mean over seeds of accuracy without the NPIs minus with them.", "difference of shares, -1 to 1")
    effect_low = lower_end("the difference", "difference of shares, -1 to 1")
    effect_high = upper_end("the difference", "difference of shares, -1 to 1")
    published_full = number("Published accuracy with the full corpus.", SHARE)
    published_held_out = number("Published accuracy without the environment's NPIs.", SHARE)
    published_effect = number("Difference of the published accuracies.", "difference of shares, -1 to 1")
    direction = text(
        'Direction of the effect compared with the published one; "open" if its interval includes 0.',
        values=names.DIRECTIONS,
    )
    rank = number("Rank of the held-out accuracy among the run's environments; 1 is the highest.")
    published_rank = number("Rank of the published held-out accuracy; 1 is the highest.")
    rank_correlation = number(
        "Spearman's correlation of the two rankings; null for fewer than four environments.", nullable=True
    )
    rank_low = lower_end("the rank correlation", nullable=True)
    rank_high = upper_end("the rank correlation", nullable=True)
