"""Files of arrays in any of the formats for tables, read as rows are needed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .blocks import Rows, as_text, fits
from .data_errors import DataError, reason
from .row_names import namings
from .table_formats import FORMATS, TableFormat, format_of, listed


class ArrayFile:
    """A file with one or several arrays.

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
        if Path(self.path).exists() and not Path(self.path).is_file():  # opening a pipe could wait for ever
            self.fail("is not a file", f"an {listed()} file", "a folder, a pipe, a socket or a device")
        try:
            with Path(self.path).open("rb") as file:
                start = file.read(8)
            if start.startswith(b"PK"):
                self.fail("is an archive", f"an {listed()} file", "a zip file, such as NPZ")
            known = format_of(start, self.path)
            if not known.start and self.path.lower().endswith(".parquet"):
                self.fail("is not a Parquet file, but is called one", "a file that starts with b'PAR1'", start[:4])
            if known.package is not None:
                self.check_installed(known)
            contents = known.read(self)
            self.rows, self.labels = contents.rows, contents.labels
            self.length = self.check_lengths({name: rows.shape for name, rows in self.rows.items()}, contents.names)
            self.namings = namings(what, self, contents)
        except DataError:
            raise
        except Exception as error:  # readers of files raise whatever they meet in a damaged one
            self.fail("cannot be read", f"a whole {listed()} file", reason(error))

    def check_installed(self, known: TableFormat) -> None:
        """Raises an error where the package that reads a format cannot be imported."""
        try:
            importlib.import_module(str(known.package))
        except ImportError as error:
            expected = f"pip install '{known.requirement}'"
            self.fail(f"is {known.name}, which the package {known.package} reads", expected, reason(error))

    def check_one_array(self, name: str) -> None:
        """Raises an error where several arrays are wanted of a file of a format that holds one without names."""
        if len(self.arrays) > 1:
            several = listed(known for known in FORMATS if known.several)
            self.fail(f"is {name}, which holds one array", f"{several} with {', '.join(self.arrays)}", "one array")

    def check_lengths(self, received: Mapping[str, tuple[int, ...]], names: Mapping[str, Any]) -> int:
        """Returns the number of rows; shapes that are not those of the arrays are an error."""
        for name, shape in received.items():
            if len(shape) == 0 or not fits(shape[1:], self.arrays[name][0]):
                expected = self.arrays[name][0]
                self.fail(
                    f"has rows of another shape{self.of(name)}", expected, shape[1:] if shape else "a single number"
                )
        for name, column in names.items():
            if set(column.shape[1:]) - {1}:
                self.fail(f"has '{name}', which names rows, in another shape", "one value for each row", column.shape)
        counts = {name: shape[0] for name, shape in received.items()}
        counts |= {name: column.shape[0] if column.shape else 0 for name, column in names.items()}
        if len(set(counts.values())) > 1:
            self.fail("has datasets of different lengths", "one length", counts)
        (length,) = set(counts.values())
        self.check_length(length)
        return length

    def check_length(self, length: int) -> None:
        """Raises an error where there are no rows."""
        if length == 0:
            self.fail("has no rows", "at least one row", "none")

    def check_columns(self, name: str, columns: int, beside: Collection[str]) -> None:
        """Raises an error where the columns of an array, without those that name rows, do not fit its shape."""
        shape = self.arrays[name][0]
        known = int(np.prod([size for size in shape if size is not None], dtype=int))
        free = shape.count(None)
        if free > 1 or (columns != known if free == 0 else known == 0 or columns % known or not columns):
            others = listed(known for known in FORMATS if not known.columns)
            wanted = f"{known}" if free == 0 else f"a multiple of {known}" if free == 1 else f"an {others} file"
            received = f"{columns} beside {', '.join(sorted(beside))}" if beside else columns
            self.fail(f"has a wrong number of columns{self.of(name)} for rows of shape {shape}", wanted, received)

    def read(self, rows: Rows) -> dict[str, np.ndarray]:
        """Returns the arrays of some rows, by name, in their dtypes."""
        rows = np.asarray(rows)
        if not all(0 <= row < self.length for row in (rows.min(), rows.max())):
            raise IndexError(f"Rows {rows.min()} to {rows.max()} of {self.length} in '{self.path}'.")
        return {name: self.cast(np.asarray(array[rows]), name, rows) for name, array in self.rows.items()}

    def is_text(self, name: str) -> bool:
        """Whether a column holds text: it belongs to an array of text."""
        arrays = self.arrays if len(self.arrays) == 1 else [name.partition("/")[0]]
        return all(array in self.arrays and self.arrays[array][1].kind == "U" for array in arrays)

    def of(self, name: str) -> str:
        """Returns what messages add about one of several arrays."""
        return "" if len(self.arrays) == 1 else f" for '{name}'"

    def cast(self, array: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
        """Returns rows in the dtype that is asked for; a value that it cannot hold is an error."""
        dtype = self.arrays[name][1]
        if dtype.kind == "U":
            if array.dtype.kind not in "SUO":
                self.fail("does not hold text", "text", array.dtype)
            return as_text(array.ravel(), self.what).reshape(array.shape)
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
