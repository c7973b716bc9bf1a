"""What Keras 3 would load without a word and compute otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_model,
    layer_path,
    name_of,
    references,
    walk,
    wrapped_layers,
)
from keras_stitch.repairs.rule import inner_calls, insert_before, layer_rule, rule

# clip(0.2 x + 0.5) of Keras 1 and 2 is clip(1.2 x / 6 + 0.5), the hard_sigmoid of Keras 3 at 1.2 x.
HARD_SIGMOID_FACTOR = 1.2
_ON_THE_CELL = ("LSTM", "LSTMCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_DRAWS = "Dropout", "Noise", "Random"
_OF_BATCHES = ("BatchNormalization",)


def has_hard_sigmoid(layer: Layer) -> bool:
    """Whether an activation or the gates of a layer are Keras' hard_sigmoid."""
    return any(_is_hard_sigmoid(layer["config"].get(key)) for key in ("activation", "recurrent_activation"))


def _is_hard_sigmoid(value: Any) -> bool:
    """Whether an activation, as a config has it, is Keras' hard_sigmoid."""
    if isinstance(value, dict):
        value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    return value == "hard_sigmoid"


@rule(
    "hard-sigmoid",
    "hard_sigmoid was clip(0.2 x + 0.5) and is clip(x / 6 + 0.5) in Keras 3; the factor 1.2 is in the weights now, or "
    "in a Rescaling layer",
)
def hard_sigmoid(saved: Saved) -> list[str]:
    if "hard_sigmoid" in saved.custom:
        return []
    found = []
    for _, layer in list(walk(saved.model)):
        if _is_elementwise(layer):
            # At every step the same as at all of them at once.
            saved.rename_class(layer, "Activation")
            activation = layer["config"]["layer"]["config"]["activation"]
            layer["config"] = {"name": name_of(layer), "activation": activation}
    for path, layer in walk(saved.model):
        if is_model(layer):
            continue
        if has_hard_sigmoid(layer):
            found.append(path)
        if layer["class_name"] in _ON_THE_CELL and _is_hard_sigmoid(layer["config"].get("activation")):
            layer["config"]["activation"] = _on_the_cell(layer)
    for _, model in list(walk(saved.model)):
        for layer in list(inner_layers(model)):
            if layer["class_name"] == "Activation" and has_hard_sigmoid(layer):
                config = {
                    "scale": HARD_SIGMOID_FACTOR,
                    "offset": 0.0,
                    "dtype": layer["config"].get("dtype") or "float32",
                }
                insert_before(model, layer, "Rescaling", "rescaling", **config)
    return found


def _on_the_cell(layer: Layer) -> Layer:
    """The old function as a model, which serves as an activation: the cell is no sum of weights that could grow."""
    name, rank = name_of(layer), 2 + int(re.sub(r"\D", "", layer["class_name"]) or 0)
    dtype = layer["config"].get("dtype") or "float32"
    layers = [
        ("InputLayer", {"name": f"{name}_cell", "batch_shape": [None] * rank, "dtype": "float32"}),
        ("Rescaling", {"name": f"{name}_rescaling", "scale": HARD_SIGMOID_FACTOR, "offset": 0.0, "dtype": dtype}),
        ("Activation", {"name": f"{name}_hard_sigmoid", "activation": "hard_sigmoid", "dtype": dtype}),
    ]
    held = [
        {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}
        for kind, config in layers
    ]
    config = {"name": f"{name}_activation", "layers": held}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def _is_elementwise(layer: Layer) -> bool:
    held = wrapped_layers(layer) if layer["class_name"] == "TimeDistributed" else []
    return bool(held) and held[0]["class_name"] == "Activation" and has_hard_sigmoid(held[0])


@rule(
    "resized-integers",
    "images of whole numbers were resized to fractions, Keras 3 would round; a Rescaling by 1 is in front",
)
def whole_numbers(saved: Saved) -> list[str]:
    """Keras 2 resized images of whole numbers to fractions, Keras 3 rounds."""
    found = []
    for path, model in list(walk(saved.model)):
        whole = {
            name_of(layer)
            for layer in inner_layers(model)
            if layer["class_name"] == "InputLayer" and not str(layer["config"].get("dtype")).startswith("float")
        }
        for before, layer in list(pairwise([{}, *inner_layers(model)])):
            sources = [item[0] for item in references(layer.get("inbound_nodes") or [])] or [name_of(before)]
            if layer["class_name"] == "Resizing" and whole.intersection(sources):
                insert_before(model, layer, "Rescaling", "fractions", scale=1.0, offset=0.0)
                found.append(layer_path(path, layer))
    return found


@layer_rule("gru-reset-after", "a GRU that does not say reset_after means False, Keras 3 would take True")
def reset_after(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] not in ("GRU", "GRUCell") or "reset_after" in layer["config"]:
        return False
    # cuDNN has it, Keras had not until it had the argument.
    layer["config"]["reset_after"] = saved.class_in_file(layer) in ("UnifiedGRU", "GRUV2")
    return True


@layer_rule("gate-activation", "gates that do not say their activation mean hard_sigmoid, Keras 3 would take sigmoid")
def recurrent_activation(layer: Layer, saved: Saved) -> bool:
    """ConvLSTM and old files may leave it to the default, which was hard_sigmoid in Keras 1 and early Keras 2."""
    if layer["class_name"] not in (*_ON_THE_CELL, "GRU", "GRUCell") or "recurrent_activation" in layer["config"]:
        return False
    layer["config"]["recurrent_activation"] = "hard_sigmoid"
    return True


@rule(
    "training-flag",
    "a layer was called with training=True, always; it predicts in inference now, as all of Keras 3 does",
    legacy=False,
)
def training(saved: Saved) -> list[str]:
    """A layer that was told to train, always. Keras 3 predicts in inference, whatever the graph says."""
    found = []
    for path, _, layer in inner_calls(saved):
        calls = [call for call in _call_arguments(layer) if call.get("training")]
        if calls and saved.is_legacy:
            _refuse_batch_statistics(layer, path)
        for call in calls:
            del call["training"]
        # Where nothing depends on it, nothing was repaired.
        if calls and any(inner["class_name"].endswith(_OF_BATCHES) or _draws(inner) for _, inner in walk(layer)):
            found.append(path)
    return found


def _call_arguments(layer: Layer) -> Iterator[dict[str, Any]]:
    for node in layer.get("inbound_nodes") or ():
        if isinstance(node, dict):
            yield node.get("kwargs") or {}
        else:
            yield from (item[3] for item in references(node) if len(item) > 3)


def _refuse_batch_statistics(layer: Layer, where: str) -> None:
    for path, inner in walk(layer, where):
        if inner["class_name"] in _OF_BATCHES and inner["config"].get("trainable", True):
            raise SourceError(
                f"The layer '{path}' is a BatchNormalization that was called with training=True: what it predicts for "
                "a row depends on the other rows of the batch.",
                expected="layers that predict each row by itself; Keras 3 predicts with the moving averages",
                fix="Call it without training=True in the model that made the file, and save it again.",
            )


def _draws(layer: Layer) -> bool:
    by_class = any(word in layer["class_name"] for word in _DRAWS)
    return by_class or any(layer["config"].get(key) for key in ("dropout", "recurrent_dropout"))
