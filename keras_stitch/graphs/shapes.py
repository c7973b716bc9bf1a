"""Which shapes and dtypes fit each other; shapes leave the batch axis out."""

from __future__ import annotations

from keras_stitch.graphs.spec import Shape

NUMBERS = {"bool", "int", "float"}
FLOATS = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64")


def kind_of(dtype: str) -> str:
    """``"float"``, ``"int"``, ``"bool"`` or another family of dtypes."""
    return next((kind for kind in ("float", "int", "bool", "complex") if kind in dtype), dtype)


def dtype_fits(source: str | None, target: str | None) -> bool:
    """Whether a tensor may feed a port without losing anything: floats take integers, not the other way round."""
    if source is None or target is None:
        return True
    order = {"bool": 0, "int": 1, "float": 2}
    have, want = kind_of(source), kind_of(target)
    return have == want or (have in order and want in order and order[have] < order[want])


def common_dtype(one: str | None, other: str | None) -> str | None:
    """The dtype of a graph input that feeds ports of both: integers where one wants them, else the wider."""
    if one is None or other is None or one == other:
        return one or other
    if kind_of(one) != kind_of(other):
        return other if dtype_fits(other, one) else one
    return max(one, other, key=FLOATS.index if kind_of(one) == "float" else bits)


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


def bits(dtype: str) -> tuple[int, str]:
    """What integer dtypes are compared by: how many bits they have."""
    return int("".join(filter(str.isdigit, dtype)) or 0), dtype
