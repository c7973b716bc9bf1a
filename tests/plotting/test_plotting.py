"""Pictures of graphs: complete, deterministic, legible. Graphs are wired by hand, without Keras."""

from __future__ import annotations

import dataclasses
import os
import random
import struct
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest

from keras_stitch.errors import SaveError, StitchError
from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import (
    Feed,
    GraphOutput,
    GraphSpec,
    Merge,
    Port,
    Shape,
    Source,
    Submodel,
    Tap,
    Wiring,
)
from keras_stitch.plotting import arrange as layout
from keras_stitch.plotting import painting
from keras_stitch.plotting.arrange import arrange
from keras_stitch.plotting.painting import draw, save_plot
from keras_stitch.plotting.scene import make_scene, text_width

Graph = tuple[GraphSpec, Wiring]


def graph(
    inputs: Mapping[str, Shape],
    feeds: Mapping[str, Mapping[str, Sequence[str]]],
    ports: Mapping[str, Mapping[str, Shape]] = {},
    outputs: Mapping[str, str] = {},
    *,
    name: str = "composed",
    merges: Mapping[str, Merge] = {},
    labels: Mapping[str, str] = {},
    shares: Mapping[str, str] = {},
) -> Graph:
    """Wires ``feeds[submodel][port] = ["model1", "model2.out[0:3]", "input1"]`` by hand.

    Submodels have one output ``out`` of shape ``(2,)`` unless ``ports`` says otherwise; without
    ``outputs``, the last submodel's is the graph's.
    """
    known: dict[str, Mapping[str, Shape]] = {}

    def tap(text: str) -> tuple[Tap, Port]:
        full, _, numbers = text.removesuffix("]").partition("[")
        node, _, port = full.partition(".")
        port = node if node in inputs else port or next(iter(known[node]))
        shape = inputs[node] if node in inputs else known[node][port]
        part: tuple[Span, ...] = ()
        if numbers:
            start, stop = map(int, numbers.split(":"))
            part, shape = (Span(start, stop),), (*shape[:-1], stop - start)
        return Tap(None if node in inputs else node, port, part), Port(port, shape)

    wired: dict[str, tuple[Feed, ...]] = {}
    for node, by_port in feeds.items():
        wired[node] = ()
        for port, sources in by_port.items():
            taps, tap_ports = zip(*(tap(source) for source in sources), strict=True)
            merge = merges.get(f"{node}.{port}", Merge())
            shape = tap_ports[0].shape
            if len(taps) > 1 and merge.kind == "concatenate":
                shape = (*shape[:-1], sum(each.shape[-1] for each in tap_ports))
            wired[node] += (Feed(node, Port(port, shape), taps, tap_ports, merge),)
        known[node] = ports.get(node, {"out": (2,)})
    shown = []
    for output, source in (outputs or {"prediction": list(feeds)[-1]}).items():
        exposed, port = tap(source)
        shown.append(GraphOutput(Port(output, port.shape), exposed))
    node_outputs = {node: tuple(Port(*port) for port in known[node].items()) for node in feeds}
    submodels = tuple(
        Submodel(
            node,
            Source("file", labels.get(node, f"{node}.h5")),
            inputs=tuple(feed.port for feed in wired[node]),
            outputs=node_outputs[node],
            share=shares.get(node),
        )
        for node in feeds
    )
    input_ports = tuple(Port(*port) for port in inputs.items())
    return GraphSpec(name, submodels), Wiring(name, tuple(feeds), input_ports, tuple(shown), wired, node_outputs)


def seed_graph() -> Graph:
    """The graph of the task: two inputs, four models, two concatenations."""
    return graph(
        {"input1": (10,), "input2": (7, 4)},
        {
            "model1": {"x": ["input1"]},
            "model2": {"x": ["model1", "input1"]},
            "model3": {"x": ["input2"]},
            "model4": {"x": ["model2", "model3"]},
        },
        {"model1": {"out": (3,)}, "model2": {"out": (5,)}, "model3": {"out": (6,)}, "model4": {"out": (1,)}},
    )


def chain(length: int) -> Graph:
    feeds = {f"model{i}": {"x": [f"model{i - 1}" if i else "input1"]} for i in range(length)}
    return graph({"input1": (4,)}, feeds, name="chain")


def ensemble(size: int) -> Graph:
    feeds = {f"model{i}": {"x": ["input1"]} for i in range(size)}
    feeds["mean"] = {"x": [f"model{i}" for i in range(size)]}
    return graph({"input1": (4,)}, feeds, name="ensemble", merges={"mean.x": Merge("average")})


def siamese() -> Graph:
    return graph(
        {"left": (28, 28, 1), "right": (28, 28, 1)},
        {"encoder": {"x": ["left"]}, "encoder_again": {"x": ["right"]}, "head": {"x": ["encoder", "encoder_again"]}},
        {"encoder": {"out": (64,)}, "encoder_again": {"out": (64,)}},
        name="siamese",
        merges={"head.x": Merge("subtract")},
        labels={"encoder_again": "encoder.h5"},
        shares={"encoder_again": "encoder"},
    )


def two_headed() -> Graph:
    """Several ports on both sides, slices, two arrows between the same boxes, three placements."""
    return graph(
        {"dna": (1000, 4), "atac": (1000, 1)},
        {
            "deepsea_with_a_long_name": {"x": ["dna"]},
            "rbp": {"sequence": ["dna"], "distance": ["atac"]},
            "middle": {"x": ["deepsea_with_a_long_name[0:3]", "rbp.mean"]},
            "final": {"x": ["middle", "rbp.scale", "atac"], "y": ["middle[1:2]"]},
        },
        {"deepsea_with_a_long_name": {"out": (919,)}, "rbp": {"mean": (1,), "scale": (None, 2)}},
        {"prediction": "final", "raw": "deepsea_with_a_long_name", "passed": "atac"},
    )


PLACED = {"deepsea_with_a_long_name": "workflow", "rbp": "dataloader", "middle": "dataloader"}


def random_graph(seed: int) -> Graph:
    chance = random.Random(seed)
    inputs: dict[str, Shape] = {f"input{i}": (4,) for i in range(chance.randint(1, 5))}
    feeds, ports, sources = {}, {}, list(inputs)
    for i in range(chance.randint(2, 25)):
        pool = sources if chance.random() < 0.5 else sources[-6:]
        feeds[f"m{i}"] = {f"p{j}": chance.choices(pool, k=chance.randint(1, 3)) for j in range(chance.randint(1, 3))}
        ports[f"m{i}"] = {f"o{j}": (chance.randint(1, 20), 4) for j in range(chance.randint(1, 2))}
        sources += [f"m{i}.{port}" for port in ports[f"m{i}"]]
    return graph(inputs, feeds, ports)


def texts(svg: bytes) -> list[str]:
    """What a reader of the picture sees."""
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


# --- What is in the picture ---


def test_seed_graph_shows_every_name_and_shape():
    seen = texts(draw(*seed_graph()))
    boxes = ["composed", "input1", "input2", *(f"model{i}" for i in (1, 2, 3, 4)), "prediction"]
    files = [f"model{i}.h5" for i in (1, 2, 3, 4)]
    terminals = ["(10,) float32", "(7, 4) float32", "(1,) float32"]
    arrows = ["(10,)", "(10,)", "(7, 4)", "(3,)", "(13,)", "(5,)", "(6,)", "(11,)", "(1,)"]
    assert sorted(seen) == sorted([*boxes, *files, *terminals, *arrows, "concatenate", "concatenate"])


def test_ports_have_names_only_where_there_are_several():
    seen = texts(draw(*two_headed()))
    assert {"sequence", "distance", "mean", "scale", "x", "y"} <= set(seen)
    assert seen.count("x") == 1 and "out" not in seen


def test_slices_are_on_the_arrows():
    seen = texts(draw(*two_headed()))
    assert "[0:3]  (3,)" in seen and "[1:2]  (1,)" in seen and "(None, 2)" in seen


def test_masks_are_on_the_arrows():
    spec, wiring = graph({"x": (5, 3)}, {"a": {"x": ["x"]}, "b": {"x": ["a", "x"]}, "c": {"x": ["a"]}})
    (fed,) = wiring.feeds["b"]
    feeds = {**wiring.feeds, "b": (dataclasses.replace(fed, masks=(True, False)),)}
    masked = frozenset({Tap("a", "out"), Tap("b", "x", merged=True)})
    seen = texts(draw(spec, dataclasses.replace(wiring, feeds=feeds, masked=masked)))
    assert seen.count("(2,)  mask") == 1 and seen.count("(2,)  mask stops") == 1
    assert seen.count(f"{fed.port.shape}  mask") == 1 and sum("mask" in text for text in seen) == 3


@pytest.mark.parametrize(
    ("merge", "words"),
    [
        (Merge("average"), ["average"]),
        (Merge("concatenate"), ["concatenate"]),
        (Merge("concatenate", axis=1), ["concatenate", "axis 1"]),
        (Merge("layer", layer={"class_name": "Dot", "config": {"axes": 1}}), ["Dot"]),
    ],
)
def test_merges_say_how(merge: Merge, words: list[str]):
    drawn = graph({"a": (4,), "b": (4,)}, {"m": {"x": ["a", "b"]}}, merges={"m.x": merge})
    without = graph({"a": (4,), "b": (4,)}, {"m": {"x": ["a"]}})
    seen = texts(draw(*drawn))
    assert set(words) <= set(seen)
    assert not set(words) & set(texts(draw(*without)))
    assert ("axis 1" in seen) == ("axis 1" in words)


def test_frozen_submodels_are_marked_by_words():
    drawn = chain(4)
    seen = texts(draw(*drawn, frozen={"model0": "all", "model1": "part", "model2": "none"}))
    assert seen.count("frozen") == 1 and seen.count("partly frozen") == 1
    assert "frozen" not in " ".join(texts(draw(*drawn)))


def test_shared_weights_are_named():
    assert "shares weights with encoder" in texts(draw(*siamese()))


def test_placements_are_boxed_only_where_there_are_several():
    labels = ["workflow", "dataloader", "model"]
    assert [text for text in texts(draw(*two_headed(), placement=PLACED)) if text in labels] == labels
    same = dict.fromkeys(two_headed()[1].order, "workflow")
    assert not set(labels) & set(texts(draw(*two_headed(), placement=same)))


def test_hostile_names_stay_text():
    hostile = ["<b>&amp;\"'", "$x_1$", "a_b^c", "]]>", "\\frac{1}{2}"]
    feeds = {name: {"x": [before]} for before, name in pairwise(["in<put", *hostile])}
    seen = texts(draw(*graph({"in<put": (4,)}, feeds, name="<&>", labels={"$x_1$": "$y^2$ & <z>.h5"})))
    assert {"<&>", "in<put", "$y^2$ & <z>.h5", *hostile} <= set(seen)


def test_control_characters_and_other_scripts_in_file_names():
    drawn = graph({"x": (4,)}, {"m": {"x": ["x"]}}, labels={"m": "模型\x00\x1b\n\udcff.h5"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "模型\ufffd\ufffd\ufffd\ufffd.h5" in texts(draw(*drawn))
        assert draw(*drawn, format="png")


# --- Where it is in the picture ---


@pytest.mark.parametrize("to_the_right", [False, True])
@pytest.mark.parametrize("drawn", [*map(random_graph, range(40)), seed_graph(), ensemble(9), siamese()])
def test_nothing_overlaps(drawn: Graph, to_the_right: bool):
    scene = make_scene(*drawn, {}, {})
    width = arrange(scene, to_the_right)
    flow_end = scene.layers[-1][1]
    assert width == pytest.approx(flow_end + layout.MARGIN if to_the_right else scene.cross_end)
    for (_, end), (start, _) in pairwise(scene.layers):
        assert start - end >= layout.HEAD
    for node in scene.nodes:
        assert node.cross - node.across / 2 > 0 and node.cross + node.across / 2 < scene.cross_end
        start, end = scene.layers[node.rank]
        assert start - 1e-6 <= node.flow - node.along / 2 and node.flow + node.along / 2 <= end + 1e-6
        room = scene.xy(node.across, node.along)[0]
        assert max(map(text_width, node.lines)) <= room
    for rank in range(len(scene.layers)):
        layer = sorted((node for node in scene.nodes if node.rank == rank), key=lambda node: node.cross)
        for before, after in pairwise(layer):
            assert before.cross + before.across / 2 < after.cross - after.across / 2
        passing = [cross for arrow in scene.arrows for at, cross in arrow.bends if at == rank]
        for node in layer:
            assert not any(abs(cross - node.cross) <= node.across / 2 for cross in passing)


def test_arrows_only_go_forward_and_reach_their_port():
    scene = make_scene(*two_headed(), {}, PLACED)
    arrange(scene, to_the_right=False)
    for arrow in scene.arrows:
        assert arrow.source.rank < arrow.label.rank == arrow.target.rank - 1
        for stops in arrow.stops():
            ranks = [rank for rank, _ in stops]
            assert ranks == list(range(ranks[0], ranks[-1] + 1))
        _, (_, tip) = list(arrow.stops())[1]
        assert abs(tip - arrow.target.cross) < arrow.target.across / 2


def test_boxes_of_placements_hold_their_submodels_and_nothing_else():
    scene = make_scene(*two_headed(), {}, PLACED)
    assert len(scene.lanes) == 3
    for stage, (first, last) in scene.lanes.items():
        inside = [node for node in scene.nodes if first <= node.rank <= last and node.kind != "label"]
        assert inside and all(node.stage == stage for node in inside)


def test_wide_graphs_flow_to_the_right():
    def size(drawn: Graph) -> tuple[float, float]:
        root = ElementTree.fromstring(draw(*drawn))
        return float(root.attrib["width"][:-2]), float(root.attrib["height"][:-2])

    for drawn in (chain(30), ensemble(5), ensemble(40)):
        assert size(drawn)[0] < painting.PAGE


def test_parts_that_are_not_connected():
    feeds = {"left": {"x": ["a"]}, "right": {"x": ["b"]}}
    seen = texts(draw(*graph({"a": (4,), "b": (4,)}, feeds, outputs={"c": "left", "d": "right"})))
    assert {"left", "right", "a", "b", "c", "d"} <= set(seen)


# --- The files ---


def test_png_magic_and_size():
    png = draw(*seed_graph(), format="png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert 300 < width < height < 2000


@pytest.mark.slow
def test_hundred_submodels_within_seconds():
    for drawn in (chain(100), ensemble(99)):
        start = time.perf_counter()
        svg, png = draw(*drawn), draw(*drawn, format="png")
        assert time.perf_counter() - start < 20  # about 3 on a laptop
        assert {f"model{i}" for i in range(99)} <= set(texts(svg))
        assert max(struct.unpack(">II", png[16:24])) <= painting.PNG_SIDE


SCRIPT = """
import hashlib, test_plotting as t
print(hashlib.sha256(b"".join(t.draw(*g, placement=p) for g, p in [
    (t.seed_graph(), {}), (t.two_headed(), t.PLACED), *((t.random_graph(s), {}) for s in range(5)),
    (t.siamese(), {})])).hexdigest())
"""


def run(script: str, **env: str) -> str:
    here = Path(__file__).parent
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here), str(here.parent / "helpers")]),
        **env,
    }
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_svg_is_the_same_in_every_process():
    assert run(SCRIPT, PYTHONHASHSEED="1") == run(SCRIPT, PYTHONHASHSEED="2")


def test_pyplot_is_never_imported():
    shown = "import sys, test_plotting as t; t.draw(*t.siamese()); t.draw(*t.siamese(), format='png');"
    assert run(shown + "print('matplotlib.pyplot' in sys.modules)") == "False"


def test_the_style_of_the_user_is_neither_used_nor_changed():
    expected = draw(*seed_graph())
    style = {"text.usetex": True, "savefig.bbox": "tight", "font.size": 30, "path.sketch": (1, 9, 2)}
    with matplotlib.rc_context(style):
        before = dict(matplotlib.rcParams)
        assert draw(*seed_graph()) == expected
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("name", "magic"), [("graph.svg", b"<?xml"), ("graph.PNG", b"\x89PNG")])
def test_save_plot_goes_by_the_ending(tmp_path: Path, name: str, magic: bytes):
    path = save_plot(str(tmp_path / name), *siamese(), frozen={"encoder": "all"})
    assert path == tmp_path / name
    assert path.read_bytes().startswith(magic)


def test_save_plot_refuses_other_endings(tmp_path: Path):
    with pytest.raises(StitchError) as caught:
        save_plot("plots/graph.pdf", *seed_graph())
    assert str(caught.value).splitlines() == [
        f"A plot cannot be saved as '{Path('plots/graph.pdf')}'.",
        "  Expected: a file name that ends in .svg or .png",
        "  Received: the ending '.pdf'",
        f"  Fix: Use '{Path('plots/graph.svg')}'.",
    ]
    with pytest.raises(StitchError, match="no ending"):
        save_plot(tmp_path / "graph", *seed_graph())


def test_save_plot_refuses_missing_folders_and_taken_names(tmp_path: Path):
    with pytest.raises(SaveError, match=r"no folder .*missing"):
        save_plot(tmp_path / "missing" / "graph.svg", *seed_graph())
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(SaveError, match=r"folder\.svg' is a directory"):
        save_plot(tmp_path / "folder.svg", *seed_graph())


def test_unknown_formats_and_empty_graphs_are_refused():
    with pytest.raises(StitchError, match="Expected: svg or png\n  Received: 'gif'"):
        draw(*seed_graph(), format="gif")
    with pytest.raises(StitchError, match="Graph 'empty' is empty"):
        draw(GraphSpec("empty"), Wiring("empty", (), (), ()))
