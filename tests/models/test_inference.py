"""A stitched model predicts in inference however it is called, also where a layer trains unless it is told not to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import warm_python
from keras import layers

import keras_stitch as ks
from keras_stitch.models.inference import augments, may_start_training, takes_flag
from keras_stitch.models.save_keras import save_model

IMAGES = np.random.default_rng(0).uniform(0, 1, (4, 6, 6, 3)).astype("float32")


def invert(**options: Any) -> keras.Layer:
    """Inverts every image in training."""
    return layers.RandomInvert((1.0, 1.0), value_range=(0, 1), name="invert", **options)


def images(*inner: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((6, 6, 3), name="images"), *inner])


def normalised() -> keras.Model:
    return images(layers.BatchNormalization(name="norm"))


class Trains(layers.Layer):
    """Has a layer in it trained, whoever asks."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.inner = layers.Dropout(0.5)

    def call(self, x: Any) -> Any:
        return self.inner(x, training=True)


@keras.saving.register_keras_serializable("test_inference")
class MergeTrains(layers.Layer):
    def call(self, inputs: Any, training: bool = True) -> Any:
        return inputs[0] + inputs[1] + (100 if training else 0)


def moving(model: keras.Model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.weights if "moving_" in weight.path]


def all_equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(lambda: images(invert()), id="model"),
        pytest.param(invert, id="layer"),
        pytest.param(lambda: layers.Resizing(6, 6), id="no random layer"),
        pytest.param(lambda: keras.Sequential([keras.Input((6, 6, 3), name="images"), images(invert())]), id="nested"),
    ],
)
def test_a_direct_call_is_inference(first: Any) -> None:
    graph = ks.Graph("g").add("first", first())
    graph.add("second", normalised()).connect("first", "second")
    if graph.spec.submodel("first").is_layer:
        graph.add_input("images", "first", shape=(6, 6, 3))
    model = graph.build()
    before = moving(model)
    called = np.array(model(IMAGES))
    assert before and all_equal(moving(model), before)
    np.testing.assert_allclose(called, model.predict(IMAGES, verbose=0), atol=1e-6)
    np.testing.assert_allclose(called, np.array(model(IMAGES, training=False)), atol=1e-6)
    assert graph.verify().passed


def test_training_augments_all_the_same() -> None:
    model = ks.Graph("g").add("first", images(invert())).build()
    np.testing.assert_allclose(np.array(model(IMAGES)), IMAGES)
    np.testing.assert_allclose(np.array(model(IMAGES, training=True)), 1 - IMAGES, atol=1e-6)
    seen = keras.Sequential([model, layers.Flatten(), layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    seen.compile(keras.optimizers.SGD(1.0), lambda true, found: keras.ops.sum(found))
    seen.fit(IMAGES, np.zeros(4), batch_size=4, verbose=0)
    # The gradient of the kernel is what arrived.
    np.testing.assert_allclose(seen.weights[-1][:, 0], -(1 - IMAGES).reshape(4, -1).sum(0), atol=1e-5)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_the_saved_model_is_in_inference_in_plain_keras(tmp_path: Path, ending: str) -> None:
    graph = ks.Graph("g").add("first", images(invert())).add("second", normalised()).connect("first", "second")
    save_model(graph.build(), tmp_path / f"model{ending}")
    code = (
        "import keras, numpy as np\n"
        f"model = keras.saving.load_model('model{ending}', compile=False)\n"
        "x = np.full((2, 6, 6, 3), 0.25, 'float32')\n"
        "weights = [np.array(w) for w in model.weights]\n"
        "assert np.abs(np.array(model(x)) - 0.25).max() < 1e-3\n"
        "assert all(np.array_equal(a, b) for a, b in zip(weights, model.weights))\n"
        "assert np.abs(np.array(model(x, training=True)) - 0.25).max() > 0.1\n"
    )
    done = warm_python.run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_a_custom_layer_does_stays_in_its_submodel() -> None:
    graph = ks.Graph("g").add("first", images(Trains())).add("second", normalised()).connect("first", "second")
    model = graph.build()
    before = moving(model)
    model(IMAGES)
    assert all_equal(moving(model), before)


def test_a_merge_is_in_inference() -> None:
    graph = ks.Graph("g").add("a", images(layers.Rescaling(1.0))).add("b", images(layers.Rescaling(2.0)))
    graph.add("c", normalised()).connect(["a", "b"], "c", merge=MergeTrains()).add_input("x", ["a", "b"])
    model = graph.build()
    before = moving(model)
    assert np.abs(np.array(model(IMAGES))).max() < 4
    assert all_equal(moving(model), before)
    assert graph.verify().passed


def test_what_trains_by_itself() -> None:
    assert augments(invert()) and augments(layers.TimeDistributed(layers.RandomFlip()))
    assert not augments(layers.Resizing(2, 2)) and not augments(layers.Dropout(0.5)) and not augments(Trains())
    assert may_start_training([layers.Dense(1), layers.Resizing(2, 2)]) and may_start_training([Trains()])
    assert not may_start_training([layers.Dense(1), layers.BatchNormalization(), layers.Dropout(0.5)])
    assert takes_flag(layers.Dropout(0.5)) and not takes_flag(layers.Flatten())


NOTE = (
    "'first' is frozen, but in fit its layer 'invert' (RandomInvert) still changes data at random; predict and a "
    "direct call never do."
)


def test_augmentation_of_a_frozen_submodel_is_said() -> None:
    first = images(invert(), layers.Conv2D(2, 1, name="conv"))
    graph = ks.Graph("g").add("first", first).add("second", layers.Dense(1)).connect("first", "second")
    assert graph.summary().notes == graph.plan().notes == graph.verify().notes == ()
    graph.freeze("first")
    assert graph.summary().notes == graph.plan().notes == graph.verify().notes == (NOTE,)
    assert str(graph.summary()).endswith(f"\n\n{NOTE}") and str(graph.plan()).endswith(f"\n{NOTE}")
    assert f"\n{NOTE}\n" in str(graph.verify())
    first.trainable = False
    assert ks.Graph("g").add("first", first).plan().notes == (NOTE,)
    # Nothing trains there, so nothing is augmented.
    elsewhere = ks.Graph("g").add("first", first, placement="dataloader").add("second", layers.Dense(1))
    assert elsewhere.connect("first", "second").plan().notes == ()


def test_several_augmenting_layers_are_said_at_once() -> None:
    graph = ks.Graph("g").add("first", images(invert(), layers.RandomFlip(name="flip"))).freeze("first")
    assert graph.plan().notes == (
        "'first' is frozen, but in fit its layers 'invert' (RandomInvert), 'flip' (RandomFlip) still change data at "
        "random; predict and a direct call never do.",
    )
