"""``.keras`` archives, and weights in their layout, with an architecture that was repaired.

Keras stores a layer there by its class and its number among those of the class, ``layers/dense_1``, in the order of
the model's layers. Keras 3 may order them otherwise than Keras 2 did, so the groups are moved to where it looks.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.files.new_files import new_file
from keras_stitch.files.parse_text import from_json
from keras_stitch.files.scratch import Scratch
from keras_stitch.files.zip_files import open_zip
from keras_stitch.keras_private import archive_name
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_layer, is_model, is_operation, name_of
from keras_stitch.repairs.shared_layers import ID, share

_CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_BEFORE_2_14 = "_layer_checkpoint_dependencies"
_PARTS = ("forward_layer", "backward_layer")  # of a Bidirectional


def load(path: Path, model: keras.Model, saved: Saved, custom_objects: Mapping[str, Any]) -> keras.Model:
    """Load an archive by Keras itself, with the repaired architecture, of which the model was made."""
    with Scratch() as place:
        with open_zip(path) as archive:
            archive.extractall(place / "old")
        if (place / "old" / WEIGHTS).exists():
            _move_groups(place / "old" / WEIGHTS, model, saved)
        (place / "old" / _CONFIG).write_text(json.dumps(saved.model), encoding="utf-8")
        made = Path(shutil.make_archive(str(place / "new"), "zip", place / "old"))
        return keras.saving.load_model(
            made.rename(place / "new.keras"), compile=False, custom_objects=dict(custom_objects)
        )


def share_layers(path: Path) -> None:
    """Make an archive that Keras 3 wrote say of every layer that several models hold that it is one."""
    with open_zip(path) as archive:
        config = from_json(archive.read(_CONFIG))
        if not share(config):
            return
        with new_file(path, path.with_name(f"{path.name}.shared")) as changed, zipfile.ZipFile(changed, "w") as new:
            for item in archive.infolist():
                if item.filename == _CONFIG:
                    new.writestr(item, json.dumps(config))
                else:
                    with archive.open(item) as old, new.open(item, "w", force_zip64=True) as copy:
                        shutil.copyfileobj(old, copy)


def load_weights(path: Path, model: keras.Model, saved: Saved) -> None:
    """Load a ``.weights.h5`` file into a model that was made from a repaired architecture."""
    with Scratch() as folder:
        copy = folder / WEIGHTS
        shutil.copyfile(path, copy)
        _move_groups(copy, model, saved)
        model.load_weights(copy)


@dataclass(frozen=True)
class _Place:
    """Where the file has a layer, under what name in the same place Keras 3 looks for it, and where after all moves.

    ``old`` is ``None`` where Keras 2 wrote nothing, because the layer is at a place before.
    """

    old: str | None
    new: str
    path: str
    shared: str | None


def _move_groups(file: Path, model: keras.Model, saved: Saved) -> None:
    with h5py.File(file, "r+") as weights:
        if _BEFORE_2_14 in weights and saved.part is not None:
            raise SourceError(
                "The weights are in the layout of Keras 2.12, of which no part can be taken.",
                fix="Add the whole model, and take what it needs: outputs=[...].",
            )
        if _BEFORE_2_14 in weights:
            # Keras 3 knows this layout, and has no other way in.
            return
        if saved.part is not None:
            _take_out(weights, saved.part.group)
        places = list(_places(model, saved.model, saved, "", "", set()))
        moves = {place.old: place.new for place in places if place.old and place.old in weights}
        # Two groups may change places: all of them step aside first. Inner ones go before those that hold them.
        inner_first = sorted((old for old, new in moves.items() if old != new), key=lambda old: -old.count("/"))
        for number, old in enumerate(inner_first):
            weights.move(old, f"{old.rpartition('/')[0]}/moving_{number}".lstrip("/"))
        for number, old in enumerate(inner_first):
            parent, _, _ = old.rpartition("/")
            place = f"{parent}/{moves[old].rpartition('/')[2]}"
            if place in weights:  # of a layer that was left out
                del weights[place]
            weights.move(f"{parent}/moving_{number}".lstrip("/"), place)
        _copy_shared(weights, places)
        _fill_rebuilt(weights, model, saved.model, saved)


def _take_out(weights: h5py.File, group: str) -> None:
    """Make a group all that there is."""
    held = weights.pop(group)
    for name in list(weights):
        del weights[name]
    for name in list(held):
        weights[name] = held[name]


def _fill_rebuilt(group: h5py.Group, held: keras.Layer, said: Layer, saved: Saved) -> None:
    """Give a model that stands for a layer that is gone a group for each of its layers, wherever it is."""
    inner, numbers = {}, Numbers()
    for layer in held.layers if is_model(said) else ():
        inner[layer.name] = layer, f"layers/{numbers.next(type(layer).__name__)}"
    if id(said) in saved.rebuilt:
        rebuilt = saved.rebuilt[id(said)]
        for part, name in zip(_PARTS, rebuilt.parts, strict=False):
            group.move(part, inner[name][1])
        arrays = [group[f"vars/{number}"][()] for number in range(0 if rebuilt.parts else sum(rebuilt.arrays))]
        del group["vars"]
        for name, fill in rebuilt.fills.items():
            for number, value in enumerate(fill(arrays)):
                group[f"{inner[name][1]}/vars/{number}"] = value
        return
    parts = [(*inner[name_of(layer)], layer) for layer in inner_layers(said) if name_of(layer) in inner]
    if said["class_name"] == "TimeDistributed":
        parts.append((held.layer, "layer", said["config"]["layer"]))
    for layer, path, of_file in parts:
        if path in group:
            _fill_rebuilt(group[path], layer, of_file, saved)


def _copy_shared(weights: h5py.File, places: list[_Place]) -> None:
    """Put what a shared layer has at one of its places at all others, as Keras 3 may come to another one first."""
    for name in {place.shared: None for place in places if place.shared}:
        paths = [place.path for place in places if place.shared == name]
        full = [path for path in paths if path in weights and _arrays(weights[path])]
        for path in full[1:]:
            if not all(map(np.array_equal, _arrays(weights[full[0]]), _arrays(weights[path]))):
                raise SourceError(f"The file says that '{name}' is one layer in several models, and has two for it.")
        for path in paths if full else ():
            if path not in full:
                if path in weights:
                    del weights[path]
                weights.copy(full[0], path)


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    group.visititems(lambda _, item: found.append(np.asarray(item)) if isinstance(item, h5py.Dataset) else None)
    return found


def _places(
    model: keras.Model, said: Layer, saved: Saved, old_path: str, path: str, seen: set[str]
) -> Iterator[_Place]:
    """The places of all layers, those of inner models after that of the model, in the order in which they are saved."""
    old_names, new_names = Numbers(), Numbers()
    new = {layer.name: new_names.next(type(layer).__name__) for layer in model.layers}
    for layer in saved.all_layers(said):
        if is_operation(layer):
            continue
        name, shared = name_of(layer), layer.get(ID)
        old = None
        if not (saved.is_legacy and shared in seen):
            old = f"{old_path}layers/{old_names.next(saved.class_in_file(layer))}"
        if shared:
            seen.add(shared)
        if name not in new:
            continue
        place = _Place(old, f"{old_path}layers/{new[name]}", f"{path}layers/{new[name]}", shared)
        yield place
        held = model.get_layer(name)
        wrapped = layer["config"].get("layer")
        if old and layer["class_name"] == "TimeDistributed" and is_layer(wrapped):
            yield from _wrapped_places(held.layer, wrapped, saved, place, seen)
        elif old and is_model(layer):
            yield from _places(held, layer, saved, f"{old}/", f"{place.path}/", seen)


def _wrapped_places(held: keras.Layer, said: Layer, saved: Saved, around: _Place, seen: set[str]) -> Iterator[_Place]:
    shared = said.get(ID)
    old = None if saved.is_legacy and shared in seen else f"{around.old}/layer"
    if shared:
        seen.add(shared)
    yield _Place(old, f"{around.old}/layer", f"{around.path}/layer", shared)
    if old and is_model(said):
        yield from _places(held, said, saved, f"{old}/", f"{around.path}/layer/", seen)


class Numbers:
    """The names that Keras' archives give to the layers of a model, one after another."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, class_name: str) -> str:
        """The name of the next layer, of a class."""
        key = archive_name(class_name)
        count = self._seen[key] = self._seen.get(key, -1) + 1
        return f"{key}_{count}" if count else key
