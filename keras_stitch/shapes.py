"""What merges, slices and connections do to shapes and dtypes, on plain data.

Shapes leave the batch axis out; the axis of a merge counts it, as Keras does.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_stitch.errors import StitchError
from keras_stitch.references import Part
from keras_stitch.spec import Merge, Port, Shape, shape_text

_NUMBERS = {"bool", "int", "float"}
_FLOATS = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64")


def kind_of(dtype: str) -> str:
    """``"float"``, ``"int"``, ``"bool"`` or another family of dtypes."""
    for kind in ("float", "int", "bool", "complex"):
        if kind in dtype:
            return kind
    return dtype


def dtype_fits(source: str | None, target: str | None) -> bool:
    """Whether a tensor may feed a port without losing anything.

    Example:
        >>> dtype_fits("int32", "float32"), dtype_fits("float32", "int32")
        (True, False)
    """
    if source is None or target is None:
        return True
    order = {"bool": 0, "int": 1, "float": 2}
    have, want = kind_of(source), kind_of(target)
    return have == want or (have in order and want in order and order[have] < order[want])


def common_dtype(one: str | None, other: str | None) -> str | None:
    """The dtype of a graph input that feeds ports of both: integers where one wants them, else the wider.

    Example:
        >>> common_dtype("float16", "float32"), common_dtype("float32", "int32")
        ('float32', 'int32')
    """
    if one is None or other is None or one == other:
        return one or other
    if kind_of(one) != kind_of(other):
        return other if dtype_fits(other, one) else one
    if kind_of(one) == "float":
        return max(one, other, key=_FLOATS.index)
    return max(one, other, key=_bits)


def dims_agree(one: int | None, other: int | None) -> bool:
    """Whether two dimensions can be the same; ``None`` can be any."""
    return one is None or other is None or one == other


def shape_fits(source: Shape | None, target: Shape | None) -> bool:
    """Whether a tensor of one shape may feed a port of another."""
    if source is None or target is None:
        return True
    return len(source) == len(target) and all(map(dims_agree, source, target))


def unify(one: Shape, other: Shape) -> Shape | None:
    """The shape that satisfies both, or ``None`` where there is none."""
    if not shape_fits(one, other):
        return None
    return tuple(b if a is None else a for a, b in zip(one, other, strict=True))


def sliced(shape: Shape | None, part: Part) -> tuple[Shape | None, tuple[int, int] | None]:
    """The shape of a part of the last axis, and the part as non-negative bounds.

    Raises:
        StitchError: If the part cannot be taken.

    Example:
        >>> sliced((None, 4), Part(1, 3))
        ((None, 2), (1, 3))
    """
    if shape is None:
        return None, None
    if not shape:
        raise StitchError("There is no axis but the batch axis.", expected="a last axis of known length")
    if shape[-1] is None:
        raise StitchError(
            f"The last axis of {shape_text(shape)} is of variable length.", expected="a last axis of known length"
        )
    if len(shape) > 4:
        raise StitchError(
            f"{shape_text(shape)} has more axes than any Keras layer crops.",
            expected="at most 4 axes beside the batch axis",
            fix="Reshape it first, with a node of its own.",
        )
    start, stop = part.resolve(shape[-1])
    return (*shape[:-1], stop - start), (None if (start, stop) == (0, shape[-1]) else (start, stop))


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
    if len(kinds) > 1 and not kinds <= _NUMBERS and merge.kind != "layer":
        listed = " and ".join(dict.fromkeys(dtypes))
        raise StitchError(f"{listed} do not mix.", expected="numbers, or one dtype for all sources")
    if not kinds <= _NUMBERS and merge.kind not in ("concatenate", "stack", "layer"):
        raise StitchError(f"'{merge.kind}' does not work on {dtypes[0]}.", expected="numbers")
    floats = [dtype for dtype in dtypes if kind_of(dtype) == "float"]
    if floats:
        return max(floats, key=_FLOATS.index)
    if merge.kind == "average":
        return "float32"
    integers = [dtype for dtype in dtypes if kind_of(dtype) == "int"]
    return max(integers or dtypes, key=_bits)


def _bits(dtype: str) -> tuple[int, str]:
    return int("".join(filter(str.isdigit, dtype)) or 0), dtype


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


def ports_text(ports: Sequence[Port]) -> str:
    """Several ports as messages show them: ``'a' (4,) float32 and 'b' (3,) float32``."""
    return " and ".join(f"'{port.name}' {shape_text(port.shape)} {port.dtype}" for port in ports)
