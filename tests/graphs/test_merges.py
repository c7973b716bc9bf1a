"""The table of merges: every kind is complete, and wrong options are told."""

import keras
import numpy as np
import pytest
from merging_strategies import M
from plain_graphs import node, problem, spec

import keras_stitch as ks
from keras_stitch.graphs import merge_options, merges
from keras_stitch.graphs.merges import KINDS
from keras_stitch.graphs.read_stitch_yaml import parse
from keras_stitch.graphs.spec import Merge
from keras_stitch.graphs.wiring import wire
from keras_stitch.graphs.write_stitch_yaml import dump


def test_generated_directories_know_the_same_kinds() -> None:
    assert set(M.numpy_merges.MERGES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_layer_and_known_options(kind: str) -> None:
    for layer in (KINDS[kind].layer, *KINDS[kind].before):
        assert issubclass(getattr(keras.layers, layer), keras.layers.Layer)
    assert set(KINDS[kind].options) <= set(merge_options.OPTIONS) <= set(vars(Merge()))


def test_an_option_of_another_kind() -> None:
    with pytest.raises(ks.StitchError) as error:
        ks.Graph().connect(["a", "b"], "c", merge="add", axis=1)
    assert str(error.value) == "axis= has no meaning for merge='add'.\n  Expected: no option"
    with pytest.raises(ks.StitchError) as error:
        parse("models: {c: c.h5}\nconnections: {c: {sources: [a, b], merge: add, axis: 1}}")
    assert "line 2, connections.c.axis: has no meaning for merge: add" in str(error.value)


@pytest.mark.parametrize("options", [{"axis": 1}, {"axes": 1}, {"normalize": True}])
def test_an_option_beside_a_layer(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ks.StitchError) as error:
        ks.Graph().connect(["a", "b"], "c", merge=keras.layers.Add(), **options)  # type: ignore[arg-type]
    assert str(error.value) == f"{name}= has no meaning for a merge that is a Keras layer.\n  Expected: no option"
    merge = f"merge: {{layer: {{class_name: Add}}}}, {name}: {str(options[name]).lower()}"
    with pytest.raises(ks.StitchError) as error:
        parse(f"models: {{c: c.h5}}\nconnections: {{c: {{sources: [a, b], {merge}}}}}")
    assert f"line 2, connections.c.{name}: has no meaning for a merge that is a Keras layer" in str(error.value)


def test_the_default_beside_a_layer_is_allowed() -> None:
    assert ks.Graph().connect(["a", "b"], "c", merge=keras.layers.Add(), axis=-1).spec.connections
    merge = "merge: {layer: {class_name: Add}}, axis: -1"
    assert parse(f"models: {{c: c.h5}}\nconnections: {{c: {{sources: [a, b], {merge}}}}}").connections


def test_whole_numbers_of_numpy() -> None:
    graph = (
        ks.Graph()
        .connect(["a", "b"], "c", merge="dot", axes=(np.int64(1), 2))
        .connect(["a", "b"], "d", axis=np.int8(1))
    )  # type: ignore[arg-type]
    assert repr([one.merge for one in graph.spec.connections]) == repr([Merge("dot", axes=(1, 2)), Merge(axis=1)])


@pytest.mark.parametrize("kind", sorted(kind for kind in KINDS if not KINDS[kind].pair))
def test_one_source_is_passed_on_as_it_is(kind: str) -> None:
    graph = spec(node("m1"), node("m2"), connect={"m2": (["m1"], Merge(kind))})
    assert wire(graph).feeds["m2"][0].port.shape == (3,)


@pytest.mark.parametrize(
    ("merge", "text"),
    [
        (Merge("dot", axes=1), "'dot' takes two sources.\n  Expected: 2 sources\n  Received: 1 source"),
        (Merge("abs_difference"), "'abs_difference' takes two sources.\n  Expected: 2 sources\n"
         "  Received: 1 source"),
        (Merge("subtract"), "'subtract' takes the second source from the first.\n  Expected: 2 sources\n"
         "  Received: 1 source"),
        (Merge(axis=1), "One source is passed on as it is, so axis= has no meaning.\n  Fix: Leave axis= out."),
        (Merge("stack", 1), "One source is passed on as it is, so axis= has no meaning.\n  Fix: Leave axis= out."),
        (Merge("layer", layer={"class_name": "Add"}),
         "A Keras layer as merge= takes several sources, and this is one.\n"
         "  Fix: Name several sources, or add the layer as a submodel and connect the source to it."),
    ],
)  # fmt: skip
def test_one_source_for_a_merge_that_cannot_pass_it_on(merge: Merge, text: str) -> None:
    graph = spec(node("m1"), node("m2"), connect={"m2": (["m1"], merge)})
    start = "'m1' (3,) float32 cannot be merged into 'm2.x' (3,) float32. "
    assert problem(graph).startswith(start + text)
    if merge.layer is None:
        assert parse(dump(graph)).connections == graph.connections


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "merge='dot' needs axes=.\n"
         "  Expected: one number for both sources, such as 1, or one for each, such as (1, 2)"),
        ({"axes": 1.5}, "axes= is not a whole number, or two.\n  Expected: one number"),
        ({"axes": (1, 2, 3)}, "axes= is not a whole number, or two.\n  Expected: one number"),
        ({"axes": 1, "normalize": "yes"},
         "normalize= is not true or false.\n  Expected: True or False\n  Received: 'yes'"),
        ({"axes": 1, "axis": 1}, "axis= has no meaning for merge='dot'.\n  Expected: axes=, normalize="),
    ],
)  # fmt: skip
def test_options_of_dot(options: dict[str, object], text: str) -> None:
    with pytest.raises(ks.StitchError) as error:
        ks.Graph().connect(["a", "b"], "c", merge="dot", **options)  # type: ignore[arg-type]
    assert str(error.value).startswith(text)


def test_dot_in_a_file() -> None:
    models = "models: {a: a.h5, b: b.h5, c: c.h5}\n"
    said = parse(models + "connections: {c: {sources: [a, b], merge: dot, axes: [1, -1], normalize: true}}")
    assert said.connections[0].merge == Merge("dot", axes=(1, -1), normalize=True)
    with pytest.raises(ks.StitchError) as error:
        parse(models + "connections: {b: {sources: [a, a], merge: dot}, c: {sources: [a, b], merge: dot, axes: [1]}}")
    assert "connections.b: 'axes' is missing, which merge: dot needs" in str(error.value)
    assert "connections.c.axes: expected a whole number, or two, received [1]" in str(error.value)


def test_dot_of_whole_numbers() -> None:
    with pytest.raises(ks.StitchError, match=r"'dot' does not work on int32\.\n  Expected: floats"):
        merges.merged_dtype(Merge("dot", axes=1), ["float32", "int32"])
