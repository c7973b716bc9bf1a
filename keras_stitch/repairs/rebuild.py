"""Puts the models that stand for gone layers into an architecture, once Keras has told the shapes of what they take."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_stitch.keras_private import shared_objects
from keras_stitch.repairs.architecture import Layer, Rebuilt, Saved, name_of
from keras_stitch.repairs.gone_layers import KINDS, gone
from keras_stitch.repairs.keras3_config import modernise
from keras_stitch.repairs.rebuilt_layer import Inside, Shape, unknown_shape

_STAND_IN = "KerasStitchStandIn"


def rebuild(saved: Saved, custom_objects: Mapping[str, Any]) -> None:
    """Rebuild every layer that Keras 3 does not have, in place.

    Raises:
        SourceError: At a layer that cannot be rebuilt, or that takes something of an unknown shape.
    """
    layers = gone(saved)
    if not layers:
        return
    shapes = _shapes(saved, custom_objects)
    for layer, given in zip(layers, shapes, strict=True):
        if not given:
            raise unknown_shape(name_of(layer))
        kind = KINDS[layer["class_name"]]
        inside = Inside(layer, given, saved.backend == "theano")
        model = inside.model(kind.build(inside))
        saved.rebuilt[id(layer)] = Rebuilt(kind.arrays(layer["config"]), inside.fills, inside.parts)
        saved.rename_class(layer, model["class_name"])
        layer["config"] = model["config"]


def _shapes(saved: Saved, custom_objects: Mapping[str, Any]) -> list[list[Shape]]:
    """What each gone layer takes, by a model with a stand-in at each of their places."""
    layers = gone(saved)
    shapes: list[list[Shape]] = [[] for _ in layers]

    class StandIn(keras.Layer):
        """Says what it takes, and what the model in its place will make of it."""

        def __init__(self, number: int, **kwargs: Any):
            super().__init__(**kwargs)
            self.number = number
            self.supports_masking = True

        def build(self, input_shape: Any) -> None:
            given = input_shape if isinstance(input_shape, list) else [input_shape]
            shapes[self.number] = [tuple(shape) for shape in given]
            self.inside = _model(layers[self.number], shapes[self.number], saved.backend == "theano")

        def compute_output_shape(self, input_shape: Any) -> Any:
            return self.inside.compute_output_shape(input_shape)

        def call(self, inputs: Any) -> Any:
            return self.inside(inputs)

    trial = Saved(copy.deepcopy(saved.model), saved.version, saved.backend, custom=saved.custom)
    for number, layer in enumerate(gone(trial)):
        layer["class_name"] = _STAND_IN
        layer["config"] = {"name": name_of(layer), "number": number}
    modernise(trial)
    with shared_objects():
        keras.saving.deserialize_keras_object(trial.model, custom_objects={**custom_objects, _STAND_IN: StandIn})
    return shapes


def _model(layer: Layer, shapes: Sequence[Shape], on_theano: bool) -> keras.Model:
    inside = Inside(layer, shapes, on_theano)
    model = inside.model(KINDS[layer["class_name"]].build(inside))
    place = Saved(copy.deepcopy(model), (3,))
    modernise(place)
    return keras.saving.deserialize_keras_object(place.model)
