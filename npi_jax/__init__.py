"""Train many small language models at once, score minimal pairs while they learn, compare their tasks."""

from npi_jax.run import Run, open_run

__all__ = ["Run", "open_run"]
