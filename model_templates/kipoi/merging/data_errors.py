"""The one error of the merged dataloader, what it says beside errors, and the words of its messages."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Sequence
from typing import Any

_LOG = logging.getLogger("keras_stitch.rows")


class DataError(ValueError):
    """Data that cannot be merged: the message names the part, the row and the values."""


def problem(
    message: str, expected: Any = None, received: Any = None, fix: str | None = None, files: Sequence[str] = ()
) -> DataError:
    """Returns the error: what is wrong, what was expected and received, in which files, and what to do about it."""
    parts = (("Expected", expected), ("Received", received), *(("File", text) for text in files), ("Fix", fix))
    return DataError("\n".join([message, *(f"  {label}: {text}" for label, text in parts if text is not None)]))


def reason(error: BaseException) -> str:
    """Returns what an error of other code says, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def span(rows: Collection[int]) -> str:
    """Returns the numbers of some rows, for a message: "row 3", or "rows 0 to 31"."""
    first, last = min(rows), max(rows)
    return f"row {first}" if first == last else f"rows {first} to {last}"


@functools.lru_cache(None)
def say_once(text: str) -> None:
    """Logs what is no error, but has to be known; the same text once in a process."""
    _LOG.warning(text)
