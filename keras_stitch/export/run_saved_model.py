"""Loads a SavedModel with TensorFlow alone and predicts: a program of its own, without Keras' layers.

``python run_saved_model.py FOLDER`` reads ``job.json`` (``model``, a path; ``sets``, names of sets of inputs) and
``inputs.npz`` (arrays under ``set/input``) in the folder, and leaves ``predictions.npz`` (arrays under ``set/output``)
and ``report.json`` there.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def main(folder: Path) -> None:
    """Predict every set of inputs by the signature ``serving_default``."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {"error": None}
    predictions: dict[str, Any] = {}
    try:
        signature = tf.saved_model.load(job["model"]).signatures["serving_default"]
        wanted = signature.structured_input_signature[1]
        with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
            for kind in job["sets"]:
                given = {name: tf.constant(stored[f"{kind}/{name}"]) for name in wanted}
                made = signature(**{name: tf.cast(value, wanted[name].dtype) for name, value in given.items()})
                predictions |= {f"{kind}/{name}": _plain(value.numpy()) for name, value in made.items()}
    except Exception as error:  # whatever TensorFlow raises
        report["error"] = f"{type(error).__name__}: {error}"
    np.savez(folder / "predictions.npz", **predictions)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of a dtype that NumPy itself has."""
    if array.dtype.kind == "O":
        return array.astype("S")
    return array.astype("float32") if array.dtype.kind == "V" else array


if __name__ == "__main__":
    gc.freeze()  # else Python takes a second at the end to look for garbage in all of TensorFlow
    main(Path(sys.argv[1]))
