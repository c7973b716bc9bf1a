"""A part that is a Kipoi dataloader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .blocks import FieldPath
from .part_base import BasePart, Reader
from .readers import open_readers


class Part(BasePart):
    """A Kipoi dataloader, with where its arrays go and what its rows are compared by.

    Args:
        name: Its name in the merged dataloader.
        loader: The Kipoi dataloader class.
        arguments: Its arguments.
        inputs: For every input of the model that it feeds, keys and indices that lead to the array in its inputs.
        metadata: Whether the metadata of its rows is passed on.
        ids: Keys that lead to the name of a row in its metadata, if rows have names.
        ranges: Keys that lead to the genomic range of a row in its metadata, if rows have ranges.
        resized_by: The argument that makes all ranges as long as it says, around their centres.
        align_on: "ids" or "ranges" if its rows are looked up by them; None if row i belongs to row i.
        missing: What to do with rows that are not in all parts: "error", or "inner" to leave them out.
        in_order: Whether it is read from the first row to the last, although it could be read anywhere.
        compared: Whether its rows are to be compared with those of others.
    """

    def __init__(
        self,
        name: str,
        loader: Any,
        arguments: dict[str, Any],
        inputs: Mapping[str, FieldPath],
        metadata: bool = False,
        ids: FieldPath | None = None,
        ranges: FieldPath | None = None,
        resized_by: str | None = None,
        align_on: str | None = None,
        missing: str = "error",
        in_order: bool = False,
        compared: bool = True,
    ) -> None:
        self.name, self.loader, self.arguments, self.inputs = name, loader, arguments, inputs
        self.metadata, self.ids, self.ranges = metadata, ids, ranges
        self.resized = resized_by is not None and arguments.get(resized_by) is not None
        self.align_on, self.missing, self.in_order, self.compared = align_on, missing, in_order, compared
        self.named_by_ranges = ranges is not None and ids in (None, (*ranges, "id"))

    def open_all(self, parts: Sequence[Any]) -> list[Reader]:
        """Returns readers for dataloaders; those that read the same data with the same settings share one."""
        return open_readers(parts)

    def reads_the_same_as(self, other: Part) -> bool:
        """Whether another part reads the same data with the same settings, so that one reading does for both."""
        return (
            self.loader is other.loader
            and same(self.arguments, other.arguments)
            and (self.align_on, self.missing, self.in_order) == (other.align_on, other.missing, other.in_order)
        )


def same(a: Any, b: Any) -> bool:
    """Whether two arguments are certainly equal: 1, 1.0 and True are not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a is b or (isinstance(a, str | bytes | int | float) and a == b)
