"""Loads the model of a Kipoi directory, as Kipoi does it; Kipoi itself is not needed."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from . import model_kinds
from .data_errors import problem
from .downloads import fetch, is_remote
from .kipoi_names import kipoi_names
from .neighbours import neighbours_first
from .python_files import load_object

# What Kipoi's old names of kinds stand for.
OLD_TYPES = {
    "keras": "KerasModel",
    "sklearn": "SklearnModel",
    "pytorch": "PyTorchModel",
    "tensorflow2": "TensorFlow2Model",
}
OF_KIPOI = "kipoi.model."
SAVED_MODEL = {"pb": "saved_model.pb", "index": "variables/variables.index"}


def load_model(folder: Path) -> Any:
    """Returns the model of a directory with a ``model.yaml``, which has ``predict_on_batch``.

    Args:
        folder: The directory. The model is made in it, as its code may open files by their names there; it may import
            its neighbours.
    """
    said = described(folder)
    downloads = folder.resolve() / "downloaded" / "model_files"
    with neighbours_first(folder.resolve()), kipoi_names(), in_folder(folder):
        args = {name: local(name, value, downloads) for name, value in (said.get("args") or {}).items()}
        if said.get("type") == "custom" and not said.get("defined_as"):
            return load_object(args["file"], args["object"])()
        return model_class(said)(**args)


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Makes a folder the current one for a while, as ``contextlib.chdir`` does in Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def described(folder: Path, kind: str = "model") -> dict[str, Any]:
    """Returns what ``model.yaml``, or the file of another kind, says."""
    for file in (folder / f"{kind}.yaml", folder / f"{kind}.yml"):
        if file.is_file():
            said: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
            return said
    raise problem(f"There is no {kind}.yaml in '{folder}'.")


def model_class(said: Mapping[str, Any]) -> Any:
    """Returns the class of the model that the ``model.yaml`` in this folder describes."""
    kind = str(said.get("type"))
    name = str(said.get("defined_as") or OF_KIPOI + OLD_TYPES.get(kind, kind))
    if name.startswith(OF_KIPOI):
        found = getattr(model_kinds, name.removeprefix(OF_KIPOI), None)
        if found is None:
            raise problem(
                f"The model is a {name}.",
                expected=" or ".join(f"{OF_KIPOI}{known}" for known in OLD_TYPES.values()),
            )
        return found
    stem, _, inner = name.partition(".")
    if Path(f"{stem}.py").is_file():
        return load_object(f"{stem}.py", inner)
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def local(name: str, value: Any, downloads: Path) -> Any:
    """Returns an argument of a model; a file that it names by a URL is downloaded."""
    if is_remote(value):
        return fetch(value, downloads / name / (value.get("md5") or "file"), f"The file {name!r} of the model")
    if name != "savedmodel_path" or not isinstance(value, Mapping):
        return value
    if not is_remote(value["pb"]):
        return str(Path(value["pb"]).parent)
    for key, remote in value.items():
        place = SAVED_MODEL.get(key, "variables/variables.data-00000-of-00001")
        fetch(remote, downloads / "sdm" / place, f"The file {key!r} of the model")
    return str(downloads / "sdm")
