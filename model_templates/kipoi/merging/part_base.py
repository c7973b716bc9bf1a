"""What all parts of a merged dataloader have in common, and how their rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .blocks import Block, Rows


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
    """

    name: str
    ids: Any = None
    ranges: Any = None
    resized: bool = False
    align_on: str | None = None
    missing: str = "error"
    absent: bool = False

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
    """A part that reads a file by itself."""


def open_parts(parts: Sequence[BasePart]) -> list[Reader]:
    """Returns the readers of parts: first those of dataloaders, then the files."""
    loaders = [part for part in parts if not isinstance(part, FilePart)]
    files = [part for part in parts if isinstance(part, FilePart)]
    return [*(loaders[0].open_all(loaders) if loaders else []), *files]
