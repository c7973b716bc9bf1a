"""What a saved file says of a model, as plain data that rules may rewrite: no Keras here.

A layer is the dict that Keras writes: ``{"class_name", "config", ...}``. A model is a layer whose config has
``layers``; in a functional model each of them also has its ``inbound_nodes``, the calls it takes part in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import is_operation_module

Layer = dict[str, Any]

# The weights of a layer, made of the arrays that a file has for the layer in whose place it is.
Fill = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
RECURRENT = ("SimpleRNN", "GRU", "LSTM", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_WRAPPED = ("layer", "forward_layer", "backward_layer", "cell")
_NODE = 3
_VERSION = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,9})*)(?!\.?[0-9])[ -~]{0,60}")
_VERSIONS = "numbers such as 2.2.4 or 3.10.0"


@dataclass(frozen=True)
class Rebuilt:
    """A layer that Keras 3 does not have, and that is a functional model now.

    Attributes:
        arrays: How many arrays the file has for it: those that train, and those that do not.
        fills: What makes the weights of the layers in that model, by their names.
        parts: The layers in that model that share the arrays equally, as the file has them, by their names.
    """

    arrays: tuple[int, int]
    fills: Mapping[str, Fill]
    parts: Mapping[str, Layer] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A nested model: its name among the layers of an HDF5 file, and its group in a ``.keras`` archive."""

    name: str
    group: str


@dataclass
class Saved:
    """The architecture in a file.

    Attributes:
        model: The outermost layer.
        version: The version of the Keras that wrote it, ``(2, 2, 4)``; ``(1,)`` if the file does not say.
        backend: The backend of that Keras: ``"tensorflow"``, ``"theano"``; ``None`` if nothing tells.
        is_tf_keras: Whether that Keras was part of TensorFlow.
        original_names: The name in the file of each renamed layer, by the ``id`` of the layer.
        original_classes: The class in the file of each layer that got another one, by ``id``.
        weights_version: The version of the Keras that wrote the weights, if they have a file of their own that says so.
        custom: The names of the custom objects that the user gave; rules do not change their layers.
        arrays: The shape of each array in an HDF5 file, by its group, in their order, and by its name.
        stateless: Whether the user asked for stateful layers to become stateless.
        masked: The ``Bidirectional`` layers that take a mask, by ``id``.
        unmasked: By the ``id`` of a merge, whether each of its inputs came without its mask.
        rebuilt: The layers that were rebuilt from others, by ``id``.
        layers_in_file: All layers of a model of which some were left out, by the ``id`` of the model.
        part: The nested model of the file that the model is, with the name and the group that the file has for it.
        replaced: What the file says of the layers in whose place the user gave others, by the ``id`` of those.
    """

    model: Layer
    version: tuple[int, ...] = (1,)
    backend: str | None = "tensorflow"
    is_tf_keras: bool = False
    original_names: dict[int, str] = field(default_factory=dict)
    original_classes: dict[int, str] = field(default_factory=dict)
    weights_version: tuple[int, ...] | None = None
    custom: frozenset[str] = frozenset()
    arrays: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    stateless: bool = False
    masked: set[int] = field(default_factory=set)
    unmasked: dict[int, list[bool]] = field(default_factory=dict)
    rebuilt: dict[int, Rebuilt] = field(default_factory=dict)
    layers_in_file: dict[int, list[Layer]] = field(default_factory=dict)
    part: Part | None = None
    replaced: dict[int, Layer] = field(default_factory=dict)

    @property
    def is_legacy(self) -> bool:
        """Whether Keras 1 or 2 wrote it."""
        return self.version < (3,)

    def name_in_file(self, layer: Layer) -> str:
        """What the file calls a layer, whatever the rules call it."""
        return self.original_names.get(id(layer), name_of(layer))

    def all_layers(self, model: Layer) -> list[Layer]:
        """The layers of a model as the file has them, those that were left out, too."""
        return self.layers_in_file.get(id(model), inner_layers(model))

    def class_in_file(self, layer: Layer) -> str:
        """The class of a layer in the file."""
        return str(self.original_classes.get(id(layer), layer["class_name"]))

    def is_custom(self, layer: Layer) -> bool:
        """Whether a layer is of a class of the user's, whatever its name."""
        name = self.class_in_file(layer)
        return ">" in name or name in self.custom

    def rename_class(self, layer: Layer, name: str) -> None:
        """Give a layer another class."""
        self.original_classes.setdefault(id(layer), layer["class_name"])
        layer["class_name"] = name


def version_of(text: str | bytes | None) -> tuple[int, ...]:
    """A version such as ``"2.2.4-tf"`` as numbers, ``(2, 2, 4)``; Keras 1 is the last that did not write one.

    Raises:
        SourceError: If it begins like a version, and is none.
    """
    if text is None:
        return (1,)
    text = text.decode() if isinstance(text, bytes) else text
    numbers = _VERSION.fullmatch(text)
    if numbers is None and text[:1].isdigit():
        raise SourceError(
            "The version of the Keras that wrote it is none.", expected=_VERSIONS, received=repr(text)[:100]
        )
    return tuple(map(int, numbers[1].split("."))) if numbers else (1,)


def name_of(layer: Layer) -> str:
    """The name of a layer; wrapped layers may have none."""
    config = layer.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return str(layer.get("name") or inner or layer.get("class_name", ""))


def layer_path(model: str, layer: Layer) -> str:
    """The path of a layer in a model, from the path of the model."""
    return f"{model}/{name_of(layer)}".lstrip("/")


def inner_layers(layer: Layer) -> list[Layer]:
    """The layers of a model, in the order in which its weights were saved; none where it is no model."""
    layers = _layers(layer)
    return [] if layers is None else layers


def wrapped_layers(layer: Layer) -> list[Layer]:
    """The layers and cells that a layer holds without being a model: of ``Bidirectional``, ``RNN`` and so on."""
    config = layer.get("config")
    if not isinstance(config, dict):
        return []
    found = [config[key] for key in _WRAPPED if is_layer(config.get(key))]
    return [*found, *(cell for cell in config.get("cells") or () if is_layer(cell))]


def is_layer(item: Any) -> bool:
    """Whether this is the dict of a layer."""
    return isinstance(item, dict) and "class_name" in item and isinstance(item.get("config"), dict | list)


def is_model(layer: Layer) -> bool:
    """Whether a layer has layers of its own that it connects."""
    return _layers(layer) is not None


def _layers(layer: Layer) -> list[Layer] | None:
    config = layer.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    # Layers of a user's class may have something else under this name, such as their sizes.
    return layers if isinstance(layers, list) and all(map(is_layer, layers)) else None


def is_functional(layer: Layer) -> bool:
    """Whether a layer is a model with named calls between its layers."""
    return is_model(layer) and isinstance(layer["config"], dict) and "output_layers" in layer["config"]


def is_operation(layer: Layer) -> bool:
    """Whether this is an operation of Keras 3 in a graph, and no layer."""
    return is_operation_module(layer.get("module"))


def makes_mask(layer: Layer) -> bool:
    """Whether masks begin at a layer."""
    kind = layer["class_name"]
    return kind == "Masking" or (kind == "Embedding" and bool(layer["config"].get("mask_zero")))


def walk(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """A layer and all within it, the outer before the inner, with the path of names; the outermost has none."""
    yield path, layer
    for inner in (*inner_layers(layer), *wrapped_layers(layer)):
        yield from walk(inner, layer_path(path, inner))


def is_reference(item: Any) -> bool:
    """Whether this names a tensor as Keras 2 did: ``["dense", 0, 0]``, with the arguments of the call or without."""
    return (
        isinstance(item, list)
        and len(item) in (_NODE, _NODE + 1)
        and isinstance(item[0], str)
        and all(isinstance(index, int) and not isinstance(index, bool) for index in item[1:_NODE])
    )


def references(item: Any) -> Iterator[list[Any]]:
    """Every reference in a node, an output or an argument, the inner ones of its arguments too."""
    if is_reference(item):
        yield item
        if len(item) > _NODE:
            yield from references(item[_NODE])
    elif isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            yield item["config"]["keras_history"]
        else:
            for value in item.values():
                yield from references(value)
    elif isinstance(item, list | tuple):
        for value in item:
            yield from references(value)


def references_within(model: Layer) -> list[list[Any]]:
    """Every reference in a functional model: in the calls of its layers, its inputs and its outputs."""
    nodes = [layer.get("inbound_nodes") for layer in inner_layers(model)]
    return list(references([nodes, model["config"]["input_layers"], model["config"]["output_layers"]]))


def map_references(item: Any, change: Callable[[list[Any]], Any]) -> Any:
    """The same structure with every reference changed."""
    if is_reference(item):
        return change(item)
    if isinstance(item, dict):
        return {key: map_references(value, change) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [map_references(value, change) for value in item]
    return item
