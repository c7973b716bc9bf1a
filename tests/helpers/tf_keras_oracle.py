"""What Keras 2 predicts with saved files: ``python tf_keras_oracle.py JOBS.json``, in a process without Keras 3.

``JOBS.json`` holds a list of jobs: ``model`` is the file, ``arrays`` the ``.npz`` file to write, ``length`` the size
that stands for open dimensions of the inputs. Where the file holds weights only, ``arch`` is the architecture JSON;
with ``made``, it is written first of all, by ``published_models``, from which the layers for ``custom`` come, too.
Each ``.npz`` gets ``input0``, ``input1``, ..., how they were made as ``wanted``, in JSON, and ``output0``, ``output1``,
..., or, where Keras 2 itself cannot load or run the file, ``error``. Inputs are the same each time; ``rows`` is how
many. With ``float64``, there are ``float64 output0``, ... as well: what the same model predicts in float64.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import published_models
import tensorflow as tf
import tf_keras
from float64 import in_float64
from keras2_on_cpu import make_no_gpu_twins
from seeded_inputs import Wanted, make_inputs


class GRU(tf_keras.layers.GRU):
    """A GRU as it was before Keras 2.1.5: files that do not say ``reset_after`` mean False, tf_keras takes True."""

    @classmethod
    def from_config(cls, config: dict) -> GRU:
        """The layer that an old file means."""
        return super().from_config({"reset_after": False, **config})


class MaxPooling2D(tf_keras.layers.MaxPooling2D):
    """TensorFlow pools ``channels_first`` on a CPU with oneDNN only; here the channels are last meanwhile."""

    def call(self, inputs):
        """The pooled images, in the layout that they have."""
        if self.data_format == "channels_last":
            return super().call(inputs)
        size, strides, padding = self.pool_size, self.strides, self.padding.upper()
        return tf.transpose(tf.nn.max_pool2d(tf.transpose(inputs, (0, 2, 3, 1)), size, strides, padding), (0, 3, 1, 2))


def main(jobs: list[dict]) -> None:
    """Runs the jobs one after another."""
    for job in jobs:
        if job.get("made"):
            part = Path(f"{job['arch']}.part")
            part.write_text(published_models.architecture(job["made"], tf_keras).to_json(), encoding="utf-8")
            part.replace(job["arch"])
            tf_keras.backend.clear_session()
    for job in jobs:
        arrays = Path(job["arrays"])
        try:
            found = predict(job)
        except Exception as error:
            found = {"error": np.array(f"{type(error).__name__}: {error}")}
        tf_keras.backend.clear_session()
        part = arrays.with_suffix(".part.npz")
        np.savez(part, **found)
        part.replace(arrays)


def load(job: dict) -> tf_keras.Model:
    """The model of a job."""
    known = {"GRU": GRU, "MaxPooling2D": MaxPooling2D}
    if job.get("custom"):
        known |= published_models.custom_layers(tf_keras)
    if not job.get("arch"):
        return tf_keras.models.load_model(job["model"], custom_objects=known, compile=False)
    model = tf_keras.models.model_from_json(Path(job["arch"]).read_text(encoding="utf-8"), custom_objects=known)
    model.load_weights(job["model"])
    return model


def predict(job: dict) -> dict[str, np.ndarray]:
    """Seeded inputs that fit the model, and what it makes of them."""
    path, rows, length = Path(job["model"]), job.get("rows", 2), job.get("length", 256)
    model = load(job)
    made = [wanted(tensor, users(model, tensor), rows, length) for tensor in model.inputs]
    inputs = make_inputs(path.name, made)
    # A compiled function is worth its making only where there are many steps.
    recurrent = any(isinstance(layer, tf_keras.layers.RNN) for layer in model._flatten_layers())
    compiled = recurrent and inputs[0].shape[1] > 100
    outputs = model.predict_on_batch(inputs) if compiled else model(inputs, training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    found = {"wanted": np.array(json.dumps([each.to_json() for each in made]))}
    found |= {f"input{number}": array for number, array in enumerate(inputs)}
    found |= {f"output{number}": np.asarray(array) for number, array in enumerate(outputs)}
    if job.get("float64"):
        exact = tf.nest.flatten(in_float64(model, inputs))
        found |= {f"float64 output{number}": np.asarray(value) for number, value in enumerate(exact)}
    return found


def users(model: tf_keras.Model, tensor) -> list[tf_keras.layers.Layer]:
    """The layers that read an input."""
    name = tensor.node.layer.name
    return [
        node.layer
        for layer in model.layers
        for node in layer.inbound_nodes
        if any(parent.layer.name == name for parent in node.parent_nodes)
    ]


def wanted(tensor, readers: list, rows: int, length: int) -> Wanted:
    """How the numbers for one input are made."""
    shape = (rows, *(length if size is None else size for size in tensor.shape[1:]))
    inner = [layer for reader in readers for layer in reader._flatten_layers()]
    vocabularies = [layer.input_dim for layer in inner if isinstance(layer, tf_keras.layers.Embedding)]
    if vocabularies:
        return Wanted(shape, "indices", min(vocabularies))
    if len(shape) == 3 and shape[-1] == 4:
        return Wanted(shape, "bases")
    return Wanted(shape, "beats" if len(shape) == 4 else "normal")


if __name__ == "__main__":
    make_no_gpu_twins()
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
