"""A second path to a folder, without characters that Orbax would interpret as a pattern."""

import re
import shutil
import tempfile
import weakref
from pathlib import Path

# Orbax expands patterns in the path of its folder, and could then read arrays of other folders.
_PLAIN = re.compile(r"[\w./+=,@ -]*")


class PlainName:
    """Path to a folder: the original path if it is plain, otherwise a symbolic link in a temporary folder.

    Args:
        folder: an absolute path; the folder need not exist yet.

    Attributes:
        path: the plain path.
    """

    def __init__(self, folder: Path):
        self.path = folder
        self._remove = None
        if not _PLAIN.fullmatch(str(folder)):
            beside = tempfile.mkdtemp(prefix="npi_jax_")
            self.path = Path(beside) / "folder"
            self.path.symlink_to(folder, target_is_directory=True)
            self._remove = weakref.finalize(self, shutil.rmtree, beside, ignore_errors=True)

    def remove(self) -> None:
        """Remove the link, if there is one."""
        if self._remove is not None:
            self._remove()
