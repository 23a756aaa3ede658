"""Tables of the analysis about the gradients of tasks."""

from typing import Final

from npi_jax.results import names
from npi_jax.results.columns import NATS, SHARE, Table, flag, integer, number, text
from npi_jax.results.shared import (
    DROPOUT,
    GROUP,
    LEARNING_RATE,
    MEMBER,
    N_SEEDS,
    OLD_TABLE,
    SEED,
    STEP,
    TASK_I,
    TASK_J,
    VARIANT,
    WEIGHT_DECAY,
    P,
    lower_end,
    upper_end,
)

WITH_GRADIENTS: Final = "runs that compare gradients (gradients.enabled)"
_COSINE = "cosine, -1 to 1"
_TASKS = "tasks"
_OF_STATISTIC = "cosine or tasks"
_METRIC = text("Dot products of the gradients, or of what Adam makes of them.", values=names.METRICS)
_INTERVAL_OVER = text(
    'What the interval is over; "too few seeds" or "" where there is none.',
    values=(names.SEEDS_AND_MICRO_BATCHES, names.MICRO_BATCHES, names.SEEDS, names.TOO_FEW, names.NO_INTERVAL),
)
_RELIABLE = flag("Whether the value is given: there is no reason against it.")


class Alignment(
    Table,
    name="alignment",
    file="tables/alignment.parquet",
    key="member step group task_i task_j",
    when=WITH_GRADIENTS,
):
    """Cosine of the gradients of each two tasks, in each member, checkpoint and group of parameters.

    Rows with task_i equal to task_j are the check of a task against itself, whose true value is 1.
    """

    member = MEMBER
    variant = VARIANT
    seed = SEED
    step = STEP
    group = GROUP
    task_i = TASK_I
    task_j = TASK_J
    corrected = number("Noise-corrected cosine; NaN where reason says why.", _COSINE)
    naive = number("Cosine of the mean gradients, noise included.", _COSINE)
    reliable = _RELIABLE
    reason = text('Reason why corrected is NaN; "" where it is not.')
    se = number("Standard error of corrected (jackknife over micro-batches); NaN where task_i is task_j.")
    adam = number("The corrected cosine in Adam's metric; NaN where adam_reason says why.", _COSINE)
    sign_conflict = number("Share of parameters, weighted by size, that both tasks push in opposite directions.", SHARE)
    adam_reason = text('Reason why adam is NaN; "" where it is not.', optional=OLD_TABLE)
    suite = text('Suite of the compared pairs; "" where the file does not say.', optional=OLD_TABLE)
    kind = text('Kind of the compared pairs; "" where the file does not say.', optional=OLD_TABLE)
    ratio = number("The estimate that means are made of: corrected, also where it is beyond 1.", optional=OLD_TABLE)


class AlignmentMean(
    Table,
    name="alignment_mean",
    file="tables/alignment_mean.parquet",
    key="variant learning_rate weight_decay dropout step group statistic",
    when=WITH_GRADIENTS,
):
    """Alignment of each variant's typical seed at each checkpoint: median over seeds of means over pairs of tasks."""

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    step = STEP
    group = GROUP
    statistic = text(
        "Pairs that the mean is over: of environments, of each task with itself, of each task with ordinary text.",
        values=names.STATISTICS,
    )
    corrected = number("Noise-corrected cosine, median over seeds; NaN where there is none.", _COSINE)
    low = lower_end("corrected", _COSINE)
    high = upper_end("corrected", _COSINE)
    adam = number("Corrected cosine in Adam's metric, median over seeds; NaN where there is none.", _COSINE)
    naive = number("Naive cosine over all pairs, median over seeds.", _COSINE)
    sign_conflict = number("Sign conflict over all pairs, median over seeds.", SHARE)
    n_seeds = N_SEEDS
    n_pairs = integer("Pairs of tasks that the mean is over, at most.")
    n_unreliable = integer("Pairs, over all seeds, that are left out because noise prevails.")
    interval_over = _INTERVAL_OVER
    reason = text('Reason why there is no interval or no value; "" where there is one.', optional=OLD_TABLE)


class EffectiveTasks(
    Table,
    name="effective_tasks",
    file="tables/effective_tasks.parquet",
    key="variant learning_rate weight_decay dropout step group metric",
    when=WITH_GRADIENTS,
):
    """Effective number of tasks of each variant and checkpoint, from the alignment of the environments.

    It is T if the gradients of all T tasks are orthogonal, and 1 if all have the same or the opposite direction.
    """

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    step = STEP
    group = GROUP
    metric = _METRIC
    n_tasks = integer("Number of tasks T: environments whose gradients are compared.")
    effective = number("Effective number of tasks, median over seeds; NaN where there is none.", _TASKS)
    low = lower_end("effective", _TASKS)
    high = upper_end("effective", _TASKS)
    n_seeds = N_SEEDS
    n_pairs = integer("Pairs of tasks.")
    n_unreliable = integer("Pairs, over all seeds, that are left out because noise prevails.")
    interval_over = _INTERVAL_OVER
    reason = text('Reason why there is no interval or no value; "" where there is one.')


class AlignmentContrasts(
    Table,
    name="alignment_contrasts",
    file="tables/alignment_contrasts.parquet",
    key="variant learning_rate weight_decay dropout step group metric statistic",
    when=WITH_GRADIENTS,
):
    """Difference in alignment between each variant and the baseline, paired by seed.

    "mean cosine" is the mean over pairs of environments of the noise-corrected cosine. The mean over seeds is
    arithmetic for it, and geometric for "effective tasks". The tables `alignment_mean` and `effective_tasks` have
    medians over seeds, which can differ from these means.
    """

    variant = VARIANT
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT
    step = STEP
    group = GROUP
    metric = _METRIC
    statistic = text("What is compared.", values=names.CONTRASTED)
    baseline = text("Variant that it is compared with.")
    baseline_mean = number("The baseline's mean over the paired seeds; NaN where there is no pair.", _OF_STATISTIC)
    variant_mean = number("The variant's mean over the paired seeds; NaN where there is no pair.", _OF_STATISTIC)
    difference = number("The variant's mean less the baseline's; NaN where there is no pair.", _OF_STATISTIC)
    low = lower_end("the difference", _OF_STATISTIC)
    high = upper_end("the difference", _OF_STATISTIC)
    p = P
    n_seeds = N_SEEDS
    n_left_out = integer("Pairs of members left out, because the variant or the baseline has no value.")
    reason = text('Reason why there is no test; "" where there is one.')


class Gradients(
    Table, name="gradients", file="tables/gradients.parquet", key="member step group task", when=WITH_GRADIENTS
):
    """Length and noise of each task's gradient, in each member, checkpoint and group of parameters."""

    member = MEMBER
    variant = VARIANT
    seed = SEED
    step = STEP
    group = GROUP
    task = text('Task; "lm" is ordinary text.')
    norm = number("Length of the gradient, noise removed; NaN where reason says why.")
    norm_low = lower_end("the norm")
    norm_high = upper_end("the norm")
    noise_scale = number("Items at which noise and gradient are equally long; NaN where norm is.", "items")
    reliability = number("Share of the mean gradient's squared length that is not noise; NaN where none is.", SHARE)
    reliable = _RELIABLE
    reason = text('Reason why norm is NaN; "" where it is not.')


class AlignmentNpi(
    Table,
    name="alignment_npi",
    file="tables/alignment_npi.parquet",
    key="member step group task_i task_j npis",
    when=WITH_GRADIENTS,
):
    """Cosine of the gradients of each two tasks after the last step, by the NPIs of the items that are multiplied."""

    member = MEMBER
    variant = VARIANT
    seed = SEED
    step = STEP
    group = GROUP
    task_i = text("First task.")
    task_j = text("Second task.")
    npis = text('"all": any two items; "same": with the same NPI; "different": with different ones; or one NPI.')
    corrected = number("Noise-corrected cosine; NaN where reason says why.", _COSINE)
    n_products = integer("Pairs of items behind the numerator.")
    reliable = _RELIABLE
    reason = text('Reason why corrected is NaN; "" where it is not.')
    ratio = number("The estimate: corrected, also where it is beyond 1.", optional=OLD_TABLE)


class Overlap(
    Table,
    name="overlap",
    file="tables/overlap.parquet",
    key="member step group task_i task_j",
    when=WITH_GRADIENTS,
):
    """Overlap of the subspaces that the gradients of two tasks' items span, after the last step."""

    member = MEMBER
    variant = VARIANT
    seed = SEED
    step = STEP
    group = GROUP
    task_i = text("First task.")
    task_j = text("Second task.")
    k = integer("Principal directions of each task.")
    overlap = number("Share of one task's directions that lie in the other's; NaN where reason says why.", SHARE)
    ceiling = number("The overlap that two tasks with the same subspace reach with so few items.", SHARE)
    reason = text('Reason why overlap is NaN; "" where it is not.')


class Lookahead(
    Table, name="lookahead", file="tables/lookahead.parquet", key="member step task_i task_j", when=WITH_GRADIENTS
):
    """Change of one task's margin after a small step along another task's gradient, after the last step."""

    member = MEMBER
    variant = VARIANT
    seed = SEED
    step = STEP
    task_i = text('Task along whose gradient the step goes; "lm" is ordinary text.')
    task_j = text('Task whose margin is measured; "lm" is ordinary text.')
    change = number("Change of the margin, on items that the gradient has not seen.", NATS)
    first_order = number("Change that the dot products of the gradients predict.", NATS)
