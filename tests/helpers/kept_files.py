"""Files that are slow to make, kept in an archive beside their test."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path


def kept(folder: Path, archive: Path, make: Callable[[Path], object]) -> Path:
    """The folder, with what the archive keeps; ``UPDATE_GOLDEN=1`` has it made, and writes the archive anew."""
    if "UPDATE_GOLDEN" in os.environ:
        make(folder)
        with tarfile.open(archive, "w:xz") as new:
            for path in sorted(folder.iterdir()):
                new.add(path, path.name)
    else:
        with tarfile.open(archive) as old:
            old.extractall(folder, filter="data")
    return folder
