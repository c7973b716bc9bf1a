"""A part of a checked graph as a graph of its own: some of its submodels, with inputs where tensors come in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from keras_stitch.errors import NamingError
from keras_stitch.graphs.mask_borders import check_together
from keras_stitch.graphs.names import clean
from keras_stitch.graphs.spec import Feed, GraphOutput, Port, Tap, Wiring
from keras_stitch.graphs.upstream import merged_for


@dataclass(frozen=True)
class Cut:
    """Some submodels of a graph.

    Attributes:
        wiring: These submodels as a graph of their own. Tensors of other submodels are its inputs.
        takes: For each of its inputs, the tensor of the whole graph.
        gives: For each of its outputs, the tensor of the whole graph.
    """

    wiring: Wiring
    takes: Mapping[str, Tap]
    gives: Mapping[str, Tap]


def cut(whole: Wiring, nodes: Collection[str], wanted: Sequence[GraphOutput], name: str) -> Cut:
    """Take some submodels out of a graph.

    Args:
        whole: The graph.
        nodes: The submodels.
        wanted: What the part should give: tensors of these submodels or, passed on, of others.
        name: The part's name.

    Raises:
        NamingError: If two tensors that come in would have one name.
    """
    nodes = set(nodes)
    cutter = _Cutter(whole, nodes)
    order = tuple(node for node in whole.order if node in nodes)
    feeds = {node: tuple(map(cutter.feed, whole.feeds[node])) for node in order}
    outputs = tuple(replace(output, tap=cutter.tap(output.tap)) for output in wanted)
    # Graph inputs first, then what submodels deliver, both in the order of the whole graph.
    positions = {port.name: place for place, port in enumerate(whole.inputs)}
    added = {node: place for place, node in enumerate(whole.feeds)}

    def place(item: tuple[str, tuple[Tap, Port]]) -> tuple[int, int]:
        name, (tap, _) = item
        return (0, positions[name]) if tap.node is None else (1, added[tap.node])

    found = sorted(cutter.inputs.items(), key=place)
    feeds |= {node: tuple(merged.values()) for node, merged in cutter.merged.items()}
    made = {node: whole.node_outputs[node] for node in feeds}
    wiring = Wiring(name, order, tuple(port for _, (_, port) in found), outputs, feeds, made, whole.masked)
    return Cut(wiring, {key: tap for key, (tap, _) in found}, {output.port.name: output.tap for output in wanted})


def wanted(whole: Wiring, nodes: Collection[str]) -> list[GraphOutput]:
    """The outputs of some submodels, in their order, that others take or that are graph outputs."""
    own = set(nodes)
    others = [node for node in whole.order if node not in own]
    taps = [tap for node in others for feed in whole.feeds[node] for tap in feed.taps]
    taps += [output.tap for output in whole.outputs]
    # What is merged for one of them may be taken elsewhere, and is merged there once more.
    taps += [inner for tap in taps for feed in merged_for(whole, tap) for inner in feed.taps]
    taken = {(tap.node, tap.port) for tap in taps if not tap.merged}
    ports = [(node, port.name) for node in nodes for port in whole.node_outputs[node]]
    found = {tensor_name(whole, tap): tap for tap in (Tap(*port) for port in ports if port in taken)}
    return [GraphOutput(tensor_port(whole, tap), tap) for tap in found.values()]


def tensor_name(whole: Wiring, tap: Tap) -> str:
    """What a whole tensor is called where it leaves its part of the graph: its submodel, and its port if needed."""
    if tap.node is None:
        return tap.port
    if tap.merged:
        several = len(whole.feeds[tap.node]) > 1
        return f"{tap.node}_{clean(tap.port)}_input" if several else f"{tap.node}_input"
    return tap.node if len(whole.node_outputs[tap.node]) == 1 else f"{tap.node}_{clean(tap.port)}"


def tensor_port(whole: Wiring, tap: Tap) -> Port:
    """Name, shape and dtype of a whole tensor."""
    if tap.node is None:
        return next(port for port in whole.inputs if port.name == tap.port)
    if tap.merged:
        port = whole.feed_of(tap).port
    else:
        port = next(port for port in whole.node_outputs[tap.node] if port.name == tap.port)
    return Port(tensor_name(whole, tap), port.shape, port.dtype)


class _Cutter:
    """Rewrites taps: tensors of other submodels become inputs, which are collected.

    What is merged for another submodel is merged once more, by the part itself.
    """

    def __init__(self, whole: Wiring, nodes: Collection[str]):
        self._whole, self._nodes = whole, nodes
        self.inputs: dict[str, tuple[Tap, Port]] = {}
        self.merged: dict[str, dict[str, Feed]] = {}

    def feed(self, feed: Feed) -> Feed:
        taps = tuple(map(self.tap, feed.taps))
        check_together(feed, [old for old, new in zip(feed.taps, taps, strict=True) if old.node != new.node])
        return replace(feed, taps=taps)

    def tap(self, tap: Tap) -> Tap:
        if tap.node in self._nodes:
            return tap
        if tap.node is not None and tap.merged:
            if tap.port not in self.merged.setdefault(tap.node, {}):
                self.merged[tap.node][tap.port] = self.feed(self._whole.feed_of(tap))
            return tap
        source, port = replace(tap, part=()), tensor_port(self._whole, tap)
        known = self.inputs.setdefault(port.name, (source, port))
        if known[0] != source or port.name in self._nodes:
            other, what = _text(known[0]), "Two tensors that go from one stage to the next would both be"
            if known[0] == source:
                other = f"the submodel '{port.name}'"
                what = "A tensor that goes from one stage to the next, and a submodel there, would both be"
            raise NamingError(
                f"{what} called '{port.name}'.",
                received=f"{other} and {_text(source)}",
                fix="Rename the submodel or the graph input.",
            )
        return Tap(None, port.name, tap.part)


def _text(tap: Tap) -> str:
    return f"the graph input '{tap.port}'" if tap.node is None else f"'{tap.node}.{tap.port}'"
