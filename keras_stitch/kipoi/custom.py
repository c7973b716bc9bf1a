"""Custom objects of the parts: the file that Kipoi loads them from, and a refusal of those that no file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_stitch.errors import SaveError, StitchError
from keras_stitch.kipoi.reading import KipoiPart

FILE = "model_files/custom_objects.py"
_MODULES = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")


def find_file(model: keras.Model, parts: Mapping[str, KipoiPart]) -> Path | None:
    """The file with all custom objects of a model; ``None`` where it has none.

    Args:
        model: The model to save: its layers are the submodels.
        parts: For submodels that came from Kipoi directories, what was read there.

    Raises:
        SaveError: When a custom object is in no such file, so that nobody else could load the model.
        StitchError: When there would have to be several files.
    """
    files: dict[str, Path] = {}
    for layer in model.layers:
        part = parts.get(layer.name)
        try:
            config = keras.saving.serialize_keras_object(layer)
        except Exception:  # a layer without a config: Keras will say so when it saves the model
            continue
        for path, name in _custom(config):
            if part is None or part.custom_objects_file is None or not _covered(name, part.custom_objects):
                inner = "" if path == layer.name else f", in its layer '{path.removeprefix(layer.name + '/')}'"
                raise SaveError(
                    f"The submodel '{layer.name}' needs '{name}'{inner}, which is not in Keras: whoever downloads the "
                    "directory could not load it.",
                    expected="classes and functions of Keras, or of the file that a Kipoi directory names for them",
                    fix="Put the submodel into a Kipoi directory whose model.yaml says args: custom_objects: <file>, "
                    "a Python file with a dict OBJECTS, and add that directory.",
                )
            files[layer.name] = part.custom_objects_file
    if len({file.read_bytes() for file in files.values()}) > 1:
        raise StitchError(
            f"The submodels {' and '.join(files)} have custom objects in different files, and Kipoi takes one.",
            received=", ".join(f"'{file.parent.name}/{file.name}'" for file in files.values()),
            fix="Put all of their OBJECTS into one file, and let each of the directories have a copy of it.",
        )
    return next(iter(files.values()), None)


def _custom(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The layer's path and the registered name of all that is not Keras' own in what Keras would save."""
    if isinstance(config, list | tuple):
        for item in config:
            yield from _custom(item, path)
    elif isinstance(config, dict):
        kind, inner = config.get("class_name"), config.get("config")
        if kind is not None and isinstance(inner, dict) and isinstance(inner.get("name"), str):
            path = f"{path}/{inner['name']}".lstrip("/")
        if kind == "__lambda__":
            yield path, "a Python lambda"
        elif kind == "function" and isinstance(inner, str):
            if not any(hasattr(getattr(keras, module, None), inner) for module in _MODULES):
                yield path, inner
        elif kind is not None and "module" in config and not _is_keras(config["module"]):
            yield path, config.get("registered_name") or kind
        for key, item in config.items():
            if key not in ("build_config", "compile_config", "inbound_nodes"):
                yield from _custom(item, path)


def _is_keras(module: str | None) -> bool:
    return module is not None and (module in ("keras", "builtins") or module.startswith("keras."))


def _covered(name: str, objects: Mapping[str, Any]) -> bool:
    return name in objects or any(keras.saving.get_registered_name(item) == name for item in objects.values())
