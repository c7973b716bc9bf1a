"""What all parts of a merged dataloader have in common, and how their rows are read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .blocks import Block, Rows


def are_numbers(ids: np.ndarray, rows: Sequence[int] | np.ndarray) -> bool:
    """Whether ids are nothing but the numbers of their rows."""
    # The first id mostly tells.
    return len(ids) == 0 or (str(ids[0]) == str(rows[0]) and np.array_equal(ids, np.asarray(rows).astype("U")))


def as_number(text: str) -> float:
    """Returns an id that is a whole number; infinity for another, or one that is larger than any number of a row."""
    return int(text) if text.isdecimal() and len(text) < 19 else math.inf


class BasePart:
    """One part of a merged dataloader.

    Attributes:
        name: Its name in the merged dataloader.
        ids: Where the names of its rows are; None if they have no names, or only those of genomic ranges.
        ranges: Where the genomic ranges of its rows are; None if they have no ranges.
        resized: Whether its dataloader made all ranges equally long, around their centres.
        align_on: "ids" or "ranges" if its rows are looked up by them; None if row i belongs to row i.
        missing: What to do with rows that are not in all parts: "error", or "inner" to leave them out.
        absent: Whether there is nothing to read, as for targets without a file.
        compared: Whether its rows are compared with those of others; False if nobody wants that.
        random: Whether it stands for data that are not there yet, so that its rows belong to none.
        named_by_ranges: Whether its ids are the names of genomic ranges, which need not have any.
        numbers_below: Ids that only count its rows are not compared with others if all of these are at least so large.
    """

    name: str
    ids: Any = None
    ranges: Any = None
    resized: bool = False
    align_on: str | None = None
    missing: str = "error"
    absent: bool = False
    compared: bool = True
    random: bool = False
    named_by_ranges: bool = False
    numbers_below: float = math.inf

    @property
    def namings(self) -> Sequence[BasePart]:
        """What names the rows: this part, and whatever else its file has that does."""
        return [self]

    def counts_rows(self, ids: np.ndarray, rows: Sequence[int] | np.ndarray) -> bool:
        """Whether ids of some rows are nothing but the numbers of these rows."""
        return are_numbers(ids, rows)

    def smallest_number(self, ids: np.ndarray) -> float:
        """Returns the smallest whole number among ids of some rows; infinity if there is none."""
        return min(map(as_number, ids.tolist()), default=math.inf)

    def files(self, kind: str) -> list[str]:
        """Returns which file it reads, and where its "ids" or "ranges" are there, for messages."""
        return []

    def open_all(self, parts: Sequence[BasePart]) -> list[Reader]:
        """Returns readers for all parts of this kind."""
        raise NotImplementedError

    def check_beside(self, others: Sequence[BasePart]) -> None:
        """Raises if the rows of this part and of others cannot belong together."""

    def placeholder(self, count: int) -> Block:
        """Returns the metadata of some rows of an absent part."""
        return {}


class Reader:
    """Reads the rows of a part, or of several parts together.

    Attributes:
        parts: The parts.
        length: The number of rows; None if rows can only be read in order, by ``blocks``.
    """

    parts: Sequence[BasePart]
    length: int | None

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        raise NotImplementedError

    def blocks(self, batch_size: int, workers: int) -> Iterator[Block]:
        """Yields all rows in order, in blocks of any size."""
        raise NotImplementedError

    def build(self) -> None:
        """Prepares a worker: Kipoi calls this in each of them before the first row."""


class FilePart(BasePart, Reader):
    """A part that reads a file by itself.

    Attributes:
        path: The file.
    """

    path: str

    def files(self, kind: str) -> list[str]:
        """Returns which file it reads, for messages."""
        return [f"'{self.path}' for '{self.name}'"]


def open_parts(parts: Sequence[BasePart]) -> list[Reader]:
    """Returns the readers of parts: first those of dataloaders, then the files."""
    loaders = [part for part in parts if not isinstance(part, FilePart)]
    files = [part for part in parts if isinstance(part, FilePart)]
    return [*(loaders[0].open_all(loaders) if loaders else []), *files]
