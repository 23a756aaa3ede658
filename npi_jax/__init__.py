"""Train many small language models at once, score minimal pairs while they learn, compare their tasks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npi_jax.results.directory import Run, open_run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "open_run"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: those who want the scorer alone should not pay for tables.
    if name in ("Run", "open_run"):
        from npi_jax.results import directory as run  # noqa: PLC0415

        return getattr(run, name)
    raise AttributeError(f"module 'npi_jax' has no attribute {name!r}")
