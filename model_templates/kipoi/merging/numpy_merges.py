"""Connections of packed models: tensors by name, slices, casts, and merges by NumPy that equal Keras' merge layers.

A connection is the name of a tensor, or one of the classes here, whose sources are connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

Connection: TypeAlias = "str | Connected"
Tensors: TypeAlias = Mapping[str, np.ndarray]

_MERGES: dict[str, Any] = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "subtract": np.subtract,
}


class Connected:
    """What is made of other connections.

    Attributes:
        sources: Those connections.
    """

    sources: Sequence[Connection]

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        raise NotImplementedError


def arrays_of(connection: Connection, tensors: Tensors) -> np.ndarray:
    """Returns the array of a connection, of shape (rows, ...), made of arrays by name."""
    return tensors[connection] if isinstance(connection, str) else connection(tensors)


def names_in(connection: Connection) -> Iterator[str]:
    """Yields the names of the tensors that a connection takes, each as often as it is taken."""
    if isinstance(connection, str):
        yield connection
    else:
        for source in connection.sources:
            yield from names_in(source)


class Take(Connected):
    """Part of the last axis of a connection: from ``start`` to before ``stop``."""

    def __init__(self, source: Connection, start: int | None, stop: int | None) -> None:
        self.sources, self.part = [source], slice(start, stop)

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        return arrays_of(self.sources[0], tensors)[..., self.part]


class Cast(Connected):
    """A connection in another dtype."""

    def __init__(self, source: Connection, dtype: str) -> None:
        self.sources, self.dtype = [source], dtype

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        return arrays_of(self.sources[0], tensors).astype(self.dtype, copy=False)


class Merge(Connected):
    """Several connections merged into one.

    Args:
        kind: "concatenate", "stack", "add", "average", "maximum", "minimum", "multiply" or "subtract".
        sources: The connections; all but "concatenate" and "stack" broadcast them.
        axis: For "concatenate" and "stack", with the batch axis as 0.
        dtype: The dtype in which they are merged.
    """

    def __init__(self, kind: str, sources: Sequence[Connection], dtype: str, axis: int = -1) -> None:
        self.kind, self.sources, self.axis, self.dtype = kind, sources, axis, dtype

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        arrays = [arrays_of(source, tensors) for source in self.sources]
        arrays = [array if array.dtype.kind in "SU" else array.astype(self.dtype, copy=False) for array in arrays]
        if self.kind == "concatenate":
            return np.concatenate(arrays, self.axis)
        if self.kind == "stack":
            return np.stack(arrays, self.axis)
        if self.kind == "average":
            total: np.ndarray = reduce(np.add, arrays)
            return (total / len(arrays)).astype(self.dtype, copy=False)
        merged: np.ndarray = reduce(_MERGES[self.kind], arrays)
        return merged
