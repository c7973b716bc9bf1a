"""The rules of every merge: what it makes of shapes, dtypes and NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError
from keras_stitch.graphs.shapes import FLOATS, NUMBERS, bits, kind_of
from keras_stitch.graphs.spec import Feed, Merge, Shape, shape_text

Array = np.ndarray[Any, Any]
MERGES = ("concatenate", "add", "average", "maximum", "minimum", "multiply", "subtract", "stack")


def merged_shape(merge: Merge, shapes: Sequence[Shape]) -> Shape:
    """The shape of several tensors merged.

    Raises:
        StitchError: If they cannot be; the message says which rule they break.

    Example:
        >>> merged_shape(Merge("concatenate"), [(4,), (3,)])
        (7,)
    """
    if merge.kind == "concatenate":
        return _concatenated(merge.axis, shapes)
    if merge.kind == "stack":
        return _stacked(merge.axis, shapes)
    if merge.kind == "subtract" and len(shapes) != 2:
        raise StitchError(
            "'subtract' takes the second source from the first.",
            expected="2 sources",
            received=f"{len(shapes)} sources",
            fix="Add up what is to be taken away, in a node of its own: "
            'graph.add("sum", keras.layers.Identity()), graph.connect([...], "sum", merge="add").',
        )
    return _broadcast(merge.kind, shapes)


def merged_dtype(merge: Merge, dtypes: Sequence[str]) -> str:
    """The dtype of several tensors merged.

    Raises:
        StitchError: If, say, strings meet numbers.

    Example:
        >>> merged_dtype(Merge("add"), ["int32", "float32"])
        'float32'
    """
    kinds = {kind_of(dtype) for dtype in dtypes}
    if len(kinds) > 1 and not kinds <= NUMBERS and merge.kind != "layer":
        listed = " and ".join(dict.fromkeys(dtypes))
        raise StitchError(f"{listed} do not mix.", expected="numbers, or one dtype for all sources")
    if not kinds <= NUMBERS and merge.kind not in ("concatenate", "stack", "layer"):
        raise StitchError(f"'{merge.kind}' does not work on {dtypes[0]}.", expected="numbers")
    floats = [dtype for dtype in dtypes if kind_of(dtype) == "float"]
    if floats:
        return max(floats, key=FLOATS.index)
    if merge.kind == "average":
        return "float32"
    integers = [dtype for dtype in dtypes if kind_of(dtype) == "int"]
    return max(integers or dtypes, key=bits)


def positive_axis(axis: int, rank: int) -> int:
    """An axis counted from the batch axis on, of a tensor with ``rank`` axes beside it.

    Raises:
        StitchError: If it is the batch axis or there is no such axis.
    """
    position = axis + rank + 1 if axis < 0 else axis
    if position == 0:
        raise StitchError(f"axis={axis} is the batch axis: its rows must stay apart.", expected=_axes(rank))
    if not 0 < position <= rank:
        raise StitchError(f"axis={axis} does not exist.", expected=_axes(rank))
    return position


def _axes(rank: int) -> str:
    return "axis=1 or axis=-1" if rank == 1 else f"axis=1 to axis={rank}, or axis=-1 to axis=-{rank}"


def _concatenated(axis: int, shapes: Sequence[Shape]) -> Shape:
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        raise StitchError(
            "Sources of different numbers of axes cannot be concatenated.", expected="the same number of axes"
        )
    if rank == 0:
        raise StitchError("Sources that have only the batch axis cannot be concatenated.")
    position = positive_axis(axis, rank) - 1
    result: list[int | None] = []
    for index, dims in enumerate(zip(*shapes, strict=True)):
        if index == position:
            result.append(None if None in dims else sum(dim for dim in dims if dim is not None))
        else:
            result.append(_common(dims, f"concatenated along axis {axis}", "the same size on every other axis"))
    return tuple(result)


def _stacked(axis: int, shapes: Sequence[Shape]) -> Shape:
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        raise StitchError("Sources of different numbers of axes cannot be stacked.", expected="equal shapes")
    position = positive_axis(axis, rank + 1) - 1
    dims = [_common(dims, "stacked", "equal shapes") for dims in zip(*shapes, strict=True)]
    if dims.count(None) > 1:
        raise StitchError(
            f"Sources of shape {shape_text(tuple(dims))} cannot be stacked.",
            expected="at most one variable dimension: no Keras layer adds an axis to more",
        )
    return (*dims[:position], len(shapes), *dims[position:])


def _broadcast(kind: str, shapes: Sequence[Shape]) -> Shape:
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        raise StitchError(
            f"Sources of different numbers of axes cannot go through '{kind}'.", expected="the same number of axes"
        )
    result = []
    for dims in zip(*shapes, strict=True):
        wide = [dim for dim in dims if dim != 1]
        result.append(_common(wide, f"merged by '{kind}'", "sizes that are equal or 1") if wide else 1)
    return tuple(result)


def _common(dims: Sequence[int | None], verb: str, expected: str) -> int | None:
    known = {dim for dim in dims if dim is not None}
    if len(known) > 1:
        raise StitchError(f"Sources of these shapes cannot be {verb}.", expected=expected)
    return known.pop() if known else None


def merge_arrays(feed: Feed, arrays: Sequence[Array]) -> Array:
    """Several arrays made one, by NumPy.

    Args:
        feed: Says how; the axis counts the batch axis.
        arrays: Each of shape ``(rows, ...)``.

    Example:
        >>> from keras_stitch.graphs.spec import Merge, Port
        >>> taps, ports = (Tap("a", "y"), Tap("b", "y")), (Port("a", (2,)), Port("b", (2,)))
        >>> feed = Feed("c", Port("x", (2,)), taps, ports, Merge("average"))
        >>> merge_arrays(feed, [np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]])])
        array([[2., 2.]], dtype=float32)
    """
    kind, axis = feed.merge.kind, feed.merge.axis
    dtype = np.dtype(merged_dtype(feed.merge, [port.dtype or "float32" for port in feed.tap_ports]))
    values = [array if array.dtype.kind in "SU" else array.astype(dtype) for array in arrays]
    if kind == "concatenate":
        return np.concatenate(values, axis)
    if kind == "stack":
        return np.stack(values, axis)
    if kind == "average":
        return (reduce(np.add, values) / len(values)).astype(dtype)
    return reduce(getattr(np, kind), values)
