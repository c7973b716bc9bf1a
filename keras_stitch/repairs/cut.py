"""Part of an architecture: a nested model alone, or what some layers need. Nobody looks at what is left out."""

from __future__ import annotations

from collections.abc import Iterable

from keras_stitch.errors import SourceError, nearest
from keras_stitch.repairs.architecture import (
    Layer,
    Part,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    is_operation,
    name_of,
    references,
)
from keras_stitch.repairs.archives import Numbers

WHY = "the outputs that were asked for need nothing of it, and the whole model could not be loaded"


def take_part(saved: Saved, name: str) -> None:
    """Make a nested model the model of the file.

    Raises:
        SourceError: If the outermost model has none of that name.
    """
    numbers = Numbers()
    nested = {}
    for layer in inner_layers(saved.model):
        group = "" if is_operation(layer) else f"layers/{numbers.next(saved.class_in_file(layer))}"
        if is_model(layer):
            nested[name_of(layer)] = layer, Part(name_of(layer), group)
    if name not in nested:
        raise SourceError(
            f"The file has no model '{name}' within its model.",
            expected=nearest(name, nested) if nested else "a file with nested models; this one has none",
        )
    saved.model, saved.part = nested[name]


def to_outputs(saved: Saved, names: Iterable[str]) -> list[str]:
    """Leave out what the outputs of some layers do not need; the inputs stay, all of them.

    Returns:
        The names of the layers that are left out.
    """
    model, names = saved.model, list(names)
    if not is_functional(model):
        return []
    layers = inner_layers(model)
    if not {name_of(layer) for layer in layers}.issuperset(names):
        return []
    needed = upstream(model, names)
    kept = [layer for layer in layers if name_of(layer) in needed or layer["class_name"] == "InputLayer"]
    if len(kept) == len(layers):
        return []
    saved.layers_in_file[id(model)] = layers
    model["config"]["layers"] = kept
    model["config"]["output_layers"] = [[name, _first_call(model, name), 0] for name in names]
    return [name_of(layer) for layer in layers if not any(layer is other for other in kept)]


def upstream(model: Layer, names: Iterable[str]) -> set[str]:
    """The names of layers of a functional model, and of all that they are called on, in any of their calls."""
    calls = {name_of(layer): layer.get("inbound_nodes") for layer in inner_layers(model)}
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [item[0] for item in references(calls.get(name))]
    return found


def _first_call(model: Layer, name: str) -> int:
    """How the file counts the first call of a layer, which need not be from 0 for a nested model."""
    nodes = [layer.get("inbound_nodes") for layer in inner_layers(model)]
    calls = [item[1] for item in references([nodes, model["config"]["output_layers"]]) if item[0] == name]
    return min(calls, default=0)
