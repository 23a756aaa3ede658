"""Names and numbers with a special meaning in a run's tables."""

from collections.abc import Mapping
from typing import Final

LM: Final = "lm"
"""Ordinary text, which gradients treat as a task."""
ALL: Final = "all"
"""The parameter group that is the sum of all others."""
MEAN_OVER_TASKS: Final = "mean over tasks"
"""``task`` in rows with the mean over a suite's tasks, in which each task has equal weight."""
MEAN_OVER_ENVIRONMENTS: Final = "mean over environments"
"""``environment`` in rows with the mean over several environments, in which each has equal weight."""

RESERVED_TASKS: Final[Mapping[str, str]] = {
    LM: "ordinary text, where gradients are compared",
    MEAN_OVER_TASKS: "the mean over a suite's tasks",
    MEAN_OVER_ENVIRONMENTS: "the mean over several environments",
}
"""Names that no task of a suite may have, with their meaning in tables."""

OK: Final = "ok"
"""``status`` of a member that finished training or is still training, without diverging."""
DIVERGED: Final = "diverged"
"""``status`` of a diverged member, and ``reason`` for its missing numbers."""
STATUSES: Final = (OK, DIVERGED)

FULL: Final = "full"
"""The variant with the unchanged corpus."""
NO_NPI: Final = "no_npi"
"""The variant from which all NPIs were removed."""
REMOVED_ALL: Final = "all"
"""``removed`` of the variant `NO_NPI`: the NPIs of all environments."""
NOT_A_REMOVAL: Final = ""
"""``removed`` of an intervention that removes neither the NPIs of one environment nor all of them."""
NO_CONTROL: Final = ""
"""``control`` of an effect that is relative to the baseline, not to a random control."""

REMOVED: Final = "removed"
EDITED: Final = "edited"
INJECTED: Final = "injected"
ACTIONS: Final = (REMOVED, EDITED, INJECTED)
"""``action``: the change of a slot, which is a sentence position of the corpus."""
OTHERS_KEPT: Final = "kept"
OTHERS_REMOVED: Final = "removed"
ONE_OTHER_KEPT: Final = "one"
"""``others``: the other environments' NPIs are in the text, they are removed, or those of one environment are kept."""
THINNED_ITEMS: Final = "items"
THINNED_SENTENCES: Final = "sentences"
THINNED: Final = (THINNED_ITEMS, THINNED_SENTENCES)
"""``thinned``: an environment's sentences with an NPI, or all of its sentences, with an NPI or without."""
ALL_DONORS: Final = ""
"""``donor`` of variants in which all other environments have the same treatment."""

CRITICAL: Final = "critical"
"""The region that minimal pairs are about: the NPI."""
SENTENCE: Final = "sentence"
"""The region that is the entire sentence."""
LICENSOR: Final = "licensor"
"""The kind of pairs whose sentences differ in the licensor."""
KINDS: Final = (LICENSOR, "npi", "scope", "other")
"""Kinds of minimal pairs, in the order of the report."""

ACCURACY: Final = "accuracy"
DELTA: Final = "delta"
AUC: Final = "auc"
AUC_DELTA: Final = "auc_delta"
LOG2_STEPS: Final = "log2_steps"
LINEAR_OUTCOMES: Final = (ACCURACY, DELTA, AUC, AUC_DELTA)
"""Outcomes that are means over items."""
OUTCOMES: Final = (*LINEAR_OUTCOMES, LOG2_STEPS)
"""Accuracy and delta (nats) after the last step; their means over training, on a logarithmic scale of steps; and
log2(1 + step) from which the accuracy stays at .75 or above."""

SEEDS: Final = "seeds"
ITEMS: Final = "items"
SEEDS_AND_ITEMS: Final = "seeds and items"
MICRO_BATCHES: Final = "micro-batches"
SEEDS_AND_MICRO_BATCHES: Final = "seeds and micro-batches"
TOO_FEW: Final = "too few seeds"
NO_INTERVAL: Final = ""
"""``interval_over``: the units that an interval is over; `TOO_FEW` and `NO_INTERVAL` if there is none."""

ENVIRONMENTS: Final = "environments"
SAME_TASK: Final = "same task"
STATISTICS: Final = (ENVIRONMENTS, SAME_TASK, LM)
"""``statistic``, a mean over pairs of environments, of each task with itself, or of each with ordinary text."""
PLAIN: Final = "plain"
ADAM: Final = "adam"
METRICS: Final = (PLAIN, ADAM)
"""``metric`` of dot products: of the gradients, or of gradients divided by Adam's scale of each parameter."""
MEAN_COSINE: Final = "mean cosine"
EFFECTIVE_TASKS: Final = "effective tasks"
CONTRASTED: Final = (MEAN_COSINE, EFFECTIVE_TASKS)
"""``statistic`` in which variants are contrasted."""
ALL_NPIS: Final = "all"
SAME_NPI: Final = "same"
DIFFERENT_NPIS: Final = "different"
"""``npis`` of strata over several NPIs: any two items, two with the same NPI, or two with different NPIs."""

MEAN_OVER_TRAINING: Final = -1
"""``step`` of a predictor that is a mean over all steps except 0."""
BOTH_CENTERED: Final = "both"
NOT_CENTERED: Final = "none"
"""``centered``: additive effects of rows and columns are removed from both matrices, or from none."""
DISJOINT_SEEDS: Final = "disjoint"
SHARED_SEEDS: Final = "shared"
NO_SEEDS: Final = ""
"""``seeds``: alignment and effects are from different seeds or from the same ones; "" if no gradients are used."""
MEASURES: Final = ("corrected", "naive", "adam")
"""Measures of alignment that may predict transfer."""
BASELINES: Final = ("ngram_overlap", "npi_overlap", "frequency")
"""Predictors of transfer that need no gradients."""
ALIGNMENT_MODEL: Final = "alignment"
BASELINES_MODEL: Final = "baselines"
JOINT_MODEL: Final = "baselines + alignment"
MODELS: Final = (*BASELINES, ALIGNMENT_MODEL, BASELINES_MODEL, JOINT_MODEL)
"""``model``: the predictors in a model of transfer."""

SAME_DIRECTION: Final = "same"
OPPOSITE_DIRECTION: Final = "opposite"
OPEN_DIRECTION: Final = "open"
DIRECTIONS: Final = (SAME_DIRECTION, OPPOSITE_DIRECTION, OPEN_DIRECTION)
"""``direction`` of an effect relative to the published one; open if the interval of the run's effect includes 0."""
