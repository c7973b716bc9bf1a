"""Says on a terminal how many rows are done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SOONEST = 1.0  # seconds: what is faster needs no word


def shown(items: Iterable[Item], what: str, count: Callable[[Item], int], total: int | None = None) -> Iterator[Item]:
    """Yields items; on a terminal, a line says how many rows are done, and disappears in the end.

    Args:
        items: The pieces of work.
        what: What is done with the rows.
        count: How many rows an item has.
        total: How many rows there are, if that is known.
    """
    done, start, line = 0, time.monotonic(), ""
    try:
        for item in items:
            yield item
            done += count(item)
            if time.monotonic() - start > SOONEST and sys.stderr.isatty():
                line = f"{what}: {done:,}{'' if total is None else f' of {total:,}'} rows"
                print(f"\r{line}", end="", file=sys.stderr, flush=True)
    finally:
        if line:
            print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)
