"""Blocks: some rows as flat arrays, ``{path: array}``, with one entry for each row in every array.

A path starts with ``"inputs"``, ``"targets"``, ``"metadata"`` or ``"keys"``; keys are what rows are compared by, and
do not leave the dataloader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .data_errors import problem

FieldPath: TypeAlias = tuple[Any, ...]
Block: TypeAlias = dict[FieldPath, np.ndarray]
Rows: TypeAlias = Sequence[int] | np.ndarray

_LARGE = 1 << 32  # bytes


def leaves(nested: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """Yields path and value of everything in nested dicts and lists; a list of plain values is one."""
    if isinstance(nested, Mapping):
        for key, item in nested.items():
            yield from leaves(item, (*path, key))
    elif isinstance(nested, list | tuple) and any(
        isinstance(item, Mapping | list | tuple | np.ndarray) for item in nested
    ):
        for number, item in enumerate(nested):
            yield from leaves(item, (*path, number))
    else:
        yield path, nested


def own(nested: Any) -> Any:
    """Returns nested dicts and lists with copies of their arrays, which nobody else can fill again."""
    if isinstance(nested, Mapping):
        return {key: own(item) for key, item in nested.items()}
    if isinstance(nested, list | tuple):
        return [own(item) for item in nested]
    return nested.copy() if isinstance(nested, np.ndarray) else nested


def nest(block: Block) -> Any:
    """Returns a block as nested dicts and lists, as Kipoi has its batches."""
    nested: dict[Any, Any] = {}
    for path, array in block.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = array
    return _with_lists(nested)


def as_text(array: np.ndarray, part: str = "") -> np.ndarray:
    """Returns an array of one axis as text: 7, 7.0 and b"7" become "7"; messages name the part."""
    if array.dtype.kind == "S":
        octets = np.ascontiguousarray(array).view("uint8")
        if octets.max(initial=0) > 127:
            return np.char.decode(array, "utf-8", "backslashreplace")
        return octets.astype("uint32").view(f"U{array.dtype.itemsize}")  # the bytes of ASCII are its code points
    if array.dtype.kind == "f":
        array = np.asarray([int(item) if item.is_integer() else item for item in array.tolist()], dtype="O")
    if array.dtype.kind == "O":
        texts = [item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else str(item) for item in array]
        _check_texts(texts, part)
        return np.asarray(texts, dtype="U")
    return array.astype("U")


def _check_texts(texts: Sequence[str], part: str) -> None:
    """Raises if NumPy would change texts, or fill the memory: it makes room for the longest in every row."""
    of, longest = f" of '{part}'" if part else "", max(map(len, texts), default=0)
    if 4 * longest * len(texts) > _LARGE:
        raise problem(
            f"The texts{of} do not fit into the memory.",
            expected=f"at most {_LARGE:,} bytes, if all were as long as the longest",
            received=f"{len(texts):,} texts, of which one has {longest:,} characters",
        )
    torn = next((text for text in texts if text.endswith("\0")), None)
    if torn is not None:
        raise problem(f"A text{of} ends with a NUL character, which NumPy leaves out.", received=repr(torn[-100:]))


def size(block: Block) -> int:
    """Returns the number of rows."""
    return len(next(iter(block.values())))


def take(block: Block, rows: slice | np.ndarray) -> Block:
    """Returns some rows, given by a slice or by an array of numbers or of truth values."""
    return {path: array[rows] for path, array in block.items()}


def concatenate(blocks: Sequence[Block]) -> Block:
    """Returns the rows of several blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    return {path: np.concatenate([block[path] for block in blocks]) for path in blocks[0]}


def rebatch(blocks: Iterable[Block], batch_size: int) -> Iterator[Block]:
    """Yields the same rows in blocks of ``batch_size`` rows; the last may have fewer."""
    kept: list[Block] = []
    count = 0
    for block in blocks:
        kept.append(block)
        count += size(block)
        if count < batch_size:
            continue
        joined, start = concatenate(kept), 0
        while count - start >= batch_size:
            yield take(joined, slice(start, start + batch_size))
            start += batch_size
        kept, count = ([take(joined, slice(start, None))], count - start) if start < count else ([], 0)
    if kept:
        yield concatenate(kept)


def fits(received: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether a shape is as expected, where None stands for any length."""
    return len(received) == len(expected) and all(
        want is None or got == want for got, want in zip(received, expected, strict=True)
    )


def _with_lists(nested: Any) -> Any:
    if not isinstance(nested, dict):
        return nested
    items = {key: _with_lists(item) for key, item in nested.items()}
    # Numbers as keys come from lists: leaves() counts them from 0.
    return list(items.values()) if items and all(isinstance(key, int) for key in items) else items
