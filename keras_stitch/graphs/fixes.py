"""What to change so that tensors fit: the last line of a message about shapes, ready to be typed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from keras_stitch.errors import StitchError
from keras_stitch.graphs.merge_options import unusual_options
from keras_stitch.graphs.merges import KINDS, merged_shape
from keras_stitch.graphs.names import Names, clean
from keras_stitch.graphs.references import parse_reference
from keras_stitch.graphs.shapes import shape_fits, unify
from keras_stitch.graphs.spec import Merge, Port, Shape, shape_text


def shape_fix(source: str, have: Shape, want: Shape, target: str, names: Names) -> str:
    """What to change so that a tensor of shape ``have`` fits a port of shape ``want``.

    Example:
        >>> shape_fix("model1", (4,), (3,), "model2", Names(()))
        'Connect a part of it: graph.disconnect("model2"), graph.connect("model1[0:3]", "model2").'
    """
    same_sizes = len(have) == len(want) > 1 and sorted(map(str, have)) == sorted(map(str, want))
    if same_sizes and 1 not in have:
        return _node_between(source, target, names, f"Permute({_permutation(have, want)})")
    reshaped = _reshaped(have, want)
    if reshaped is not None:
        return _node_between(source, target, names, _reshape(reshaped))
    longer = bool(have and want) and (have[-1] or 0) > (want[-1] or 0) > 0
    if longer and shape_fits(have[:-1], want[:-1]):
        return f"Connect a part of it: {_reconnect([_first(source, want[-1] or 0)], target)}."
    anew = f"connect something of shape {shape_text(want)}, or a layer between them that makes it"
    return f'Take it back, graph.disconnect("{target}"), and {anew}.'


def merge_fix(merge: Merge, ports: Sequence[Port], want: Shape | None, target: str, names: Names) -> str | None:
    """What to change so that sources that cannot be merged can be, and fit their target of shape ``want``."""
    if merge.kind == "layer":
        return None
    sources, shapes = [port.name for port in ports], [port.row for port in ports]
    ranks, made = {len(shape) for shape in shapes}, _tried(merge, shapes)
    if made is not None and shape_fits(made, want):
        return None  # the shapes are not what is wrong
    for said, along in _along_others(merge, [len(shape) for shape in shapes]):
        found = _tried(along, shapes)
        if found is not None and shape_fits(found, want):
            return f"Merge along {said}, which gives {shape_text(found)}: {_reconnect(sources, target, along)}."
    for rank in sorted(ranks | {len(want or ())}, reverse=True):
        for position in range(rank, -1, -1):
            wanted = [_with_rank(shape, rank, position) for shape in shapes]
            found = _tried(merge, wanted)
            if found is not None and shape_fits(found, want):
                return _nodes_before(merge, ports, wanted, target, names)
    shortest = min((shape or (0,))[-1] or 0 for shape in shapes)
    if made is None and shortest and _tried(merge, [(*shape[:-1], shortest) for shape in shapes]):
        cut = [port.name if (port.shape or ())[-1:] == (shortest,) else _first(port.name, shortest) for port in ports]
        return f"Take parts of one size: {_reconnect(cut, target, merge)}."
    return None


def _along_others(merge: Merge, ranks: Sequence[int]) -> Iterator[tuple[str, Merge]]:
    """The same merge along every axis, or pair of axes, with what a message calls these."""
    if "axis" in KINDS[merge.kind].options:
        for axis in range(1, min(ranks) + 2):
            yield f"axis={axis}", replace(merge, axis=axis)
    elif merge.kind == "dot" and len(ranks) == 2:
        for one, other in product(range(1, ranks[0] + 1), range(1, ranks[1] + 1)):
            yield f"axes=({one}, {other})", replace(merge, axes=(one, other))


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
    """The first elements of a source that may be a part itself."""
    reference = parse_reference(source)
    return str(replace(reference, part=reference.part.first(count)))


def _reshape(shape: Shape) -> str:
    return f"Reshape({tuple(-1 if dim is None else dim for dim in shape)})"


def _new_name(source: str, layer: str, names: Names) -> str:
    """A name for a node behind a source: ``m1_reshape`` for ``Reshape((4, 1))``."""
    return names.new(f"{clean(parse_reference(source).whole)}_{layer.partition('(')[0].lower()}")


def _node_between(source: str, target: str, names: Names, layer: str) -> str:
    name = _new_name(source, layer, names)
    return (
        f'Add a node between them: graph.disconnect("{target}"), graph.add("{name}", keras.layers.{layer}), then '
        f'graph.connect("{source}", "{name}") and graph.connect("{name}", "{target}").'
    )


def _nodes_before(
    merge: Merge, ports: Sequence[Port], wanted: Sequence[Shape | None], target: str, names: Names
) -> str:
    """The calls that reshape the sources that need it, each in a node of its own, and merge them."""
    calls, sources = [], []
    for port, shape in zip(ports, wanted, strict=True):
        sources.append(port.name)
        if shape is not None and shape != port.shape:
            sources[-1] = _new_name(port.name, _reshape(shape), names)
            calls.append(f'graph.add("{sources[-1]}", keras.layers.{_reshape(shape)})')
            calls.append(f'graph.connect("{port.name}", "{sources[-1]}")')
    return f"Add {'a node' if len(calls) == 2 else 'nodes'}: {', '.join(calls)}, {_reconnect(sources, target, merge)}."


def _reconnect(sources: Sequence[str], target: str, merge: Merge | None = None) -> str:
    """The calls that connect a port anew."""
    said = f'"{sources[0]}"' if len(sources) == 1 else "[" + ", ".join(f'"{source}"' for source in sources) + "]"
    options: dict[str, object] = {} if merge is None or merge.kind == Merge().kind else {"merge": merge.kind}
    if merge is not None:
        options |= unusual_options(merge)
    given = "".join(f", {name}={_literal(value)}" for name, value in options.items())
    return f'graph.disconnect("{target}"), graph.connect({said}, "{target}"{given})'


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
