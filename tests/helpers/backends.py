"""What tests ask of the backend that Keras runs on: arrays, gradients, and which tests have no meaning elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
FLOAT64 = "on JAX float64 is float32, unless all of JAX is told otherwise"


def only_on(*backends: str, why: str) -> pytest.MarkDecorator:
    """Leaves a test out on other backends, and says why."""
    return pytest.mark.skipif(BACKEND not in backends, reason=f"{' and '.join(backends)} only: {why}")


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array; one of PyTorch that has a gradient is none for NumPy alone."""
    return keras.ops.convert_to_numpy(tensor)


def allclose(one: Any, other: Any, **tolerance: float) -> bool:
    """``np.allclose`` for tensors, too."""
    return np.allclose(as_array(one), as_array(other), **tolerance)


def assert_allclose(one: Any, other: Any, **tolerance: float) -> None:
    """``np.testing.assert_allclose`` for tensors, too."""
    np.testing.assert_allclose(as_array(one), as_array(other), **tolerance)


def close(one: Any, other: Any) -> bool:
    """Whether one is equal to the other as this project means it, see ``verify.equality``; no NaN is."""
    one, other = as_array(one), as_array(other)
    allowed = 1e-5 * max(1.0, float(np.max(np.abs(other), initial=0)))
    return one.shape == other.shape and bool(np.all(np.abs(one - other) <= allowed))


def assert_close(found: Any, expected: Any) -> None:
    """The same as an assertion, which says where they differ."""
    if not close(found, expected):
        found, expected = as_array(found), as_array(expected)
        assert found.shape == expected.shape
        raise AssertionError(f"up to {np.abs(found - expected).max()} apart:\n{found}\n{expected}")


@contextmanager
def saving_skips() -> Iterator[None]:
    """While Keras does not run on TensorFlow, a test that writes a Kipoi directory is left out at that point."""
    saving = importlib.import_module("keras_stitch.models.save_keras")

    def refused(target: Any) -> None:
        pytest.skip(f"graph.save(...) is refused on {BACKEND}: Kipoi runs Keras models on TensorFlow")

    with pytest.MonkeyPatch.context() as patch:
        if BACKEND != "tensorflow":
            patch.setattr(saving, "check_backend", refused)
        yield


def gradients(model: keras.Model, given: Any) -> list[np.ndarray | None]:
    """The gradient of the sum of all squared outputs, for every weight that trains.

    Args:
        model: Any model.
        given: What it takes.

    Returns:
        ``None`` for a weight on which no output depends.
    """
    weights = [weight.value for weight in model.trainable_weights]
    return [None if one is None else as_array(one) for one in globals()[f"_on_{BACKEND}"](model, weights, given)]


def _squares(outputs: Any) -> Any:
    return sum(keras.ops.sum(keras.ops.cast(one, "float32") ** 2) for one in keras.tree.flatten(outputs))


def _on_tensorflow(model: keras.Model, weights: list[Any], given: Any) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = _squares(model(given, training=False))
    return tape.gradient(total, weights)


def _on_torch(model: keras.Model, weights: list[Any], given: Any) -> list[Any]:
    import torch

    total = _squares(model(given, training=False))
    if not total.requires_grad:
        return [None] * len(weights)
    return list(torch.autograd.grad(total, weights, allow_unused=True))


def _on_jax(model: keras.Model, weights: list[Any], given: Any) -> list[Any]:
    import jax

    others = [weight.value for weight in model.non_trainable_variables]

    def total(values: list[Any]) -> Any:
        return _squares(model.stateless_call(values, others, given, training=False)[0])

    # JAX has zeros for what is not reached, and no word for it. One by one, operations would take longer to compile.
    return [one if np.any(one) else None for one in jax.jit(jax.grad(total))(weights)]
