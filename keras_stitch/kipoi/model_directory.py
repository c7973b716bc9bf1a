"""What a Kipoi directory says about its model, of whatever framework."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.hdf5_files import is_hdf5
from keras_stitch.files.read_files import check_directory, find_yaml, load_yaml
from keras_stitch.kipoi.component import default_dataloader
from keras_stitch.kipoi.dataloader import Dataloader
from keras_stitch.kipoi.descriptions import BadDescription, ModelDescription, model_description
from keras_stitch.kipoi.downloads import fetch_all
from keras_stitch.kipoi.framework import framework_of
from keras_stitch.kipoi.named_files import local_file
from keras_stitch.kipoi.optional_kipoi import require_kipoi
from keras_stitch.kipoi.packed_copy import packed_files
from keras_stitch.kipoi.schema import (
    Field,
    check_read_files,
    plain_schema,
    read_dependencies,
    read_fields,
    read_info,
    structure_of,
)
from keras_stitch.models.custom_objects import CustomObjects, read_file
from keras_stitch.models.stored_weights import check_copied
from keras_stitch.repairs.read_file import opened_hdf5


@dataclass(frozen=True, kw_only=True)
class KipoiPart:
    """What a Kipoi directory says about its model, which is loaded as a Keras model or copied as it is.

    Attributes:
        framework: What runs it, one of ``spec.FRAMEWORKS``.
        inputs: The inputs of the model's schema, in its order; shapes without the batch axis.
        outputs: The targets of the model's schema.
        input_structure: Whether the model takes an ``"array"``, a ``"list"`` or a ``"dict"``.
        output_structure: The same for what it gives.
        info: As ``schema.read_info`` gives it, and the dependencies as ``schema.read_dependencies`` does.
        dataloader: Its default dataloader; ``None`` where there is none.
        zoo: Its name in a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``, if it was named like that.
        description: Its ``model.yaml`` as plain data, column labels read from the files that have them.
    """

    path: Path
    framework: str = "keras"
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    input_structure: str = "array"
    output_structure: str = "array"
    info: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Mapping[str, list[str]] = field(default_factory=dict)
    dataloader: Dataloader | None = None
    zoo: str | None = None
    description: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages and tables call it."""
        return self.zoo or self.path.name


@dataclass(frozen=True, kw_only=True)
class KerasPart(KipoiPart):
    """A Kipoi model that is a Keras model and nothing more.

    Attributes:
        weights: The file with the weights or the whole model; it may have no ending.
        arch: The architecture JSON, where the file has weights only.
        customs: The custom objects that it needs.
    """

    weights: Path
    arch: Path | None = None
    customs: CustomObjects = field(default_factory=CustomObjects)


@dataclass(frozen=True, kw_only=True)
class CopiedPart(KipoiPart):
    """A Kipoi model that runs through Kipoi, from a copy.

    Attributes:
        args: The arguments of its class, with the places that ``files`` have.
        files: What a copy consists of: files here, by their places in the copy.
    """

    args: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelDirectory:
    """A Kipoi directory of which only the ``model.yaml`` was read.

    Attributes:
        label: What messages call it: as the user named it.
        described_in: What messages call its description.
        path: The directory.
        root: What its files may lie in: the directory, or the folder of the source that it belongs to.
        downloads: Where Kipoi puts what it downloads.
        description: What its ``model.yaml`` says, and ``raw`` as it is written.
        dataloader: Its default dataloader; ``None`` where there is none.
        zoo: Its name in a source that Kipoi knows, if it was named like that.
    """

    label: str
    described_in: str
    path: Path
    root: Path
    downloads: Path
    description: ModelDescription
    raw: Mapping[str, Any]
    dataloader: Dataloader | None
    zoo: str | None = None

    def part(self) -> KerasPart | CopiedPart:
        """The model as it is used here; what its ``model.yaml`` names by URL is downloaded to where Kipoi puts it.

        Raises:
            DownloadError: With every file at a URL that cannot be had.
            SourceError: When a file cannot be had, or Kipoi cannot run it.
        """
        framework = framework_of(self.label, self.path, self.description)
        if framework != "keras":
            return self._copied(framework)
        args = self.description.args
        named = {name: args[name] for name in ("weights", "arch", "custom_objects") if args.get(name) is not None}
        if "weights" not in named:
            raise SourceError(f"'{self.described_in}' names no weights.", expected="args: {weights: <file>}")
        found = fetch_all(self.label, self.downloads, named)
        for name, value in named.items():
            if name not in found:
                found[name] = local_file(self.label, self.path, self.root, name, value)
        weights = found["weights"]
        return KerasPart(
            **self._said(framework),
            weights=weights,
            arch=None if _is_whole(weights) else found.get("arch"),
            customs=_custom_objects(self.label, found.get("custom_objects")),
        )

    def copied(self) -> CopiedPart:
        """The model to be copied as it is and run elsewhere, a Keras model, too: its code is not loaded.

        Raises:
            SourceError: When a file cannot be had, or Kipoi cannot run it.
        """
        return self._copied(framework_of(self.label, self.path, self.description, load=False))

    def _copied(self, framework: str) -> CopiedPart:
        files, args = packed_files(self.label, framework, self.path, self.root, self.downloads, self.description)
        for file in files.values():
            check_copied(file)  # other packages may open it without a look
        return CopiedPart(**self._said(framework), files=files, args=args)

    def _said(self, framework: str) -> dict[str, Any]:
        inputs, targets = self.description.schema.inputs, self.description.schema.targets
        outputs = read_fields(targets)
        if not outputs:
            raise SourceError(f"'{self.described_in}' describes no output.", expected="schema: {targets: <an array>}")
        return {
            "path": self.path,
            "framework": framework,
            "inputs": read_fields(inputs),
            "outputs": outputs,
            "input_structure": structure_of(inputs),
            "output_structure": structure_of(targets),
            "info": read_info(self.description.info, self.raw),
            "dependencies": read_dependencies(self.description.dependencies),
            "dataloader": self.dataloader,
            "zoo": self.zoo,
            "description": {**self.raw, "schema": {"inputs": plain_schema(inputs), "targets": plain_schema(targets)}},
        }


def model_directory(path: str | os.PathLike[str]) -> ModelDirectory:
    """A Kipoi directory: one with a ``model.yaml``, also one that ``write_directory`` made.

    Raises:
        SourceError: When there is no ``model.yaml``, or it is not valid.
    """
    directory = Path(path).resolve()
    found = find_yaml(directory, "model")
    if found is None:
        raise SourceError(
            f"'{path}' is not a Kipoi directory.",
            expected="a directory with a model.yaml",
            received="no such directory" if not directory.is_dir() else "a directory without one",
        )
    check_directory(directory)
    raw = load_yaml(found)
    check_read_files(found, raw)
    downloads = directory / layout.DOWNLOADS / layout.MODEL_FILES
    description = _described(str(found), raw, directory)
    dataloader = default_dataloader(directory, raw)
    return ModelDirectory(str(path), str(found), directory, directory, downloads, description, raw, dataloader)


def zoo_model(name: str) -> ModelDirectory:
    """A model of a source that Kipoi knows, such as ``"kipoi:DeepSEA/predict"``; Kipoi pulls its source.

    Raises:
        SourceError: When it cannot be had.
        StitchError: Where Kipoi is not installed.
    """
    require_kipoi(f"'{name}', a model of one of Kipoi's sources,")
    from keras_stitch.kipoi.model_sources import locate

    located = locate(name, "model")
    directory, root = located.directory.resolve(), located.root.resolve()
    description = _described(name, located.raw, directory)
    dataloader = default_dataloader(directory, located.raw, located.root / located.inner)
    return ModelDirectory(
        name, name, directory, root, located.downloads, description, located.raw, dataloader, zoo=name
    )


def _described(described_in: str, raw: Mapping[str, Any], folder: Path) -> ModelDescription:
    """What a ``model.yaml`` says; ``described_in`` is what messages call it."""
    try:
        return model_description(raw, folder)
    except BadDescription as error:
        raise SourceError(f"'{described_in}' is not valid.", received=str(error)) from error


def read_directory(path: str | os.PathLike[str]) -> KerasPart | CopiedPart:
    """What a Kipoi directory says about its model; see ``model_directory`` and ``ModelDirectory.part``."""
    return model_directory(path).part()


def copied(part: KipoiPart) -> CopiedPart:
    """The same model with the files of a copy, a Keras model, too.

    Raises:
        SourceError: When a file is not there any more.
    """
    if isinstance(part, CopiedPart):
        return part
    return (zoo_model(part.zoo) if part.zoo else model_directory(part.path)).copied()


def _is_whole(weights: Path) -> bool:
    """Whether a file holds the architecture, too; Kipoi may be given both."""
    if not is_hdf5(weights):
        return True
    with opened_hdf5(weights) as file:
        return "model_config" in file.attrs


def _custom_objects(label: str, file: Path | None) -> CustomObjects:
    if file is None:
        return CustomObjects()
    try:
        return read_file(file, f"The custom objects of '{label}'")
    except StitchError as error:
        raise error.behind("", kind=SourceError) from error
