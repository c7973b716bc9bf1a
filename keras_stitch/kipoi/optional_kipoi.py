"""Whether Kipoi is installed, and what to do where it is needed and is not."""

from __future__ import annotations

import functools
import importlib.util

from keras_stitch.errors import StitchError

FIX = "pip install 'keras_stitch[kipoi]'"


@functools.cache
def has_kipoi() -> bool:
    """Whether Kipoi is installed; it is not imported."""
    found = importlib.util.find_spec("kipoi")
    return found is not None and found.origin is not None  # a folder of that name has none


def require_kipoi(what: str) -> None:
    """Raise where Kipoi is not installed; ``what`` is the thing that needs it, for the message.

    Raises:
        StitchError: If it is not.
    """
    if not has_kipoi():
        raise StitchError(f"{what} needs Kipoi.", expected="the package kipoi", received="it is not installed", fix=FIX)
