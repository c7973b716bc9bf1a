"""A model once more in float64, in Keras 2 and in Keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_float64(model: Any, inputs: list[np.ndarray], **from_config: Any) -> Any:
    """What a model predicts where all its layers, its weights and its inputs are float64."""
    twin = type(model).from_config(_widened(model.get_config()), **from_config)
    twin.set_weights([weight.astype("float64") for weight in model.get_weights()])
    assert all(str(weight.dtype).endswith(("float64", "'float64'>")) for weight in twin.weights)
    return twin([array.astype("float64") for array in inputs], training=False)


def _widened(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(map(_widened, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {"name": "float64"}}
    return {
        key: "float64" if (key, value) == ("dtype", "float32") else _widened(value) for key, value in config.items()
    }
