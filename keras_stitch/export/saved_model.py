"""A Keras model as a TensorFlow SavedModel: written by Keras, run by TensorFlow alone in a process of its own."""

from __future__ import annotations

import json
import keyword
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_stitch.errors import SaveError, StitchError, reason

Arrays = dict[str, np.ndarray[Any, Any]]


FILE = "saved_model.pb"


# What a SavedModel may hold.
PARTS = frozenset({FILE, "variables", "assets", "fingerprint.pb"})


# Only its path: importing it would import TensorFlow.
_PROGRAM = Path(__file__).with_name("run_saved_model.py")


def check_possible(model: keras.Model) -> None:
    """Raise where TensorFlow has no signature: inputs are arguments to it, and case makes no difference.

    Raises:
        SaveError: With the names.
    """
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
    """Write a model whose signatures, ``serve`` and ``serving_default``, have its own names.

    Args:
        model: It takes a dict by name and gives one; every tensor has shape ``(rows, ...)``.
        path: The folder to fill.
    """
    signature = [{name: keras.InputSpec(shape=it.shape, dtype=it.dtype, name=name) for name, it in model.input.items()}]
    model.export(str(path), format="tf_saved_model", verbose=False, input_signature=signature)


def run(path: Path, sets: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """What TensorFlow predicts with a SavedModel, in a fresh process.

    Args:
        path: The folder.
        sets: Kind of inputs -> input -> array of shape ``(rows, ...)``.

    Raises:
        StitchError: If TensorFlow cannot load or run it.
    """
    with tempfile.TemporaryDirectory(prefix="keras-stitch-") as holder:
        folder = Path(holder)
        job = {"model": str(path.absolute()), "sets": list(sets)}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        arrays = {f"{kind}/{name}": array for kind, named in sets.items() for name, array in named.items()}
        np.savez(folder / "inputs.npz", **arrays)
        said = start(folder)
        report = folder / "report.json"
        error = json.loads(report.read_text(encoding="utf-8"))["error"] if report.exists() else f"it ended: {said}"
        if error is not None:
            raise StitchError(
                "TensorFlow alone cannot run the exported model.",
                received=reason(ValueError(error)),
                fix="Nothing was written.",
            )
        found: dict[str, Arrays] = {kind: {} for kind in sets}
        with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
            for key in stored.files:
                kind, _, name = key.partition("/")
                found[kind][name] = stored[key]
        return found


def start(folder: Path) -> str:
    """Runs the job in a folder to its end; returns the last that the process said."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    # -P: no module of the working directory or beside the program is taken for a library's.
    done = subprocess.run(
        [sys.executable, "-P", str(_PROGRAM), str(folder)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"status {done.returncode}, {lines[-1][:300] if lines else 'no message'}"
