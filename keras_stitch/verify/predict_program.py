"""Loads a saved model with Keras alone and predicts: run as a program of its own, it imports nothing of keras_stitch.

``python predict_program.py FOLDER`` reads ``job.json`` and ``inputs.npz`` in the folder and leaves
``predictions.npz`` and ``report.json`` there.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

# Keras imports them where they are installed, which takes a fifth of its start; None has it do without them.
_UNUSED = [name for name in ("matplotlib", "pandas", "sklearn") if __name__ == "__main__"]
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]
import keras  # noqa: E402

for _name in _UNUSED:
    del sys.modules[_name]

BATCH = 32


def main(folder: Path, model: Any = None) -> None:
    """Load the model that ``job.json`` names and predict every set of inputs.

    Args:
        folder: With ``job.json``: ``model`` (a path), ``sets`` (set -> names of its inputs, in the model's order),
            ``objects`` (custom objects: name -> ``place``, a module or Python file, ``name`` in it, and ``listed``:
            whether in its dict ``OBJECTS``), ``objects_file`` (such a file, all of it) and ``path`` (places to import
            from); and ``inputs.npz``: arrays of shape ``(rows, ...)`` under ``set/input``.
        model: The model, where it is loaded already.
    """
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {"loaded": False, "error": None, "errors": {}}
    predictions: dict[str, Any] = {}
    try:
        model = model or keras.saving.load_model(job["model"], custom_objects=_objects(job), compile=False)
        report["loaded"] = True
    except Exception as error:  # whatever Keras or a custom object raises
        report["error"] = f"{type(error).__name__}: {error}"
    with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        for kind, names in job["sets"].items() if report["loaded"] else ():
            try:
                found = predict(model, [inputs[f"{kind}/{name}"] for name in names])
                predictions |= {f"{kind}/{output}": value for output, value in found.items()}
            except Exception as error:
                report["errors"][kind] = f"{type(error).__name__}: {error}"
    np.savez(folder / "predictions.npz", **predictions)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def predict(model: Any, inputs: list[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of a stitched model by name, from inputs in its order; a single output is called ""."""
    batches = []
    with warnings.catch_warnings():
        # Keras says of every model within a model that it drops a mask, heeded there or not.
        warnings.filterwarnings("ignore", message=r"(?s).*was passed an input with a mask", category=UserWarning)
        for start in range(0, len(inputs[0]), BATCH):
            found = model([array[start : start + BATCH] for array in inputs], training=False)
            found = found if isinstance(found, dict) else {"": found}
            batches.append({name: plain(value) for name, value in found.items()})
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def plain(value: Any) -> np.ndarray[Any, Any]:
    """A tensor as an array of a dtype that NumPy itself has."""
    # A tensor of PyTorch that has a gradient, or lies on a GPU, is no array for NumPy alone.
    array = keras.ops.convert_to_numpy(value)
    if array.dtype.kind == "O":
        return array.astype("S")
    return array.astype("float32") if array.dtype.kind == "V" else array


def _objects(job: dict[str, Any]) -> dict[str, Any]:
    """The custom objects, by the names that the saved model has for them and by those they are registered under."""
    sys.path += [place for place in job["path"] if place not in sys.path]
    objects = dict(_names(job["objects_file"])["OBJECTS"]) if job["objects_file"] else {}
    for name, origin in job["objects"].items():
        names = _names(origin["place"])
        if origin["listed"]:
            objects[name] = names["OBJECTS"][origin["name"]]
        else:
            first, *inner = origin["name"].split(".")
            objects[name] = functools.reduce(getattr, inner, names[first])
    return {**{keras.saving.get_registered_name(item): item for item in objects.values()}, **objects}


@functools.cache
def _names(place: str) -> dict[str, Any]:
    """What a Python file or a module defines."""
    if place.endswith(".py"):
        return runpy.run_path(place, run_name="custom_objects")
    return vars(importlib.import_module(place))


if __name__ == "__main__":
    gc.freeze()  # else Python takes a second at the end to look for garbage in all of TensorFlow
    main(Path(sys.argv[1]))
