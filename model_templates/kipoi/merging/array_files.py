"""Files of arrays: NPY, TSV, CSV and HDF5, recognized by their content and read as rows are needed."""

from __future__ import annotations

import contextlib
import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import pandas as pd

from .blocks import Block, Rows, as_text, fits
from .data_errors import DataError, reason

_KEYS = ("id", "chr", "start", "end", "strand")


class ArrayFile:
    """A file with one or several arrays. Text is read at once, everything else as rows are needed.

    Args:
        path: The file.
        arrays: Shape of a row and dtype, for every array.
        what: The name of the file in messages.
        compared: Whether rows are compared by their names, too.
    """

    def __init__(
        self, path: str, arrays: Mapping[str, tuple[tuple[int | None, ...], np.dtype]], what: str, compared: bool
    ) -> None:
        self.path = os.path.abspath(path)
        self.arrays, self.what, self.compared = arrays, what, compared
        self.rows: dict[str, Any] = {}
        self.datasets: dict[str, str] | None = None
        self.opened: Any = None
        self.process: int | None = None
        self.ids: _Ids | _StoredIds | None = None
        self.ranges: dict[str, np.ndarray] | None = None
        self.labels: dict[str, list[str]] = {}
        try:
            received = self.open()
        except DataError:
            raise
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            self.fail("cannot be read", "a whole NPY, TSV, CSV or HDF5 file", reason(error))
        for name, shape in received.items():
            if len(shape) == 0 or not fits(shape[1:], arrays[name][0]):
                of = "" if len(arrays) == 1 else f" for '{name}'"
                self.fail(f"has rows of another shape{of}", arrays[name][0], shape[1:] if shape else "a single number")
        lengths = {shape[0] for shape in received.values()} | ({len(self.ids)} if self.ids is not None else set())
        if len(lengths) > 1:
            counts = {name: shape[0] for name, shape in received.items()}
            counts |= {"id": len(self.ids)} if self.ids is not None else {}
            self.fail("has datasets of different lengths", "one length", counts)
        if 0 in lengths:
            self.fail("has no rows", "at least one row", "none")
        (self.length,) = lengths

    def open(self) -> dict[str, tuple[int, ...]]:
        """Finds out what kind of file it is and opens it; returns the shape of every array."""
        with Path(self.path).open("rb") as file:
            start = file.read(8)
        if start.startswith(b"\x93NUMPY"):
            try:
                self.rows = {self.single("NPY"): np.load(self.path, mmap_mode="r")}
            except DataError:
                raise
            except ValueError as error:  # Python objects, or a file that was cut off
                self.fail("cannot be read as NPY", "an array of numbers", error)
        elif start == b"\x89HDF\r\n\x1a\n":
            return self.find_datasets()
        elif start.startswith(b"PK"):
            self.fail("is an archive", "an NPY, TSV, CSV or HDF5 file", "a zip file, such as NPZ")
        else:
            self.rows = self.read_text()
        return {name: rows.shape for name, rows in self.rows.items()}

    def read(self, rows: Rows) -> dict[str, np.ndarray]:
        """Returns the arrays of some rows, by name, in their dtypes."""
        rows = np.asarray(rows)
        if not all(0 <= row < self.length for row in (rows.min(), rows.max())):
            raise IndexError(f"Rows {rows.min()} to {rows.max()} of {self.length} in '{self.path}'.")
        return {name: self.cast(self.take(array, rows), name, rows) for name, array in self.open_rows().items()}

    def names(self, part: str, rows: Rows) -> Block:
        """Returns the metadata and keys of some rows, as a block."""
        rows = np.asarray(rows)
        names = rows.astype("U") if self.ids is None else self.ids.read(self, rows)
        found: Block = {("metadata", part, "id"): names}
        if not self.compared:
            return found
        if self.ids is not None:
            found["keys", part, "ids"] = names
        for field, column in (self.ranges or {}).items():
            found["keys", part, field] = column[rows]
        return found

    def take(self, array: Any, rows: np.ndarray) -> np.ndarray:
        """Returns some rows of an array or of an HDF5 dataset."""
        if self.datasets is None or len(rows) == 0:
            return np.asarray(array[rows])
        first, last = int(rows[0]), int(rows[-1])
        if np.array_equal(rows, np.arange(first, last + 1)):
            return np.asarray(array[first : last + 1])
        # HDF5 reads rows only in the order of the file, and none twice.
        ordered, places = np.unique(rows, return_inverse=True)
        return np.asarray(array[ordered])[places]

    def single(self, kind: str) -> str:
        """Returns the name of the only array, for files that cannot hold several."""
        if len(self.arrays) > 1:
            self.fail(
                f"is {kind}, which holds one array", "TSV, CSV or HDF5 with " + ", ".join(self.arrays), "one array"
            )
        return next(iter(self.arrays))

    def open_rows(self) -> dict[str, Any]:
        """Returns the arrays of all rows. Each process opens HDF5 for itself: an open file cannot be shared."""
        if self.datasets is not None and self.process != os.getpid():
            self.opened = file = h5py.File(self.path, "r")
            self.rows = {name: file[dataset] for name, dataset in self.datasets.items()}
            self.process = os.getpid()
        return self.rows

    def find_datasets(self) -> dict[str, tuple[int, ...]]:
        """Sets the names of the datasets and the ids; returns the shapes."""
        names: list[str] = []
        with h5py.File(self.path, "r") as file:
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            if "id" in names and "id" not in self.arrays:
                names.remove("id")
                self.ids = _StoredIds(file["id"].size)
            self.datasets = {}
            for name in self.arrays:
                if name not in names and (len(names) != 1 or len(self.arrays) > 1):
                    self.fail(
                        "lacks the data",
                        f"a dataset '{name}'" + (", or a single one" if len(self.arrays) == 1 else ""),
                        ", ".join(names) or "none",
                    )
                self.datasets[name] = name if name in names else names[0]
            for name, dataset in self.datasets.items():
                labels = file[dataset].attrs.get("column_labels")
                if labels is not None:
                    self.labels[name] = as_text(np.ravel(labels)).tolist()
            return {name: file[dataset].shape or () for name, dataset in self.datasets.items()}

    def read_text(self) -> dict[str, np.ndarray]:
        """Returns the numbers of a text table, one row for each line, in the shapes of the arrays."""
        comma = self.path.removesuffix(".gz").lower().endswith(".csv")
        # A line without a value is a row without one.
        options: dict[str, Any] = {"sep": "," if comma else "\t", "index_col": False, "skip_blank_lines": False}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # more columns than the header has
                keys = key_columns(list(pd.read_csv(self.path, nrows=0, **options).columns))
                table = pd.read_csv(
                    self.path,
                    **options,
                    converters={name: str for name in keys if name not in ("start", "end")},
                    keep_default_na=False,
                    na_values=["nan", "NaN", "NA"],
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            self.fail("cannot be read as a table", "a header, and as many values in every row", str(error).strip())
        if not keys and len(table.columns) and all(is_number(name) for name in table.columns):
            names = "the numbers " + ", ".join(table.columns[:3]) + (", ..." if len(table.columns) > 3 else "")
            expected = "a header row with the columns' names: add one above, which need not mean anything, such as x1"
            self.fail("has no header, as its first line holds numbers", expected, names)
        for column in table.columns:
            if column in keys and column not in ("start", "end"):
                continue
            if len(table) and table[column].dtype.kind not in "biuf":
                numbers = pd.to_numeric(table[column], errors="coerce")
                row = int(np.argmax((numbers.isna() & table[column].notna()).to_numpy()))
                value = table[column].iloc[row]
                self.fail(f"has no number in row {row}, column {column!r}", "numbers", repr(value))
            if table[column].dtype.kind == "b":
                table[column] = table[column].astype("int8")
        found = {name: table.pop(name).to_numpy() for name in keys}
        for name, column in found.items():
            torn = [value for value in column.tolist() if "\n" in value] if column.dtype == "O" else []
            if torn:
                self.fail("has a quotation mark that is not closed", f"one line in column {name!r}", repr(torn[0][:40]))
        if "id" in found:
            self.ids = _Ids(found.pop("id").astype("U"))
        if found:
            self.ranges = {
                name: column.astype("U") if column.dtype == "O" else column for name, column in found.items()
            }
        return {name: self.columns(table[columns], name) for name, columns in self.share(list(table.columns)).items()}

    def share(self, columns: list[str]) -> dict[str, list[str]]:
        """Returns the columns of every array."""
        if len(self.arrays) == 1:
            (name,) = self.arrays
            self.labels[name] = columns
            return {name: columns}
        found = {}
        for name in self.arrays:
            found[name] = [column for column in columns if column == name or column.startswith(f"{name}/")]
            self.labels[name] = [column.removeprefix(f"{name}/") for column in found[name]]
        for column in columns:
            if not any(column in own for own in found.values()):
                expected = " or ".join(f"'{name}' or '{name}/...'" for name in self.arrays)
                self.fail(f"has the column {column!r}, which belongs to no output", expected, repr(column))
        return found

    def columns(self, table: pd.DataFrame, name: str) -> np.ndarray:
        """Returns the columns of an array, in its shape."""
        shape = self.arrays[name][0]
        known = int(np.prod([size for size in shape if size is not None], dtype=int))
        columns, free = len(table.columns), shape.count(None)
        if free > 1 or (columns != known if free == 0 else known == 0 or columns % known or not columns):
            wanted = f"{known}" if free == 0 else f"a multiple of {known}" if free == 1 else "an NPY or HDF5 file"
            of = "" if len(self.arrays) == 1 else f" for '{name}'"
            self.fail(f"has a wrong number of columns{of} for rows of shape {shape}", wanted, columns)
        numbers: np.ndarray = table.to_numpy()
        return numbers.reshape([len(table)] + [-1 if size is None else size for size in shape])

    def cast(self, array: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
        """Returns rows in the dtype that is asked for; a value that it cannot hold is an error."""
        dtype = self.arrays[name][1]
        if array.dtype == dtype:
            return array
        if array.dtype.kind not in "biuf":
            self.fail("does not hold numbers", dtype, array.dtype)
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            kept = np.isfinite(cast) == np.isfinite(array) if dtype.kind == "f" else cast == array
        if not np.all(kept):
            row = rows[np.argmax(~kept.reshape(len(array), -1).all(axis=1))]
            self.fail(f"has a value in row {row} that {dtype} cannot hold", dtype, repr(array[~kept].flat[0].item()))
        return cast

    def fail(self, problem: str, expected: Any, received: Any) -> NoReturn:
        """Raises the error that names this file."""
        raise DataError(f"The file for '{self.what}' {problem}: '{self.path}'. Expected: {expected}. Got: {received}.")


class _Ids:
    """The names of all rows."""

    def __init__(self, names: np.ndarray) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, file: ArrayFile, rows: np.ndarray) -> np.ndarray:
        """Returns the names of some rows."""
        return self.names[rows]


class _StoredIds:
    """Names that stay in an HDF5 file until they are needed."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def read(self, file: ArrayFile, rows: np.ndarray) -> np.ndarray:
        """Returns the names of some rows."""
        file.open_rows()
        return as_text(np.ravel(file.take(file.opened["id"], rows)))


def key_columns(columns: list[str]) -> list[str]:
    """Returns the first columns that name the rows: id, or a genomic range, or both in any order."""
    count = next((number for number, name in enumerate(columns) if name not in _KEYS), len(columns))
    if {"chr", "start", "end"} <= set(columns[:count]):
        return columns[:count]
    return columns[:1] if columns[:1] == ["id"] else []


def is_number(name: str) -> bool:
    """Whether the name of a column is a number, or was one before pandas made it differ from another."""
    for text in (name, name.rpartition(".")[0]):
        with contextlib.suppress(ValueError):
            return float(text) is not None
    return False
