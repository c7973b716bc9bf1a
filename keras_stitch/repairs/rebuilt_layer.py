"""A layer that Keras 3 has no longer, while layers that it has are put together in its place.

They become a functional model of the layer's name, so that its calls, its wrappers, its output and its frozen state
stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Fill, Layer, map_references, name_of
from keras_stitch.repairs.structure import keras_tensor, operation

Shape = tuple[int | None, ...]

_PENALTIES = ("kernel_regularizer", "bias_regularizer")


class Inside:
    """The functional model that takes the place of a layer.

    Args:
        said: The layer in the file, its arguments named as in Keras 2.
        shapes: The shape of each tensor that it takes, with the batch axis.
        on_theano: Whether the Keras that wrote the file ran on Theano.
    """

    def __init__(self, said: Layer, shapes: Sequence[Shape], on_theano: bool):
        self.name = name_of(said)
        self.config: dict[str, Any] = said["config"]
        self.shapes = [tuple(shape) for shape in shapes]
        self.on_theano = on_theano
        self.fills: dict[str, Fill] = {}
        self.parts: dict[str, Layer] = {}
        self._trainable = bool(self.config.get("trainable", True))
        self._put: list[Layer] = []
        self.inputs = [self._input(number, shape) for number, shape in enumerate(self.shapes)]

    @property
    def features(self) -> int:
        """The size of the last axis."""
        (size,) = self.known(self.shapes[0][-1:])
        return size

    def known(self, sizes: Sequence[int | None]) -> tuple[int, ...]:
        """Sizes without which the layer cannot be rebuilt.

        Raises:
            SourceError: If one of them is not known.
        """
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            raise unknown_shape(self.name)
        return known

    @property
    def penalties(self) -> dict[str, Any]:
        """The arguments of the layer that are penalties on its weights, in training."""
        return {key: self.config[key] for key in _PENALTIES if self.config.get(key)}

    def add(self, class_name: str, suffix: str, *sources: str, fill: Fill | None = None, **config: Any) -> str:
        """Put in a layer that takes some of those that are there; returns its name.

        Args:
            class_name: A class of ``keras.layers``.
            suffix: What its name has after that of the layer in the file.
            sources: The names of what it takes.
            fill: Makes its weights of those in the file. There are no others: they would be constants, which train
                once somebody unfreezes the model.
            config: Its arguments.
        """
        name = f"{self.name}_{suffix}"
        dtype = self.config.get("dtype") or "float32"
        self._put.append(
            {
                "class_name": class_name,
                "config": {"name": name, "trainable": self._trainable, "dtype": dtype, **config},
                "name": name,
                "inbound_nodes": [[[source, 0, 0, {}] for source in sources]],
            }
        )
        if fill is not None:
            self.fills[name] = fill
        return name

    def add_part(self, part: Layer, suffix: str, source: str, **config: Any) -> str:
        """Put in a layer that the layer in the file wraps, with other arguments; it gets its share of the arrays."""
        config = {key: value for key, value in (part["config"] | config).items() if key != "name"}
        name = self.add(part["class_name"], suffix, source, **config)
        self._put[-1]["config"]["trainable"] = self._trainable and bool(config.get("trainable", True))
        self.parts[name] = part
        return name

    def operate(self, kind: str, suffix: str, source: str, *values: Any, **config: Any) -> str:
        """Put in an operation of Keras, which is no layer; returns its name."""
        name = f"{self.name}_{suffix}"
        self._put.append(operation(kind, name, [keras_tensor([source, 0, 0]), *values], config))
        return name

    def mask(self, name: str, mask: str) -> str:
        """Give the call of a layer that takes one tensor a mask as its argument."""
        layer = next(layer for layer in self._put if layer["name"] == name)
        ((source,),) = layer["inbound_nodes"]
        args = {"args": [source[:3]], "kwargs": {"mask": [mask, 0, 0]}}
        layer["inbound_nodes"] = [map_references(args, keras_tensor)]
        return name

    def model(self, output: str) -> Layer:
        """All of it as a layer."""
        config = {
            "name": self.name,
            "trainable": self._trainable,
            "layers": self._put,
            "input_layers": [[name, 0, 0] for name in self.inputs],
            "output_layers": [output, 0, 0],
        }
        return {"class_name": "Functional", "config": config}

    def _input(self, number: int, shape: Shape) -> str:
        name = f"{self.name}_input{number or ''}"
        config = {"name": name, "batch_shape": [None, *shape[1:]], "dtype": "float32"}
        self._put.append({"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []})
        return name


def unknown_shape(name: str) -> SourceError:
    """The error of a layer that would be rebuilt if the file said more."""
    return SourceError(
        f"Keras 3 does not have the layer '{name}', and it is not rebuilt because the file does not say the shape of "
        "what it takes.",
        fix="Give the model an input of a known shape where the file was made, and save it again.",
    )


@dataclass(frozen=True)
class Kind:
    """A kind of layer that is gone.

    Attributes:
        build: Puts in the layers that do the same, and returns the name of the last.
        arrays: How many arrays a file has for a layer of this config: those that train, and those that do not.
    """

    build: Callable[[Inside], str]
    arrays: Callable[[Mapping[str, Any]], tuple[int, int]]


def pick(*indices: int) -> Fill:
    """Some of the arrays as they are."""
    return lambda arrays: [arrays[index] for index in indices if index < len(arrays)]
