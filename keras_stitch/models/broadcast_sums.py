"""Sums of tensors of different shapes, which Keras' TensorFlow backend may add along the wrong axis.

``keras.ops.add`` (Keras 3.15) takes its second tensor for a bias if all its sizes but one are 1, and that one is the
size of the second or the last axis of the first tensor. It adds it along that axis, whichever axis it has itself. The
size of the batch counts, too, where it is known, as in a direct call.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.shapes import kind_of

Shape = tuple[int | None, ...]


def may_go_wrong(one: Shape, other: Shape) -> bool:
    """Whether Keras adds a tensor of the second shape to one of the first along the wrong axis, for any open sizes.

    An axis that is open in both is taken to have one size.

    Example:
        >>> may_go_wrong((None, 4, 4), (None, 4, 1)), may_go_wrong((None, 4, 4), (4,))
        (True, False)
    """
    rank = max(len(one), len(other))
    pairs = list(zip(*((1,) * (rank - len(shape)) + shape for shape in (one, other)), strict=True))
    known = {size for pair in pairs for size in pair if size is not None} | {1}
    tried = sorted({*known, max(known) + 1})
    choices = []
    for pair in pairs:
        if pair == (None, None):
            choices.append([(size, size) for size in tried])
        else:
            free = [[size] if size is not None else tried for size in pair]
            choices.append([both for both in itertools.product(*free) if both[0] == both[1] or 1 in both])
    return any(_goes_wrong(sizes, len(one)) for sizes in itertools.product(*choices))


def _goes_wrong(sizes: Sequence[tuple[int, int]], rank: int) -> bool:
    """The same for sizes that are known, in pairs from the first axis on; the first tensor has so many axes."""
    first = [size for size, _ in sizes[len(sizes) - rank :]]
    long = [axis for axis, (_, size) in enumerate(sizes) if size > 1]
    if len(long) != 1 or rank < 2:
        return False
    size = sizes[long[0]][1]
    if size not in (first[1], first[-1]):
        return False
    along = len(sizes) - 1 if first[-1] == size else len(sizes) - rank + 1
    return along != long[0] or len(sizes) > rank


def in_order(tensors: Sequence[Any]) -> list[Any] | None:
    """The same tensors in an order in which Keras adds them along the right axes; ``None`` if there is none."""
    return next((list(order) for order in _orders(tensors) if _adds_right([_shape(one) for one in order])), None)


def _orders(tensors: Sequence[Any]) -> list[Sequence[Any]]:
    """As they are, and with each one first."""
    return [tensors, *([one, *tensors[:at], *tensors[at + 1 :]] for at, one in enumerate(tensors) if at)]


def _adds_right(shapes: Sequence[Shape]) -> bool:
    total = shapes[0]
    for shape in shapes[1:]:
        if may_go_wrong(total, shape):
            return False
        total = tuple(keras.ops.add(keras.KerasTensor(total), keras.KerasTensor(shape)).shape)
    return True


def _shape(tensor: Any) -> Shape:
    return tuple(getattr(tensor, "shape", ()))


def by_layers(
    tensors: Sequence[Any], names: Names, base: str, policy: str, *, mean: bool = False, last: str | None = None
) -> Any:
    """The sum or mean of tensors by subtracting their negatives, in layers of new names; ``last`` is for the last."""

    def minus(one: Any, other: Any, name: str | None = None) -> Any:
        return keras.layers.Subtract(name=name or names.new(base), dtype=policy)([one, other])

    total = tensors[0]
    for number, tensor in enumerate(tensors[1:], 2):
        if kind_of(str(tensor.dtype)) == "float":
            negative = keras.layers.Rescaling(-1.0, name=names.new(base), dtype=policy)(tensor)
        else:
            # Rescaling would make floats of integers.
            negative = minus(minus(tensor, tensor), tensor)
        total = minus(total, negative, last if number == len(tensors) and not mean else None)
    if not mean:
        return total
    return keras.layers.Rescaling(1 / len(tensors), name=last or names.new(base), dtype=policy)(total)


def by_operations(one: Any, other: Any, names: Names, last: str) -> Any:
    """The sum of two tensors, of which one may be numbers, by operations; the last one has that name."""
    one, other = (one, other) if isinstance(other, keras.KerasTensor) else (other, one)
    minus, negative = (_operation(kind) for kind in ("Subtract", "Negative"))
    name = names.new(f"{last}_negative")
    if kind_of(str(other.dtype)) == "float":
        return minus(name=last)(one, negative(name=name)(other))
    zeros = minus(name=names.new(f"{last}_zeros"))(other, other)
    return minus(name=last)(one, minus(name=name)(zeros, other))


def _operation(kind: str) -> type[keras.Operation]:
    found: type[keras.Operation] = getattr(importlib.import_module(str(keras_private.operation_module(kind))), kind)
    return found
