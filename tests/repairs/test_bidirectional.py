"""What a Bidirectional gives out at masked steps: its last output or zeros, as in the Keras that wrote its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from repairs_files import Layer, called, floats, functional, given, layer, sequential, write_h5

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models import keras_file

X = floats(3, 5, 2)
X[0, :2] = X[1, 2:4] = X[2, 3:] = 0
MASK = X.any(-1)
MERGES = {"sum": np.add, "mul": np.multiply, "ave": lambda a, b: (a + b) / 2}
WEIGHTS = [floats(*shape) for shape in ((2, 3), (3, 3), (3,)) * 2]


def rnn(x: np.ndarray, mask: np.ndarray, weights: Any, *, backwards: bool = False, zeros: bool = False) -> np.ndarray:
    """All outputs of a SimpleRNN, in the order in which it makes them."""
    kernel, recurrent, bias = weights
    if backwards:
        x, mask = x[:, ::-1], mask[:, ::-1]
    state = given_out = np.zeros((len(x), len(recurrent)), "float32")
    steps = []
    for step in range(x.shape[1]):
        new = np.tanh(x[:, step] @ kernel + state @ recurrent + bias)
        there = mask[:, step, None]
        state, given_out = np.where(there, new, state), np.where(there, new, np.zeros_like(new) if zeros else given_out)
        steps.append(given_out)
    return np.stack(steps, 1)


def both(mode: str, **config: Any) -> Layer:
    inner = layer("SimpleRNN", "rnn", units=3, activation="tanh", use_bias=True, **config)
    return layer("Bidirectional", "both", layer=inner, merge_mode=mode)


def merged(mode: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([first, second], -1) if mode == "concat" else MERGES[mode](first, second)


def opened(path: Path, model: Layer, arrays: dict[str, Any], version: str = "2.3.1") -> tuple[keras.Model, list[str]]:
    found = keras_file.open_file(write_h5(path / "old.h5", model, arrays, version=version))
    return found.model, [repair.rule for repair in found.repairs]


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
def test_masked_steps_have_the_last_output(tmp_path: Path, mode: str) -> None:
    """Behind it, the mask is what it was: the second output is of a layer that heeds it."""
    last = [floats(6 if mode == "concat" else 3, 2), floats(2, 2), floats(2)]
    second = layer("SimpleRNN", "last", units=2, activation="tanh", use_bias=True, go_backwards=True)
    layers = [
        given("x", 5, 2),
        called(layer("Masking", "masking", mask_value=0.0), "x"),
        called(both(mode, return_sequences=True), "masking"),
        called(second, "both"),
    ]
    model, rules = opened(tmp_path, functional(layers, ["x"], ["both", "last"]), {"both": WEIGHTS, "last": last})
    assert "bidirectional-masks" in rules
    steps = merged(mode, rnn(X, MASK, WEIGHTS[:3]), rnn(X, MASK, WEIGHTS[3:], backwards=True)[:, ::-1])
    expected = [steps, rnn(steps, MASK, last, backwards=True)[:, -1]]
    model.save(tmp_path / "copy.keras")
    for one in (model, keras.saving.load_model(tmp_path / "copy.keras", compile=False)):
        for found, wanted in zip(one(X), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", ["2.2.4-tf", "2.4.0", "2.10.0"])
def test_tensorflow_gave_zeros_at_every_step_as_keras_3_does(tmp_path: Path, version: str) -> None:
    """From 2.4 on, the version does not say that Keras was part of TensorFlow."""
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model = sequential(masking, both("sum", return_sequences=True))
    found, rules = opened(tmp_path, model, {"both": WEIGHTS}, version=version)
    assert "bidirectional-masks" not in rules
    backwards = rnn(X, MASK, WEIGHTS[3:], backwards=True, zeros=True)[:, ::-1]
    np.testing.assert_allclose(found(X), rnn(X, MASK, WEIGHTS[:3], zeros=True) + backwards, rtol=0, atol=1e-6)


def test_tensorflow_1_gave_zeros_at_the_end(tmp_path: Path) -> None:
    said = both("concat", return_sequences=False, zero_output_for_mask=True)
    model = sequential(layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2]), said)
    found, rules = opened(tmp_path, model, {"both": WEIGHTS}, version="2.2.4-tf")
    assert "bidirectional-masks" in rules
    ends = [rnn(X, MASK, WEIGHTS[:3], zeros=True), rnn(X, MASK, WEIGHTS[3:], backwards=True, zeros=True)]
    assert not ends[0][2, -1].any()
    np.testing.assert_allclose(found(X), np.concatenate([end[:, -1] for end in ends], -1), rtol=0, atol=1e-6)


def test_they_can_be_part_of_a_graph(tmp_path: Path) -> None:
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model = sequential(masking, both("sum", return_sequences=True))
    path = write_h5(tmp_path / "old.h5", model, {"both": WEIGHTS}, version="2.3.1")
    steps = rnn(X, MASK, WEIGHTS[:3]) + rnn(X, MASK, WEIGHTS[3:], backwards=True)[:, ::-1]
    built = ks.Graph("g").add("part", path).build()
    np.testing.assert_allclose(built(X), steps, rtol=0, atol=1e-6)


def test_unrolled_loops(tmp_path: Path) -> None:
    """Keras 3 gives zeros for other steps than those that are masked."""
    weights = [floats(6, 2), floats(2, 2), floats(2)]
    last = layer("SimpleRNN", "last", units=2, activation="tanh", use_bias=True)
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model = sequential(masking, both("concat", return_sequences=True, unroll=True), last)
    found, _ = opened(tmp_path, model, {"both": WEIGHTS, "last": weights})
    steps = merged("concat", rnn(X, MASK, WEIGHTS[:3]), rnn(X, MASK, WEIGHTS[3:], backwards=True)[:, ::-1])
    np.testing.assert_allclose(found(X), rnn(steps, MASK, weights)[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("behind", [[], [layer("Dropout", "drop", rate=0.5)]])
def test_nothing_is_done_where_masked_steps_are_not_seen(tmp_path: Path, behind: list[Layer]) -> None:
    last = layer("SimpleRNN", "last", units=2, activation="tanh", use_bias=True)
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model = sequential(masking, both("concat", return_sequences=True), *behind, last)
    arrays = {"both": WEIGHTS, "last": [floats(6, 2), floats(2, 2), floats(2)]}
    _, rules = opened(tmp_path, json.loads(json.dumps(model)), arrays)
    assert "bidirectional-masks" not in rules


def test_a_layer_that_runs_backwards(tmp_path: Path) -> None:
    """Keras 3 takes the layer in it as it is, and wants the other one to run the other way."""
    said = both("concat", return_sequences=True, go_backwards=True)
    said["config"]["batch_input_shape"] = [None, 5, 2]
    model, _ = opened(tmp_path, sequential(said), {"both": WEIGHTS})
    every = np.ones_like(MASK)
    steps = rnn(X, every, WEIGHTS[:3], backwards=True), rnn(X, every, WEIGHTS[3:])[:, ::-1]
    np.testing.assert_allclose(model(X), np.concatenate(steps, -1), rtol=0, atol=1e-6)


def test_the_last_output_of_a_layer_that_runs_backwards(tmp_path: Path) -> None:
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model, _ = opened(tmp_path, sequential(masking, both("concat", go_backwards=True)), {"both": WEIGHTS})
    ends = rnn(X, MASK, WEIGHTS[:3], backwards=True)[:, -1], rnn(X, MASK, WEIGHTS[3:])[:, -1]
    np.testing.assert_allclose(model(X), np.concatenate(ends, -1), rtol=0, atol=1e-6)


def test_states_at_masked_steps_are_refused(tmp_path: Path) -> None:
    masking = layer("Masking", "masking", mask_value=0.0, batch_input_shape=[None, 5, 2])
    model = sequential(masking, both("concat", return_sequences=True, return_state=True))
    with pytest.raises(SourceError, match="The layer 'both' is a Bidirectional whose masked steps Keras 3 computes"):
        opened(tmp_path, model, {"both": WEIGHTS})


@pytest.mark.parametrize("version", ["2.1.6", "2.3.1"])
def test_masks_of_steps_within_steps(tmp_path: Path, version: str) -> None:
    """Keras 2.2 began to pass them on."""
    masking = layer("TimeDistributed", "within", layer=layer("Masking", "masking", mask_value=0.0))
    masking["config"]["batch_input_shape"] = [None, 4, 5, 2]
    rnn_of_steps = layer("TimeDistributed", "each", layer=both("sum")["config"]["layer"])
    path = write_h5(tmp_path / "m.h5", sequential(masking, rnn_of_steps), {"each": WEIGHTS[:3]}, version=version)
    if version == "2.3.1":
        with pytest.raises(SourceError, match=r"'each' \(TimeDistributed\) heeds a mask that Keras 3 would make"):
            keras_file.open_file(path)
        return
    x = np.stack([X] * 4, 1)
    last = rnn(X, np.ones_like(MASK), WEIGHTS[:3])[:, -1]
    np.testing.assert_allclose(keras_file.open_file(path).model(x), np.stack([last] * 4, 1), rtol=0, atol=1e-6)
