"""Back along the connections of a checked graph: what feeds a submodel, directly and in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from keras_stitch.graphs.spec import Feed, Tap, Wiring


def merged_for(wiring: Wiring, tap: Tap) -> Iterator[Feed]:
    """Every merge that a tensor needs before it is there, the last one first; none if it is not merged."""
    if tap.merged:
        feed = wiring.feed_of(tap)
        yield feed
        for source in feed.taps:
            yield from merged_for(wiring, source)


def producers(wiring: Wiring, tap: Tap) -> tuple[str, ...]:
    """The submodels that have to run before a tensor is there; none for a graph input."""
    if tap.merged:
        return tuple(name for source in wiring.feed_of(tap).taps for name in producers(wiring, source))
    return () if tap.node is None else (tap.node,)


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
