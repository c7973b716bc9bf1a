"""The architecture in a file of Keras, without the model it describes."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py

from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.files import read_files
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.parse_text import BadText, from_json, from_yaml
from keras_stitch.files.zip_files import open_zip, read_member
from keras_stitch.repairs.architecture import Saved, is_layer, version_of, walk
from keras_stitch.repairs.keras1 import speaks_keras_2

# The shape of each array, by its group and its name.
Arrays = Mapping[str, Mapping[str, tuple[int, ...]]]

_MOST_JSON = 1 << 26
AGAIN = "Copy or download it again."
_YAML = (".yaml", ".yml")
_ARCHITECTURE = "the JSON text that model.to_json() gives"


@contextlib.contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file; a ``SourceError`` where it cannot be read, or a block does not find what has to be in it."""
    try:
        with open_hdf5(path) as file:
            yield file
    except StitchError:
        raise
    except Exception as error:  # h5py raises whatever it meets
        raise SourceError(f"'{path}' is a damaged HDF5 file: {reason(error)}.", fix=AGAIN) from error


@contextlib.contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The same for a ``.keras`` file."""
    try:
        with open_zip(path) as archive:
            yield archive
    except StitchError:
        raise
    except Exception as error:  # so does zipfile
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
        arrays = _arrays(group)
    return as_saved(path, text, version, backend, arrays)


def read_archive(path: Path) -> Saved:
    """What a ``.keras`` archive says of its architecture.

    Raises:
        SourceError: If that cannot be read.
    """
    with opened_archive(path) as archive:
        text = read_member(archive, "config.json", _MOST_JSON).decode()
        about = from_json(read_member(archive, "metadata.json", _MOST_JSON))
    if not isinstance(about, dict) or not isinstance(about.get("keras_version", ""), str):
        raise SourceError(
            f"'{path}' is damaged: its metadata.json does not say which Keras wrote it.",
            expected='a mapping such as {"keras_version": "3.10.0"}',
            received=repr(about)[:100],
            fix=AGAIN,
        )
    return as_saved(path, text, about.get("keras_version"), "tensorflow")


def read_json(path: Path, weights: Path) -> Saved:
    """What an architecture JSON says, and of whom if the weights in HDF5 beside it know better.

    Raises:
        SourceError: If it is no architecture.
    """
    return _as_said(path, _said_in(path), *_of_weights(weights))


def read_architecture(path: Path) -> Saved:
    """The same of an architecture with other weights beside it, which TensorFlow wrote.

    Raises:
        SourceError: If it is no architecture.
    """
    return _as_said(path, _said_in(path), None, "tensorflow", {})


def _said_in(path: Path) -> dict[str, Any]:
    try:
        text = read_files.read_text(path)
    except OSError as error:
        raise SourceError(f"The architecture '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"The architecture '{path}' is not text.", expected=_ARCHITECTURE) from error
    try:
        said = _parsed(path, text)
    except BadText as error:
        raise SourceError(
            f"'{path}' is not the architecture of a Keras model.", expected=_ARCHITECTURE, received=str(error)
        ) from error
    if not is_layer(said):
        received = f"class_name {said['class_name']!r}" if isinstance(said, dict) and "class_name" in said else None
        raise SourceError(
            f"'{path}' is not the architecture of a Keras model.", expected=_ARCHITECTURE, received=received
        )
    return dict(said)


def _as_said(
    path: Path, said: dict[str, Any], of_weights: tuple[int, ...] | None, backend: str | None, arrays: Arrays
) -> Saved:
    if "module" in said and str(said["module"]).startswith("keras"):
        # Only Keras 3 says in which module a model's class is, and never its own version.
        return Saved(said, (3,), weights_version=of_weights)
    version = _said(path, said, "keras_version") or (".".join(map(str, of_weights)) if of_weights else None)
    # The kernels are in the weights, whatever the architecture says.
    saved = as_saved(path, json.dumps(said), version, backend or _said(path, said, "backend"), arrays)
    saved.weights_version = of_weights
    return saved


def _parsed(path: Path, text: str) -> Any:
    """JSON, that of JSON where somebody dumped ``model.to_json()`` once more, or what ``model.to_yaml()`` gave."""
    if path.suffix.lower() in _YAML:
        return from_yaml(text, of_python=True)
    said = from_json(text)
    return from_json(said) if isinstance(said, str) else said


def _of_weights(path: Path) -> tuple[tuple[int, ...] | None, str | None, Arrays]:
    """The version of Keras and the backend of weights in a file of their own, where they say, and their arrays."""
    with opened_hdf5(path) as file:
        group = file.get("model_weights", file)  # of a whole model
        version, backend = _first("keras_version", file, group), _first("backend", file, group)
        # The newer layout says nothing, but only Keras 3 names the layers in it.
        named = "vars" in file and "name" in file["vars"].attrs
        is_newer = "layer_names" not in group.attrs and "layer_names0" not in group.attrs
        arrays = {} if is_newer else _arrays(group)
    of = (3,) if named else _version(path, version) if version else None
    return of, backend or ("tensorflow" if is_newer else _backend(of or (2,), arrays)), arrays


def texts(group: h5py.Group, name: str) -> list[str]:
    """A list of texts among the attributes of a group, in pieces where it was too long for HDF5."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        count = next(index for index in range(len(group.attrs) + 1) if f"{name}{index}" not in group.attrs)
        pieces = [group.attrs[f"{name}{index}"] for index in range(count)]
    return [_text(item) for piece in pieces for item in piece]


def _arrays(group: h5py.Group) -> Arrays:
    found = {layer: group[layer] for layer in texts(group, "layer_names") if layer in group}
    return {
        layer: {
            name: held[name].shape
            for name in texts(held, "weight_names")
            if isinstance(held, h5py.Group) and isinstance(held.get(name), h5py.Dataset)
        }
        for layer, held in found.items()
    }


def _backend(version: tuple[int, ...], arrays: Arrays) -> str | None:
    """The backend of a file that does not say it: TensorFlow's names of weights end in ``:0``, Theano's never do."""
    names = [name for group in arrays.values() for name in group]
    if any(name.endswith(":0") for name in names):
        return "tensorflow"
    # Keras 2 always said it: a file without it was changed, and so may be the names in it.
    return "theano" if names and version < (2,) else None


def as_saved(path: Path, text: str, version: str | None, backend: str | None, arrays: Arrays | None = None) -> Saved:
    """An architecture of which a file has the JSON text and says who wrote it; the arrays are those of the file.

    Raises:
        SourceError: If the text is damaged, or no architecture.
    """
    try:
        said = from_json(text)
    except BadText as error:
        raise SourceError(f"The architecture in '{path}' is damaged: {error}.", fix=AGAIN) from error
    if not is_layer(said):
        raise SourceError(f"'{path}' does not hold a model.", expected="a keras.Model", received=repr(said)[:100])
    number = _version(path, version)
    # From 2.4 on there was no other Keras, and its version did not say so any more.
    in_tensorflow = bool(version and version.endswith("-tf")) or (2, 4) <= number < (3,)
    saved = Saved(said, number, is_tf_keras=in_tensorflow)
    if saved.version < (2,) and any(speaks_keras_2(layer) for _, layer in walk(saved.model)):
        # Early Keras wrote no version, and some tools leave it out of files of Keras 2.
        saved.version = (2,)
    if saved.is_legacy:
        saved.model = _plain(said)
    saved.arrays = arrays or {}
    saved.backend = backend or _backend(saved.version, saved.arrays)
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
    if not isinstance(value, str | bytes):
        raise TypeError(f"text was expected, and not {value!r:.100}")
    return value.decode() if isinstance(value, bytes) else str(value)


def _version(path: Path, text: str | None) -> tuple[int, ...]:
    try:
        return version_of(text)
    except SourceError as error:
        raise error.behind(f"'{path}' is damaged. ", fix=AGAIN, kind=SourceError) from None


def _said(path: Path, architecture: Mapping[str, Any], key: str) -> str | None:
    value = architecture.get(key)
    if value is not None and not isinstance(value, str):
        raise SourceError(
            f"The architecture in '{path}' is damaged.",
            expected=f"text as its '{key}'",
            received=repr(value)[:100],
            fix=AGAIN,
        )
    return value
