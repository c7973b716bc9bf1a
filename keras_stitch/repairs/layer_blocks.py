"""Several layers in the place of one: a functional model of the layer's name, with the channels last in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_stitch.repairs.architecture import Layer, Saved, name_of

# Above all that a pooled number can be.
_HIGH = 1.5e38


class Block:
    """Layers that are put in the place of one, whose input is ``start``.

    Args:
        layer: The layer; its ``data_format`` says where the channels are.
        rank: How many axes its input has beside those of the batch and the channels.
    """

    def __init__(self, layer: Layer, rank: int):
        self.rank = rank
        self._layer = layer
        self._first = rank > 1 and layer["config"].get("data_format") == "channels_first"
        self._held: list[Layer] = []
        shape = {"batch_shape": [None] * (rank + 2), "dtype": layer["config"].get("dtype") or "float32"}
        self.start = self._inputs = self.add("InputLayer", "input", **shape)
        if self._first:
            self.start = self.add("Permute", "last", self.start, dims=[*range(2, rank + 2), 1])

    def add(self, class_name: str, suffix: str, *inputs: str, **config: Any) -> str:
        """Call a new layer on the output of others; gives its name, for the next."""
        name = f"{name_of(self._layer)}_{suffix}"
        nodes = [[[given, 0, 0, {}] for given in inputs]] if inputs else []
        config = {"name": name, "dtype": self._layer["config"].get("dtype") or "float32", **config}
        self._held.append({"class_name": class_name, "config": config, "name": name, "inbound_nodes": nodes})
        return name

    def pad(self, given: str, suffix: str, sides: Sequence[tuple[int, int]]) -> str:
        """Put zeros around a tensor."""
        padding = list(sides[0]) if self.rank == 1 else [list(pair) for pair in sides]
        return self.add(f"ZeroPadding{self.rank}D", suffix, given, padding=padding)

    def put(self, saved: Saved, end: str) -> None:
        """Put the block in the place of the layer; ``end`` is its output."""
        if self._first:
            end = self.add("Permute", "first", end, dims=[self.rank + 1, *range(1, self.rank + 1)])
        saved.rename_class(self._layer, "Functional")
        self._layer["config"] = {
            "name": name_of(self._layer),
            "layers": self._held,
            "input_layers": [[self._inputs, 0, 0]],
            "output_layers": [[end, 0, 0]],
        }


def largest(block: Block, given: str, sides: Sequence[tuple[int, int]], **windows: Any) -> str:
    """The largest number in every window, without what was put around the tensor."""
    padded = block.pad(given, "padding", sides)
    # High where the tensor is, and low around it. A sum would do as well, if TensorFlow did not reorder it.
    ones = block.add("Rescaling", "ones", given, scale=0.0, offset=1.0)
    inside = block.pad(ones, "inside", sides)
    bound = block.add("Rescaling", "bound", inside, scale=2 * _HIGH, offset=-_HIGH)
    lowered = block.add("Minimum", "lowered", padded, bound)
    return block.add(f"MaxPooling{block.rank}D", "windows", lowered, padding="valid", **windows)


def mean(block: Block, given: str, sides: Sequence[tuple[int, int]], *, size: int, **windows: Any) -> str:
    """The mean of every window, without what was put around the tensor; windows have ``size`` numbers."""
    pooling = f"AveragePooling{block.rank}D"
    padded = block.pad(given, "padding", sides)
    means = block.add(pooling, "windows", padded, padding="valid", **windows)
    ones = block.add("Rescaling", "ones", given, scale=0.0, offset=1.0)
    inside = block.add(pooling, "share", block.pad(ones, "inside", sides), padding="valid", **windows)
    # softsign(n - 1) is 1 - 1 / n for the n numbers of a window that are inside.
    others = block.add("Rescaling", "others", inside, scale=float(size), offset=-1.0)
    softsign = block.add("Activation", "softsign", others, activation="softsign")
    factor = block.add("Rescaling", "factor", softsign, scale=-float(size), offset=float(size))
    return block.add("Multiply", "means", means, factor)
