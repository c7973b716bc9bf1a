"""Rules and checks, the report of a rule that was needed, and what most rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_functional, layer_path, name_of, walk


@dataclass(frozen=True)
class Rule:
    """One quirk of old files, and its repair.

    Attributes:
        name: What tables call it: ``hard-sigmoid``.
        why: What was, and what is done about it, in a sentence without its end.
        apply: Repairs a whole file in place and gives the paths of the repaired layers.
        legacy: Whether only files of Keras 1 and 2 can have it.
    """

    name: str
    why: str
    apply: Callable[[Saved], list[str]]
    legacy: bool = True


@dataclass(frozen=True)
class ArrayRule:
    """One quirk that is repaired where arrays are assigned, and reported there."""

    name: str
    why: str
    legacy: bool = True


@dataclass(frozen=True)
class Check:
    """One quirk of old files that nothing can repair: ``refuse`` raises where a file has it."""

    name: str
    refuse: Callable[[Saved], None]
    legacy: bool = True


@dataclass(frozen=True)
class ModelRule:
    """One quirk whose repair changes the loaded model, not its architecture; ``name``, ``why`` as of a ``Rule``."""

    name: str
    why: str
    legacy: bool = False


@dataclass(frozen=True)
class Repair:
    """That a rule was needed: its name and reason, and the paths of the layers; "" is the model as a whole."""

    rule: str
    why: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = [place for place in self.where if place]
        shown = ", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else "")
        return f"{self.rule}{f' ({shown})' if shown else ''}: {self.why}"


_SHOWN = 3
_WRAPPERS = ("TimeDistributed", "Bidirectional")


def rule(name: str, why: str, *, legacy: bool = True) -> Callable[[Callable[[Saved], list[str]]], Rule]:
    """Make a rule of a function that repairs a whole file in place and gives the paths of the repaired layers."""
    return lambda apply: Rule(name, why, apply, legacy)


def layer_rule(
    name: str, why: str, *, legacy: bool = True, custom: bool = False
) -> Callable[[Callable[[Layer, Saved], bool]], Rule]:
    """Make a rule of a function that repairs a single layer and tells whether it changed something.

    ``custom`` says whether layers of the user's classes are repaired, too.
    """

    def made(change: Callable[[Layer, Saved], bool]) -> Rule:
        def apply(saved: Saved) -> list[str]:
            layers = list(walk(saved.model)) if custom else keras_layers(saved)
            return [path for path, layer in layers if change(layer, saved)]

        return Rule(name, why, apply, legacy)

    return made


def check(name: str, *, legacy: bool = True) -> Callable[[Callable[[Saved], None]], Check]:
    """Make a check of a function that raises a ``SourceError`` where a file has the quirk."""
    return lambda refuse: Check(name, refuse, legacy)


def keras_layers(saved: Saved) -> Iterator[tuple[str, Layer]]:
    """All layers that are not of the user's classes, with their paths; layers may be added or replaced meanwhile."""
    return ((path, layer) for path, layer in list(walk(saved.model)) if not saved.is_custom(layer))


def configured(saved: Saved, *classes: str) -> Iterator[tuple[str, Layer]]:
    """The same for some classes only."""
    return ((path, layer) for path, layer in keras_layers(saved) if layer["class_name"] in classes)


def inner_calls(saved: Saved) -> Iterator[tuple[str, Layer, Layer]]:
    """Every layer that a functional model calls: its path, the model and the layer, as they were at first."""
    for path, model in list(walk(saved.model)):
        if is_functional(model):
            for layer in list(inner_layers(model)):
                yield layer_path(path, layer), model, layer


def held_layers(saved: Saved) -> Iterator[tuple[str, Layer, Layer, Layer]]:
    """Every layer of every model with what it wraps at last: the path, the model, the outer layer and the inner one."""
    for start, model in list(walk(saved.model)):
        for outer in list(inner_layers(model)):
            path, layer = layer_path(start, outer), outer
            while layer["class_name"] in _WRAPPERS:
                layer = layer["config"]["layer"]
                path = layer_path(path, layer)
            yield path, model, outer, layer


def listed(value: Any, rank: int) -> list[Any]:
    """An argument that has a value for every axis, or one for all."""
    return list(value) if isinstance(value, list | tuple) else [value] * rank


def distributed(outer: Layer, layer: Layer, class_name: str, **config: Any) -> tuple[str, dict[str, Any]]:
    """A new layer, within as many ``TimeDistributed`` as a layer is in an outer one: its class and its arguments."""
    while outer is not layer:
        if outer["class_name"] == "TimeDistributed":
            inner = {"class_name": class_name, "config": {"name": f"{class_name.lower()}_of_steps", **config}}
            class_name, config = "TimeDistributed", {"layer": inner}
        outer = outer["config"]["layer"]
    return class_name, config


def insert_after(saved: Saved, model: Layer, layer: Layer, class_name: str, suffix: str, /, **config: Any) -> None:
    """Put a new layer behind a layer of a model, in each of its calls, which give a single tensor.

    The new layer gets the name of the layer, and the layer that name with the suffix; ``config`` has its arguments.
    """
    name, calls = name_of(layer), len(layer.get("inbound_nodes") or [])
    inner = free_name(model, f"{name}_{suffix}")
    saved.original_names.setdefault(id(layer), name)
    layer["config"]["name"] = inner
    new: Layer = {"class_name": class_name, "config": {"name": name, **config}}
    # The weights in the file are those of the layer.
    saved.original_names[id(new)] = inner
    if is_functional(model):
        layer["name"] = inner
        new |= {"name": name, "inbound_nodes": [[[inner, call, 0, {}]] for call in range(calls)]}
    inner_layers(model).insert(position(model, layer) + 1, new)


def insert_before(model: Layer, layer: Layer, class_name: str, suffix: str, /, **config: Any) -> None:
    """Put a new layer in front of a layer of a model, in each of its calls, which take a single tensor.

    The new layer is called like the layer, with the suffix; ``config`` has its arguments.
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
