"""What is drawn: the boxes, the arrows and the texts of a graph, and the layer each lies in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from keras_stitch.graphs.mask_borders import whole
from keras_stitch.graphs.merge_options import unusual_options
from keras_stitch.graphs.slices import spans_text
from keras_stitch.graphs.spec import PLACEMENTS, Feed, GraphSpec, Port, Submodel, Tap, Wiring, shape_text

Marks = Mapping[str, str]  # a word for each submodel

Point = tuple[float, float]

LEADING, CELL, STRIP = 1.4, 15.0, 7.0

STAGES = PLACEMENTS[::-1]  # in the order in which data meets them

INK, GREY, FROZEN_INK = "#1a1a1a", "#555555", "#005b91"

FROZEN_WORDS = {"all": "frozen", "part": "partly frozen"}


@dataclass(frozen=True)
class Line:
    """One line of text in a box."""

    text: str
    size: float = 8.0
    weight: str = "normal"
    color: str = INK


@dataclass(eq=False)
class Node:
    """A box, or (``kind="label"``) the text on an arrow, which takes up room like a box."""

    kind: str
    lines: Sequence[Line]
    stage: int | None = None  # index in STAGES; None for what belongs to no placement
    ins: Sequence[Line] = ()  # port names, where there are several
    outs: Sequence[Line] = ()
    taps: int = 1  # arrows that enter a merge
    frozen: str = "none"
    shared: bool = False
    rank: int = 0  # the layer it lies in
    cross: float = 0.0  # its centre, ...
    flow: float = 0.0
    across: float = 0.0  # ... its size on the same axes, ...
    along: float = 0.0
    rows: tuple[float, float] = (0.0, 0.0)  # ... and the part of ``along`` for ``ins`` and for ``outs``

    def measure(self, to_the_right: bool) -> None:
        """Sets the sizes that its texts, ports and arrows need."""
        width, height = max(text_width(line) for line in self.lines), sum(line.size * LEADING for line in self.lines)
        pad = (6, 2) if self.kind == "label" else (18, 10)
        self.across, self.along = width + pad[0], height + pad[1]
        widest = [max((text_width(cell) + 12 for cell in row), default=0.0) for row in (self.ins, self.outs)]
        self.rows = (CELL * bool(self.ins), CELL * bool(self.outs))
        if to_the_right:
            self.across, self.along = self.along, self.across
            self.rows, widest = (widest[0], widest[1]), [CELL, CELL]
        self.across += STRIP * (self.frozen in FROZEN_WORDS)
        self.across = max(self.across, 14 * self.taps, widest[0] * len(self.ins), widest[1] * len(self.outs))
        self.along += sum(self.rows)


@dataclass(eq=False)
class Arrow:
    """From one output of ``source`` through ``label`` to one input of ``target``, counted from 0."""

    source: Node
    start: int
    label: Node
    target: Node
    end: int
    bends: list[tuple[int, float]] = field(default_factory=list)  # rank and cross in each layer on its way

    def stops(self) -> Iterator[list[tuple[int, float]]]:
        """Rank and cross in each layer: from the source to the label, then on to the target."""
        label = (self.label.rank, self.label.cross)
        starts, ends = len(self.source.outs) or 1, len(self.target.ins) or self.target.taps
        start = self.source.cross + self.source.across * ((self.start + 0.5) / starts - 0.5)
        end = self.target.cross + self.target.across * ((self.end + 0.5) / ends - 0.5)
        yield [(self.source.rank, start), *self.bends, label]
        yield [label, (self.target.rank, end)]


@dataclass
class Scene:
    """Everything that is drawn."""

    title: str
    nodes: list[Node] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    lanes: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # a stage's first and last rank
    to_the_right: bool = False
    layers: list[tuple[float, float]] = field(default_factory=list)  # their spans on the flow axis
    cross_end: float = 0.0

    def add(self, node: Node) -> Node:
        """Adds a node and returns it."""
        self.nodes.append(node)
        return node

    def connect(self, source: Node, start: int, text: str, target: Node, end: int) -> None:
        """Adds an arrow with a text on it."""
        label = self.add(Node("label", [Line(text, color=GREY)]))
        self.arrows.append(Arrow(source, start, label, target, end))

    def xy(self, cross: float, flow: float) -> tuple[float, float]:
        """A position as a point of the picture, counted from the upper left corner."""
        return (flow, cross) if self.to_the_right else (cross, flow)


def make_scene(spec: GraphSpec, wiring: Wiring, frozen: Marks, placement: Marks) -> Scene:
    """The boxes and arrows of the graph, and their layers."""
    scene = Scene(wiring.name)
    outlets: dict[tuple[str | None, str], tuple[Node, int]] = {}
    submodels = {submodel.name: submodel for submodel in spec.submodels}
    merged: dict[tuple[str, str], Node] = {}

    def merge_of(feed: Feed) -> Node:
        key = (feed.node, feed.port.name)
        if key not in merged:
            for tap in feed.taps:
                outlet(tap)  # so that it is added before
            merged[key] = scene.add(_merge(feed, STAGES.index(placement.get(feed.node, "model"))))
        return merged[key]

    def outlet(tap: Tap) -> tuple[Node, int]:
        if tap.merged:
            # What is merged for one submodel may be taken by another that comes before it.
            feed = wiring.feed_of(tap)
            return (merge_of(feed), 0) if len(feed.taps) > 1 else outlet(feed.taps[0])
        return outlets[tap.node, tap.port]

    def tap_into(tap: Tap, port: Port, target: Node, end: int = 0, mask: Sequence[str] = ()) -> None:
        part = [spans_text(tap.part, len(port.row))] if tap.part else []
        scene.connect(*outlet(tap), "  ".join([*part, shape_text(port.shape), *mask]), target, end)

    for port in wiring.inputs:
        outlets[None, port.name] = scene.add(_terminal("input", port)), 0
    for name in wiring.order:
        feeds, outputs = wiring.feeds[name], wiring.node_outputs[name]
        stage = STAGES.index(placement.get(name, "model"))
        for tap in (tap for feed in feeds for tap in feed.taps):
            outlet(tap)
        merges = [merge_of(feed) if len(feed.taps) > 1 else None for feed in feeds]
        box = scene.add(_submodel(submodels[name], feeds, outputs, frozen.get(name, "none"), stage))
        outlets |= {(name, port.name): (box, start) for start, port in enumerate(outputs)}
        for end, (feed, merge) in enumerate(zip(feeds, merges, strict=True)):
            for position, (tap, port) in enumerate(zip(feed.taps, feed.tap_ports, strict=True)):
                mask = mask_at(wiring, feed, position)
                tap_into(tap, port, merge or box, position if merge else end, mask)
            if merge:
                carried = ["mask"] if Tap(name, feed.port.name, merged=True) in wiring.masked else []
                scene.connect(merge, 0, "  ".join([shape_text(feed.port.shape), *carried]), box, end)
    for output in wiring.outputs:
        tap_into(output.tap, output.port, scene.add(_terminal("output", output.port)))
    _rank(scene)
    return scene


def mask_at(wiring: Wiring, feed: Feed, number: int) -> list[str]:
    """What is said of a Keras mask at an arrow: that it goes along, or stops there; nothing where there is none."""
    if whole(feed.taps[number]) not in wiring.masked:
        return []
    return ["mask" if feed.masks and feed.masks[number] else "mask stops"]


def _terminal(kind: str, port: Port) -> Node:
    return Node(kind, [Line(port.name, 10, "bold"), Line(f"{shape_text(port.shape)} {port.dtype or 'any dtype'}")])


def _submodel(submodel: Submodel, feeds: Sequence[Feed], outputs: Sequence[Port], frozen: str, stage: int) -> Node:
    lines = [Line(submodel.name, 10, "bold"), Line(submodel.source.label, color=GREY)]
    if submodel.share:
        lines.append(Line(f"shares weights with {submodel.share}"))
    if frozen in FROZEN_WORDS:
        lines.append(Line(FROZEN_WORDS[frozen], weight="bold", color=FROZEN_INK))
    ins, outs = [Line(feed.port.name) for feed in feeds], [Line(port.name) for port in outputs]
    ins, outs = ins * (len(ins) > 1), outs * (len(outs) > 1)
    return Node("submodel", lines, stage, ins, outs, frozen=frozen, shared=submodel.share is not None)


def _merge(feed: Feed, stage: int) -> Node:
    merge = feed.merge
    lines = [Line(str(merge.layer["class_name"]) if merge.layer else merge.kind, 9)]
    lines += [Line(f"{name} {value}") for name, value in unusual_options(merge).items()]
    return Node("merge", lines, stage, taps=len(feed.taps))


def _rank(scene: Scene) -> None:
    """Decides the layers: sources before targets, labels before targets, placements one after the other.

    An input lies just before what it feeds, an output just behind what it shows; but never
    inside the box of a placement.
    """
    stages = sorted({node.stage for node in scene.nodes if node.stage is not None})
    boxed, first, entry, lanes = len(stages) > 1, 2, {}, {}
    for stage in stages:
        entry[stage] = first - 2
        for node in (members := [node for node in scene.nodes if node.stage == stage]):
            sources = [arrow.source for arrow in scene.arrows if arrow.target is node]
            node.rank = max([first, *(source.rank + 2 for source in sources if source.kind != "input")])
        lanes[stage] = (first, max(node.rank for node in members))
        first = lanes[stage][1] + 4
    for node in scene.nodes:
        if node.kind == "input":
            fed = [arrow.target for arrow in scene.arrows if arrow.source is node and arrow.target.stage is not None]
            node.rank = min((entry[t.stage] if boxed and t.stage is not None else t.rank - 2 for t in fed), default=0)
    for arrow in scene.arrows:
        source, target = arrow.source, arrow.target
        if target.kind == "output":
            last = lanes[stages[-1] if source.stage is None else source.stage][1] if boxed else source.rank
            target.rank = last + 2
        arrow.label.rank = target.rank - 1
    used = sorted({node.rank for node in scene.nodes})
    for node in scene.nodes:
        node.rank = used.index(node.rank)
    if boxed:
        scene.lanes = {stage: (used.index(first), used.index(last)) for stage, (first, last) in lanes.items()}


def printable(text: str) -> str:
    """Text that XML can hold: a file name may have control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text) or " "


@lru_cache(maxsize=4096)
def text_width(line: Line) -> float:
    """The width of a text in points."""
    font = FontProperties(family="DejaVu Sans", size=line.size, weight=line.weight)
    wide = "".join("MM" if unicodedata.east_asian_width(letter) in "WF" else letter for letter in printable(line.text))
    return float(TextToPath().get_text_width_height_descent(wide, font, ismath=False)[0])
