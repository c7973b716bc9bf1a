"""Parts that are files with one row for each row of data, as inputs of a model or as targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .array_files import ArrayFile
from .blocks import Block, Rows
from .part_base import BasePart, FilePart


class _NamedRows(FilePart):
    """A part that reads a file whose rows may have names."""

    file: ArrayFile

    def __init__(self, name: str, align_on: str | None, missing: str) -> None:
        self.name, self.align_on, self.missing, self.parts = name, align_on, missing, [self]

    def open(self, path: str, arrays: Mapping[str, tuple[Sequence[int | None], str]], compared: bool) -> None:
        """Opens the file, which has some arrays: the shape of a row and the dtype of each."""
        self.compared = compared
        known = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in arrays.items()}
        self.file = ArrayFile(path, known, self.name, compared)
        first = self.file.namings[0]
        self.path, self.length, self.ids, self.ranges = self.file.path, self.file.length, first.ids, first.ranges

    def files(self, kind: str) -> list[str]:
        """Returns which file it reads, and which of its fields name the rows."""
        return self.file.namings[0].files(kind)

    @property
    def namings(self) -> Sequence[BasePart]:
        """What names the rows: all fields of the file that do."""
        return self.file.namings

    def names(self, rows: Rows) -> Block:
        """Returns the metadata and keys of some rows, as a block."""
        ids = np.asarray(rows).astype("U") if self.ids is None else self.ids.texts(rows)
        found: Block = {("metadata", self.name, "id"): ids}
        for naming in self.file.namings if self.file.compared else ():
            found |= naming.keys(rows)
        return found


class Table(_NamedRows):
    """The rows of a file, for one input of a model.

    The kind of file follows from its content. Its rows may have names: ``id``, and ``chr``, ``start``, ``end``,
    ``strand`` and ``name`` as in a BED file. These are columns of a table, datasets of an HDF5 file and fields of a
    structured NPY array, also in groups: ``metadata/id``. All other columns of a table are reshaped, in their order, to
    the shape of the input; a text table has a header that is not all numbers. In an HDF5 file and in a structured NPY
    array, the data are one that is named like the input, or a single one. A plain NPY array has no names. NaN is a
    number like any other.

    Args:
        name: The name of the input, for messages and to find the dataset in an HDF5 file.
        path: The file, with one row for each row of data.
        shape: Shape of one row; None stands for any length.
        dtype: The dtype that the input takes. A value that it cannot hold is an error.
        align_on: "ids" or "ranges" if its rows are looked up by them; None if row i belongs to row i.
        missing: What to do with rows that are not in all parts: "error", or "inner" to leave them out.
        compared: Whether its rows are compared with those of others by the names that the file gives them.
    """

    def __init__(
        self,
        name: str,
        path: str,
        shape: Sequence[int | None],
        dtype: str,
        align_on: str | None = None,
        missing: str = "error",
        compared: bool = True,
    ) -> None:
        super().__init__(name, align_on, missing)
        self.open(path, {name: (shape, dtype)}, compared)

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        return {("inputs", self.name): self.file.read(rows)[self.name]} | self.names(rows)


class Targets(_NamedRows):
    """The rows of a file with what the model should predict.

    The file is like that of a ``Table``. The targets of several outputs are datasets of their names in an HDF5 file; in
    a text table, columns that are called like the output, or start with its name and a slash.

    Args:
        path: The file; None where there are no targets.
        outputs: Shape of one row and dtype, for every output of the model.
        labels: The names of columns, by output: a file that has others, or has them in another order, is refused.
        align_on: As for a ``Table``.
        missing: As for a ``Table``.
        compared: As for a ``Table``.
    """

    def __init__(
        self,
        path: str | None,
        outputs: Mapping[str, tuple[Sequence[int | None], str]],
        labels: Mapping[str, Sequence[str]] | None = None,
        align_on: str | None = None,
        missing: str = "error",
        compared: bool = True,
    ) -> None:
        super().__init__("targets", align_on, missing)
        self.absent = path is None
        if path is None:
            return
        self.open(path, outputs, compared)
        for name, expected in (labels or {}).items():
            received = self.file.labels.get(name)
            if received is not None and list(expected) != received:
                self.file.fail(f"has other columns for '{name}'", ", ".join(expected), ", ".join(received))

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        arrays = self.file.read(rows)
        single = len(arrays) == 1
        found: Block = {("targets",) if single else ("targets", name): array for name, array in arrays.items()}
        return found | self.names(rows)

    def placeholder(self, count: int) -> Block:
        """Returns the metadata of rows without targets, as Kipoi wants every field of its schema."""
        return {("metadata", self.name, "id"): np.full(count, "")}
