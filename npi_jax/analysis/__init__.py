"""Analysis of a run: learning curves, alignment and transfer, each with intervals."""
