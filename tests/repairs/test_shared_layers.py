"""Layers that several models hold, in files that plain Keras cannot load, or loads as several layers."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from backends import as_array, assert_allclose
from repairs_files import Layer, called, floats, functional, given, layer, sequential, write_h5

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.keras_file import open_file
from keras_stitch.repairs.shared_layers import share


def dense(name: str) -> keras.layers.Dense:
    return keras.layers.Dense(3, activation="tanh", name=name)


def model_of(*steps: keras.layers.Layer, name: str, kind: str = "functional") -> keras.Model:
    """A model that calls layers one after another."""
    if kind == "sequential":
        return keras.Sequential([keras.Input((3,)), *steps], name=name)
    y = x = keras.Input((3,))
    for step in steps:
        y = step(y)
    return keras.Model(x, y, name=name)


def in_two_models(kind: str) -> keras.Model:
    """Within one model, twice in another, and outside both."""
    shared = dense("shared")
    first = model_of(shared, dense("a"), name="first", kind=kind)
    second = model_of(*([dense("b"), shared] if kind == "sequential" else [shared, dense("b"), shared]), name="second")
    x = keras.Input((3,), name="x")
    return keras.Model(x, keras.layers.Add()([first(x), second(x), shared(x)]))


def a_whole_model() -> keras.Model:
    shared = model_of(dense("t"), name="shared")
    x = keras.Input((3,), name="x")
    ends = [model_of(shared, dense(name), shared, name=f"with_{name}")(x) for name in "ab"]
    return keras.Model(x, keras.layers.Add()(ends))


def in_a_wrapper() -> keras.Model:
    shared = dense("shared")
    x = keras.Input((4, 3), name="x")
    steps = keras.layers.Flatten()(keras.layers.TimeDistributed(shared)(x))
    return keras.Model(x, model_of(shared, name="inner")(dense("last")(steps)))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "functional": lambda: in_two_models("functional"),
    "sequential": lambda: in_two_models("sequential"),
    "model": a_whole_model,
    "wrapper": in_a_wrapper,
}


@pytest.mark.parametrize("kind", MODELS)
def test_an_archive_of_keras_3(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    with quiet_keras():
        model.save(tmp_path / "m.keras")
    found = open_file(tmp_path / "m.keras")
    x = floats(2, *model.inputs[0].shape[1:])
    assert_allclose(as_array(found.model(x)), as_array(model(x)), atol=1e-6)
    assert len(found.model.trainable_weights) == len(model.trainable_weights)
    assert [done.rule for done in found.repairs] == ["shared-layers"]


@pytest.mark.parametrize("kind", MODELS)
def test_what_was_shared_is_left_alone(kind: str, tmp_path: Path) -> None:
    with quiet_keras():
        MODELS[kind]().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert share(config)
    before = copy.deepcopy(config)
    assert share(config) == [] and config == before


# -- files of Keras 2 -----------------------------------------------------------------------------


def of_keras_2() -> tuple[Layer, dict[str, Any]]:
    """A layer in two models, of which only the second says that it is at several places."""
    shared = layer("Dense", "shared", units=3)
    first = functional([given("i", 3), called(shared, "i")], ["i"], ["shared"], name="first")
    second = functional(
        [given("j", 3), called({**shared, "shared_object_id": 4}, "j", "shared")], ["j"], [["shared", 1, 0]], "second"
    )
    layers = [given("x", 3), called(first, [["x", 0, 0, {}]]), called(second, [["first", 1, 0, {}]])]
    w, b = floats(3, 3), floats(3)
    arrays = {name: [("shared/kernel:0", w), ("shared/bias:0", b)] for name in ("first", "second")}
    return functional(layers, ["x"], [["second", 1, 0]]), arrays


def test_a_file_of_keras_2(tmp_path: Path) -> None:
    model, arrays = of_keras_2()
    found = open_file(write_h5(tmp_path / "m.h5", model, arrays))
    (_, w), (_, b) = arrays["first"]
    x = floats(2, 3)
    assert_allclose(as_array(found.model(x)), ((x @ w + b) @ w + b) @ w + b, atol=1e-5, rtol=1e-5)
    assert len(found.model.weights) == 2
    assert ("shared-layers", ("first/shared",)) in [(done.rule, done.where) for done in found.repairs]


def test_one_layer_with_two_values(tmp_path: Path) -> None:
    model, arrays = of_keras_2()
    arrays["second"] = [("shared/kernel:0", floats(3, 3)), ("shared/bias:0", floats(3))]
    with pytest.raises(SourceError, match="is one weight, and has two values for it"):
        open_file(write_h5(tmp_path / "m.h5", model, arrays))


def test_a_layer_that_only_looks_like_a_shared_one(tmp_path: Path) -> None:
    """Keras 3 leaves out the mark at the first place alone."""
    shared, other = dense("d"), dense("d")
    x = keras.Input((3,), name="x")
    ends = [model_of(one, name=name)(x) for one, name in ((shared, "a"), (shared, "b"), (other, "c"))]
    model = keras.Model(x, keras.layers.Concatenate()(ends))
    model.save(tmp_path / "m.keras")
    found = open_file(tmp_path / "m.keras").model
    assert len(found.weights) == 4
    rows = floats(2, 3)
    assert_allclose(found(rows), model(rows))


def archive_of_keras_2(path: Path) -> tuple[np.ndarray, ...]:
    """An archive, where Keras 2 gave no number to what it had written before: ``dense`` is ``own`` in the second."""
    shared, own = (layer("Dense", name, units=3) for name in ("shared", "own"))
    first = sequential(layer("InputLayer", "i", batch_shape=[None, 3]), shared, name="first")
    second = sequential(
        layer("InputLayer", "j", batch_shape=[None, 3]), {**shared, "shared_object_id": 1}, own, name="second"
    )
    model = sequential(layer("InputLayer", "x", batch_shape=[None, 3]), first, second)
    values = floats(3, 3), floats(3), floats(3, 3), floats(3)
    groups = {"layers/sequential/layers/dense": values[:2], "layers/sequential_1/layers/dense": values[2:]}
    write_archive(path, model, groups)
    return values


def test_an_archive_of_keras_2_that_does_not_say_it(tmp_path: Path) -> None:
    """Of a layer that is also outside the model, Keras 2 wrote no id."""
    model, _ = of_keras_2()
    del model["config"]["layers"][2]["config"]["layers"][1]["shared_object_id"]
    values = {"layers/model/layers/dense": (floats(3, 3), floats(3))}
    write_archive(tmp_path / "m.keras", model, values)
    with pytest.raises(SourceError) as caught:
        open_file(tmp_path / "m.keras")
    assert str(caught.value) == (
        f"'{tmp_path / 'm.keras'}' does not hold the weights of layer 'shared', which is at several places in it: "
        "first/shared, second/shared.\n"
        "  Fix: If it was one layer at all of these places, save the model as .h5 with the Keras that made it."
    )


def write_archive(path: Path, model: Layer, groups: dict[str, Any]) -> None:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for group, arrays in groups.items():
            for number, array in enumerate(arrays):
                file[f"{group}/vars/{number}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.write(path.with_suffix(".h5"), "model.weights.h5")


def test_an_archive_of_keras_2(tmp_path: Path) -> None:
    w, b, v, c = archive_of_keras_2(tmp_path / "m.keras")
    x = floats(2, 3)
    found = open_file(tmp_path / "m.keras").model
    assert_allclose(as_array(found(x)), ((x @ w + b) @ w + b) @ v + c, atol=1e-5, rtol=1e-5)
    assert len(found.weights) == 4
