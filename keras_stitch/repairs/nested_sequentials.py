"""A Sequential within another model: without a name of its own, or with several inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    layer_path,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.rule import free_name, rule


@rule("sequential-names", "a Sequential in another had no name in the file; it has that of its weights, or a new one")
def sequential_names(saved: Saved) -> list[str]:
    """Until Keras 2.2.3, a Sequential was a bare list; only its weights had its name."""
    nameless = [
        layer for _, model in walk(saved.model) for layer in inner_layers(model) if _is_nameless(layer)
    ]  # fmt: skip
    apart = list(_saved_apart(saved.model))
    named = {name_of(layer) for layer in apart if not _is_nameless(layer)}
    theirs = [name for name in saved.arrays if name not in named]
    waiting = [layer for layer in apart if _is_nameless(layer)]
    names = dict(zip(map(id, waiting), theirs, strict=True)) if len(waiting) == len(theirs) else {}
    taken = {name_of(layer) for _, layer in walk(saved.model)} | set(saved.arrays)
    for layer in nameless:
        number = 1
        while f"sequential_{number}" in taken:
            number += 1
        layer["name"] = names.get(id(layer), f"sequential_{number}")
        taken.add(layer["name"])
    return [layer["name"] for layer in nameless]


def _is_nameless(layer: Layer) -> bool:
    return isinstance(layer["config"], list) and not layer.get("name")


def _saved_apart(model: Layer) -> Iterator[Layer]:
    """The layers whose weights are saved apart from each other; a Merge that comes first has none, its branches do."""
    for number, layer in enumerate(inner_layers(model)):
        if number or layer["class_name"] != "Merge" or not inner_layers(layer):
            yield layer
            continue
        for branch in inner_layers(layer):
            yield from _saved_apart(branch) if is_model(branch) else [branch]


@rule("several-inputs", "a Sequential began with a model of several inputs; it is a functional model with them now")
def several_inputs(saved: Saved) -> list[str]:
    found = []
    for path, model in reversed(list(walk(saved.model))):
        first = next(iter(inner_layers(model)), None)
        if first is None or is_functional(model) or not is_functional(first) or saved.is_custom(model):
            continue
        starts = [item[0] for item in references(first["config"]["input_layers"])]
        if len(starts) > 1:
            _call_first(model, starts, saved)
            found.append(layer_path(path, first))
    return found


def _call_first(model: Layer, starts: list[str], saved: Saved) -> None:
    layers = inner_layers(model)
    first = layers[0]
    inner = {name_of(layer): layer for layer in inner_layers(first)}
    inputs = []
    for start in starts:
        name = free_name(model, start)
        config = {**copy.deepcopy(inner[start]["config"]), "name": name}
        inputs.append({"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []})
    first |= {"name": name_of(first), "inbound_nodes": [[[name_of(each), 0, 0, {}] for each in inputs]]}
    connect(layers)
    make_functional(saved, model, [*inputs, *layers], [[name_of(each), 0, 0] for each in inputs])


def make_functional(saved: Saved, model: Layer, layers: list[Layer], inputs: list[Any]) -> None:
    """Make a Sequential a functional model of connected layers, of which the last makes its output."""
    model["config"] = {
        "name": name_of(model),
        "layers": layers,
        "input_layers": inputs,
        "output_layers": [[name_of(layers[-1]), 0, 0]],
    }
    saved.rename_class(model, "Functional")


def connect(layers: list[Layer]) -> None:
    """Call each layer on the output of the one before it."""
    for before, layer in pairwise(layers):
        layer |= {"name": name_of(layer), "inbound_nodes": [[[name_of(before), 0, 0, {}]]]}
