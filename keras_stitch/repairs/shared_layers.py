"""Layers that several models or wrappers hold: one layer in memory, written at each of its places.

Keras marks them with a ``shared_object_id``, Keras 3 not always at the first place, and counts their calls from 0 in
each model. Keras 3 loads such a layer once, with the calls of all models. So the id has to be at every place, and the
calls in a later model have to be counted behind those in the models before it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    name_of,
    references_within,
    walk,
    wrapped_layers,
)
from keras_stitch.repairs.rule import rule

ID = "shared_object_id"


@rule("shared-layers", "a layer is in several models, and Keras 3 would make one of each", legacy=False)
def shared_layers(saved: Saved) -> list[str]:
    """A layer that is in several models is one layer again."""
    return share(saved.model)


def share(model: Layer) -> list[str]:
    """Repair the architecture that Keras wrote, in place, so that Keras 3 makes one layer of what was one.

    Returns:
        The paths of the layers that are at several places, by the first place.
    """
    places = _places(model)
    for path, layers in places.items():
        for layer in layers:
            layer[ID] = path
    if places:
        _count_calls(model, set(), Counter())
    return list(places)


def places(model: Layer) -> dict[str, list[str]]:
    """The paths of all places of each layer that has several, in an architecture that was repaired."""
    found: dict[str, list[str]] = {}
    for path, layer in walk(model):
        if isinstance(layer.get(ID), str):
            found.setdefault(layer[ID], []).append(path)
    return found


def _places(model: Layer) -> dict[str, list[Layer]]:
    """All places of each layer that Keras marked as one that has several, by the path of the first.

    Keras 3 may leave out the mark at the first place, which says the same otherwise. Whoever reads the weights there
    sees where they are not the same.
    """
    layers = [(path, layer) for path, layer in walk(model) if path]
    # An id that is a path was given here.
    marked = {layer[ID]: layer for _, layer in layers if isinstance(layer.get(ID), int)}
    found: dict[str, list[Layer]] = {}
    for number, one in marked.items():
        kind, name, said = one["class_name"], name_of(one), _without_ids(one["config"])
        first = next(index for index, (_, layer) in enumerate(layers) if layer.get(ID) == number)
        alike = [
            (path, layer)
            for index, (path, layer) in enumerate(layers)
            if (layer.get(ID) == number or (ID not in layer and index < first))
            and (layer["class_name"], name_of(layer)) == (kind, name)
            and _without_ids(layer["config"]) == said
        ]
        if len(alike) > 1:
            found[alike[0][0]] = [layer for _, layer in alike]
    return found


def _without_ids(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _without_ids(value) for key, value in item.items() if key != ID}
    return [_without_ids(value) for value in item] if isinstance(item, list | tuple) else item


def _count_calls(model: Layer, made: set[str], calls: Counter[str]) -> None:
    """Count the calls of shared layers in the order in which Keras 3 makes them, the inner models first."""
    layers = inner_layers(model)
    for layer in (*layers, *wrapped_layers(model)):
        if layer.get(ID) not in made:
            made.update([layer[ID]] if ID in layer else [])
            _count_calls(layer, made, calls)
    shared = {name_of(layer): layer for layer in layers if isinstance(layer.get(ID), str)}
    if is_functional(model):
        before = {name: calls[layer[ID]] for name, layer in shared.items()}
        for reference in references_within(model):
            reference[1] += before.get(reference[0], 0)
        calls.update({layer[ID]: len(layer["inbound_nodes"]) for layer in shared.values()})
    elif is_model(model):  # a Sequential, see keras_private.build_sequentials_once
        calls.update(layer[ID] for layer in shared.values())
