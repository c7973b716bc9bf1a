"""Files: refused before they are written where Keras could not bring the model back."""

from __future__ import annotations

import resource
import warnings

import keras
import numpy as np
import pytest
import toy_models
from backends import allclose
from toy_models import dense

import keras_stitch as ks
from keras_stitch.assembly import check_same_graph, outline_of
from keras_stitch.errors import SaveError
from keras_stitch.models.save_keras import check_format, save_model

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(0, 1, (3, 4)).astype("float32")


def looking_up() -> keras.Model:
    layer = keras.layers.IntegerLookup(name="lookup")
    layer.adapt(np.array([3, 4]))
    x = keras.Input((4,), dtype="int64", name="x")
    return keras.Model(x, layer(x))


def sharing() -> keras.Model:
    layer = dense(4)
    inside = keras.Input((4,))
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Add()([keras.Model(inside, layer(inside), name="inner")(x), layer(x)]))


def repeating() -> keras.Model:
    layer = dense(4)
    inside = keras.Input((3, 4))
    x = keras.Input((3, 4), name="x")
    repeated = keras.layers.TimeDistributed(layer)(x)
    return keras.Model(x, keras.Model(inside, layer(inside), name="inner")(repeated))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: toy_models.in_memory("operations", 0), r"submodel 'odd': it has the operation .*, which is no Keras"),
        (looking_up, r"submodel 'odd': it has an adapted IntegerLookup.*'odd/lookup'"),
    ],
    ids=["operations", "lookup"],
)
def test_what_h5_cannot_hold_is_refused_and_keras_can(make, message, tmp_path):
    model = ks.Graph().add("fine", dense(4)).add("odd", make()).add_input("in0", "fine", shape=(4,)).build()
    for act in (lambda: check_format(model, "h5"), lambda: save_model(model, tmp_path / "m.h5")):
        with pytest.raises(SaveError, match=message):
            act()
    assert list(tmp_path.iterdir()) == []
    again = keras.saving.load_model(save_model(model, tmp_path / "m.keras"), compile=False)
    data = {tensor.name: np.ones((2, 4), tensor.dtype) for tensor in model.inputs}
    for name, value in model(data).items():
        assert allclose(again(data)[name], value, atol=1e-6)


def test_constants_of_preprocessing_are_no_obstacle(tmp_path):
    given = keras.layers.Normalization(mean=[1.0] * 4, variance=[2.0] * 4)
    adapted = keras.layers.Normalization()
    adapted.adapt(X)
    model = ks.Graph().add("m", keras.Sequential([keras.Input((4,), name="x"), given])).add("n", adapted)
    model = model.connect("m", "n").build()
    again = keras.saving.load_model(save_model(model, tmp_path / "m.h5"), compile=False)
    assert allclose(again([X]), model([X]), atol=1e-6)


def test_a_layer_in_two_places_is_refused_by_h5(tmp_path):
    model = ks.Graph().add("odd", sharing()).build()
    with pytest.raises(SaveError, match=r"'odd': its layer '.*dense' is also '.*dense', and on loading"):
        save_model(model, tmp_path / "m.h5")


@pytest.mark.parametrize("make", [sharing, repeating], ids=["models", "wrapper"])
def test_a_layer_in_two_places_is_one_in_plain_keras(make, tmp_path):
    """A step of training changes both places alike, before and after loading."""
    model = ks.Graph().add("odd", make()).build()
    again = keras.saving.load_model(save_model(model, tmp_path / "m.keras"), compile=False)
    assert len(again.weights) == len(model.weights) == 2
    data = np.random.default_rng(0).normal(0, 1, (3, *model.inputs[0].shape[1:])).astype("float32")
    for one in (model, again):
        one.compile(keras.optimizers.SGD(0.1), "mse")
        one.fit(data, np.ones((3, *one.outputs[0].shape[1:])), verbose=0, batch_size=3)
    assert allclose(again.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-6)


def test_a_frozen_attention_layer_is_forgotten_by_keras_and_said_so():
    graph = ks.Graph().add("mha", keras.layers.MultiHeadAttention(1, 2))
    graph.add_input("q", "mha.query", shape=(2, 3)).add_input("v", "mha.value", shape=(2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_format(graph.build(), "keras")
    with pytest.warns(UserWarning, match="will not know on loading that submodel 'mha' is frozen"):
        check_format(graph.freeze("mha").build(), "keras")

    q = keras.Input((2, 3), name="q")
    held = keras.Model(q, dense(1)(keras.layers.MultiHeadAttention(1, 2, name="inside")(q, q)))
    with pytest.warns(UserWarning, match="will not know on loading that 'inside' in submodel 'm' is frozen"):
        check_format(ks.Graph().add("m", held).freeze("m", layers="inside").build(), "h5")


def test_formats_endings_and_folders(tmp_path):
    model = ks.Graph().add("m", toy_models.saved("functional", 0, "h5")).build()
    with pytest.raises(SaveError, match="There is no format 'onnx'"):
        check_format(model, "onnx")
    with pytest.raises(SaveError, match=r"'m\.pb' does not end in a format of Keras"):
        save_model(model, tmp_path / "m.pb")
    with pytest.raises(SaveError, match="There is no folder"):
        save_model(model, tmp_path / "no" / "m.h5")
    for name in ("m.keras", "m.h5", "m.hdf5"):
        assert save_model(model, tmp_path / name).stat().st_size > 0


def test_an_old_file_survives_a_refusal(tmp_path):
    path = tmp_path / "m.h5"
    path.write_text("old")
    with pytest.raises(SaveError):
        save_model(ks.Graph().add("m", looking_up()).build(), path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_file_without_room_is_one_error(tmp_path, name):
    model, limits = keras.Sequential([keras.Input((4,)), dense(9_000)]), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(SaveError, match=rf"{name}' cannot be written: File too large\.$"):
            save_model(model, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def two(kind: str = "functional") -> ks.Graph:
    """Two submodels, of which the first is of a kind."""
    return ks.Graph("g").add("a", toy_models.saved(kind, 0, "h5")).add("b", dense(2)).connect("a", "b")


def test_a_trained_model_is_of_its_graph():
    graph = two()
    model = graph.build()
    model.compile("sgd", "mse")
    model.fit({"x": X}, np.ones((3, 2)), verbose=0)
    check_same_graph(model, outline_of(graph.build()), "g")
    check_same_graph(model, outline_of(graph.freeze("a").build()), "g")


def test_a_model_that_was_built_is_checked_without_another_build(monkeypatch):
    graph, other = two(), two().add_output("end", "b").build()
    model = graph.build()
    monkeypatch.setattr("keras_stitch.models.build.build", None)
    assert graph.verify(model=model).passed
    with pytest.raises(SaveError, match="its outputs differ"):
        graph.verify(model=other)
    # After another verb, it is not known what the graph builds.
    with pytest.raises(TypeError):
        graph.freeze("a").verify(model=model)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: two("sequential").build(), "its inputs differ"),
        (lambda: two().add_output("end", "b").build(), "its outputs differ"),
        (lambda: two().add("c", dense(2)).connect("b", "c").add_output("end", "c").build(), "its outputs differ"),
        (lambda: two("nested").build(), "its weights differ"),
        (lambda: dense(2), r"model= is not a model of graph 'g'\."),
    ],
)
def test_a_model_of_another_graph_is_refused(other, message):
    with pytest.raises(SaveError, match=message):
        check_same_graph(other(), outline_of(two().build()), "g")
