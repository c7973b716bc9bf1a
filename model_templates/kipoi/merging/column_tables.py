"""Tables with named columns, of which some may name the rows."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.io.common import get_handle

from .blocks import as_text
from .data_errors import reason
from .file_contents import Contents
from .row_ids import as_ids
from .row_names import NamingFields, naming_fields

if TYPE_CHECKING:
    import pyarrow

    from .array_files import ArrayFile

_BLOCK = 1 << 20  # bytes
# The limits of HDF5 files, see hdf5_contents.py.
_LARGE, _MOST_EXPANSION = 1 << 32, 1000


def read_text(file: ArrayFile, separator: str) -> Contents:
    """Reads a text table, one row for each line."""
    size, memory = Path(file.path).stat().st_size, _memory()
    if size > memory:
        file.fail("is text, and larger than the memory", f"{memory:,} bytes at most, or HDF5", f"{size:,} bytes")
    unpacked, has_nul = 0, False
    with get_handle(file.path, "rb", compression="infer", is_text=False) as opened:
        for block in iter(lambda: opened.handle.read(_BLOCK), b""):
            unpacked, has_nul = unpacked + len(block), has_nul or b"\0" in block
            _check_size(file, unpacked)
    # A line without a value is a row without one.
    options: dict[str, Any] = {"sep": separator, "index_col": False, "skip_blank_lines": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more columns than the header has
            columns = list(pd.read_csv(file.path, nrows=0, **options).columns)
            naming = naming_fields(file, columns, "column")
            texts = text_columns(file, columns, naming)
            for name in naming.ids:
                if f"{name}.1" in columns:  # what pandas calls a second one
                    file.fail(f"has several columns called {name!r}", "a name for each column", ", ".join(columns))
            table = pd.read_csv(
                file.path,
                **options,
                dtype=dict.fromkeys(texts, object),
                keep_default_na=False,
                na_values={name: ["nan", "NaN", "NA"] for name in columns if name not in texts},
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        file.fail("cannot be read as a table", "a header, and as many values in every row", str(error).strip())
    if has_nul:
        file.fail("holds a NUL character, at which pandas ends a value", "text", r"\0")
    if not naming.never_data and len(table.columns) and all(is_number(name) for name in table.columns):
        names = "the numbers " + ", ".join(table.columns[:3]) + (", ..." if len(table.columns) > 3 else "")
        expected = "a header row with the columns' names: add one above, which need not mean anything, such as x1"
        file.fail("has no header, as its first line holds numbers", expected, names)
    for column in table.columns:
        if column in texts:
            continue
        if len(table) and table[column].dtype.kind not in "biuf":
            numbers = pd.to_numeric(table[column], errors="coerce")
            row = int(np.argmax((numbers.isna() & table[column].notna()).to_numpy()))
            value = table[column].iloc[row]
            file.fail(f"has no number in row {row}, column {column!r}", "numbers", repr(value))
    for name in texts:
        torn = [value for value in table[name].tolist() if "\n" in str(value)]
        if torn:
            file.fail("has a quotation mark that is not closed", f"one line in column {name!r}", repr(torn[0][:40]))
    return split_columns(file, table, naming, {name: table[name].to_numpy() for name in naming.used})


def read_parquet(file: ArrayFile) -> Contents:
    """Reads a Parquet file; a pandas index is a column like any other, if it has a name or is text."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        opened = ParquetFile(file.path)
        groups = map(opened.metadata.row_group, range(opened.num_row_groups))
        _check_size(file, 8 * sum(it.column(number).num_values for it in groups for number in range(it.num_columns)))
        stored = opened.read()
    except ArrowException as error:
        file.fail("cannot be read as Parquet", "a whole file", reason(error))
    repeated = [name for name, count in Counter(stored.column_names).items() if count > 1]
    if repeated:
        file.fail(f"has several columns called {repeated[0]!r}", "a name for each column", stored.column_names)
    described = stored.schema.pandas_metadata or {}
    stored = _with_index(stored, described.get("index_columns", []))
    # NumPy's floats have no null: pandas stores their NaN as one.
    floats = [it["field_name"] for it in described.get("columns", []) if it["numpy_type"].startswith("float")]
    naming = naming_fields(file, stored.column_names, "column")
    texts = [name for name in stored.column_names if name not in naming.never_data and file.is_text(name)]
    for name in stored.column_names:
        if name not in naming.never_data and name not in texts:
            _check_numbers(file, stored, name, name in floats)
    table = stored.to_pandas(ignore_metadata=True)  # without the dtypes of pandas, which NumPy does not know
    for name in [*naming.used, *texts]:
        if name not in naming.ids and table[name].isna().any():
            row = int(np.argmax(table[name].isna().to_numpy()))
            file.fail(f"has no value in row {row}, column {name!r}", "one in every row", "nothing")
        if name in naming.positions and table[name].dtype.kind not in "iu":
            kind = _type_name(stored.schema.field(name).type)
            file.fail(f"does not hold positions in column {name!r}", "whole numbers", kind)
    names = {name: table[name].to_numpy() for name in naming.used}
    for name in naming.ids:
        if stored.column(name).null_count:  # pandas would make floats of whole numbers
            names[name] = np.asarray(stored.column(name).to_pylist(), dtype="O")
    return split_columns(file, table, naming, names)


def _check_size(file: ArrayFile, unpacked: int) -> None:
    """Raises an error where a file unpacks to far more bytes than it has, or than there are."""
    size = Path(file.path).stat().st_size
    most = min(max(_LARGE, _MOST_EXPANSION * size), _memory())
    if unpacked > most:
        file.fail(f"has {size:,} bytes and unpacks to {unpacked:,} or more", f"at most {most:,}", f"{unpacked:,}")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _with_index(stored: pyarrow.Table, levels: list[Any]) -> pyarrow.Table:
    """Returns a table whose first columns are the levels of the pandas index; only a text needs no name to be an id."""
    import pyarrow
    from pyarrow import types

    for level in reversed(levels):
        if isinstance(level, str) and level in stored.column_names:
            column = stored.column(level)
            stored = stored.drop_columns([level])
            name = level
            if re.fullmatch(r"__index_level_\d+__", level):  # what pandas calls a level without a name
                is_text = types.is_string(column.type) or types.is_large_string(column.type)
                name = "id" if is_text and len(levels) == 1 and "id" not in stored.column_names else ""
            if name:
                stored = stored.add_column(0, name, column)
        elif isinstance(level, dict) and level["name"] not in (None, *stored.column_names):
            numbers = range(level["start"], level["stop"], level["step"])
            if len(numbers) == stored.num_rows:
                stored = stored.add_column(0, level["name"], pyarrow.array(numbers))
    return stored


def _check_numbers(file: ArrayFile, stored: pyarrow.Table, name: str, null_is_nan: bool) -> None:
    """Raises an error where a column does not have a number or a boolean in every row."""
    from pyarrow import types

    column = stored.column(name)
    if not any(known(column.type) for known in (types.is_integer, types.is_floating, types.is_boolean)):
        file.fail(f"does not hold numbers in column {name!r}", "a number in every row", _type_name(column.type))
    if column.null_count and not null_is_nan:
        row = int(np.argmax(column.is_null().to_numpy()))
        file.fail(f"has no number in row {row}, column {name!r}", "numbers", "nothing")


def _type_name(kind: pyarrow.DataType) -> str:
    return str(kind).removeprefix("large_")  # pandas 3 stores text so


def split_columns(
    file: ArrayFile, table: pd.DataFrame, naming: NamingFields, names: Mapping[str, np.ndarray]
) -> Contents:
    """Returns the columns that name the rows, and the numbers of all that are data in the shapes of the arrays."""
    found = Contents({}, naming)
    for name, values in names.items():
        found.names[name] = as_text(values, file.what) if values.dtype == "O" and name not in naming.ids else values
    for name in naming.ids:
        found.names[name] = as_ids(names[name], file.what)
    data = _as_kipoi_numbers_them([name for name in table.columns if name not in naming.never_data])
    for name, columns in _share(file, data).items():
        file.check_columns(name, len(columns), naming.never_data)
        file.check_length(len(table))
        shape, dtype = file.arrays[name]
        # Each column by itself: a type that all columns have in common may round their numbers.
        rows = np.empty((len(table), len(columns)), "O" if dtype.kind == "U" else dtype)
        for number, column in enumerate(columns):
            rows[:, number] = file.cast(table[column].to_numpy(), name, np.arange(len(table)))
        found.rows[name] = rows.astype(dtype, copy=False).reshape(
            [len(table), *(-1 if size is None else size for size in shape)]
        )
        found.labels[name] = (
            [column.removeprefix(f"{name}/") for column in columns] if len(file.arrays) > 1 else columns
        )
    return found


def _share(file: ArrayFile, columns: list[str]) -> dict[str, list[str]]:
    """Returns the columns of every array."""
    if len(file.arrays) == 1:
        return dict.fromkeys(file.arrays, columns)
    found = {name: [it for it in columns if it == name or it.startswith(f"{name}/")] for name in file.arrays}
    for column in columns:
        if not any(column in own for own in found.values()):
            expected = " or ".join(f"'{name}' or '{name}/...'" for name in file.arrays)
            file.fail(f"has the column {column!r}, which belongs to no output", expected, repr(column))
    return found


def _as_kipoi_numbers_them(columns: list[str]) -> list[str]:
    """Returns columns in the order of the array that Kipoi wrote: it sorts them as text, preds/10 before preds/2."""
    if not all(re.fullmatch(r"preds(/\d+)+", name) for name in columns):
        return columns
    return sorted(columns, key=lambda name: [int(number) for number in name.split("/")[1:]])


def text_columns(file: ArrayFile, columns: list[str], naming: NamingFields) -> list[str]:
    """Returns the columns that hold text: names of rows and their metadata, and those of arrays of text."""
    texts = naming.never_data.difference(naming.positions)
    return [name for name in columns if name in texts or (name not in naming.never_data and file.is_text(name))]


def is_number(name: str) -> bool:
    """Whether the name of a column is a number, or was one before pandas made it differ from another."""
    for text in (name, name.rpartition(".")[0]):
        with contextlib.suppress(ValueError):
            return float(text) is not None
    return False
