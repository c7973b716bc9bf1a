"""What an architecture may name: layers and functions that compute, and no code, no other file and no setting.

Keras refuses most of this itself, older versions less of it. What the user gave as custom objects is the user's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, name_of
from keras_stitch.repairs.lambdas import names_function

# By the first part of a module's name behind ``keras``: where the functions of a model are, and its other objects.
_FUNCTIONS = {"activations", "constraints", "initializers", "losses", "metrics", "ops", "random", "regularizers"}
_CLASSES = {
    *(_FUNCTIONS | {"dtype_policies", "engine", "layers", "mixed_precision", "models", "optimizers", "quantizers"}),
}
_AT_THE_TOP = {"DTypePolicy", "FloatDTypePolicy", "Functional", "Model", "Sequential"}
_MAKERS = {"deserialize", "get", "serialize"}  # functions that make objects of what they are given
_RUN_OTHERS = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
_LOOKUPS = {"IndexLookup", "IntegerLookup", "StringLookup", "TextVectorization"}
_BETWEEN = {"api", "legacy", "src"}  # names in modules that say nothing


def refuse(path: Path, saved: Saved) -> None:
    """Refuse an architecture that would run other code, read other files or change Keras.

    Raises:
        SourceError: With the layer.
    """
    waiting: list[tuple[Any, str]] = [(saved.model, "")]
    while waiting:
        item, layer = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                layer = layer if _is_part(item) else name_of(item)
                _check(path, item, layer, saved)
            waiting += [(value, layer) for value in item.values()]
        elif isinstance(item, list):
            waiting += [(value, layer) for value in item]


def lambda_refusal(path: Path) -> SourceError:
    """The error of a file that holds Python code."""
    return SourceError(
        f"'{path}' holds a Lambda layer, that is Python code, and loading it would run whatever its author wrote.",
        expected="a model without Python lambdas",
        fix="Rebuild it with Keras layers, or with a registered function, and save it again.",
    )


def _is_part(item: dict[str, Any]) -> bool:
    """Whether this is something in a layer that has no name of its own."""
    config = item.get("config")
    return not isinstance(config, dict) or not isinstance(config.get("name"), str)


def _check(path: Path, item: dict[str, Any], layer: str, saved: Saved) -> None:
    kind, config = item["class_name"], item.get("config")
    if kind in saved.custom:
        return
    if kind == "__lambda__" or (kind == "Lambda" and isinstance(config, dict) and not names_function(config)):
        raise lambda_refusal(path)
    name = config if kind == "function" else kind
    if kind in _RUN_OTHERS or (isinstance(name, str) and name not in saved.custom and not _computes(item, name)):
        raise SourceError(
            f"'{path}' names '{_shown(item, name)}' in layer '{layer}', which is no part of a model that computes.",
            expected="layers and functions of Keras that compute, or those in custom_objects",
            fix="Do not use it if you do not know where it comes from; else rebuild that layer, and save it again.",
        )
    if kind in _LOOKUPS and isinstance(config, dict):
        for argument in ("vocabulary", "idf_weights"):
            if isinstance(config.get(argument), str):
                raise SourceError(
                    f"'{path}' does not hold the {argument} of layer '{layer}': it is in another file.",
                    expected="the words themselves",
                    received=repr(config[argument])[:200],
                    fix=f"Make the layer with {argument}=[...] in place of a file name, and save the model again.",
                )


def _computes(item: dict[str, Any], name: str) -> bool:
    """Whether what an object names in Keras is part of a model; other packages are not looked into."""
    module = item.get("module")
    if not isinstance(module, str) or module.partition(".")[0] != "keras":
        return True
    below = [part for part in module.split(".")[1:] if part not in _BETWEEN]
    if item["class_name"] == "function":
        return bool(below) and below[0] in _FUNCTIONS and name not in _MAKERS
    return below[0] in _CLASSES and not name[:1].islower() if below else name in _AT_THE_TOP


def _shown(item: dict[str, Any], name: Any) -> str:
    module = item.get("module")
    return f"{module}.{name}"[:200] if isinstance(module, str) else str(name)[:200]
