"""A placed graph put together: the Keras models and the packed models of every stage, to be verified and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import keras

from keras_stitch import building, saving
from keras_stitch.errors import StitchError
from keras_stitch.freezing import Flags
from keras_stitch.loading import Blueprint
from keras_stitch.parts import Added
from keras_stitch.progress import Step
from keras_stitch.spec import GraphSpec
from keras_stitch.staging import Stages
from keras_stitch.verifying import Subject
from keras_stitch.workflow.jobs import Flow

if TYPE_CHECKING:
    from keras_stitch.kipoi.packing import Packing
    from keras_stitch.kipoi.reading import KipoiPart
    from keras_stitch.workflow.generating import Workflow


class Assembly:
    """The models of a graph.

    Args:
        spec: The graph.
        flow: The same, checked and cut into what runs.
        flags: Which layers train.
        added: What was loaded for every submodel.
    """

    def __init__(self, spec: GraphSpec, flow: Flow, flags: Flags, added: Mapping[str, Added]):
        self.spec, self.flow, self.flags, self.added = spec, flow, flags, added

    def build(self) -> keras.Model | None:
        """The Keras model that remains; nothing where none does."""
        final = self.flow.stages.final
        return None if final is None else building.build(self.flow.spec, final, self._blueprints, self.flags)

    def subject(self, model: keras.Model | None, step: Step, *, packs: bool = True) -> Subject:
        """What remains after the jobs, to be compared with its parts.

        Args:
            model: A built, perhaps trained, model of this graph; by default one is built.
            step: Called with a few words at every step.
            packs: Whether the models that run in the dataloader are needed, too.

        Raises:
            StitchError: When a model is given that is not of this graph, or where there is none.
        """
        step("checking the graph")
        stages = self.flow.stages
        if stages.final is None and model is not None:
            raise StitchError(f"model= has no meaning for this graph. {self.flow.plan.remark}")
        if stages.final is not None:
            step("building the stitched model")
        built = self.build()
        if model is not None and built is not None:
            saving.check_same_graph(model, built, self.spec.name)
        return Subject(
            self.flow.spec,
            stages.whole,
            self._blueprints,
            stages,
            built if model is None else model,
            model is not None,
            {name: added.customs for name, added in self.added.items()},
            {name: added.part.arch for name, added in self.added.items() if added.part and added.part.arch},
            self.packing if packs else None,
            step,
            self.flow.remarks,
        )

    def whole_subject(self, model: keras.Model | None, step: Step) -> Subject:
        """The whole graph, with the jobs; without them where one of them cannot run here."""
        subject, flow = self.subject(model, step), self.flow
        if not flow.jobs or not all(job.runs_here for job in flow.jobs):
            return subject
        from keras_stitch.workflow.chain import Chain

        stages = replace(flow.stages, whole=flow.whole, steps=flow.steps)
        chain = Chain(flow, self.job_packings(), subject.packed)
        return replace(subject, spec=self.spec, wiring=flow.whole, stages=stages, packed=chain, remarks=())

    @cached_property
    def packing(self) -> Packing | None:
        """The models that run in the dataloader, the Keras ones among them built; nothing where there are none."""
        return self._packing(self.flow.spec, self.flow.stages, {}) if self.flow.stages.packs else None

    def workflow(self) -> Workflow | None:
        """The jobs with their models; nothing where all runs in the dataloader and the model."""
        if not self.flow.jobs:
            return None
        from keras_stitch.workflow.generating import Workflow

        return Workflow(self.spec, self.flow, self.job_packings())

    def job_packings(self) -> dict[str, Packing]:
        """The models of every job, by its name."""
        return {job.name: self._packing(job.spec, job.stages, job.owners) for job in self.flow.jobs}

    def _packing(self, spec: GraphSpec, stages: Stages, owners: Mapping[str, str]) -> Packing:
        """The models of some submodels that run one after another.

        Args:
            spec: The submodels.
            stages: They, as what runs.
            owners: The submodel whose weights another has, where that runs in another job.
        """
        from keras_stitch.kipoi.packing import Packing

        added = {it.name: self.added[it.share or owners.get(it.name, it.name)] for it in spec.submodels}
        blueprints, flags = dict(self._blueprints), dict(self.flags)
        for name, owner in owners.items():
            flags[name] = flags[owner]
            if owner in blueprints:
                blueprints[name] = blueprints[owner]
        parts = {
            it.name: part if it.is_keras else _as_it_is(part)
            for it in spec.submodels
            if (part := added[it.name].part) is not None
        }
        return Packing(
            stages,
            building.packed_models(spec, stages, blueprints, flags),
            parts,
            {name: known.customs for name, known in self.added.items()},
            # Of a Keras model, it is the sha256 of its weights alone.
            {it.name: str(it.source.sha256) for it in spec.submodels if added[it.name].blueprint is None},
        )

    @cached_property
    def _blueprints(self) -> dict[str, Blueprint]:
        return {name: added.blueprint for name, added in self.added.items() if added.blueprint is not None}


def _as_it_is(part: KipoiPart) -> KipoiPart:
    """A part with its files, and the fields of its schema in the order of the ports."""
    from keras_stitch.kipoi.reading import copied

    found = copied(part)
    return replace(found, inputs=part.inputs or found.inputs, outputs=part.outputs or found.outputs)
