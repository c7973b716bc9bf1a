"""The parts of a merged dataloader: dataloaders of components, files with rows, with predictions or with targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from keras_stitch import directory_layout as layout
from keras_stitch.directory.alignment import Alignment
from keras_stitch.graphs.spec import Port, Shape, shape_text
from keras_stitch.kipoi import table_files
from keras_stitch.kipoi.component import RANDOM_ACCESS, Component
from keras_stitch.kipoi.schema import Argument, Field, Missing
from keras_stitch.kipoi.templates import literal

# Python source of a call: what is called, and its arguments, one for each line.
Call = tuple[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Feeder(ABC):
    """One part of the merged dataloader, and what it gives.

    Attributes:
        name: Its name in the merged dataloader: a submodel's or a graph input's, or ``"targets"``.
        arguments: The name in the merged dataloader for every argument that is passed on.
        alignment: How its rows find those of the others.
        fields: The field that feeds each graph input, where the part says something about it.
    """

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    alignment: Alignment = field(default_factory=Alignment)
    fields: Mapping[str, Field] = field(default_factory=dict)

    @property
    def feeds(self) -> tuple[str, ...]:
        """The inputs that it gives something to."""
        return tuple(self.fields)

    @property
    def in_order(self) -> bool:
        """Whether it can only be read from the first row to the last."""
        return False

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is, for people."""

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, Any]:
        """The schema of its metadata; empty where there is none."""

    @abstractmethod
    def argument(self, own: str) -> Argument:
        """One of its arguments, by the name that it has there."""

    def may_share(self, own: str) -> bool:
        """Whether an argument can be one with an argument of the same name of another part."""
        return False

    @abstractmethod
    def call(self, labels: Mapping[str, Sequence[str]]) -> Call:
        """Python source that makes the part in the generated dataloader; labels are of columns, by graph output."""

    @abstractmethod
    def reader(self, module: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """The part alone, as the runtime has it: not in step with others, and without what it is compared by.

        It is made by the module of the generated ``dataloader.py``, with a value for each of its own arguments.
        """

    def _joined(self) -> list[str]:
        """The arguments that say how its rows are joined."""
        on, missing = self.alignment.align_on, self.alignment.missing
        found = [] if on is None else [f"align_on={literal(on)}"]
        found += [] if self.alignment.compared else ["compared=False"]
        return [*found, *([] if missing == "error" else [f"missing={literal(missing)}"])]


@dataclass(frozen=True, kw_only=True)
class ComponentFeeder(Feeder):
    """The Kipoi dataloader of a component; the user may want it read from the first row to the last."""

    component: Component
    asked_in_order: bool = False

    @property
    def in_order(self) -> bool:
        """Whether it can only be read from the first row to the last."""
        return self.component.type not in RANDOM_ACCESS or self.asked_in_order

    @property
    def kind(self) -> str:
        """Kipoi's kind of dataloader."""
        return self.component.type

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the component says."""
        return self.component.metadata

    def argument(self, own: str) -> Argument:
        """One of the component's arguments."""
        return next(argument for argument in self.component.arguments if argument.name == own)

    def may_share(self, own: str) -> bool:
        """Only what is required or shared keeps its name."""
        return self.arguments[own] == own

    def call(self, labels: Mapping[str, Sequence[str]]) -> Call:
        """A ``Part`` of the class that ``loader`` makes."""
        name, alignment = literal(self.name), self.alignment
        passed = "".join(f"{' ' * 20}{literal(own)}: {outer},\n" for own, outer in self.arguments.items())
        lines = [name, f"LOADERS[{name}]", f"{{\n{passed}{' ' * 16}}}" if passed else "{}"]
        lines.append(f"inputs={literal(self._inputs, indent=16, used=8)}")
        lines += ["metadata=True"] if self.metadata else []
        keys = {"ids": alignment.ids, "ranges": alignment.ranges}
        lines += [f"{kind}={literal(path)}" for kind, path in keys.items() if path is not None]
        lines += [f"resized_by={literal(alignment.resized_by)}"] if alignment.resized_by and alignment.ranges else []
        return "merging.Part", [*lines, *self._joined(), *(["in_order=True"] if self.asked_in_order else [])]

    def reader(self, module: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """A ``Part``."""
        loader = module["LOADERS"][self.name]
        return module["merging"].Part(self.name, loader, values, self._inputs, in_order=self.in_order)

    @property
    def _inputs(self) -> dict[str, tuple[str | int, ...]]:
        return {target: field.path for target, field in self.fields.items()}

    @property
    def imported(self) -> str | None:
        """The module that its class is imported from; ``None`` where it is loaded from a file in the directory."""
        return self.component.object.rpartition(".")[0] if self.component.file is None else None

    def loader(self) -> list[str]:
        """Python source of its class: one expression, or the arguments of ``load_dataloader``."""
        component = self.component
        if component.file is not None:
            place = f"HERE / {literal(f'{layout.component_folder(self.name)}/{component.file}')}"
            kind = [literal(component.type)] if component.is_function and component.type != "PreloadedDataset" else []
            return [place, literal(component.object), *kind]
        if not component.is_function:
            return [component.object]
        return [f"merging.from_function({component.object}, {literal(component.type)})"]

    def place(self, file: Path) -> str:
        """Where a file lies that one of its arguments has by default, as a path in the generated directory."""
        return f"{layout.component_folder(self.name)}/{self._place(file)}"

    def default_files(self) -> dict[Path, str]:
        """The files that its arguments have by default, and where they lie in its folder."""
        defaults = [argument.default for argument in self.component.arguments]
        return {default: self._place(default) for default in defaults if isinstance(default, Path)}

    def _place(self, file: Path) -> str:
        folder = self.component.folder
        if folder is not None and file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
        return f"{layout.DATALOADER_FILES}/{file.name}"


@dataclass(frozen=True, kw_only=True)
class FileFeeder(Feeder):
    """A file that one argument, its path, names."""

    kind = "file"
    row_doc: ClassVar[str]  # what the id in the metadata is, with fields of the feeder in braces

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The names of the rows."""
        return {"id": {"doc": self.row_doc.format(self)}}

    @property
    def path_argument(self) -> str:
        """The name of the argument in the merged dataloader."""
        return self.arguments["path"]

    @property
    def made_example(self) -> str | None:
        """The stem and ending of the example that is made where there is none; ``None`` where none is made."""
        return None


@dataclass(frozen=True, kw_only=True)
class TableFeeder(FileFeeder):
    """A file with the rows of one graph input, and the file that the user named as its example, if any."""

    row_doc = "Name of the row in the file for {0.name}: its column id, or its number."
    port: Port
    dtype: str
    example: Path | None = None

    @property
    def feeds(self) -> tuple[str, ...]:
        """The graph input."""
        return (self.port.name,)

    @property
    def made_example(self) -> str:
        """A file with random rows."""
        return f"{self.port.name}.npy"

    def argument(self, own: str) -> Argument:
        """The path of the file."""
        rows = f"rows of shape {shape_text(self.port.shape)}"
        doc = f"File for the input {self.name}, {rows}: {table_files.documented()}."
        return Argument(own, doc, "str", example=Missing if self.example is None else self.example)

    def call(self, labels: Mapping[str, Sequence[str]]) -> Call:
        """A ``Table``."""
        name, shape, dtype = literal(self.port.name), literal(self.port.shape), literal(self.dtype)
        return "merging.Table", [name, self.path_argument, f"shape={shape}", f"dtype={dtype}", *self._joined()]

    def reader(self, module: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """A ``Table``."""
        return module["merging"].Table(self.port.name, values["path"], self.port.shape, self.dtype)


@dataclass(frozen=True, kw_only=True)
class TargetsFeeder(FileFeeder):
    """The file with the targets, which need not be there: shape and dtype of a row for each graph output."""

    row_doc = "Name of the row in the file with the targets; empty where there is no file."
    arrays: Mapping[str, tuple[Shape | None, str]]
    example: Path

    def argument(self, own: str) -> Argument:
        """The path of the file."""
        doc = f"File with what the model should predict: {table_files.documented()}."
        return Argument(own, doc, "str", required=False, example=self.example)

    def call(self, labels: Mapping[str, Sequence[str]]) -> Call:
        """A ``Targets``, with the columns that the file has to have."""
        own = {name: list(labels[name]) for name in self.arrays if name in labels}
        lines = [self.path_argument, literal(dict(self.arrays), indent=16, used=1)]
        lines += [f"labels={literal(own, indent=16, used=8)}"] if own else []
        return "merging.Targets", [*lines, *self._joined()]

    def reader(self, module: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """A ``Targets``."""
        return module["merging"].Targets(values["path"], dict(self.arrays))


@dataclass(frozen=True, kw_only=True)
class PredictionsFeeder(FileFeeder):
    """A file with what a job of the workflow predicts.

    Attributes:
        job: The job that makes it.
        given: The arguments that the dataloader of the job has as well, and that have to be the same.
        made_by: The sha256 that stands for the job, once that is written.
    """

    row_doc = "Id, genomic range or number of the row in the file of {0.job}."
    job: str
    given: tuple[str, ...] = ()
    made_by: str = ""

    @property
    def made_example(self) -> str:
        """The file that the job makes."""
        return f"{self.job}.h5"

    @property
    def _tensors(self) -> dict[str, tuple[str, Shape]]:
        """For every input that it feeds, the name of the tensor in the file and the shape of a row."""
        return {name: (field.name, field.shape) for name, field in self.fields.items()}

    def argument(self, own: str) -> Argument:
        """The path of the file."""
        return Argument(own, f"HDF5 file with the predictions of {self.job}, which the workflow makes.", "str")

    def call(self, labels: Mapping[str, Sequence[str]]) -> Call:
        """A ``Predictions``, which refuses files of other models or other arguments."""
        lines = [literal(self.name), self.path_argument, literal(self._tensors, indent=16, used=1)]
        lines += [f"made_by={literal(self.made_by)}"]
        lines += [f"model={literal(self.job)}"] if self.job != self.name else []
        given = ", ".join(f"{literal(name)}: {name}" for name in self.given)
        return "merging.Predictions", [*lines, *([f"given={{{given}}}"] if given else []), *self._joined()]

    def reader(self, module: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """A ``Predictions``."""
        return module["merging"].Predictions(self.name, values["path"], self._tensors, self.made_by, self.job)


def restricted(feeder: Feeder, inputs: Collection[str]) -> Feeder | None:
    """A part as far as it feeds some graph inputs; ``None`` where it feeds none of them."""
    if not any(name in inputs for name in feeder.feeds):
        return None
    return replace(feeder, fields={name: found for name, found in feeder.fields.items() if name in inputs})
