"""The plan of the merged dataloader: its components, their arguments, and how their rows find each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from keras_stitch.directory.alignment import TARGETS, Alignment, alignment_of, check_joins, file_alignment
from keras_stitch.directory.argument_names import merge_arguments, owners_of, passed_names
from keras_stitch.directory.assignment import FedByLoader, assign, check_file_options
from keras_stitch.directory.feeders import (
    ComponentFeeder,
    Feeder,
    FileFeeder,
    PredictionsFeeder,
    TableFeeder,
    TargetsFeeder,
)
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
        require_ids: Whether it is an error that only the number of a row says where it belongs.
    """

    feeders: tuple[Feeder, ...]
    arguments: tuple[Argument, ...]
    require_ids: bool = False

    @cached_property
    def owners(self) -> dict[str, tuple[Feeder, ...]]:
        """For every argument the feeders that take it."""
        names = [argument.name for argument in self.arguments]
        return {name: tuple(it for it in self.feeders if name in it.arguments.values()) for name in names}

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

    def made_by(self, digests: Mapping[str, str]) -> Merged:
        """The same, which refuses files of jobs whose sha256 is not the given one."""
        feeders = [
            replace(feeder, made_by=digests[feeder.job]) if isinstance(feeder, PredictionsFeeder) else feeder
            for feeder in self.feeders
        ]
        return replace(self, feeders=tuple(feeders))


def merge(
    spec: GraphSpec,
    wiring: Wiring,
    dataloaders: Mapping[str, Any] | None = None,
    parts: Mapping[str, KipoiPart] | None = None,
    targets: Any = None,
    require_ids: bool = False,
) -> Merged:
    """Plans the merged dataloader; ``dataloaders``, ``targets`` and ``require_ids`` are what the user gave.

    Raises:
        StitchError: When a key is unknown, an input is fed twice, a loader does not fit, arguments collide or rows
            cannot be looked up.
    """
    names = [submodel.name for submodel in spec.submodels]
    feeders = _named(names, wiring, *assign(wiring, names, dataloaders, parts or {}))
    if targets is not None:
        feeders.append(_targets(targets, feeders, wiring))
    alignments = check_joins(
        {feeder.name: feeder.alignment for feeder in feeders},
        [feeder.name for feeder in feeders if feeder.in_order],
    )
    feeders = [replace(feeder, alignment=alignments[feeder.name]) for feeder in feeders]
    return Merged(tuple(feeders), merge_arguments(owners_of(feeders)), require_ids)


def _named(
    order: Sequence[str], wiring: Wiring, loaders: Sequence[FedByLoader], files: Mapping[str, Dataloader]
) -> list[Feeder]:
    """Gives the components their names, and the inputs that no component feeds a file each."""
    leading = {next(iter(loader.fields)): loader for loader in loaders}
    following = {name for loader in loaders for name in loader.fields} - leading.keys()
    first = [port for port in wiring.inputs if port.name not in following]
    wanted = {}
    for port in first:
        nodes = [node for node, _ in wiring.input_targets(port.name)] if port.name in leading else []
        wanted[port.name] = min(nodes, key=order.index, default=port.name)
    feeders: list[Feeder] = []
    for port in first:
        taken = list(wanted.values()).count(wanted[port.name]) > 1
        name = port.name if taken else wanted[port.name]
        if port.name in leading:
            feeders.append(_component(name, leading[port.name]))
        else:
            feeders.append(_table(name, port, files.get(port.name)))
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


def _component(name: str, fed: FedByLoader) -> ComponentFeeder:
    return ComponentFeeder(
        name=name,
        arguments=passed_names(name, fed.component, fed.dataloader),
        alignment=alignment_of(fed.component, fed.dataloader),
        fields=fed.fields,
        component=fed.component,
        asked_in_order=fed.dataloader.in_order,
    )


def _targets(given: Any, feeders: list[Feeder], wiring: Wiring) -> TargetsFeeder:
    dataloader = dataloader_of(TARGETS, given, what="targets=")
    if dataloader.table is None:
        raise StitchError(
            "targets= is not a file.",
            expected=f"an {table_files.listed()} file with targets for the examples, or a ks.Dataloader of one",
            received=repr(given)[:200],
        )
    check_file_options(dataloader, "targets, which are read from a file")
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
