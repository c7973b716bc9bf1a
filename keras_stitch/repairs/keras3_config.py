"""The architecture in the form that Keras 3 writes, once every rule was applied; and what nothing here knows."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import FUNCTIONAL_MODULE
from keras_stitch.repairs import gone_layers
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    is_operation,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.shared_layers import ID

MODELS = {"Functional": FUNCTIONAL_MODULE, "Sequential": "keras"}

# What Keras 2 wrote beside the config of a layer, for itself: Keras 3 would look objects up by it, and build by it.
_OF_KERAS_2 = (ID, "build_config", "compile_config")

# The packages that Keras takes layers from by the module beside their name (keras.saving.deserialize_keras_object).
_PACKAGES_OF_KERAS = {"keras", "keras_hub", "keras_cv", "keras_nlp"}

_FUNCTIONS = {
    "activation": keras.activations,
    "recurrent_activation": keras.activations,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


def modernise(saved: Saved) -> None:
    """Say of every layer of Keras where it is to be found; custom ones are looked up by their names."""
    for _, layer in walk(saved.model):
        for key in _OF_KERAS_2 if saved.is_legacy else ():
            if key != ID or isinstance(layer.get(key), int):
                layer.pop(key, None)
        name = layer["class_name"]
        if is_operation(layer) or (not saved.is_legacy and layer.get("module")):
            continue
        if name in MODELS and is_model(layer):
            layer |= {"module": MODELS[name], "registered_name": name if name == "Functional" else None}
        elif _is_keras(name) and not saved.is_custom(layer):
            layer |= {"module": "keras.layers", "registered_name": None}
        elif saved.is_legacy:
            # Keras 3 looks custom objects up by this.
            layer.pop("module", None)
            layer["class_name"] = _known_as(name, saved)
        if saved.is_legacy and is_functional(layer):
            _count_ends(layer)
        if saved.is_legacy:
            _name_functions(layer["config"], saved)
        activation = layer["config"].get("activation")
        if isinstance(activation, dict) and _is_keras(activation.get("class_name", "")):
            activation.setdefault("module", "keras.layers")
            activation.setdefault("registered_name", None)


def _known_as(name: str, saved: Saved) -> str:
    """What a class of the user's is called here, with its package or without."""
    bare = name.split(">")[-1]
    alike = sorted(other for other in saved.custom if other.split(">")[-1] == bare)
    return next((wanted for wanted in (name, bare, *alike) if wanted in saved.custom), bare)


def _name_functions(config: dict[str, Any], saved: Saved) -> None:
    """Keras 3 reads a bare name as its own function, even where the user gave another of that name."""
    for key in ("activation", "recurrent_activation"):
        name = _function_name(config.get(key))
        if name in saved.custom and _resolves(keras.activations, name):
            config[key] = {"class_name": "function", "config": name, "module": None, "registered_name": name}


def _count_ends(model: Layer) -> None:
    """Keras 3 counts the calls of a functional model from 0 in nodes, and from 1 at the ends of the model around it."""
    functional = {name_of(inner) for inner in inner_layers(model) if is_functional(inner)}
    for key in ("input_layers", "output_layers"):
        for end in references(model["config"][key]):
            end[1] += end[0] in functional


def fit_arguments(saved: Saved) -> None:
    """Drop what says nothing among the arguments that Keras 3 does not take, and refuse the rest.

    Raises:
        SourceError: With the layer and the arguments.
    """
    for path, layer in walk(saved.model):
        config = layer["config"]
        if not _is_keras(layer["class_name"]) or is_operation(layer) or saved.is_custom(layer):
            continue
        taken = _taken(getattr(keras.layers, layer["class_name"]))
        odd = {key: value for key, value in config.items() if key not in taken}
        for key in odd:
            del config[key]
        telling = {key: value for key, value in odd.items() if value not in (None, False) and key != "trainable"}
        if telling:
            raise SourceError(
                f"The layer '{path}' ({layer['class_name']}) has arguments that Keras {keras.__version__} refuses.",
                received=", ".join(f"{key}={value!r}"[:200] for key, value in telling.items()),
                fix="If they do not matter, make the layer without them in the model that made the file, and save it.",
            )


@functools.cache
def _taken(layer: type[keras.Layer]) -> frozenset[str]:
    """The arguments of a class of Keras, those of its base where it hands others on."""
    parameters = inspect.signature(layer.__init__).parameters
    names = set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        bases = [base for base in layer.__bases__ if issubclass(base, keras.Layer)]
        names |= {name for base in bases for name in _taken(base)}
    return frozenset(names)


@dataclass(frozen=True)
class Missing:
    """A class or function that an architecture names and that nobody has here.

    Attributes:
        path: The path of the layer that needs it.
        name: Its name in the file, perhaps behind the package that registered it: ``"garden>Plus"``.
        module: The module that the file names for it, if it is one that could be imported.
    """

    path: str
    name: str
    module: str | None = None


def missing_objects(saved: Saved, custom_objects: Mapping[str, Any]) -> list[Missing]:
    """What the architecture names and neither Keras nor the custom objects have, in its order, each name once."""
    known = {*custom_objects, *keras.saving.get_custom_objects()}
    known |= {name.split(">")[-1] for name in known}
    found: dict[str, Missing] = {}
    for path, layer in walk(saved.model):
        for name, module in _names(layer):
            if name not in known and name.split(">")[-1] not in known:
                found.setdefault(name, Missing(path, name, _module(module)))
    return list(found.values())


def _module(name: Any) -> str | None:
    parts = name.split(".") if isinstance(name, str) else []
    pythons = not parts or parts[0] in sys.stdlib_module_names or "__main__" in parts
    return None if pythons or parts[0] == "keras" or not all(map(str.isidentifier, parts)) else name


def _importable(layer: Layer) -> bool:
    """Whether Keras finds the class by the module that Keras 3 wrote beside it.

    Only modules that Keras itself imports are: a file must not choose which code of this machine runs.
    """
    module = layer.get("module")
    if not isinstance(module, str) or not isinstance(layer.get("registered_name", layer["class_name"]), str | None):
        return False
    if module.partition(".")[0] not in _PACKAGES_OF_KERAS:
        return False
    try:
        return hasattr(importlib.import_module(module), layer["class_name"])
    except ImportError:
        return False


def _names(layer: Layer) -> Iterator[tuple[str, Any]]:
    """The names in a layer that are not those of Keras, each with the module that the file has for it."""
    name = layer["class_name"]
    known = _is_keras(name) or name in gone_layers.KINDS or _importable(layer)
    if not known and not (name in (*MODELS, "Model") and is_model(layer)):
        yield name, layer.get("module")
    function = _function_name(layer["config"].get("function")) if name == "Lambda" else None
    if function is not None and not _resolves(keras.activations, function):
        yield function, None
    for key, value in layer["config"].items():
        space = _FUNCTIONS.get(key) or _FUNCTIONS.get(key.rsplit("_", 1)[-1])
        if space is None or not known:
            continue
        wanted = _function_name(value)
        if wanted is not None and not _resolves(space, wanted):
            yield wanted, value.get("module") if isinstance(value, dict) else None


def _function_name(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or str(value.get("module") or "").startswith("keras"):
        return None
    name = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    return name if isinstance(name, str) else None


def _resolves(space: Any, name: str) -> bool:
    if hasattr(space, name) or (space is keras.activations and _is_keras(name)):
        return True
    try:
        return space.get(name) is not None
    except (ValueError, TypeError):
        return False


def _is_keras(name: str) -> bool:
    """Whether Keras 3 has a layer of this name; the names of its functions do not count."""
    return isinstance(getattr(keras.layers, name, None), type)
