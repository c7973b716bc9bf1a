"""How much room the weights of a loaded model may take: an architecture of a few lines may ask for terabytes.

Keras makes all weights before it reads any from the file, and has no way to ask how large they will be.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_stitch.errors import SourceError
from keras_stitch.files.zip_files import LARGE

_PER_STORED_BYTE = 16  # weights may be stored as float16, and be made up to three times while files are repaired
_ITEM = 4  # bytes of a float32


@dataclass
class _Budget:
    left: int
    exceeded_by: tuple[str, int] | None = None


_current: ContextVar[_Budget | None] = ContextVar("budget", default=None)
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def as_stored(path: Path, stored: int) -> Iterator[None]:
    """Within it, layers may make weights for so many bytes of them in a file, and 256 MiB besides.

    Raises:
        SourceError: With the layer that asks for more.
    """
    budget = _Budget(LARGE + _PER_STORED_BYTE * stored)
    try:
        with _counted(budget):
            yield
    except Exception as error:
        if budget.exceeded_by is None:
            raise
        name, size = budget.exceeded_by
        raise SourceError(
            f"The architecture of '{path}' asks for far more weights than the file holds.",
            expected=f"{stored:,} bytes in all",
            received=f"{size:,} bytes for one weight of layer '{name}'",
            fix="The file may be damaged, or its architecture may be that of another model.",
        ) from error


@contextlib.contextmanager
def _counted(budget: _Budget) -> Iterator[None]:
    """Within it, and in this thread, what layers ask for is counted; afterwards Keras is as it was."""
    with _one_at_a_time:
        add_weight, token = keras.Layer.add_weight, _current.set(budget)
        keras.Layer.add_weight = _counting(add_weight)
        try:
            yield
        finally:
            keras.Layer.add_weight = add_weight
            _current.reset(token)


def _counting(add_weight: Any) -> Any:

    @functools.wraps(add_weight)
    def counted(layer: keras.Layer, *arguments: Any, **options: Any) -> Any:
        budget = _current.get()
        if budget is not None:
            shapes = [value for value in (*arguments, options.get("shape")) if isinstance(value, tuple | list)]
            size = sum(math.prod(one for one in shape if isinstance(one, int)) for shape in shapes) * _ITEM
            budget.left -= size
            if budget.left < 0:
                budget.exceeded_by = layer.name, size
                raise MemoryError
        return add_weight(layer, *arguments, **options)

    return counted
