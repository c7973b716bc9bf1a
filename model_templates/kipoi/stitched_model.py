"""The Keras model of this directory, and a short way to its predictions.

Keras' own call takes longer than the work of a small model. Here the model is one TensorFlow graph for batches of any
size, made at the first prediction. Small weights are constants in it: then TensorFlow also merges operations, such as a
batch normalization into the convolution before it. Once somebody has taken the Keras model, every prediction checks
that it is as it was; if its weights have changed, a graph that reads them at every call takes over. In all cases of
doubt Keras itself predicts: a model with custom objects, with layers that may count rows, or with changes in more than
its weights, and whatever no graph can hold.
"""

from __future__ import annotations

import math
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from kipoi.model import KerasModel

MOST_BYTES = 64 * 2**20  # the size up to which weights are held once more, as constants
FEW_OPERATIONS = 64  # so many are done before another thread has woken up
FIXED_ROWS = ("TimeDistributed", "Lambda")  # layers of Keras that may rely on a known number of rows

Parts: TypeAlias = list[tuple[Any, dict[str, Any]]]


class StitchedModel(KerasModel):
    """A Keras model, loaded from a file whose name may have no ending, as Kipoi downloads them.

    ``predict_on_batch`` gives what that of the Keras model gives, in types that files can hold, and takes the same.

    Attributes:
        keras_model: The Keras model.
        lean: Whether a graph predicts, and not Keras itself.
        predictor: Runs that graph; None until the first prediction.
        config: The configuration of the model when somebody first took it; None before.
        parts: The layers of the model, and their attributes, as they were last known to be right.
        trained: Whether its weights have changed since somebody took it.
    """

    keras_model: Any
    lean: bool
    predictor: Predictor | None
    config: Any
    parts: Parts
    trained: bool

    def __init__(
        self,
        weights: str,
        arch: str | None = None,
        custom_objects: str | None = None,
        backend: str | None = None,
        image_dim_ordering: str | None = None,
    ) -> None:
        super().__init__(with_suffix(weights), arch, custom_objects, backend, image_dim_ordering)
        # Custom objects may do anything, such as counting the rows.
        self.lean = not self.custom_objects

    def __reduce__(self) -> tuple[Any, ...]:
        # Kipoi imports this file in a way that pickle does not know; its own class predicts the same.
        own = ("keras_model", "lean", "predictor", "config", "parts", "trained")
        others = {name: value for name, value in vars(self).items() if name not in own}
        return object.__new__, (KerasModel,), {**others, "model": self.keras_model}

    @property
    def model(self) -> Any:
        """The Keras model. Whoever takes it may change it, so from then on every prediction checks that."""
        if self.lean and self.config is None:
            self.parts, self.config = parts_of(self.keras_model), config_of(self.keras_model)
            self.lean = self.config is not None
        return self.keras_model

    @model.setter
    def model(self, model: Any) -> None:
        # It may hold anything, so Keras itself predicts.
        self.keras_model, self.lean, self.trained = model, False, False
        self.predictor, self.config, self.parts = None, None, []

    def predict_on_batch(self, x: Any) -> Any:
        """Predict a batch.

        Args:
            x: Arrays of shape (rows, ...): one, a list in the order of the model's inputs, or a dict by their names.

        Returns:
            Arrays of shape (rows, ...), one or a dict by name, as the model has its outputs; bfloat16 as float32, which
            Kipoi's files can hold.
        """
        return storable(self.predicted(x))

    def predicted(self, x: Any) -> Any:
        """Returns what the Keras model predicts for a batch."""
        # Keras has more ways to take data, and messages for what it does not take.
        arrays = arranged(x, self.keras_model.inputs) if self.lean and self.is_known() else None
        predictor = self.predictor
        if arrays is not None and predictor is not None:
            return predictor(arrays)
        with warnings.catch_warnings():
            # Keras says of every model within a model that it drops a mask, heeded there or not.
            warnings.filterwarnings("ignore", message=r"(?s).*was passed an input with a mask", category=UserWarning)
            return self.keras_model.predict_on_batch(x) if arrays is None else self.first_predicted(x, arrays)

    def first_predicted(self, x: Any, arrays: list[np.ndarray]) -> Any:
        """Returns the same, with a graph that is made for it and kept, where one works."""
        for make in (live,) if self.trained else (frozen, live):
            try:
                predictor = make(self.keras_model)
                found = None if predictor is None else predictor(arrays)
            except Exception:  # what cannot be in a graph: a table, code that is not TensorFlow
                continue
            if found is not None:
                self.predictor = predictor
                return found
        found = self.keras_model.predict_on_batch(x)
        self.lean = False  # the graph does not work, not this batch
        return found

    def is_known(self) -> bool:
        """Whether the model is as it was loaded, except for its weights; drops a predictor that is out of date."""
        if self.config is None:
            return True
        if self.predictor is not None and not self.predictor.is_current():
            self.predictor, self.trained = None, True
        if not has_parts(self.keras_model, self.parts):
            # Something was set, as by training or freezing. A new graph is right if the model is the same for Keras.
            self.parts, self.predictor = parts_of(self.keras_model), None
            self.lean = config_of(self.keras_model) == self.config
        return self.lean


class Predictor:
    """Predicts by a graph.

    Args:
        run: Returns the predictions for arrays, one for each input.
        variables: The weights that are constants in the graph.
        values: Their values there.
    """

    def __init__(
        self, run: Callable[[list[np.ndarray]], Any], variables: Sequence[Any] = (), values: Sequence[np.ndarray] = ()
    ) -> None:
        self.run, self.variables, self.values = run, variables, values
        self.read: Callable[[], Sequence[Any]] | None = None

    def __call__(self, arrays: list[np.ndarray]) -> Any:
        """Returns the predictions for arrays, one for each input."""
        return self.run(arrays)

    def is_current(self) -> bool:
        """Whether the constants are the weights as they are now."""
        if not self.variables:
            return True
        if self.read is None:
            self.read = reader_of(self.variables)
        return all(np.array_equal(own, now.numpy()) for own, now in zip(self.values, self.read(), strict=True))


def reader_of(variables: Sequence[Any]) -> Callable[[], Sequence[Any]]:
    """Returns a function that reads all variables in one call, which is faster than one by one."""
    import tensorflow as tf

    def read() -> list[Any]:
        return [tf.convert_to_tensor(variable.value) for variable in variables]

    function: Callable[[], Sequence[Any]] = tf.function(read, autograph=False).get_concrete_function()
    return function


def config_of(model: Any) -> Any:
    """Returns the configuration of a model as plain data; None if it has none."""
    import keras

    try:
        return keras.saving.serialize_keras_object(model.get_config())
    except Exception:  # code of layers
        return None


def parts_of(model: Any) -> Parts:
    """Returns all layers of a model, each with its attributes."""
    return [(layer, dict(vars(layer))) for layer in model._flatten_layers()]


def has_parts(model: Any, parts: Parts) -> bool:
    """Whether a model has the same layers with the same objects as attributes; the values of weights may differ."""
    layers = list(model._flatten_layers())
    if len(layers) != len(parts):
        return False
    for layer, (known, attributes) in zip(layers, parts, strict=True):
        own = vars(layer)
        if layer is not known or len(own) != len(attributes):
            return False
        for name, value in attributes.items():
            if own.get(name) is not value:
                return False
    return True


def arranged(x: Any, inputs: Sequence[Any]) -> list[np.ndarray] | None:
    """Returns an array for each input, of its dtype; None if x is anything else."""
    if isinstance(x, dict):
        x = [x.get(tensor.name) for tensor in inputs] if len(x) == len(inputs) else ()
    elif not isinstance(x, list | tuple):
        x = [x]
    if len(x) != len(inputs):
        return None
    arrays = []
    for given, tensor in zip(x, inputs, strict=True):
        if not isinstance(given, np.ndarray) or given.ndim != len(tensor.shape) or len(given) != len(x[0]):
            return None
        if any(size not in (None, own) for size, own in zip(tensor.shape, given.shape, strict=True)):
            return None
        try:
            arrays.append(given.astype(tensor.dtype, casting="same_kind", copy=False))
        except TypeError:  # as for numbers where the model takes texts
            return None
    return arrays


def live(model: Any) -> Predictor | None:
    """Returns a function of arrays that reads the model's weights at every call; None if layers may count rows."""
    if not takes_any_rows(model):
        return None
    import tensorflow as tf

    given = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]

    def call(*tensors: Any) -> Any:
        return model(taken_by(model, tensors), training=False)

    function = tf.function(call, given, autograph=False)
    made: list[Any] = []

    def predict(arrays: list[np.ndarray]) -> Any:
        if not made:
            made.append(function.get_concrete_function())
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), made[0](*map(tf.convert_to_tensor, arrays)))

    return Predictor(predict)


def frozen(model: Any) -> Predictor | None:
    """Returns a function of arrays in which the weights are constants; None if that does not pay."""
    if not takes_any_rows(model):
        return None
    import tensorflow as tf

    weights = [*model.trainable_variables, *model.non_trainable_variables]
    size = sum(math.prod(weight.shape) * tf.as_dtype(weight.dtype).size for weight in weights)
    if size > MOST_BYTES or tf.config.list_physical_devices("GPU"):
        return None
    values = [weight.numpy() for weight in weights]
    with tf.Graph().as_default() as graph:
        constants = [tf.constant(value) for value in values]
        split = len(model.trainable_variables)
        given = [tf.compat.v1.placeholder(tensor.dtype, (None, *tensor.shape[1:])) for tensor in model.inputs]
        x = taken_by(model, given)
        found, after = model.stateless_call(constants[:split], constants[split:], x, training=False)
        # An output may be an input, which cannot be asked for.
        outputs = [tf.identity(tensor) for tensor in tf.nest.flatten(found)]
    # A model that changes while it predicts, such as one that draws random numbers, has to keep the change.
    if any(tensor is not constant for tensor, constant in zip(after, constants[split:], strict=True)):
        return None
    run = callable_of(tf, graph, given, outputs)

    def predict(arrays: list[np.ndarray]) -> Any:
        # An output that is an input, reshaped or not, would be the caller's own memory.
        flat = [
            array.copy() if any(np.may_share_memory(array, own) for own in arrays) else array for array in run(*arrays)
        ]
        return tf.nest.pack_sequence_as(found, flat) if isinstance(found, dict | list | tuple) else flat[0]

    return Predictor(predict, weights, values)


def takes_any_rows(model: Any) -> bool:
    """Whether a graph with an open number of rows gives what the model gives: Keras' own layers, on TensorFlow."""
    import keras

    # The layers inside others, too, for which Keras has no public name.
    kinds = {type(layer) for layer in model._flatten_layers()}
    own = all(kind.__module__.startswith("keras.") and kind.__name__ not in FIXED_ROWS for kind in kinds)
    return bool(own and keras.backend.backend() == "tensorflow")


def taken_by(model: Any, tensors: Sequence[Any]) -> Any:
    """Returns tensors, given in the order of the inputs, in the form that a model takes: one, a list, or a dict."""
    import keras

    one = model.inputs[0]  # for a Sequential, which does not always have the attribute input
    return keras.tree.pack_sequence_as(getattr(model, "input", one), list(tensors))


def callable_of(tf: Any, graph: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., Any]:
    """Returns a function that runs a graph; a small graph runs in the thread that calls it."""
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    options = CallableOptions(feed=[tensor.name for tensor in inputs], fetch=[tensor.name for tensor in outputs])
    if len(graph.get_operations()) <= FEW_OPERATIONS:
        options.run_options.inter_op_thread_pool = -1
    threads = tf.config.threading
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
    )
    # tf.keras ran graphs this way, too; Session.run takes ten times as long for a small one.
    run: Callable[..., Any] = tf.compat.v1.Session(graph=graph, config=config)._make_callable_from_options(options)
    return run


def storable(found: Any) -> Any:
    """Returns predictions, with those of types that NumPy itself does not have, such as bfloat16, as float32."""
    if isinstance(found, dict):
        return {name: storable(array) for name, array in found.items()}
    if isinstance(found, list | tuple):
        return type(found)(map(storable, found))
    return found.astype("float32") if isinstance(found, np.ndarray) and found.dtype.kind == "V" else found


def with_suffix(name: str) -> str:
    """Returns a name for the same file that ends as Keras expects; creates it if there is none."""
    path = Path(os.path.abspath(name))
    with path.open("rb") as file:
        suffix = ".keras" if file.read(2) == b"PK" else ".h5"
    if path.name.endswith((suffix, ".hdf5")):
        return str(path)
    # Created under a unique name and renamed, as several processes may do this at once.
    made, wanted = Path(f"{path}.{uuid.uuid4().hex}"), f"{path}{suffix}"
    try:
        made.symlink_to(path.name)
    except OSError:
        shutil.copyfile(path, made)
    made.replace(wanted)
    return wanted
