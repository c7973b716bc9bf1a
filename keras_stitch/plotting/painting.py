"""How it is drawn: matplotlib's object API, SVG and PNG by the same code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve

from keras_stitch.errors import SaveError, StitchError
from keras_stitch.files import new_files
from keras_stitch.files.read_files import is_directory
from keras_stitch.graphs.spec import GraphSpec, Wiring
from keras_stitch.plotting.arrange import HEAD, LANE_PAD, MARGIN, TITLE, arrange
from keras_stitch.plotting.scene import (
    FROZEN_INK,
    FROZEN_WORDS,
    GREY,
    INK,
    LEADING,
    STAGES,
    STRIP,
    Arrow,
    Line,
    Marks,
    Node,
    Point,
    Scene,
    make_scene,
    printable,
    text_width,
)

FORMATS = ("svg", "png")

PAGE = 960  # wider than this, and the picture may flow to the right

PNG_SIDE = 30_000

_NO_MARKS: Marks = MappingProxyType({})

_PNG_DPI, _PNG_PIXELS = 144, 40e6

# Light tints of the Okabe-Ito palette: colour-blind readers can tell them apart, print stays legible.
_FROZEN_FILL = "#dcecf8"

_LOOKS = {  # fill, radius of the corners, width of the border
    "input": ("#fbe8c4", 14, 1.0),
    "output": ("#cdeadf", 14, 1.7),
    "merge": ("#e6e6e6", 4, 1.0),
    "submodel": ("#ffffff", 0, 1.0),
}

_LANE_FILLS = {"workflow": "#f6eaf1", "dataloader": "#f1f1e4", "model": "#f0f0f4"}

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
    """
    if format not in FORMATS:
        raise StitchError("Unknown format for a plot.", expected=" or ".join(FORMATS), received=repr(format))
    scene = make_scene(spec, wiring, frozen, placement)
    if not scene.nodes:
        raise StitchError(f"Graph '{scene.title}' is empty: there is nothing to plot.", fix="Add a submodel first.")
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)  # SVG viewers have it
        matplotlib.rcdefaults()  # a user's style would change what is measured
        matplotlib.rcParams.update(_RC)
        down = arrange(scene, to_the_right=False)
        if down > PAGE and arrange(scene, to_the_right=True) > down:
            arrange(scene, to_the_right=False)
        figure, file = _paint(scene), io.BytesIO()
        if format == "svg":
            metadata = {"Date": None, "Creator": "keras_stitch", "Title": printable(scene.title)}
            FigureCanvasSVG(figure).print_figure(file, format="svg", metadata=metadata)
        else:
            width, height = figure.get_size_inches()
            dpi = min(_PNG_DPI, PNG_SIDE / max(width, height), (_PNG_PIXELS / (width * height)) ** 0.5)
            FigureCanvasAgg(figure).print_figure(file, format="png", dpi=dpi)
    return file.getvalue()


def save_plot(path: str | PathLike[str], spec: GraphSpec, wiring: Wiring, **marks: Marks) -> Path:
    """Draws the graph into a file, ``.svg`` or ``.png`` by its ending; arguments as for ``draw``."""
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise StitchError(
            f"A plot cannot be saved as '{path}'.",
            expected="a file name that ends in .svg or .png",
            received=f"the ending '{path.suffix}'" if path.suffix else "no ending",
            fix=f"Use '{path.with_suffix('.svg')}'." if path.name else None,
        )
    if not is_directory(path.parent):
        raise SaveError(f"A plot cannot be saved as '{path}': no folder '{path.parent}'.", fix="Create it first.")
    picture = draw(spec, wiring, **marks, format=ending)
    try:
        with new_files.new_file(path) as place:
            place.write_bytes(picture)
    except OSError as error:
        raise SaveError(f"A plot cannot be saved as '{path}': {error.strerror}.") from error
    return path


def _paint(scene: Scene) -> Figure:
    """The figure: one data unit is one point, the origin is the upper left corner."""
    title = Line(scene.title, 12, "bold")
    width, height = scene.xy(scene.cross_end, scene.layers[-1][1] + MARGIN)
    width = max(width, text_width(title) + 2 * MARGIN)
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _write(axes, (MARGIN + text_width(title) / 2, MARGIN + 6), [title])
    for stage in scene.lanes:
        _paint_lane(axes, scene, stage)
    for arrow in scene.arrows:
        _paint_arrow(axes, scene, arrow)
    for node in scene.nodes:
        _paint_node(axes, scene, node)
    return figure


def _paint_lane(axes: Axes, scene: Scene, stage: int) -> None:
    """The box in the background of everything that has one placement."""
    first, last = (scene.layers[rank] for rank in scene.lanes[stage])
    top = MARGIN / 2 + TITLE * scene.to_the_right
    corners = (top, first[0] - LANE_PAD), (scene.cross_end - MARGIN / 2, last[1] + LANE_PAD)
    fill = _LANE_FILLS[STAGES[stage]]
    _paint_box(axes, scene, *corners, facecolor=fill, edgecolor="#9a9a9a", linewidth=0.8, linestyle=(0, (4, 3)))
    (x, y), label = scene.xy(*corners[0]), Line(STAGES[stage], 10, "bold", color=GREY)
    _write(axes, (x + 8 + text_width(label) / 2, y + 12), [label])


def _paint_arrow(axes: Axes, scene: Scene, arrow: Arrow) -> None:
    """Two curves, into the label and out of it; they bend only between the layers, where no box is."""
    ends = (arrow.source, arrow.label), (arrow.label, arrow.target)
    for (source, target), stops in zip(ends, arrow.stops(), strict=True):
        head = HEAD if target is arrow.target else 0
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
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=INK, linewidth=0.9))
        if head:
            corners = (cross, tip), (cross - 3, tip - head), (cross + 3, tip - head)
            axes.add_patch(Polygon([scene.xy(*corner) for corner in corners], color=INK, linewidth=0))


def _paint_node(axes: Axes, scene: Scene, node: Node) -> None:
    left, right = node.cross - node.across / 2, node.cross + node.across / 2
    start, end = node.flow - node.along / 2, node.flow + node.along / 2
    is_frozen = node.frozen in FROZEN_WORDS
    if node.kind != "label":
        fill, radius, border = _LOOKS[node.kind]
        fill, dashes = _FROZEN_FILL if is_frozen else fill, (0, (5, 2)) if node.shared else "-"
        corners = (left, start), (right, end)
        _paint_box(axes, scene, *corners, radius, facecolor=fill, linewidth=border, linestyle=dashes)
    inside = start + node.rows[0], end - node.rows[1]
    for cells, low, high in ((node.ins, start, inside[0]), (node.outs, inside[1], end)):
        size = node.across / max(1, len(cells))
        for cell, edge in zip(cells, (left + size * index for index in range(len(cells))), strict=True):
            _paint_box(axes, scene, (edge, low), (edge + size, high), facecolor="none", edgecolor=GREY, linewidth=0.6)
            _write(axes, scene.xy(edge + size / 2, (low + high) / 2), [cell])
    if is_frozen:  # a strip at the side: solid, or hatched where only a part is frozen
        corners = (left + 0.5, inside[0] + 0.5), (left + STRIP, inside[1] - 0.5)
        fill, hatch = (FROZEN_INK, None) if node.frozen == "all" else ("white", "//////")
        _paint_box(axes, scene, *corners, facecolor=fill, edgecolor=FROZEN_INK, hatch=hatch, linewidth=0)
        left += STRIP
    _write(axes, scene.xy((left + right) / 2, sum(inside) / 2), node.lines)


def _paint_box(axes: Axes, scene: Scene, low: Point, high: Point, radius: float = 0, **look: Any) -> None:
    """A box from one (cross, flow) to another."""
    (left, top), (right, bottom) = scene.xy(*low), scene.xy(*high)
    shape = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(FancyBboxPatch((left, top), right - left, bottom - top, shape, **{"edgecolor": INK, **look}))


def _write(axes: Axes, middle: Point, lines: Sequence[Line]) -> None:
    """Centred lines of text, never read as formulas."""
    x, y = middle[0], middle[1] - sum(line.size * LEADING for line in lines) / 2
    for line in lines:
        look: dict[str, Any] = {"fontsize": line.size, "weight": line.weight, "color": line.color}
        axes.text(x, y + line.size * 1.06, printable(line.text), ha="center", parse_math=False, **look)
        y += line.size * LEADING
