"""NPY and HDF5: files that hold arrays, of which only the rows that are needed are read."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from .blocks import as_text
from .column_tables import split_columns
from .file_contents import KEYS, RANGE, Contents, keys_among

if TYPE_CHECKING:
    from .array_files import ArrayFile


def read_npy(file: ArrayFile) -> Contents:
    """Opens an NPY file: one array, or a structured one, whose fields are arrays and what names the rows."""
    try:
        stored = np.load(file.path, mmap_mode="r")
    except ValueError as error:  # Python objects, or a file that was cut off
        file.fail("cannot be read as NPY", "an array of numbers", error)
    if stored.dtype.names is None:
        file.check_one_array("NPY")
        return Contents(dict.fromkeys(file.arrays, stored))
    if stored.ndim != 1:
        file.fail("is a structured array of several axes", "one entry for each row", f"shape {stored.shape}")
    fields = {name: stored[name] for name in stored.dtype.names}
    keys = _keys_of(file, fields, "field")
    if all(field.ndim == 1 for field in fields.values()):
        return split_columns(file, pd.DataFrame(fields), keys)
    return _named_arrays(file, fields, keys, "field")


def read_hdf5(file: ArrayFile) -> Contents:
    """Finds the datasets of the arrays in an HDF5 file, and what names its rows."""
    opened, datasets = _Opened(file.path), {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = _Dataset(opened, name, item.shape or ())
            labels = item.attrs.get("column_labels")
            datasets[name].labels = None if labels is None else as_text(np.ravel(labels)).tolist()

    with h5py.File(file.path, "r") as stored:
        stored.visititems(add)
    return _named_arrays(file, datasets, _keys_of(file, datasets, "dataset"), "dataset")


def _keys_of(file: ArrayFile, stored: Collection[str], kind: str) -> list[str]:
    """Returns those of the names in a file that name its rows."""
    fields = [name for name in stored if name not in file.arrays]
    if "chr" in fields and not set(RANGE) <= set(fields):
        received = ", ".join(name for name in KEYS if name in fields)
        file.fail("has no whole genomic range", f"a {kind} for each of {', '.join(RANGE)}", received)
    return keys_among(fields)


def _named_arrays(file: ArrayFile, stored: Mapping[str, Any], keys: Collection[str], kind: str) -> Contents:
    """Returns the arrays of a file that are called like those that are wanted, and those that name the rows."""
    found = Contents({})
    found.name_rows({name: stored[name] for name in keys})
    names = [name for name in stored if name not in keys]
    for name in file.arrays:
        if name not in names and (len(names) != 1 or len(file.arrays) > 1):
            expected = f"a {kind} '{name}'" + (", or a single one" if len(file.arrays) == 1 else "")
            file.fail("lacks the data", expected, ", ".join(names) or "none")
        found.rows[name] = array = stored[name if name in names else names[0]]
        labels = getattr(array, "labels", None)
        if labels is not None:
            found.labels[name] = labels
    return found


class _Opened:
    """An HDF5 file that each process opens for itself: an open file cannot be shared."""

    def __init__(self, path: str) -> None:
        self.path, self.process = path, 0

    def dataset(self, name: str) -> h5py.Dataset:
        if self.process != os.getpid():
            self.file, self.process = h5py.File(self.path, "r"), os.getpid()
        return self.file[name]


class _Dataset:
    """The rows of a dataset, which stay in the file until they are needed."""

    def __init__(self, opened: _Opened, name: str, shape: tuple[int, ...]) -> None:
        self.opened, self.name, self.shape = opened, name, shape
        self.labels: list[str] | None = None  # of columns, where the file has some

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        dataset = self.opened.dataset(self.name)
        if len(rows) == 0:
            return np.asarray(dataset[rows])
        first, last = int(rows[0]), int(rows[-1])
        if np.array_equal(rows, np.arange(first, last + 1)):
            return np.asarray(dataset[first : last + 1])
        # HDF5 reads rows only in the order of the file, and none twice.
        ordered, places = np.unique(rows, return_inverse=True)
        return np.asarray(dataset[ordered])[places]
