"""The merged dataloaders of a graph whose models run in several environments: one for each job and one for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from keras_stitch.directory.alignment import Alignment
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import Feeder, PredictionsFeeder, TargetsFeeder, restricted
from keras_stitch.errors import NamingError
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.schema import Field
from keras_stitch.placement.jobs import Flow


@dataclass(frozen=True)
class SplitLoaders:
    """The merged dataloaders of the whole graph, which reads no predictions, of what remains, and of every job."""

    whole: Merged
    remaining: Merged
    jobs: Mapping[str, Merged]

    @property
    def everything(self) -> Merged:
        """That of the whole graph with the files of the jobs: all arguments that there are."""
        extra = [feeder for feeder in self.remaining.files if isinstance(feeder, PredictionsFeeder)]
        paths = {feeder.path_argument for feeder in extra}
        made = [argument for argument in self.remaining.arguments if argument.name in paths]
        return Merged((*extra, *self.whole.feeders), (*made, *self.whole.arguments))


def split(flow: Flow, merged: Merged) -> SplitLoaders:
    """The merged dataloaders of all jobs and of what remains, from that of the whole graph.

    Raises:
        NamingError: When a file needs an argument whose name another has.
    """
    jobs: dict[str, Merged] = {}
    known: dict[str, list[str]] = {}  # the arguments of a job and of all whose files it reads, through others too

    def part(inputs: Iterable[Port], reads: Mapping[str, str], *, targets: bool) -> Merged:
        names = {port.name for port in inputs}
        kept = [found for feeder in merged.feeders if (found := restricted(feeder, names)) is not None]
        kept += [feeder for feeder in merged.feeders if targets and isinstance(feeder, TargetsFeeder)]
        taken = {name for feeder in kept for name in feeder.arguments.values()}
        arguments = [argument for argument in merged.arguments if argument.name in taken]
        files = []
        for job in flow.jobs:
            ports = [output.port for output in job.gives if reads.get(output.port.name) == job.name]
            if ports:
                given = tuple(name for name in known[job.name] if name in taken)
                files.append(_predictions(job.name, ports, merged, kept, jobs[job.name], given))
        made = [replace(feeder.argument("path"), name=feeder.path_argument) for feeder in files]
        return Merged((*files, *kept), (*made, *arguments), merged.require_ids)

    for job in flow.jobs:  # each after those whose files it reads
        loader = jobs[job.name] = part(job.stages.whole.inputs, job.reads, targets=False)
        before = [name for read in known if read in job.reads.values() for name in known[read]]
        known[job.name] = list(dict.fromkeys([*(argument.name for argument in loader.arguments), *before]))
    return SplitLoaders(merged, part(flow.stages.whole.inputs, flow.reads, targets=True), jobs)


def _predictions(
    job: str, ports: Iterable[Port], whole: Merged, others: Iterable[Feeder], made_from: Merged, given: tuple[str, ...]
) -> PredictionsFeeder:
    """The file with what a job predicts, as a part of the graph reads it beside others."""
    argument = f"{job}_file"
    if any(known.name == argument for known in whole.arguments):
        raise NamingError(
            f"The file with the predictions of '{job}' would be the argument '{argument}', which there is.",
            fix="Rename the submodel or the graph input.",
        )
    doc = f"What {job} predicts, from its file."
    return PredictionsFeeder(
        name=f"{job}_predictions" if any(feeder.name == job for feeder in others) else job,
        arguments={"path": argument},
        alignment=_alignment(made_from),
        fields={port.name: Field(port.name, (port.name,), port.row, doc) for port in ports},
        job=job,
        given=given,
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
