"""What old Keras computed otherwise for tensors of some shapes, which show once a model is made: it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, walk

_PLANE = 3


def refuse_shapes(model: keras.Model, saved: Saved) -> None:
    """Refuse calls that Keras 3 computes otherwise because of the shapes of what they take.

    Raises:
        SourceError: At the first of them.
    """
    until = (2, 4) if saved.is_tf_keras else (2, 3)
    dots = saved.version < until and saved.backend != "theano"
    # It added biases as if the channels came first, too.
    biases = (2,) <= saved.version <= (2, 1, 6) and not saved.is_tf_keras and _is_channels_first(saved)
    for layer, shapes in _calls(model):
        if dots and isinstance(layer, keras.layers.Dot) and max(map(len, shapes)) > _PLANE:
            raise SourceError(
                f"The layer '{layer.name}' is a Dot of tensors with more than {_PLANE} axes, which Keras before 2.3 "
                "multiplied as a batch of matrices on TensorFlow, whatever its axes.",
                expected=f"tensors of at most {_PLANE} axes, with that of the batch",
                received=", ".join(map(str, shapes)),
                fix="Keep this model in an environment with the Keras that made it."
                if saved.backend
                else 'If that Keras ran on Theano, say it: graph.add(name, source, saved_backend="theano").',
            )
        if biases and isinstance(layer, keras.layers.Dense) and layer.use_bias and len(shapes[0]) >= _PLANE:
            raise SourceError(
                f"The layer '{layer.name}' is a Dense of a tensor with {len(shapes[0])} axes, whose bias Keras before "
                "2.2 added along the first axis where images had their channels first.",
                expected="a tensor with the axes of the batch and of features, or a Dense without a bias",
                received=str(shapes[0]),
                fix="Put the Dense into a TimeDistributed in the model that made the file, and save it again.",
            )


def _is_channels_first(saved: Saved) -> bool:
    return any(layer["config"].get("data_format") == "channels_first" for _, layer in walk(saved.model))


def _calls(model: Any) -> Iterator[tuple[keras.Operation, list[tuple[int | None, ...]]]]:
    """All calls in a model and in those within it, with the shapes of what they take."""
    for call in keras_private.calls(model):
        yield call.operation, [tuple(tensor.shape) for tensor in call.input_tensors]
        wrapped = isinstance(call.operation, keras.layers.TimeDistributed)
        inner = call.operation.layer if wrapped else call.operation
        if isinstance(inner, keras.Model):
            yield from _calls(inner)
