"""Masks as tensors of a functional model: operations of Keras that compute them, put into its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from keras_stitch.repairs.architecture import Layer, inner_layers, map_references, name_of, references
from keras_stitch.repairs.rule import free_name
from keras_stitch.repairs.structure import keras_tensor, operation

Source = tuple[str, int, int]
# Stands for a model itself: its inputs, by number.
INPUT = ""


@dataclass(frozen=True)
class Origin:
    """Where a mask begins.

    Attributes:
        name: What tells it from others.
        source: The tensor that it is computed of; ``None`` where that is no tensor of the graph at hand.
        masked: The value that ``Masking`` masks; ``None`` for an ``Embedding``, which masks zeros.
        parts: For a mask of tensors one behind the other, their masks.
    """

    name: str
    source: Source | None = field(default=None, compare=False)
    masked: float | None = field(default=None, compare=False)
    parts: tuple[frozenset[Origin], ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, layer: Layer, name: str, source: Source | None) -> Self:
        """The mask that a layer makes of a tensor."""
        return cls(name, source, layer["config"].get("mask_value", 0.0) if layer["class_name"] == "Masking" else None)

    def seen_from_outside(self, inputs: Sequence[str]) -> Origin:
        """The same behind a functional model, where only its inputs are known, by number."""
        known = self.source is not None and self.source[0] in inputs
        number = inputs.index(self.source[0]) if known and self.source is not None else None
        return Origin(self.name, None if number is None else (INPUT, number, 0), self.masked)

    def seen_at(self, sources: Sequence[Source | None]) -> Origin:
        """The same where its model is called on these tensors."""
        source = sources[self.source[1]] if self.source is not None and self.source[0] == INPUT else None
        return Origin(self.name, source, self.masked)


class Graph:
    """The graph of a functional model, with operations that are added to it."""

    def __init__(self, model: Layer):
        self._model = model
        self._made: dict[Any, list[Any]] = {}
        self.replaced: dict[tuple[str, int], str] = {}

    def tensor(self, mask: frozenset[Origin], name: str) -> list[Any] | None:
        """A reference to a mask, as a tensor that is made for the layer of this name; ``None`` if it cannot be."""
        if mask not in self._made:
            parts = [self._single(origin, name) for origin in sorted(mask, key=lambda origin: origin.name)]
            found = parts[0]
            for part in parts[1:]:
                if found is None or part is None:
                    return None
                found = self._add("LogicalAnd", name, found, part)
            if found is None:
                return None
            self._made[mask] = found
        return list(self._made[mask])

    def _single(self, origin: Origin, name: str) -> list[Any] | None:
        if origin.parts:
            parts = [self.tensor(part, name) for part in origin.parts]
            return None if None in parts else self._add("Concatenate", name, parts, axis=1)
        if origin.source is None or origin.source[0] == INPUT:
            return None
        differs = self._add("NotEqual", name, list(origin.source), 0 if origin.masked is None else origin.masked)
        return differs if origin.masked is None else self._add("Any", name, differs, axis=-1, keepdims=False)

    def copy(self, reference: list[Any], name: str) -> list[Any]:
        """A copy of a tensor, without its mask."""
        key = tuple(reference)
        if key not in self._made:
            self._made[key] = self._add("Copy", name, reference)
        return list(self._made[key])

    def fill_start(self, layer: Layer, call: int, mask: list[Any], state: list[Any], *, steps: bool) -> None:
        """Put a state in the place of what a call gives out while all steps so far are masked.

        Args:
            layer: A recurrent layer.
            call: The number of its call.
            mask: A reference to the mask.
            state: A reference to the state.
            steps: Whether the layer gives out all steps.
        """
        name, config = name_of(layer), self._model["config"]
        nodes = [one.get("inbound_nodes") for one in inner_layers(self._model)]
        takers = list(references([nodes, config["output_layers"]]))
        if steps:
            seen = self._add("NotEqual", name, self._add("Cumsum", name, mask, axis=1, dtype="int32"), 0)
            seen = self._add("ExpandDims", name, seen, axis=-1)
            state = self._add("ExpandDims", name, state, axis=1)
        else:
            seen = self._add("Any", name, mask, axis=1, keepdims=True)
        filled = self._add("Where", name, seen, [name, call, 0], state)
        self.replaced[name, call] = filled[0]
        for taker in takers:
            if taker[:3] == [name, call, 0]:
                taker[:3] = filled

    def _add(self, kind: str, name: str, *arguments: Any, **config: Any) -> list[Any]:
        called = free_name(self._model, f"{name}_mask_{kind.lower()}")
        inner_layers(self._model).append(operation(kind, called, map(self.argument, arguments), config))
        return [called, 0, 0]

    @staticmethod
    def argument(value: Any) -> Any:
        """An argument of a call in the form of Keras 3, references as tensors."""
        return map_references(value, keras_tensor)
