"""NPY and HDF5: files that hold arrays, of which only the rows that are needed are read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from . import hdf5_contents
from .blocks import as_text
from .column_tables import split_columns
from .data_errors import problem, reason
from .file_contents import Contents
from .row_names import NamingFields, naming_fields

if TYPE_CHECKING:
    from .array_files import ArrayFile

_MOST_GROUPS, _DEEPEST = 10_000, 100


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
    fields = {"/".join(names): _field(stored, names) for names, _ in _leaves(stored.dtype)}
    naming = naming_fields(file, fields, "field", [name for name, it in fields.items() if it.dtype.kind in "SU"])
    data = {name: field for name, field in fields.items() if name not in naming.never_data}
    if all(field.ndim == 1 for field in data.values()):
        names = {name: fields[name] for name in naming.used}
        return split_columns(file, pd.DataFrame(data, index=range(len(stored))), naming, names)
    return _named_arrays(file, fields, naming, "field")


def read_hdf5(file: ArrayFile) -> Contents:
    """Finds the datasets of the arrays in an HDF5 file, and what names its rows."""
    opened, datasets, broken, texts = _Opened(file.path), {}, [], {}
    try:
        whole = hdf5_contents.opened(file.path)
    except hdf5_contents.RefusedFile as error:
        file.fail(str(error), "a file that holds all of its values", "another")
    with whole as stored:
        for name, item in _datasets(file, stored, itertools.count()):
            if item is None:
                broken.append(name)
                continue
            labels = item.attrs.get("column_labels")
            if h5py.check_string_dtype(item.dtype) is not None and len(item.shape or ()) == 1:
                texts[name] = item.shape[0]
            for names, inner in _leaves(item.dtype):
                shape = (*(item.shape or ()), *inner)
                datasets["/".join([name, *names])] = made = _Dataset(opened, name, names, shape)
                made.labels = None if labels is None else as_text(np.ravel(labels)).tolist()
    # What has one value for the whole file names no row.
    with_rows = {name: it.shape[0] for name, it in datasets.items() if it.shape}
    whole = [name for name, length in texts.items() if set(with_rows.values()) == {length}]
    naming = naming_fields(file, [*broken, *with_rows], "dataset", whole)
    for name in broken:
        if name in naming.used:
            file.fail("has a link that leads nowhere", f"a dataset '{name}', as it names the rows", "none")
    return _named_arrays(file, datasets, naming, "dataset")


def _datasets(
    file: ArrayFile, group: h5py.Group, counted: Iterator[int], above: frozenset[int] = frozenset()
) -> Iterator[tuple[str, h5py.Dataset | None]]:
    """Yields the datasets in a group and below it, also those behind links, by their names; None for a broken link."""
    if next(counted) == _MOST_GROUPS or len(above) > _DEEPEST:  # links give few groups many names
        file.fail("has too many groups", f"at most {_MOST_GROUPS:,}, and {_DEEPEST} within each other", "more")
    address = h5py.h5o.get_info(group.id).addr
    if address in above:  # a link may lead back
        return
    for name, item in group.items():
        if item is None or isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            for below, dataset in _datasets(file, item, counted, above | {address}):
                yield f"{name}/{below}", dataset


def _leaves(dtype: np.dtype) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Yields the names that lead to every field of a structured type, and its shape; no names for another type."""
    if dtype.names is None:
        yield (), ()
        return
    for name in dtype.names:
        for below, shape in _leaves(dtype[name].base):
            yield (name, *below), (*dtype[name].shape, *shape)


def _field(array: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns the field of a structured array to which names lead."""
    for name in names:
        array = array[name]
    return array


def _named_arrays(file: ArrayFile, stored: Mapping[str, Any], naming: NamingFields, kind: str) -> Contents:
    """Returns the arrays of a file that are called like those that are wanted, and those that name the rows."""
    found = Contents({}, naming, {name: stored[name] for name in naming.used})
    names = [name for name in stored if name not in naming.never_data]
    for name in file.arrays:
        # Kipoi writes the outputs of a model into the group "preds".
        place = next((place for place in (name, f"preds/{name}") if place in names), None)
        if place is None and (len(names) != 1 or len(file.arrays) > 1):
            expected = f"a {kind} '{name}'" + (", or a single one" if len(file.arrays) == 1 else "")
            file.fail("lacks the data", expected, ", ".join(names) or "none")
        found.rows[name] = array = stored[place or names[0]]
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
            self.file, self.process = hdf5_contents.opened(self.path), os.getpid()
        return self.file[name]


class _Dataset:
    """The rows of a dataset, or of a field of it, which stay in the file until they are needed."""

    def __init__(self, opened: _Opened, name: str, fields: tuple[str, ...], shape: tuple[int, ...]) -> None:
        self.opened, self.name, self.fields, self.shape = opened, name, fields, shape
        self.labels: list[str] | None = None  # of columns, where the file has some

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        try:
            read = self._read(self.opened.dataset(self.name), rows)
        except (OSError, RuntimeError, ValueError) as error:  # what HDF5 raises where a file is damaged
            raise problem(
                f"Rows of the dataset '{self.name}' cannot be read from '{self.opened.path}'.",
                expected="a whole file",
                received=reason(error),
                fix="Copy it again, or write it again.",
            ) from error
        return _field(read, self.fields)

    def _read(self, dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
        if len(rows) == 0:
            return np.asarray(dataset[rows])
        first, last = int(rows[0]), int(rows[-1])
        if np.array_equal(rows, np.arange(first, last + 1)):
            return np.asarray(dataset[first : last + 1])
        # HDF5 reads rows only in the order of the file, and none twice.
        ordered, places = np.unique(rows, return_inverse=True)
        return np.asarray(dataset[ordered])[places]
