"""What arrives at a model: tensors by their names, parts of them, and several made one as Keras' merge layers do it.

A connection is the name of a tensor, or one of the classes here, whose sources are connections.
"""

from functools import reduce

import numpy as np

_MERGES = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "subtract": np.subtract,
}


def arrays_of(connection, tensors):
    """Returns the array of a connection, of shape (rows, ...).

    Args:
        connection: The connection.
        tensors: Arrays by name.
    """
    return tensors[connection] if isinstance(connection, str) else connection(tensors)


def names_in(connection):
    """Yields the names of the tensors that a connection is made of, as often as it takes them."""
    if isinstance(connection, str):
        yield connection
    else:
        for source in connection.sources:
            yield from names_in(source)


class Take:
    """Part of the last axis of a connection: from ``start`` to before ``stop``."""

    def __init__(self, source, start, stop):
        self.sources, self.part = [source], slice(start, stop)

    def __call__(self, tensors):
        return arrays_of(self.sources[0], tensors)[..., self.part]


class Cast:
    """A connection in another dtype."""

    def __init__(self, source, dtype):
        self.sources, self.dtype = [source], dtype

    def __call__(self, tensors):
        return arrays_of(self.sources[0], tensors).astype(self.dtype, copy=False)


class Merge:
    """Several connections made one.

    Args:
        kind: "concatenate", "stack", "add", "average", "maximum", "minimum", "multiply" or "subtract".
        sources: The connections; all but "concatenate" and "stack" broadcast them.
        axis: For "concatenate" and "stack", with the batch axis as 0.
        dtype: In which they are merged.
    """

    def __init__(self, kind, sources, dtype, axis=-1):
        self.kind, self.sources, self.axis, self.dtype = kind, sources, axis, dtype

    def __call__(self, tensors):
        arrays = [arrays_of(source, tensors) for source in self.sources]
        arrays = [array if array.dtype.kind in "SU" else array.astype(self.dtype, copy=False) for array in arrays]
        if self.kind == "concatenate":
            return np.concatenate(arrays, self.axis)
        if self.kind == "stack":
            return np.stack(arrays, self.axis)
        if self.kind == "average":
            return (reduce(np.add, arrays) / len(arrays)).astype(self.dtype, copy=False)
        return reduce(_MERGES[self.kind], arrays)
