"""Files of Keras 1, made by hand in its layout, predict what its formulas say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import allclose, assert_allclose
from repairs_files import (
    Layer,
    called,
    convolve,
    correlate,
    floats,
    functional,
    given,
    gru,
    layer,
    lstm,
    old_hard_sigmoid,
    per_gate,
    side_by_side,
    sigmoid,
    softmax,
    write_h5,
)

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.keras_file import Opened, open_file

pytestmark = pytest.mark.backends

GATES = {"init": "glorot_uniform", "inner_init": "orthogonal", "forget_bias_init": "one", "activation": "tanh"}
PENALTIES = {"W_regularizer": None, "U_regularizer": None, "b_regularizer": None, "dropout_W": 0.2, "dropout_U": 0.1}


def keras_1(path: Path, model: Layer, arrays: dict[str, Any], backend: str | None = None) -> Opened:
    """The file, opened; Keras 1 wrote neither a version nor, before its end, a backend."""
    return open_file(write_h5(path / "model.h5", model, arrays, version=None, backend=backend))


def chain(*layers: Layer) -> Layer:
    """A Sequential of Keras 1: a bare list."""
    return {"class_name": "Sequential", "config": list(layers)}


def recurrent(kind: str, name: str, *shape: int, units: int, **more: Any) -> Layer:
    config: dict[str, Any] = {**GATES, **PENALTIES, "inner_activation": "hard_sigmoid", "consume_less": "cpu"}
    config |= {"output_dim": units, "return_sequences": False, "go_backwards": False, "stateful": False}
    if kind == "GRU":
        del config["forget_bias_init"]
    config |= {"unroll": False, "trainable": True, "input_dim": shape[-1], "input_length": None, **more}
    return layer(kind, name, batch_input_shape=[None, *shape], input_dtype="float32", **config)


def check(opened: Opened, x: Any, want: np.ndarray, atol: float = 1e-5) -> None:
    got = opened.model(x, training=False)
    assert not isinstance(got, list) and got.shape == want.shape
    assert_allclose(got, want, atol=atol, rtol=1e-5)


def rules(opened: Opened) -> list[str]:
    return [done.rule for done in opened.repairs]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("inner", ["hard_sigmoid", "sigmoid"])
def test_lstm_with_an_array_for_every_gate(tmp_path: Path, inner: str, sequences: bool) -> None:
    gates = per_gate(3, 4, "ifco")
    arrays = {"lstm_1": [array for key in "icfo" for array in gates[key]]}
    said = recurrent("LSTM", "lstm_1", 5, 3, units=4, inner_activation=inner, return_sequences=sequences)
    opened = keras_1(tmp_path, chain(said), arrays)
    x = floats(2, 5, 3)
    gate = old_hard_sigmoid if inner == "hard_sigmoid" else sigmoid
    check(opened, x, lstm(x, gates, gate, sequences=sequences))
    assert ("hard-sigmoid" in rules(opened)) == (inner == "hard_sigmoid")
    assert {"sequential-list", "input-shape", "keras-1-arguments"} <= set(rules(opened))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_side_by_side_as_with_consume_less_gpu(tmp_path: Path, kind: str) -> None:
    order, formula = ("ifco", lstm) if kind == "LSTM" else ("zrh", gru)
    gates = per_gate(3, 4, order)
    said = recurrent(kind, "rnn", 5, 3, units=4, consume_less="gpu")
    x = floats(2, 5, 3)
    check(keras_1(tmp_path, chain(said), {"rnn": side_by_side(gates, order)}), x, formula(x, gates))


def test_gru_with_an_array_for_every_gate(tmp_path: Path) -> None:
    gates = per_gate(3, 4, "zrh")
    arrays = {"gru_1": [array for key in "zrh" for array in gates[key]]}
    opened = keras_1(tmp_path, chain(recurrent("GRU", "gru_1", 5, 3, units=4)), arrays)
    x = floats(2, 5, 3)
    check(opened, x, gru(x, gates))
    assert "gru-reset-after" in rules(opened)


def test_simple_rnn(tmp_path: Path) -> None:
    w, u, b = per_gate(3, 4, "h")["h"]
    said = recurrent("SimpleRNN", "rnn", 3, 3, units=4, activation="hard_sigmoid")
    for key in ("forget_bias_init", "inner_activation"):
        del said["config"][key]
    opened = keras_1(tmp_path, chain(said), {"rnn": [w, u, b]})
    x = floats(2, 3, 3)
    h = np.zeros((2, 4))
    for step in range(3):
        h = old_hard_sigmoid(x[:, step] @ w + h @ u + b)
    check(opened, x, h)


def test_bidirectional_lstm(tmp_path: Path) -> None:
    there, back = per_gate(3, 2, "ifco"), per_gate(3, 2, "ifco")
    inner = recurrent("LSTM", "lstm_1", 5, 3, units=2, return_sequences=True)
    said = layer("Bidirectional", "both", merge_mode="concat", layer=inner, batch_input_shape=[None, 5, 3])
    arrays = {"both": [array for gates in (there, back) for key in "icfo" for array in gates[key]]}
    x = floats(2, 5, 3)
    want = np.concatenate(
        [lstm(x, there, sequences=True), lstm(x, back, sequences=True, backwards=True)[:, ::-1]], axis=-1
    )
    check(keras_1(tmp_path, chain(said), arrays), x, want)


def test_bidirectional_lstm_in_a_nested_model(tmp_path: Path) -> None:
    """All arrays of the model are in one list."""
    there, back = per_gate(3, 2, "ifco"), per_gate(3, 2, "ifco")
    said = layer("Bidirectional", "both", merge_mode="sum", layer=recurrent("LSTM", "lstm_1", 5, 3, units=2))
    inner = functional([given("x", 5, 3), called(said, "x"), called(dense("last", 2), "both")], ["x"], ["last"])
    w, b = floats(2, 2), floats(2)
    model = functional([given("in", 5, 3), {**inner, "inbound_nodes": [[["in", 0, 0]]]}], ["in"], [["model_1", 1, 0]])
    every = [array for gates in (there, back) for key in "icfo" for array in gates[key]]
    x = floats(2, 5, 3)
    want = (lstm(x, there) + lstm(x, back, backwards=True)) @ w + b
    check(keras_1(tmp_path, model, {"in": [], "model_1": [*every, w, b]}), x, want)


# -- convolutions ---------------------------------------------------------------------------------


def convolution_1d(**more: Any) -> Layer:
    config = {"nb_filter": 4, "filter_length": 3, "init": "glorot_uniform", "activation": "linear"}
    config |= {"border_mode": "valid", "subsample_length": 1, "W_regularizer": None, "bias": True}
    config |= {"activity_regularizer": None, "W_constraint": None, "b_constraint": None, "input_length": None}
    return layer("Convolution1D", "conv", batch_input_shape=[None, 8, 2], input_dim=2, **config | more)


@pytest.mark.parametrize("layout", ["length,1,in,out", "out,in,length,1"])
@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_convolution_1d(tmp_path: Path, layout: str, backend: str) -> None:
    kernel, bias = floats(3, 2, 4), floats(4)
    saved = kernel[:, None] if layout == "length,1,in,out" else kernel.transpose(2, 1, 0)[..., None]
    opened = keras_1(tmp_path, chain(convolution_1d()), {"conv": [saved, bias]}, backend)
    x = floats(2, 8, 2)
    check(opened, x, (correlate if backend == "tensorflow" else convolve)(x, kernel, bias))


def test_the_two_convolutions_of_this_test_differ() -> None:
    x, kernel = floats(1, 5, 2), floats(3, 2, 1)
    assert not allclose(correlate(x, kernel, 0), convolve(x, kernel, 0))
    assert allclose(correlate(x, kernel[::-1], 0), convolve(x, kernel, 0))


def test_convolution_1d_with_a_stride_and_an_activation(tmp_path: Path) -> None:
    kernel, bias = floats(3, 2, 4), floats(4)
    said = convolution_1d(subsample_length=2, activation="hard_sigmoid")
    opened = keras_1(tmp_path, chain(said), {"conv": [kernel[:, None], bias]}, "tensorflow")
    x = floats(2, 8, 2)
    check(opened, x, old_hard_sigmoid(correlate(x, kernel, bias, strides=2)))


@pytest.mark.parametrize("ordering", ["tf", "th"])
@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_convolution_2d(tmp_path: Path, ordering: str, backend: str) -> None:
    kernel, bias = floats(2, 3, 2, 4), floats(4)
    shape = [None, 5, 6, 2] if ordering == "tf" else [None, 2, 5, 6]
    config = {"nb_filter": 4, "nb_row": 2, "nb_col": 3, "subsample": [1, 1], "dim_ordering": ordering}
    config |= {"init": "glorot_uniform", "activation": "linear", "border_mode": "valid", "bias": True}
    said = layer("Convolution2D", "conv", batch_input_shape=shape, **config)
    pool = layer("MaxPooling2D", "pool", pool_size=[2, 2], strides=[2, 2], border_mode="valid", dim_ordering=ordering)
    saved = kernel if ordering == "tf" else kernel.transpose(3, 2, 0, 1)
    opened = keras_1(tmp_path, chain(said, pool), {"conv": [saved, bias], "pool": []}, backend)
    x = floats(2, 5, 6, 2)
    want = (correlate if backend == "tensorflow" else convolve)(x, kernel, bias).reshape(2, 2, 2, 2, 2, 4).max((2, 4))
    if ordering == "th":
        x, want = x.transpose(0, 3, 1, 2), want.transpose(0, 3, 1, 2)
    check(opened, x, want)


@pytest.mark.parametrize("ordering", ["tf", "th"])
def test_separable_convolution_2d(tmp_path: Path, ordering: str) -> None:
    depth, point, bias = floats(2, 3, 2, 2), floats(1, 1, 4, 3), floats(3)
    shape = [None, 4, 5, 2] if ordering == "tf" else [None, 2, 4, 5]
    config = {"nb_filter": 3, "nb_row": 2, "nb_col": 3, "subsample": [1, 1], "dim_ordering": ordering, "bias": True}
    config |= {"init": "glorot_uniform", "activation": "linear", "border_mode": "valid", "depth_multiplier": 2}
    said = layer("SeparableConvolution2D", "conv", batch_input_shape=shape, **config)
    kernels = [depth, point] if ordering == "tf" else [array.transpose(3, 2, 0, 1) for array in (depth, point)]
    opened = keras_1(tmp_path, chain(said), {"conv": [*kernels, bias]}, "tensorflow")
    x = floats(2, 4, 5, 2)
    want = correlate(x, np.einsum("xyim,imo->xyio", depth, point[0, 0].reshape(2, 2, 3)), bias)
    if ordering == "th":
        x, want = x.transpose(0, 3, 1, 2), want.transpose(0, 3, 1, 2)
    check(opened, x, want)


def test_dim_ordering_default_is_that_of_the_backend(tmp_path: Path) -> None:
    pool = layer("AveragePooling2D", "pool", pool_size=[2, 2], strides=[2, 2], border_mode="valid")
    pool["config"] |= {"dim_ordering": "default", "batch_input_shape": [None, 4, 6, 8]}
    x = floats(2, 4, 6, 8)
    for backend, want in (
        ("tensorflow", x.reshape(2, 2, 2, 3, 2, 8).mean((2, 4))),
        ("theano", x.reshape(2, 4, 3, 2, 4, 2).mean((3, 5))),
    ):
        check(keras_1(tmp_path, chain(pool), {"pool": []}, backend), x, want)


@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        ([1, 2], (1, 1, 2, 2)),
        ([1, 2, 3, 4], (1, 2, 3, 4)),
        ({"top_pad": 1, "right_pad": 2}, (1, 0, 0, 2)),
    ],
    ids=["two", "four", "dict"],
)
def test_zero_padding_2d(tmp_path: Path, padding: Any, sides: tuple[int, ...]) -> None:
    said = layer("ZeroPadding2D", "pad", padding=padding, dim_ordering="tf", batch_input_shape=[None, 2, 3, 1])
    x = floats(2, 2, 3, 1)
    check(keras_1(tmp_path, chain(said), {}), x, np.pad(x, ((0, 0), sides[:2], sides[2:], (0, 0))))


@pytest.mark.parametrize(("version", "shape"), [("1.0.8", (2, 4, 7, 1)), ("1.1.1", (2, 5, 10, 1))])
def test_four_sides_that_keras_did_not_know_yet(tmp_path: Path, version: str, shape: tuple[int, ...]) -> None:
    said = layer("ZeroPadding2D", "pad", padding=[1, 2, 3, 4], dim_ordering="tf", batch_input_shape=[None, 2, 3, 1])
    path = write_h5(tmp_path / "model.h5", chain(said), {}, version, "theano")
    assert open_file(path).model(floats(2, 2, 3, 1)).shape == shape


@pytest.mark.parametrize(
    ("padding", "sides"), [(2, (2, 2)), ([1, 3], (1, 3)), ({"left_pad": 1, "right_pad": 2}, (1, 2))]
)
def test_zero_padding_1d(tmp_path: Path, padding: Any, sides: tuple[int, int]) -> None:
    said = layer("ZeroPadding1D", "pad", padding=padding, batch_input_shape=[None, 3, 2])
    x = floats(2, 3, 2)
    check(keras_1(tmp_path, chain(said), {}), x, np.pad(x, ((0, 0), sides, (0, 0))))


# -- the rest -------------------------------------------------------------------------------------


def dense(name: str, units: int, *shape: int, **more: Any) -> Layer:
    config = {"output_dim": units, "init": "glorot_uniform", "activation": "linear", "bias": True}
    config |= {"W_regularizer": None, "b_regularizer": None, "activity_regularizer": None}
    config |= {"W_constraint": None, "b_constraint": None, "input_dim": shape[-1] if shape else None}
    return layer("Dense", name, **config, **({"batch_input_shape": [None, *shape]} if shape else {}), **more)


def test_a_network_of_everyday_layers(tmp_path: Path) -> None:
    """As published models have it: a convolution, pooling, Dropout(p), Flatten, Dense, batch normalisation."""
    kernel, bias = floats(3, 2, 4), floats(4)
    w, b, gamma, beta, mean = floats(12, 5), floats(5), floats(5), floats(5), floats(5)
    variance = floats(5) ** 2
    norm = {"epsilon": 1e-3, "mode": 0, "axis": -1, "momentum": 0.99, "gamma_regularizer": None}
    norm |= {"beta_regularizer": None, "gamma_init": "one", "beta_init": "zero"}
    layers = [
        convolution_1d(activation="relu"),
        layer("MaxPooling1D", "pool", pool_length=2, stride=2, border_mode="valid", input_dim=None),
        layer("Dropout", "drop", p=0.5),
        layer("Flatten", "flat"),
        dense("dense", 5),
        layer("BatchNormalization", "bn", **norm),
        layer("Activation", "out", activation="softmax"),
    ]
    arrays = {
        "conv": [kernel[:, None], bias],
        "pool": [],
        "drop": [],
        "flat": [],
        "dense": [("dense_W", w), ("dense_b", b)],
        "bn": [("bn_gamma", gamma), ("bn_beta", beta), ("bn_running_mean", mean), ("bn_running_std", variance)],
        "out": [],
    }
    opened = keras_1(tmp_path, chain(*layers), arrays, "tensorflow")
    x = floats(2, 8, 2)
    found = np.maximum(correlate(x, kernel, bias), 0).reshape(2, 3, 2, 4).max(2).reshape(2, 12) @ w + b
    # What Keras 1 called running_std is a variance.
    check(opened, x, softmax((found - mean) / np.sqrt(variance + 1e-3) * gamma + beta))
    assert opened.model.get_layer("drop").rate == 0.5


def test_batch_normalization_by_the_batch_is_refused(tmp_path: Path) -> None:
    said = layer("BatchNormalization", "bn", mode=2, axis=-1, batch_input_shape=[None, 3])
    with pytest.raises(SourceError) as caught:
        keras_1(tmp_path, chain(said), {"bn": [floats(3)] * 4})
    assert str(caught.value) == (
        f"'{tmp_path / 'model.h5'}' cannot be loaded without changing what it predicts. The layer 'bn' is a "
        "BatchNormalization of Keras 1 with mode=2, which normalises by the batch even when it predicts: what it "
        "predicts for a row depends on the other rows.\n"
        "  Expected: mode=0, which normalises by moving averages, or mode=1, which normalises each row\n"
        "  Fix: Keep this model in an environment with Keras 1."
    )


def test_embedding_and_time_distributed_dense(tmp_path: Path) -> None:
    table, w, b = floats(7, 3), floats(3, 2), floats(2)
    embedding = {"input_dim": 7, "output_dim": 3, "init": "uniform", "input_length": 4, "mask_zero": False}
    embedding |= {"activity_regularizer": None, "W_regularizer": None, "W_constraint": None, "dropout": 0.3}
    said = layer("Embedding", "embed", batch_input_shape=[None, 4], input_dtype="int32", **embedding)
    distributed = dense("dense", 2, input_length=4)
    distributed["class_name"] = "TimeDistributedDense"
    opened = keras_1(tmp_path, chain(said, distributed), {"embed": [table], "dense": [w, b]})
    x = np.random.default_rng(1).integers(0, 7, (2, 4)).astype("int32")
    check(opened, x, table[x] @ w + b)


def test_time_distributed_dense_of_keras_1(tmp_path: Path) -> None:
    w, b = floats(3, 2), floats(2)
    said = layer("TimeDistributed", "each", layer=dense("dense", 2), batch_input_shape=[None, 4, 3])
    x = floats(2, 4, 3)
    check(keras_1(tmp_path, chain(said), {"each": [w, b]}), x, x @ w + b)


# -- merges ---------------------------------------------------------------------------------------

TWO = [given("a", 3), given("b", 3)]


def merge(mode: Any, name: str = "merged", **more: Any) -> Layer:
    config = {"mode": mode, "mode_type": "raw", "concat_axis": -1, "dot_axes": -1, "output_shape": None}
    config |= {"output_shape_type": "raw", "output_mask": None, "output_mask_type": "raw", "arguments": {}}
    return layer("Merge", name, **config | more)


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("sum", lambda a, b: a + b),
        ("mul", lambda a, b: a * b),
        ("ave", lambda a, b: (a + b) / 2),
        ("max", np.maximum),
        ("concat", lambda a, b: np.concatenate([a, b], -1)),
        ("dot", lambda a, b: (a * b).sum(-1, keepdims=True)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_merges_of_tensors(tmp_path: Path, mode: str, want: Any) -> None:
    model = functional([*TWO, called(merge(mode), ["a", "b"])], ["a", "b"], ["merged"])
    opened = keras_1(tmp_path, model, {"a": [], "b": [], "merged": []})
    a, b = floats(2, 3), floats(2, 3)
    check(opened, [a, b], want(a, b))
    assert "keras-1-merge" in rules(opened)


def branches() -> tuple[list[Layer], dict[str, Any], Any]:
    """Two chains, their weights, and what they make of two inputs."""
    w, b = [floats(3, 4), floats(5, 4), floats(8, 2)], [floats(4), floats(4), floats(2)]
    layers = [
        chain(dense("left", 4, 3), layer("Activation", "relu", activation="relu")),
        chain(dense("right", 4, 5)),
    ]
    arrays = {"left": [w[0], b[0]], "relu": [], "right": [w[1], b[1]], "merged": [], "last": [w[2], b[2]]}

    def formula(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.concatenate([np.maximum(x @ w[0] + b[0], 0), y @ w[1] + b[1]], -1) @ w[2] + b[2]

    return layers, arrays, formula


def test_a_sequential_that_starts_with_a_merge_of_branches(tmp_path: Path) -> None:
    layers, arrays, formula = branches()
    opened = keras_1(tmp_path, chain(merge("concat", layers=layers), dense("last", 2)), arrays)
    x, y = floats(2, 3), floats(2, 5)
    check(opened, [x, y], formula(x, y))
    assert [tensor.name for tensor in opened.model.inputs] == ["left_input", "right_input"]


def test_branches_that_are_functional_models_keep_their_connections(tmp_path: Path) -> None:
    w, b, last, bias = floats(3, 3), floats(3), floats(3, 2), floats(2)
    skip = functional(
        [given("a", 3), called(dense("one", 3), "a"), called(merge("sum", "skip"), ["a", "one"])], ["a"], ["skip"]
    )
    right = chain(dense("right", 3, 5))
    wr, br = floats(5, 3), floats(3)
    model = chain(merge("sum", layers=[skip, right]), dense("last", 2))
    arrays = {"a": [], "one": [w, b], "skip": [], "right": [wr, br], "merged": [], "last": [last, bias]}
    x, y = floats(2, 3), floats(2, 5)
    want = (x + x @ w + b + y @ wr + br) @ last + bias
    check(keras_1(tmp_path, model, arrays), [x, y], want)


def test_a_branch_that_starts_with_a_merge_itself(tmp_path: Path) -> None:
    layers, arrays, formula = branches()
    inner = chain(merge("concat", layers=layers), dense("last", 2))
    w, b = floats(4, 2), floats(2)
    model = chain(merge("sum", "outer", layers=[inner, chain(dense("third", 2, 4))]))
    arrays |= {"third": [w, b], "outer": []}
    x, y, z = floats(2, 3), floats(2, 5), floats(2, 4)
    check(keras_1(tmp_path, model, arrays), [x, y, z], formula(x, y) + z @ w + b)


@pytest.mark.parametrize("bare", [False, True])
def test_masks_of_branches(tmp_path: Path, bare: bool) -> None:
    """Such a merge took the masks of layers, and none of models."""

    def branch(name: str) -> Layer:
        config = {"input_dim": 4, "output_dim": 3, "mask_zero": True, "batch_input_shape": [None, 5], "init": "uniform"}
        said = layer("Embedding", name, **config)
        return said if bare else chain(said)

    rnn = {"output_dim": 2, "activation": "tanh", "init": "glorot_uniform", "inner_init": "orthogonal"}
    model = chain(merge("sum", layers=[branch("a"), branch("b")]), layer("SimpleRNN", "rnn", **rnn))
    tables, (w, u, b) = [floats(4, 3), floats(4, 3)], (floats(3, 2), floats(2, 2), floats(2))
    opened = keras_1(tmp_path, model, {"a": [tables[0]], "b": [tables[1]], "merged": [], "rnn": [w, u, b]})
    first, second = np.array([[1, 2, 3, 0, 0], [0, 1, 2, 3, 1]]), np.array([[1, 1, 0, 2, 0], [2, 0, 0, 3, 1]])
    state = np.zeros((2, 2))
    for step in range(5):
        new = np.tanh((tables[0][first[:, step]] + tables[1][second[:, step]]) @ w + state @ u + b)
        there = (first[:, step, None] != 0) & (second[:, step, None] != 0)
        state = np.where(there, new, state) if bare else new
    check(opened, [first, second], state)


def test_a_branch_without_a_shape(tmp_path: Path) -> None:
    model = chain(merge("sum", layers=[chain(dense("left", 4)), chain(dense("right", 4, 5))]))
    with pytest.raises(SourceError, match="The branch 'sequential_1' of 'sequential' does not say its input's shape"):
        keras_1(tmp_path, model, {})


@pytest.mark.parametrize(("mode", "kind"), [(["4wEAAA==", None, None], "lambda"), ("my_function", "function")])
def test_merges_by_python_code(tmp_path: Path, mode: Any, kind: str) -> None:
    model = functional([*TWO, called(merge(mode, mode_type=kind), ["a", "b"])], ["a", "b"], ["merged"])
    with pytest.raises(SourceError) as caught:
        keras_1(tmp_path, model, {})
    assert str(caught.value) == (
        f"'{tmp_path / 'model.h5'}' cannot be loaded without changing what it predicts. The layer 'merged' is a Merge "
        "of Keras 1 by a function, that is Python code, and loading it would run whatever its author wrote.\n"
        "  Expected: one of the modes sum, mul, ave, max, concat, dot, cos\n"
        "  Fix: Rebuild the model with a merge of Keras, and save it again."
    )


def test_a_keras_1_model_in_a_keras_1_model(tmp_path: Path) -> None:
    """Calls of the inner one are counted from 1, and its arrays stand together under its name."""
    w, b = floats(3, 3), floats(3)
    inner = functional([given("i", 3), called(dense("d", 3), "i")], ["i"], ["d"], name="inner")
    inner |= {"inbound_nodes": [[["x", 0, 0]], [["y", 0, 0]]]}
    model = functional([given("x", 3), given("y", 3), inner], ["x", "y"], [["inner", 2, 0], ["inner", 1, 0]])
    opened = keras_1(tmp_path, model, {"x": [], "y": [], "inner": [w, b]})
    x, y = floats(2, 3), floats(2, 3)
    second, first = opened.model([x, y])
    assert_allclose(first, x @ w + b, atol=1e-5)
    assert_allclose(second, y @ w + b, atol=1e-5)
    assert [done.where for done in opened.repairs if done.rule == "nested-calls"] == [("inner",)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_lstm_that_squashes_its_cell_by_hard_sigmoid(tmp_path: Path, wrapped: bool) -> None:
    gates, x = per_gate(3, 2, "icfo"), floats(4, 5, 3, scale=3)
    said = recurrent("LSTM", "lstm_1", 5, 3, units=2, activation="hard_sigmoid")
    arrays = [array for gate in "icfo" for array in gates[gate]]
    want = lstm(x, gates, activation=old_hard_sigmoid)
    if wrapped:
        said = layer("Bidirectional", "both", merge_mode="sum", layer=said, batch_input_shape=[None, 5, 3])
        want = want + lstm(x, gates, activation=old_hard_sigmoid, backwards=True)
        arrays = arrays * 2
    check(keras_1(tmp_path, chain(said), {said["config"]["name"]: arrays}, "tensorflow"), x, want)
    graph = ks.Graph("g").add("rnn", tmp_path / "model.h5")
    graph.add("head", keras.layers.Dense(2)).connect("rnn", "head").freeze("rnn")
    assert graph.verify().passed and graph.verify(format="h5").passed
