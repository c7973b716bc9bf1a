"""Sources: files told by their content, objects of the user that stay as they are, layers with what they learnt."""

from __future__ import annotations

import shutil
import warnings

import keras
import numpy as np
import pytest
import toy_models
from backends import allclose, as_array, assert_allclose, only_on
from toy_models import KINDS, dense

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.save_keras import save_model

pytestmark = pytest.mark.backends

RNG = np.random.default_rng(0)

DOTS = only_on("tensorflow", "jax", why="PyTorch allows no dot in the name of a weight")


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


def predicted(source, x, **options) -> np.ndarray:
    return as_array(ks.Graph().add("m", source, **options).build()([x], training=False))


@pytest.mark.parametrize("format", ["h5", "keras"])
@pytest.mark.parametrize(
    "name", ["model.h5", "model.keras", "model.hdf5", "model.weights.h5", "0a1b2c", "m.zip", "é'\".bin"]
)
def test_the_ending_of_a_file_does_not_matter(format, name, tmp_path):
    path = shutil.copy(toy_models.saved("functional", 0, format), tmp_path / name)
    x = floats(3, 4)
    assert allclose(predicted(path, x), toy_models.alone("functional", 0, format)(x), atol=1e-6)


@pytest.mark.parametrize("ending", ["weights.h5", "h5", "bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_with_their_architecture(ending, legacy, tmp_path):
    held = toy_models.in_memory("nested", 3)
    (tmp_path / "arch.json").write_text(held.to_json())
    weights = tmp_path / f"w.{ending}"
    if legacy:
        import h5py
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        unique = toy_models.in_memory("functional", 3)
        held = unique
        (tmp_path / "arch.json").write_text(held.to_json())
        with h5py.File(weights, "w") as file:
            save_weights_to_hdf5_group(file, held)
    else:
        held.save_weights(tmp_path / "saved.weights.h5")
        (tmp_path / "saved.weights.h5").rename(weights)
    x = floats(3, 4)
    assert allclose(predicted(weights, x, arch=tmp_path / "arch.json"), held(x, training=False), atol=1e-6)


def test_weights_of_another_architecture_are_refused(tmp_path):
    (tmp_path / "arch.json").write_text(toy_models.in_memory("two_way", 0).to_json())
    toy_models.in_memory("functional", 0).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(SourceError, match="do not fit the architecture"):
        ks.Graph().add("m", tmp_path / "w.weights.h5", arch=tmp_path / "arch.json")


@pytest.mark.parametrize(
    "name", ["schicht_ä", "層", "a b", pytest.param("a.b", marks=DOTS), "a:b", "a[0]", "{{ x }}", "it's"]
)
@pytest.mark.parametrize("format", ["h5", "keras"])
def test_unusual_layer_names(name, format, tmp_path):
    held = keras.Sequential([keras.Input((4,)), dense(3, name), dense(2)])
    path = toy_models.save(held, tmp_path / f"m.{format}")
    model = (
        ks.Graph().add("a", path).add("b", held).add_input("x", ["a", "b"]).freeze("a", layers=name[:1] + "*").build()
    )
    x = floats(3, 4)
    for ending in ("h5", "keras"):
        again = keras.saving.load_model(toy_models.save(model, tmp_path / f"again.{ending}"), compile=False)
        for value in again([x]).values():
            assert allclose(value, held(x), atol=1e-6)


def test_an_input_that_keras_named_in_a_functional_model():
    x = keras.Input((4,))
    held = keras.Model(x, dense(2)(x))
    model = ks.Graph().add("m", held).build()
    assert [tensor.name for tensor in model.inputs] == ["m_input"]
    assert allclose(model([floats(2, 4) * 0 + 1]), held(np.ones((2, 4), "float32")))


@pytest.mark.slow
def test_a_compiled_model_with_a_loss_of_the_users(tmp_path):
    def loss(want, got):
        return keras.ops.mean((want - got) ** 4)

    for kind in ("functional", "sequential", "nested"):
        held = toy_models.in_memory(kind, 0)
        held.compile("adam", loss=loss, metrics=[loss])
        held.fit(floats(4, 4), floats(4, 3), verbose=0)
        x = floats(2, 4)
        model = ks.Graph().add("m", held).build()
        assert allclose(model([x], training=False), held(x, training=False), atol=1e-6)
        assert not model.get_layer("m").compiled and held.compiled


def test_the_users_model_still_works_where_it_already_is():
    held = toy_models.in_memory("nested", 0)
    x = keras.Input((4,), name="x")
    around = keras.Model(x, dense(1)(held(x)))
    before = around.get_config(), held.get_config()
    graph = ks.Graph().add("other_name", held, trainable=False)
    graph.build().trainable = False
    assert (around.get_config(), held.get_config()) == before
    assert around.get_layer(held.name) is held and held.trainable and len(held.trainable_weights) == 4


def test_what_the_user_trains_afterwards_does_not_reach_the_graph():
    held = toy_models.in_memory("functional", 0)
    layer = keras.layers.Dense(2)
    layer(np.zeros((1, 3), "float32"))
    graph = ks.Graph().add("m", held).add("d", layer).connect("m", "d")
    x = floats(2, 4)
    want = as_array(graph.build()([x]))
    for weight in held.weights + layer.weights:
        weight.assign(weight + 1)
    assert np.array_equal(as_array(graph.build()([x])), want)


def test_a_layer_that_nested_models_share_stays_one():
    shared = dense(3)
    inside = keras.Input((3,))
    inner = keras.Model(inside, shared(inside), name="inner")
    x = keras.Input((3,), name="x")
    held = keras.Model(x, keras.layers.Add()([inner(x), shared(shared(x))]))
    model = ks.Graph().add("m", held).build()
    data = floats(2, 3)
    assert len(model.weights) == len(held.weights) == 2
    assert allclose(model([data]), held(data), atol=1e-6)


@pytest.mark.parametrize("how", ["model", "keras", "h5", "layer", "nested", "wrapped"])
def test_what_normalization_learnt_by_adapt(how, tmp_path):
    layer = keras.layers.Normalization(name="norm")
    layer.adapt(floats(50, 4) * 3 + 7)
    held = keras.Sequential([keras.Input((4,), name="x"), layer, dense(2)])
    x = floats(3, 4) * 3 + 7
    want = as_array(held(x))
    if how == "layer":
        graph = ks.Graph().add("norm", layer).add_input("x", "norm", shape=(4,))
        assert allclose(graph.build()([x]), layer(x), atol=1e-5)
        return
    source = held
    if how == "nested":
        outer = keras.Input((4,), name="x")
        source = keras.Model(outer, keras.layers.Rescaling(2.0)(held(outer)))
        want = 2 * want
    elif how == "wrapped":
        outer = keras.Input((2, 4), name="x")
        source = keras.Model(outer, keras.layers.TimeDistributed(held)(outer))
        x = np.stack([x, x], 1)
        want = np.stack([want, want], 1)
    elif how != "model":
        source = toy_models.save(held, tmp_path / f"m.{how}")
    assert allclose(predicted(source, x), want, atol=1e-5)


@pytest.mark.parametrize("as_layer", [False, True])
def test_a_vocabulary_learnt_by_adapt(as_layer):
    layer = keras.layers.IntegerLookup()
    layer.adapt(np.array([5, 7, 9, 9]))
    given = ks.Graph().add("m", keras.layers.IntegerLookup(vocabulary=[5, 7])).spec.submodels[0]
    assert given.source.kind == "layer"
    tokens = keras.Input((2,), dtype="int64", name="tokens")
    graph = ks.Graph().add("m", layer if as_layer else keras.Model(tokens, layer(tokens)))
    if as_layer:
        graph.add_input("tokens", "m", shape=(2,), dtype="int64")
    x = np.array([[5, 9], [1, 7]])
    assert np.array_equal(as_array(graph.build()([x])), as_array(layer(x)))
    assert graph.spec.submodels[0].source.kind != "layer"


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dense(3),
        keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True)),
        keras.layers.TimeDistributed(keras.layers.Dense(2)),
        keras.layers.RNN([keras.layers.LSTMCell(2), keras.layers.GRUCell(3)]),
        keras.layers.BatchNormalization(),
        keras.layers.SeparableConv1D(2, 2),
        keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 2), bias_axes="d"),
        keras.layers.SpectralNormalization(keras.layers.Dense(2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_trained_layer_brings_its_weights(layer, tmp_path):
    x = floats(2, 5, 3)
    layer(x)
    toy_models.set_random_weights(layer, 1)
    model = ks.Graph().add("m", layer).add_input("x", "m", shape=(5, 3)).build()
    for again in (
        model,
        *(
            keras.saving.load_model(toy_models.save(model, tmp_path / f"m.{format}"), compile=False)
            for format in ("keras", "h5")
        ),
    ):
        assert allclose(again([x], training=False), layer(x, training=False), atol=1e-6)


def test_attention_takes_two_inputs_and_brings_its_weights():
    layer = keras.layers.MultiHeadAttention(2, 3)
    q, v = floats(2, 4, 3), floats(2, 5, 3)
    want = as_array(layer(q, v))
    graph = ks.Graph().add("m", layer).add_input("v", "m.value", shape=(5, 3)).add_input("q", "m.query", shape=(4, 3))
    assert allclose(graph.build()({"q": q, "v": v}), want, atol=1e-6)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(2)

    def call(self, inputs):
        return self.inner(inputs)


def test_a_subclassed_model_is_refused_with_a_reason():
    held = Subclassed()
    held(np.zeros((1, 3), "float32"))
    with pytest.raises(
        SourceError, match=r"'m' \(Subclassed 'subclassed.*'\)(.|\n)*a functional model, or a Sequential"
    ):
        ks.Graph().add("m", held)


class Doubled(keras.Model):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def test_a_functional_model_with_a_call_of_its_own_is_refused():
    x = keras.Input((3,))
    with pytest.raises(SourceError, match=r"'m' .* has a call of its own"):
        ks.Graph().add("m", Doubled(x, keras.layers.Dense(2)(x)))


@keras.saving.register_keras_serializable("load_keras")
class OfSizes(keras.layers.Layer):
    """Its config has numbers where that of a model has layers, and its vocabulary takes no argument."""

    def __init__(self, layers, **options):
        super().__init__(**options)
        self.sizes = list(layers)

    def get_vocabulary(self):
        return []

    def call(self, inputs):
        return inputs * sum(self.sizes)

    def get_config(self):
        return {**super().get_config(), "layers": self.sizes}


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_custom_layer_with_names_that_keras_uses_too(ending, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), OfSizes([2, 3])])
    model.save(tmp_path / f"m.{ending}")
    built = ks.Graph().add("m", tmp_path / f"m.{ending}").build()
    rows = np.ones((2, 3), "float32")
    assert_allclose(built(rows), model(rows))
    assert_allclose(keras.saving.load_model(save_model(built, tmp_path / f"again.{ending}"))(rows), model(rows))


def test_a_sequential_that_was_never_built_is_refused():
    with pytest.raises(SourceError, match="'m'"):
        ks.Graph().add("m", keras.Sequential([dense(2)]))


def test_a_file_that_changed_since_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    shutil.copy(toy_models.saved("functional", 0, "keras"), path)
    graph = ks.Graph().add("m", path)
    graph.build()
    shutil.copy(toy_models.saved("functional", 1, "keras"), path)
    with pytest.raises(SourceError, match=r"has changed since it was added(.|\n)*Add it to a new Graph"):
        graph.build()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "two" not in kind and "dict" not in kind])
def test_a_clone_is_the_same_model(kind):
    from keras_stitch.models.clone import clone

    held = toy_models.in_memory(kind, 4)
    copied = clone(held, "it")
    assert [leaf.trainable for leaf in toy_models.leaves(copied).values()] == [
        leaf.trainable for leaf in toy_models.leaves(held).values()
    ]
    assert all(np.array_equal(a, b) for a, b in zip(held.get_weights(), copied.get_weights(), strict=True))
    assert not {id(weight) for weight in held.weights} & {id(weight) for weight in copied.weights}


def test_custom_objects_in_nested_models_of_equal_names(tmp_path):
    """Weights of equal paths make building clone the model, for which its custom objects must be known."""

    class Twice(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    def half(name):
        inputs = keras.Input((3,))
        return keras.Model(inputs, Twice()(keras.layers.Dense(3, name="dense")(inputs)), name=name)

    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, half("b")(half("a")(inputs)))
    path = tmp_path / "nested.keras"
    model.save(path)
    data = np.random.default_rng(0).random((4, 3)).astype("float32")
    stitched = ks.Graph("g").add("m", path, custom_objects={"Twice": Twice}).build()
    assert len({weight.path for weight in stitched.weights}) == 4
    assert_allclose(stitched([data]), model(data), atol=1e-6)


# -- layers that are at several places ----------------------------------------------------------------------------


def recurrent(*cells: keras.layers.Layer, name: str) -> keras.layers.RNN:
    return keras.layers.RNN(list(cells) if len(cells) > 1 else cells[0], return_sequences=True, name=name)


@pytest.mark.parametrize("places", ["one layer", "two layers"])
def test_a_cell_that_is_wrapped_twice(places, tmp_path):
    cell = keras.layers.SimpleRNNCell(3)
    steps = [recurrent(cell, cell, name="r")] if places == "one layer" else [recurrent(cell, name=n) for n in "rs"]
    y = x = keras.Input((4, 3), name="x")
    for step in steps:
        y = step(y)
    source = keras.Model(x, y)
    model = ks.Graph().add("m", source).build()
    data = np.random.default_rng(0).normal(0, 1, (2, 4, 3)).astype("float32")
    assert len(model.weights) == 3
    assert allclose(model([data]), source([data]), atol=1e-6)
    again = keras.saving.load_model(save_model(model, tmp_path / "m.keras"), compile=False)
    assert len(again.weights) == 3 and allclose(again([data]), source([data]), atol=1e-6)


def test_wrapped_layers_keep_their_wrappers_in_their_names(tmp_path):
    """An .h5 file goes by these names, and two of one name cannot be in it."""
    x = keras.Input((3,), name="x")
    wrapped = [keras.layers.SpectralNormalization(keras.layers.Dense(3, name="d"), name=name) for name in "ab"]
    source = keras.Model(x, wrapped[1](wrapped[0](x)))
    model = ks.Graph().add("m", source).build()
    assert len({weight.path for weight in model.weights}) == len(model.weights)
    again = keras.saving.load_model(save_model(model, tmp_path / "m.h5"), compile=False)
    data = np.ones((2, 3), "float32")
    assert allclose(again([data]), source([data]), atol=1e-6)


def test_two_submodels_with_a_layer_in_common():
    shared = keras.layers.Dense(2, name="shared")
    one, other = (keras.Sequential([keras.Input((2,), name="x"), shared, keras.layers.Dense(2)]) for _ in range(2))
    graph = ks.Graph().add("one", one)
    with pytest.warns(UserWarning, match=r"Submodels 'one' and 'other' hold the same layers in memory \('shared'\)"):
        graph.add("other", other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph.add("again", keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(2)]))
        ks.Graph().add("one", one).add("two", one)
