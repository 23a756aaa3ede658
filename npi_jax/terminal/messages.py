"""Messages about errors: one line for what the user can fix, a report for anything else."""

import errno
import importlib.metadata
import platform
import traceback

from npi_jax import __version__
from npi_jax.errors import UserError, first_line
from npi_jax.files.user_code import blamed

_OF_THE_MACHINE = {
    errno.EMFILE: "too many open files; raise the limit, as with ulimit -n 4096",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOSPC: "no room is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "a disk or terminal cannot be read or written",
    errno.ENOMEM: "there is not enough memory",
    errno.EAGAIN: "no further process or thread can be started; raise the limit, as with ulimit -u",
}
"""Faults of the machine, which come without the name of a file too."""


def message_of(error: BaseException) -> str | None:
    """One line for an error that the user can fix; None for a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    return blamed(error) or (_of_system(error) if isinstance(error, OSError) else _of_memory(error))


def _of_memory(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({first_line(error)}); use less text, fewer members or smaller models"
    if "RESOURCE_EXHAUSTED" in str(error) and type(error).__module__.startswith("jax"):
        return f"the devices have not enough memory: {first_line(error)}. npi-jax plan --fit looks for what fits"
    return None


def _of_system(error: OSError) -> str | None:
    of_machine = _OF_THE_MACHINE.get(error.errno or 0)
    if error.filename:
        return f"{error.filename!r}: {of_machine or error.strerror or error}"
    return of_machine


def bug_report(error: BaseException) -> str:
    """The traceback of a bug, with what its authors have to know."""
    trace = "".join(traceback.format_exception(error))
    return f"{trace}npi-jax: this is a bug in npi-jax, please report it with all that is printed here ({versions()})"


def versions() -> str:
    """The versions of this package, JAX and Python."""
    try:
        jax = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        jax = "not installed"
    return f"npi-jax {__version__}, jax {jax}, Python {platform.python_version()}, {platform.system()}"
