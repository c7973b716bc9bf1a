"""Reads a Kipoi directory whose model is a Keras model."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import kipoi
from kipoi.model import KerasModel
from kipoi.specs import RemoteFile

from keras_stitch.customs import CustomObjects, read_file
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.kipoi.components import default_dataloader, find_yaml, load_yaml
from keras_stitch.kipoi.dataloaders import Dataloader
from keras_stitch.kipoi.describing import Field, read_dependencies, read_fields, read_info
from keras_stitch.kipoi.rendering import template_module
from keras_stitch.kipoi.sources import locate

_WHAT = {"weights": "file of weights", "arch": "architecture", "custom_objects": "file of custom objects"}


@dataclass(frozen=True)
class KipoiPart:
    """What a Kipoi directory says about its Keras model.

    Attributes:
        path: The directory.
        weights: The file with the weights or the whole model; it may have no ending.
        arch: The architecture JSON, where the file has weights only.
        customs: The custom objects that it needs.
        inputs: The inputs of the model's schema, in its order; shapes without the batch axis.
        outputs: The targets of the model's schema.
        is_list: Whether the schema has its inputs in a list, so that they go by position.
        info: ``authors``, ``license`` (only if stated), ``doc``, ``cite_as``, ``trained_on``, ``tags``.
        dependencies: ``conda``, ``pip`` and ``conda_channels``.
        dataloader: Its default dataloader; ``None`` where there is none.
        zoo: Its name in a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``, if it was named like that.
    """

    path: Path
    weights: Path
    arch: Path | None = None
    customs: CustomObjects = field(default_factory=CustomObjects)
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    is_list: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Mapping[str, list[str]] = field(default_factory=dict)
    dataloader: Dataloader | None = None
    zoo: str | None = None

    @property
    def custom_objects(self) -> Mapping[str, Any]:
        """The custom objects that it needs, by name."""
        return self.customs.objects

    @property
    def label(self) -> str:
        """What messages and tables call it."""
        return self.zoo or self.path.name


def read_directory(path: str | os.PathLike[str]) -> KipoiPart:
    """Reads a Kipoi directory; what its ``model.yaml`` names by URL is downloaded by Kipoi.

    Args:
        path: A directory with a ``model.yaml``, also one that ``write_directory`` made.

    Raises:
        SourceError: When there is no ``model.yaml``, it is not valid, or the model is not a Keras model.
    """
    directory = Path(path).resolve()
    found = find_yaml(directory, "model")
    if found is None:
        raise SourceError(
            f"'{path}' is not a Kipoi directory.",
            expected="a directory with a model.yaml",
            received="no such directory" if not directory.is_dir() else "a directory without one",
        )
    raw = load_yaml(found)
    try:
        description = kipoi.get_source("dir").get_model_descr(str(directory))
    except Exception as error:  # Kipoi's parsers raise whatever they meet
        raise SourceError(f"'{found}' is not valid.", received=f"{type(error).__name__}: {error}") from error
    downloads = directory / "downloaded" / "model_files"
    return _read(str(path), str(found), directory, downloads, description, raw, default_dataloader(directory, raw))


def read_source(name: str) -> KipoiPart:
    """Reads a model of a source that Kipoi knows, which Kipoi brings here if it is not here yet.

    Args:
        name: ``"<source>:<model>"``, such as ``"kipoi:DeepSEA/predict"``.

    Raises:
        SourceError: When it is not to be had, or is not a Keras model.
    """
    located = locate(name, "model")
    directory = located.directory.resolve()
    found = find_yaml(directory, "model")
    raw = located.raw if located.raw is not None else load_yaml(found) if found else {}
    dataloader = default_dataloader(directory, raw, located.root / located.inner)
    part = _read(name, name, directory, located.downloads, located.description, raw, dataloader)
    return replace(part, zoo=name)


def _read(
    label: str,
    described_in: str,
    directory: Path,
    downloads: Path,
    description: Any,
    raw: Mapping[str, Any],
    dataloader: Dataloader | None,
) -> KipoiPart:
    _check_keras(label, directory, description)
    files = {
        name: _file(label, directory, downloads, name, description.args.get(name))
        for name in ("weights", "arch", "custom_objects")
    }
    if files["weights"] is None:
        raise SourceError(f"'{described_in}' names no weights.", expected="args: {weights: <file>}")
    whole = _is_whole(files["weights"])
    return KipoiPart(
        path=directory,
        weights=files["weights"],
        arch=None if whole else files["arch"],
        customs=_custom_objects(label, files["custom_objects"]),
        inputs=read_fields(description.schema.inputs),
        outputs=read_fields(description.schema.targets),
        is_list=isinstance(description.schema.inputs, list),
        info=read_info(description.info, raw),
        dependencies=read_dependencies(description.dependencies),
        dataloader=dataloader,
    )


def _check_keras(path: str, directory: Path, description: Any) -> None:
    kind = description.defined_as or description.type
    if kind in ("keras", "kipoi.model.KerasModel"):
        return
    module, _, name = kind.partition(".")
    file = directory / f"{module}.py"
    if file.is_file() and name:
        try:
            loaded = template_module("kipoi.merging.loading").load_object(file, name)
        except Exception as error:  # whatever the module does
            raise SourceError(
                f"The model class of '{path}' cannot be loaded.", received=f"{type(error).__name__}: {error}"
            ) from error
        is_keras = inspect.isclass(loaded) and issubclass(loaded, KerasModel)
        if is_keras:
            if loaded.predict_on_batch is not KerasModel.predict_on_batch:
                raise SourceError(
                    f"The model of '{path}' is more than its Keras model: {kind} changes the predictions.",
                    expected="predict_on_batch as in kipoi.model.KerasModel",
                )
            return
    raise SourceError(
        f"The model of '{path}' is not a Keras model.",
        expected="defined_as: kipoi.model.KerasModel, or a subclass in the directory",
        received=kind,
    )


def _is_whole(weights: Path) -> bool:
    """Whether a file holds the architecture, too; Kipoi may be given both."""
    if not h5py.is_hdf5(weights):
        return True
    with h5py.File(weights) as file:
        return "model_config" in file.attrs


def _custom_objects(label: str, file: Path | None) -> CustomObjects:
    if file is None:
        return CustomObjects()
    try:
        return read_file(file, f"The custom objects of '{label}'")
    except StitchError as error:
        raise SourceError(error.message, expected=error.expected, received=error.received, fix=error.fix) from error


def _file(label: str, directory: Path, downloads: Path, name: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, RemoteFile):
        file = directory / str(value)
        if file.is_file():
            return file
        raise SourceError(f"The model.yaml of '{label}' names a file that is not there.", received=f"{name}: {value}")
    # Kipoi's name for it; only a Python file needs its ending.
    place = downloads / name / ((value.md5 or "file") + (".py" if name == "custom_objects" else ""))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            file = Path(value.get_file(str(place)))
    except Exception as error:  # Kipoi raises a bare Exception
        raise SourceError(f"The {_WHAT[name]} of '{label}' cannot be downloaded.", received=str(error)) from error
    if value.md5 and not value.validate(str(file)):
        # Kipoi would take it for the right one the next time.
        file.unlink()
        raise SourceError(
            f"The {_WHAT[name]} of '{label}' is not what it was: another file was downloaded.",
            expected=f"md5 {value.md5}, as its model.yaml says",
            received=f"another one from {value.url}",
            fix="Ask its authors, or correct the md5 if the new file is meant.",
        )
    return file
