"""The merged dataloaders of a graph whose models run in several environments: one for each job and one for the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from keras_stitch.directory.alignment import Alignment
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import PredictionsFeeder, TargetsFeeder, restricted
from keras_stitch.errors import NamingError
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.schema import Field
from keras_stitch.placement.jobs import Flow


@dataclass(frozen=True)
class SplitLoaders:
    """The merged dataloaders of a graph.

    Attributes:
        whole: That of the whole graph, which reads no predictions.
        remaining: That of what remains after the jobs: the components that it needs, and the files of the jobs.
        jobs: That of every job.
    """

    whole: Merged
    remaining: Merged
    jobs: Mapping[str, Merged]

    @property
    def everything(self) -> Merged:
        """That of the whole graph with the files of the jobs: all arguments that there are."""
        extra = [feeder for feeder in self.remaining.files if isinstance(feeder, PredictionsFeeder)]
        owners = {feeder.path_argument: (feeder,) for feeder in extra}
        made = [argument for argument in self.remaining.arguments if argument.name in owners]
        return Merged((*extra, *self.whole.feeders), (*made, *self.whole.arguments), {**owners, **self.whole.owners})


@dataclass(frozen=True)
class _Predictions:
    """The file with what a job predicts, as a part of the graph reads it.

    Attributes:
        job: The job.
        ports: What the part takes of it: the names that the tensors have here and there.
        merged: The merged dataloader of the job.
        before: The arguments of the jobs whose files it reads, directly or through others.
    """

    job: str
    ports: tuple[Port, ...]
    merged: Merged
    before: tuple[str, ...]


def split(flow: Flow, merged: Merged) -> SplitLoaders:
    """The merged dataloaders of all jobs and of what remains.

    Args:
        flow: The graph, cut into jobs and what remains.
        merged: The merged dataloader of the whole graph.

    Raises:
        NamingError: When a file needs an argument whose name another has.
    """
    jobs: dict[str, Merged] = {}
    before: dict[str, tuple[str, ...]] = {}

    def files(reads: Mapping[str, str]) -> list[_Predictions]:
        found = []
        for job in flow.jobs:
            ports = tuple(output.port for output in job.gives if reads.get(output.port.name) == job.name)
            if ports:
                found.append(_Predictions(job.name, ports, jobs[job.name], before[job.name]))
        return found

    for job in flow.jobs:  # each after those whose files it reads
        read = [name for name in jobs if name in job.reads.values()]
        names = [[*(argument.name for argument in jobs[name].arguments), *before[name]] for name in read]
        before[job.name] = tuple(dict.fromkeys(name for own in names for name in own))
        jobs[job.name] = _part(merged, job.stages.whole.inputs, files(job.reads), targets=False)
    remaining = _part(merged, flow.stages.whole.inputs, files(flow.reads), targets=True)
    return SplitLoaders(merged, remaining, jobs)


def _part(merged: Merged, inputs: Iterable[Port], files: Sequence[_Predictions], *, targets: bool) -> Merged:
    """The merged dataloader of a part of the graph.

    Args:
        merged: That of the whole graph.
        inputs: The inputs of the part.
        files: The files with predictions that it reads.
        targets: Whether it reads the targets.
    """
    taken_inputs = {port.name for port in inputs}
    kept = [found for feeder in merged.feeders if (found := restricted(feeder, taken_inputs)) is not None]
    kept += [feeder for feeder in merged.feeders if targets and isinstance(feeder, TargetsFeeder)]
    owners = {name: tuple(it for it in kept if name in it.arguments.values()) for name in merged.owners}
    owners = {name: who for name, who in owners.items() if who}
    arguments = [argument for argument in merged.arguments if argument.name in owners]
    taken = {feeder.name for feeder in kept}
    own = [_feeder(file, taken, {argument.name for argument in merged.arguments}, owners) for file in files]
    made = [replace(feeder.argument("path"), name=feeder.path_argument) for feeder in own]
    owners = {feeder.path_argument: (feeder,) for feeder in own} | owners
    return Merged((*own, *kept), (*made, *arguments), owners)


def _feeder(
    file: _Predictions, taken: Collection[str], arguments: Collection[str], owners: Mapping[str, object]
) -> PredictionsFeeder:
    argument = f"{file.job}_file"
    if argument in arguments:
        raise NamingError(
            f"The file with the predictions of '{file.job}' would be the argument '{argument}', which there is.",
            fix="Rename the submodel or the graph input.",
        )
    name = file.job if file.job not in taken else f"{file.job}_predictions"
    known = dict.fromkeys([*(it.name for it in file.merged.arguments), *file.before])
    doc = f"What {file.job} predicts, from its file."
    return PredictionsFeeder(
        name=name,
        arguments={"path": argument},
        alignment=_alignment(file.merged),
        fields={port.name: Field(port.name, (port.name,), port.row, doc) for port in file.ports},
        job=file.job,
        given=tuple(name for name in known if name in owners),
    )


def _alignment(merged: Merged) -> Alignment:
    """How the rows of a file are found: as those that it was made from, where all of them are looked up."""
    alignments = [feeder.alignment for feeder in merged.feeders]
    kinds = {alignment.align_on for alignment in alignments}
    missing = "inner" if any(alignment.missing == "inner" for alignment in alignments) else "error"
    on = kinds.pop() if len(kinds) == 1 else None
    if on is None and missing == "inner":  # rows were left out, so that numbers mean nothing elsewhere
        on = next(alignment.align_on for alignment in alignments if alignment.align_on is not None)
    return Alignment(align_on=on, missing=missing if on is not None else "error", known=False)
