"""The two layers of a Bidirectional apart, in a model that does what they did together in another version of Keras."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_stitch.repairs.architecture import Layer
from keras_stitch.repairs.rebuilt_layer import Inside, constant

MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "concat": "Concatenate"}


def opened(inside: Inside) -> str:
    """Both layers apart, the output of the second in the order of time, and the mask of what they take at the end."""
    (x,) = inside.inputs
    forward = inside.config["layer"]
    backward = inside.config.get("backward_layer") or _turned(forward)
    steps = bool(forward["config"].get("return_sequences"))
    zeros = {"zero_output_for_mask": not steps}
    ends = [
        inside.add_part(part, suffix, x, **zeros) for part, suffix in ((forward, "forward"), (backward, "backward"))
    ]
    if not steps:
        return inside.add(MERGES[inside.config["merge_mode"]], "merged", *ends)
    # A copy has no mask, which some merges would heed.
    pair = [inside.operate("Copy", "copy", ends[0]), inside.operate("Flip", "turned", ends[1], axis=1)]
    merged = inside.add(MERGES[inside.config["merge_mode"]], "merged", *pair)
    ones = constant(np.zeros((inside.features, 1)), np.zeros((1, 1)), np.ones(1))
    config = {"units": 1, "activation": "linear", "return_sequences": True, "zero_output_for_mask": True}
    flags = inside.add("SimpleRNN", "flags", x, fill=ones, frozen=True, **config)
    differs = inside.operate("NotEqual", "differs", flags, 0)
    mask = inside.operate("Any", "mask", differs, axis=-1, keepdims=False)
    size = forward["config"]["units"] * (2 if inside.config["merge_mode"] == "concat" else 1)
    same = constant(np.zeros(size), np.ones(size))
    config = {"center": False, "scale": False, "epsilon": 0.0}
    end = inside.add("BatchNormalization", "masked", merged, fill=same, frozen=True, **config)
    return inside.mask(end, mask)


def arrays(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many arrays Keras 2 wrote for both."""
    return 2 * (2 + bool(config["layer"]["config"].get("use_bias", True))), 0


def _turned(layer: Layer) -> Layer:
    backward = copy.deepcopy(layer)
    backward["config"]["go_backwards"] = not layer["config"].get("go_backwards")
    return backward
