"""Temporary files of atomic writing.

The name of such a file names its process. Other processes remove the file only after that process has ended.
"""

import hashlib
import os
import platform
import re
import secrets
import time
from pathlib import Path

FORGOTTEN = 24 * 3600.0
"""Age in seconds at which the temporary file of a process on another machine is considered abandoned."""

_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_OWN = secrets.token_hex(4)
"""Random part of names, which distinguishes processes with equal numbers: at other times, or in other containers."""

_NAME = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<own>[0-9a-f]{8})\.tmp", re.DOTALL)


def temporary_name(name: str) -> str:
    """Return the temporary name of a file that this process writes."""
    # The number is not a constant of the module, because a forked process has another one.
    return f".{name}.{_HERE}-{os.getpid()}-{_OWN}.tmp"


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files of ended processes in a folder and its subfolders."""
    for path in folder.rglob(".*.tmp"):
        if path.is_file() and _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    parts = _NAME.fullmatch(path.name)
    if parts is None or parts["host"] != _HERE:
        return _is_old(path)
    number = int(parts["pid"])
    if number == os.getpid():
        return parts["own"] != _OWN
    return not _is_running(number)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FORGOTTEN
    except FileNotFoundError:
        # Its process has finished writing and renamed it.
        return False


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # The process belongs to another user.
        return True
    return True
