"""The two layers of a Bidirectional apart, in a model that does what they did together in another version of Keras."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from keras_stitch.repairs.architecture import Layer
from keras_stitch.repairs.rebuilt_layer import Inside

MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "concat": "Concatenate"}


def opened(inside: Inside) -> str:
    """Both layers apart, the output of the second in the order of time, and the mask of what they take at the end."""
    (x,) = inside.inputs
    forward = inside.config["layer"]
    backward = inside.config.get("backward_layer") or _turned(forward)
    steps = bool(forward["config"].get("return_sequences"))
    ends = [
        inside.add_part(part, suffix, x, zero_output_for_mask=inside.config["zero_output_for_mask"])
        for part, suffix in ((forward, "forward"), (backward, "backward"))
    ]
    if not steps:
        return inside.add(MERGES[inside.config["merge_mode"]], "merged", *ends)
    # A copy has no mask, which some merges would heed.
    pair = [inside.operate("Copy", "copy", ends[0]), inside.operate("Flip", "turned", ends[1], axis=1)]
    merged = inside.add(MERGES[inside.config["merge_mode"]], "merged", *pair)
    # A product of masked numbers is 0 where they are masked.
    ones = inside.add("Rescaling", "ones", x, scale=0.0, offset=1.0)
    differs = inside.operate("NotEqual", "differs", inside.add("Multiply", "flags", ones, ones), 0)
    mask = inside.operate("Any", "mask", differs, axis=-1, keepdims=False)
    size = forward["config"]["units"] * (2 if inside.config["merge_mode"] == "concat" else 1)
    same = [
        ("InputLayer", {"name": f"{inside.name}_steps", "batch_shape": [None, None, size], "dtype": "float32"}),
        ("Activation", {"name": f"{inside.name}_same", "activation": "linear"}),
    ]
    layers = [{"class_name": kind, "config": config} for kind, config in same]
    return inside.mask(inside.add("Sequential", "masked", merged, layers=layers), mask)


def arrays(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many arrays Keras 2 wrote for both."""
    return 2 * (2 + bool(config["layer"]["config"].get("use_bias", True))), 0


def _turned(layer: Layer) -> Layer:
    backward = copy.deepcopy(layer)
    backward["config"]["go_backwards"] = not layer["config"].get("go_backwards")
    return backward
