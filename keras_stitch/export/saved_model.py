"""A Keras model as a TensorFlow SavedModel: written by Keras, run by TensorFlow alone in a process of its own."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from pathlib import Path

import keras

from keras_stitch.errors import SaveError, StitchError, reason
from keras_stitch.verify.fresh_process import Arrays, Job

FILE = "saved_model.pb"

# What a SavedModel may hold.
PARTS = frozenset({FILE, "variables", "assets", "fingerprint.pb"})

# Only its path: importing it would import TensorFlow.
_PROGRAM = Path(__file__).with_name("run_saved_model.py")


def check_possible(model: keras.Model) -> None:
    """Raise where TensorFlow has no signature: inputs are arguments to it, and case makes no difference."""
    seen: dict[str, str] = {}
    for name in model.input:
        if name == "self" or keyword.iskeyword(name):
            raise SaveError(
                f"A SavedModel cannot have an input '{name}': TensorFlow makes it an argument of a Python function, "
                "and Python needs that word.",
                fix="Rename it, graph.add_input(...), or export the model as ONNX.",
            )
        if name.lower() in seen:
            raise SaveError(
                f"A SavedModel cannot have the inputs '{seen[name.lower()]}' and '{name}': to TensorFlow, that is one "
                "name.",
                fix="Rename one of them, graph.add_input(...), or export the model as ONNX.",
            )
        seen[name.lower()] = name


def write(model: keras.Model, path: Path) -> None:
    """Fill a folder with a model of named inputs and outputs, the names in ``serve`` and ``serving_default``."""
    signature = [{name: keras.InputSpec(shape=it.shape, dtype=it.dtype, name=name) for name, it in model.input.items()}]
    model.export(str(path), format="tf_saved_model", verbose=False, input_signature=signature)


def run(path: Path, sets: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """What TensorFlow predicts with a SavedModel for every kind of inputs, in a fresh process."""
    with Job(path, sets) as job:
        job.start(_PROGRAM)
        status, said = job.wait()
        report = job.report()
        error = report["error"] if report is not None else f"it ended: status {status}, {said}"
        if error is not None:
            raise StitchError(
                "TensorFlow alone cannot run the exported model.",
                received=reason(ValueError(error)),
                fix="Nothing was written.",
            )
        return job.predictions()
