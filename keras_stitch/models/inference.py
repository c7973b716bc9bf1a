"""Layers that train where nobody says whether to: how they are called so that a model predicts in inference."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import keras

from keras_stitch.keras_private import layers_within


def takes_flag(layer: keras.Layer) -> bool:
    """Whether the call of a layer has the argument ``training``."""
    return "training" in inspect.signature(layer.call).parameters


def augments(layer: keras.Layer) -> bool:
    """Whether a layer, or one in it, is random unless it is told not to be: its call defaults to ``training=True``.

    Keras' random image layers are so. Its ``Resizing`` has the same default, but draws nothing.
    """
    return any(_trains_by_default(inner) and _draws(inner) for inner in layers_within(layer))


def may_start_training(layers: Iterable[keras.Layer]) -> bool:
    """Whether a direct call of some layers, one after another, could train where nobody asks for it.

    In Keras, one call with ``training=True`` makes all later calls train as well. Of a custom layer that calls others,
    nobody knows how it does.
    """
    return any(_trains_by_default(inner) or _calls_others(inner) for layer in layers for inner in layers_within(layer))


def called(layer: keras.Layer, *arguments: Any, inference: bool = True) -> Any:
    """Call a layer in inference, where its call says whether it trains.

    In the graph of a model, the flag holds where that is called without one. ``fit`` trains all the same.
    """
    return layer(*arguments, training=False) if inference and takes_flag(layer) else layer(*arguments)


def _trains_by_default(layer: keras.Layer) -> bool:
    flag = inspect.signature(layer.call).parameters.get("training")
    return flag is not None and flag.default is True


def _draws(layer: keras.Layer) -> bool:
    return _is_custom(layer) or any(isinstance(it, keras.random.SeedGenerator) for it in vars(layer).values())


def _calls_others(layer: keras.Layer) -> bool:
    return _is_custom(layer) and next(layers_within(layer, include_self=False), None) is not None


def _is_custom(layer: keras.Layer) -> bool:
    return not type(layer).__module__.startswith("keras.")
