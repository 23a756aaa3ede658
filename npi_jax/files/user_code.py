"""Python files of the user: config files, and the factories of custom models.

The user can fix errors in such files. Their messages name the file, the line and the error. There is no traceback,
since it would show functions of this package that are not at fault.
"""

import linecache
import sys
import sysconfig
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npi_jax.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_LOADED: set[str] = set()
"""Files of the user, from `load_python` and `note_module`; the paths are those in tracebacks."""


def load_python(path: str, what: str) -> types.ModuleType:
    """Run a Python file and return it as a module; no bytecode is written to its folder.

    Args:
        path: path of the file.
        what: the user's request, such as ``--config my.py``; error messages begin with it.

    Raises:
        UserError: naming the file and the line at which it fails.
    """
    name = f"npi_jax_file_{Path(path).stem}"
    module = types.ModuleType(name)
    module.__file__ = path
    _LOADED.add(path)
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{what}: cannot read {path!r} ({error.strerror or error})") from error
    # Dataclasses and pickle look up a class's module by name.
    sys.modules[name] = module
    with users_code(what):
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    return module


def note_module(module: types.ModuleType) -> None:
    """Register the file of a module as a file of the user."""
    if file := getattr(module, "__file__", None):
        _LOADED.add(file)


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turn errors in the body, which runs code of the user, into a `UserError`.

    Args:
        what: the user's request; the error message begins with it.
    """
    try:
        yield
    except SyntaxError as error:
        # The error can be in the file or in one that it imports.
        raise UserError(_syntax_message(what, error)) from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {_described(error)}{_location(error)}") from error


def blamed(error: BaseException) -> str | None:
    """Return the message for an error in the user's code; None for an error in this package.

    An error is in the user's code if the last frame outside libraries is in a file of the user.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if not frames or frames[-1].filename not in _LOADED:
        return None
    return f"{frames[-1].filename}: {_described(error)}{_location(error)}"


def _syntax_message(what: str, error: SyntaxError) -> str:
    where = f", line {error.lineno}" if error.lineno else ""
    text = f": {error.text.strip()[:120]}" if error.text and error.text.strip() else ""
    return f"{what}: {_one_line(error.msg)} ({error.filename or 'the file'}{where}{text})"


def _described(error: BaseException) -> str:
    """Return the type and the message of an error; no type for ValueError, since config files raise it on purpose."""
    if isinstance(error, SystemExit):
        return f"it ends the program (exit status {error.code})"
    name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    text = str(error)
    if isinstance(error, KeyError) and error.args:
        text = repr(error.args[0])
    return f"{name}{_one_line(text)}" if text.strip() else type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _location(error: BaseException) -> str:
    """Return the last lines of the user's code in a traceback, innermost first; "" if there are none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return ""
    last, *callers = (f"{frame.filename}, line {frame.lineno}" for frame in reversed(frames))
    text = linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()[:120]
    called = f"; called from {', '.join(callers[:2])}" if callers else ""
    return f" ({last}{f': {text}' if text else ''}{called})"


def _is_library(filename: str) -> bool:
    # This package may be installed among the libraries, but is not one of them here.
    if filename in _LOADED or Path(filename).is_relative_to(_PACKAGE):
        return False
    return filename.startswith((*_LIBRARIES, "<")) or any(
        part in ("site-packages", "dist-packages") for part in Path(filename).parts
    )


def _is_users(filename: str) -> bool:
    return filename in _LOADED or not (_is_library(filename) or Path(filename).resolve().is_relative_to(_PACKAGE))
