"""A signature, or a function, of a SavedModel of TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from kipoi.model import TensorFlow2Model


class SavedSignature(TensorFlow2Model):
    """What a SavedModel computes from arrays, which needs no code of the model that it was made from.

    Args:
        folder: The SavedModel.
        signature: One of its signatures, or a function of the object in it.
    """

    MODEL_PACKAGE = "tensorflow"

    def __init__(self, folder: str, signature: str) -> None:
        self.model = tf.saved_model.load(folder)
        found = self.model.signatures.get(signature)
        self.function = getattr(self.model, signature).concrete_functions[0] if found is None else found
        self.takes = tf.nest.flatten(self.function.structured_input_signature)

    def predict_on_batch(self, x: Any) -> Any:
        """Predict for an array, or for a list of arrays in the order of the inputs.

        Returns:
            An array, or a list of arrays, sorted by the names that the signature gives them.
        """
        arrays = x if isinstance(x, list | tuple) else [x]
        given = [
            tf.constant(np.asarray(array, spec.dtype.as_numpy_dtype))
            for array, spec in zip(arrays, self.takes, strict=True)
        ]
        args, kwargs = tf.nest.pack_sequence_as(self.function.structured_input_signature, given)
        made = [tensor.numpy() for tensor in tf.nest.flatten(self.function(*args, **kwargs))]
        return made[0] if len(made) == 1 else made
