"""Train many small language models at once, score minimal pairs during training, and compare tasks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npi_jax.results.directory import Run, open_run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "open_run"]


def __getattr__(name: str) -> Any:
    # Imported on first use, because users of the scorer alone should not wait for the libraries that read tables.
    if name in ("Run", "open_run"):
        from npi_jax.results import directory  # noqa: PLC0415

        return getattr(directory, name)
    raise AttributeError(f"module 'npi_jax' has no attribute {name!r}")
