"""Checkpoints that ``model.save_weights("m.ckpt")`` of Keras 2 wrote, beside an architecture: as the arrays of an .h5.

A checkpoint names its objects by the places at which the model holds them: ``layer-0``, ``layer-1`` and so on are its
layers in their order, and so is it within nested models. Each variable says what it was called. What a checkpoint does
not say, and an HDF5 file does, is the order of the arrays in a layer: first those that train. The architecture says
what was frozen, by which ``weights.assign`` orders them, too; and the layers of Keras 2 have their own names for what
never trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_stitch.errors import SourceError
from keras_stitch.files.tensor_bundle import TensorBundle
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_layer,
    is_model,
    name_of,
    walk,
)
from keras_stitch.repairs.read_file import read_architecture
from keras_stitch.repairs.read_saved_model import layers_in_order
from keras_stitch.repairs.saved_objects import OBJECT_GRAPH, StoredObject, damaged, stored_objects
from keras_stitch.repairs.weights import Array, outer_layers, trainable_as_said

# What layers of Keras 2 call the variables that never train.
_NEVER_TRAIN = {
    *("moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"),
    *("mean", "variance", "count", "vector_u", "summary"),
}
# What Keras keeps beside the weights of a layer: the states of its random numbers among them.
_BESIDE = {"keras_api", "optimizer", "signatures", "_random_generator"}
_TRAINS: Layer = {"config": {"trainable": True}}
_MOST_LEVELS = 100
_AS_H5 = 'In the Keras that made it, model.load_weights("{}") and model.save_weights("weights.h5"); then add that.'


def read_checkpoint(arch: Path, prefix: Path) -> Saved:
    """What an architecture says of the layers whose weights a checkpoint has.

    Raises:
        SourceError: If either cannot be read, or the checkpoint is that of another model.
    """
    saved = read_architecture(arch)
    if not saved.is_legacy:
        raise SourceError(
            f"'{prefix}' is a checkpoint of Keras 2, and '{arch}' is an architecture of Keras 3.",
            expected="what model.to_json() gives in the Keras that made the checkpoint",
            fix="Make the architecture there, or save the weights in Keras 3: model.save_weights('m.weights.h5').",
        )
    saved.is_tf_keras = True
    bundle = TensorBundle(prefix)
    saved.arrays = {
        layer: {name: bundle.shape(key) for name, key in keys} for layer, keys in _keys(saved.model, prefix, bundle)
    }
    return saved


def read_arrays(arch: Path, prefix: Path) -> dict[str, list[Array]]:
    """The arrays of every outer layer in a checkpoint, in the order in which Keras 2 listed them.

    Raises:
        SourceError: If they cannot be read.
    """
    bundle = TensorBundle(prefix)
    found = _keys(read_architecture(arch).model, prefix, bundle)
    return {layer: [Array(name, bundle.array(key)) for name, key in keys] for layer, keys in found}


def check_order(path: Path, model: keras.Model, saved: Saved, arrays: Mapping[str, Sequence[Array]]) -> None:
    """Raise where a custom layer has weights that never train, whose names do not say so: their order is unknown."""
    for layer, said, name in outer_layers(model, saved):
        is_custom = any(saved.is_custom(held) for _, held in walk(said))
        if layer is None or not is_custom or id(said) in saved.replaced:
            continue
        named = sum(_never_trains(array.name) for array in arrays.get(name, ()))
        with trainable_as_said(layer, _TRAINS):
            still = sum(not weight.trainable for weight in layer.weights)
        if named != still:
            raise SourceError(
                f"'{path}' does not say which weights of the custom layer '{name}' never train, and so not in "
                "which order Keras lists them.",
                expected=f"{still} by the names {', '.join(sorted(_NEVER_TRAIN))}",
                received=f"{named}",
                fix=_AS_H5.format(path.name),
            )


def _keys(model: Layer, prefix: Path, bundle: TensorBundle) -> list[tuple[str, list[tuple[str, str]]]]:
    """For every outer layer, the names of its arrays and their keys in the checkpoint."""
    if OBJECT_GRAPH not in bundle.keys:
        raise SourceError(
            f"'{prefix}' is a checkpoint that does not say which layers its weights belong to, as those of "
            "TensorFlow 1.",
            expected='what model.save_weights("weights.ckpt") of Keras 2 writes',
            received=f"variables by their names alone: {', '.join(bundle.keys[:4])}"[:300],
            fix=_AS_H5.format(prefix.name),
        )
    objects = stored_objects(prefix, bundle)
    reader = _Reader(prefix, objects)
    found = []
    for said, number in reader.pairs(model, reader.model(), name_of(model)):
        weights = _Reader(prefix, objects).of(number, said, name_of(said))
        found.append((name_of(said), [*weights.trains, *weights.rest]))
    return found


@dataclass
class _Weights:
    """The names and keys of the variables of a layer that train, and of the others."""

    trains: list[tuple[str, str]] = field(default_factory=list)
    rest: list[tuple[str, str]] = field(default_factory=list)


class _Reader:
    """Looks through the objects of one outer layer, each of which counts once."""

    def __init__(self, prefix: Path, objects: Sequence[StoredObject]):
        self._prefix, self._objects = prefix, objects
        self._seen: set[int] = set()

    def model(self) -> int:
        """The number of the model: the outermost object, or the only model that it holds (``tf.train.Checkpoint``)."""
        if layers_in_order(self._objects[0].children):
            return 0
        held = {child for child in self._objects[0].children.values() if self._is_model(child)}
        if len(held) == 1:
            return held.pop()
        names = ", ".join(list(self._objects[0].children)[:8])[:300] or "nothing"
        raise SourceError(
            f"'{self._prefix}' is no checkpoint of one Sequential or functional model.",
            expected='the objects layer-0, layer-1 ..., as model.save_weights("weights.ckpt") of Keras 2 writes them',
            received=f"objects: {names}" if not held else f"{len(held)} models, among the objects {names}",
            fix=_AS_H5.format(self._prefix.name),
        )

    def _is_model(self, number: int) -> bool:
        return bool(layers_in_order(self._objects[number].children))

    def pairs(self, said: Layer, number: int, path: str) -> list[tuple[Layer, int]]:
        """The layers of a model in an architecture, each with the number of its object."""
        layers = inner_layers(said)
        # The layers that a Sequential lists begin behind its input.
        if layers and not is_functional(said) and layers[0]["class_name"] == "InputLayer":
            layers = layers[1:]
        numbers = layers_in_order(self._objects[number].children)
        if len(layers) != len(numbers):
            raise self._of_another(f"{len(layers)} layers in '{path}'", str(len(numbers)))
        found = list(zip(layers, numbers, strict=True))
        self._check_names(found, path)
        return found

    def _check_names(self, pairs: Sequence[tuple[Layer, int]], path: str) -> None:
        """Raise where the variables of the layers have the names of these layers, in another order."""
        owners = [(name_of(said), self._owner(number)) for said, number in pairs if not is_model(said)]
        named = [(name, owner) for name, owner in owners if owner is not None]
        expected, received = [name for name, _ in named], [owner for _, owner in named]
        if expected != received and sorted(expected) == sorted(map(str, received)):
            raise self._of_another(
                f"the layers of '{path}' in this order: {', '.join(expected)}"[:500],
                ", ".join(map(str, received))[:500],
            )

    def _owner(self, number: int) -> str | None:
        """The layer that the variables of an object are named by, if they agree; ``None`` where it has none."""
        names = [name for name, _ in _Reader(self._prefix, self._objects).of(number, {}, "").trains]
        scopes = {name.partition("/")[0] for name in names}
        return scopes.pop() if len(scopes) == 1 else None

    def _of_another(self, expected: str, received: str) -> SourceError:
        return SourceError(
            f"'{self._prefix}' is a checkpoint of another model than the architecture.",
            expected=expected,
            received=received,
            fix="Give the architecture of the model that the weights were saved from: model.to_json() beside "
            "model.save_weights(...).",
        )

    def of(self, number: int, said: Layer, path: str, level: int = 0) -> _Weights:
        """The weights of a layer or model, as Keras 2 ordered them; ``said`` is empty where nothing says more."""
        if level > _MOST_LEVELS:
            raise damaged(self._prefix, f"its objects are nested more than {_MOST_LEVELS} levels deep")
        found, inner = _Weights(), _Weights()
        for name, child, below in list(self._inside(number, said, path)):
            if child in self._seen:
                continue
            self._seen.add(child)
            item = self._objects[child]
            if item.key is not None:
                called = f"{item.name or f'{path}/{name}'}:0"
                (found.rest if _never_trains(called) else found.trains).append((called, item.key))
                continue
            held = self.of(child, below, f"{path}/{name}", level + 1)
            inner.trains += held.trains
            inner.rest += held.rest
        found.trains += inner.trains
        found.rest += inner.rest
        if not _config(said).get("trainable", True):
            found.trains, found.rest = [], [*found.trains, *found.rest]
        return found

    def _inside(self, number: int, said: Layer, path: str) -> Iterator[tuple[str, int, Layer]]:
        """What an object holds: the names and numbers, and what the architecture says of each."""
        self._seen.add(number)
        children = self._objects[number].children
        if is_model(said):
            yield from ((name_of(layer), child, layer) for layer, child in self.pairs(said, number, path))
            return
        in_order = layers_in_order(children)
        if in_order:  # a model of which the architecture says nothing here
            yield from ((str(child), child, {}) for child in in_order)
            return
        for name, child in children.items():
            if name not in _BESIDE:
                yield name, child, _wrapped(said, name)


def _wrapped(said: Layer, name: str) -> Layer:
    """What the architecture says of the layer that a layer holds under a name; empty where it says nothing."""
    config = _config(said)
    found = config.get(name)
    if found is None and name in ("forward_layer", "backward_layer"):
        found = config.get("layer")  # both are made of it
    return dict(found) if is_layer(found) and isinstance(found, dict) else {}


def _config(said: Layer) -> Mapping[str, Any]:
    config = said.get("config")
    return config if isinstance(config, dict) else {}


def _never_trains(name: str) -> bool:
    return name.split("/")[-1].split(":")[0] in _NEVER_TRAIN
