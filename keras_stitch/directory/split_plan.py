"""The merged dataloader of one part of a graph: those of its components that it needs, and files with predictions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from keras_stitch.directory.alignment import Alignment
from keras_stitch.directory.dataloader_plan import Feeder, Merged, PredictionFile
from keras_stitch.errors import NamingError
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.schema import Argument, Field


@dataclass(frozen=True)
class Joined:
    """The file with what some models predicted, as a part of a graph takes it.

    Attributes:
        name: Of the models.
        ports: What the part takes of it: the names that the tensors have here and there.
        merged: The merged dataloader of those models.
        made_by: The sha256 that stands for them, once they are written.
        before: The arguments of the models whose files they read, directly or through others.
    """

    name: str
    ports: tuple[Port, ...]
    merged: Merged
    made_by: str = ""
    before: tuple[str, ...] = ()


def split(merged: Merged, inputs: Collection[str], files: Sequence[Joined], *, targets: bool) -> Merged:
    """The merged dataloader of a part of the graph.

    Args:
        merged: That of the whole graph.
        inputs: The inputs of the whole graph that the part takes.
        files: The files with predictions that it takes.
        targets: Whether it reads the targets.

    Raises:
        NamingError: When a file needs an argument whose name another has.
    """
    kept = [
        replace(feeder, fields={name: field for name, field in feeder.fields.items() if name in inputs})
        for feeder in merged.feeders
        if (feeder.is_targets and targets) or any(name in inputs for name in feeder.feeds)
    ]
    owners = {name: tuple(it for it in kept if name in it.arguments.values()) for name in merged.owners}
    owners = {name: who for name, who in owners.items() if who}
    arguments = [argument for argument in merged.arguments if argument.name in owners]
    taken = {feeder.name for feeder in kept}
    own = [_feeder(file, taken, {argument.name for argument in merged.arguments}, owners) for file in files]
    made = [_argument(feeder) for feeder in own]
    owners = {next(iter(feeder.arguments.values())): (feeder,) for feeder in own} | owners
    last = [feeder for feeder in kept if feeder.is_targets]
    feeders = [*own, *(feeder for feeder in kept if not feeder.is_targets), *last]
    return Merged(tuple(feeders), (*made, *arguments), owners)


def _feeder(file: Joined, taken: Collection[str], arguments: Collection[str], owners: Mapping[str, object]) -> Feeder:
    argument = f"{file.name}_file"
    if argument in arguments:
        raise NamingError(
            f"The file with the predictions of '{file.name}' would be the argument '{argument}', which there is.",
            fix="Rename the submodel or the graph input.",
        )
    name = file.name if file.name not in taken else f"{file.name}_predictions"
    known = dict.fromkeys([*(it.name for it in file.merged.arguments), *file.before])
    given = tuple(name for name in known if name in owners)
    tensors = {port.name: (port.name, port.shape or ()) for port in file.ports}
    own = PredictionFile(file.name, file.made_by, tensors, given)
    doc = f"What {file.name} predicts, from its file."
    fields = {port.name: Field(port.name, (port.name,), port.shape or (), doc) for port in file.ports}
    return Feeder(name, None, fields, arguments={"path": argument}, alignment=_alignment(file.merged), predicted=own)


def _argument(feeder: Feeder) -> Argument:
    (name,) = feeder.arguments.values()
    return replace(feeder.argument("path"), name=name)


def _alignment(merged: Merged) -> Alignment:
    """How the rows of a file are found: as those that it was made from, where all of them are looked up."""
    alignments = [feeder.alignment for feeder in merged.feeders]
    kinds = {alignment.align_on for alignment in alignments}
    missing = "inner" if any(alignment.missing == "inner" for alignment in alignments) else "error"
    on = kinds.pop() if len(kinds) == 1 else None
    if on is None and missing == "inner":  # rows were left out, so that numbers mean nothing elsewhere
        on = next(alignment.align_on for alignment in alignments if alignment.align_on is not None)
    return Alignment(align_on=on, missing=missing if on is not None else "error", known=False)
