"""What trains: flags as saved, whole submodels, single layers, and all of it again after a reload."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import toy_models
from toy_models import dense

import keras_stitch as ks
from keras_stitch.keras_private import quiet_keras

pytestmark = pytest.mark.backends


def training(model: keras.Model, submodel: str = "m") -> set[str]:
    """Paths of the layers of a submodel that have weights which train."""
    ids = {id(weight) for weight in model.trainable_weights}
    layers = toy_models.leaves(model.get_layer(submodel))
    return {path for path, layer in layers.items() if any(id(weight) in ids for weight in layer.weights)}


def graph(kind: str = "functional", **options) -> ks.Graph:
    return ks.Graph().add("m", toy_models.saved(kind, 0, "keras"), **options)


ALL = {"dense", "batch_normalization", "dense_1"}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: graph(), ALL),
        (lambda: graph("partly_frozen"), ALL - {"dense"}),
        (lambda: graph("partly_frozen", trainable=True), ALL),
        (lambda: graph("all_frozen"), set()),
        (lambda: graph("all_frozen", trainable=True), ALL),
        (lambda: graph("all_frozen", trainable=True).freeze("m", layers="dense*"), {"batch_normalization"}),
        (lambda: graph(trainable=False), set()),
        (lambda: graph().freeze("m"), set()),
        (lambda: graph().freeze("*"), set()),
        (lambda: graph().freeze("m", layers="dense"), ALL - {"dense"}),
        (lambda: graph().freeze("m", layers="dense*"), {"batch_normalization"}),
        (lambda: graph("partly_frozen").freeze("m").unfreeze("m"), ALL - {"dense"}),
        (lambda: graph("partly_frozen").unfreeze("m", layers="dense"), ALL - {"dense"}),
        (lambda: graph().freeze("m").unfreeze("m", layers="dense_1"), {"dense_1"}),
        (lambda: graph().unfreeze("m").freeze("m"), set()),
        (lambda: graph("nested").freeze("m", layers="encoder/dense"), {"encoder_1/dense"}),
        (lambda: graph("nested").freeze("m", layers="encoder*/*"), set()),
        (lambda: graph("nested").freeze("m", layers="dense"), set()),
        (lambda: graph("nested_deep"), {"functional/dense", "dense"}),
        (
            lambda: graph("nested_deep").freeze("m").unfreeze("m", layers="functional/dense"),
            {"functional/dense"},
        ),
        (
            lambda: graph("nested_deep", trainable=True),
            {"functional/functional/dense", "functional/dense", "dense"},
        ),
    ],
)
def test_what_trains_also_after_a_reload(made, expected, tmp_path):
    model = made().build()
    assert training(model) == expected
    for name in ("m.keras", "m.h5"):
        with quiet_keras():
            model.save(tmp_path / name)
        assert training(keras.saving.load_model(tmp_path / name)) == expected


def test_models_built_before_are_not_touched():
    made = graph()
    before = made.build()
    made.freeze("m")
    assert training(before) == ALL and training(made.build()) == set()


def test_sharing_freezes_both():
    made = graph().share("twin", of="m").add_input("x", ["m", "twin"]).freeze("twin")
    model = made.build()
    assert model.trainable_weights == [] and len(model.weights) == 8


@pytest.mark.parametrize("trainable", [None, True, False])
def test_a_layer_as_node(trainable):
    layer = keras.layers.Dense(2)
    layer.trainable = False
    model = ks.Graph().add("d", layer, trainable=trainable).add_input("x", "d", shape=(3,)).build()
    assert bool(model.trainable_weights) is bool(trainable)


def test_flags_inside_a_layer_stay_as_they_are():
    layer = keras.layers.Bidirectional(keras.layers.LSTM(2))
    layer(np.zeros((1, 2, 3), "float32"))
    layer.forward_layer.trainable = False
    model = ks.Graph().add("d", layer).add_input("x", "d", shape=(2, 3)).build()
    assert len(model.trainable_weights) == 3


def test_the_flag_of_a_whole_model_in_memory_counts():
    held = toy_models.in_memory("functional", 0)
    held.trainable = False
    held.get_layer("dense").trainable = True
    assert held.trainable_weights == []
    assert training(ks.Graph().add("m", held).build()) == set()
    assert training(ks.Graph().add("m", held, trainable=True).build()) == ALL


@pytest.mark.parametrize("functional", [True, False])
def test_an_open_layer_in_a_frozen_nested_model_trains_as_keras_says(functional, tmp_path):
    if functional:
        i = keras.Input((3,))
        inner = keras.Model(i, dense(3, "b")(dense(3, "a")(i)), name="inner")
    else:
        inner = keras.Sequential([keras.Input((3,)), dense(3, "a"), dense(3, "b")], name="inner")
    inner.trainable = False
    inner.get_layer("a").trainable = True
    x = keras.Input((3,), name="x")
    held = keras.Model(x, dense(1, "c")(inner(x)))
    assert len(held.trainable_weights) == 4
    model = ks.Graph().add("m", held).build()
    assert training(model) == {"inner/a", "c"}
    for name in ("m.keras", "m.h5"):
        with quiet_keras():
            model.save(tmp_path / name)
        assert training(keras.saving.load_model(tmp_path / name)) == {"inner/a", "c"}


def test_frozen_batch_normalization_keeps_its_averages():
    moved = {}
    for frozen in (False, True):
        made = graph()
        if frozen:
            made.freeze("m", layers="batch*")
        model = made.build()
        model.compile("sgd", "mse")
        layer = model.get_layer("m").get_layer("batch_normalization")
        before = layer.moving_mean.numpy()
        model.fit({"x": np.ones((8, 4), "float32")}, np.ones((8, 3)), verbose=0)
        moved[frozen] = not np.array_equal(before, layer.moving_mean.numpy())
    assert moved == {False: True, True: False}


@pytest.mark.parametrize(
    ("verb", "pattern", "layers", "message"),
    [
        ("freeze", "nobody", None, r"freeze\('nobody'\) matches no submodel"),
        ("unfreeze", "n*", None, r"unfreeze\('n\*'\) matches no submodel"),
        ("freeze", "m", "dens", r"freeze\('m', layers='dens'\) matches no layer(.|\n)*dense"),
    ],
)
def test_patterns_that_match_nothing(verb, pattern, layers, message):
    made = graph()
    getattr(made, verb)(pattern, layers=layers)
    with pytest.raises(ks.StitchError, match=message):
        made.build()
