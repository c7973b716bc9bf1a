"""The plan of the merged dataloader: its components, their arguments, and how their rows find each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keras_stitch.directory.alignment import TARGETS, Alignment, alignment_of, check_joins, file_alignment
from keras_stitch.directory.argument_names import distinct_examples, merge_arguments, passed_names
from keras_stitch.directory.assignment import Fed, FedByFile, FedByLoader, assign
from keras_stitch.directory.feeders import ComponentFeeder, Feeder, FileFeeder, TableFeeder, TargetsFeeder
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphSpec, Port, Wiring
from keras_stitch.kipoi import table_files
from keras_stitch.kipoi.dataloader import Dataloader, dataloader_of
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.schema import Argument
from keras_stitch.models.sample_rows import table_dtype

TARGETS_FILE = "targets_file"


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
    def components(self) -> list[ComponentFeeder]:
        """Those that are dataloaders of components, and no files."""
        return [feeder for feeder in self.feeders if isinstance(feeder, ComponentFeeder)]

    @property
    def files(self) -> list[FileFeeder]:
        """Those that are files."""
        return [feeder for feeder in self.feeders if isinstance(feeder, FileFeeder)]

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
        feeders.append(_targets(targets, feeders, wiring))
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
            name: [(feeder.name, feeder.argument(own), feeder.may_share(own)) for feeder, own in who]
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


def _named(spec: GraphSpec, wiring: Wiring, fed: list[Fed]) -> list[Feeder]:
    """Gives the components their names, and the inputs that nobody feeds a file each."""
    loaders = [item for item in fed if isinstance(item, FedByLoader)]
    given = {item.input: item.dataloader for item in fed if isinstance(item, FedByFile)}
    groups: list[tuple[FedByLoader | None, list[Port]]] = []
    for port in wiring.inputs:
        loader = next((item for item in loaders if port.name in item.fields), None)
        known = next((ports for item, ports in groups if loader is not None and item is loader), None)
        if known is not None:
            known.append(port)
        else:
            groups.append((loader, [port]))
    order = [submodel.name for submodel in spec.submodels]
    wanted = []
    for loader, (first, *_) in groups:
        nodes = sorted((node for node, _ in wiring.input_targets(first.name)), key=order.index)
        wanted.append(nodes[0] if loader is not None and nodes else first.name)
    feeders: list[Feeder] = []
    for (loader, ports), name in zip(groups, wanted, strict=True):
        if wanted.count(name) > 1:
            name = ports[0].name
        if loader is None:
            feeders.append(_table(name, ports[0], given.get(ports[0].name)))
        else:
            feeders.append(_component(name, loader, [port.name for port in ports]))
    return feeders


def _table(name: str, port: Port, dataloader: Dataloader | None) -> TableFeeder:
    return TableFeeder(
        name=name,
        arguments={"path": f"{name}_file"},
        alignment=Alignment(known=False) if dataloader is None else file_alignment(dataloader),
        port=port,
        dtype=table_dtype(port),
        example=None if dataloader is None else dataloader.table,
    )


def _component(name: str, fed: FedByLoader, inputs: list[str]) -> ComponentFeeder:
    component, dataloader = fed.component, fed.dataloader
    return ComponentFeeder(
        name=name,
        arguments=passed_names(name, component, dataloader),
        alignment=alignment_of(component, dataloader),
        fields={input_name: fed.fields[input_name] for input_name in inputs},
        component=component,
        asked_in_order=dataloader.in_order,
    )


def _targets(given: Any, feeders: list[Feeder], wiring: Wiring) -> TargetsFeeder:
    dataloader = dataloader_of(TARGETS, given, what="targets=")
    if dataloader.table is None:
        raise StitchError(
            "targets= is not a file.",
            expected=f"an {table_files.listed()} file with targets for the examples, or a ks.Dataloader of one",
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
    return TargetsFeeder(
        name=TARGETS,
        arguments={"path": TARGETS_FILE},
        alignment=file_alignment(dataloader),
        arrays={output.port.name: (output.port.shape, table_dtype(output.port)) for output in wiring.outputs},
        example=dataloader.table,
    )
