"""Reference page of the tables of a run."""

import inspect

from npi_jax import run


def page() -> str:
    """The page, as Markdown."""
    return f"# Tables\n\n{inspect.getdoc(run)}\n"
