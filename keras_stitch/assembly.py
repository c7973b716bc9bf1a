"""The models of every stage put together, to be verified and saved."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.graphs.freezing import Flags, random_in_fit
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.models import build as building
from keras_stitch.models import changed_layers, ports
from keras_stitch.models.custom_objects import CustomObjects
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.placement.cut_into_stages import Stages
from keras_stitch.placement.jobs import Flow
from keras_stitch.sources.added import Added
from keras_stitch.terminal import Step
from keras_stitch.verify.run_stages import Arrays, Packed, Runs
from keras_stitch.verify.submodel_sources import SubmodelSources
from keras_stitch.verify.verify import Subject

if TYPE_CHECKING:
    from keras_stitch.directory.packed_models import Packing
    from keras_stitch.directory.save_request import SavedGraph
    from keras_stitch.kipoi.model_directory import CopiedPart, KipoiPart
    from keras_stitch.workflow.write_workflow import WorkflowWriter


class Assembly:
    """The models of a graph, from what was added for every submodel; ``outline`` is that of its builds, if known."""

    def __init__(
        self, spec: GraphSpec, flow: Flow, flags: Flags, added: Mapping[str, Added], outline: Outline | None = None
    ):
        self.spec, self.flow, self.flags, self.added = spec, flow, flags, added
        self._outline = outline

    def build(self) -> keras.Model | None:
        """The Keras model that remains; nothing where none does."""
        final = self.flow.stages.final
        return None if final is None else building.build(self.flow.spec, final, self._blueprints, self.flags)

    def subject(self, model: keras.Model | None, step: Step, *, packs: bool = True) -> Subject:
        """What remains after the jobs, to be compared with its parts; the model is built where it has to be.

        Raises:
            StitchError: When a model is given that is not of this graph, or where there is none.
        """
        step("checking the graph")
        stages = self.flow.stages
        if stages.final is None and model is not None:
            raise StitchError(f"model= has no meaning for this graph. {self.flow.plan.remark}")
        if model is not None:
            check_same_graph(model, self._outline or outline_of(self._build(step)), self.spec.name)
        archs = {name: added.arch for name, added in self.added.items() if added.arch is not None}
        return Subject(
            self.flow.spec,
            stages,
            SubmodelSources(self._blueprints, self._customs, archs, self._merged),
            self._build(step) if model is None else model,
            trained=model is not None,
            packed=self.packing if packs else None,
            remarks=(*self.flow.remarks, *self.notes(model)),
            progress=step,
        )

    def _build(self, step: Step) -> keras.Model | None:
        if self.flow.stages.final is not None:
            step("building the stitched model")
        return self.build()

    def saved_graph(self, model: keras.Model | None, step: Step, *, picture: str, record: str) -> SavedGraph:
        """The graph as a directory is made of it, with its picture as SVG and the text of ``stitch.yaml``."""
        from keras_stitch.directory.save_request import SavedGraph

        subject = self.subject(model, step)
        return SavedGraph(
            spec=self.spec,
            flow=self.flow,
            model=subject.model,
            picture=picture,
            record=record,
            packing=self.packing,
            workflow=self._workflow(),
            parts=self._parts,
            custom_objects=self._carried,
            trained=subject.trained,
            certify=subject.certify,
        )

    def whole_subject(self, model: keras.Model | None, step: Step) -> Subject:
        """The whole graph, with the jobs; without them where one of them cannot run here."""
        subject, flow = self.subject(model, step), self.flow
        if not flow.jobs or not all(job.runs_here for job in flow.jobs):
            return subject
        stages = replace(flow.stages, whole=flow.whole, steps=flow.steps)
        chain = _Chain(flow, self.job_packings(), subject.packed)
        return replace(subject, spec=self.spec, stages=stages, packed=chain, remarks=self.notes(model))

    @cached_property
    def packing(self) -> Packing | None:
        """The models that run in the dataloader, the Keras ones among them built; nothing where there are none."""
        return self._packing(self.flow.spec, self.flow.stages, {}) if self.flow.stages.packs else None

    def _workflow(self) -> Callable[..., WorkflowWriter] | None:
        """What writes the jobs with their models; nothing where all runs in the dataloader and the model."""
        if not self.flow.jobs:
            return None
        from keras_stitch.workflow.write_workflow import WorkflowWriter

        return partial(WorkflowWriter, self.flow, self.job_packings())

    def job_packings(self) -> dict[str, Packing]:
        """The models of every job, by its name."""
        return {job.name: self._packing(job.spec, job.stages, job.owners) for job in self.flow.jobs}

    def _packing(self, spec: GraphSpec, stages: Stages, owners: Mapping[str, str]) -> Packing:
        """The models of some submodels that run one after another.

        ``owners`` has the submodel whose weights another has, where that runs in another job.
        """
        from keras_stitch.directory.packed_models import Packing

        added = {it.name: self.added[it.share or owners.get(it.name, it.name)] for it in spec.submodels}
        blueprints, flags = dict(self._blueprints), dict(self.flags)
        for name, owner in owners.items():
            flags[name] = flags[owner]
            if owner in blueprints:
                blueprints[name] = blueprints[owner]
        parts = {
            it.name: _as_it_is(part)
            for it in spec.submodels
            if (part := added[it.name].part) is not None and not (it.is_keras and added[it.name].blueprint)
        }
        return Packing(
            stages,
            building.packed_models(spec, stages, blueprints, flags),
            parts,
            self._carried,
            # Of a Keras model, it is the sha256 of its weights alone, and of an ONNX file that of the file.
            {
                it.name: str(it.source.sha256)
                for it in spec.submodels
                if added[it.name].blueprint is None and it.source.kind != "file"
            },
        )

    def notes(self, model: keras.Model | None = None) -> tuple[str, ...]:
        """What there is to know about the graph, or about a model of it, in sentences."""
        held = {} if model is None else {layer.name: layer for layer in model.layers}
        found = [*random_in_fit(self.spec, self.flags, self.flow.outside)]
        for submodel in self.spec.submodels:
            if submodel.share is None:
                name = submodel.name
                found += changed_layers.notes(name, ports.infos(held[name]) if name in held else submodel.layers)
        return tuple(found)

    @cached_property
    def _parts(self) -> dict[str, KipoiPart]:
        return {name: added.part for name, added in self.added.items() if added.part is not None}

    @cached_property
    def _customs(self) -> dict[str, CustomObjects]:
        return {name: added.customs for name, added in self.added.items()}

    @cached_property
    def _merged(self) -> CustomObjects:
        """The custom objects of merges."""
        given = [connection.merge.objects for connection in self.spec.connections if connection.merge.objects]
        return functools.reduce(operator.or_, given, CustomObjects())

    @property
    def _carried(self) -> dict[str, CustomObjects]:
        """The custom objects of submodels by name, and those of merges."""
        return {**self._customs, "merge=": self._merged}

    @cached_property
    def _blueprints(self) -> dict[str, Blueprint]:
        return {name: added.blueprint for name, added in self.added.items() if added.blueprint is not None}


def _as_it_is(part: KipoiPart) -> CopiedPart:
    """A part with its files, and the fields of its schema in the order of the ports."""
    from keras_stitch.kipoi.model_directory import copied

    found = copied(part)
    return replace(found, inputs=part.inputs or found.inputs, outputs=part.outputs or found.outputs)


@dataclass(frozen=True)
class Outline:
    """What every model of one graph has in common, whatever its weights; see ``outline_of``."""

    type: type
    inputs: list[tuple[str, tuple[int | None, ...]]]
    outputs: list[tuple[str, tuple[int | None, ...]]]
    layers: list[str]
    weights: list[tuple[int, ...]]


def outline_of(model: keras.Model) -> Outline:
    """The names and shapes of a model's ends, its layers' names, and its weights' shapes."""
    names = list(model.output) if isinstance(model.output, dict) else model.output_names
    return Outline(
        type(model),
        [(tensor.name, tuple(tensor.shape)) for tensor in model.inputs],
        [(name, tuple(tensor.shape)) for name, tensor in zip(sorted(names), model.outputs, strict=True)],
        [layer.name for layer in model.layers],
        changed_layers.shapes_as_made(model),
    )


def check_same_graph(model: keras.Model, outline: Outline, name: str) -> None:
    """Raise where the model that a user trained is not what the graph builds now, whatever its weights."""
    if not isinstance(model, outline.type):
        raise SaveError(
            f"model= is not a model of graph '{name}'.",
            expected="what graph.build() gave, perhaps trained",
            received=repr(model)[:200],
        )
    found = outline_of(model)
    for what in ("inputs", "outputs", "layers", "weights"):
        mine, theirs = getattr(outline, what), getattr(found, what)
        if mine != theirs:
            raise SaveError(
                f"model= is not a model of graph '{name}': its {what} differ.",
                expected=str(mine)[:500],
                received=str(theirs)[:500],
                fix="Train the model that graph.build() gave, and change the graph before building, not after.",
            )


class _Chain:
    """The models of the jobs, then those of the dataloader if any run there, as ``run_stages.Packed``."""

    def __init__(self, flow: Flow, jobs: Mapping[str, Packing], rest: Packed | None):
        self._flow, self._jobs, self._rest = flow, jobs, rest

    @property
    def models(self) -> Mapping[str, keras.Model]:
        found = {name: model for packing in self._jobs.values() for name, model in packing.models.items()}
        return found | dict(self._rest.models if self._rest is not None else {})

    def write(self, directory: Path) -> None:
        for name, packing in self._jobs.items():
            packing.write(directory / layout.WORKFLOW / name)
        if self._rest is not None:
            self._rest.write(directory)

    def runner(self, directory: Path) -> Callable[[Mapping[str, Any]], Arrays]:
        jobs = [(job, self._jobs[job.name].runner(directory / layout.WORKFLOW / job.name)) for job in self._flow.jobs]
        rest = self._rest.runner(directory) if self._rest is not None else None
        inputs = [port.name for port in self._flow.stages.whole.inputs]

        def run(given: Mapping[str, Any]) -> Arrays:
            known = dict(given)
            for job, run_job in jobs:
                known |= run_job({port.name: known[port.name] for port in job.stages.whole.inputs})
            arriving = {name: known[name] for name in inputs}
            return arriving if rest is None else rest(arriving)

        return run

    def alone(self, owner: str) -> Runs:
        for job in self._flow.jobs:
            if owner in job.stages.whole.order:
                return self._jobs[job.name].alone(owner)
        assert self._rest is not None
        return self._rest.alone(owner)

    def last(self, directory: Path) -> Runs:
        assert self._rest is not None
        return self._rest.last(directory)
