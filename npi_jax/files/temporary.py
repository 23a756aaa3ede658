"""Names of files that are being written: each belongs to a process, and is removed by others only when that is gone."""

import hashlib
import os
import platform
import re
import secrets
import time
from pathlib import Path

FORGOTTEN = 24 * 3600.0
"""Seconds after which a file that a process of another machine was writing counts as left behind."""

_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_OWN = secrets.token_hex(4)
"""Two processes with one number, one after the other or in two containers, differ in this."""

_NAME = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<own>[0-9a-f]{8})\.tmp", re.DOTALL)


def temporary_name(name: str) -> str:
    """Return the name under which this process writes a file."""
    # Asked for each time: a process that was forked has a number of its own.
    return f".{name}.{_HERE}-{os.getpid()}-{_OWN}.tmp"


def remove_abandoned(folder: Path) -> None:
    """Remove files that processes which are gone left half-written in a folder, or in one below it."""
    for path in folder.rglob(".*.tmp"):
        if path.is_file() and _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None or found["host"] != _HERE:
        return _is_old(path)
    number = int(found["pid"])
    if number == os.getpid():
        return found["own"] != _OWN
    return not _is_running(number)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FORGOTTEN
    except FileNotFoundError:
        # It was finished meanwhile.
        return False


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # Another user's.
        return True
    return True
