"""A second name for a folder, without characters that a library would read as more than a name."""

import re
import shutil
import tempfile
import weakref
from pathlib import Path

# Orbax expands patterns in the names of folders above its own, and then merges the arrays of others.
_PLAIN = re.compile(r"[\w./+=,@ -]*")


class PlainName:
    """The folder itself, or a link to it from the folder of temporary files where its path is not plain.

    Args:
        folder: an absolute path; it need not exist yet.
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
