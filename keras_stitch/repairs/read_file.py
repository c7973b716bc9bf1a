"""The architecture in a file of Keras, without the model it describes."""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from keras_stitch.errors import SourceError, reason
from keras_stitch.repairs.architecture import Saved, is_layer, version_of, walk
from keras_stitch.repairs.keras1 import speaks_keras_2

AGAIN = "Copy or download it again."
_ARCHITECTURE = "the JSON text that model.to_json() gives"


@contextlib.contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file; a ``SourceError`` where it cannot be read, or a block does not find what has to be in it."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise SourceError(f"'{path}' is a damaged HDF5 file: {reason(error)}.", fix=AGAIN) from error


@contextlib.contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The same for a ``.keras`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        raise SourceError(f"'{path}' is a damaged .keras file: {reason(error)}.", fix=AGAIN) from error


def read_h5(path: Path) -> Saved:
    """What a whole model in HDF5 says of its architecture.

    Raises:
        SourceError: If that cannot be read.
    """
    with opened_hdf5(path) as file:
        text = _text(file.attrs["model_config"])
        group = file.get("model_weights", file)
        version, backend = (_first(key, file, group) for key in ("keras_version", "backend"))
    return _saved(path, text, version, backend)


def read_archive(path: Path) -> Saved:
    """What a ``.keras`` archive says of its architecture.

    Raises:
        SourceError: If that cannot be read.
    """
    with opened_archive(path) as archive:
        text = archive.read("config.json").decode()
        version = json.loads(archive.read("metadata.json")).get("keras_version")
    return _saved(path, text, version, None)


def read_json(path: Path, weights: Path) -> Saved:
    """What an architecture JSON says, and of whom if the weights beside it know better.

    Raises:
        SourceError: If it is no architecture.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"The architecture '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"The architecture '{path}' is not text.", expected=_ARCHITECTURE) from error
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not is_layer(said):
        received = f"class_name {said['class_name']!r}" if isinstance(said, dict) and "class_name" in said else None
        raise SourceError(
            f"'{path}' is not the architecture of a Keras model.", expected=_ARCHITECTURE, received=received
        )
    of_weights, backend = _of_weights(weights)
    if "module" in said and str(said["module"]).startswith("keras"):
        # Only Keras 3 says in which module a model's class is, and never its own version.
        return Saved(said, (3,), weights_version=of_weights)
    version = said.get("keras_version") or (".".join(map(str, of_weights)) if of_weights else None)
    saved = _saved(path, text, version, said.get("backend") or backend)
    saved.weights_version = of_weights
    return saved


def _of_weights(path: Path) -> tuple[tuple[int, ...] | None, str | None]:
    """The version of Keras and the backend that weights in a file of their own are from, where they say."""
    with opened_hdf5(path) as file:
        version, backend = _first("keras_version", file), _first("backend", file)
        # The newer layout says nothing, but only Keras 3 names the layers in it.
        named = "vars" in file and "name" in file["vars"].attrs
    return (3,) if named else version_of(version) if version else None, backend


def _saved(path: Path, text: str, version: str | None, backend: str | None) -> Saved:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise SourceError(f"The architecture in '{path}' is damaged: {reason(error)}.", fix=AGAIN) from error
    if not is_layer(said):
        raise SourceError(f"'{path}' does not hold a model.", expected="a keras.Model", received=repr(said)[:100])
    saved = Saved(said, version_of(version), backend or "tensorflow")
    if saved.version < (2,) and any(speaks_keras_2(layer) for _, layer in walk(saved.model)):
        # Early Keras wrote no version, and some tools leave it out of files of Keras 2.
        saved.version = (2,)
    if saved.is_legacy:
        saved.model = _plain(said)
    return saved


def _plain(item: Any) -> Any:
    """Tuples and shapes, which Keras 2 marked in its JSON, as lists."""
    if isinstance(item, dict):
        if item.get("class_name") in ("__tuple__", "TensorShape") and "items" in item:
            return [_plain(value) for value in item["items"]]
        return {key: _plain(value) for key, value in item.items()}
    return [_plain(value) for value in item] if isinstance(item, list) else item


def _first(key: str, *groups: h5py.Group) -> str | None:
    return next((_text(group.attrs[key]) for group in groups if key in group.attrs), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
