"""Connections of packed models: tensors by name, slices, casts, and merges by NumPy that equal Keras' merge layers.

A connection is the name of a tensor, or one of the classes here, whose sources are connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

Connection: TypeAlias = "str | Connected"
Tensors: TypeAlias = Mapping[str, np.ndarray]


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
    """Part of one axis of a connection, from ``start`` to before ``stop``; ``axis`` counts back from the last, -1."""

    def __init__(self, source: Connection, start: int | None, stop: int | None, axis: int = -1) -> None:
        self.sources, self.index = [source], (..., slice(start, stop), *[slice(None)] * (-1 - axis))

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        return arrays_of(self.sources[0], tensors)[self.index]


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
        kind: A key of ``MERGES``.
        sources: The connections; all but "concatenate", "stack" and "dot" broadcast them.
        axis: For "concatenate" and "stack", with the batch axis as 0.
        dtype: The dtype in which they are merged.
        axes: For "dot", the axis of both sources that is summed over, or of each; with the batch axis as 0.
        normalize: For "dot", whether the sources are divided by their L2 norms along these axes first.
    """

    def __init__(
        self,
        kind: str,
        sources: Sequence[Connection],
        dtype: str,
        axis: int = -1,
        axes: int | tuple[int, int] = -1,
        normalize: bool = False,
    ) -> None:
        self.kind, self.sources, self.axis, self.dtype = kind, sources, axis, dtype
        self.axes, self.normalize = (axes, axes) if isinstance(axes, int) else axes, normalize

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Returns its array, made of arrays by name."""
        arrays = [arrays_of(source, tensors) for source in self.sources]
        return self._cast(MERGES[self.kind](self, [self._cast(array) for array in arrays]))

    def _cast(self, array: np.ndarray) -> np.ndarray:
        """Returns an array in the dtype of the merge, and text as it is."""
        return array if array.dtype.kind in "SU" else array.astype(self.dtype, copy=False)


def _each(function: Callable[..., Any]) -> Callable[[Merge, list[np.ndarray]], np.ndarray]:
    """Returns what applies a function to the first two arrays, then to the result and the third, and so on."""
    return lambda merge, arrays: reduce(function, arrays)


def _dot(merge: Merge, arrays: list[np.ndarray]) -> np.ndarray:
    """Returns the sums of the products of two arrays along an axis of each, for every row."""
    one, other = (np.moveaxis(array, axis, -1) for array, axis in zip(arrays, merge.axes, strict=True))
    if merge.normalize:
        one, other = (array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-7) for array in (one, other))
    rows = [np.tensordot(first, second, (-1, -1)) for first, second in zip(one, other, strict=True)]
    return np.reshape(rows, (len(rows), *(one.shape[1:-1] + other.shape[1:-1] or (1,))))


# What each kind of merge makes of arrays.
MERGES: dict[str, Callable[[Merge, list[np.ndarray]], np.ndarray]] = {
    "concatenate": lambda merge, arrays: np.concatenate(arrays, merge.axis),
    "stack": lambda merge, arrays: np.stack(arrays, merge.axis),
    "add": _each(np.add),
    "average": lambda merge, arrays: reduce(np.add, arrays) / len(arrays),
    "maximum": _each(np.maximum),
    "minimum": _each(np.minimum),
    "multiply": _each(np.multiply),
    "subtract": _each(np.subtract),
    "abs_difference": lambda merge, arrays: np.maximum(*arrays) - np.minimum(*arrays),
    "dot": _dot,
}
