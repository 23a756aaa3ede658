"""Reference page of the tables of a run."""

import inspect

from npi_jax.results import directory


def page() -> str:
    """The page, as Markdown."""
    return f"# Tables\n\n{inspect.getdoc(directory)}\n"
