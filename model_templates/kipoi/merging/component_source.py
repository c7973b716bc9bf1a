"""One dataloader object of a part: its rows and batches as blocks, and what it raises as one kind of error."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import Block, FieldPath, leaves
from .data_errors import DataError, problem, reason
from .dataloader_kinds import numpy_collate
from .keys import with_keys
from .shared_sequences import bed_names

if TYPE_CHECKING:
    from .dataloader_part import Part


class Source:
    """One dataloader object, made when it is needed.

    Args:
        parts: The parts that read it: their loader and arguments are the same.
    """

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.paths: frozenset[FieldPath] | None = None
        self.name = " and ".join(f"'{part.name}'" for part in parts)
        before = _open_files()
        self.loader = self.make()
        self.opens_files = _opened_since(before)
        self.bed_names = bed_names(self.loader)

    def make(self) -> Any:
        """Returns a new dataloader object."""
        part = self.parts[0]
        try:
            return part.loader(**part.arguments)
        except Exception as error:
            raise problem(f"The dataloader of {self.name} cannot be made.", received=reason(error)) from error

    def __len__(self) -> int:
        before = _open_files()
        with self.guarded("when it is asked for its length"):
            count: int = len(self.loader)
        # Some dataloaders open their file here.
        self.opens_files = self.opens_files or _opened_since(before)
        return count

    def with_keys(self, block: Block) -> Block:
        """Adds the keys of all parts to a block, which has to have the same fields as all others."""
        self.paths = self.paths or frozenset(block)
        if block.keys() != self.paths:
            changed = " and ".join("/".join(map(str, path)) for path in sorted(block.keys() ^ self.paths, key=str))
            raise problem(
                f"The rows of {self.name} do not all have the same fields.", received=f"{changed} in some only"
            )
        for part in self.parts:
            with_keys(block, part, self.bed_names)
        return block

    def collate(self, rows: Sequence[Any], where: str) -> Block:
        """Returns the block of some rows, each as the dataloader gave it."""
        block: Block = {}
        with self.guarded(f"in {where}"):
            for part in self.parts:
                for name, keys in part.inputs.items():
                    values = [row["inputs"] for row in rows]
                    for key in keys:
                        values = [value[key] for value in values]
                    block["inputs", name] = self.stack(values, name, where)
                if part.metadata:
                    self.stack_all([row["metadata"] for row in rows], ("metadata", part.name), block, where)
        return self.with_keys(block)

    def stack_all(self, values: Sequence[Any], path: FieldPath, block: Block, where: str) -> None:
        """Adds the arrays of some rows to a block, field by field, in Kipoi's order."""
        first = values[0]
        if not isinstance(first, Mapping | list | tuple):
            block[path] = self.stack(values, path[-1], where)
            return
        if any(len(value) != len(first) for value in values):
            raise problem(f"The rows of {self.name} do not all have the same fields, in {where}.")
        for key in first if isinstance(first, Mapping) else range(len(first)):
            self.stack_all([value[key] for value in values], (*path, key), block, where)

    def stack(self, values: Sequence[Any], name: Any, where: str) -> np.ndarray:
        """Returns the values of some rows as one array."""
        try:
            array = numpy_collate(values)
            if isinstance(array, np.ndarray):
                return array
            received = f"{type(values[0]).__name__} in {where}"
        except Exception as error:
            shapes = sorted({str(np.shape(value)) for value in values})
            received = ", ".join(shapes) if len(shapes) > 1 else reason(error)
        raise problem(
            f"The rows of {self.name} do not fit together, in {where}.",
            expected=f"an array or a number as '{name}', of the same shape in every row",
            received=received,
        )

    def whole(self, batch: Any, where: str, copy: bool = True) -> Block:
        """Returns the block of a batch, whose arrays have to have the same number of rows."""
        # A copy, as dataloaders may fill the same array again for the next batch.
        block = {path: np.array(array) if copy else np.asarray(array) for path, array in self.used(batch)}
        sizes = {path: len(array) if array.ndim else None for path, array in block.items()}
        counts = [*{count for count in sizes.values() if count is not None}]
        if len(counts) != 1 or any(sizes[path] is None for path in block if path[0] != "metadata"):
            listed = ", ".join(f"{'/'.join(map(str, path))}: {count}" for path, count in sizes.items())
            raise problem(f"The arrays in {where} of {self.name} do not have the same number of rows.", received=listed)
        for path, array in block.items():
            if array.ndim == 0:  # one value for all rows, such as the strand "*" of Kipoi's GenomicRanges
                block[path] = np.full(counts[0], array)
        return self.with_keys(block)

    def reuses(self, rows: Sequence[Any]) -> bool:
        """Whether rows share memory, as the dataloader fills the same array again for each of them."""
        pairs = zip(self.used(rows[0]), self.used(rows[1]), strict=False) if len(rows) > 1 else ()
        return any(
            isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.may_share_memory(a, b)
            for (_, a), (_, b) in pairs
        )

    def used(self, batch: Any) -> Iterator[tuple[FieldPath, Any]]:
        """Yields path and array of everything that the parts use of a batch, or of a row."""
        for part in self.parts:
            for name, keys in part.inputs.items():
                value = batch["inputs"]
                for key in keys:
                    value = value[key]
                yield ("inputs", name), value
            if part.metadata:
                for path, value in leaves(batch["metadata"]):
                    yield ("metadata", part.name, *path), value

    @contextlib.contextmanager
    def guarded(self, where: str) -> Iterator[None]:
        """Turns whatever a dataloader raises into an error that says where: some would only end the iteration."""
        try:
            yield
        except Exception as error:
            raise self.failed(where, error) from error

    def failed(self, where: str, error: Exception) -> DataError:
        """Returns the error for what a dataloader raised."""
        if isinstance(error, DataError):
            return error
        return problem(f"The dataloader of {self.name} fails {where}.", received=reason(error))


def _opened_since(before: set[tuple[str, int, int]] | None) -> bool:
    """Whether this process has opened files; True if nobody knows."""
    now = _open_files()
    return before is None or now is None or not now <= before


def _open_files() -> set[tuple[str, int, int]] | None:
    """Returns the regular files that this process has open; None if the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            found = set()
            for name in [path.name for path in Path(folder).iterdir()]:
                with contextlib.suppress(OSError):  # the listing itself was open, too
                    status = os.fstat(int(name))
                    if stat.S_ISREG(status.st_mode):
                        found.add((name, status.st_dev, status.st_ino))
            return found
    return None
