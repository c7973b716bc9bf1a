"""Lambda layers, which hold Python code: where they are, what the code names, and the few that are no riddle.

Code is never run, nor unpacked. The names in it are read as text, to help whoever has to say what it computes.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    layer_path,
    name_of,
    walk,
    wrapped_layers,
)
from keras_stitch.repairs.rule import rule
from keras_stitch.repairs.structure import keras_tensor

# Functions of the backend of Keras 1 and 2, and those of TensorFlow that compute the same from the same arguments.
_SAME = ("abs", "cos", "exp", "log", "sign", "sin", "square", "tanh")
_REDUCED = ("all", "any", "logsumexp", "max", "mean", "min", "prod", "sum")
BACKEND_FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (f"math.{name}", {}) for name in _SAME},
    **{name: (f"math.reduce_{name}", {"axis": None, "keepdims": False}) for name in _REDUCED},
    "concatenate": ("concat", {"axis": -1}),
    "expand_dims": ("expand_dims", {"axis": -1}),
    "identity": ("identity", {}),
    "l2_normalize": ("math.l2_normalize", {"axis": None}),
    "sigmoid": ("math.sigmoid", {}),
    "softmax": ("nn.softmax", {"axis": -1}),
    "softplus": ("math.softplus", {}),
    "softsign": ("nn.softsign", {}),
    "squeeze": ("squeeze", {"axis": None}),
    "stack": ("stack", {"axis": 0}),
}
_BACKEND = re.compile(r"(?:tf_)?keras(?:\.src)?\.backend(?:\.\w+)?|tensorflow\.python\.keras\.backend")
_BACKEND_FILE = re.compile(r"(?:.*[/\\])?(?:backend|(?:tensorflow|theano)_backend)\.pyc?")
_WRAPPER = re.compile(r".*[/\\](?:traceback_utils|dispatch)\.py")
_NAME = re.compile(r"[A-Za-z_]\w*")
# How Python packs a text, of all versions: a byte for the kind, with or without the highest bit, and the length.
_SHORT, _LONG = b"zZ", b"aAstu"
_MOST_NAMES = 12


@dataclass(frozen=True)
class Lambda:
    """A Lambda layer with Python code.

    Attributes:
        path: Its path in the outermost model.
        layer: What the file says of it.
        model: The model that calls it, or the wrapper that holds it.
    """

    path: str
    layer: Layer
    model: Layer


def with_code(saved: Saved) -> list[Lambda]:
    """All Lambda layers that hold code."""
    found = []
    for path, model in walk(saved.model):
        for layer in (*inner_layers(model), *wrapped_layers(model)):
            is_lambda = layer["class_name"] == "Lambda" and not saved.is_custom(layer)
            if is_lambda and not names_function(layer["config"]):
                found.append(Lambda(layer_path(path, layer), layer, model))
    return found


def names_function(config: Any) -> bool:
    """Whether a Lambda layer calls a function by its name, instead of holding its code."""
    function = config.get("function") if isinstance(config, dict) else None
    return isinstance(function, str) or (isinstance(function, dict) and function.get("class_name") == "function")


def code_names(layer: Layer) -> list[str]:
    """The names in the code of a Lambda layer, as ``tf``, ``math``, ``reduce_logsumexp`` and ``axis``."""
    texts = list(_texts(layer))
    if any(map(_WRAPPER.fullmatch, texts)):  # of a function of Keras or TensorFlow itself, which says nothing of it
        return []
    names = [text for text in texts if _NAME.fullmatch(text) and len(text) > 1 and not text.startswith("__")]
    return list(dict.fromkeys(names))[:_MOST_NAMES]


@rule("backend-functions", "a Lambda with a function of Keras' own backend, which its file names, is that function now")
def backend_functions(saved: Saved) -> list[str]:
    """Those in functional models, as calls of TensorFlow's functions, which ``operators`` knows."""
    found = []
    for path, model in walk(saved.model):
        for layer in inner_layers(model) if is_functional(model) else ():
            called = None if layer["class_name"] != "Lambda" or saved.is_custom(layer) else _calls(layer)
            if called is not None and len(layer["inbound_nodes"]) == 1:  # more than one call is no function's
                function, arguments = called
                saved.rename_class(layer, "TFOpLambda")
                layer["config"] = {"name": name_of(layer), "function": function}
                layer["inbound_nodes"] = [_call(node, arguments) for node in layer["inbound_nodes"]]
                found.append(layer_path(path, layer))
    return found


def _calls(layer: Layer) -> tuple[str, dict[str, Any]] | None:
    """The function of TensorFlow that a Lambda calls, with its arguments; ``None`` where that is not certain."""
    config = layer["config"]
    arguments = config.get("arguments") or {}
    if not _BACKEND.fullmatch(str(config.get("module"))) or config.get("mask") is not None:
        return None
    name = config["function"] if isinstance(config.get("function"), str) else _name_in_backend(layer)
    function, known = BACKEND_FUNCTIONS.get(name or "", ("", {}))
    if not function or not isinstance(arguments, dict) or not arguments.keys() <= known.keys():
        return None
    return function, {**known, **arguments}


def _call(node: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    tensors = [keras_tensor(item) for item in node]
    return {"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": dict(arguments)}


def _name_in_backend(layer: Layer) -> str | None:
    """The name of a function, which Python packs right behind that of the file that has it."""
    texts = list(_texts(layer))
    return next((name for file, name in itertools.pairwise(texts) if _BACKEND_FILE.fullmatch(file)), None)


def _texts(layer: Layer) -> Iterator[str]:
    """The texts in the code of a Lambda layer, in their order."""
    function = layer["config"].get("function")
    if isinstance(function, dict) and isinstance(function.get("config"), dict):  # of Keras 3
        function = function["config"].get("code")
    code = function[0] if isinstance(function, list) and function else function
    try:
        packed = base64.b64decode(code.encode(), validate=False) if isinstance(code, str) else b""
    except (binascii.Error, ValueError):
        return
    at = 0
    while at < len(packed):
        kind = packed[at] & 0x7F
        size = 1 if kind in _SHORT else 4 if kind in _LONG else 0
        length = int.from_bytes(packed[at + 1 : at + 1 + size], "little")
        text = packed[at + 1 + size : at + 1 + size + length]
        if size and 0 < length == len(text) and text.isascii() and text.decode("ascii").isprintable():
            yield text.decode("ascii")
            at += size + length
        at += 1
