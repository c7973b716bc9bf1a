"""The table of merges: every kind is complete, and wrong options are told."""

import keras
import pytest
from merging_strategies import M

import keras_stitch as ks
from keras_stitch.graphs import merges
from keras_stitch.graphs.merges import KINDS
from keras_stitch.graphs.read_stitch_yaml import parse
from keras_stitch.graphs.spec import Merge


def test_generated_directories_know_the_same_kinds() -> None:
    assert set(M.numpy_merges.MERGES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_layer_and_known_options(kind: str) -> None:
    assert issubclass(getattr(keras.layers, KINDS[kind].layer), keras.layers.Layer)
    assert set(KINDS[kind].options) <= set(merges.OPTIONS) <= set(vars(Merge()))


def test_an_option_of_another_kind() -> None:
    with pytest.raises(ks.StitchError) as error:
        ks.Graph().connect(["a", "b"], "c", merge="add", axis=1)
    assert str(error.value) == "axis= has no meaning for merge='add'.\n  Expected: no option"
    with pytest.raises(ks.StitchError) as error:
        parse("models: {c: c.h5}\nconnections: {c: {sources: [a, b], merge: add, axis: 1}}")
    assert "line 2, connections.c.axis: has no meaning for merge: add" in str(error.value)


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
