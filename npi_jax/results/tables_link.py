"""Tables of the analysis about the link, the prediction of transfer from alignment."""

from npi_jax.results import names
from npi_jax.results.columns import STEPS, Table, flag, integer, number, text
from npi_jax.results.shared import DROPOUT, LEARNING_RATE, OLD_TABLE, WEIGHT_DECAY, P, lower_end, upper_end
from npi_jax.results.tables_alignment import WITH_GRADIENTS

_OUTCOME = text("Outcome of transfer.", values=names.OUTCOMES)
_GROUP = text('Group of parameters; "" of a predictor that needs no gradients.')
_REASON = text('Reason why there is no number; "" where there is one.')


class Link(
    Table,
    name="link",
    file="tables/link.parquet",
    key="predictor group step outcome centered",
    when=WITH_GRADIENTS,
):
    """Rank correlation of alignment, or of a surface measure, with transfer over directed pairs of tasks.

    Only rows with ``centered`` equal to "both" are tests of a link between pairs. Without centering, a trait of single
    tasks that affects both matrices is taken for a link.
    """

    primary = flag("Whether this is the test that was declared beforehand.")
    predictor = text("Measure of alignment, or surface measure.", values=(*names.MEASURES, *names.BASELINES))
    group = _GROUP
    step = integer("Checkpoint of the alignment; -1 is the mean over all checkpoints but step 0.", STEPS)
    outcome = _OUTCOME
    centered = text(
        "Matrices from which additive effects of rows and columns (of single tasks) are removed.",
        values=(names.BOTH_CENTERED, names.NOT_CENTERED),
        optional=OLD_TABLE,
    )
    seeds = text(
        'Whether alignment and effects are from different seeds; "" where the predictor needs no gradients.',
        values=(names.DISJOINT_SEEDS, names.SHARED_SEEDS, names.NO_SEEDS),
        optional=OLD_TABLE,
    )
    statistic = number(
        "Spearman's correlation, mean of both directions where seeds are disjoint; NaN where reason says why.",
        "correlation, -1 to 1",
    )
    p = P
    p_adjusted = number("p, adjusted over all rows but the primary one (max-T); NaN where there is no test.")
    n_pairs = integer("Directed pairs of tasks.")
    n_tasks = integer("Tasks in these pairs.")
    n_permutations = integer("Relabelings of the tasks that the p-value is from; 0 where there is no test.")
    reason = _REASON


class LinkPairs(
    Table,
    name="link_pairs",
    file="tables/link_pairs.parquet",
    key="removed task group outcome control learning_rate weight_decay dropout",
    when=WITH_GRADIENTS,
):
    """Alignment and transfer of each directed pair of tasks, over all seeds: the data behind the declared test."""

    removed = text("Environment whose NPIs were removed.")
    task = text("Task that the effect is on.")
    group = text("Group of parameters.")
    step = integer(
        "Checkpoint of the alignment, the last one; -1 is the mean over training, in older tables, which lack this.",
        STEPS,
        optional=OLD_TABLE,
    )
    alignment = number("Corrected alignment, mean over seeds; NaN where there is none.", "cosine, -1 to 1")
    naive = number("Naive alignment, mean over seeds.", "cosine, -1 to 1")
    effect = number("Effect of the removal on the task.", "unit of the outcome")
    low = lower_end("the effect", "unit of the outcome")
    high = upper_end("the effect", "unit of the outcome")
    n_cells = integer(
        "Number of seeds with an alignment (in older tables, seeds times checkpoints).", optional=OLD_TABLE
    )
    outcome = _OUTCOME
    control = text('Random control that the effect is a difference to; "" where it is one to the baseline.')
    learning_rate = LEARNING_RATE
    weight_decay = WEIGHT_DECAY
    dropout = DROPOUT


class Prediction(
    Table,
    name="prediction",
    file="tables/prediction.parquet",
    key="model outcome group",
    when=WITH_GRADIENTS,
):
    """Transfer to and from a task as predicted from the other tasks, leaving out each task in turn."""

    model = text("Predictors of the model.", values=names.MODELS)
    outcome = _OUTCOME
    group = text("Group of parameters whose alignment is used.")
    correlation = number(
        "Spearman's correlation of prediction and effect, mean over the tasks left out; NaN where there is none.",
        "correlation, -1 to 1",
    )
    r2 = number("1 - squared errors / squared errors of the mean; above 0 is better than guessing the mean.")
    n_pairs = integer("Directed pairs of tasks.")
    reason = _REASON
