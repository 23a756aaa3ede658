"""Checks before work begins: environment variables, JAX and its devices, the limit of open files."""

import os
from collections.abc import Mapping

from npi_jax.errors import UserError, first_line

LEAST_FILES = 128
"""Lowest accepted limit of open files. Preparing text fails with 40 and works with 64; training opens more files."""

_OF_JAX = ("JAX_", "CUDA_VISIBLE_DEVICES")
_WHOLE = {"JAX_NUM_CPU_DEVICES": (1, 4096), "NPI_START_TIMEOUT": (1, 1_000_000)}
_SECONDS = ("NPI_SHARED_TIMEOUT",)


def check_environ(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse invalid values of environment variables, and a limit of open files that is too low.

    Raises:
        UserError: naming the variable or the limit.
    """
    for name, (least, most) in _WHOLE.items():
        text = environ.get(name, "")
        if text and not (text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
            raise UserError(f"{name}={text!r} must be a whole number from {least:,} to {most:,}")
    for name in _SECONDS:
        seconds(environ, name, 0.0)
    _check_files()


def forget_odd_sizes() -> None:
    """Remove invalid terminal sizes from the environment, because no command should fail over the width of a table."""
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "")
        if not (text.isdecimal() and len(text) < 5 and int(text)):
            os.environ.pop(name, None)


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """Return a time from an environment variable.

    Raises:
        UserError: naming the variable, if it is not a finite number of at least 0.
    """
    text = environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UserError(f"{name}={text!r} must be a number of seconds")
    return value


def import_jax() -> None:
    """Import JAX, which reads its environment variables at import.

    Raises:
        UserError: with the message of JAX and the variables that are set.
    """
    try:
        import jax  # noqa: F401, PLC0415
    except Exception as error:
        # JAX can raise any type of error for an invalid value.
        raise UserError(f"JAX cannot be imported: {first_line(error)}{_given()}") from error


def start_devices() -> None:
    """Start the devices; several processes must call `npi_jax.training.devices.startup.join_processes` first.

    Raises:
        UserError: with the message of JAX and the variables that are set.
    """
    import jax  # noqa: PLC0415

    try:
        jax.devices()
    except Exception as error:
        # JAX raises an AssertionError without a message for a missing platform.
        reason = first_line(error) if str(error) else "there are none of that kind"
        raise UserError(f"JAX finds no devices to use: {reason}{_given()}") from error


def _given() -> str:
    given = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_OF_JAX)]
    return f" (set in the environment: {', '.join(given)})" if given else ""


def _check_files() -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        # Windows has no such limit.
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < LEAST_FILES:
        raise UserError(
            f"this process may have {limit} files open at once (ulimit -n), and needs at least {LEAST_FILES}: "
            "ulimit -n 1024"
        )
