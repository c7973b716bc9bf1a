"""One saved file to a Keras model: recognised by its content, loaded by Keras, refused with a reason.

Formats: Keras' legacy HDF5 (https://keras.io/guides/serialization_and_saving/ and the h5 files of Keras 1
and 2), the ``.keras`` zip archive, and an architecture JSON with a weights file.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_stitch.errors import SourceError, nearest, reason

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK"
_ARCHITECTURE = "the JSON text that model.to_json() gives"
_ACCEPTED = "a model saved by Keras: .h5, .hdf5 or .keras, or a Kipoi directory"


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits.

    Raises:
        SourceError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read any more: {error.strerror}.") from error


def recognise(path: Path) -> str:
    """What a file holds, judged by its content.

    Returns:
        ``"h5"``, ``"keras"``, ``"h5 weights"`` (legacy layout) or ``"keras weights"``.

    Raises:
        SourceError: If it is nothing that Keras saved, or cannot be read.
    """
    _check_exists(path)
    try:
        with path.open("rb") as file:
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


def load_file(
    path: Path,
    *,
    kind: str | None = None,
    arch: Path | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Load a saved model, uncompiled.

    Args:
        path: The file; its ending does not matter.
        kind: What ``recognise`` said of it; asked again if left out.
        arch: The architecture JSON that goes with a weights-only file.
        custom_objects: Names of custom layers and functions to what they are.

    Raises:
        SourceError: With the reason, if it cannot be loaded.

    Example:
        >>> import keras, tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.bin"
        >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(file.with_suffix(".keras"))
        >>> load_file(file.with_suffix(".keras").rename(file)).count_params()
        8
    """
    kind = kind or recognise(path)
    weights_only = kind.endswith("weights")
    if weights_only and arch is None:
        raise SourceError(
            f"'{path}' holds weights only, not the architecture they belong to.",
            expected="a whole model, or weights with the architecture beside them",
            fix='Give the architecture, graph.add(name, "weights.h5", arch="model.json"), or save the whole model: '
            "model.save(...) instead of model.save_weights(...).",
        )
    if arch is not None and not weights_only:
        raise SourceError(
            f"'{path}' is a whole model, so arch= is not needed.",
            received=f"arch='{arch}'",
            fix="Leave arch= out, or give the weights-only file.",
        )
    with _by_its_ending(path, kind) as link, quiet_keras():
        try:
            if weights_only:
                assert arch is not None
                model = _from_architecture(arch, custom_objects)
                _load_weights(model, link, path, arch)
            else:
                model = keras.saving.load_model(link, compile=False, custom_objects=custom_objects)
        except SourceError:
            raise
        except Exception as error:
            raise _explained(path, error) from error
    if not isinstance(model, keras.Model):
        raise SourceError(f"'{path}' does not hold a model.", expected="a keras.Model", received=type(model).__name__)
    return model


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Without Keras' remarks on the age of the HDF5 format and on arguments of old layers."""
    absl = logging.getLogger("absl")
    absl.addFilter(_not_about_hdf5)
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        stack.callback(absl.removeFilter, _not_about_hdf5)
        warnings.filterwarnings("ignore", message=r"Do not pass an `input_shape`", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"You are saving your model as an HDF5 file", category=UserWarning)
        yield


def _not_about_hdf5(record: logging.LogRecord) -> bool:
    return "HDF5 file" not in record.getMessage() and "No training configuration" not in record.getMessage()


def is_kipoi_directory(path: Path) -> bool:
    """Whether a path is a folder that Kipoi could read a model from."""
    try:
        return any((path / name).is_file() for name in ("model.yaml", "model.yml"))
    except PermissionError:
        raise _no_entry(path) from None


def _no_entry(path: Path) -> SourceError:
    return SourceError(f"No permission to look at '{path}'.", fix="Change the permissions of its folder.")


def _check_exists(path: Path) -> None:
    try:
        missing = not path.exists()
    except PermissionError:
        raise _no_entry(path) from None
    if missing:
        beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        where = "" if path.parent.is_dir() else f" Nor does the folder '{path.parent}' exist."
        raise SourceError(
            f"There is no file '{path}'.{where}", expected=nearest(path.name, beside) if beside else _ACCEPTED
        )
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        raise SourceError(
            f"'{path}' is a directory without a model.yaml"
            + (", a TensorFlow SavedModel, which holds no Keras layers." if saved else "."),
            expected=_ACCEPTED,
            fix="Save the model as .keras." if saved else None,
        )


def _recognise_hdf5(path: Path) -> str:
    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs:
                return "h5"
            if "layer_names" in file.attrs:
                return "h5 weights"
            if "layers" in file or "_layer_checkpoint_dependencies" in file:
                return "keras weights"
            keys = ", ".join(list(file)[:8]) or "nothing"
    except OSError as error:
        raise SourceError(
            f"'{path}' is a damaged HDF5 file: {reason(error)}.", fix="Copy or download it again."
        ) from error
    raise SourceError(f"'{path}' is an HDF5 file, but no Keras model.", expected=_ACCEPTED, received=f"groups: {keys}")


def _recognise_zip(path: Path) -> str:
    fix = "Copy or download it again."
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            is_keras = {"config.json", "metadata.json"} <= names
            # Keras may read a changed file without a look at its checksum.
            damaged = archive.testzip() if is_keras else None
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise SourceError(f"'{path}' is a damaged .keras file: {reason(error)}.", fix=fix) from error
    if damaged is not None:
        raise SourceError(f"'{path}' is a damaged .keras file: '{damaged}' in it was changed.", fix=fix)
    if is_keras:
        return "keras"
    listed = ", ".join(sorted(names)[:8]) or "nothing"
    raise SourceError(
        f"'{path}' is a zip archive, but no Keras model.", expected=_ACCEPTED, received=f"files: {listed}"
    )


def _describe(head: bytes) -> str:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return f"a binary file that starts with {head[:8]!r}"
    return f"a text file that starts with {text[:40]!r}"


@contextlib.contextmanager
def _by_its_ending(path: Path, kind: str) -> Iterator[Path]:
    """The file under an ending that fits its content: Keras chooses the reader by the ending."""
    endings = {"h5": (".h5", ".hdf5"), "h5 weights": (".h5", ".hdf5"), "keras": (".keras",)}
    fitting = endings.get(kind, (".weights.h5",))
    if path.name.endswith(fitting) and not (kind == "h5 weights" and path.name.endswith(".weights.h5")):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="keras-stitch-") as folder:
        link = Path(folder) / f"model{fitting[0]}"
        link.symlink_to(path.resolve())
        yield link


def _from_architecture(arch: Path, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    try:
        text = arch.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"The architecture '{arch}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"The architecture '{arch}' is not text.", expected=_ARCHITECTURE) from error
    try:
        model = keras.models.model_from_json(text, custom_objects=custom_objects)
    except ValueError as error:
        if not text.lstrip().startswith("{"):
            raise SourceError(f"'{arch}' is not the architecture of a Keras model.", expected=_ARCHITECTURE) from error
        raise _explained(arch, error) from error
    if not isinstance(model, keras.Model):
        kind = type(model).__name__
        raise SourceError(f"'{arch}' is not the architecture of a Keras model.", expected=_ARCHITECTURE, received=kind)
    return model


def _load_weights(model: keras.Model, link: Path, path: Path, arch: Path) -> None:
    try:
        model.load_weights(link)
    except ValueError as error:
        raise SourceError(
            f"The weights in '{path}' do not fit the architecture '{arch}': {reason(error)}",
            fix="Give the architecture that the weights were saved with.",
        ) from error


def is_lambda_refusal(error: Exception) -> bool:
    """Whether Keras refused to run Python code that a file or a config holds."""
    text = str(error)
    return "lambda" in text.lower() and ("unsafe" in text or "safe_mode" in text or "arbitrary code" in text)


def _explained(path: Path, error: Exception) -> SourceError:
    text = str(error)
    if is_lambda_refusal(error):
        return SourceError(
            f"'{path}' holds a Lambda layer, that is Python code, and loading it would run whatever its author wrote.",
            expected="a model without Python lambdas",
            fix="Rebuild it with Keras layers, or with a registered function, and save it again.",
        )
    unknown = re.search(r"(?:Unknown \w+:|Could not locate (?:class|function)) '([^']+)'", text)
    if unknown:
        return SourceError(
            f"'{path}' needs a custom object that is not known here: '{unknown[1]}'.",
            expected="layers and functions of Keras, or those in custom_objects",
            fix=f'graph.add(name, source, custom_objects={{"{unknown[1]}": ...}})',
        )
    return SourceError(f"Keras {keras.__version__} cannot load '{path}': {reason(error)}")
