"""Weights that a file promises and does not hold, and weights that are no numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
from h5py import h5d, h5t

from keras_stitch.errors import SourceError
from keras_stitch.files import hdf5_files, zip_files
from keras_stitch.files.tensor_bundle import TensorBundle
from keras_stitch.keras_private import held_layers
from keras_stitch.models.file_formats import CHECKPOINT, SAVED_MODEL
from keras_stitch.repairs.archives import WEIGHTS
from keras_stitch.repairs.read_file import AGAIN, opened_archive, opened_hdf5
from keras_stitch.repairs.read_saved_model import checkpoint

_OPTIMIZERS = ("optimizer", "optimizer_weights")  # which nobody reads here


def check_stored(path: Path, kind: str) -> int:
    """How many bytes of weights a file holds.

    ``kind`` is what ``file_formats.recognise`` said of the file. HDF5 gives zeros for what was never written.

    Raises:
        SourceError: If some were declared and never written, with layer and dataset, or would only fill the memory.
    """
    if kind == SAVED_MODEL:
        return checkpoint(path).size
    if kind == CHECKPOINT:
        return TensorBundle(path).size
    if kind != "keras":
        with opened_hdf5(path) as file:
            return _check(file, path)
    with opened_archive(path) as archive:
        if WEIGHTS not in archive.namelist():  # Keras says so
            return 0
        shown = f"{WEIGHTS}' in '{path}"
        with zip_files.open_member(archive, WEIGHTS) as member, hdf5_files.open_hdf5(member, shown) as file:
            return _check(file, path)


def check_copied(path: Path) -> None:
    """Refuse HDF5, alone or in an archive of Keras, that keeps values in other files; other files are not read.

    Raises:
        SourceError: With the dataset.
    """
    if hdf5_files.is_hdf5(path):
        with opened_hdf5(path):
            pass
    elif WEIGHTS in zip_files.member_names(path):
        check_stored(path, "keras")


def _check(file: h5py.File, path: Path) -> int:
    unwritten, total = [], 0
    for name, dataset in hdf5_files.datasets(file):
        if name.split("/")[1] in _OPTIMIZERS:
            continue
        if dataset.get_type().get_class() == h5t.COMPOUND:  # complex numbers, of which Keras would take the real part
            raise SourceError(
                f"'{path}' has weights of layer '{_layer(file, name)}' that are no real numbers.",
                expected="one number for each weight",
                received=f"the dataset '{name}' of {dataset.dtype}",
                fix=AGAIN,
            )
        total += math.prod(dataset.shape or (0,)) * dataset.get_type().get_size()
        if not _is_written(dataset):
            unwritten.append(name)
    if unwritten:
        more = f" and {len(unwritten) - 1} more" if len(unwritten) > 1 else ""
        raise SourceError(
            f"'{path}' does not hold the weights of layer '{_layer(file, unwritten[0])}'.",
            expected="values for each weight",
            received=f"the dataset '{unwritten[0]}'{more}, declared and never written",
            fix=AGAIN,
        )
    size = path.stat().st_size
    if total > max(zip_files.LARGE, zip_files.MOST_EXPANSION * size):
        raise SourceError(
            f"'{path}' has weights that unpack to far more than it could need.",
            expected=f"at most {max(zip_files.LARGE, zip_files.MOST_EXPANSION * size):,} bytes for a file of {size:,}",
            received=f"{total:,} bytes",
            fix="Do not use it if you do not know where it comes from; else save the model again.",
        )
    return total


def _is_written(dataset: Any) -> bool:
    """Whether a dataset has room in the file for all of its values."""
    if not math.prod(dataset.shape or (0,)):
        return True
    created = dataset.get_create_plist()
    if created.get_layout() == h5d.CHUNKED:
        sizes = zip(dataset.shape, created.get_chunk(), strict=True)
        return dataset.get_num_chunks() >= math.prod(-(-size // chunk) for size, chunk in sizes)
    return created.get_layout() == h5d.COMPACT or dataset.get_storage_size() > 0


def _layer(file: h5py.File, name: str) -> str:
    """The layer that a dataset belongs to: by its group, or by what Keras 3 wrote beside ``layers/dense/vars/0``."""
    group, _, _ = name.rpartition("/")
    if group.endswith("/vars"):
        said = file[group].attrs.get("name")
        return str(said or group.removesuffix("/vars").lstrip("/") or "the model itself")
    return name.removeprefix("/model_weights").split("/")[1]


def warn_of_non_finite(layer: keras.Layer, what: str) -> None:
    """Warn once of weights that are NaN or infinite; ``what`` is whose they are."""
    if found := non_finite(layer):
        listed = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
        warnings.warn(f"{what} has weights that are NaN or infinite, in {listed}.", stacklevel=2)


def non_finite(layer: keras.Layer) -> list[str]:
    """The layers within one that have weights of their own which are NaN or infinite, by their paths."""
    return list(dict.fromkeys(_non_finite(layer, layer.name, set(), is_outermost=True)))


def _non_finite(layer: keras.Layer, path: str, seen: set[int], *, is_outermost: bool = False) -> Iterator[str]:
    for inner in held_layers(layer):
        yield from _non_finite(inner, inner.name if is_outermost else f"{path}/{inner.name}", seen)
    own = [weight for weight in layer.weights if id(weight) not in seen]
    seen.update(map(id, own))
    if not all(map(_is_finite, own)):
        yield path


def _is_finite(weight: keras.Variable) -> bool:
    if "float" not in str(weight.dtype):
        return True
    value = weight.value
    # A finite sum says it at once.
    return bool(keras.ops.isfinite(keras.ops.sum(value)) or keras.ops.all(keras.ops.isfinite(value)))
