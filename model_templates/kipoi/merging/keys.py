"""Keys: the ids and genomic ranges by which rows of different parts are compared and joined."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np

from .blocks import Block
from .data_errors import problem
from .part_base import BasePart
from .row_ids import as_ids, look_alike

KINDS = ("ids", "ranges")


def with_keys(block: Block, part: BasePart, bed_names: np.ndarray | None = None) -> Block:
    """Adds the keys of a part to a block that has its metadata.

    Args:
        block: Rows of the part.
        part: The part.
        bed_names: The names of all rows of a BED file, where the ids of its ranges are numbers of rows in it.
    """
    fields = {} if part.ids is None else {"ids": part.ids}
    if part.ranges is not None:
        fields |= {field: (*part.ranges, field) for field in ("chr", "start", "end", "strand")}
        ids = block.get(("metadata", part.name, *part.ranges, "id"))
        if ids is not None and part.ids in (None, (*part.ranges, "id")) and bed_names is not None:
            rows = as_ids(ids, part.name).astype("int64")
            block["keys", part.name, "ids"] = as_ids(bed_names[rows], part.name)
            fields.pop("ids", None)
        elif ids is not None and part.ids is None:
            block["keys", part.name, "ids"] = _names(as_ids(ids, part.name))
    for field, path in fields.items():
        array = block.get(("metadata", part.name, *path))
        if array is not None:
            block["keys", part.name, field] = as_ids(array, part.name) if field == "ids" else array
        elif field != "strand":
            raise problem(
                f"The rows of '{part.name}' have no field '{'.'.join(map(str, path))}' in their metadata.",
                expected="what the schema of its dataloader says, as rows are compared by it",
            )
    return block


def _names(ids: np.ndarray) -> np.ndarray:
    """Returns the names of genomic ranges; whole numbers are none, as they are mostly numbers of rows."""
    return np.where([text.isdecimal() for text in ids.tolist()], "", ids)


def has(block: Block, name: str, kind: str) -> bool:
    """Whether a block has the keys of a part."""
    return ("keys", name, "ids" if kind == "ids" else "start") in block


def range_is_known(block: Block, part: BasePart) -> np.ndarray | None:
    """Returns which rows of a part have a genomic range; None if it has none. Tools write "." for no chromosome."""
    chromosome = block.get(("keys", part.name, "chr"))
    return None if chromosome is None else as_ids(chromosome, part.name) != ""


def compare(block: Block, parts: Sequence[BasePart], rows: Sequence[int] | np.ndarray) -> None:
    """Compares all parts that have keys of one kind.

    Ranges that a dataloader resized are compared by their centres. An unknown strand or id is not compared, nor are
    numbers of rows compared with names.

    Args:
        block: Rows of all parts.
        parts: The parts.
        rows: The numbers of the rows, for the message.

    Raises:
        DataError: With the first row in which two parts differ.
    """
    for kind in KINDS:
        having = [naming for part in parts for naming in part.namings if has(block, naming.name, kind)]
        # All pairs: if one does not know the key, two others may still differ.
        for one, other in itertools.combinations(having, 2):
            _compare_two(block, one, other, kind, rows)


def values(block: Block, part: BasePart, kind: str, by_centre: bool, stranded: bool) -> list[Hashable]:
    """Returns what the rows of a part are looked up by: a value for each row, None if it is not known."""
    if kind == "ids":
        return [text or None for text in block["keys", part.name, "ids"].tolist()]
    chromosome, start, end, strand = _range(block, part.name)
    fields = [chromosome, (start + end) // 2] if by_centre else [chromosome, start, end]
    rows = zip(*(field.tolist() for field in (*fields, *([strand] if stranded else []))), strict=True)
    return [row if row[0] else None for row in rows]


def of_rows(block: Block, parts: Sequence[BasePart]) -> dict[str, np.ndarray]:
    """Returns what the rows of a block are compared by, over all parts, as arrays by field.

    Args:
        block: Rows of all parts, compared.
        parts: The parts.

    Returns:
        ``id`` if a part has ids; ``chr``, ``start``, ``end``, ``strand`` and ``resized`` if one has ranges. An id that
        one part does not know is taken from the next; ranges that were not resized come first. Texts are UTF-8 bytes.
    """
    found: dict[str, np.ndarray] = {}
    for part in parts:
        if has(block, part.name, "ids"):
            texts = block["keys", part.name, "ids"]
            found["id"] = texts if "id" not in found else np.where(found["id"] == "", texts, found["id"])
    for part in sorted((part for part in parts if has(block, part.name, "ranges")), key=lambda part: part.resized)[:1]:
        start, end = _start_and_end(block, part.name)
        strand = block.get(("keys", part.name, "strand"))
        found |= {
            "chr": as_ids(block["keys", part.name, "chr"], part.name),
            "start": start,
            "end": end,
            "strand": np.full(len(start), "*") if strand is None else as_ids(strand, part.name),
            "resized": np.full(len(start), part.resized),
        }
    return {
        field: np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array for field, array in found.items()
    }


def is_stranded(block: Block, part: BasePart) -> bool:
    """Whether the strand of every row is known."""
    strand = _range(block, part.name)[3]
    return bool(np.isin(strand, ["+", "-"]).all())


def shown(block: Block, part: BasePart, kind: str, position: int) -> str:
    """Returns the key of one row, for a message."""
    if kind == "ids":
        return repr(str(block["keys", part.name, "ids"][position]).replace("\t", " "))
    start, end, strand = (field[position] for field in _range(block, part.name)[1:])
    return f"{as_ids(block['keys', part.name, 'chr'], part.name)[position]}:{start}-{end}" + (
        f" ({strand})" if strand in ("+", "-") else ""
    )


def _compare_two(block: Block, one: BasePart, other: BasePart, kind: str, rows: Sequence[int] | np.ndarray) -> None:
    differ: np.ndarray | bool
    if kind == "ids":
        differ = _differ(block, one, other, "ids")
        if np.any(differ):
            differ = differ & _comparable(block, one, other, rows)
    else:
        (start_a, end_a), (start_b, end_b) = (_start_and_end(block, part.name) for part in (one, other))
        if one.resized or other.resized:
            differ = (start_a + end_a) // 2 != (start_b + end_b) // 2
        else:
            differ = (start_a != start_b) | (end_a != end_b)
        differ = differ | _differ(block, one, other, "chr") | _differ(block, one, other, "strand")
    if not np.any(differ):
        return
    differ = np.asarray(differ)
    position = int(np.argmax(differ))
    others = int(differ.sum()) - 1
    received = [shown(block, part, kind, position) for part in (one, other)]
    hint = ""
    if kind == "ids" and look_alike(*(str(block["keys", part.name, "ids"][position]) for part in (one, other))):
        hint = ": they look alike, but capitals, white space within, leading zeros and full-width letters count"
    raise problem(
        f"Row {rows[position]} is not the same in all parts"
        + (
            f", nor {'is' if others == 1 else 'are'} {others} more of the {len(differ)} read with it."
            if others
            else "."
        ),
        expected=f"the same {'id' if kind == 'ids' else 'genomic range'} in '{one.name}' and '{other.name}'",
        received=f"{received[0]} in '{one.name}', {received[1]} in '{other.name}'{hint}",
        files=[text for part in (one, other) for text in part.files(kind)],
        fix="Give them data in the same order, or make the directory again with align_on= for one of them, which looks "
        "its rows up. If these fields have nothing to do with each other, align_on=False leaves them out.",
    )


def _differ(block: Block, one: BasePart, other: BasePart, field: str) -> np.ndarray | bool:
    """Returns where a field of text differs in two parts; False if it is the same array, which is quick to see."""
    a, b = (block.get(("keys", part.name, field)) for part in (one, other))
    if a is b or a is None or b is None or np.array_equal(a, b):
        return False
    a, b = as_ids(a, one.name), as_ids(b, other.name)
    if field == "chr":
        return _without_chr(a) != _without_chr(b)
    if field == "strand":
        return (a != b) & np.isin(a, ["+", "-"]) & np.isin(b, ["+", "-"])
    return a != b


def _comparable(block: Block, one: BasePart, other: BasePart, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns for which rows the ids of two parts are compared: where both are known.

    If one part has nothing but the numbers of its rows, in their order, and the other nothing that could be the number
    of a row, they are not compared.
    """
    a, b = (block["keys", part.name, "ids"] for part in (one, other))
    for part, own, another, its in ((one, a, other, b), (other, b, one, a)):
        if part.counts_rows(own, rows) and another.smallest_number(its) >= part.numbers_below:
            return np.zeros(len(a), bool)
    return (a != "") & (b != "")


def _range(block: Block, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns chromosome without "chr", start, end and strand of every row."""
    start, end = _start_and_end(block, name)
    strand = block.get(("keys", name, "strand"))
    strand = np.full(len(start), "*") if strand is None else as_ids(strand, name)
    return _without_chr(as_ids(block["keys", name, "chr"], name)), start, end, strand


def _start_and_end(block: Block, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as whole numbers, for every row."""
    found = []
    for field in ("start", "end"):
        given = np.asarray(block["keys", name, field])
        try:
            with np.errstate(invalid="ignore"):
                array = given.reshape(len(given)).astype("int64")
            whole = given.dtype.kind in "iu" or bool((array == given.reshape(len(given)).astype("float64")).all())
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise problem(
                f"The genomic ranges of '{name}' cannot be compared.",
                expected=f"whole numbers as '{field}'",
                received=", ".join(map(str, given.ravel()[:3].tolist())),
            )
        found.append(array)
    return found[0], found[1]


def _without_chr(names: np.ndarray) -> np.ndarray:
    return np.asarray([name.removeprefix("chr") for name in names.tolist()], dtype="U")
