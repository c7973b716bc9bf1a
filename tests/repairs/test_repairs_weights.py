"""Weights of old files: where they belong, in which layout, and what is said of those that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import nested_models
import numpy as np
import pytest
from backends import as_array, assert_allclose
from hypothesis import given as for_all
from hypothesis import strategies as st
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
    sequential,
    side_by_side,
    sigmoid,
    write_h5,
    write_weights,
)

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.keras_file import Opened, open_file
from keras_stitch.repairs import hard_sigmoid, weights


def opened(folder: Path, model: Layer, arrays: dict[str, Any], **options: Any) -> Opened:
    return open_file(write_h5(folder / "model.h5", model, arrays, **options))


def assert_close(model: keras.Model, x: Any, want: np.ndarray) -> None:
    assert_allclose(as_array(model(x, training=False)), want, atol=1e-5, rtol=1e-5)


def refusal(folder: Path, model: Layer, arrays: dict[str, Any]) -> str:
    with pytest.raises(SourceError) as caught:
        opened(folder, model, arrays)
    return str(caught.value)


def dense(name: str, units: int = 3, **config: Any) -> Layer:
    return layer("Dense", name, units=units, **config)


TWO = sequential(dense("one", batch_input_shape=[None, 3]), dense("two"))


def two_arrays() -> dict[str, list[tuple[str, np.ndarray]]]:
    return {
        name: [(f"{name}/kernel:0", floats(3, 3)), (f"{name}/bias:0", floats(3))] for name in ("one", "two")
    }  # fmt: skip


def two(x: np.ndarray, arrays: dict[str, Any]) -> np.ndarray:
    for name in ("one", "two"):
        (_, w), (_, b) = arrays[name]
        x = x @ w + b
    return x


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_lists_of_names_in_pieces(tmp_path: Path, pieces: int) -> None:
    arrays, x = two_arrays(), floats(2, 3)
    assert_close(opened(tmp_path, TWO, arrays, pieces=pieces).model, x, two(x, arrays))


def test_layers_go_by_their_names_and_not_by_their_order(tmp_path: Path) -> None:
    arrays, x = two_arrays(), floats(2, 3)
    assert_close(opened(tmp_path, TWO, dict(reversed(arrays.items()))).model, x, two(x, arrays))


def test_arrays_of_a_layer_go_by_their_names(tmp_path: Path) -> None:
    """A square layer normalisation, say, would not notice."""
    gamma, beta, mean, variance = floats(3), floats(3), floats(3), floats(3) ** 2
    said = sequential(layer("BatchNormalization", "bn", axis=1, epsilon=1e-3, batch_input_shape=[None, 3]))
    named = {"beta": beta, "gamma": gamma, "moving_variance": variance, "moving_mean": mean}
    arrays = {"bn": [(f"bn/{key}:0", value) for key, value in named.items()]}
    x = floats(2, 3)
    assert_close(opened(tmp_path, said, arrays).model, x, (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta)


def test_branches_whose_order_keras_3_changes(tmp_path: Path) -> None:
    """Keras 3 sorts layers by their depth; the file has them as they were made."""
    layers = [
        given("x", 3),
        called(dense("deep"), "x"),
        called(dense("side"), "x"),
        called(dense("deeper"), "deep"),
        called(layer("Subtract", "out"), ["side", "deeper"]),
    ]
    arrays = {name: [floats(3, 3), floats(3)] for name in ("side", "deeper", "deep")}
    x = floats(2, 3)
    w = {name: (lambda x, w=w, b=b: x @ w + b) for name, (w, b) in arrays.items()}
    model = opened(tmp_path, functional(layers, ["x"], ["out"]), arrays).model
    assert_close(model, x, w["side"](x) - w["deeper"](w["deep"](x)))


def test_frozen_layers_of_a_nested_model_come_last(tmp_path: Path) -> None:
    """Keras 2 wrote what trains first, and everything else after it."""
    inner = sequential(dense("one", trainable=False, batch_input_shape=[None, 3]), dense("two"), name="inner")
    arrays, x = two_arrays(), floats(2, 3)
    model = functional([given("x", 3), called(inner, [["x", 0, 0]])], ["x"], [["inner", 1, 0]])
    loaded = opened(tmp_path, model, {"inner": [*arrays["two"], *arrays["one"]]}).model
    assert_close(loaded, x, two(x, arrays))
    assert [said.trainable for said in loaded.get_layer("inner").layers] == [False, True]


def nested_and_frozen(said: bool) -> tuple[Layer, dict[str, list[tuple[str, np.ndarray]]]]:
    """A model that is frozen as a whole, with a layer in it that is not, and one behind it; and their arrays.

    ``said`` is whether the file says that the model is frozen, as Keras 2.4 did first.
    """
    inner = sequential(
        dense("one", trainable=False, batch_input_shape=[None, 3]), dense("two", trainable=True), name="inner"
    )
    if said:
        inner["config"]["trainable"] = False
    middle = sequential(inner, dense("three"), name="middle")
    arrays = {
        name: [(f"{name}/kernel:0", floats(3, 3)), (f"{name}/bias:0", floats(3))] for name in ("one", "two", "three")
    }
    return sequential(middle, name="outer"), arrays


def three(x: np.ndarray, arrays: dict[str, Any]) -> np.ndarray:
    (_, w), (_, b) = arrays["three"]
    return two(x, arrays) @ w + b


@pytest.mark.parametrize("scope", ["", "outer/middle/", "_1"])
@pytest.mark.parametrize("said", [False, True])
def test_a_nested_model_that_is_frozen_as_a_whole(tmp_path: Path, said: bool, scope: str) -> None:
    """What trains comes first, and nothing in a frozen model does; where the file does not say so, its names do."""
    model, arrays = nested_and_frozen(said)
    x = floats(2, 3)
    want = three(x, arrays)
    named = [(name, value) for layer in ("three", "two", "one") for name, value in arrays[layer]]
    if scope == "_1":
        named = [(name.replace("/", "_1/"), value) for name, value in named]
    else:
        named = [(scope + name, value) for name, value in named]
    assert_close(opened(tmp_path, model, {"middle": named}).model, x, want)


def test_a_nested_model_that_is_frozen_as_a_whole_without_names(tmp_path: Path) -> None:
    model, arrays = nested_and_frozen(True)
    x, unnamed = floats(2, 3), [value for layer in ("three", "two", "one") for _, value in arrays[layer]]
    assert_close(opened(tmp_path, model, {"middle": unnamed}).model, x, three(x, arrays))


@pytest.mark.slow
def test_random_nested_models_of_keras_2(tmp_path: Path) -> None:
    """Nested up to three deep, with frozen models and layers, all of the same shapes; as whole models and weights."""
    script = Path(__file__).parents[1] / "helpers" / "nested_models.py"
    subprocess.run([sys.executable, script, tmp_path, "16"], check=True, capture_output=True)
    wrong = []
    for number in range(16):
        arrays = np.load(tmp_path / f"{number}.npz")
        for name, arch in ((f"{number}.h5", None), (f"{number}.legacy.h5", tmp_path / f"{number}.json")):
            model = open_file(tmp_path / name, arch=arch).model
            if not np.allclose(as_array(model(arrays["x"], training=False)), arrays["y"], atol=1e-5, rtol=1e-5):
                wrong.append(name)
    assert wrong == []


def test_random_nested_models_of_keras_3(tmp_path: Path) -> None:
    """Keras 3 forgets which layers in a frozen model were not, and loads them in another order than it saved them."""
    for seed in (1, 6):
        model, x = nested_models.made(keras, seed)
        with quiet_keras():
            model.save(tmp_path / f"{seed}.h5")
        assert_close(open_file(tmp_path / f"{seed}.h5").model, x, as_array(model(x, training=False)))


def test_a_nested_model_called_on_its_own_output(tmp_path: Path) -> None:
    """The call that makes the output is not the only one."""
    w, b, x = floats(3, 3), floats(3), floats(2, 3)
    inner = functional([given("i", 3), called(dense("d"), "i")], ["i"], ["d"], name="inner")
    inner = called(inner, [["x", 0, 0, {}]], [["inner", 1, 0, {}]])
    for end, want in ((2, (x @ w + b) @ w + b), (1, x @ w + b)):
        layers = [given("x", 3), inner]
        model = opened(tmp_path, functional(layers, ["x"], [["inner", end, 0]]), {"inner": [w, b]}).model
        assert_close(model, x, want)


def test_slashes_in_names(tmp_path: Path) -> None:
    layers = [given("x", 3), called(dense("block/a"), "x"), called(dense("block_a"), "block/a")]
    arrays = {
        name: [(f"{name}/kernel:0", floats(3, 3)), (f"{name}/bias:0", floats(3))] for name in ("block_a", "block/a")
    }
    found = opened(tmp_path, functional(layers, ["x"], ["block_a"]), arrays)
    x = floats(2, 3)
    assert_close(found.model, x, two(x, {"one": arrays["block/a"], "two": arrays["block_a"]}))
    assert [(done.rule, done.where) for done in found.repairs if done.rule == "layer-names"] == [
        ("layer-names", ("block/a",))
    ]
    assert [said.name for said in found.model.layers] == ["x", "block_a_", "block_a"]


@pytest.mark.parametrize("ending", ["weights.h5", "bin"])
def test_weights_beside_an_old_architecture(tmp_path: Path, ending: str) -> None:
    arrays, x = two_arrays(), floats(2, 3)
    (tmp_path / "arch.json").write_text(json.dumps({**TWO, "keras_version": "2.0.6", "backend": "tensorflow"}))
    with h5py.File(tmp_path / f"w.{ending}", "w") as file:
        write_weights(file, arrays)
    assert_close(open_file(tmp_path / f"w.{ending}", arch=tmp_path / "arch.json").model, x, two(x, arrays))


def open_beside(folder: Path, model: Layer, arrays: dict[str, Any]) -> Opened:
    """An architecture and weights in a file of their own."""
    (folder / "arch.json").write_text(json.dumps({**model, "keras_version": "2.2.4", "backend": "tensorflow"}))
    with h5py.File(folder / "w.h5", "w") as file:
        write_weights(file, arrays)
    return open_file(folder / "w.h5", arch=folder / "arch.json")


@pytest.mark.parametrize("names", [("three", "four"), ("two", "three"), ("zero", "one")])
def test_weights_of_layers_with_other_names(tmp_path: Path, names: tuple[str, str]) -> None:
    """Keras 2 counted layers through a session, and load_weights went by their order."""
    arrays, x = two_arrays(), floats(2, 3)
    found = open_beside(tmp_path, TWO, {"input": [], **dict(zip(names, arrays.values(), strict=True))})
    assert_close(found.model, x, two(x, arrays))
    assert [(done.rule, done.where) for done in found.repairs][-1] == ("weights-by-order", ("one", "two"))


def test_weights_of_layers_with_other_names_in_another_order(tmp_path: Path) -> None:
    arrays = two_arrays()
    with pytest.raises(SourceError) as caught:
        open_beside(tmp_path, TWO, dict(reversed(arrays.items())))
    assert str(caught.value) == (
        "The layers of the weights and of the architecture have the same names in another order, and the weights fit "
        "by name and by order.\n  Expected: one, two\n  Received: two, one\n"
        "  Fix: Give the architecture that the weights were saved with, by model.to_json() beside "
        "model.save_weights(...), or the whole model."
    )


def test_weights_whose_order_contradicts_their_shapes_go_by_name(tmp_path: Path) -> None:
    said = sequential(dense("one", 4, batch_input_shape=[None, 3]), dense("two", 2))
    arrays, x = {"two": [floats(4, 2), floats(2)], "one": [floats(3, 4), floats(4)]}, floats(2, 3)
    found = open_beside(tmp_path, said, arrays)
    (w1, b1), (w2, b2) = arrays["one"], arrays["two"]
    assert_close(found.model, x, (x @ w1 + b1) @ w2 + b2)
    assert "weights-by-order" not in [done.rule for done in found.repairs]


def test_weights_of_layers_with_other_names_and_shapes(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_beside(tmp_path, TWO, {"one": [floats(3, 3), floats(3)], "three": [floats(3, 4), floats(4)]})
    assert str(caught.value) == (
        "The weights belong to other layers than the architecture has, and in their order they do not fit them. "
        "The weights of layer 'two' do not fit it.\n"
        "  Expected: kernel (3, 3), bias (3,)\n  Received: three_0 (3, 4), three_1 (4,)\n"
        "  Fix: Give the architecture that the weights were saved with."
    )


# -- what does not fit ----------------------------------------------------------------------------

DAMAGED = "\n  Fix: The file may be damaged, or its architecture may be that of another version of the model."


def test_arrays_of_another_shape(tmp_path: Path) -> None:
    arrays = two_arrays()
    arrays["two"][0] = ("two/kernel:0", floats(3, 4))
    assert refusal(tmp_path, TWO, arrays) == (
        "The weights of layer 'two' do not fit it.\n"
        "  Expected: kernel (3, 3), bias (3,)\n"
        "  Received: two/kernel:0 (3, 4), two/bias:0 (3,)" + DAMAGED
    )


@pytest.mark.parametrize("missing", ["an array", "all arrays", "the layer"])
def test_arrays_that_are_missing(tmp_path: Path, missing: str) -> None:
    arrays = two_arrays()
    if missing == "the layer":
        del arrays["two"]
    else:
        del arrays["two"][0 if missing == "all arrays" else 1 :]
    received = "two/kernel:0 (3, 3)" if missing == "an array" else "none"
    assert refusal(tmp_path, TWO, arrays) == (
        "The weights of layer 'two' do not fit it.\n"
        f"  Expected: kernel (3, 3), bias (3,)\n  Received: {received}" + DAMAGED
    )


def test_arrays_for_a_layer_without_weights(tmp_path: Path) -> None:
    said = sequential(layer("Flatten", "flat", batch_input_shape=[None, 3]))
    assert refusal(tmp_path, said, {"flat": [("flat/w:0", floats(2))]}) == (
        "The weights of layer 'flat' do not fit it.\n  Expected: none\n  Received: flat/w:0 (2,)" + DAMAGED
    )


def test_a_nested_model_with_an_array_too_few(tmp_path: Path) -> None:
    arrays = two_arrays()
    outer = sequential({**TWO, "config": {**TWO["config"], "name": "inner"}}, name="outer")
    assert refusal(tmp_path, outer, {"inner": [*arrays["one"], arrays["two"][0]]}) == (
        "The weights of layer 'inner' do not fit it.\n"
        "  Expected: kernel (3, 3), bias (3,), kernel (3, 3), bias (3,)\n"
        "  Received: one/kernel:0 (3, 3), one/bias:0 (3,), two/kernel:0 (3, 3)" + DAMAGED
    )


def test_weights_of_layers_that_are_not_there(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {**two_arrays(), "three": [floats(3)], "four": [floats(1)], "none": []}
    assert refusal(tmp_path, TWO, arrays) == (
        "The file has weights for layers that its architecture does not have.\n  Received: three, four"
    )


def test_weights_of_the_model_itself(tmp_path: Path) -> None:
    arrays = {**two_arrays(), "top_level_model_weights": [floats(3)]}
    assert refusal(tmp_path, TWO, arrays) == (
        "The model has weights of its own, outside any layer, which plain Keras does not load."
    )


def test_a_file_that_lost_its_arrays(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "model.h5", TWO, two_arrays())
    with h5py.File(path, "r+") as file:
        del file["model_weights/two/two/bias:0"]
    with pytest.raises(SourceError) as caught:
        open_file(path)
    first, last = str(caught.value).split("\n")
    assert first.startswith(f"The weights in '{path}' are damaged: ") and "bias:0" in first
    assert last == "  Fix: Copy or download it again."


@pytest.mark.parametrize("groups", [0, 1, 3])
def test_names_in_pieces_are_read_in_order(tmp_path: Path, groups: int) -> None:
    arrays = {f"l{number}": [(f"l{number}/w:0", floats(1))] for number in range(12)}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_weights(file, arrays, pieces=groups)
        found = weights.read_arrays(file)
    assert list(found) == list(arrays)
    assert [item.name for items in found.values() for item in items] == [f"l{number}/w:0" for number in range(12)]


# -- layouts --------------------------------------------------------------------------------------


def cudnn(gates: dict[str, Any], recurrent_bias: dict[str, np.ndarray], order: str) -> list[np.ndarray]:
    """The arrays of CuDNN: kernels row by row where Keras goes column by column; two biases one after another."""
    inputs, units = gates[order[0]][0].shape
    kernels = [np.zeros((inputs, units), "float32") for _ in order]
    for kernel, key in zip(kernels, order, strict=True):
        kernel.ravel()[:] = [gates[key][0][at % inputs, at // inputs] for at in range(inputs * units)]
    recurrent = [gates[key][1].T for key in order]
    bias = [gates[key][2] for key in order] + [recurrent_bias[key] for key in order]
    return [np.concatenate(kernels, 1), np.concatenate(recurrent, 1), np.concatenate(bias)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("said", ["CuDNN", "plain"])
def test_weights_of_cudnn(tmp_path: Path, kind: str, said: str) -> None:
    order = "ifco" if kind == "LSTM" else "zrh"
    gates, second = per_gate(3, 4, order), {key: floats(4) for key in order}
    config: dict[str, Any] = {"units": 4, "batch_input_shape": [None, 5, 3]}
    if said == "plain":
        config |= {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}
    if kind == "LSTM":
        config.pop("reset_after", None)
    model = sequential(layer(f"CuDNN{kind}" if said == "CuDNN" else kind, "rnn", **config))
    found = opened(tmp_path, model, {"rnn": cudnn(gates, second, order)})
    x = floats(2, 5, 3)
    if kind == "LSTM":
        both = {key: (w, u, b + second[key]) for key, (w, u, b) in gates.items()}
        assert_close(found.model, x, lstm(x, both, sigmoid))
    else:
        assert_close(found.model, x, gru(x, gates, sigmoid, recurrent_bias=second))
    assert ("cudnn" in [done.rule for done in found.repairs]) == (said == "CuDNN")
    assert type(found.model.layers[-1]).__name__ == kind


@pytest.mark.parametrize("reset_after", [None, False, True])
def test_gru_that_does_not_say_reset_after(tmp_path: Path, reset_after: bool | None) -> None:
    gates, second = per_gate(3, 4, "zrh"), {key: floats(4) for key in "zrh"}
    config = {} if reset_after is None else {"reset_after": reset_after}
    model = sequential(layer("GRU", "gru", units=4, batch_input_shape=[None, 5, 3], **config))
    kernel, recurrent, bias = side_by_side(gates, "zrh")
    if reset_after:
        bias = np.stack([bias, np.concatenate([second[key] for key in "zrh"])])
    found = opened(tmp_path, model, {"gru": [kernel, recurrent, bias]})
    x = floats(2, 5, 3)
    assert_close(found.model, x, gru(x, gates, recurrent_bias=second if reset_after else None))
    said = {done.rule for done in found.repairs}
    assert ("gru-reset-after" in said) == (reset_after is None) and "gate-activation" in said


@pytest.mark.parametrize("sizes", [(4,), (3, 2)])
def test_kernels_of_theano_in_keras_2(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """In Keras 2 kernels have one layout, and Theano still turned them round."""
    rank = len(sizes)
    kernel, bias = floats(*sizes, 2, 3), floats(3)
    shape = [None, *([6] * rank), 2]
    said = layer(f"Conv{rank}D", "c", filters=3, kernel_size=list(sizes), padding="valid", batch_input_shape=shape)
    x = floats(2, *([6] * rank), 2)
    for backend, formula in (("theano", convolve), ("tensorflow", correlate), ("cntk", correlate)):
        model = opened(tmp_path, sequential(said), {"c": [kernel, bias]}, version="2.0.8", backend=backend).model
        assert_close(model, x, formula(x, kernel, bias))


# -- the factor of hard_sigmoid -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Dense", "Activation", "TimeDistributed", "nested"])
def test_hard_sigmoid_of_keras_2(tmp_path: Path, kind: str) -> None:
    w, b, x = floats(3, 4, scale=2), floats(4), floats(2, 5, 3, scale=2)
    activation = layer("Activation", "a", activation="hard_sigmoid")
    first = dense("d", 4, activation="hard_sigmoid" if kind in ("Dense", "nested") else "linear")
    first["config"]["batch_input_shape"] = [None, 5, 3]
    more = {"Activation": [activation], "TimeDistributed": [layer("TimeDistributed", "t", layer=activation)]}
    model, name = sequential(first, *more.get(kind, [])), "d"
    if kind == "nested":
        model, name = sequential({**model, "config": {**model["config"], "name": "inner"}}, name="outer"), "inner"
    found = opened(tmp_path, model, {name: [w, b]})
    assert_close(found.model, x, old_hard_sigmoid(x @ w + b))
    assert "hard-sigmoid" in [done.rule for done in found.repairs]


def test_a_shared_layer_gets_the_factor_once(tmp_path: Path) -> None:
    w, b = floats(3, 3), floats(3)
    layers = [given("x", 3), called(dense("d", activation="hard_sigmoid"), "x", "d")]
    found = opened(tmp_path, functional(layers, ["x"], [["d", 1, 0]]), {"d": [w, b]})
    x = floats(2, 3, scale=3)
    assert_close(found.model, x, old_hard_sigmoid(old_hard_sigmoid(x @ w + b) @ w + b))


def test_a_hard_sigmoid_of_the_users_is_taken_as_it_is(tmp_path: Path) -> None:
    w, b, x = floats(3, 3), floats(3), floats(2, 3)
    said = sequential(dense("d", activation="hard_sigmoid", batch_input_shape=[None, 3]))
    path = write_h5(tmp_path / "model.h5", said, {"d": [w, b]})
    found = open_file(path, custom_objects={"hard_sigmoid": lambda x: 3 * x})
    assert_close(found.model, x, 3 * (x @ w + b))
    assert "hard-sigmoid" not in [done.rule for done in found.repairs]


def test_a_hard_sigmoid_in_a_layer_of_the_users(tmp_path: Path) -> None:
    class Mine(keras.layers.Dense):
        pass

    said = sequential({**dense("d", activation="hard_sigmoid", batch_input_shape=[None, 3]), "class_name": "Mine"})
    path = write_h5(tmp_path / "model.h5", said, {"d": [floats(3, 3), floats(3)]})
    with pytest.raises(SourceError) as caught:
        open_file(path, custom_objects={"Mine": Mine})
    assert str(caught.value) == (
        "The layer 'd' (Mine) has a hard_sigmoid, which is another function in Keras 3, and only its author knows what "
        'has to change.\n  Fix: Give the old function: custom_objects={"hard_sigmoid": ...}.'
    )


def test_a_class_of_the_users_with_the_name_of_one_of_keras(tmp_path: Path) -> None:
    class Dense(keras.layers.Dense):
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    arrays, x = two_arrays(), floats(2, 3)
    path = write_h5(tmp_path / "model.h5", TWO, arrays)
    model = open_file(path, custom_objects={"Dense": Dense}).model
    doubled = {name: [(key, 2 * value) for key, value in pairs] for name, pairs in arrays.items()}
    assert_close(model, x, two(x, doubled))


_SIZES = st.integers(1, 4)
_SEEDS = st.integers(0, 1000)


def _folded(made: keras.Layer, shape: tuple[int, ...], seed: int) -> tuple[Any, np.ndarray, list[np.ndarray]]:
    """A layer with random weights, folded; an input, and the weights that it had."""
    random = np.random.default_rng(seed)
    model = keras.Sequential([keras.Input(shape), made])
    values = [random.normal(0, 2, weight.shape).astype("float32") for weight in model.weights]
    model.set_weights(values)
    hard_sigmoid.fold_hard_sigmoid(model)
    return model, random.normal(0, 2, (2, *shape)).astype("float32"), values


@for_all(_SIZES, _SIZES, st.booleans(), st.sampled_from(["hard_sigmoid", "sigmoid"]), _SEEDS)
def test_folding_into_an_lstm(inputs: int, units: int, bias: bool, gate: str, seed: int) -> None:
    made = keras.layers.LSTM(units, recurrent_activation=gate, use_bias=bias)
    model, x, values = _folded(made, (3, inputs), seed)
    kernel, recurrent, b = [*values, np.zeros(4 * units)][:3]
    parts = [np.split(array, 4, -1) for array in (kernel, recurrent, b)]
    gates = dict(zip("ifco", zip(*parts, strict=True), strict=True))
    assert_close(model, x, lstm(x, gates, old_hard_sigmoid if gate == "hard_sigmoid" else sigmoid))


@for_all(_SIZES, _SIZES, st.booleans(), st.sampled_from(["tanh", "hard_sigmoid"]), _SEEDS)
def test_folding_into_a_gru(inputs: int, units: int, reset_after: bool, activation: str, seed: int) -> None:
    """Also where the candidate is a hard_sigmoid."""
    made = keras.layers.GRU(
        units, recurrent_activation="hard_sigmoid", activation=activation, reset_after=reset_after
    )  # fmt: skip
    model, x, (kernel, recurrent, b) = _folded(made, (3, inputs), seed)
    biases = b if reset_after else [b, None]
    parts = [np.split(array, 3, -1) for array in (kernel, recurrent, biases[0])]
    gates = dict(zip("zrh", zip(*parts, strict=True), strict=True))
    second = dict(zip("zrh", np.split(biases[1], 3), strict=True)) if reset_after else None
    formula = np.tanh if activation == "tanh" else old_hard_sigmoid
    assert_close(model, x, gru(x, gates, activation=formula, recurrent_bias=second))


@for_all(_SIZES, _SIZES, st.booleans(), _SEEDS)
def test_folding_into_a_dense(inputs: int, units: int, bias: bool, seed: int) -> None:
    made = keras.layers.Dense(units, activation="hard_sigmoid", use_bias=bias)
    model, x, values = _folded(made, (inputs,), seed)
    assert_close(model, x, old_hard_sigmoid(x @ values[0] + (values[1] if bias else 0)))


@for_all(_SIZES, _SIZES, st.integers(1, 2), _SEEDS)
def test_folding_into_a_convolution(inputs: int, filters: int, rank: int, seed: int) -> None:
    made = (keras.layers.Conv1D if rank == 1 else keras.layers.Conv2D)(filters, 2, activation="hard_sigmoid")
    model, x, values = _folded(made, (*[3] * rank, inputs), seed)
    assert_close(model, x, old_hard_sigmoid(correlate(x, *values)))


def test_folding_leaves_other_activations_alone() -> None:
    for made in (keras.layers.Dense(2, activation="sigmoid"), keras.layers.LSTM(2), keras.layers.Conv1D(2, 2)):
        model, _, values = _folded(made, (3, 2), 0)
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), values, strict=True))
