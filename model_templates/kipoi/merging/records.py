"""Files with predictions: what each was made from, and a digest of every row.

Needs h5py and NumPy only, as the scripts of a workflow load this file alone, in any environment. A file
has the groups ``preds``, ``metadata`` and ``rows``: ``rows/number`` counts from 0, ``rows/id``, ``rows/chr``,
``rows/start``, ``rows/end``, ``rows/strand`` and ``rows/resized`` are what rows are compared by, where they are known,
and ``rows/digest`` notices a row that was moved or changed. Texts are UTF-8 bytes of a fixed length.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ATTRIBUTE = "made_from"
_BYTES = 1 << 20


def digests(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns one 64-bit digest for each row, as uint64: a sum of its 8-byte words, each times an odd number.

    Args:
        arrays: Arrays of shape (rows, ...), the number of the row among them. Fixed-length bytes count without the
            zeros at their end.
    """
    total = np.zeros(len(arrays[0]), "uint64")
    for position, array in enumerate(arrays):
        flat = np.ascontiguousarray(array).reshape(len(array), -1)
        octets = flat.view("uint8").reshape(len(flat), -1)
        width = octets.shape[1]
        if width % 8:
            padded = np.zeros((len(octets), width + -width % 8), "uint8")
            padded[:, :width] = octets
            octets = padded
        words = octets.view("uint64")
        total += words @ _odd_numbers(position, words.shape[1])
    return total


def covered(file: Any, start: int | None = None, stop: int | None = None) -> list[np.ndarray]:
    """Returns the arrays of an open file that its digests cover, for some rows, in their order."""
    rows, slices = file["rows"], slice(start, stop)
    return [rows[name][slices] for name in sorted(rows) if name != "digest"] + [
        dataset[slices] for _, dataset in predictions(file)
    ]


def predictions(file: Any) -> list[tuple[str, Any]]:
    """Returns name and dataset of every tensor in an open file, by name."""
    found: list[tuple[str, Any]] = []
    file["preds"].visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)


def write_record(file: Any, record: Mapping[str, Any]) -> None:
    """Writes into an open file what it was made from, with the key by which others name it; the last step."""
    record = {**record, "rows": len(file["rows/digest"]), "content": content_of(file)}
    file.attrs[ATTRIBUTE] = json.dumps({**record, "key": key_of(record)}, sort_keys=True)


def read_record(file: Any) -> dict[str, Any] | None:
    """Returns what an open file was made from; None if it does not say so, as it was not finished."""
    text = file.attrs.get(ATTRIBUTE)
    record = None if text is None else json.loads(text)
    if record is not None and not isinstance(record, dict):
        raise ValueError(f"its record is no mapping: {record!r:.100}")
    return record


def content_of(file: Any) -> str:
    """Returns the sha256 of the digests of all rows in an open file."""
    known, found = file["rows/digest"], hashlib.sha256()
    for start in range(0, len(known), _BYTES // 8):
        found.update(known[start : start + _BYTES // 8])
    return found.hexdigest()


def key_of(record: Mapping[str, Any]) -> str:
    """Returns the sha256 of a record as it was before it had a key."""
    known = {name: value for name, value in record.items() if name != "key"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def sha256_of(path: str | Path) -> str:
    """Returns the sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(_BYTES):
            found.update(block)
    return found.hexdigest()


def is_file(known: Any) -> bool:
    """Whether a recorded argument, or a part of it, stands for a file."""
    return isinstance(known, dict) and set(known) == {"sha256", "bytes"}


def is_made_with(known: Any, value: Any) -> bool:
    """Whether a recorded argument is the same as a given one; files are compared by their content."""
    if is_file(known):
        if not isinstance(value, str) or not os.path.isfile(value):
            return False
        # A file of another size need not be read.
        return bool(Path(value).stat().st_size == known["bytes"] and sha256_of(value) == known["sha256"])
    if isinstance(known, list) and isinstance(value, list | tuple):
        return len(known) == len(value) and all(map(is_made_with, known, value))
    if isinstance(known, dict) and isinstance(value, dict):
        return known.keys() == value.keys() and all(is_made_with(known[key], value[key]) for key in known)
    return bool(known == value)


@functools.lru_cache(64)
def _odd_numbers(position: int, count: int) -> np.ndarray:
    """Returns the numbers by which words are multiplied: those of splitmix64, made odd."""
    with np.errstate(over="ignore"):
        mixed = np.arange(1, count + 1, dtype="uint64") * np.uint64(0x9E3779B97F4A7C15) + np.uint64(position << 32)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    found.flags.writeable = False  # whoever asks again gets the same array
    return found
