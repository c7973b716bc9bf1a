"""Reads one array, row by row, from an NPY, TSV, CSV or HDF5 file."""

import contextlib
import os
import warnings

import h5py
import numpy as np
import pandas as pd


class Table:
    """The rows of a file, for one input of a model.

    The kind of file follows from its content. A text table has a header, which is not all numbers; a first column
    called ``id`` names the rows, the others are reshaped, in their order, to the shape of the input. An HDF5 file
    holds a dataset named like the input, or a single one. NaN is a number like any other.

    Args:
        path: The file, with one row for each row of data.
        name: The name of the input, for messages and to find the dataset in an HDF5 file.
        shape: Shape of one row; None stands for any length.
        dtype: The dtype that the input takes. A value that it cannot hold is an error.
    """

    def __init__(self, path, name, shape, dtype):
        self.path, self.name, self.shape, self.dtype = os.path.abspath(path), name, tuple(shape), np.dtype(dtype)
        with open(self.path, "rb") as file:
            start = file.read(8)
        self.dataset = self.ids = None
        if start.startswith(b"\x93NUMPY"):
            try:
                self.rows = np.load(self.path, mmap_mode="r")
            except ValueError as error:  # Python objects, or a file that was cut off
                self.fail("cannot be read as NPY", "an array of numbers", error)
            received = self.rows.shape
        elif start == b"\x89HDF\r\n\x1a\n":
            self.rows, self.process = None, None
            received = self.find_dataset()
        elif start.startswith(b"PK"):
            self.fail("is an archive", "an NPY, TSV, CSV or HDF5 file", "a zip file, such as NPZ")
        else:
            self.rows = self.read_text()
            received = self.rows.shape
        if len(received) == 0 or not fits(received[1:], self.shape):
            self.fail("has rows of another shape", self.shape, received[1:] if received else "a single number")
        if received[0] == 0:
            self.fail("has no rows", "at least one row", "none")
        self.length = received[0]

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(f"Row {index} of {self.length} in '{self.path}'.")
        name = str(index) if self.ids is None else self.ids[index]
        return {"inputs": self.cast(self.open_rows()[index], index), "metadata": {"id": name}}

    def open_rows(self):
        """The array of all rows. HDF5 is opened by each worker process for itself: an open file cannot be shared."""
        if self.dataset is not None and self.process != os.getpid():
            self.rows, self.process = h5py.File(self.path, "r")[self.dataset], os.getpid()
        return self.rows

    def find_dataset(self):
        """Sets the name of the dataset, and returns its shape."""
        names = []
        with h5py.File(self.path, "r") as file:
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            if self.name in names:
                self.dataset = self.name
            elif len(names) == 1:
                self.dataset = names[0]
            else:
                self.fail("lacks the data", f"a dataset '{self.name}', or a single one", ", ".join(names) or "none")
            return file[self.dataset].shape

    def read_text(self):
        """The numbers of a text table, one row for each line, in the shape of the input."""
        comma = self.path.removesuffix(".gz").lower().endswith(".csv")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # more columns than the header has
                table = pd.read_csv(
                    self.path,
                    sep="," if comma else "\t",
                    index_col=False,
                    converters={"id": str},
                    keep_default_na=False,
                    na_values=["nan", "NaN", "NA"],
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            self.fail("cannot be read as a table", "a header, and as many values in every row", str(error).strip())
        if len(table.columns) and table.columns[0] == "id":
            self.ids = table.pop("id").tolist()
        elif len(table.columns) and all(is_number(name) for name in table.columns):
            names = "the numbers " + ", ".join(table.columns[:3]) + (", ..." if len(table.columns) > 3 else "")
            expected = "a header row with the columns' names: add one above, which need not mean anything, such as x1"
            self.fail("has no header, as its first line holds numbers", expected, names)
        for column in table.columns:
            if len(table) and table[column].dtype.kind not in "biuf":
                numbers = pd.to_numeric(table[column], errors="coerce")
                row = int(np.argmax((numbers.isna() & table[column].notna()).to_numpy()))
                value = table[column].iloc[row]
                self.fail(f"has no number in row {row}, column {column!r}", "numbers", repr(value))
            if table[column].dtype.kind == "b":
                table[column] = table[column].astype("int8")
        known = int(np.prod([size for size in self.shape if size is not None], dtype=int))
        columns, free = len(table.columns), self.shape.count(None)
        if free > 1 or (columns != known if free == 0 else known == 0 or columns % known or not columns):
            wanted = f"{known}" if free == 0 else f"a multiple of {known}" if free == 1 else "an NPY or HDF5 file"
            self.fail(f"has a wrong number of columns for rows of shape {self.shape}", wanted, columns)
        return table.to_numpy().reshape([len(table)] + [-1 if size is None else size for size in self.shape])

    def cast(self, row, index):
        """The row in the dtype of the input."""
        row = np.asarray(row)
        if row.dtype == self.dtype:
            return np.array(row)  # a copy: mmap is read-only
        if row.dtype.kind not in "biuf":
            self.fail("does not hold numbers", self.dtype, row.dtype)
        with np.errstate(all="ignore"):
            cast = row.astype(self.dtype)
            kept = np.isfinite(cast) == np.isfinite(row) if self.dtype.kind == "f" else cast == row
        if not np.all(kept):
            value = row[~kept].flat[0] if row.ndim else row
            self.fail(f"has a value in row {index} that {self.dtype} cannot hold", self.dtype, repr(value.item()))
        return cast

    def fail(self, problem, expected, received):
        """Raises the error of this file."""
        raise ValueError(f"The file for '{self.name}' {problem}: '{self.path}'. Expected: {expected}. Got: {received}.")


def is_number(name):
    """Whether the name of a column is a number, or would be one had pandas not made it differ from another."""
    for text in (name, name.rpartition(".")[0]):
        with contextlib.suppress(ValueError):
            return float(text) is not None
    return False


def fits(received, expected):
    """Whether a shape is as expected, where None stands for any length."""
    return len(received) == len(expected) and all(
        want is None or got == want for got, want in zip(received, expected, strict=True)
    )
