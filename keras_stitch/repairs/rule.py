"""Rules and checks, the report of a rule that was needed, and what most rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_functional, name_of, walk


@dataclass(frozen=True)
class Rule:
    """One quirk of old files, and its repair.

    Attributes:
        name: What tables call it: ``hard-sigmoid``.
        why: What was, and what is done about it, in a sentence without its end.
        apply: Repairs a whole file in place and says in which layers, by path.
        legacy: Whether only files of Keras 1 and 2 can have it.
    """

    name: str
    why: str
    apply: Callable[[Saved], list[str]]
    legacy: bool = True


@dataclass(frozen=True)
class Check:
    """One quirk of old files that nothing can repair.

    Attributes:
        name: ``random-crop``.
        refuse: Raises a ``SourceError`` where a file has it, and changes nothing.
        legacy: Whether only files of Keras 1 and 2 can have it.
    """

    name: str
    refuse: Callable[[Saved], None]
    legacy: bool = True


@dataclass(frozen=True)
class Repair:
    """That a rule was needed.

    Attributes:
        rule: The rule's name.
        why: The reason that the rule gives.
        where: The layers, by path; empty for the model as a whole.
    """

    rule: str
    why: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = [place for place in self.where if place]
        shown = ", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else "")
        return f"{self.rule}{f' ({shown})' if shown else ''}: {self.why}"


_SHOWN = 3


def each_layer(change: Callable[[Layer, Saved], bool], *, custom: bool = False) -> Callable[[Saved], list[str]]:
    """A rule's ``apply`` from what it does to a single layer, which says whether it did something.

    Args:
        change: Repairs a layer.
        custom: Whether it is for layers of the user's classes, too.
    """

    def apply(saved: Saved) -> list[str]:
        layers = list(walk(saved.model)) if custom else keras_layers(saved)
        return [path for path, layer in layers if change(layer, saved)]

    return apply


def keras_layers(saved: Saved) -> Iterator[tuple[str, Layer]]:
    """All layers that are not of the user's classes, with their paths; layers may be added or replaced meanwhile."""
    return ((path, layer) for path, layer in list(walk(saved.model)) if not saved.is_custom(layer))


def configured(saved: Saved, *classes: str) -> Iterator[tuple[str, Layer]]:
    """Those of some classes."""
    return ((path, layer) for path, layer in keras_layers(saved) if layer["class_name"] in classes)


def insert_before(model: Layer, layer: Layer, class_name: str, suffix: str, **config: Any) -> None:
    """Put a new layer in front of one of a model's, in every call that it takes part in.

    Args:
        model: The model.
        layer: One of its layers, called on single tensors.
        class_name: The class of the new layer.
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
