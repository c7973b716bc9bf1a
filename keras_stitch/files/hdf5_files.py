"""The one place by which HDF5 files are opened for reading: files that would read other files are refused."""

from __future__ import annotations

import contextlib
import importlib.resources
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from keras_stitch.errors import SourceError, reason
from keras_stitch.files.read_files import load_python

# The same rule as that of generated directories, whose code needs no keras_stitch.
_contents = load_python(
    Path(str(importlib.resources.files("keras_stitch.model_templates") / "kipoi" / "merging" / "hdf5_contents.py"))
)
_checked: set[tuple[int, ...]] = set()  # files that were found sound: device, number, size, time of change


@contextlib.contextmanager
def open_hdf5(source: str | os.PathLike[str] | io.IOBase, shown: object = None) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading.

    Args:
        source: Its path, or an open binary file.
        shown: What messages call it, if not by its path.

    Raises:
        SourceError: If it keeps values in other files, or declares far more than it holds.
        OSError: If it cannot be read.
    """
    with h5py.File(source, "r") as file:
        _check(file, source, source if shown is None else shown)
        yield file


def is_hdf5(path: Path) -> bool:
    """Whether a file is an HDF5 file; a ``SourceError`` where nobody may read it."""
    try:
        return h5py.is_hdf5(path)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {os.strerror(error.errno or 0)}.") from error


def datasets(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Name and low-level identifier of each dataset of an open file, once."""
    return _contents.datasets(file)


def _check(file: h5py.File, source: Any, shown: object) -> None:
    known = None
    if isinstance(source, str | os.PathLike):
        state = Path(source).stat()
        known = (state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns)
    if known is not None and known in _checked:
        return
    try:
        _contents.check(file)
    except _contents.RefusedFile as error:
        raise SourceError(
            f"'{shown}' {error}.", expected="a file that holds all of its values", fix=_contents.FIX
        ) from None
    except (KeyError, RuntimeError, ValueError) as error:
        raise OSError(f"damaged, {reason(error)}") from error
    if known is not None:
        _checked.add(known)
