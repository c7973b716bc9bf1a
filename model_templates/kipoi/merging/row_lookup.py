"""Looks up rows of a part by their keys, for parts that have their rows in another order or lack some."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from .blocks import Block, take
from .data_errors import DataError, problem, say_once
from .keys import has, is_stranded, shown, values
from .part_base import BasePart, FilePart, Reader
from .progress import shown as progress
from .row_ids import loosely

_ROWS = 1024
_FIX = (
    "Complete the data, or make the directory again with missing='inner' beside align_on=, which leaves such rows out."
)


def scan(reader: Reader, part: BasePart, kind: str) -> Block:
    """Returns the block of all keys of a part; reads all its rows once."""
    assert reader.length is not None
    pieces = []
    steps = [range(start, min(start + _ROWS, reader.length)) for start in range(0, reader.length, _ROWS)]
    for rows in progress(steps, f"reading the {kind} of {part.name}", len, reader.length):
        block = reader.read(rows)
        pieces.append({path: np.asarray(array) for path, array in block.items() if path[:2] == ("keys", part.name)})
        check_has(block, part, kind)
    return {path: np.concatenate([piece[path] for piece in pieces]) for path in pieces[0]}


def check_has(block: Block, part: BasePart, kind: str) -> None:
    """Raises if the rows of a part do not have the keys by which they are looked up."""
    if not has(block, part.name, kind):
        raise problem(
            f"Rows cannot be looked up by their {kind}: those of '{part.name}' have none.",
            fix="A file has them in id, or in chr, start and end."
            if part.name == "targets" or isinstance(part, FilePart)
            else None,
        )


class Join:
    """Finds rows of a part by the keys of rows of another.

    Args:
        part: The part that is looked up; its ``align_on`` is the kind of key.
        reader: Its reader.
        other: The part whose rows are looked for.
    """

    def __init__(self, part: BasePart, reader: Reader, other: BasePart) -> None:
        self.part, self.other, self.kind = part, other, part.align_on or ""
        self.by_centre = part.resized or other.resized
        self.keys = scan(reader, part, self.kind)
        self.stranded = False
        self.places, twice = self._index()
        if twice is not None and self.kind == "ranges" and is_stranded(self.keys, part):
            self.stranded = True
            self.places, twice = self._index()
        if twice is not None:
            raise _twice(self.keys, part, self.kind, *twice)
        self.used = np.zeros(reader.length or 0, bool)
        self.left_out: list[str] = []  # ids of the other part that are not here; empty where a row has none

    def find(self, block: Block, rows: Sequence[int]) -> np.ndarray:
        """Returns the numbers of the rows in this part that belong to a block; -1 if there is none and that is allowed.

        Args:
            block: A block with the keys of the other part.
            rows: The numbers of its rows, for messages.
        """
        check_has(block, self.other, self.kind)
        wanted = values(block, self.other, self.kind, self.by_centre, self.stranded)
        # An unknown id belongs to no row.
        found = np.asarray([-1 if value is None else self.places.get(value, -1) for value in wanted], dtype="int64")
        missing = np.flatnonzero(found < 0)
        if len(missing) and self.part.missing == "error":
            raise self._unmatched(block, rows, missing, self.other, self.part, " read with it")
        if self.kind == "ids":
            self.left_out += [str(wanted[row] or "") for row in missing]
        chosen = found[found >= 0]
        again = self.used[chosen]
        again[np.setdiff1d(np.arange(len(chosen)), np.unique(chosen, return_index=True)[1])] = True
        if again.any():
            position = np.flatnonzero(found >= 0)[np.argmax(again)]
            raise problem(
                f"Two rows of '{self.other.name}' are the same, so it is not clear which of them is meant.",
                expected=f"different {self.kind}, as rows are looked up by them",
                received=f"{shown(block, self.other, self.kind, position)} once more in row {rows[position]}",
                files=self.other.files(self.kind),
            )
        self.used[chosen] = True
        return found

    def finish(self) -> None:
        """Raises if rows of this part belong to no row of the other; where that is allowed, says what is suspicious."""
        left = np.flatnonzero(~self.used)
        if len(left) and self.part.missing == "error":
            raise self._unmatched(self.keys, range(len(self.used)), left, self.part, self.other, "")
        if self.kind == "ids":
            self._say_left_out(self.keys["keys", self.part.name, "ids"][left].tolist())

    def _unmatched(
        self, block: Block, rows: Sequence[int], missing: np.ndarray, one: BasePart, other: BasePart, where: str
    ) -> DataError:
        """Returns the error for rows of one part that are not in another."""
        row, more = rows[missing[0]], len(missing) - 1
        received = f"none for {shown(block, one, self.kind, missing[0])}"
        if values(block, one, self.kind, self.by_centre, self.stranded)[missing[0]] is None:
            received = f"row {row} of '{one.name}' has none of the {self.kind} by which rows are looked up"
        return problem(
            f"Row {row} of '{one.name}' is not in '{other.name}'"
            + (f", nor are {more} others{where}." if more else "."),
            expected=f"one row of '{other.name}' for every row" + ("" if where else f" of '{one.name}'"),
            received=received,
            files=self.files(),
            fix=_FIX,
        )

    def _say_left_out(self, own: Sequence[str]) -> None:
        """Says which rows are left out because they have no id, or one that only looks like another."""
        for name, ids in ((self.part.name, own), (self.other.name, self.left_out)):
            if "" in ids:
                say_once(f"{ids.count('')} rows of '{name}' have no id: they are not looked up, but left out.")
        known = {loosely(text): text for text in own if text}
        alike = [(text, known[loosely(text)]) for text in self.left_out if text and loosely(text) in known]
        if alike:
            say_once(
                f"{len(alike)} rows of '{self.other.name}' and '{self.part.name}' are left out, but their ids look "
                f"alike: {alike[0][0]!r} and {alike[0][1]!r}. Capitals, white space within, leading zeros and "
                "full-width letters count."
            )

    def files(self) -> list[str]:
        """Returns the files of both parts, for messages."""
        return [text for part in (self.part, self.other) for text in part.files(self.kind)]

    def fresh(self) -> Join:
        """Returns the same join for another pass over the data."""
        another = copy.copy(self)
        another.used, another.left_out = np.zeros_like(self.used), []
        return another

    def _index(self) -> tuple[dict[Hashable, int], tuple[int, int] | None]:
        places: dict[Hashable, int] = {}
        twice = None
        for row, value in enumerate(values(self.keys, self.part, self.kind, self.by_centre, self.stranded)):
            if value is not None and places.setdefault(value, row) != row and twice is None:
                twice = (places[value], row)
        return places, twice


def orders(
    joins: Mapping[str, Join], keys: Mapping[tuple[str, str], Block], length: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns which rows are kept, and the numbers of their rows in every part that is looked up.

    Args:
        joins: The joins by part name.
        keys: A block with the keys of all rows, by the part that gives them and the kind of key.
        length: The number of rows before any is left out.
    """
    places = {}
    for name, join in joins.items():
        places[name] = join.find(keys[join.other.name, join.kind], range(length))
        join.finish()
    kept = np.flatnonzero(np.all([found >= 0 for found in places.values()], axis=0))
    if not len(kept):
        raise nothing_in_common(joins)
    return kept, {name: found[kept] for name, found in places.items()}


def nothing_in_common(joins: Mapping[str, Join]) -> DataError:
    """Returns the error for parts of which no row is in all."""
    names = " and ".join(f"'{name}'" for name in joins)
    other = next(iter(joins.values())).other.name
    return problem(f"No row is in all parts: '{other}' and {names} have no key in common.")


def _twice(keys: Block, part: BasePart, kind: str, first: int, second: int) -> DataError:
    return problem(
        f"Two rows of '{part.name}' are the same, so it is not clear which of them is meant.",
        expected=f"different {kind}, as rows are looked up by them",
        received=f"{shown(keys, part, kind, first)} in rows {first} and {second}",
        files=part.files(kind),
    )


def only(block: Block, mask: np.ndarray) -> Block:
    """Returns the rows of a block for which a mask holds."""
    return block if mask.all() else take(block, mask)
