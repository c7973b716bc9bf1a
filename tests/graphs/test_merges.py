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
