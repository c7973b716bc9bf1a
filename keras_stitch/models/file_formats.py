"""Saved files: recognised by their content, and given to Keras under an ending that it knows.

Formats: Keras' legacy HDF5 (https://keras.io/guides/serialization_and_saving/ and the h5 files of Keras 1
and 2), the ``.keras`` zip archive, an architecture JSON with a weights file, and the directory of a SavedModel that
Keras 2 wrote. A checkpoint of TensorFlow is weights, too, in several files of which the path is the prefix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, nearest
from keras_stitch.files import checkpoint_files, read_files
from keras_stitch.files.scratch import Scratch
from keras_stitch.repairs.read_file import AGAIN, opened_archive, opened_hdf5
from keras_stitch.repairs.saved_objects import is_of_keras, is_saved_model

SAVED_MODEL = "SavedModel"
CHECKPOINT = "checkpoint weights"

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK"
_ACCEPTED = "a model saved by Keras (.h5, .hdf5, .keras or a SavedModel), an .onnx file, or a Kipoi directory"


def checked_sha256(path: Path, kind: str) -> str:
    """The sha256 of a saved model, once its own checksums were found to fit; HDF5 has none.

    Raises:
        SourceError: If the file is damaged.
    """
    if kind == "keras":
        # Keras may read a changed file without a look at its checksums.
        with opened_archive(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise SourceError(f"'{path}' is a damaged .keras file: '{damaged}' in it was changed.", fix=AGAIN)
    return read_files.sha256(path)


def recognise(path: Path) -> str:
    """What a file holds, judged by its content.

    Returns:
        ``"h5"``, ``"keras"``, ``"h5 weights"`` (legacy layout), ``"keras weights"``, ``CHECKPOINT`` for the prefix of a
        checkpoint of TensorFlow, or ``SAVED_MODEL`` for the directory of a SavedModel of Keras.

    Raises:
        SourceError: If it is nothing that Keras saved, or cannot be read.
    """
    if checkpoint_files.files_of(path):
        return CHECKPOINT
    check_exists(path)
    if path.is_dir():
        return _recognise_directory(path)
    try:
        with read_files.plain(path).open("rb") as file:
            head = file.read(512)
    except PermissionError:
        raise SourceError(f"No permission to read '{path}'.", fix="Change its permissions, or copy it.") from None
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not head:
        raise SourceError(f"'{path}' is empty.", expected=_ACCEPTED, received="a file of 0 bytes")
    if head.startswith(_HDF5):
        return _recognise_hdf5(path)
    if head.startswith(_ZIP):
        return _recognise_zip(path)
    raise SourceError(f"'{path}' is not a saved Keras model.", expected=_ACCEPTED, received=_describe(head))


def located(path: Path) -> Path:
    """The path of a saved model: the prefix of a checkpoint where one of its files or its folder was named."""
    return path if is_saved_model(path) else checkpoint_files.prefix_of(path) or path


def is_kipoi_directory(path: Path) -> bool:
    """Whether a path is a folder that Kipoi could read a model from."""
    try:
        return any((path / name).is_file() for name in layout.MODEL_YAMLS)
    except PermissionError:
        raise _no_entry(path) from None


def _no_entry(path: Path) -> SourceError:
    return SourceError(f"No permission to look at '{path}'.", fix="Change the permissions of its folder.")


def check_exists(path: Path) -> None:
    """Raise a ``SourceError`` where there is no file, with the nearest names beside it."""
    try:
        missing = not path.exists()
        if missing and path.is_symlink():
            raise SourceError(f"'{path}' is a link that leads nowhere.", received=f"a link to '{path.readlink()}'")
    except PermissionError:
        raise _no_entry(path) from None
    if missing:
        beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        where = "" if path.parent.is_dir() else f" Nor does the folder '{path.parent}' exist."
        raise SourceError(
            f"There is no file '{path}'.{where}", expected=nearest(path.name, beside) if beside else _ACCEPTED
        )


def _recognise_directory(path: Path) -> str:
    if not is_saved_model(path):
        raise SourceError(f"'{path}' is a directory without a model.yaml.", expected=_ACCEPTED)
    if not is_of_keras(path):
        raise SourceError(
            f"'{path}' is a TensorFlow SavedModel, which holds no Keras layers.",
            expected=_ACCEPTED,
            fix="Save the model as .keras.",
        )
    return SAVED_MODEL


def _recognise_hdf5(path: Path) -> str:
    with opened_hdf5(path) as file:
        if "model_config" in file.attrs:
            return "h5"
        if "layer_names" in file.attrs:
            return "h5 weights"
        if "layers" in file or "_layer_checkpoint_dependencies" in file:
            return "keras weights"
        keys = ", ".join(list(file)[:8]) or "nothing"
    raise SourceError(f"'{path}' is an HDF5 file, but no Keras model.", expected=_ACCEPTED, received=f"groups: {keys}")


def _recognise_zip(path: Path) -> str:
    with opened_archive(path) as archive:
        names = set(archive.namelist())
    if {"config.json", "metadata.json"} <= names:
        return "keras"
    listed = ", ".join(sorted(names)[:8]) or "nothing"
    raise SourceError(
        f"'{path}' is a zip archive, but no Keras model.", expected=_ACCEPTED, received=f"files: {listed}"
    )


def _describe(head: bytes) -> str:
    try:
        return f"a text file that starts with {head.decode('utf-8')[:40]!r}"
    except UnicodeDecodeError:
        return f"a binary file that starts with {head[:8]!r}"


@contextlib.contextmanager
def by_its_ending(path: Path, kind: str) -> Iterator[Path]:
    """The file under an ending that fits its content: Keras chooses the reader by the ending."""
    endings = {"h5": (".h5", ".hdf5"), "h5 weights": (".h5", ".hdf5"), "keras": (".keras",)}
    fitting = endings.get(kind, (".weights.h5",))
    if path.name.endswith(fitting) and not (kind == "h5 weights" and path.name.endswith(".weights.h5")):
        yield path
        return
    with Scratch() as folder:
        link = folder / f"model{fitting[0]}"
        link.symlink_to(path.resolve())
        yield link
