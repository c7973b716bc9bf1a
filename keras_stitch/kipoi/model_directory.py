"""Reads a Kipoi directory: what it says about its model, of whatever framework."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import kipoi

from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files import find_yaml, load_yaml
from keras_stitch.kipoi.component import default_dataloader
from keras_stitch.kipoi.dataloader import Dataloader
from keras_stitch.kipoi.framework import framework_of
from keras_stitch.kipoi.packed_copy import packed_files
from keras_stitch.kipoi.schema import Field, plain_schema, read_dependencies, read_fields, read_info, structure_of
from keras_stitch.kipoi.zoo_files import fetch, locate
from keras_stitch.models.custom_objects import CustomObjects, read_file


@dataclass(frozen=True)
class KipoiPart:
    """What a Kipoi directory says about its model.

    Attributes:
        path: The directory.
        weights: The file with the weights or the whole Keras model; it may have no ending. ``None`` for a model
            of another framework.
        arch: The architecture JSON, where the file has weights only.
        customs: The custom objects that it needs.
        inputs: The inputs of the model's schema, in its order; shapes without the batch axis.
        outputs: The targets of the model's schema.
        is_list: Whether the schema has its inputs in a list, so that they go by position.
        info: ``authors``, ``license`` (only if stated), ``doc``, ``cite_as``, ``trained_on``, ``tags``.
        dependencies: ``conda``, ``pip`` and ``conda_channels``.
        dataloader: Its default dataloader; ``None`` where there is none.
        zoo: Its name in a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``, if it was named like that.
        framework: What runs it, one of ``spec.FRAMEWORKS``.
        description: Its ``model.yaml`` as plain data, column labels read from the files that have them.
        input_structure: Whether the model takes an ``"array"``, a ``"list"`` or a ``"dict"``.
        output_structure: The same for what it gives.
        args: The arguments of a model of another framework, with the places that ``files`` have.
        files: What a copy of a model of another framework consists of: files here, by their places in the copy.
    """

    path: Path
    weights: Path | None = None
    arch: Path | None = None
    customs: CustomObjects = field(default_factory=CustomObjects)
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    is_list: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Mapping[str, list[str]] = field(default_factory=dict)
    dataloader: Dataloader | None = None
    zoo: str | None = None
    framework: str = "keras"
    description: Mapping[str, Any] = field(default_factory=dict)
    input_structure: str = "array"
    output_structure: str = "array"
    args: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_keras(self) -> bool:
        """Whether it is a Keras model, and nothing more."""
        return self.framework == "keras"

    @property
    def custom_objects(self) -> Mapping[str, Any]:
        """The custom objects that it needs, by name."""
        return self.customs.objects

    @property
    def label(self) -> str:
        """What messages and tables call it."""
        return self.zoo or self.path.name


def read_directory(path: str | os.PathLike[str], *, copied: bool = False) -> KipoiPart:
    """Reads a Kipoi directory; what its ``model.yaml`` names by URL is downloaded by Kipoi.

    Args:
        path: A directory with a ``model.yaml``, also one that ``write_directory`` made.
        copied: Whether the model will be copied as it is, and run elsewhere: its code is not loaded, and a Keras model
            counts as one of another framework.

    Raises:
        SourceError: When there is no ``model.yaml``, it is not valid, or Kipoi cannot run its model.
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
    dataloader = default_dataloader(directory, raw)
    return _read(str(path), str(found), directory, directory, downloads, description, raw, dataloader, copied)


def read_source(name: str, *, copied: bool = False) -> KipoiPart:
    """Reads a model of a source that Kipoi knows, which Kipoi brings here if it is not here yet.

    Args:
        name: ``"<source>:<model>"``, such as ``"kipoi:DeepSEA/predict"``.
        copied: As for ``read_directory``.

    Raises:
        SourceError: When it is not to be had, or Kipoi cannot run it.
    """
    located = locate(name, "model")
    directory = located.directory.resolve()
    found = find_yaml(directory, "model")
    raw = located.raw if located.raw is not None else load_yaml(found) if found else {}
    dataloader = default_dataloader(directory, raw, located.root / located.inner)
    root = located.root.resolve()
    part = _read(name, name, directory, root, located.downloads, located.description, raw, dataloader, copied)
    return replace(part, zoo=name)


def copied(part: KipoiPart) -> KipoiPart:
    """The same part, to be copied as it is: with its files, also where it is a Keras model.

    Raises:
        SourceError: When a file is not there any more.
    """
    if part.files:
        return part
    return read_source(part.zoo, copied=True) if part.zoo else read_directory(part.path, copied=True)


def _read(
    label: str,
    described_in: str,
    directory: Path,
    root: Path,
    downloads: Path,
    description: Any,
    raw: Mapping[str, Any],
    dataloader: Dataloader | None,
    copied: bool,
) -> KipoiPart:
    framework = framework_of(label, directory, description, load=not copied)
    inputs, targets = description.schema.inputs, description.schema.targets
    part = KipoiPart(
        path=directory,
        inputs=read_fields(inputs),
        outputs=read_fields(targets),
        is_list=isinstance(inputs, list),
        info=read_info(description.info, raw),
        dependencies=read_dependencies(description.dependencies),
        dataloader=dataloader,
        framework=framework,
        description={**raw, "schema": {"inputs": plain_schema(inputs), "targets": plain_schema(targets)}},
        input_structure=structure_of(inputs),
        output_structure=structure_of(targets),
    )
    if copied or framework != "keras":
        files, args = packed_files(label, framework, directory, root, downloads, description)
        return replace(part, files=files, args=args)
    found = {
        name: fetch(label, directory, downloads, name, description.args.get(name))
        for name in ("weights", "arch", "custom_objects")
    }
    if found["weights"] is None:
        raise SourceError(f"'{described_in}' names no weights.", expected="args: {weights: <file>}")
    whole = _is_whole(found["weights"])
    return replace(
        part,
        weights=found["weights"],
        arch=None if whole else found["arch"],
        customs=_custom_objects(label, found["custom_objects"]),
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
