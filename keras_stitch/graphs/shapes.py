"""What merges, slices and connections do to shapes and dtypes, on plain data.

Shapes leave the batch axis out; the axis of a merge counts it, as Keras does.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_stitch.errors import StitchError
from keras_stitch.graphs.references import Part, Range, Span, part_text
from keras_stitch.graphs.spec import Port, Shape, shape_text

WHOLE = Range(None, None)


NUMBERS = {"bool", "int", "float"}


FLOATS = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64")


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
        return max(one, other, key=FLOATS.index)
    return max(one, other, key=bits)


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


def sliced(shape: Shape | None, part: Part) -> tuple[Shape | None, tuple[Span, ...]]:
    """The shape of a part of a tensor, and what is taken of each axis that is cut.

    Raises:
        StitchError: If the part cannot be taken.

    Example:
        >>> sliced((None, 4), (Range(1, 3),))
        ((None, 2), (Span(start=1, stop=3, axis=-1),))
        >>> sliced((5, 4), (Range(0, 1), Range(None, None)))
        ((1, 4), (Span(start=0, stop=1, axis=-2),))
    """
    if shape is None or not part:
        return shape, ()
    if len(part) == 1:
        part = (*(WHOLE,) * (len(shape) - 1), *part)
        if not shape:
            raise StitchError("There is no axis but the batch axis.", expected="a last axis of known length")
    if len(part) != len(shape):
        raise _other_rank(shape, part)
    if len(shape) > 4:
        raise StitchError(
            f"{shape_text(shape)} has more axes than any Keras layer crops.",
            expected="at most 4 axes beside the batch axis",
            fix="Reshape it first, with a node of its own.",
        )
    sizes, spans = list(shape), []
    for axis, (asked, size) in enumerate(zip(part, shape, strict=True), -len(shape)):
        if asked == WHOLE:
            continue
        called = "last axis" if axis == -1 else f"axis {axis + len(shape) + 1}"
        if size is None:
            what = f"The {called}" if axis == -1 else called.capitalize()
            raise StitchError(
                f"{what} of {shape_text(shape)} is of variable length.",
                expected=f"{'a ' if axis == -1 else ''}{called} of known length",
            )
        start, stop = asked.resolve(size, f"a {called}" if axis == -1 else called)
        if (start, stop) != (0, size):
            sizes[axis] = stop - start
            spans.append(Span(start, stop, axis))
    return tuple(sizes), tuple(spans)


def _other_rank(shape: Shape, part: Part) -> StitchError:
    """Several positions that are not those of all axes: NumPy would take the first ones, which is easily meant else."""
    fix = None
    if len(part) < len(shape):
        fix = f"Give every axis its own, such as {part_text((*part, *(WHOLE,) * (len(shape) - len(part))))}."
    elif len(part) == len(shape) + 1 and part[0] == WHOLE:
        fix = f"Leave the batch axis out: {part_text(part[1:])}."
    return StitchError(
        f"{part_text(part)} is of {len(part)} axes, and {shape_text(shape)} has {len(shape)} beside the batch axis.",
        expected="one index or slice, of the last axis, or one for each axis beside the batch axis",
        fix=fix,
    )


def spans_text(part: Sequence[Span], rank: int) -> str:
    """What is taken of the axes of a tensor, as references say it.

    Example:
        >>> spans_text([Span(0, 3)], 2), spans_text([Span(0, 3, -2)], 2), spans_text([], 2)
        ('[0:3]', '[0:3, :]', '')
    """
    taken = {span.axis: f"{span.start}:{span.stop}" for span in part}
    axes = range(-1 if taken.keys() <= {-1} else -rank, 0)
    return f"[{', '.join(taken.get(axis, ':') for axis in axes)}]" if taken else ""


def bits(dtype: str) -> tuple[int, str]:
    """What integer dtypes are compared by: how many bits they have."""
    return int("".join(filter(str.isdigit, dtype)) or 0), dtype


def ports_text(ports: Sequence[Port]) -> str:
    """Several ports as messages show them: ``'a' (4,) float32 and 'b' (3,) float32``."""
    return " and ".join(f"'{port.name}' {shape_text(port.shape)} {port.dtype}" for port in ports)
