"""Layers that Keras 3 does not have: what they predicted, after loading here and after saving for plain Keras."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import assert_close
from repairs_files import Layer, called, floats, functional, given, layer, sequential, sigmoid, write_h5

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models import keras_file
from keras_stitch.repairs import gone_layers

Arrays = dict[str, Any]


def predicted(path: Path, *inputs: np.ndarray, copies: bool = True) -> np.ndarray:
    """What a file predicts here; plain Keras predicts the same from a copy in either format."""
    opened = keras_file.open_file(path)
    found = np.asarray(opened.model(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
    for ending in ("keras", "h5") if copies else ():
        copy = path.with_name(f"copy.{ending}")
        opened.model.save(copy)
        again = keras.saving.load_model(copy, compile=False)
        np.testing.assert_array_equal(found, again(list(inputs) if len(inputs) > 1 else inputs[0], training=False))
    return found


def keras_1(path: Path, said: Layer, shape: tuple[int, ...], *arrays: np.ndarray, backend: str = "tensorflow") -> Path:
    """A file of Keras 1 with one layer."""
    said["config"]["batch_input_shape"] = [None, *shape]
    return write_h5(
        path / "old.h5", sequential(said), {said["config"]["name"]: list(arrays)}, version=None, backend=backend
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)])
@pytest.mark.parametrize("activation", ["relu", "hard_sigmoid"])
def test_highway(tmp_path: Path, order: tuple[int, ...], activation: str) -> None:
    x, w, carry, b, carry_b = floats(5, 4), floats(4, 4), floats(4, 4), floats(4), floats(4)
    arrays = [(w, carry, b, carry_b)[index] for index in order]
    said = layer("Highway", "highway_1", init="uniform", activation=activation, bias=True, transform_bias=-2)
    gate = sigmoid(x @ carry + carry_b)
    new = np.maximum(x @ w + b, 0) if activation == "relu" else np.clip(0.2 * (x @ w + b) + 0.5, 0, 1)
    assert_close(predicted(keras_1(tmp_path, said, (4,), *arrays), x), gate * new + (1 - gate) * x)


def test_highway_without_bias(tmp_path: Path) -> None:
    x, w, carry = floats(5, 4), floats(4, 4), floats(4, 4)
    gate = sigmoid(x @ carry)
    said = layer("Highway", "highway_1", init="uniform", activation="linear", bias=False)
    assert_close(predicted(keras_1(tmp_path, said, (4,), w, carry), x), gate * (x @ w) + (1 - gate) * x)


@pytest.mark.parametrize("bias", [True, False])
def test_maxout(tmp_path: Path, bias: bool) -> None:
    x, w, b = floats(5, 4), floats(3, 4, 2), floats(3, 2)
    said = layer("MaxoutDense", "maxoutdense_1", init="uniform", output_dim=2, nb_feature=3, bias=bias)
    path = keras_1(tmp_path, said, (4,), *([w, b] if bias else [w]))
    assert_close(predicted(path, x), (np.einsum("bi,kio->bko", x, w) + bias * b).max(1))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (None, 4)])
def test_parametric_softplus(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    """Keras 1.2 does not write along which axes it shares weights; those of an unknown size it has to."""
    of_weights = tuple(size or 1 for size in shape)
    x, alpha, beta = floats(5, *(size or 6 for size in shape)), floats(*of_weights), floats(*of_weights)
    said = layer("ParametricSoftplus", "parametricsoftplus_1", alpha_init=0.2, beta_init=5.0)
    assert_close(predicted(keras_1(tmp_path, said, shape, alpha, beta), x), alpha * np.log1p(np.exp(beta * x)))


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
@pytest.mark.parametrize("shared", [False, True])
def test_srelu(tmp_path: Path, backend: str, shared: bool) -> None:
    x = floats(9, 3, 4, scale=2)
    t_left, a_left, t_right, a_right = (floats(*((1, 4) if shared else (3, 4))) for _ in range(4))
    end = np.abs(t_right)
    z = x - t_left
    middle = np.where(z < 0, a_left * z, np.minimum(z, end))
    middle = np.minimum(middle, end) if backend == "theano" else middle
    expected = t_left + middle + a_right * np.maximum(z - end, 0)
    said = layer("SReLU", "srelu_1", t_left_init="zero", a_left_init="glorot_uniform")
    path = keras_1(tmp_path, said, (3, 4), t_left, a_left, t_right, a_right, backend=backend)
    assert_close(predicted(path, x), expected)


@pytest.mark.parametrize(
    ("shape", "epsilon"), [((6,), 1e-3), ((6,), 1e-5), ((3, 6), 1e-5), ((2, 3, 6), 1e-3), ((2, 3, 2, 6), 1e-3)]
)
def test_batch_normalization_of_each_row(tmp_path: Path, shape: tuple[int, ...], epsilon: float) -> None:
    x, gamma, beta = floats(5, *shape), floats(6), floats(6)
    x[0] *= 1e-3
    x[1] = 0.5 + x[1] * 1e-2
    x[2] = 0
    deviation = np.sqrt(x.astype("float64").var(-1, keepdims=True) + epsilon)
    expected = gamma * (x - x.mean(-1, keepdims=True, dtype="float64")) / (deviation + epsilon) + beta
    said = layer("BatchNormalization", "batchnormalization_1", mode=1, axis=-1, epsilon=epsilon, gamma_init="one")
    assert_close(predicted(keras_1(tmp_path, said, shape, gamma, beta, floats(6), floats(6)), x), expected)


def test_batch_normalization_of_each_row_with_many_axes_is_refused(tmp_path: Path) -> None:
    said = layer("BatchNormalization", "batchnormalization_1", mode=1, axis=-1, gamma_init="one")
    with pytest.raises(SourceError, match="of tensors of 5 axes, and Keras 3 takes means along at most four"):
        keras_file.open_file(keras_1(tmp_path, said, (2, 2, 2, 2, 3), *[floats(3)] * 4))


def cosine_file(path: Path, *shape: int) -> Path:
    merge = called(layer("Merge", "merge_1", mode="cos", dot_axes=[1, 1], output_shape=None), ["a", "b"])
    model = functional([given("a", *shape), given("b", *shape), merge], ["a", "b"], ["merge_1"])
    return write_h5(path / "old.h5", model, {"a": [], "b": [], "merge_1": []}, version=None)


def test_cosine_merge(tmp_path: Path) -> None:
    x, y = floats(7, 4), floats(7, 4)
    for row, (of_x, of_y) in enumerate([(1e-4, 1e-4), (1e-7, 10), (0, 1), (1e-2, 1e-5), (1e5, 1e-3)]):
        x[row] *= np.float32(of_x)
        y[row] *= np.float32(of_y)
    lengths = np.sqrt((x.astype("float64") ** 2).sum(1) * (y.astype("float64") ** 2).sum(1))
    expected = ((x * y).sum(1) / np.maximum(lengths, 1e-7))[:, None, None]
    assert_close(predicted(cosine_file(tmp_path, 4), x, y), expected)


def test_cosine_merge_of_more_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'merge_1' is a cosine merge of Keras 1 of tensors with more than one"):
        keras_file.open_file(cosine_file(tmp_path, 3, 4))


def test_a_layer_in_time_distributed_shared_and_frozen(tmp_path: Path) -> None:
    """A gone layer wherever a layer can be, with the names and the flags that it had."""
    x, w, carry, b, carry_b = floats(5, 3, 4), floats(4, 4), floats(4, 4), floats(4), floats(4)
    inner = layer("Highway", "highway_1", activation="tanh", bias=True, trainable=False)
    each = called(layer("TimeDistributed", "each", layer=inner, trainable=False), "x", "each")
    path = write_h5(
        tmp_path / "old.h5",
        functional([given("x", 3, 4), each], ["x"], [["each", 1, 0]]),
        {"x": [], "each": [("highway_1_W", w), ("highway_1_W_carry", carry), ("b", b), ("highway_1_b_carry", carry_b)]},
        version=None,
    )
    expected = x
    for _ in range(2):
        gate = sigmoid(expected @ carry + carry_b)
        expected = gate * np.tanh(expected @ w + b) + (1 - gate) * expected
    assert_close(predicted(path, x), expected)
    model = keras_file.open_file(path).model
    assert not model.trainable_weights and model.count_params() == 40
    assert model.get_layer("each").layer.get_layer("highway_1_gate").name == "highway_1_gate"


# A layer of each kind, what it takes, and the shapes of its arrays that train.
KINDS: dict[str, tuple[Layer, tuple[int, ...], list[tuple[int, ...]]]] = {
    "GoneHighway": (layer("Highway", "m", bias=True), (4,), [(4, 4), (4, 4), (4,), (4,)]),
    "GoneMaxoutDense": (layer("MaxoutDense", "m", output_dim=2, nb_feature=3), (4,), [(3, 4, 2), (3, 2)]),
    "GoneLocallyConnected1D": (
        layer("LocallyConnected1D", "m", nb_filter=2, filter_length=3, subsample_length=2, border_mode="valid"),
        (9, 3),
        [(4, 9, 2), (4, 2)],
    ),
    "GoneLocallyConnected2D": (
        layer("LocallyConnected2D", "m", nb_filter=2, nb_row=2, nb_col=3, subsample=[1, 2], border_mode="valid"),
        (3, 5, 2),
        [(4, 12, 2), (2, 2, 2)],
    ),
    "GoneParametricSoftplus": (layer("ParametricSoftplus", "m"), (3, 4), [(3, 4), (3, 4)]),
    "GoneSReLU": (layer("SReLU", "m"), (3, 4), [(3, 4)] * 4),
    gone_layers.SAMPLE_NORMALIZATION: (layer("BatchNormalization", "m", mode=1, axis=-1), (6,), [(6,), (6,)]),
}


def test_all_kinds_are_trained() -> None:
    """A cosine merge has no weights, and a Bidirectional those of its two layers."""
    assert gone_layers.KINDS.keys() - KINDS.keys() == {gone_layers.COSINE, gone_layers.OPENED_BIDIRECTIONAL}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_training_moves_the_weights_of_the_file_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """Whatever somebody unfreezes, in a graph or in plain Keras: no weight of a rebuilt layer is a constant."""
    said, shape, shapes = KINDS[kind]
    arrays = [floats(*of_array) for of_array in shapes]
    rest = [floats(6), floats(6)] if kind == gone_layers.SAMPLE_NORMALIZATION else []
    path = keras_1(tmp_path, copy.deepcopy(said), shape, *arrays, *rest)
    graph = ks.Graph("g").add("m", path, trainable=True)
    model = graph.build()
    count = sum(array.size for array in arrays)
    assert model.count_params() == count == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert not graph.freeze("m").build().trainable_weights
    model.compile("sgd", "mse", run_eagerly=True)
    before = [np.array(weight) for weight in model.weights]
    x = floats(64, *shape, scale=2)
    model.train_on_batch([x], floats(*np.shape(model([x])), scale=3))
    moved = [np.asarray(weight) != old for weight, old in zip(model.weights, before, strict=True)]
    assert len(moved) == len(arrays) and all(map(np.any, moved))


def test_srelu_is_trained_as_in_keras_1(tmp_path: Path) -> None:
    """Each number of the file is one weight, wherever the lines need it."""
    arrays = [floats(5) for _ in range(4)]
    model = keras_file.open_file(keras_1(tmp_path, layer("SReLU", "srelu_1"), (5,), *arrays)).model
    x = keras.ops.convert_to_tensor(floats(32, 5, scale=2))

    def lines(t_left: Any, a_left: Any, t_right: Any, a_right: Any) -> Any:
        end = t_left + keras.ops.abs(t_right)
        high = keras.ops.where(x < end, x, end + a_right * (x - end))
        return keras.ops.where(x < t_left, t_left + a_left * (x - t_left), high)

    variables = [next(one.value for one in model.weights if np.array_equal(one, array)) for array in arrays]
    with tf.GradientTape(persistent=True) as tape:
        own = keras.ops.sum(model(x, training=True) ** 2)
        expected = keras.ops.sum(lines(*variables) ** 2)
    for found, wanted in zip(tape.gradient(own, variables), tape.gradient(expected, variables), strict=True):
        assert_close(np.asarray(found), np.asarray(wanted))


def test_in_a_graph(tmp_path: Path) -> None:
    """Old names for outputs and for what is frozen."""
    hidden = layer("Highway", "highway_1", activation="tanh", bias=True, batch_input_shape=[None, 4])
    maxout = layer("MaxoutDense", "maxoutdense_1", output_dim=2, nb_feature=3)
    arrays = {
        "highway_1": [floats(4, 4), floats(4, 4), floats(4), floats(4)],
        "maxoutdense_1": [floats(3, 4, 2), floats(3, 2)],
    }
    path = write_h5(tmp_path / "old.h5", sequential(hidden, maxout), arrays, version=None)
    graph = ks.Graph("g").add("body", path, outputs=["highway_1"]).add("whole", path)
    graph.add_input("x", ["body", "whole"]).freeze("whole", layers="highway_1/highway_1_gate").freeze("body")
    model = graph.build()
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 20 + 30
    x = floats(5, 4)
    whole = keras_file.open_file(path).model
    np.testing.assert_array_equal(model([x])["body"], whole.get_layer("highway_1")([x]))
    assert graph.verify().passed


def test_without_the_shape_of_its_input(tmp_path: Path) -> None:
    said = layer("LocallyConnected1D", "local", filters=2, kernel_size=[2], batch_input_shape=[None, None, 3])
    path = write_h5(tmp_path / "old.h5", sequential(said), {"local": [floats(2, 6, 2), floats(2, 2)]})
    with pytest.raises(SourceError, match="'local', and it is not rebuilt because the file does not say the shape"):
        keras_file.open_file(path)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    said = layer("MaxoutDense", "maxoutdense_1", output_dim=2, nb_feature=3)
    with pytest.raises(SourceError, match="The weights of layer 'maxoutdense_1/maxoutdense_1_sums' do not fit"):
        keras_file.open_file(keras_1(tmp_path, said, (4,), floats(3, 5, 2), floats(3, 2)))
    with pytest.raises(SourceError, match="The weights of layer 'maxoutdense_1' do not fit it"):
        keras_file.open_file(keras_1(tmp_path, said, (4,), floats(3, 4, 2)))


def test_a_mask_that_would_stop_at_it(tmp_path: Path) -> None:
    """Keras 1 passed it on; the layers that make it do not."""
    masking = layer("Masking", "masking_1", mask_value=0.0, batch_input_shape=[None, 3, 4])
    gru = layer("GRU", "gru_1", output_dim=2, activation="tanh", inner_activation="sigmoid")
    said = sequential(masking, layer("ParametricSoftplus", "softplus"), gru)
    with pytest.raises(SourceError, match=r"'gru_1' \(GRU\) heeds a mask that Keras 3 would make otherwise"):
        keras_file.open_file(write_h5(tmp_path / "old.h5", said, {}, version=None))


@pytest.mark.parametrize("name", ["Highway", "SReLU", "MaxoutDense", "CosineMerge"])
def test_a_class_of_the_users_with_such_a_name(tmp_path: Path, name: str) -> None:
    """Keras 2 had no such class, or with other arguments."""
    said = layer(name, "mine", batch_input_shape=[None, 4], units=4)
    with pytest.raises(SourceError, match=rf"needs a custom object that is not known here: '{name}' \(layer 'mine'\)"):
        keras_file.open_file(write_h5(tmp_path / "old.h5", sequential(said), {"mine": []}))


def test_highway_of_keras_2(tmp_path: Path) -> None:
    x, w, carry, b, carry_b = floats(5, 4), floats(4, 4), floats(4, 4), floats(4), floats(4)
    config = dict.fromkeys(["W_regularizer", "b_regularizer", "activity_regularizer", "W_constraint", "b_constraint"])
    config |= {"init": {"class_name": "Zeros", "config": {}}, "activation": "tanh", "bias": True, "input_dim": 4}
    said = layer("Highway", "highway_1", batch_input_shape=[None, 4], **config)
    arrays = [(f"highway_1/{key}:0", value) for key, value in {"W": w, "W_carry": carry, "b": b, "bc": carry_b}.items()]
    gate = sigmoid(x @ carry + carry_b)
    path = write_h5(tmp_path / "old.h5", sequential(said), {"highway_1": arrays}, version="2.0.8")
    assert_close(predicted(path, x), gate * np.tanh(x @ w + b) + (1 - gate) * x)
