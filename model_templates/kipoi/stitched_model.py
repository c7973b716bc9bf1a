"""The Keras model of this directory, and a short way to its predictions.

Keras' own call takes longer than the work of a small model. Here the model is one TensorFlow graph for batches of any
size, made at the first prediction. Its weights are constants in it where they are small: then TensorFlow also merges
operations, such as a batch normalization into the convolution before it. Whatever is in doubt is left to Keras: a model
with custom objects or with layers that may count rows, and what no graph can hold.
"""

import math
import os
import shutil
import uuid

import numpy as np
from kipoi.model import KerasModel

MOST_BYTES = 64 * 2**20  # of weights that are held once more, as constants
FEW_OPERATIONS = 64  # which are done before another thread has woken up
FIXED_ROWS = ("TimeDistributed", "Lambda")  # layers of Keras that may count on the number of rows being known


class StitchedModel(KerasModel):
    """A Keras model, loaded from a file whose name may have no ending, as Kipoi downloads them.

    ``predict_on_batch`` gives what that of the Keras model gives, and takes the same.
    """

    def __init__(self, weights, arch=None, custom_objects=None, backend=None, image_dim_ordering=None):
        super().__init__(with_suffix(weights), arch, custom_objects, backend, image_dim_ordering)
        # Custom objects may do anything, such as counting the rows.
        self.lean, self.predictor = not self.custom_objects, None

    def __reduce__(self):
        # Kipoi imports this file in a way that pickle does not know; its own class predicts the same.
        others = {name: it for name, it in vars(self).items() if name not in ("keras_model", "lean", "predictor")}
        return object.__new__, (KerasModel,), {**others, "model": self.keras_model}

    @property
    def model(self):
        """The Keras model. Whoever takes or sets it may train it: from then on, Keras itself predicts."""
        self.lean, self.predictor = False, None
        return self.keras_model

    @model.setter
    def model(self, model):
        self.keras_model, self.lean, self.predictor = model, False, None

    def predict_on_batch(self, x):
        """Predict a batch.

        Args:
            x: Arrays of shape (rows, ...): one, a list in the order of the model's inputs, or a dict by their names.

        Returns:
            Arrays of shape (rows, ...), one or a dict by name, as the model has its outputs.
        """
        # Keras has more ways to take data, and messages for what it does not take.
        arrays = arranged(x, self.keras_model.inputs) if self.lean else None
        if arrays is None:
            return self.keras_model.predict_on_batch(x)
        predictor = self.predictor  # another thread may take the model meanwhile
        if predictor is not None:
            return predictor(arrays)
        for make in (frozen, live):
            try:
                predictor = make(self.keras_model)
                found = None if predictor is None else predictor(arrays)
            except Exception:  # whatever cannot be in a graph: a table, code that is no TensorFlow
                continue
            if found is not None:
                self.predictor = predictor
                return found
        found = self.keras_model.predict_on_batch(x)
        self.lean = False  # it is the graph, and not the batch, that does not work
        return found


def arranged(x, inputs):
    """Returns an array for each input, of its dtype, or None where x is not plainly that."""
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


def live(model):
    """Returns a function of arrays that reads the model's weights at every call, or None where rows are counted."""
    if not takes_any_rows(model):
        return None
    import tensorflow as tf

    given = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]

    def call(*tensors):
        return model(taken_by(model, tensors), training=False)

    function = tf.function(call, given, autograph=False)
    made = []

    def predict(arrays):
        if not made:
            made.append(function.get_concrete_function())
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), made[0](*map(tf.convert_to_tensor, arrays)))

    return predict


def frozen(model):
    """Returns a function of arrays in which the weights are constants, or None where that does not pay."""
    if not takes_any_rows(model):
        return None
    import tensorflow as tf

    weights = [*model.trainable_variables, *model.non_trainable_variables]
    size = sum(math.prod(weight.shape) * tf.as_dtype(weight.dtype).size for weight in weights)
    if size > MOST_BYTES or tf.config.list_physical_devices("GPU"):
        return None
    arrays = [weight.numpy() for weight in weights]
    with tf.Graph().as_default() as graph:
        constants = [tf.constant(array) for array in arrays]
        split = len(model.trainable_variables)
        given = [tf.compat.v1.placeholder(tensor.dtype, (None, *tensor.shape[1:])) for tensor in model.inputs]
        x = taken_by(model, given)
        found, after = model.stateless_call(constants[:split], constants[split:], x, training=False)
        # An output may be an input, which cannot be asked for.
        outputs = [tf.identity(tensor) for tensor in tf.nest.flatten(found)]
    # A model that changes while it predicts, such as one that draws random numbers, has to keep what it changed.
    if any(tensor is not constant for tensor, constant in zip(after, constants[split:], strict=True)):
        return None
    run = callable_of(tf, graph, given, outputs)

    def predict(arrays):
        # What is an input, reshaped or not, comes back in the caller's own memory.
        flat = [
            array.copy() if any(np.may_share_memory(array, own) for own in arrays) else array for array in run(*arrays)
        ]
        return tf.nest.pack_sequence_as(found, flat) if isinstance(found, dict | list | tuple) else flat[0]

    return predict


def takes_any_rows(model):
    """Whether a graph with an open number of rows is that of the model: of layers of Keras' own, on TensorFlow."""
    import keras

    # The layers inside others, too, for which Keras has no public name.
    kinds = {type(layer) for layer in model._flatten_layers()}
    own = all(kind.__module__.startswith("keras.") and kind.__name__ not in FIXED_ROWS for kind in kinds)
    return own and keras.backend.backend() == "tensorflow"


def taken_by(model, tensors):
    """Returns tensors, in the order of the inputs, as a model was made to take them: one, a list, or a dict."""
    import keras

    one = model.inputs[0]  # of a Sequential, which does not always have an input
    return keras.tree.pack_sequence_as(getattr(model, "input", one), list(tensors))


def callable_of(tf, graph, inputs, outputs):
    """Returns a function that runs a graph; a small one in the thread that calls it."""
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    options = CallableOptions(feed=[tensor.name for tensor in inputs], fetch=[tensor.name for tensor in outputs])
    if len(graph.get_operations()) <= FEW_OPERATIONS:
        options.run_options.inter_op_thread_pool = -1
    threads = tf.config.threading
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
    )
    # What tf.keras, too, runs graphs by; Session.run takes ten times as long for a small one.
    return tf.compat.v1.Session(graph=graph, config=config)._make_callable_from_options(options)


def with_suffix(path):
    """Returns a name for the same file that ends as Keras expects, and makes it where there is none."""
    path = os.path.abspath(path)
    with open(path, "rb") as file:
        suffix = ".keras" if file.read(2) == b"PK" else ".h5"
    if path.endswith((suffix, ".hdf5")):
        return path
    # Made under a name of its own and renamed: several processes may do this at once.
    made = f"{path}.{uuid.uuid4().hex}"
    try:
        os.symlink(os.path.basename(path), made)
    except OSError:
        shutil.copyfile(path, made)
    os.replace(made, path + suffix)
    return path + suffix
