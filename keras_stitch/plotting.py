"""A picture of a wired graph, as SVG or PNG, without the ``dot`` program.

Three steps: ``_scene`` says what is drawn, ``_arrange`` where (the layered layout of ``grandalf``),
``_paint`` how (matplotlib's object API). Lengths are points, 1/72 inch. Positions are *flow*, along
the data, and *cross*; a picture flows down, or to the right where flowing down gets wider than a page.
What enters a merge or a submodel is drawn in its order, from the left or from the top. Every state is
also a word or a shape, so the picture needs neither colours nor a legend to be read.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from grandalf.graphs import Edge, Vertex, graph_core
from grandalf.layouts import Layer, SugiyamaLayout, VertexViewer
from grandalf.utils import Poset
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextToPath

from .errors import SaveError, StitchError
from .spec import PLACEMENTS, Feed, GraphSpec, Port, Submodel, Tap, Wiring, shape_text

FORMATS = ("svg", "png")
Marks = Mapping[str, str]  # a word for each submodel
_Point = tuple[float, float]
_NO_MARKS: Marks = MappingProxyType({})

_PAGE = 960  # wider than this, and the picture may flow to the right
_PNG_DPI, _PNG_PIXELS, _PNG_SIDE = 144, 40e6, 30_000
_MARGIN, _SPACE, _HEAD, _TITLE, _LEADING, _CELL, _STRIP = 14.0, 16.0, 6.0, 22.0, 1.4, 15.0, 7.0
_LANE_PAD, _LANE_LABEL = 9.0, (84.0, 20.0)  # room for its label: at the left, or above it
_STAGES = PLACEMENTS[::-1]  # in the order in which data meets them
# Light tints of the Okabe-Ito palette: colour-blind readers can tell them apart, print stays legible.
_INK, _GREY, _FROZEN_INK, _FROZEN_FILL = "#1a1a1a", "#555555", "#005b91", "#dcecf8"
_LOOKS = {  # fill, radius of the corners, width of the border
    "input": ("#fbe8c4", 14, 1.0),
    "output": ("#cdeadf", 14, 1.7),
    "merge": ("#e6e6e6", 4, 1.0),
    "submodel": ("#ffffff", 0, 1.0),
}
_LANE_FILLS = {"workflow": "#f6eaf1", "dataloader": "#f1f1e4", "model": "#f0f0f4"}
_FROZEN_WORDS = {"all": "frozen", "part": "partly frozen"}
_RC: Any = {"svg.fonttype": "none", "svg.hashsalt": "keras_stitch", "font.family": ["DejaVu Sans"]}


def draw(
    spec: GraphSpec, wiring: Wiring, *, frozen: Marks = _NO_MARKS, placement: Marks = _NO_MARKS, format: str = "svg"
) -> bytes:
    """Draws the graph; the same graph gives the same SVG, byte for byte.

    Args:
        spec: What the user said: the source of each submodel, shared weights.
        wiring: The same graph, resolved.
        frozen: ``"all"``, ``"part"`` or ``"none"`` for each submodel; ``"none"`` where absent.
        placement: One of ``PLACEMENTS`` for each submodel; ``"model"`` where absent. Where more
            than one occurs, each gets a box in the background.
        format: ``"svg"`` or ``"png"``.

    Example:
        >>> draw(spec, wiring, frozen={"model1": "all"})  # doctest: +SKIP
        b'<?xml version="1.0" encoding="utf-8" standalone="no"?>...
    """
    if format not in FORMATS:
        raise StitchError("Unknown format for a plot.", expected=" or ".join(FORMATS), received=repr(format))
    scene = _scene(spec, wiring, frozen, placement)
    if not scene.nodes:
        raise StitchError(f"Graph '{scene.title}' is empty: there is nothing to plot.", fix="Add a submodel first.")
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # SVG viewers have it
        matplotlib.rcdefaults()  # a user's style would change what is measured
        matplotlib.rcParams.update(_RC)
        down = _arrange(scene, to_the_right=False)
        if down > _PAGE and _arrange(scene, to_the_right=True) > down:
            _arrange(scene, to_the_right=False)
        figure, file = _paint(scene), io.BytesIO()
        if format == "svg":
            metadata = {"Date": None, "Creator": "keras_stitch", "Title": _printable(scene.title)}
            FigureCanvasSVG(figure).print_figure(file, format="svg", metadata=metadata)
        else:
            width, height = figure.get_size_inches()
            dpi = min(_PNG_DPI, _PNG_SIDE / max(width, height), (_PNG_PIXELS / (width * height)) ** 0.5)
            FigureCanvasAgg(figure).print_figure(file, format="png", dpi=dpi)
    return file.getvalue()


def save_plot(
    path: str | PathLike[str],
    spec: GraphSpec,
    wiring: Wiring,
    *,
    frozen: Marks = _NO_MARKS,
    placement: Marks = _NO_MARKS,
) -> Path:
    """Draws the graph into a file, ``.svg`` or ``.png`` by its ending; arguments as for ``draw``.

    Example:
        >>> save_plot("composed.svg", spec, wiring)  # doctest: +SKIP
        PosixPath('composed.svg')
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise StitchError(
            f"A plot cannot be saved as '{path}'.",
            expected="a file name that ends in .svg or .png",
            received=f"the ending '{path.suffix}'" if path.suffix else "no ending",
            fix=f"Use '{path.with_suffix('.svg')}'." if path.name else None,
        )
    if not path.parent.is_dir():
        raise SaveError(f"A plot cannot be saved as '{path}': no folder '{path.parent}'.", fix="Create it first.")
    picture = draw(spec, wiring, frozen=frozen, placement=placement, format=ending)
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise SaveError(f"A plot cannot be saved as '{path}': {error.strerror}.") from error
    return path


# --- What is drawn ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    text: str
    size: float = 8.0
    weight: str = "normal"
    color: str = _INK


@dataclass(eq=False)
class _Node:
    """A box, or (``kind="label"``) the text on an arrow, which takes up room like a box."""

    kind: str
    lines: Sequence[_Line]
    stage: int | None = None  # index in _STAGES; None for what belongs to no placement
    ins: Sequence[_Line] = ()  # port names, where there are several
    outs: Sequence[_Line] = ()
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
        width, height = max(_width(line) for line in self.lines), sum(line.size * _LEADING for line in self.lines)
        pad = (6, 2) if self.kind == "label" else (18, 10)
        self.across, self.along = width + pad[0], height + pad[1]
        widest = [max((_width(cell) + 12 for cell in row), default=0.0) for row in (self.ins, self.outs)]
        self.rows = (_CELL * bool(self.ins), _CELL * bool(self.outs))
        if to_the_right:
            self.across, self.along = self.along, self.across
            self.rows, widest = (widest[0], widest[1]), [_CELL, _CELL]
        self.across += _STRIP * (self.frozen in _FROZEN_WORDS)
        self.across = max(self.across, 14 * self.taps, widest[0] * len(self.ins), widest[1] * len(self.outs))
        self.along += sum(self.rows)


@dataclass(eq=False)
class _Arrow:
    """From one output of ``source`` through ``label`` to one input of ``target``, counted from 0."""

    source: _Node
    start: int
    label: _Node
    target: _Node
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
class _Scene:
    title: str
    nodes: list[_Node] = field(default_factory=list)
    arrows: list[_Arrow] = field(default_factory=list)
    lanes: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # a stage's first and last rank
    to_the_right: bool = False
    layers: list[tuple[float, float]] = field(default_factory=list)  # their spans on the flow axis
    cross_end: float = 0.0

    def add(self, node: _Node) -> _Node:
        self.nodes.append(node)
        return node

    def connect(self, source: _Node, start: int, text: str, target: _Node, end: int) -> None:
        label = self.add(_Node("label", [_Line(text, color=_GREY)]))
        self.arrows.append(_Arrow(source, start, label, target, end))

    def xy(self, cross: float, flow: float) -> tuple[float, float]:
        """A position as a point of the picture, counted from the upper left corner."""
        return (flow, cross) if self.to_the_right else (cross, flow)


def _scene(spec: GraphSpec, wiring: Wiring, frozen: Marks, placement: Marks) -> _Scene:
    """The boxes and arrows of the graph, and their layers."""
    scene = _Scene(wiring.name)
    outlets: dict[tuple[str | None, str], tuple[_Node, int]] = {}
    submodels = {submodel.name: submodel for submodel in spec.submodels}

    def tap_into(tap: Tap, port: Port, target: _Node, end: int = 0) -> None:
        part = f"[{tap.part[0]}:{tap.part[1]}]  " if tap.part else ""
        scene.connect(*outlets[tap.node, tap.port], part + shape_text(port.shape), target, end)

    for port in wiring.inputs:
        outlets[None, port.name] = scene.add(_terminal("input", port)), 0
    for name in wiring.order:
        feeds, outputs = wiring.feeds[name], wiring.node_outputs[name]
        stage = _STAGES.index(placement.get(name, "model"))
        merges = [scene.add(_merge(feed, stage)) if len(feed.taps) > 1 else None for feed in feeds]
        box = scene.add(_submodel(submodels[name], feeds, outputs, frozen.get(name, "none"), stage))
        outlets |= {(name, port.name): (box, start) for start, port in enumerate(outputs)}
        for end, (feed, merge) in enumerate(zip(feeds, merges, strict=True)):
            for position, (tap, port) in enumerate(zip(feed.taps, feed.tap_ports, strict=True)):
                tap_into(tap, port, merge or box, position if merge else end)
            if merge:
                scene.connect(merge, 0, shape_text(feed.port.shape), box, end)
    for output in wiring.outputs:
        tap_into(output.tap, output.port, scene.add(_terminal("output", output.port)))
    _rank(scene)
    return scene


def _terminal(kind: str, port: Port) -> _Node:
    return _Node(kind, [_Line(port.name, 10, "bold"), _Line(f"{shape_text(port.shape)} {port.dtype or 'any dtype'}")])


def _submodel(submodel: Submodel, feeds: Sequence[Feed], outputs: Sequence[Port], frozen: str, stage: int) -> _Node:
    lines = [_Line(submodel.name, 10, "bold"), _Line(submodel.source.label, color=_GREY)]
    if submodel.share:
        lines.append(_Line(f"shares weights with {submodel.share}"))
    if frozen in _FROZEN_WORDS:
        lines.append(_Line(_FROZEN_WORDS[frozen], weight="bold", color=_FROZEN_INK))
    ins, outs = [_Line(feed.port.name) for feed in feeds], [_Line(port.name) for port in outputs]
    ins, outs = ins * (len(ins) > 1), outs * (len(outs) > 1)
    return _Node("submodel", lines, stage, ins, outs, frozen=frozen, shared=submodel.share is not None)


def _merge(feed: Feed, stage: int) -> _Node:
    merge = feed.merge
    lines = [_Line(str(merge.layer["class_name"]) if merge.layer else merge.kind, 9)]
    if merge.kind in ("concatenate", "stack") and merge.axis != -1:
        lines.append(_Line(f"axis {merge.axis}"))
    return _Node("merge", lines, stage, taps=len(feed.taps))


def _rank(scene: _Scene) -> None:
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


def _printable(text: str) -> str:
    """Text that XML can hold: a file name may have control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text) or " "


@lru_cache(maxsize=4096)
def _width(line: _Line) -> float:
    font = FontProperties(family="DejaVu Sans", size=line.size, weight=line.weight)
    wide = "".join("MM" if unicodedata.east_asian_width(letter) in "WF" else letter for letter in _printable(line.text))
    return float(TextToPath().get_text_width_height_descent(wide, font, ismath=False)[0])


# --- Where it is drawn -----------------------------------------------------------------------


class _RankedLayout(SugiyamaLayout):  # type: ignore[misc, unused-ignore]
    """grandalf's layout with layers that were decided before."""

    conflicts: Any

    def rank_all(self, roots: Sequence[Vertex], optimize: bool = False) -> None:
        self.layers = [Layer() for _ in range(1 + max(vertex.data.rank for vertex in self.g.sV))]
        for vertex in self.g.sV:
            self.grx[vertex].rank = vertex.data.rank
            self.layers[vertex.data.rank].append(vertex)

    def _detect_alignment_conflicts(self) -> None:
        super()._detect_alignment_conflicts()
        self.conflicts = set(self.conflicts)  # only ever searched, and slow to search as a list


def _arrange(scene: _Scene, to_the_right: bool) -> float:
    """Places everything by Sugiyama's method and returns the picture's width.

    Long arrows get room of their own in each layer they cross, so that they cross no box.
    """
    scene.to_the_right = to_the_right
    vertices = {node: Vertex(node) for node in scene.nodes}
    for node, vertex in vertices.items():
        node.measure(to_the_right)
        vertex.view = VertexViewer(node.across, 1)
    graph = graph_core()
    graph.sV = Poset(vertices.values())  # the constructor refuses graphs of several parts
    into_label = {arrow: Edge(vertices[arrow.source], vertices[arrow.label]) for arrow in scene.arrows}
    for arrow, edge in into_label.items():
        graph.add_edge(edge)
        graph.add_edge(Edge(vertices[arrow.label], vertices[arrow.target]))
    layout = _RankedLayout(graph)
    layout.dw, layout.xspace = 4, _SPACE
    layout.init_all(roots=[], inverted_edges=[])
    layout.draw(4)
    for layer in layout.layers:
        for before, after in pairwise(layer):  # between parts that are not connected it may leave no room
            least = before.view.xy[0] + (before.view.w + after.view.w) / 2 + _SPACE
            after.view.xy = (max(after.view.xy[0], least), 0)
    views = [vertex.view for layer in layout.layers for vertex in layer]
    lane_label = _LANE_LABEL[to_the_right] if scene.lanes else 0
    shift = _MARGIN + lane_label + _TITLE * to_the_right - min(view.xy[0] - view.w / 2 for view in views)
    scene.cross_end = max(view.xy[0] + view.w / 2 for view in views) + shift + _MARGIN
    for node, vertex in vertices.items():
        node.cross = vertex.view.xy[0] + shift
    for arrow, edge in into_label.items():
        between = range(arrow.source.rank + 1, arrow.label.rank)
        arrow.bends = [(rank, layout.ctrls[edge][rank].view.xy[0] + shift) for rank in between]
    flow_end = _stack_layers(scene)
    return flow_end if to_the_right else scene.cross_end


def _stack_layers(scene: _Scene) -> float:
    """Gives each layer its span on the flow axis: far apart where arrows go far sideways. Returns the end."""
    depth = [0.0] * (1 + max(node.rank for node in scene.nodes))
    sideways = [0.0] * len(depth)
    for node in scene.nodes:
        depth[node.rank] = max(depth[node.rank], node.along)
    for (_, before), (rank, after) in (pair for a in scene.arrows for stops in a.stops() for pair in pairwise(stops)):
        sideways[rank] = max(sideways[rank], abs(after - before))
    borders = {rank for first, last in scene.lanes.values() for rank in (first, last + 1)}
    position, scene.layers = _MARGIN + _TITLE * (not scene.to_the_right), []
    for rank, size in enumerate(depth):
        position += (_HEAD + 8 + min(130, sideways[rank] * 0.09) if rank else 0) + _LANE_PAD * (rank in borders)
        scene.layers.append((position, position + size))
        position += size
    for node in scene.nodes:
        node.flow = sum(scene.layers[node.rank]) / 2
    return position + _MARGIN


# --- How it is drawn -------------------------------------------------------------------------


def _paint(scene: _Scene) -> Figure:
    """The figure: one data unit is one point, the origin is the upper left corner."""
    title = _Line(scene.title, 12, "bold")
    width, height = scene.xy(scene.cross_end, scene.layers[-1][1] + _MARGIN)
    width = max(width, _width(title) + 2 * _MARGIN)
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _write(axes, (_MARGIN + _width(title) / 2, _MARGIN + 6), [title])
    for stage in scene.lanes:
        _paint_lane(axes, scene, stage)
    for arrow in scene.arrows:
        _paint_arrow(axes, scene, arrow)
    for node in scene.nodes:
        _paint_node(axes, scene, node)
    return figure


def _paint_lane(axes: Axes, scene: _Scene, stage: int) -> None:
    """The box in the background of everything that has one placement."""
    first, last = (scene.layers[rank] for rank in scene.lanes[stage])
    top = _MARGIN / 2 + _TITLE * scene.to_the_right
    corners = (top, first[0] - _LANE_PAD), (scene.cross_end - _MARGIN / 2, last[1] + _LANE_PAD)
    fill = _LANE_FILLS[_STAGES[stage]]
    _paint_box(axes, scene, *corners, facecolor=fill, edgecolor="#9a9a9a", linewidth=0.8, linestyle=(0, (4, 3)))
    (x, y), label = scene.xy(*corners[0]), _Line(_STAGES[stage], 10, "bold", color=_GREY)
    _write(axes, (x + 8 + _width(label) / 2, y + 12), [label])


def _paint_arrow(axes: Axes, scene: _Scene, arrow: _Arrow) -> None:
    """Two curves, into the label and out of it; they bend only between the layers, where no box is."""
    ends = (arrow.source, arrow.label), (arrow.label, arrow.target)
    for (source, target), stops in zip(ends, arrow.stops(), strict=True):
        head = _HEAD if target is arrow.target else 0
        tip = target.flow - target.along / 2
        rank, cross = stops[0]
        points = [(cross, source.flow + source.along / 2), (cross, scene.layers[rank][1])]
        for rank, after in stops[1:]:
            arrived = rank == target.rank
            enter = scene.layers[rank][0] - (head if arrived else 0)
            middle = (points[-1][1] + enter) / 2
            leave = tip - head if arrived else scene.layers[rank][1]
            points += [(cross, middle), (after, middle), (after, enter), (after, leave)]
            cross = after
        codes = [Curve.MOVETO, Curve.LINETO, *([Curve.CURVE4] * 3 + [Curve.LINETO]) * (len(stops) - 1)]
        curve = Curve([scene.xy(*point) for point in points], codes)
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=_INK, linewidth=0.9))
        if head:
            corners = (cross, tip), (cross - 3, tip - head), (cross + 3, tip - head)
            axes.add_patch(Polygon([scene.xy(*corner) for corner in corners], color=_INK, linewidth=0))


def _paint_node(axes: Axes, scene: _Scene, node: _Node) -> None:
    left, right = node.cross - node.across / 2, node.cross + node.across / 2
    start, end = node.flow - node.along / 2, node.flow + node.along / 2
    is_frozen = node.frozen in _FROZEN_WORDS
    if node.kind != "label":
        fill, radius, border = _LOOKS[node.kind]
        fill, dashes = _FROZEN_FILL if is_frozen else fill, (0, (5, 2)) if node.shared else "-"
        corners = (left, start), (right, end)
        _paint_box(axes, scene, *corners, radius, facecolor=fill, linewidth=border, linestyle=dashes)
    inside = start + node.rows[0], end - node.rows[1]
    for cells, low, high in ((node.ins, start, inside[0]), (node.outs, inside[1], end)):
        size = node.across / max(1, len(cells))
        for cell, edge in zip(cells, (left + size * index for index in range(len(cells))), strict=True):
            _paint_box(axes, scene, (edge, low), (edge + size, high), facecolor="none", edgecolor=_GREY, linewidth=0.6)
            _write(axes, scene.xy(edge + size / 2, (low + high) / 2), [cell])
    if is_frozen:  # a strip at the side: solid, or hatched where only a part is frozen
        corners = (left + 0.5, inside[0] + 0.5), (left + _STRIP, inside[1] - 0.5)
        fill, hatch = (_FROZEN_INK, None) if node.frozen == "all" else ("white", "//////")
        _paint_box(axes, scene, *corners, facecolor=fill, edgecolor=_FROZEN_INK, hatch=hatch, linewidth=0)
        left += _STRIP
    _write(axes, scene.xy((left + right) / 2, sum(inside) / 2), node.lines)


def _paint_box(axes: Axes, scene: _Scene, low: _Point, high: _Point, radius: float = 0, **look: Any) -> None:
    """A box from one (cross, flow) to another."""
    (left, top), (right, bottom) = scene.xy(*low), scene.xy(*high)
    shape = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(FancyBboxPatch((left, top), right - left, bottom - top, shape, **{"edgecolor": _INK, **look}))


def _write(axes: Axes, middle: _Point, lines: Sequence[_Line]) -> None:
    """Centred lines of text, never read as formulas."""
    x, y = middle[0], middle[1] - sum(line.size * _LEADING for line in lines) / 2
    for line in lines:
        look: dict[str, Any] = {"fontsize": line.size, "weight": line.weight, "color": line.color}
        axes.text(x, y + line.size * 1.06, _printable(line.text), ha="center", parse_math=False, **look)
        y += line.size * _LEADING
