"""What runs a Kipoi model: Keras, another framework, or a class of its own."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.files.read_files import is_file
from keras_stitch.kipoi.named_files import gone
from keras_stitch.kipoi.templates import STITCHED_MODEL, template_module

# What Kipoi's old names of frameworks stand for.
OLD_TYPES = {
    "keras": "kipoi.model.KerasModel",
    "sklearn": "kipoi.model.SklearnModel",
    "pytorch": "kipoi.model.PyTorchModel",
    "tensorflow2": "kipoi.model.TensorFlow2Model",
}

_KINDS = {
    "kipoi.model.KerasModel": "keras",
    STITCHED_MODEL: "keras",  # its class predicts what its Keras model predicts
    "kipoi.model.SklearnModel": "scikit-learn",
    "kipoi.model.PyTorchModel": "pytorch",
    "kipoi.model.OldPyTorchModel": "pytorch",
    "kipoi.model.TensorFlow2Model": "tensorflow",
}

_BASES = (("SklearnModel", "scikit-learn"), ("PyTorchModel", "pytorch"), ("TensorFlow2Model", "tensorflow"))


# -- what a directory has ---------------------------------------------------------------------------------------
def framework_of(label: str, directory: Path, description: Any, *, load: bool = True) -> str:
    """What runs a model, one of ``spec.FRAMEWORKS``.

    Without ``load``, its own class is not imported, which may need packages that are not installed.

    Raises:
        SourceError: When Kipoi could not run it, or would break all other models by running it.
    """
    kind = description.defined_as or description.type or "nothing"
    known = OLD_TYPES.get(kind, kind)
    if known in _KINDS:
        return _KINDS[known]
    if kind in ("tensorflow", "kipoi.model.TensorFlowModel"):
        raise SourceError(
            f"The model of '{label}' is a graph of TensorFlow 1, for which Kipoi switches TensorFlow 2 off everywhere.",
            expected="kipoi.model.TensorFlow2Model, or another of Kipoi's classes",
            received=kind,
            fix="Save it with tf.saved_model.save and describe it as kipoi.model.TensorFlow2Model.",
        )
    if description.type == "custom" and not description.defined_as:
        file, name = str(description.args.get("file")), str(description.args.get("object"))
        if not is_file(directory / file):
            raise gone(label, "file", file)
    elif kind.startswith("kipoi.model.") or "." not in kind:
        raise SourceError(
            f"The model of '{label}' is nothing that Kipoi runs.",
            expected="defined_as: kipoi.model.KerasModel, SklearnModel, PyTorchModel or TensorFlow2Model, or a class "
            "in the directory",
            received=kind,
        )
    else:
        module, _, name = kind.partition(".")
        file = f"{module}.py"
    if not load:
        return "kipoi"
    found, kinds = _class(label, directory / file, kind, name), _model_kinds()
    if not inspect.isclass(found) or not issubclass(found, kinds.BaseModel):
        raise SourceError(
            f"The model class of '{label}' is none of Kipoi's.",
            expected="a subclass of kipoi.model.BaseModel",
            received=kind if kind != "custom" else name,
        )
    if issubclass(found, kinds.KerasModel):
        same = getattr(found, "predict_on_batch", None) is kinds.KerasModel.predict_on_batch
        return "keras" if same and kind != "custom" else "kipoi"
    return next((name for base, name in _BASES if issubclass(found, getattr(kinds, base))), "kipoi")


def _model_kinds() -> ModuleType:
    return template_module("kipoi.merging.model_kinds")


def _class(label: str, file: Path, kind: str, name: str) -> Any:
    try:
        if is_file(file):
            return template_module("kipoi.merging.python_files").load_object(file, name)
        return getattr(importlib.import_module(kind.rpartition(".")[0]), kind.rpartition(".")[2])
    except Exception as error:  # whatever the module does
        raise SourceError(
            f"The model class of '{label}' cannot be loaded.",
            received=f"{type(error).__name__}: {error}",
            fix=to_install(str(error)),
        ) from error


def to_install(text: str) -> str | None:
    """What to do about an error that says which module is missing; ``None`` for any other text."""
    missing = re.search(r"No module named '([\w.]+)'", text)
    return f"Install what '{missing[1]}' is a part of." if missing else None
