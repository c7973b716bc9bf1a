from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import toy_models
from backends import as_array

import keras_stitch as ks
from keras_stitch.models.clone import clone


@pytest.mark.backends
def test_a_copy_outlives_the_training_of_its_model() -> None:
    """Keras on JAX gives the arrays of a model away while it fits or predicts."""
    model = keras.Sequential([keras.Input((3,)), toy_models.dense(2)])
    copied = clone(model, "it")
    before = [as_array(weight) for weight in copied.weights]
    x = np.ones((4, 3), "float32")
    model.compile("sgd", "mse")
    model.fit(x, np.ones((4, 2), "float32"), verbose=0)
    model.predict(x, verbose=0)
    assert all(np.array_equal(as_array(weight), old) for weight, old in zip(copied.weights, before, strict=True))


def test_a_nested_model_may_have_the_input_of_the_outer_one() -> None:
    """As autoencoders are often written."""
    x = keras.Input((3,))
    encoder = keras.Model(x, toy_models.dense(2)(x), name="encoder")
    model = keras.Model(x, toy_models.dense(3)(encoder(x)))
    rows = np.ones((4, 3), "float32")
    assert np.array_equal(as_array(clone(model, "it")(rows)), as_array(model(rows)))


class WithMore(keras.Model):
    """A model whose call has a layer that its graph does not have."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **options: Any):
        super().__init__(inputs, outputs, name=name, **options)
        self.more = keras.layers.Dense(2, name="more")
        self.more.build((None, 2))

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        return self.more(super().call(x))


def test_layers_that_a_nested_model_calls_by_itself_are_counted_and_frozen() -> None:
    x, y = keras.Input((3,)), keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(1, name="end")(WithMore(y, toy_models.dense(2)(y), name="inner")(x)))
    graph = ks.Graph().add("m", model)
    assert graph.summary().rows[0].parameters == model.count_params()
    rows = np.ones((4, 3), "float32")
    assert np.array_equal(as_array(graph.build()([rows])), as_array(model(rows)))
    built = graph.freeze("m", layers="inner/*").build()
    assert [weight.path for weight in built.trainable_weights] == ["end/kernel", "end/bias"]
    built = graph.unfreeze("m").freeze("m", layers="more").build()
    assert len(built.trainable_weights) == 4
