"""Names and numbers that stand for something in a run's tables; no task and no parameter may have these names."""

from collections.abc import Mapping
from typing import Final

LM: Final = "lm"
"""The pseudo-task that is ordinary text."""
ALL: Final = "all"
"""The parameter group that is the sum of all others."""
MEAN_OVER_TASKS: Final = "mean over tasks"
"""The ``task`` of the rows that hold the mean over a suite's tasks, each task counting the same."""

RESERVED_TASKS: Final[Mapping[str, str]] = {
    LM: "ordinary text, where gradients are compared",
    MEAN_OVER_TASKS: "the mean over a suite's tasks",
}
"""Names that no task of a suite may have, and what each stands for in tables."""

OK: Final = "ok"
"""``status`` of a member that trained to the end, or trains still."""
DIVERGED: Final = "diverged"
"""``status`` of a member that diverged, and ``reason`` of its numbers that are missing."""
STATUSES: Final = (OK, DIVERGED)

FULL: Final = "full"
"""The variant that is the corpus as it is."""
NO_NPI: Final = "no_npi"
"""The variant from which all NPIs were removed."""
REMOVED_ALL: Final = "all"
"""``removed`` of `NO_NPI`: the NPIs of all environments."""
NOT_A_REMOVAL: Final = ""
"""``removed`` of an intervention that removes neither the NPIs of one environment nor all of them."""
NO_CONTROL: Final = ""
"""``control`` of an effect that is a difference to the baseline, from which no control's effect is subtracted."""

REMOVED: Final = "removed"
EDITED: Final = "edited"
INJECTED: Final = "injected"
ACTIONS: Final = (REMOVED, EDITED, INJECTED)
"""``action``: what was done to a slot."""
OTHERS_KEPT: Final = "kept"
OTHERS_REMOVED: Final = "removed"
"""``others``: whether the other environments' NPIs were in the text."""

CRITICAL: Final = "critical"
"""The region that minimal pairs are about: the NPI."""
SENTENCE: Final = "sentence"
"""The region that is the whole sentence."""
LICENSOR: Final = "licensor"
"""The kind of pairs whose sentences differ in the licensor."""
KINDS: Final = (LICENSOR, "npi", "scope", "other")
"""Kinds of pairs, in the order in which they are reported."""

ACCURACY: Final = "accuracy"
DELTA: Final = "delta"
AUC: Final = "auc"
AUC_DELTA: Final = "auc_delta"
LOG2_STEPS: Final = "log2_steps"
LINEAR_OUTCOMES: Final = (ACCURACY, DELTA, AUC, AUC_DELTA)
"""Outcomes that are means over items."""
OUTCOMES: Final = (*LINEAR_OUTCOMES, LOG2_STEPS)
"""Accuracy and delta (nats) after the last step; their means over training, on a logarithmic scale of steps; and
log2(1 + step) at which the accuracy comes to stay at .75 or above."""

SEEDS: Final = "seeds"
ITEMS: Final = "items"
SEEDS_AND_ITEMS: Final = "seeds and items"
MICRO_BATCHES: Final = "micro-batches"
SEEDS_AND_MICRO_BATCHES: Final = "seeds and micro-batches"
NO_INTERVAL: Final = ""
"""``interval_over``: what was resampled for an interval."""

ENVIRONMENTS: Final = "environments"
SAME_TASK: Final = "same task"
STATISTICS: Final = (ENVIRONMENTS, SAME_TASK, LM)
"""``statistic`` of mean alignment: over pairs of environments, of a task with itself, of a task with ordinary text."""
ALL_NPIS: Final = "all"
SAME_NPI: Final = "same"
DIFFERENT_NPIS: Final = "different"
"""``npis`` of a stratum that is not about one NPI: any two items, two with the same NPI, two with different ones."""

MEAN_OVER_TRAINING: Final = -1
"""``step`` of a predictor that is a mean over all steps but 0."""
MEASURES: Final = ("corrected", "naive", "adam")
"""Measures of alignment that may predict transfer."""
BASELINES: Final = ("ngram_overlap", "npi_overlap", "frequency")
"""Predictors of transfer that need no gradients."""
ALIGNMENT_MODEL: Final = "alignment"
BASELINES_MODEL: Final = "baselines"
JOINT_MODEL: Final = "baselines + alignment"
MODELS: Final = (*BASELINES, ALIGNMENT_MODEL, BASELINES_MODEL, JOINT_MODEL)
"""``model``: which predictors transfer was predicted from."""

SAME_DIRECTION: Final = "same"
OPPOSITE_DIRECTION: Final = "opposite"
OPEN_DIRECTION: Final = "open"
DIRECTIONS: Final = (SAME_DIRECTION, OPPOSITE_DIRECTION, OPEN_DIRECTION)
"""``direction`` of an effect compared with the published one; open if its interval includes 0."""
