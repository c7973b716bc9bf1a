"""Standard layers put in front of others."""

from __future__ import annotations

from typing import Any

from keras_stitch.repairs.saved import Layer, inner_layers, is_functional, name_of


def insert_before(model: Layer, layer: Layer, class_name: str, suffix: str, **config: Any) -> None:
    """Put a new layer in front of one of a model's, in every call that it takes part in.

    Args:
        model: The model.
        layer: One of its layers, called on single tensors.
        class_name: Of the new layer.
        suffix: Its name is that of the layer with this behind it.
        config: Its arguments.
    """
    layers = inner_layers(model)
    name = free_name(model, f"{name_of(layer)}_{suffix}")
    new: Layer = {"class_name": class_name, "config": {"name": name, **config}}
    if is_functional(model):
        nodes = layer["inbound_nodes"]
        new |= {"name": name, "inbound_nodes": nodes}
        layer["inbound_nodes"] = [[[name, call, 0, {}]] for call in range(len(nodes))]
    layers.insert(position(model, layer), new)


def free_name(model: Layer, wanted: str) -> str:
    """A name that no layer of a model has."""
    taken = {name_of(other) for other in inner_layers(model)}
    while wanted in taken:
        wanted += "_"
    return wanted


def position(model: Layer, layer: Layer) -> int:
    """Where in a model a layer is."""
    return next(index for index, other in enumerate(inner_layers(model)) if other is layer)
