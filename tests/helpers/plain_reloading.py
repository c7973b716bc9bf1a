"""What plain Keras 3 predicts with stitched models: ``python plain_reloading.py JOBS.json``, without keras_stitch.

``JOBS.json`` holds a list of jobs: ``model`` is the file, ``inputs`` an ``.npz`` file with ``input0``, ``input1``, ...,
and ``arrays`` the ``.npz`` file to write: the model's outputs by name, or, where Keras cannot load or run it,
``error``. With ``custom``, Keras is given the layers of ``published_models``. With ``float64``, the outputs of the same
model in float64 are there, too, as ``float64 NAME``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import published_models
from float64 import in_float64


def main(jobs: list[dict]) -> None:
    """Runs the jobs one after another."""
    for job in jobs:
        try:
            with np.load(job["inputs"]) as arrays:
                inputs = [arrays[name] for name in arrays.files if name.startswith("input")]
            known = published_models.custom_layers(keras) if job.get("custom") else None
            model = keras.saving.load_model(job["model"], compile=False, custom_objects=known)
            # A compiled function is worth its making only where there are many steps.
            recurrent = any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
            compiled = recurrent and inputs[0].shape[1] > 100
            outputs = model.predict_on_batch(inputs) if compiled else model(inputs, training=False)
            if not isinstance(outputs, dict):
                outputs = {"output": outputs}
            if job.get("float64"):
                outputs |= {f"float64 {name}": value for name, value in in_float64(model, inputs).items()}
            found = {name: np.asarray(value) for name, value in outputs.items()}
        except Exception as error:
            found = {"error": np.array(f"{type(error).__name__}: {error}")}
        keras.backend.clear_session()
        np.savez(job["arrays"], **found)


if __name__ == "__main__":
    gc.freeze()  # else each clear_session looks through all of TensorFlow
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
