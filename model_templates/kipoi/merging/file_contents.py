"""What a file with rows holds, whatever its format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

RANGE = ("chr", "start", "end")
KEYS = ("id", *RANGE, "strand", "name")  # what names rows; "name" is that of a range, as in a BED file


@dataclass
class Contents:
    """Arrays, and what names their rows.

    Attributes:
        rows: For every array something that has a shape and gives rows by their numbers.
        ids: The same for the names of the rows; None where they have none.
        ranges: The same for every column of a genomic range; empty where rows have none.
        labels: The names of the columns of an array, where the file has some.
    """

    rows: dict[str, Any]
    ids: Any = None
    ranges: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)

    def name_rows(self, keys: Mapping[str, Any]) -> None:
        """Takes the fields that name the rows: ids, and columns of a genomic range."""
        self.ranges = {field: column for field, column in keys.items() if field not in ("id", "name")}
        self.ids = keys.get("id", keys.get("name"))


def keys_among(fields: Collection[str]) -> list[str]:
    """Returns the fields that name the rows: id, and those of a genomic range if it is whole."""
    whole = set(RANGE) <= set(fields)
    found = [field for field in fields if field == "id" or (whole and field in KEYS)]
    return [field for field in found if field != "name" or "id" not in found]
