"""Mixtures of parts with ids, ranges, placeholders or nothing, and what has to happen with each: an oracle.

Every part gives the true number of each row as its data, so that a row that is out of step shows. The oracle knows the
names of rows that a mixture was made from, and asks nothing of the code under test.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from merging_strategies import GenomicRanges, M
from table_files import WRITERS

ROWS = 9
TABLES = ("TSV", "CSV", "HDF5", "NPY")
HOLDERS = ("dataloader", "stream", *TABLES)
# How the ids of a part are written; "some" and "words" have none in a few rows or in all of them.
NOTHING = ("dots", "empty", "spaces", "missing", "some", "words")
IDS = ("none", "none", "text", "text", "text", "bytes", "padded", "other form", *NOTHING)
RANGES = ("none", "none", "none", "none", "all", "all", "some")
FAULTS = ("none", "swapped", "rotated", "reversed", "doubled")
_UNNAMED = (2, 6)  # the rows of "some"


@dataclass(frozen=True)
class PartOf:
    """A part of a mixture: where its rows are, and what names them."""

    holder: str
    ids: str
    ranges: str

    def named(self, row: int) -> bool:
        """Whether a row has an id."""
        return self.ids in ("text", "bytes", "padded", "other form") or (self.ids == "some" and row not in _UNNAMED)

    @property
    def has_ids(self) -> bool:
        """Whether it has a place for ids that have to say something: a word that all rows have is only a word."""
        return self.ids not in ("none", "words")

    def ranged(self, row: int) -> bool:
        return self.ranges == "all" or (self.ranges == "some" and row not in (1, *_UNNAMED[:1]))


@dataclass(frozen=True)
class Mixture:
    """Parts with the same rows; one of them may have a fault in their order."""

    numbers: bool
    parts: tuple[PartOf, ...]
    faulty: int
    fault: str
    batch_size: int

    def orders(self) -> list[list[int]]:
        """The true numbers of the rows in every part."""
        rows = list(range(ROWS))
        changed = {
            "none": rows,
            "swapped": [0, 6, 2, 3, 4, 5, 1, 7, 8],
            "rotated": [*rows[1:], 0],
            "reversed": rows[::-1],
            "doubled": [0, 1, 2, 3, 3, 5, 6, 7, 8],
        }[self.fault]
        return [changed if number == self.faulty else rows for number in range(len(self.parts))]

    def moved(self) -> set[frozenset[str]]:
        """The pairs of parts that are out of step."""
        orders = self.orders()
        pairs = itertools.combinations(range(len(orders)), 2)
        return {frozenset((f"p{a}", f"p{b}")) for a, b in pairs if orders[a] != orders[b]}

    def groups(self, row: int) -> list[set[int]]:
        """The parts that ids or ranges keep in step in a row of a healthy mixture."""
        by_ids = {number for number, part in enumerate(self.parts) if part.named(row)}
        by_ranges = {number for number, part in enumerate(self.parts) if part.ranged(row)}
        sets = [by_ids | by_ranges] if by_ids & by_ranges else [by_ids, by_ranges]
        alone = [{number} for number in range(len(self.parts)) if not any(number in own for own in sets)]
        return [own for own in (*sets, *alone) if own]

    def is_refused(self) -> bool:
        """Whether a healthy mixture is an error: ids or ranges that some rows of some parts do not have."""
        words = any(part.ids == "words" for part in self.parts)
        for row in range(ROWS):
            ranged = {part.ranged(row) for part in self.parts if part.ranges != "none"}
            if len(ranged) > 1 or (words and any(part.named(row) for part in self.parts)):
                return True
            for one, other in itertools.permutations(self.groups(row), 2):
                lacking = any(self.parts[part].has_ids and not self.parts[part].named(row) for part in one)
                if lacking and any(self.parts[part].named(row) for part in other):
                    return True
        return False

    def by_number(self) -> set[frozenset[str]]:
        """The pairs of parts that only the number of a row holds together, in some row of a healthy mixture."""
        pairs = set()
        for row in range(ROWS):
            for one, other in itertools.combinations(self.groups(row), 2):
                pairs |= {frozenset((f"p{a}", f"p{b}")) for a, b in itertools.product(one, other)}
        return pairs


def some_mixture(source: random.Random) -> Mixture:
    """A mixture of parts at random."""
    parts = [
        PartOf(source.choice(HOLDERS), source.choice(IDS), source.choice(RANGES)) for _ in range(source.randint(2, 4))
    ]
    fault = source.choice(FAULTS)
    return Mixture(
        source.random() < 0.5, tuple(parts), source.randrange(len(parts)), fault, source.choice([1, 2, 5, 20])
    )


def outcome(mixture: Mixture) -> tuple[str, set[frozenset[str]]]:
    """What happens when a mixture is read.

    Returns:
        "error", "in step" or "out of step", and the pairs of parts of which it was said that only numbers of rows hold
        them together.
    """
    said: set[frozenset[str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        streams = any(part.holder == "stream" for part in mixture.parts)
        try:
            merged = (M.MergedIterator if streams else M.MergedDataset)(*_parts(mixture, Path(folder)))
            check = merged.row_check.check
            merged.row_check.check = lambda *arguments: _noted(check(*arguments), said)
            batches = [batch["inputs"] for batch in merged.batch_iter(batch_size=mixture.batch_size)]
        except M.DataError:
            return "error", said
    found = {
        name: np.concatenate([batch[name].reshape(len(batch[name]), -1)[:, 0] for batch in batches]).tolist()
        for name in batches[0]
    }
    assert all(len(rows) == ROWS for rows in found.values()), "rows are lost"
    moved = [frozenset(pair) for pair in itertools.combinations(found, 2) if found[pair[0]] != found[pair[1]]]
    return ("out of step" if moved else "in step"), said


def _noted(groupings: Any, said: set[frozenset[str]]) -> Any:
    for grouping in groupings:
        for one, other in itertools.combinations(grouping, 2):
            said |= {frozenset(pair) for pair in itertools.product(one, other)}
    return groupings


def _parts(mixture: Mixture, folder: Path) -> list[Any]:
    found = []
    for number, (part, order) in enumerate(zip(mixture.parts, mixture.orders(), strict=True)):
        name, rows = f"p{number}", np.asarray(order)
        ids, ranges = _ids(part, mixture.numbers, order), _ranges(part, order)
        if part.holder in TABLES:
            found.append(_table(name, part, folder / name, ids, ranges, rows))
            continue
        metadata: dict[str, Any] = {} if ids is None else {"id": ids}
        if ranges is not None:
            unnamed = {"id": np.full(ROWS, ""), "strand": np.full(ROWS, "*")}
            metadata["ranges"] = GenomicRanges(**ranges, **unnamed)
        found.append(_loader(name, part.holder, metadata, rows))
    return found


def _loader(name: str, holder: str, metadata: dict[str, Any], rows: np.ndarray) -> Any:
    def everything() -> Any:
        return {"inputs": rows.astype("float32"), "metadata": metadata}

    def batches() -> Any:
        for start in range(0, ROWS, 4):
            chosen = slice(start, start + 4)
            own = {key: _some(item, chosen) for key, item in metadata.items()}
            yield {"inputs": rows[chosen].astype("float32"), "metadata": own}

    loader = M.from_function(everything) if holder == "dataloader" else M.from_function(batches, "BatchGenerator")
    where = {"ids": ("id",) if "id" in metadata else None, "ranges": ("ranges",) if "ranges" in metadata else None}
    return M.Part(name, loader, {}, {name: ()}, metadata=bool(metadata), **where)


def _some(item: Any, chosen: slice) -> Any:
    if isinstance(item, GenomicRanges):
        return GenomicRanges(**{key: item[key][chosen] for key in item})
    return item[chosen]


def _table(name: str, part: PartOf, stem: Path, ids: Any, ranges: Any, rows: np.ndarray) -> Any:
    keys = {} if ids is None else {"id": ids}
    if ids is not None and ids.dtype.kind == "O":  # texts for files
        keys["id"] = np.asarray(["" if item is None else item for item in ids.tolist()])
    keys |= ranges or {}
    if part.holder in ("TSV", "CSV"):
        keys = {key: np.char.decode(it, "utf-8") if it.dtype.kind == "S" else it for key, it in keys.items()}
    ending, write = WRITERS[part.holder]
    path = stem.with_suffix(f".{ending}")
    write(path, keys, np.stack([rows, rows], axis=1).astype("float32"), False)
    return M.Table(name, str(path), (2,), "float32")


def _ids(part: PartOf, numbers: bool, order: list[int]) -> Any:
    if part.ids == "none":
        return None
    names = [str(1000 + row) if numbers else f"\u00e9{row}" for row in range(ROWS)]
    nothing = {"dots": ".", "empty": "", "spaces": " \u00a0", "words": "NA"}
    if part.ids in nothing:
        return np.asarray([nothing[part.ids]] * len(order))
    if part.ids == "missing":
        return np.full(len(order), np.nan) if numbers else np.asarray([None] * len(order), dtype="O")
    if part.ids == "some":
        names = ["." if row in _UNNAMED else name for row, name in enumerate(names)]
        if numbers:
            return np.asarray([np.nan if names[row] == "." else float(names[row]) for row in order])
    if part.ids == "padded":
        names = [f" {name}\u00a0" for name in names]
    if part.ids == "other form":
        names = [f"{name}.0" if numbers else name.replace("\u00e9", "e\u0301") for name in names]
    texts = np.asarray([names[row] for row in order])
    if part.ids == "text" and numbers:
        return texts.astype("int64")
    return np.char.encode(texts, "utf-8") if part.ids == "bytes" else texts


def _ranges(part: PartOf, order: list[int]) -> Any:
    if part.ranges == "none":
        return None
    known = np.asarray([part.ranged(row) for row in order])
    starts = np.where(known, 10 * np.asarray(order), -1)
    return {"chr": np.where(known, "chr1", "."), "start": starts, "end": np.where(known, starts + 5, -1)}
