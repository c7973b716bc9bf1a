"""What names the rows of a file: which of its fields do, whatever the format, and which of them say something."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import Block, Rows
from .part_base import BasePart, are_numbers, as_number
from .row_ids import as_ids

if TYPE_CHECKING:
    from .array_files import ArrayFile
    from .file_contents import Contents

RANGE = ("chr", "start", "end")
_KINDS = {
    "id": "id",
    "ids": "id",
    "name": "name",
    "chr": "chr",
    "chrom": "chr",
    "chromosome": "chr",
    "start": "start",
    "end": "end",
    "strand": "strand",
}
_METADATA = "metadata/"  # Kipoi's group of what describes rows
_DATA = ("inputs", "preds")  # Kipoi's groups of arrays
_AT_ONCE = 65536


@dataclass
class NamingFields:
    """Fields that name the rows of a file; the fields of a group are called ``<group>/<field>``.

    Attributes:
        ids: Those that are ids.
        ranges: For every genomic range its fields, by what they are: ``chr``, ``start``, ``end``, perhaps ``strand``.
        range_names: Those of the ids that only name ranges: they need not say anything.
        never_data: All that are no data: these, a name beside an id, and whatever is in the group ``metadata``.
    """

    ids: list[str] = field(default_factory=list)
    ranges: list[dict[str, str]] = field(default_factory=list)
    range_names: set[str] = field(default_factory=set)
    never_data: set[str] = field(default_factory=set)

    @property
    def used(self) -> list[str]:
        """The fields by which rows are compared."""
        return [*self.ids, *(name for own in self.ranges for name in own.values())]

    @property
    def positions(self) -> list[str]:
        """Those of them that hold whole numbers."""
        return [own[kind] for own in self.ranges for kind in ("start", "end")]


def naming_fields(file: ArrayFile, fields: Collection[str], what: str, texts: Collection[str] = ()) -> NamingFields:
    """Returns which fields of a file name its rows.

    Those of every group do, and those in no group: ``id`` or ``ids``; ``chr``, ``start`` and ``end``, perhaps with
    ``strand``, if all three are there; and ``name``, which is the id where a genomic range has no other, or alone.

    Args:
        file: The file.
        fields: The names of all its columns, datasets or fields.
        what: What the file calls one, for messages.
        texts: Those that hold a text for every row: a ``name`` alone has to be one.
    """
    found = NamingFields(never_data={name for name in fields if name.startswith(_METADATA) and name not in file.arrays})
    for group, kinds in sorted(_groups(file, fields).items(), key=lambda item: item[0].count("/") + bool(item[0])):
        ids, whole = kinds.get("id", []), set(RANGE) <= set(kinds)
        names = [name for name in kinds.get("name", []) if ids or whole or (name in texts and not group)]
        columns = {kind: kinds[kind][0] for kind in (*RANGE, "strand") if whole and kind in kinds}
        found.never_data |= {*ids, *names, *columns.values()}
        if not file.compared and group:  # metadata of the row are those that lie beside the data
            continue
        if "chr" in kinds and not whole:
            received = ", ".join(name for kind in RANGE for name in kinds.get(kind, ()))
            file.fail("has no whole genomic range", f"a {what} for each of {', '.join(RANGE)}", received)
        found.ids += ids or names[:1]
        found.ranges += [columns] if whole else []
        found.range_names |= set(ids if group else names) if whole else set()
    return found


def _groups(file: ArrayFile, fields: Collection[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the fields of every group by what they may be; one that is called exactly so comes first."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in fields:
        group, _, last = name.rpartition("/")
        kind = _KINDS.get(last.lower().removeprefix("#"))
        if kind is None or name in file.arrays or group.partition("/")[0] in (*file.arrays, *_DATA):
            continue
        known = found.setdefault(group, {}).setdefault(kind, [])
        known.insert(0 if last == kind else len(known), name)
    return found


@dataclass
class Ids:
    """Ids of all rows of a file.

    Attributes:
        part: The name of the part.
        field: The field that has them.
        rows: What gives them by the numbers of rows.
        known: Whether any is known.
        count: Whether they are only the numbers of the rows: 0, 1, 2, ... in this order.
        smallest: The smallest whole number among them; infinity if there is none.
        largest: The largest of them; infinity if one is no whole number.
    """

    part: str
    field: str
    rows: Any
    known: bool = False
    count: bool = True
    smallest: float = math.inf
    largest: float = -math.inf

    @property
    def in_group(self) -> bool:
        """Whether they do not lie beside the data."""
        return "/" in self.field

    def texts(self, rows: Rows) -> np.ndarray:
        """Returns the ids of some rows."""
        return as_ids(np.ravel(self.rows[np.asarray(rows)]), self.part)


def _that_say_something(part: str, contents: Contents, length: int) -> list[Ids]:
    """Returns the ids of a file by which rows are compared: all that are known, or else one that says nothing.

    Kipoi writes numbers of rows where a part has no ids. In a group, they are left out if there are others.
    """
    naming = contents.naming
    found = [_looked_at(Ids(part, name, contents.names[name]), length) for name in naming.ids]
    found = [ids for ids in found if ids.known or ids.field not in naming.range_names]
    known = [ids for ids in found if ids.known]
    names = [ids for ids in known if not (ids.in_group and ids.largest < length)]
    return names or known or found[:1]


def _looked_at(found: Ids, length: int) -> Ids:
    """Returns the ids of a field with what they are; the first ones say whether they are names."""
    for start in range(0, length, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, length))
        texts = found.texts(rows)
        known = texts != ""
        found.known |= bool(known.any())
        found.count = are_numbers(texts[known], rows[known])
        numbers: list[float] = rows[known].tolist()
        if not found.count:
            numbers = [as_number(text) for text in texts[known].tolist()]
        found.smallest, found.largest = min([found.smallest, *numbers]), max([found.largest, *numbers])
        if not found.count:
            break
    found.count &= found.known
    return found


class Naming(BasePart):
    """Ids, a genomic range, or both, that name the rows of a file.

    Args:
        name: What messages call it: the part, or a field of it.
        file: The file.
        contents: What is in the file.
        ids: The ids; None where there are none.
        kinds: The fields of the range, by what they are; empty where there is none.
    """

    def __init__(
        self, name: str, file: ArrayFile, contents: Contents, ids: Ids | None, kinds: Mapping[str, str]
    ) -> None:
        self.name, self.path, self.ids = name, file.path, ids
        self.ranges = {kind: contents.names[field] for kind, field in kinds.items()} or None
        self.fields = {"ids": [] if ids is None else [ids.field], "ranges": kinds.values()}
        if ids is not None and ids.in_group:  # mostly of a part without ids, of which Kipoi wrote the metadata
            self.numbers_below = file.length

    def keys(self, rows: Rows) -> Block:
        """Returns the keys of some rows, as a block."""
        chosen = np.asarray(rows)
        block: Block = {} if self.ids is None else {("keys", self.name, "ids"): self.ids.texts(chosen)}
        for kind, column in (self.ranges or {}).items():
            block["keys", self.name, kind] = np.ravel(column[chosen])
        return block

    def counts_rows(self, ids: np.ndarray, rows: Sequence[int] | np.ndarray) -> bool:
        """Whether all ids of the file are nothing but the numbers of its rows."""
        return self.ids is not None and self.ids.count

    def smallest_number(self, ids: np.ndarray) -> float:
        """Returns the smallest whole number among all ids of the file."""
        return math.inf if self.ids is None else self.ids.smallest

    def files(self, kind: str) -> list[str]:
        """Returns the file, and which of its fields are compared."""
        by = f", by {', '.join(self.fields[kind])}" if self.fields[kind] else ""
        return [f"'{self.path}' for '{self.name}'{by}"]


def namings(part: str, file: ArrayFile, contents: Contents) -> list[Naming]:
    """Returns all that names the rows of a file; the first has the name of the part, by which others are looked up."""
    ids = _that_say_something(part, contents, file.length)
    ranges = contents.naming.ranges
    found = [Naming(part, file, contents, ids[0] if ids else None, ranges[0] if ranges else {})]
    found += [Naming(f"{part}: {own.field}", file, contents, own, {}) for own in ids[1:]]
    for kinds in ranges[1:]:
        found.append(Naming(f"{part}: {kinds['chr']}", file, contents, None, kinds))
        found[-1].resized = True  # ranges of one row need not be equally long
    return found
