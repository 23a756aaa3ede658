"""Checks shapes, dtypes and types while the tests run, in the modules that declare arrays."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import beartype

PACKAGE = Path(__file__).parents[1] / "npi_jax"
_LOCK = threading.Lock()


def check_annotations() -> None:
    """Check the annotations of the modules that declare arrays, which must not be imported before.

    mypy knows the types of the other modules. Their functions handle one word or one file and are called so often that
    checks would take most of the tests' time: five sixths of it in the annotator's.
    """
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    jaxtyping.install_import_hook(modules, "type_checks.checked")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its arguments and result checked by Beartype.

    Beartype writes the code of a check when it decorates a function, and shares state between threads meanwhile
    (beartype issue 670): checks written at the same time can refer to each other's types. Programs are compiled in
    threads, which decorate the functions that are defined inside others. Hence one thread decorates at a time.
    """
    with _LOCK:
        return beartype(function)
