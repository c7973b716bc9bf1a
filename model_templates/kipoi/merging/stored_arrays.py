"""NPY and HDF5: files that hold arrays, of which only the rows that are needed are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import h5py
import numpy as np

from .blocks import as_text
from .file_contents import Contents

if TYPE_CHECKING:
    from .array_files import ArrayFile


def read_npy(file: ArrayFile) -> Contents:
    """Opens an NPY file, which holds one array."""
    (name,) = file.arrays
    try:
        return Contents({name: np.load(file.path, mmap_mode="r")})
    except ValueError as error:  # Python objects, or a file that was cut off
        file.fail("cannot be read as NPY", "an array of numbers", error)


def read_hdf5(file: ArrayFile) -> Contents:
    """Finds the datasets of the arrays in an HDF5 file, and the names of its rows."""
    names: list[str] = []
    opened = _Opened(file.path)
    with h5py.File(file.path, "r") as stored:
        stored.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        found = Contents({})
        if "id" in names and "id" not in file.arrays:
            names.remove("id")
            found.ids = _Dataset(opened, "id", (stored["id"].size,))
        for name in file.arrays:
            if name not in names and (len(names) != 1 or len(file.arrays) > 1):
                file.fail(
                    "lacks the data",
                    f"a dataset '{name}'" + (", or a single one" if len(file.arrays) == 1 else ""),
                    ", ".join(names) or "none",
                )
            dataset = stored[name if name in names else names[0]]
            found.rows[name] = _Dataset(opened, dataset.name, dataset.shape or ())
            labels = dataset.attrs.get("column_labels")
            if labels is not None:
                found.labels[name] = as_text(np.ravel(labels)).tolist()
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
