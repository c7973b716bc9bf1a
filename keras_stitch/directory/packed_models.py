"""Packed models: what runs in the dataloader, as Kipoi directories, as Python source, and run here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.directory import custom_objects_file
from keras_stitch.directory.connections_code import source
from keras_stitch.directory.hosting import hosted_model
from keras_stitch.files.read_files import load_yaml
from keras_stitch.files.scratch import Scratch
from keras_stitch.files.zip_files import open_zip
from keras_stitch.graphs.shapes import kind_of
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.framework import OLD_TYPES
from keras_stitch.kipoi.model_directory import CopiedPart
from keras_stitch.kipoi.packed_copy import flattened, load_packed, nested, write_packed
from keras_stitch.kipoi.run_directory import needs_neighbours, quiet
from keras_stitch.kipoi.templates import literal, template_module, template_text, write_stitched_model, write_yaml
from keras_stitch.models import save_keras
from keras_stitch.models.custom_objects import CustomObjects
from keras_stitch.placement.cut_into_stages import Cast, Connected, Merged, Stages, Step, Take
from keras_stitch.verify.run_stages import Runs

_WEIGHTS = layout.model_file("keras")

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Packing:
    """The models that run in the dataloader of one graph.

    Attributes:
        models: The Keras model of every step that has one, by the step's name.
        parts: For submodels of other frameworks, and of the twins that share their weights, their Kipoi directories.
        customs: The custom objects that were given for submodels.
        sha256: Of the submodels of other frameworks, as they were added.
    """

    stages: Stages
    models: Mapping[str, keras.Model] = field(default_factory=dict)
    parts: Mapping[str, CopiedPart] = field(default_factory=dict)
    customs: Mapping[str, CustomObjects] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def carried(self) -> dict[str, custom_objects_file.Carried]:
        """The custom objects that each Keras model needs.

        Raises:
            SaveError: When nobody else could have one of them.
        """
        return {name: custom_objects_file.carry(model, self.customs) for name, model in self.models.items()}

    @property
    def requirements(self) -> list[str]:
        """The distributions that custom objects of the Keras models come from."""
        return [item for carried in self.carried.values() for item in carried.requirements]

    def folder(self, step: Step) -> str:
        """Where the model of a step lies, as a path in the directory."""
        return layout.packed_folder(step.owner or step.name)

    def write(self, directory: Path) -> None:
        """Writes every model as a Kipoi directory of its own, below ``components``.

        Raises:
            SaveError: When a model cannot be written.
        """
        for step in self.stages.steps:
            place = directory / self.folder(step)
            if step.cut is None and not place.exists():
                write_packed(self.parts[step.name], place, sha256=self.sha256.get(step.name))
            elif step.cut is not None:
                self._write_keras(step, place)
        if (last := self.stages.last) is not None:
            write_packed(self.parts[last], directory / self._last_folder, sha256=self.sha256.get(last))

    @property
    def _last_folder(self) -> str:
        return layout.packed_folder(self.stages.last or "")

    def hostable(self) -> list[str]:
        """The files of packed models that can lie at a URL: what their arguments name, Python files apart."""
        found = []
        for step in self.stages.steps:
            if step.cut is not None:
                found.append(f"{self.folder(step)}/{_WEIGHTS}")
            else:
                found += self._files(step.submodels[0], self.folder(step))
        if self.stages.last is not None:
            found += self._files(self.stages.last, self._last_folder)
        return list(dict.fromkeys(found))

    def _files(self, submodel: str, folder: str) -> list[str]:
        part = self.parts[submodel]
        named = [value for value in part.args.values() if isinstance(value, str) and value in part.files]
        return [f"{folder}/{value}" for value in named if not value.endswith(".py")]

    def host(self, directory: Path, hosted: Mapping[str, Mapping[str, str]]) -> None:
        """Has packed models load from URLs those of their files that are hosted."""
        for folder in dict.fromkeys(map(self.folder, self.stages.steps)):
            said = load_yaml(directory / folder / layout.MODEL_YAML)
            changed = hosted_model(said, hosted, f"{folder}/")
            if changed != {"args": {}, **said}:
                write_yaml(directory / folder / layout.MODEL_YAML, changed)

    def as_model(self, directory: Path) -> dict[str, Any]:
        """Has the last submodel, once it is written, be the directory's model; returns what ``model.yaml`` says.

        Where it is a class of its own, or imports its neighbours, a short ``model.py`` makes it.
        """
        assert self.stages.last is not None
        folder, files = self._last_folder, self.parts[self.stages.last].files
        said = load_yaml(directory / folder / layout.MODEL_YAML)
        kind, args = said.get("defined_as") or OLD_TYPES.get(str(said.get("type"))), said.get("args", {})
        if kind is None:  # a class of the old kind, which takes nothing
            kind, args = f"{args['file'].removesuffix('.py')}.{args['object']}", {}

        def placed(value: Any) -> Any:
            named = isinstance(value, str) and any(value in (place, *_above(place)) for place in files)
            return f"{folder}/{value}" if named else value

        if kind.startswith("kipoi.model."):
            alone = keras.tree.map_structure(placed, _with_module_file(args, files))
            if not needs_neighbours(directory, kind, alone, files):
                return {"defined_as": kind, "args": alone}
        (directory / layout.MODEL_CODE).write_text(template_text("kipoi/packed_class.py"), encoding="utf-8")
        own = {"python_folder": folder, "python_class": kind}
        return {"defined_as": "model.PackedModel", "args": {**own, **keras.tree.map_structure(placed, args)}}

    def _write_keras(self, step: Step, place: Path) -> None:
        model, carried = self.models[step.name], self.carried[step.name]
        (place / _WEIGHTS).parent.mkdir(parents=True)
        save_keras.write(model, place / _WEIGHTS)
        _undated(place / _WEIGHTS)
        carried.write(place)
        names = " and ".join(step.submodels) or "A merge by a Keras layer"
        assert step.cut is not None
        said = {
            "defined_as": write_stitched_model(place),
            "args": {"weights": _WEIGHTS, **({"custom_objects": layout.CUSTOM_OBJECTS} if carried.files else {})},
            "default_dataloader": ".",
            "info": {"authors": [], "doc": f"{names}, as one Keras model that runs in the dataloader."},
            "schema": {
                "inputs": _schemas(step.cut.wiring.inputs, "An input."),
                "targets": _schemas(step.gives.values(), "An output."),
            },
        }
        write_yaml(place / layout.MODEL_YAML, said)

    # -- as Python source ----------------------------------------------------

    def calls(self) -> dict[str, Any]:
        """Python source for the template: the arguments of every model, a line each, and what the dataloader gives."""
        models = [self._call(step) for step in self.stages.steps]
        return {"models": models, "inputs": f"inputs={source(self.given(dict(self.stages.delivered)), 4, 8)}"}

    def _call(self, step: Step) -> list[str]:
        gives = {port.name: tuple(port.row) for port in step.gives.values()}
        lines = [literal(step.name), f"HERE / {literal(self.folder(step))}"]
        lines += [f"takes={source(self._takes(step), 8, 7)}", f"gives={literal(gives, 8, 7)}"]
        keys, whole = self._keys(step), self._whole(step)
        lines += [f"keys={literal(keys, 8, 6)}"] if keys is not None else []
        return [*lines, *([f"whole={literal(whole, 8, 7)}"] if whole else [])]

    def _takes(self, step: Step) -> Any:
        """What feeds a model, in the structure that it takes."""
        if step.cut is not None:
            return dict(step.takes)
        return nested(self.parts[step.name], list(step.takes.values()))

    def _keys(self, step: Step) -> list[tuple[str | int, ...]] | None:
        """What leads to each tensor in a prediction, where it is no single array and no list."""
        if step.cut is not None:
            return [(name,) for name in step.gives] if len(step.gives) > 1 else None
        paths = [field.path for field in self.parts[step.name].outputs]
        return None if paths in ([()], [(number,) for number in range(len(paths))]) else paths

    def _whole(self, step: Step) -> dict[str, str]:
        """The tensors of another framework that are whole numbers: nothing but the probe says that they are."""
        dtypes = {port.name: port.dtype for port in step.gives.values() if step.cut is None}
        return {name: dtype for name, dtype in dtypes.items() if dtype is not None and kind_of(dtype) != "float"}

    def paths(self) -> list[tuple[str | int, ...]]:
        """What leads to each input of the final model in what the dataloader gives."""
        if self.stages.last is None:
            return [(port.name,) for port in self.stages.inputs]
        return [field.path for field in self.parts[self.stages.last].inputs]

    def given(self, named: dict[str, Any]) -> Any:
        """What is named by the inputs of the final model as that takes it: a Keras model takes a dict."""
        if self.stages.last is None:
            return named
        return nested(self.parts[self.stages.last], [named[port.name] for port in self.stages.inputs])

    # -- run here --------------------------------------------------------------

    def runner(self, directory: Path) -> Callable[[Mapping[str, Array]], Any]:
        """A function that runs the models that were written into a directory, as its dataloader does.

        It takes arrays of shape ``(rows, ...)`` by graph input, and returns those by input of the final model.
        """
        merging = template_module("kipoi.merging")

        def made(connected: Connected) -> Any:
            if isinstance(connected, Take):
                return merging.Take(made(connected.source), *astuple(connected.span))
            if isinstance(connected, Cast):
                return merging.Cast(made(connected.source), connected.dtype)
            if isinstance(connected, Merged):
                sources = [made(source) for source in connected.sources]
                return merging.Merge(connected.kind, sources, connected.dtype, **connected.options)
            return connected

        models = [
            merging.Model(
                step.name,
                directory / self.folder(step),
                keras.tree.map_structure(made, self._takes(step)),
                {port.name: tuple(port.row) for port in step.gives.values()},
                self._keys(step),
                self._whole(step),
            )
            for step in self.stages.steps
        ]
        packed = merging.Packed(*models, inputs=keras.tree.map_structure(made, dict(self.stages.delivered)))

        def run(inputs: Mapping[str, Array]) -> Any:
            with quiet():
                return packed.run(inputs, range(len(next(iter(inputs.values())))))

        return run

    def alone(self, owner: str) -> Runs:
        """A submodel of another framework, loaded from its source: arrays in the order of its ports.

        Raises:
            SourceError: When it is no longer what it was when it was added.
        """
        with Scratch() as folder:
            place = folder / "model"
            write_packed(self.parts[owner], place, sha256=self.sha256.get(owner))
            return self._runs(owner, load_packed(place))

    def last(self, directory: Path) -> Runs:
        """The last submodel, from the directory that it was written into."""
        assert self.stages.last is not None
        return self._runs(self.stages.last, load_packed(directory / self._last_folder))

    def _runs(self, owner: str, model: Any) -> Runs:
        part = self.parts[owner]

        def run(arrays: list[Array]) -> list[Array]:
            # Copies, as a model may change what it is given.
            found = flattened(owner, part, model.predict_on_batch(nested(part, [array.copy() for array in arrays])))
            # A number for each row is a row with one number.
            return [array[:, None] if array.ndim == 1 else array for array in found]

        return run


def _schemas(ports: Iterable[Port], doc: str) -> dict[str, dict[str, str]]:
    return {port.name: {"shape": str(tuple(port.row)), "doc": doc} for port in ports}


def _above(place: str) -> list[str]:
    """The folders that a file lies in."""
    return [parent.as_posix() for parent in PurePosixPath(place).parents][:-1]


def _with_module_file(args: Mapping[str, Any], files: Collection[str]) -> dict[str, Any]:
    """The arguments of a model of PyTorch with the file of its module, which may be part of the name of its class."""
    name = next((name for name in ("module_obj", "module_class") if args.get(name)), None)
    if name is None or args.get("module_file"):
        return dict(args)
    module, _, inner = args[name].partition(".")
    return {**args, name: inner, "module_file": f"{module}.py"} if f"{module}.py" in files else dict(args)


def _undated(file: Path) -> None:
    """Takes the time of saving out of a ``.keras`` file, so that the same model has the same sha256."""
    with open_zip(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = json.dumps(
        {key: value for key, value in json.loads(members["metadata.json"]).items() if key != "date_saved"}
    ).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
