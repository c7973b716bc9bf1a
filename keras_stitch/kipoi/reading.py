"""Reads a Kipoi directory whose model is a Keras model."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import kipoi
from kipoi.model import KerasModel
from kipoi.specs import RemoteFile

from keras_stitch.errors import SourceError
from keras_stitch.kipoi.components import default_dataloader, find_yaml, load_yaml
from keras_stitch.kipoi.dataloaders import Dataloader
from keras_stitch.kipoi.describing import Field, read_dependencies, read_fields, read_info
from keras_stitch.kipoi.rendering import template_module


@dataclass(frozen=True)
class KipoiPart:
    """What a Kipoi directory says about its Keras model.

    Attributes:
        path: The directory.
        weights: The file with the weights or the whole model; it may have no ending.
        arch: The architecture JSON, where the file has weights only.
        custom_objects: The custom objects that it needs, by name.
        custom_objects_file: The Python file that has them, as ``OBJECTS``.
        inputs: The inputs of the model's schema, in its order; shapes without the batch axis.
        outputs: The targets of the model's schema.
        is_list: Whether the schema has its inputs in a list, so that they go by position.
        info: ``authors``, ``license`` (only if stated), ``doc``, ``cite_as``, ``trained_on``, ``tags``.
        dependencies: ``conda``, ``pip`` and ``conda_channels``.
        dataloader: Its default dataloader; ``None`` where there is none.
    """

    path: Path
    weights: Path
    arch: Path | None = None
    custom_objects: Mapping[str, Any] = field(default_factory=dict)
    custom_objects_file: Path | None = None
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    is_list: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Mapping[str, list[str]] = field(default_factory=dict)
    dataloader: Dataloader | None = None


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
    _check_keras(path, directory, description)
    files = {name: _file(directory, name, description.args.get(name)) for name in ("weights", "arch", "custom_objects")}
    if files["weights"] is None:
        raise SourceError(f"'{found}' names no weights.", expected="args: {weights: <file>}")
    whole = _is_whole(files["weights"])
    return KipoiPart(
        path=directory,
        weights=files["weights"],
        arch=None if whole else files["arch"],
        custom_objects=_custom_objects(path, files["custom_objects"]),
        custom_objects_file=files["custom_objects"],
        inputs=read_fields(description.schema.inputs),
        outputs=read_fields(description.schema.targets),
        is_list=isinstance(description.schema.inputs, list),
        info=read_info(description.info, raw),
        dependencies=read_dependencies(description.dependencies),
        dataloader=default_dataloader(directory),
    )


def _check_keras(path: str | os.PathLike[str], directory: Path, description: Any) -> None:
    kind = description.defined_as or description.type
    if kind in ("keras", "kipoi.model.KerasModel"):
        return
    module, _, name = kind.partition(".")
    file = directory / f"{module}.py"
    if file.is_file() and name:
        try:
            loaded = template_module("kipoi.components.parts").load_object(file, name)
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


def _custom_objects(path: str | os.PathLike[str], file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return dict(template_module("kipoi.components.parts").load_object(file, "OBJECTS"))
    except Exception as error:  # whatever the module does
        raise SourceError(
            f"The custom objects of '{path}' cannot be loaded.",
            expected=f"a dict OBJECTS in {file.name}",
            received=f"{type(error).__name__}: {error}",
        ) from error


def _file(directory: Path, name: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, RemoteFile):
        file = directory / str(value)
        if file.is_file():
            return file
        raise SourceError(f"'{directory.name}/model.yaml' names a file that is not there.", received=f"{name}: {value}")
    place = directory / "downloaded" / "model_files" / name / (value.md5 or "file")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            file = Path(value.get_file(str(place)))
    except Exception as error:  # Kipoi raises a bare Exception
        raise SourceError(f"The {name} of '{directory.name}' cannot be downloaded.", received=str(error)) from error
    if not value.validate(str(file)):
        raise SourceError(
            f"The {name} of '{directory.name}' are not what they were.",
            expected=f"md5 {value.md5}",
            received=f"another file at {value.url}",
        )
    return file
