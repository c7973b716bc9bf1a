"""SavedModels that Keras 2 wrote: the architecture and the arrays in them, and nothing of their graphs of operations.

Each array is found by the objects that hold it, so it is named by the layers that it lies in, whatever the variable
was called; and the arrays of a layer are in the order in which Keras 2 listed them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.files.tensor_bundle import TensorBundle
from keras_stitch.repairs.architecture import Saved, is_layer, is_model
from keras_stitch.repairs.read_file import as_saved
from keras_stitch.repairs.saved_objects import (
    GRAPH,
    VARIABLES,
    SavedObject,
    SavedObjects,
    damaged,
    keys_of_variables,
    read_objects,
)
from keras_stitch.repairs.weights import TOP_LEVEL, Array

PACKED = 'graph.add(name, directory, signature="serving_default")'  # what messages say of the other way
_IN_ORDER = re.compile(r"layer-([0-9]{1,9})")  # the names by which a model holds its layers
# What Keras adds to a layer when it saves it, and what a model holds beside its layers.
_ADDED = {
    *("keras_api", "variables", "trainable_variables", "non_trainable_variables", "regularization_losses"),
    *("signatures", "optimizer"),
}
_MOST_LEVELS = 100


def read_saved_model(directory: Path) -> Saved:
    """What a SavedModel of Keras 2 says of its architecture.

    Raises:
        SourceError: If it cannot be read, or says nothing of its layers.
    """
    objects = read_objects(directory)
    root = objects.said(0)
    if not is_layer(root) or not is_model(root):
        raise _no_layers(directory, root)
    said = {"class_name": root["class_name"], "config": root["config"]}
    version = root.get("keras_version") or objects.tensorflow_version
    bundle = checkpoint(directory)
    shapes = {
        layer: {name: bundle.shape(key) for name, key in keys} for layer, keys in _keys(directory, objects, bundle)
    }
    saved = as_saved(objects.path, json.dumps(said), str(version), "tensorflow", shapes)
    saved.is_tf_keras = True
    return saved


def read_arrays(directory: Path) -> dict[str, list[Array]]:
    """The arrays of every outer layer in a SavedModel of Keras 2, in the order in which Keras 2 listed them.

    Raises:
        SourceError: If they cannot be read.
    """
    bundle = checkpoint(directory)
    found = _keys(directory, read_objects(directory), bundle)
    return {layer: [Array(name, bundle.array(key)) for name, key in keys] for layer, keys in found}


def checkpoint(directory: Path) -> TensorBundle:
    """The checkpoint of a SavedModel.

    Raises:
        SourceError: If it cannot be read.
    """
    return TensorBundle(directory / VARIABLES)


def _keys(directory: Path, objects: SavedObjects, bundle: TensorBundle) -> list[tuple[str, list[tuple[str, str]]]]:
    """For every outer layer, the names of its arrays and their keys in the checkpoint."""
    keys = keys_of_variables(directory, objects, bundle)
    outer = {str(objects.said(number).get("name")): number for number in layers_in_order(objects[0].children)}
    found = {name: _Held(directory, objects, keys).of(number, name) for name, number in outer.items()}
    own = [child for child in objects[0].children.values() if objects[child].name is not None]
    lost = next((name for name, held in found.items() if held.lost), None)
    if lost is not None:
        raise SourceError(
            f"'{directory}' does not hold the weights of layer '{lost}'.",
            expected="values for each weight",
            received=f"no tensor for the variable '{found[lost].lost[0]}' in '{VARIABLES}.index'",
            fix="Copy or download the whole directory again.",
        )
    named = [(name, [*held.trains, *held.rest]) for name, held in found.items()]
    return [*named, (TOP_LEVEL, [(keys[number], keys[number]) for number in own if number in keys])]


@dataclass
class _Weights:
    """The names and keys of the variables of a layer that train, and of the others; names of those without a key."""

    trains: list[tuple[str, str]] = field(default_factory=list)
    rest: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class _Held:
    """Looks through the objects of one outer layer, each of which counts once."""

    def __init__(self, directory: Path, objects: SavedObjects, keys: Mapping[int, str]):
        self._directory, self._objects, self._keys = directory, objects, keys
        self._seen: set[int] = set()

    def of(self, number: int, path: str, level: int = 0) -> _Weights:
        """The weights of a layer or model, as Keras 2 ordered them."""
        found, inner = _Weights(), _Weights()
        for child, name in list(self._inside(self._objects[number], level)):
            if (variable := self._objects[child].name) is not None:
                called = f"{path}/{variable.split('/')[-1].split(':')[0] or name}:0"
                if child in self._keys:
                    (found.trains if self._objects[child].trains else found.rest).append((called, self._keys[child]))
                else:
                    found.lost.append(called)
                continue
            own = str(self._objects.said(child).get("name") or name)
            below = self.of(child, f"{path}/{own}", level + 1)
            inner.trains += below.trains
            inner.rest += below.rest
            found.lost += below.lost
        found.trains += inner.trains
        found.rest += inner.rest
        if not self._objects.said(number).get("trainable", True):
            found.trains, found.rest = [], [*found.trains, *found.rest]
        return found

    def _inside(self, item: SavedObject, level: int) -> Iterator[tuple[int, str]]:
        """The variables and layers that an object holds, in lists and dicts, too, and their names in it."""
        if level > _MOST_LEVELS:
            raise damaged(self._directory / GRAPH, f"its objects are nested more than {_MOST_LEVELS} levels deep")
        in_order = [(str(child), child) for child in layers_in_order(item.children)]
        for name, child in in_order or item.children.items():
            if child in self._seen or name in _ADDED:
                continue
            self._seen.add(child)
            held = self._objects[child]
            if held.is_layer or held.name is not None:
                yield child, name
            elif held.is_container:
                yield from self._inside(held, level + 1)


def layers_in_order(children: Mapping[str, int]) -> list[int]:
    """The layers of a model in their order, of the objects that it holds by their names; none for anything else."""
    matches = ((_IN_ORDER.fullmatch(name), child) for name, child in children.items())
    return [child for _, child in sorted((int(match[1]), child) for match, child in matches if match)]


def _no_layers(directory: Path, root: Mapping[str, Any]) -> SourceError:
    return SourceError(
        f"'{directory}' is a SavedModel of Keras that does not say of which layers its model consists: it is of the "
        f"class '{root.get('class_name', root.get('name'))}', whose code is not in it.",
        expected="a Sequential or functional model",
        fix=f"Pack its graph of operations as it is, {PACKED}, or save the model as Keras layers where its code is.",
    )
