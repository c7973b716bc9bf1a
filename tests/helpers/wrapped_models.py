"""Toy models as models that Keras does not know: Kipoi directories with a class of their own around a Keras file.

So a graph with models of another framework has the same numbers as one that can be stitched whole.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import toy_models
import yaml
from toy_models import KINDS

MODEL = '''
"""A Keras model that nobody can take for one."""

import keras
from kipoi.model import BaseModel


class Wrapped(BaseModel):
    def __init__(self, file, inputs, outputs):
        self.model = keras.saving.load_model(file, compile=False)
        self.inputs, self.outputs = inputs, outputs

    def predict_on_batch(self, x):
        values = [x[name] for name in self.inputs] if isinstance(x, dict) else [x]
        given = values[0] if len(values) == 1 else values
        if isinstance(getattr(self.model, "input", None), dict):
            given = dict(zip(self.inputs, values, strict=True))
        made = self.model(given, training=False)
        if isinstance(made, dict):
            made = [made[name] for name in self.outputs]
        arrays = [keras.ops.convert_to_numpy(value) for value in (made if isinstance(made, (list, tuple)) else [made])]
        return arrays[0] if len(arrays) == 1 else dict(zip(self.outputs, arrays, strict=True))
'''


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="wrapped-models-")


@functools.cache
def wrapped(kind: str, seed: int) -> Path:
    """The Kipoi directory of a toy model, written once."""
    folder = Path(_folder().name) / f"{kind}{seed}"
    folder.mkdir()
    known = KINDS[kind]
    toy_models.save(toy_models.in_memory(kind, seed), folder / "model.keras")
    (folder / "model.py").write_text(MODEL)

    def schema(ports: list[tuple[str | None, Any]]) -> Any:
        arrays = {name: {"shape": str(tuple(shape)), "doc": "Numbers."} for name, shape in ports}
        if len(ports) > 1:
            return arrays
        ((name, array),) = arrays.items()
        return array if name is None else {"name": name, **array}

    description = {
        "defined_as": "model.Wrapped",
        "args": {
            "file": "model.keras",
            "inputs": [name for name, _, _ in known.inputs],
            "outputs": [name for name, _ in known.outputs],
        },
        "info": {"doc": f"A toy model, {kind}.", "authors": [{"name": "Ada"}]},
        "schema": {
            "inputs": schema([(name, shape) for name, shape, _ in known.inputs]),
            "targets": schema(list(known.outputs)),
        },
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder
