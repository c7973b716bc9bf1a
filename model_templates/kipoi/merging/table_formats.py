"""The formats of files with rows: one entry says what a format is called, how it is known and who reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .column_tables import read_parquet, read_text
from .file_contents import Contents
from .stored_arrays import read_hdf5, read_npy

if TYPE_CHECKING:
    from .array_files import ArrayFile


@dataclass(frozen=True)
class TableFormat:
    """A format of files with rows.

    Attributes:
        name: What people call it.
        endings: What the names of its files end in; text is told apart by them, compressed or not.
        read: Returns what is in a file.
        start: The first bytes of every file; none for text.
        several: Whether every file can hold several arrays.
        columns: Whether a row is one number for each column, and not an array of any shape.
        package: The package that has to be imported to read it, where not every generated directory has it.
        requirement: The same as pip installs it.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[ArrayFile], Contents]
    start: bytes = b""
    several: bool = True
    columns: bool = True
    package: str | None = None
    requirement: str | None = None


FORMATS = (
    TableFormat("NPY", (".npy",), read_npy, b"\x93NUMPY", several=False, columns=False),
    TableFormat("TSV", (".tsv",), functools.partial(read_text, separator="\t")),
    TableFormat("CSV", (".csv",), functools.partial(read_text, separator=",")),
    TableFormat("HDF5", (".h5", ".hdf5"), read_hdf5, b"\x89HDF\r\n\x1a\n", columns=False),
    TableFormat("Parquet", (".parquet",), read_parquet, b"PAR1", package="pyarrow", requirement="pyarrow>=15"),
)


def format_of(start: bytes, path: str) -> TableFormat:
    """Returns the format of a file, by its first bytes; text is TSV unless its name ends otherwise."""
    known = next((known for known in FORMATS if known.start and start.startswith(known.start)), None)
    if known is not None:
        return known
    text = [known for known in FORMATS if not known.start]
    name = path.removesuffix(".gz").lower()
    return next((known for known in text if name.endswith(known.endings)), text[0])


def listed(formats: Iterable[TableFormat] = FORMATS) -> str:
    """Returns the names of formats, for messages: "NPY, TSV, CSV, HDF5 or Parquet"."""
    *others, last = [known.name for known in formats]
    return f"{', '.join(others)} or {last}"


def documented() -> str:
    """Returns the names of all formats, with what their files need: "NPY, TSV or CSV with a header, ..."."""
    text = f"{listed(known for known in FORMATS if not known.start)} with a header"
    names = dict.fromkeys(known.name if known.start else text for known in FORMATS)
    *others, last = names
    return f"{', '.join(others)}, or {last}"
