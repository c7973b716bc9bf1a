"""NPZ files: several arrays in a ZIP archive, read only where they are as large as they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from keras_stitch.files import read_files
from keras_stitch.files.zip_files import open_zip

_LARGE = 1 << 32  # bytes that data may have, however well they were compressed
_ONE_ARRAY = b"\x93NUMPY"


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file, by name.

    Raises:
        SourceError: If it would unpack to far more than it holds.
        ValueError: If it is no such file, or an array is shorter than it says. OSError: If it cannot be read.
        zipfile.BadZipFile: If it is damaged.
    """
    with read_files.plain(path).open("rb") as file:
        if file.read(len(_ONE_ARRAY)) == _ONE_ARRAY:
            raise ValueError("one array without a name")
    with open_zip(path, large=_LARGE) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                _check_length(info.filename, member, info.file_size)
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _check_length(name: str, member: Any, size: int) -> None:
    """Refuse an array that is shorter than it says: NumPy makes room for all of it first."""
    read_header = npy.read_array_header_1_0 if npy.read_magic(member) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(member)
    declared = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and declared != size - member.tell():
        raise ValueError(f"'{name}' declares {declared:,} bytes and has {size - member.tell():,}")
