"""Names that stand for something in a run's tables, and that no task and no parameter may therefore have."""

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
