"""What to change so that tensors fit: the last line of a message about shapes, ready to be typed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from keras_stitch.errors import StitchError
from keras_stitch.graphs.merges import KINDS, merged_shape
from keras_stitch.graphs.names import clean
from keras_stitch.graphs.references import Range, parse_reference
from keras_stitch.graphs.shapes import shape_fits, unify
from keras_stitch.graphs.spec import Merge, Port, Shape, shape_text


def shape_fix(source: str, have: Shape, want: Shape, target: str) -> str:
    """What to add so that a tensor fits a port of another shape.

    Example:
        >>> shape_fix("model1", (4,), (4, 1), "model2")  # doctest: +ELLIPSIS
        'Add a node between them: graph.add("model1_reshape", keras.layers.Reshape((4, 1))), then ...'
    """
    same_sizes = len(have) == len(want) > 1 and sorted(map(str, have)) == sorted(map(str, want))
    if same_sizes and 1 not in have:
        return _node_between(source, target, "permute", f"Permute({_permutation(have, want)})")
    reshaped = _reshaped(have, want)
    if reshaped is not None:
        return _node_between(source, target, "reshape", _reshape(reshaped))
    longer = bool(have and want) and (have[-1] or 0) > (want[-1] or 0) > 0
    if longer and shape_fits(have[:-1], want[:-1]):
        return f'Connect a part of it, such as "{_first(source, want[-1] or 0)}".'
    return f"Connect something of shape {shape_text(want)}, or a layer between them that makes it."


def merge_fix(merge: Merge, ports: Sequence[Port], target: Shape | None) -> str | None:
    """What to change so that sources that cannot be merged can be, and fit their target.

    Example:
        >>> merge_fix(Merge("concatenate"), [Port("m1", (4, 5)), Port("m2", (3, 5))], (7, 5))
        'Merge along axis=1, which gives (7, 5).'
        >>> merge_fix(Merge("add"), [Port("m1", (4,)), Port("m2", (3,))], None)
        'Take parts of one size, such as "m1[0:3]".'
    """
    if merge.kind == "layer":
        return None
    shapes = [port.shape or () for port in ports]
    ranks = {len(shape) for shape in shapes}
    if "axis" in KINDS[merge.kind].options:
        for axis in range(1, min(ranks) + 2):
            made = _tried(replace(merge, axis=axis), shapes)
            if made is not None and shape_fits(made, target):
                return f"Merge along axis={axis}, which gives {shape_text(made)}."
    for rank in sorted(ranks | {len(target or ())}, reverse=True):
        for position in range(rank, -1, -1):
            wanted = [_with_rank(shape, rank, position) for shape in shapes]
            made = _tried(merge, wanted)
            if made is not None and shape_fits(made, target):
                odd = [(port.name, want) for port, want in zip(ports, wanted, strict=True) if want != port.shape]
                return " ".join(_node_before(source, _reshape(want or ())) for source, want in odd)
    longest = max(ports, key=lambda port: (port.shape or (0,))[-1] or 0)
    shortest = min((shape or (0,))[-1] or 0 for shape in shapes)
    merges_now = _tried(merge, shapes) is not None
    if not merges_now and shortest and _tried(merge, [(*shape[:-1], shortest) for shape in shapes]):
        return f'Take parts of one size, such as "{_first(longest.name, shortest)}".'
    return None


def _tried(merge: Merge, shapes: Sequence[Shape | None]) -> Shape | None:
    try:
        return None if None in shapes else merged_shape(merge, [shape for shape in shapes if shape is not None])
    except StitchError:
        return None


def _reshaped(have: Shape, want: Shape) -> Shape | None:
    """What to reshape to, where that changes nothing but axes of size 1 or where all sizes are known."""
    found = None
    if None not in have and None not in want:
        found = want if math.prod(have) == math.prod(want) else None  # type: ignore[arg-type]
    elif len(have) == len(want) + 1 and have[-1] == 1:
        found = unify(have[:-1], want)
    elif len(have) + 1 == len(want) and want[-1] == 1:
        found = unify((*have, 1), want)
    return None if found is None or found.count(None) > 1 else found


def _with_rank(shape: Shape, rank: int, position: int) -> Shape | None:
    """A shape with axes of size 1 added at a position, or taken away at the end or the start."""
    extra = len(shape) - rank
    if extra and shape.count(None) > 1:
        return None
    if extra <= 0:
        return (*shape[:position], *(1,) * -extra, *shape[position:])
    for kept, gone in ((shape[:rank], shape[rank:]), (shape[extra:], shape[:extra])):
        if set(gone) == {1}:
            return kept
    return None


def _permutation(have: Shape, want: Shape) -> tuple[int, ...]:
    left = list(enumerate(have, 1))
    order = []
    for dim in want:
        index = next(i for i, (_, size) in enumerate(left) if size == dim)
        order.append(left.pop(index)[0])
    return tuple(order)


def _first(source: str, count: int) -> str:
    """The first elements of a source that may be a part itself: ``m1[2:9]`` to ``m1[2:6]``."""
    reference = parse_reference(source)
    start = (reference.part[-1].start if reference.part else None) or 0
    return str(replace(reference, part=(Range(start, start + count),)))


def _reshape(shape: Shape) -> str:
    return f"Reshape({tuple(-1 if dim is None else dim for dim in shape)})"


def _node_between(source: str, target: str, what: str, layer: str) -> str:
    name = f"{clean(parse_reference(source).whole)}_{what}"
    return (
        f'Add a node between them: graph.add("{name}", keras.layers.{layer}), then '
        f'graph.connect("{source}", "{name}") and graph.connect("{name}", "{target}").'
    )


def _node_before(source: str, layer: str) -> str:
    name = f"{clean(parse_reference(source).whole)}_reshape"
    return (
        f'Add a node: graph.add("{name}", keras.layers.{layer}), graph.connect("{source}", "{name}"), '
        f'and merge "{name}" instead of "{source}".'
    )
