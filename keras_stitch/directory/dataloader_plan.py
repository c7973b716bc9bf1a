"""The plan of the merged dataloader: its components, their arguments, and how their rows find each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keras_stitch.directory.alignment import TARGETS, Alignment, alignment_of, check_joins
from keras_stitch.directory.argument_names import distinct_examples, merge_arguments, passed_names
from keras_stitch.directory.assignment import Fed, assign
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphSpec, Port, Shape, Wiring, shape_text
from keras_stitch.kipoi.component import RANDOM_ACCESS, Component
from keras_stitch.kipoi.dataloader import Dataloader, dataloader_of
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.schema import Argument, Field, Missing

TARGETS_FILE = "targets_file"


@dataclass(frozen=True)
class PredictionFile:
    """A file with what models predicted beforehand, in an environment of their own.

    Attributes:
        model: What made it.
        made_by: The sha256 that stands for the models and their dataloader, once they are written.
        tensors: For every input that it feeds, the name of the tensor in it and the shape of a row.
        given: The arguments that the dataloader of those models has as well, and that have to be the same.
    """

    model: str
    made_by: str
    tensors: Mapping[str, tuple[str, Shape]]
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feeder:
    """One component of the merged dataloader, and what it gives.

    Attributes:
        name: Its name in the merged dataloader: a submodel's or a graph input's, or ``"targets"``.
        component: The dataloader; ``None`` for a file.
        fields: The field that feeds each graph input.
        port: The graph input that a file is read for; ``None`` for dataloaders and targets.
        arguments: The name in the merged dataloader for every argument that is passed on.
        alignment: How its rows find those of the others.
        dataloader: What the user said about it.
        predicted: The file with predictions that it is, if it is one.
    """

    name: str
    component: Component | None
    fields: Mapping[str, Field] = field(default_factory=dict)
    port: Port | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    alignment: Alignment = field(default_factory=Alignment)
    dataloader: Dataloader | None = None
    predicted: PredictionFile | None = None

    @property
    def is_targets(self) -> bool:
        """Whether it is the file with the targets."""
        return self.component is None and self.port is None and self.predicted is None

    @property
    def feeds(self) -> tuple[str, ...]:
        """The inputs that it gives something to."""
        return tuple(self.fields) if self.port is None else (self.port.name,)

    @property
    def in_order(self) -> bool:
        """Whether it can only be read from the first row to the last."""
        if self.component is None:
            return False
        return self.component.type not in RANDOM_ACCESS or bool(self.dataloader and self.dataloader.in_order)

    @property
    def kind(self) -> str:
        """Kipoi's kind, or that it is a file, for people."""
        return self.component.type if self.component is not None else "file"

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Schema of the metadata; empty where there is none."""
        if self.component is not None:
            return self.component.metadata
        if self.is_targets:
            return {"id": {"doc": "Name of the row in the file with the targets; empty where there is no file."}}
        if self.predicted is not None:
            return {"id": {"doc": f"Id, genomic range or number of the row in the file of {self.predicted.model}."}}
        return {"id": {"doc": f"Name of the row in the file for {self.name}: its column id, or its number."}}

    def argument(self, own: str) -> Argument:
        """One of its arguments, by the name that it has there."""
        if self.component is not None:
            return next(argument for argument in self.component.arguments if argument.name == own)
        if self.predicted is not None:
            doc = f"HDF5 file with the predictions of {self.predicted.model}, which the workflow makes."
            return Argument("path", doc, "str")
        table = self.dataloader.table if self.dataloader else None
        example = Missing if table is None else table
        if self.is_targets:
            doc = "File with what the model should predict: NPY, TSV or CSV with a header, or HDF5."
            return Argument("path", doc, "str", required=False, example=example)
        assert self.port is not None
        doc = (
            f"File for the input {self.name}, rows of shape {shape_text(self.port.shape)}: NPY, TSV or CSV with a "
            "header, or HDF5."
        )
        return Argument("path", doc, "str", example=example)


@dataclass(frozen=True)
class Merged:
    """The merged dataloader.

    Attributes:
        feeders: The components, in the order of the graph inputs, then the targets.
        arguments: Its arguments, required ones first, with the default and example of the part they come from.
        owners: For every argument the feeders that take it.
    """

    feeders: tuple[Feeder, ...]
    arguments: tuple[Argument, ...]
    owners: Mapping[str, tuple[Feeder, ...]]

    @property
    def random_access(self) -> bool:
        """Whether rows can be read in any order."""
        return not any(feeder.in_order for feeder in self.feeders)

    @property
    def kind(self) -> str:
        """Kipoi's kind."""
        return "Dataset" if self.random_access else "SampleIterator"


def merge(
    spec: GraphSpec,
    wiring: Wiring,
    dataloaders: Mapping[str, Any] | None = None,
    parts: Mapping[str, KipoiPart] | None = None,
    targets: Any = None,
) -> Merged:
    """Plans the merged dataloader.

    Args:
        spec: The graph.
        wiring: The same, checked.
        dataloaders: Graph input or submodel -> ``Dataloader``, path, import path or class.
        parts: For submodels that are Kipoi directories, what was read there.
        targets: An example of a file with targets, as a path or a ``Dataloader``.

    Raises:
        StitchError: When a key is unknown, an input is fed twice, a loader does not fit, arguments collide or rows
            cannot be looked up.
    """
    fed = assign(wiring, [submodel.name for submodel in spec.submodels], dataloaders, parts or {})
    feeders = _named(spec, wiring, fed)
    if targets is not None:
        feeders.append(_targets(targets, feeders))
    alignments = check_joins(
        {feeder.name: feeder.alignment for feeder in feeders},
        [feeder.name for feeder in feeders if feeder.in_order],
    )
    feeders = [replace(feeder, alignment=alignments[feeder.name]) for feeder in feeders]
    owners: dict[str, list[tuple[Feeder, str]]] = {}
    for feeder in feeders:
        for own, name in feeder.arguments.items():
            owners.setdefault(name, []).append((feeder, own))
    arguments = merge_arguments(
        {
            name: [(feeder.name, feeder.argument(own), _may_share(feeder, own)) for feeder, own in who]
            for name, who in owners.items()
        }
    )
    return Merged(tuple(feeders), arguments, {name: tuple(feeder for feeder, _ in who) for name, who in owners.items()})


def own_examples(merged: Merged, name: str) -> list[tuple[str, Any]]:
    """The examples that the parts have for an argument, those that are equal or equal files once."""
    return distinct_examples(
        [
            (feeder.name, feeder.argument(own))
            for feeder in merged.owners[name]
            for own, passed in feeder.arguments.items()
            if passed == name
        ]
    )


def _may_share(feeder: Feeder, own: str) -> bool:
    # Only what is required or shared keeps its name.
    return feeder.component is not None and feeder.arguments[own] == own


def _named(spec: GraphSpec, wiring: Wiring, fed: list[Fed]) -> list[Feeder]:
    """Gives the components their names, and the inputs that nobody feeds a file each."""
    groups: list[tuple[Fed | None, list[str]]] = []
    for port in wiring.inputs:
        source = next((item for item in fed if port.name in item.fields), None)
        known = next((names for item, names in groups if source is not None and item is source), None)
        if known is not None:
            known.append(port.name)
        else:
            groups.append((source, [port.name]))
    order = [submodel.name for submodel in spec.submodels]
    wanted = []
    for source, names in groups:
        nodes = sorted((node for node, _ in wiring.input_targets(names[0])), key=order.index)
        wanted.append(nodes[0] if source is not None and source.component is not None and nodes else names[0])
    ports = {port.name: port for port in wiring.inputs}
    feeders = []
    for (source, names), name in zip(groups, wanted, strict=True):
        if wanted.count(name) > 1:
            name = names[0]
        if source is None or source.component is None:
            dataloader = source.dataloader if source is not None else None
            alignment = alignment_of(None, dataloader) if dataloader is not None else Alignment(known=False)
            arguments = {"path": f"{name}_file"}
            feeders.append(
                Feeder(name, None, port=ports[name], arguments=arguments, alignment=alignment, dataloader=dataloader)
            )
            continue
        component, dataloader = source.component, source.dataloader
        fields = {item: found for item in names if (found := source.fields[item]) is not None}
        feeders.append(
            Feeder(
                name,
                component,
                fields,
                arguments=passed_names(name, component, dataloader),
                alignment=alignment_of(component, dataloader),
                dataloader=dataloader,
            )
        )
    return feeders


def _targets(given: Any, feeders: list[Feeder]) -> Feeder:
    dataloader = dataloader_of(TARGETS, given, what="targets=")
    if dataloader.table is None:
        raise StitchError(
            "targets= is not a file.",
            expected="an NPY, TSV, CSV or HDF5 file with targets for the examples, or a ks.Dataloader of one",
            received=repr(given)[:200],
        )
    for what in ("outputs", "args", "share", "separate", "in_order"):
        if getattr(dataloader, what):
            raise StitchError(f"{what}= has no meaning for targets, which are read from a file.")
    if any(feeder.name == TARGETS for feeder in feeders):
        raise StitchError(
            f"A submodel or input called '{TARGETS}' cannot be in a graph that is saved with targets.",
            fix="Give it another name.",
        )
    return Feeder(
        TARGETS,
        None,
        arguments={"path": TARGETS_FILE},
        alignment=alignment_of(None, dataloader),
        dataloader=dataloader,
    )
