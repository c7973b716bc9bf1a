"""Layers as ``stitch.yaml`` writes them, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras

from keras_stitch.errors import SourceError, reason
from keras_stitch.repairs import keras3_config

_GIVE = (
    "Give your own classes and functions, Graph.from_yaml(..., custom_objects={...}), or name their file or module in "
    "the stitch.yaml, behind custom_objects."
)


def layer_config(layer: keras.Layer) -> dict[str, Any]:
    """A layer as ``stitch.yaml`` writes it, with the module of custom ones."""
    serialized = keras.saving.serialize_keras_object(layer)
    config = {key: serialized[key] for key in ("class_name", "config")}
    if not str(serialized.get("module", "")).startswith("keras."):
        config |= {key: serialized[key] for key in ("module", "registered_name") if serialized.get(key)}
    return config


def layer_from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> keras.Layer:
    """The layer or model that ``layer_config`` described; ``module`` defaults to where Keras has it.

    Raises:
        SourceError: If there is no such layer, or it refuses its arguments.
    """
    module = keras3_config.MODELS.get(str(config.get("class_name")), "keras.layers")
    full = {"module": module, "registered_name": None, **copy.deepcopy(dict(config))}
    full.setdefault("config", {})
    try:
        layer = keras.saving.deserialize_keras_object(full, custom_objects=dict(custom_objects or {}))
    except Exception as error:
        own = "registered_name" in config or "Could not locate" in str(error)
        raise SourceError(
            f"There is no layer {config.get('class_name')!r} with this config: {reason(error)}",
            expected="class_name: a layer of keras.layers, config: its arguments",
            received=repr(dict(config))[:300],
            fix=_GIVE if own else None,
        ) from error
    if not isinstance(layer, keras.Layer):
        raise SourceError(f"{config.get('class_name')!r} is not a Keras layer.", received=type(layer).__name__)
    return layer
