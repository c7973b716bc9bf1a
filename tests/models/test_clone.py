from __future__ import annotations

import keras
import numpy as np
import pytest
import toy_models
from backends import as_array

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
