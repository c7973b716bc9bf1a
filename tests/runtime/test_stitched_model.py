"""The class of generated directories: the predictions of the Keras model, by one graph for all batch sizes."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import keras
import kipoi
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from keras import layers
from kipoi_utils.utils import load_module
from reference import World, assert_equal, by_name
from strategies import Case, cases

from keras_stitch.kipoi.templates import template_module

module = template_module("kipoi.stitched_model")
RANDOM = np.random.default_rng(0)


def around(model: keras.Model) -> Any:
    """The class around a model that no file holds."""
    made = module.StitchedModel.__new__(module.StitchedModel)
    made.model = model
    made.lean = True  # as for a model from a file, which nobody else holds
    return made


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float32")


def two_inputs() -> keras.Model:
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    return keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([layers.Dense(4, "tanh")(a), b])))


def with_normalization() -> keras.Model:
    """A convolution and a batch normalization, which TensorFlow makes one where both are constant."""
    x = keras.Input((9, 4), name="x")
    model = keras.Model([x], layers.GlobalMaxPooling1D()(layers.BatchNormalization()(layers.Conv1D(8, 3)(x))))
    for weight in model.layers[2].weights:
        weight.assign(RANDOM.uniform(0.5, 2, weight.shape))
    return model


# -- the same numbers --------------------------------------------------------------------------------------------------


# Half as many as elsewhere: that graphs predict what their parts do is shown in ``test_properties``.
@settings(max_examples=settings.default.max_examples // 2)
@given(cases(max_nodes=6))
def test_predicts_what_the_keras_model_predicts(case: Case):
    world = World(case)
    model = world.graph().build()
    data = {name: array for name, array in world.data().items() if name in [tensor.name for tensor in model.inputs]}
    want = by_name(model.predict_on_batch(data), model)
    fresh, taken = around(model), around(model)
    taken.lean = False
    for wrapped in (fresh, taken):
        assert_equal(by_name(wrapped.predict_on_batch(data), model), want)
        assert_equal(by_name(wrapped.predict_on_batch([data[tensor.name] for tensor in model.inputs]), model), want)


@pytest.mark.parametrize("rows", [0, 1, 2, 33])
@pytest.mark.parametrize("constants", [False, True])
def test_one_graph_for_all_batch_sizes(rows, constants, monkeypatch):
    model, traced = two_inputs(), []
    assert module.frozen(model) is not None
    model.call = lambda *args, call=model.call, **more: traced.append(1) or call(*args, **more)
    wrapped = around(model)
    if not constants:
        monkeypatch.setattr(module, "frozen", lambda model: None)
    for count in (5, rows, 32, 5):
        x = [normal(count, 3), normal(count, 2)]
        found = wrapped.predict_on_batch(x)
        assert found.shape == (count, 2) and found.flags.writeable
        np.testing.assert_allclose(found, np.asarray(two_by_hand(model, x)), rtol=0, atol=1e-6)
    assert len(traced) == 1


def two_by_hand(model: keras.Model, x: list[np.ndarray]) -> np.ndarray:
    (first, b), (last, c) = (layer.get_weights() for layer in model.layers if layer.weights)
    return np.concatenate([np.tanh(x[0] @ first + b), x[1]], axis=1) @ last + c


def test_normalization():
    model = with_normalization()
    x = normal(7, 9, 4)
    want = model.predict_on_batch(x)
    for given_as in (x, [x], {"x": x}):
        assert_equal({"y": around(model).predict_on_batch(given_as)}, {"y": want})


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_other_dtypes_are_cast(dtype):
    model, x = with_normalization(), normal(7, 9, 4).astype(dtype)
    assert_equal({"y": around(model).predict_on_batch(x)}, {"y": model.predict_on_batch(x.astype("float32"))})


def test_outputs_by_name_nested_and_what_came_in():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), dtype="int32", name="b")
    model = keras.Model([a, b], {"z": layers.Dense(1)(a), "a": a, "b": b})
    x = {"b": np.array([[1, 2], [3, 4]], "int32"), "a": normal(2, 3)}
    found = around(model).predict_on_batch(x)
    assert list(found) == ["z", "a", "b"]
    np.testing.assert_array_equal(found["a"], x["a"])
    np.testing.assert_array_equal(found["b"], x["b"])
    nested = keras.Model([a], [layers.Dense(1)(a), [layers.Dense(2)(a)]])
    found = around(nested).predict_on_batch([x["a"]])
    assert [found[0].shape, found[1][0].shape] == [(2, 1), (2, 2)]


def test_bfloat16_comes_as_float32():
    a = keras.Input((3,), name="a")
    half = layers.Dense(2, dtype="bfloat16", name="half")(a)
    for model in (keras.Model([a], half), keras.Model([a], {"half": half, "a": a}), keras.Model([a], [half, [a]])):
        found, want = around(model).predict_on_batch(normal(4, 3)), model.predict_on_batch(normal(4, 3))
        assert {array.dtype.name for array in keras.tree.flatten(found)} == {"float32"}
        keras.tree.assert_same_structure(found, want)


# -- weights that change -----------------------------------------------------------------------------------------------


def test_whoever_takes_the_model_may_train_it():
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    before = wrapped.predict_on_batch(x)
    wrapped.model.layers[-1].bias.assign([5.0, 6.0])
    np.testing.assert_allclose(wrapped.predict_on_batch(x), before + np.array([5, 6]), rtol=0, atol=1e-5)
    wrapped.model.compile("sgd", "mse")
    wrapped.model.fit(x, np.ones((4, 2)), verbose=0)
    np.testing.assert_allclose(wrapped.predict_on_batch(x), two_by_hand(wrapped.model, x), rtol=0, atol=1e-5)


def test_whatever_becomes_of_a_model_that_was_taken():
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    model = wrapped.model
    wrapped.predict_on_batch(x)
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.ones((2, 2)))
    model.compile("sgd", "mse")
    np.testing.assert_allclose(wrapped.predict_on_batch(x), np.asarray(model(x)), rtol=0, atol=1e-5)
    other = two_inputs()
    wrapped.model = other
    wrapped.predict_on_batch(x)
    other.layers[-1].bias.assign([5.0, 6.0])
    np.testing.assert_allclose(wrapped.predict_on_batch(x), two_by_hand(other, x), rtol=0, atol=1e-5)


def small_and_taken() -> tuple[Any, keras.Model, list[np.ndarray]]:
    """A wrapper that has predicted, its model, which was taken, and data."""
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    wrapped.predict_on_batch(x)
    return wrapped, wrapped.model, x


def assert_as_by_hand(wrapped: Any, model: keras.Model, x: list[np.ndarray]) -> None:
    np.testing.assert_allclose(wrapped.predict_on_batch(x), two_by_hand(model, x), rtol=0, atol=1e-5)


def test_looking_at_the_model_changes_nothing(monkeypatch):
    wrapped, model, x = small_and_taken()
    predictor = wrapped.predictor
    assert predictor.variables  # the weights are constants
    model.summary(print_fn=lambda *args, **options: None)
    assert model.count_params() and model.get_weights() and model.to_json() and wrapped.model is model
    assert np.asarray(model(x)).shape == (4, 2)
    monkeypatch.setattr(model, "predict_on_batch", None)
    assert_as_by_hand(wrapped, model, x)
    assert wrapped.lean and wrapped.model is model and not wrapped.trained


def test_looking_before_the_first_prediction_changes_nothing():
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    model = wrapped.model
    assert_as_by_hand(wrapped, model, x)
    assert wrapped.lean and wrapped.predictor.variables


def test_a_prediction_by_keras_changes_nothing():
    wrapped, model, x = small_and_taken()
    model.predict(x, verbose=0)
    assert_as_by_hand(wrapped, model, x)
    assert wrapped.lean and wrapped.predictor.variables


def by_assign(model: keras.Model, x: list[np.ndarray]) -> None:
    model.layers[-1].kernel.assign_add(np.ones((6, 2)))


def by_set_weights(model: keras.Model, x: list[np.ndarray]) -> None:
    model.set_weights([array + 1 for array in model.get_weights()])


def by_fit(model: keras.Model, x: list[np.ndarray]) -> None:
    model.compile("adam", "mse")
    model.fit(x, np.full((4, 2), 9.0), epochs=2, verbose=0)


def by_one_number(model: keras.Model, x: list[np.ndarray]) -> None:
    bias = model.layers[-1].bias.numpy()
    bias[1] = np.nextafter(bias[1], np.float32(1)) + 1
    model.layers[-1].bias.assign(bias)


def by_a_train_step(model: keras.Model, x: list[np.ndarray]) -> None:
    optimizer = keras.optimizers.SGD(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)

    step()


CHANGES = [by_assign, by_set_weights, by_fit, by_one_number, by_a_train_step]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_after_the_model_was_taken(change):
    wrapped, model, x = small_and_taken()
    for _ in range(3):
        before = wrapped.predict_on_batch(x)
        change(model, x)
        assert np.abs(wrapped.predict_on_batch(x) - before).max() > 1e-3
        assert_as_by_hand(wrapped, model, x)
    assert wrapped.lean and not wrapped.predictor.variables  # by a graph that reads them


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_before_the_first_prediction(change):
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    change(wrapped.model, x)
    assert_as_by_hand(wrapped, wrapped.keras_model, x)


def test_weights_of_one_held_through_a_layer():
    wrapped, x = around(two_inputs()), [normal(4, 3), normal(4, 2)]
    bias = wrapped.model.layers[-1].bias
    wrapped.predict_on_batch(x)
    bias.assign([7.0, 8.0])
    assert_as_by_hand(wrapped, wrapped.keras_model, x)


def test_frozen_and_trained():
    wrapped, model, x = small_and_taken()
    model.layers[-1].trainable = False
    by_fit(model, x)
    assert_as_by_hand(wrapped, model, x)


def test_a_layer_that_does_something_else():
    wrapped, model, x = small_and_taken()
    model.layers[-1].activation = keras.activations.relu
    np.testing.assert_allclose(wrapped.predict_on_batch(x), np.maximum(two_by_hand(model, x), 0), rtol=0, atol=1e-5)
    assert not wrapped.lean


def test_a_weight_in_the_place_of_another():
    wrapped, model, x = small_and_taken()
    layer = model.layers[-1]
    layer._tracker.unlock()
    layer.bias = layer.add_weight(shape=(2,), initializer="ones")
    np.testing.assert_allclose(wrapped.predict_on_batch(x), np.asarray(model(x)), rtol=0, atol=1e-5)


def test_layers_that_are_added():
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(2)])
    wrapped, x = around(model), normal(4, 3)
    first = wrapped.predict_on_batch(x)
    wrapped.model.add(layers.Rescaling(2.0))
    np.testing.assert_allclose(wrapped.predict_on_batch(x), 2 * first, rtol=0, atol=1e-5)
    wrapped.model.pop()
    wrapped.model.compile()  # or Keras itself predicts by what it made for the longer model
    np.testing.assert_allclose(wrapped.predict_on_batch(x), first, rtol=0, atol=1e-5)


def test_another_model_in_its_place():
    wrapped, _, x = small_and_taken()
    other = two_inputs()
    wrapped.model = other
    assert_as_by_hand(wrapped, other, x)
    by_assign(wrapped.model, x)
    assert_as_by_hand(wrapped, other, x)


def test_it_can_be_pickled_after_a_prediction(tmp_path):
    two_inputs().save(tmp_path / "m.keras")
    kipois = load_module(module.__file__, "stitched_model")  # as Kipoi does; pickle does not find it
    wrapped, x = kipois.StitchedModel(str(tmp_path / "m.keras")), [normal(4, 3), normal(4, 2)]
    wrapped.name = "what Kipoi adds"
    found = wrapped.predict_on_batch(x)
    again = pickle.loads(pickle.dumps(wrapped))
    assert type(again) is kipoi.model.KerasModel and again.name == wrapped.name
    np.testing.assert_allclose(again.predict_on_batch(x), found, rtol=0, atol=1e-6)


class Noise(layers.Layer):
    """Draws other numbers each time."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


class Counted(layers.Layer):
    """Looks numbers up in a table of TensorFlow, which is in no other graph."""

    def __init__(self):
        super().__init__()
        keys = tf.constant([1, 2], "int64")
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys * 10), -1)

    def call(self, x):
        return self.table.lookup(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_what_changes_while_it_predicts_keeps_changing():
    x = keras.Input((3,), name="x")
    wrapped = around(keras.Model([x], Noise()(layers.Dropout(0.5)(x))))
    one, other = (wrapped.predict_on_batch([np.zeros((2, 3), "float32")]) for _ in range(2))
    assert np.abs(one).min() > 0 and (one != other).all()


def test_what_cannot_be_in_a_graph_of_constants(monkeypatch):
    x = keras.Input((1,), dtype="int64", name="x")
    model = keras.Model([x], Counted()(x))
    monkeypatch.setattr(module, "takes_any_rows", lambda model: True)
    with pytest.raises(Exception, match="table_handle"):
        module.frozen(model)
    wrapped = around(model)
    for _ in range(2):
        found = wrapped.predict_on_batch([np.array([[1], [2], [3]])])
        assert found.ravel().tolist() == [10, 20, -1]
    assert wrapped.lean


class Known(layers.Layer):
    """Needs to know the number of rows."""

    def call(self, x):
        return x * (x.shape[0] or int("unknown"))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_what_cannot_be_in_a_graph_with_open_rows_is_left_to_keras(monkeypatch):
    x = keras.Input((2,), name="x")
    monkeypatch.setattr(module, "takes_any_rows", lambda model: True)
    wrapped = around(keras.Model([x], Known()(x)))
    for _ in range(2):
        assert wrapped.predict_on_batch(np.ones((3, 2), "float32")).tolist() == [[3, 3]] * 3
        assert not wrapped.lean


def test_convolutions_in_groups():
    """TensorFlow compiles them apart."""
    x = keras.Input((9, 4), name="x")
    model = keras.Model([x], layers.GlobalMaxPooling1D()(layers.Conv1D(8, 3, groups=2)(x)))
    wrapped = around(model)
    for rows in (7, 3):
        given = normal(rows, 9, 4)
        assert_equal({"y": wrapped.predict_on_batch(given)}, {"y": model.predict_on_batch(given)})


def test_a_batch_that_is_wrong_does_not_change_how_others_are_predicted():
    x = keras.Input((2,), dtype="int32", name="x")
    wrapped = around(keras.Model([x], layers.Flatten()(layers.Embedding(5, 3)(x))))
    with pytest.raises(tf.errors.InvalidArgumentError):
        wrapped.predict_on_batch(np.array([[1, 9]], "int32"))
    assert wrapped.lean and wrapped.predict_on_batch(np.array([[1, 4]], "int32")).shape == (1, 6)
    assert wrapped.lean and wrapped.predictor is not None


def test_what_is_passed_on_is_not_the_callers_memory():
    x = keras.Input((4, 16), name="x")
    wrapped = around(keras.Model([x], {"same": x, "flat": layers.Flatten()(x), "more": layers.ReLU()(x)}))
    given = normal(64, 4, 16)
    kept = [wrapped.predict_on_batch(given) for _ in range(3)]
    before = given.copy()
    given[:] = 7
    for found in kept:
        np.testing.assert_array_equal(found["same"], before)
        np.testing.assert_array_equal(found["flat"], before.reshape(64, 64))
        np.testing.assert_array_equal(found["more"], np.maximum(before, 0))


class Centered(layers.Layer):
    """Counts the rows when it is traced, as a layer of somebody's own may."""

    def call(self, x):
        return x - keras.ops.sum(x, axis=0, keepdims=True) / (x.shape[0] or 1)


@pytest.mark.parametrize(
    "layer",
    [Centered(), layers.TimeDistributed(layers.Dense(2)), layers.Bidirectional(layers.RNN(layers.LSTMCell(2)))],
    ids=["custom", "TimeDistributed", "Bidirectional"],
)
def test_layers_that_may_count_on_the_number_of_rows(layer):
    x = keras.Input((4, 3), name="x")
    outer = keras.Model([x], keras.Model(x, layer(x))(x))
    assert module.takes_any_rows(outer) == isinstance(layer, layers.Bidirectional)
    given = normal(5, 4, 3)
    np.testing.assert_allclose(around(outer).predict_on_batch(given), np.asarray(outer([given])), rtol=0, atol=1e-5)


CENTERED = """
import keras


def centered(x):
    return x - keras.ops.sum(x, axis=0, keepdims=True) / (x.shape[0] or 1)


OBJECTS = {"centered": centered}
"""


def test_functions_that_may_count_on_the_number_of_rows(tmp_path):
    (tmp_path / "objects.py").write_text(CENTERED, encoding="utf-8")
    objects: dict[str, Any] = {}
    exec(CENTERED, objects)
    x = keras.Input((3,), name="x")
    model = keras.Model([x], layers.Dense(2, activation=objects["centered"])(x))
    model.save(tmp_path / "m.keras")
    wrapped = module.StitchedModel(str(tmp_path / "m.keras"), custom_objects=str(tmp_path / "objects.py"))
    given = normal(5, 3)
    np.testing.assert_allclose(wrapped.predict_on_batch(given), np.asarray(model([given])), rtol=0, atol=1e-5)


def test_open_steps():
    """TensorFlow cuts off steps of a TimeDistributed layer where the number of rows is open, too."""
    x = keras.Input((None, 4, 3), name="x")
    model = keras.Model([x], layers.GlobalAveragePooling1D()(layers.TimeDistributed(layers.Flatten())(x)))
    given = normal(3, 10, 4, 3)
    np.testing.assert_allclose(around(model).predict_on_batch(given), np.asarray(model([given])), rtol=0, atol=1e-5)


def test_large_weights_are_not_held_twice(monkeypatch):
    model = two_inputs()
    size = sum(array.nbytes for array in model.get_weights())
    monkeypatch.setattr(module, "MOST_BYTES", size)
    assert module.frozen(model) is not None
    monkeypatch.setattr(module, "MOST_BYTES", size - 1)
    assert module.frozen(model) is None


def test_on_a_gpu_weights_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"] if kind == "GPU" else [])
    model, x = two_inputs(), [normal(4, 3), normal(4, 2)]
    assert module.frozen(model) is None
    np.testing.assert_allclose(around(model).predict_on_batch(x), two_by_hand(model, x), rtol=0, atol=1e-6)


# -- what is left to Keras ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        {"a": normal(4, 3), "b": normal(4, 2), "c": normal(4, 2)},
        [normal(4, 3).tolist(), normal(4, 2).tolist()],
        [tf.constant(normal(4, 3)), normal(4, 2)],
    ],
    ids=["more", "lists", "tensors"],
)
def test_whatever_else_keras_takes(x):
    model = two_inputs()
    assert module.arranged(x, model.inputs) is None
    try:
        want = model.predict_on_batch(x)
    except Exception as error:
        with pytest.raises(type(error)):
            around(model).predict_on_batch(x)
    else:
        np.testing.assert_array_equal(around(model).predict_on_batch(x), want)


@pytest.mark.parametrize(
    "x",
    [
        [normal(4, 3)],
        [normal(4, 2), normal(4, 3)],
        [normal(4, 3), normal(3, 2)],
        [normal(4, 3), normal(4, 2, 1)],
        {"a": normal(4, 3), "c": normal(4, 2)},
        [normal(4, 3), np.array([["a", "b"]] * 4)],
    ],
    ids=["fewer", "exchanged", "rows", "axes", "names", "texts"],
)
def test_what_does_not_fit_is_never_predicted_by_the_graph(x):
    assert module.arranged(x, two_inputs().inputs) is None


def test_fractions_are_not_cut_off_by_the_graph():
    x = keras.Input((2,), dtype="int32", name="x")
    assert module.arranged([normal(4, 2)], [x]) is None
    assert module.arranged([np.ones((4, 2), "int64")], [x])[0].dtype == "int32"


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_without_an_ending_loads(tmp_path):
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    (tmp_path / "m.keras").rename(tmp_path / "0123abcd")
    loaded = module.StitchedModel(str(tmp_path / "0123abcd"))
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0123abcd", "0123abcd.keras"]


def test_several_at_once(tmp_path):
    path = tmp_path / "0123abcd"
    path.write_bytes(b"PK and so on")
    found = []
    threads = [threading.Thread(target=lambda: found.append(module.with_suffix(str(path)))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [f"{path}.keras"] * 20
    assert sorted(item.name for item in tmp_path.iterdir()) == ["0123abcd", "0123abcd.keras"]


def test_endings_that_keras_knows_stay(tmp_path):
    for name, content in (("a.keras", b"PK"), ("a.h5", b"\x89HDF"), ("a.hdf5", b"\x89HDF")):
        (tmp_path / name).write_bytes(content)
        assert module.with_suffix(str(tmp_path / name)) == str(tmp_path / name)


def test_without_symbolic_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(module.Path, "symlink_to", refuse)
    (tmp_path / "a").write_bytes(b"PK")
    made = module.with_suffix(str(tmp_path / "a"))
    assert made == str(tmp_path / "a.keras") and not (tmp_path / "a.keras").is_symlink()
