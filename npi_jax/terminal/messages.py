"""Error messages: one line for errors that the user can fix, a traceback for bugs."""

import errno
import importlib.metadata
import platform
import traceback

from npi_jax import __version__
from npi_jax.errors import UserError, first_line
from npi_jax.files.user_code import blamed

_SYSTEM_ERRORS = {
    errno.EMFILE: "too many open files; raise the limit, as with ulimit -n 4096",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "a disk or terminal cannot be read or written",
    errno.ENOMEM: "there is not enough memory",
    errno.EAGAIN: "no more processes or threads can be started; raise the limit, as with ulimit -u",
}
"""Messages for errors of the operating system that often do not name a file."""


def message_of(error: BaseException) -> str | None:
    """Return one line for an error that the user can fix; None for a bug in npi-jax."""
    if isinstance(error, UserError):
        return str(error)
    return blamed(error) or (_system_message(error) if isinstance(error, OSError) else _memory_message(error))


def _memory_message(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({first_line(error)}); use less text, fewer members or smaller models"
    if "RESOURCE_EXHAUSTED" in str(error) and type(error).__module__.startswith("jax"):
        hint = "npi-jax plan --fit searches for an arrangement that fits"
        return f"the devices do not have enough memory: {first_line(error)}. {hint}"
    return None


def _system_message(error: OSError) -> str | None:
    known = _SYSTEM_ERRORS.get(error.errno or 0)
    if error.filename:
        return f"{error.filename!r}: {known or error.strerror or error}"
    return known


def bug_report(error: BaseException) -> str:
    """Return the traceback of a bug, with the versions of packages for a bug report."""
    trace = "".join(traceback.format_exception(error))
    return f"{trace}npi-jax: this is a bug in npi-jax, please report it with all that is printed here ({versions()})"


def versions() -> str:
    """Return the versions of this package, JAX and Python, and the operating system."""
    try:
        jax = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        jax = "not installed"
    return f"npi-jax {__version__}, jax {jax}, Python {platform.python_version()}, {platform.system()}"
