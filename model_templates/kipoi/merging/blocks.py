"""Blocks: some rows as flat arrays, ``{path: array}``, with one entry for each row in every array.

A path starts with ``"inputs"``, ``"targets"``, ``"metadata"`` or ``"keys"``; keys are what rows are compared by, and
do not leave the dataloader.
"""

from collections.abc import Mapping

import numpy as np


def leaves(nested, path=()):
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


def nest(block):
    """Returns a block as nested dicts and lists, as Kipoi has its batches."""
    nested = {}
    for path, array in block.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = array
    return _with_lists(nested)


def size(block):
    """Returns the number of rows."""
    return len(next(iter(block.values())))


def take(block, rows):
    """Returns some rows: a slice, or an array of numbers or of truth values."""
    return {path: array[rows] for path, array in block.items()}


def concatenate(blocks):
    """Returns the rows of several blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    return {path: np.concatenate([block[path] for block in blocks]) for path in blocks[0]}


def rebatch(blocks, batch_size):
    """Yields the same rows in blocks of ``batch_size`` rows; the last may have fewer."""
    kept, count = [], 0
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


def _with_lists(nested):
    if not isinstance(nested, dict):
        return nested
    items = {key: _with_lists(item) for key, item in nested.items()}
    # Numbers as keys come from lists: leaves() counts them from 0.
    return list(items.values()) if items and all(isinstance(key, int) for key in items) else items
