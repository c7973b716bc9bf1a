"""The tables that people read, character for character."""

from __future__ import annotations

from plain_graphs import node, spec

from keras_stitch.graphs.spec import InputSpec, LayerInfo, Port, Source, Submodel
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement.plan import plan
from keras_stitch.placement.summary import Summary, describe, ports_cell, summarise
from keras_stitch.terminal import render

LAYERS = (LayerInfo("conv", "Conv1D", False, 1234), LayerInfo("block/dense", "Dense", True, 8))


SUMMARY = """\
Graph 'composed'

submodel   source          placement   frozen   parameters   inputs                         outputs
──────────────────────────────────────────────────────────────────────────────────────────────────────────
model1     model1.h5       model       partly   1,242        sequence (101, 4)              y (3,)
again      shares model1   model       partly   0            sequence (None, 4)             y (3,)
head       head.h5         model       no       0            x (6,), mask (None, 1) int32   p (2,), q (1,)

graph    name     shape       dtype
─────────────────────────────────────
input    left     (101, 4)    float32
input    right    (None, 4)   float32
input    mask     (None, 1)   int32
output   head_p   (2,)        float32
output   head_q   (1,)        float32
"""

DESCRIPTION = """\
models/m.h5
sha256 {sha256}
1,242 parameters
repaired:
  time_major

port     name                  shape      dtype
─────────────────────────────────────────────────
input    sequence              (101, 4)   float32
input    input_1 (generated)   (None,)    int32
output   score                 (1,)       float32

layer         class    parameters   trainable
─────────────────────────────────────────────
conv          Conv1D   1,234        no
block/dense   Dense    8            yes

"""


def summary(repairs: tuple[str, ...] = ()) -> Summary:
    graph = spec(
        node("model1", {"sequence": (None, 4)}, layers=LAYERS, repairs=repairs),
        node("again", {"sequence": (None, 4)}, share="model1", layers=LAYERS),
        node("head", {"x": (6,), "mask": ((None, 1), "int32")}, {"p": (2,), "q": (1,)}),
        connect={"head.x": ["model1", "again"]},
        inputs=[InputSpec("left", ("model1",), (101, 4)), InputSpec("right", ("again",))],
        name="composed",
    )
    frozen = {"model1": "part", "again": "part", "head": "none"}
    return summarise(graph, wire(graph), plan(graph, wire(graph)), frozen)


def test_the_summary_of_a_graph() -> None:
    assert str(summary()) + "\n" == SUMMARY


def test_repairs_are_listed_where_there_are_some() -> None:
    text = str(summary(("hard-sigmoid (lstm): other numbers", "time-major")))
    assert text.endswith("\n\nmodel1 repaired:\n  hard-sigmoid (lstm): other numbers\n  time-major")
    assert "repair" not in str(summary())


def test_the_summary_as_data() -> None:
    rows = {row.submodel: row for row in summary()}
    assert (rows["model1"].parameters, rows["again"].parameters) == (1242, 0)
    assert rows["again"].source == "shares model1"
    assert rows["model1"].inputs == (Port("sequence", (101, 4)),)


def test_the_description_of_one_file() -> None:
    source = Source("file", "m.h5", path="models/m.h5", sha256="0" * 64)
    inputs = Port("sequence", (101, 4)), Port("input_1", (None,), "int32", generated=True)
    model = Submodel("m", source, inputs, (Port("score", (1,)),), layers=LAYERS, repairs=("time_major",))
    assert describe(model, model.source.path) + "\n" == DESCRIPTION.format(sha256="0" * 64)


def test_brackets_and_long_names_stay_what_they_are() -> None:
    text = render(("name",), [("[bold]m1[/bold]",), ("long" * 40,)], width=100)
    assert "[bold]m1[/bold]" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "".join(text.splitlines()[3:]).replace(" ", "") == "long" * 40


def test_float32_goes_without_saying() -> None:
    ports = [Port("x", (3,)), Port("i", (None,), "int32"), Port("any", None, None)]
    assert ports_cell(ports) == "x (3,), i (None,) int32, any unknown"
