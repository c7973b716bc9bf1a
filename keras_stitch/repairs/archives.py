"""``.keras`` archives, and weights in their layout, with an architecture that was repaired.

Keras stores a layer there by its class and its number among those of the class, ``layers/dense_1``, in the order of
the model's layers. Keras 3 may order them otherwise than Keras 2 did, so the groups are moved to where it looks.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_stitch.keras_private import archive_name
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_model, name_of

_WEIGHTS = "model.weights.h5"
_BEFORE_2_14 = "_layer_checkpoint_dependencies"


def load(path: Path, model: keras.Model, saved: Saved, custom_objects: Mapping[str, Any]) -> keras.Model:
    """Load an archive by Keras itself, with the repaired architecture, of which the model was made."""
    with tempfile.TemporaryDirectory(prefix="keras-stitch-") as folder:
        place = Path(folder)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(place / "old")
        if (place / "old" / _WEIGHTS).exists():
            _move_groups(place / "old" / _WEIGHTS, model, saved)
        (place / "old" / "config.json").write_text(json.dumps(saved.model), encoding="utf-8")
        made = Path(shutil.make_archive(str(place / "new"), "zip", place / "old"))
        return keras.saving.load_model(
            made.rename(place / "new.keras"), compile=False, custom_objects=dict(custom_objects)
        )


def load_weights(path: Path, model: keras.Model, saved: Saved) -> None:
    """Load a ``.weights.h5`` file into a model that was made from a repaired architecture."""
    with tempfile.TemporaryDirectory(prefix="keras-stitch-") as folder:
        copy = Path(folder) / _WEIGHTS
        shutil.copyfile(path, copy)
        _move_groups(copy, model, saved)
        model.load_weights(copy)


def _move_groups(file: Path, model: keras.Model, saved: Saved) -> None:
    with h5py.File(file, "r+") as weights:
        if _BEFORE_2_14 in weights:
            # Keras 3 knows this layout, and has no other way in.
            return
        moves = {old: new for old, new in _places(model, saved.model, saved, "", "") if old != new and old in weights}
        # Two groups may change places: all of them step aside first. Inner ones go before those that hold them.
        inner_first = sorted(moves, key=lambda old: -old.count("/"))
        for number, old in enumerate(inner_first):
            weights.move(old, f"{old.rpartition('/')[0]}/moving_{number}".lstrip("/"))
        for number, old in enumerate(inner_first):
            parent, _, _ = old.rpartition("/")
            weights.move(f"{parent}/moving_{number}".lstrip("/"), f"{parent}/{moves[old].rpartition('/')[2]}")


def _places(model: keras.Model, said: Layer, saved: Saved, old_path: str, new_path: str) -> Iterator[tuple[str, str]]:
    """Where the file has each layer, and under what name in the same place Keras 3 will look for it."""
    old = dict(_numbered((name_of(layer), saved.class_in_file(layer)) for layer in inner_layers(said)))
    new = dict(_numbered((layer.name, type(layer).__name__) for layer in model.layers))
    for layer in inner_layers(said):
        name = name_of(layer)
        if name not in new:
            continue
        yield f"{old_path}layers/{old[name]}", f"{old_path}layers/{new[name]}"
        if is_model(layer):
            inner = f"{old_path}layers/{old[name]}/"
            yield from _places(model.get_layer(name), layer, saved, inner, inner)


def _numbered(layers: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The names that Keras' archives give to layers, from their own names and classes."""
    seen: dict[str, int] = {}
    for name, class_name in layers:
        key = archive_name(class_name)
        count = seen[key] = seen.get(key, -1) + 1
        yield name, f"{key}_{count}" if count else key
