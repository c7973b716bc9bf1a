"""Back along the connections of a checked graph: what feeds a submodel, directly and in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from keras_stitch.graphs.spec import Feed, Tap, Wiring


def merged_for(wiring: Wiring, tap: Tap) -> Iterator[Feed]:
    """Every merge that a tensor needs before it is there, each once, the last first; none if it is not merged."""
    return (wiring.feed_of(one) for one in _made_of(wiring, tap) if one.merged)


def producers(wiring: Wiring, tap: Tap) -> tuple[str, ...]:
    """The submodels that have to run before a tensor is there, each once; none for a graph input."""
    nodes = (one.node for one in _made_of(wiring, tap) if not one.merged)
    return tuple(dict.fromkeys(node for node in nodes if node is not None))


def _made_of(wiring: Wiring, tap: Tap) -> Iterator[Tap]:
    """A tensor, and before the next one all that it is merged of; what is merged comes once."""
    waiting, seen = [tap], set()
    while waiting:
        one = waiting.pop()
        if (one.node, one.port, one.merged) not in seen:
            seen.add((one.node, one.port, one.merged))
            yield one
            waiting += reversed(wiring.feed_of(one).taps) if one.merged else ()


def fed_by(wiring: Wiring, node: str) -> tuple[str, ...]:
    """The submodels that feed a submodel, each once."""
    taps = [tap for feed in wiring.feeds[node] for tap in feed.taps]
    return tuple(dict.fromkeys(name for tap in taps for name in producers(wiring, tap)))


def upstream(wiring: Wiring, nodes: Collection[str]) -> set[str]:
    """Some submodels, and all that feed them, directly or not."""
    found = set(nodes)
    for node in reversed(wiring.order):
        if node in found:
            found.update(fed_by(wiring, node))
    return found


def levels(wiring: Wiring, kinds: Mapping[str, object]) -> dict[str, int]:
    """How often data change from one kind of submodel to another on the way to each one that has a kind.

    Submodels of one kind and one level can run together: nothing of another kind runs between them.
    """
    found: dict[str, int] = {}
    for node in wiring.order:
        if node in kinds:
            before = [name for name in fed_by(wiring, node) if name in kinds]
            found[node] = max((found[name] + (kinds[name] != kinds[node]) for name in before), default=0)
    return found
