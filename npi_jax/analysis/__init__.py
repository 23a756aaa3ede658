"""Analysis of a run: learning curves, alignment, transfer, and the intervals of all of them."""
