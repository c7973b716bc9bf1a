"""The one table of merges: for every kind its rules for shapes and dtypes, its NumPy function and its Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError
from keras_stitch.graphs.shapes import FLOATS, NUMBERS, bits, kind_of
from keras_stitch.graphs.spec import Feed, Merge, Shape, shape_text

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of merge.

    Attributes:
        shape: The shape of the result: of the merge and the shapes of its sources, without the batch axis.
        arrays: The result as NumPy makes it: of the merge and arrays of one dtype, with the batch axis.
        layer: The name of its layer in ``keras.layers``.
        options: The fields of ``Merge`` that it reads, which are arguments of its layer, too.
        takes: The families of dtypes that it works on; ``None`` for any.
        makes_floats: Whether it makes floats of integers.
        new_axis: Whether every source gets a new axis before its layer takes it.
        pair: Whether it takes two sources, no more and no less.
        before: Layers that take the sources each, where its layer takes what these make.
    """

    shape: Callable[[Merge, Sequence[Shape]], Shape]
    arrays: Callable[[Merge, Sequence[Array]], Array]
    layer: str
    options: tuple[str, ...] = ()
    takes: frozenset[str] | None = frozenset(NUMBERS)
    makes_floats: bool = False
    new_axis: bool = False
    pair: bool = False
    before: tuple[str, ...] = ()


def options_of(merge: Merge) -> dict[str, Any]:
    """The options that a merge reads; none for a Keras layer, which has its own.

    Example:
        >>> options_of(Merge("stack", 1)), options_of(Merge("add"))
        ({'axis': 1}, {})
    """
    return {} if merge.kind == "layer" else {name: getattr(merge, name) for name in KINDS[merge.kind].options}


def merged_shape(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    """The shape of several tensors merged.

    Raises:
        StitchError: If they cannot be; the message says which rule they break.
    """
    return KINDS[merge.kind].shape(merge, shapes)


def merged_dtype(merge: Merge, dtypes: Sequence[str]) -> str:
    """The dtype of several tensors merged.

    Raises:
        StitchError: If, say, strings meet numbers.
    """
    if merge.kind == "layer":
        return widest(dtypes)
    kind, families = KINDS[merge.kind], {kind_of(dtype) for dtype in dtypes}
    if len(families) > 1 and not families <= NUMBERS:
        listed = " and ".join(dict.fromkeys(dtypes))
        raise StitchError(f"{listed} do not mix.", expected="numbers, or one dtype for all sources")
    if kind.takes is not None and not families <= kind.takes:
        odd = next(dtype for dtype in dtypes if kind_of(dtype) not in kind.takes)
        expected = "numbers" if kind.takes == NUMBERS else " or ".join(f"{family}s" for family in kind.takes)
        raise StitchError(f"'{merge.kind}' does not work on {odd}.", expected=expected)
    return "float32" if kind.makes_floats and "float" not in families else widest(dtypes)


def dtype_of(feed: Feed) -> str:
    """The dtype of what is merged for a port, before the port casts it."""
    return merged_dtype(feed.merge, [port.dtype or "float32" for port in feed.tap_ports])


def widest(dtypes: Sequence[str]) -> str:
    """The widest of some dtypes: a float where there is one, else an integer.

    Example:
        >>> widest(["int64", "float16", "float32"]), widest(["bool", "int32"])
        ('float32', 'int32')
    """
    floats = [dtype for dtype in dtypes if kind_of(dtype) == "float"]
    integers = [dtype for dtype in dtypes if kind_of(dtype) == "int"]
    return max(floats, key=FLOATS.index) if floats else max(integers or dtypes, key=bits)


def merge_arrays(feed: Feed, arrays: Sequence[Array]) -> Array:
    """Several arrays of shape ``(rows, ...)``, made one for a port by NumPy."""
    dtype = dtype_of(feed)

    def cast(array: Array) -> Array:
        return array if array.dtype.kind in "SU" else array.astype(dtype, copy=False)

    return cast(KINDS[feed.merge.kind].arrays(feed.merge, list(map(cast, arrays))))


def positive_axis(axis: int, rank: int, option: str = "axis") -> int:
    """An axis counted from the batch axis on, of a tensor with ``rank`` axes beside it; messages call it ``option``.

    Raises:
        StitchError: If it is the batch axis or there is no such axis.
    """
    known = f"{option}=1 or {option}=-1"
    if rank != 1:
        known = f"{option}=1 to {option}={rank}, or {option}=-1 to {option}=-{rank}"
    position = axis + rank + 1 if axis < 0 else axis
    if position == 0:
        raise StitchError(f"{option}={axis} is the batch axis: its rows must stay apart.", expected=known)
    if not 0 < position <= rank:
        raise StitchError(f"{option}={axis} does not exist.", expected=known)
    return position


# -- rules for shapes ----------------------------------------------------------


def _concatenated(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    rank = _one_rank(shapes, "be concatenated", "the same number of axes")
    if rank == 0:
        raise StitchError("Sources that have only the batch axis cannot be concatenated.")
    position = positive_axis(merge.axis, rank) - 1
    result: list[int | None] = []
    for index, dims in enumerate(zip(*shapes, strict=True)):
        if index == position:
            result.append(None if None in dims else sum(dim for dim in dims if dim is not None))
        else:
            result.append(_common(dims, f"concatenated along axis {merge.axis}", "the same size on every other axis"))
    return tuple(result)


def _stacked(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    rank = _one_rank(shapes, "be stacked", "equal shapes")
    position = positive_axis(merge.axis, rank + 1) - 1
    dims = [_common(dims, "stacked", "equal shapes") for dims in zip(*shapes, strict=True)]
    if dims.count(None) > 1:
        raise StitchError(
            f"Sources of shape {shape_text(tuple(dims))} cannot be stacked.",
            expected="at most one variable dimension: no Keras layer adds an axis to more",
        )
    return (*dims[:position], len(shapes), *dims[position:])


def _subtracted(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    add_up = (
        "Add up what is to be taken away, in a node of its own: "
        'graph.add("sum", keras.layers.Identity()), graph.connect([...], "sum", merge="add").'
    )
    _check_two(shapes, "'subtract' takes the second source from the first.", add_up if len(shapes) > 2 else None)
    return _broadcast(merge, shapes)


def _paired(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    _check_two(shapes, f"'{merge.kind}' takes two sources.")
    return _broadcast(merge, shapes)


def _dotted(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    _check_two(shapes, "'dot' takes two sources.")
    axes = [
        positive_axis(axis, len(shape), "axes") - 1 for axis, shape in zip(_axis_of_each(merge), shapes, strict=True)
    ]
    sizes = [shape[axis] for axis, shape in zip(axes, shapes, strict=True)]
    if sizes[0] != sizes[1]:
        raise StitchError(
            f"axes={merge.axes} have the sizes {sizes[0]} and {sizes[1]}.",
            expected="axes of one size, or both of variable length",
        )
    left = [dim for axis, shape in zip(axes, shapes, strict=True) for dim in (*shape[:axis], *shape[axis + 1 :])]
    return tuple(left) or (1,)


def _check_two(shapes: Sequence[Shape], message: str, fix: str | None = None) -> None:
    if len(shapes) != 2:
        received = "1 source" if len(shapes) == 1 else f"{len(shapes)} sources"
        raise StitchError(message, expected="2 sources", received=received, fix=fix)


def _axis_of_each(merge: Merge) -> tuple[int, int]:
    assert merge.axes is not None
    return merge.axes if isinstance(merge.axes, tuple) else (merge.axes, merge.axes)


def _broadcast(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    _one_rank(shapes, f"go through '{merge.kind}'", "the same number of axes")
    result = []
    for dims in zip(*shapes, strict=True):
        wide = [dim for dim in dims if dim != 1]
        result.append(_common(wide, f"merged by '{merge.kind}'", "sizes that are equal or 1") if wide else 1)
    return tuple(result)


def _one_rank(shapes: Sequence[Shape], verb: str, expected: str) -> int:
    rank, *others = map(len, shapes)
    if any(other != rank for other in others):
        raise StitchError(f"Sources of different numbers of axes cannot {verb}.", expected=expected)
    return rank


def _common(dims: Sequence[int | None], verb: str, expected: str) -> int | None:
    known = {dim for dim in dims if dim is not None}
    if len(known) > 1:
        raise StitchError(f"Sources of these shapes cannot be {verb}.", expected=expected)
    return known.pop() if known else None


# -- NumPy functions -----------------------------------------------------------


def _each(function: Callable[[Array, Array], Array]) -> Callable[[Merge, Sequence[Array]], Array]:
    """A function of two arrays, applied to the first two, then to the result and the third, and so on."""
    return lambda merge, arrays: reduce(function, arrays)


def _dot(merge: Merge, arrays: Sequence[Array]) -> Array:
    # Of each row, the axis that is summed over comes last in the first array and first in the second.
    wide = [array.astype(np.promote_types(array.dtype, np.float32)) for array in arrays]
    if merge.normalize:
        wide = [_normalized(array, axis) for array, axis in zip(wide, _axis_of_each(merge), strict=True)]
    axes = _axis_of_each(merge)
    one, other = np.moveaxis(wide[0], axes[0], -1), np.moveaxis(wide[1], axes[1], 1)
    shape = (*one.shape[:-1], *other.shape[2:])
    rows, size = len(one), one.shape[-1]
    first = one.reshape(rows, prod(one.shape[1:-1]), size)
    second = other.reshape(rows, size, prod(other.shape[2:]))
    return np.matmul(first, second).reshape(shape if len(shape) > 1 else (rows, 1))


def _normalized(array: Array, axis: int) -> Array:
    """An array divided by its L2 norms, of which none is less than the smallest number that Keras divides by."""
    norms = np.sqrt(np.sum(np.square(array), axis, keepdims=True))
    normalized: Array = array / np.maximum(norms, 1e-7)
    return normalized


# -- the table -----------------------------------------------------------------

KINDS: Mapping[str, Kind] = {
    "concatenate": Kind(
        _concatenated, lambda merge, arrays: np.concatenate(arrays, merge.axis), "Concatenate", ("axis",), None
    ),
    "add": Kind(_broadcast, _each(np.add), "Add"),
    "average": Kind(
        _broadcast, lambda merge, arrays: reduce(np.add, arrays) / len(arrays), "Average", makes_floats=True
    ),
    "maximum": Kind(_broadcast, _each(np.maximum), "Maximum"),
    "minimum": Kind(_broadcast, _each(np.minimum), "Minimum"),
    "multiply": Kind(_broadcast, _each(np.multiply), "Multiply"),
    "subtract": Kind(_subtracted, _each(np.subtract), "Subtract", pair=True),
    # No layer of Keras takes absolute values. The larger less the smaller is the same, for unsigned integers, too.
    "abs_difference": Kind(
        _paired,
        _each(lambda one, other: np.maximum(one, other) - np.minimum(one, other)),
        "Subtract",
        pair=True,
        before=("Maximum", "Minimum"),
    ),
    "stack": Kind(
        _stacked, lambda merge, arrays: np.stack(arrays, merge.axis), "Concatenate", ("axis",), None, new_axis=True
    ),
    "dot": Kind(_dotted, _dot, "Dot", ("axes", "normalize"), takes=frozenset({"float"}), pair=True),
}

MERGES = tuple(KINDS)
