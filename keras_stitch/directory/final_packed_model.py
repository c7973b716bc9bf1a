"""The last submodel as the model of a directory, where it is no Keras model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import keras

from keras_stitch import directory_layout as layout
from keras_stitch.files import load_yaml
from keras_stitch.kipoi.framework import OLD_TYPES
from keras_stitch.kipoi.run_kipoi import needs_neighbours
from keras_stitch.kipoi.templates import template_text


def describe_final(directory: Path, folder: str, files: Collection[str]) -> dict[str, Any]:
    """What ``model.yaml`` says about a packed model that is the model of the directory.

    Where it is a class of its own, or imports its neighbours, a short ``model.py`` makes it.

    Args:
        directory: The directory.
        folder: Where the model was written, as a path in the directory.
        files: The files of the model, as paths in its folder.
    """
    said = load_yaml(directory / folder / layout.MODEL_YAML)
    kind, args = said.get("defined_as") or OLD_TYPES.get(str(said.get("type"))), said.get("args", {})
    if kind is None:  # a class of the old kind, which takes nothing
        kind, args = f"{args['file'].removesuffix('.py')}.{args['object']}", {}

    def placed(value: Any) -> Any:
        named = isinstance(value, str) and any(value in (place, *_above(place)) for place in files)
        return f"{folder}/{value}" if named else value

    if kind.startswith("kipoi.model."):
        alone = keras.tree.map_structure(placed, _with_module_file(args, files))
        if not needs_neighbours(directory, kind, alone, files):
            return {"defined_as": kind, "args": alone}
    (directory / layout.MODEL_CODE).write_text(template_text("kipoi/packed_class.py"), encoding="utf-8")
    own = {"python_folder": folder, "python_class": kind}
    return {"defined_as": "model.PackedModel", "args": {**own, **keras.tree.map_structure(placed, args)}}


def _above(place: str) -> list[str]:
    """The folders that a file lies in."""
    return [parent.as_posix() for parent in PurePosixPath(place).parents][:-1]


def _with_module_file(args: Mapping[str, Any], files: Collection[str]) -> dict[str, Any]:
    """The arguments of a model of PyTorch with the file of its module, which may be part of the name of its class."""
    name = next((name for name in ("module_obj", "module_class") if args.get(name)), None)
    if name is None or args.get("module_file"):
        return dict(args)
    module, _, inner = args[name].partition(".")
    return {**args, name: inner, "module_file": f"{module}.py"} if f"{module}.py" in files else dict(args)
