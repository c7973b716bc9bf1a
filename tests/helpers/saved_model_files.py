"""Models of Keras 2 (``tf_keras``) as SavedModels: ``saved_model_files.py FOLDER PATTERN [--no-graphs|--checkpoints]``.

For every model of ``keras2_models``, ``operator_models`` (``operators.NAME``), ``nested_models`` (``nested.NUMBER``)
and here whose name matches, ``FOLDER`` gets the directory ``NAME``, with ``--old`` also ``NAME.old`` as TensorFlow 2.4
wrote it, and ``NAME.npz`` with ``input0``, ... and ``output0``, ...; ``index.json`` says of each why there is no
directory, or ``None``. Without the graphs, which nobody reads here, it takes a tenth of the time. With
``--checkpoints``, there are ``NAME.json``, the files of the checkpoint ``NAME.ckpt``, and ``NAME.weights.h5`` instead,
the last in the layout of Keras 2.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import h5py
import keras2_models
import nested_models
import numpy as np
import operator_models
import tensorflow as tf
import tf_keras
from keras2_on_cpu import make_no_gpu_twins
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata
from tf_keras.src.saving.legacy import hdf5_format

Made = tuple[tf_keras.Model, list[np.ndarray]]
NESTED = 24


class Subclass(tf_keras.Model):
    """A model whose layers only its code knows."""

    def __init__(self) -> None:
        super().__init__(name="subclass")
        self.dense = tf_keras.layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        """Twice what a layer makes of its input."""
        return self.dense(inputs) * 2.0


def subclass() -> Made:
    """A subclass that was called once."""
    inputs = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    model = Subclass()
    model(tf_keras.Input((4,)))
    return model, [inputs]


def compiled() -> Made:
    """A model with an optimizer that has taken a step, and metrics."""
    model, inputs = keras_2("Graph.nested", 7)
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(inputs, model(inputs) + 1.0, verbose=0)
    return model, inputs


def models() -> Iterator[tuple[str, Callable[[], Made]]]:
    """The names of the models, and what makes each with its inputs."""
    for seed, name in enumerate(keras2_models.MODELS):
        yield name, lambda name=name, seed=seed: keras_2(name, seed)
    for name in operator_models.MODELS:
        yield f"operators.{name}", lambda name=name: operators(name)
    for number in range(NESTED):
        yield f"nested.{number}", lambda number=number: nested(number)
    yield "Subclass", subclass
    yield "Compiled", compiled


def keras_2(name: str, seed: int) -> Made:
    """A model of ``keras2_models`` and its inputs."""
    tf_keras.utils.set_random_seed(seed)
    model = keras2_models.MODELS[name]()
    keras2_models.set_random_weights(model, seed)
    samples = [keras2_models.sample(x, seed + number) for number, x in enumerate(model.inputs)]
    return model, [keras2_models.tokens(model, x, data) for x, data in zip(model.inputs, samples, strict=True)]


def operators(name: str) -> Made:
    """The same of ``operator_models``."""
    tf_keras.utils.set_random_seed(zlib.crc32(name.encode()))
    model = operator_models.MODELS[name]()
    random = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = [random.normal(size=(3, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    if name.startswith("graph.masked"):
        inputs = [random.integers(0, 3, (3, 5)).astype("float32")]
    return model, inputs


def nested(seed: int) -> Made:
    """The same of ``nested_models``."""
    model, x = nested_models.made(tf_keras, seed)
    return model, [x]


def write(folder: Path, name: str, model: tf_keras.Model, inputs: list[np.ndarray], *, graphs: bool) -> None:
    """Write one model and what it predicts."""
    model.save(folder / name, save_format="tf", save_traces=graphs)
    write_rows(folder, name, model, inputs)


def write_checkpoint(folder: Path, name: str, model: tf_keras.Model, inputs: list[np.ndarray]) -> None:
    """The same as a checkpoint beside an architecture, and as a file of weights."""
    (folder / f"{name}.json").write_text(model.to_json())
    model.save_weights(folder / f"{name}.ckpt")
    with h5py.File(folder / f"{name}.weights.h5", "w") as file:
        hdf5_format.save_weights_to_hdf5_group(file, model)
    write_rows(folder, name, model, inputs)


def write_rows(folder: Path, name: str, model: tf_keras.Model, inputs: list[np.ndarray]) -> None:
    """Write inputs, and what a model predicts for them."""
    fed = [tf.constant(value) for value in inputs]
    structured = tf.nest.pack_sequence_as(model.input, fed) if model._is_graph_network else fed[0]
    outputs = keras2_models.flat(model(structured, training=False))
    arrays = {f"input{number}": array for number, array in enumerate(inputs)}
    np.savez(folder / f"{name}.npz", **arrays, **{f"output{number}": array for number, array in enumerate(outputs)})


def as_before_2_5(new: Path, old: Path) -> None:
    """Put what Keras says of its layers where TensorFlow 2.0 to 2.4 had it."""
    shutil.copytree(new, old)
    said = SavedMetadata.FromString((old / "keras_metadata.pb").read_bytes())
    saved = SavedModel.FromString((old / "saved_model.pb").read_bytes())
    for node in said.nodes:
        saved.meta_graphs[0].object_graph_def.nodes[node.node_id].user_object.metadata = node.metadata
    (old / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))
    (old / "keras_metadata.pb").unlink()


def main(folder: Path, pattern: str, *, graphs: bool, old: bool, checkpoints: bool) -> None:
    """Write all models whose name matches."""
    index: dict[str, str | None] = {}
    for name, make in models():
        if not re.fullmatch(pattern, name):
            continue
        tf_keras.backend.clear_session()
        try:
            if checkpoints:
                write_checkpoint(folder, name, *make())
            else:
                write(folder, name, *make(), graphs=graphs)
            index[name] = None
            if old:
                as_before_2_5(folder / name, folder / f"{name}.old")
        except Exception as error:
            index[name] = keras2_models.one_line(error)
    (folder / "index.json").write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    make_no_gpu_twins()
    said = sys.argv[3:]
    asked = {"graphs": "--no-graphs" not in said, "old": "--old" in said, "checkpoints": "--checkpoints" in said}
    main(Path(sys.argv[1]), sys.argv[2], **asked)
