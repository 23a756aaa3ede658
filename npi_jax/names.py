"""Names that stand for something in files of gradients, and that no task and no parameter may therefore have."""

from typing import Final

LM: Final = "lm"
"""The pseudo-task that is ordinary text."""
ALL: Final = "all"
"""The parameter group that is the sum of all others."""
