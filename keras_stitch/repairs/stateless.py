"""Layers that carry their state from batch to batch, made stateless where the user asks for it."""

from __future__ import annotations

from keras_stitch.repairs.architecture import Saved, walk
from keras_stitch.repairs.rule import keras_layers, rule

_SHAPES = ("batch_input_shape", "batch_shape", "build_input_shape")


@rule("stateless", "a stateful layer is stateless, as was asked for: it predicts what it predicted after a reset")
def stateless(saved: Saved) -> list[str]:
    """A stateful layer needed a batch of a known size; any size will do now."""
    if not saved.stateless:
        return []
    found = [(path, layer) for path, layer in keras_layers(saved) if layer["config"].get("stateful") is True]
    for _, layer in found:
        layer["config"]["stateful"] = False
    for _, layer in walk(saved.model) if found else ():
        for key in _SHAPES:
            if shape := layer["config"].get(key):
                layer["config"][key] = [None, *shape[1:]]
    return [path for path, _ in found]
