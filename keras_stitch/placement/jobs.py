"""A placed graph as jobs, each in an environment of its own, and what remains: graphs of their own, joined by files.

Plain data: no Keras, no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphOutput, GraphSpec, Submodel, Wiring
from keras_stitch.graphs.subgraph import Cut, cut, wanted
from keras_stitch.graphs.upstream import levels
from keras_stitch.placement.cut_into_stages import Stages, Step, group_name, stage
from keras_stitch.placement.environments import Environment, settle
from keras_stitch.placement.plan import Placed, Plan
from keras_stitch.placement.plan import plan as place
from keras_stitch.placement.uv import Resolver


@dataclass(frozen=True)
class Job:
    """Some models of one environment that run together, and store what they predict in one file.

    Attributes:
        name: Those of its submodels, joined by ``_``.
        environment: The name of the environment.
        spec: Its submodels. Keras models that need another Keras count as models of another framework.
        stages: Its submodels as a graph of its own, all in the dataloader.
        reads: The job that makes each of its inputs that is no input of the whole graph.
        owners: The submodel whose weights another has, where that is in another job.
        runs_here: Whether all its models can run in this environment, too.
    """

    name: str
    environment: str
    spec: GraphSpec
    stages: Stages
    reads: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    runs_here: bool = True

    @property
    def gives(self) -> tuple[GraphOutput, ...]:
        """The tensors in its file."""
        return self.stages.whole.outputs


@dataclass(frozen=True)
class Flow:
    """A graph as what runs: jobs beforehand, then the dataloader, then the model.

    Attributes:
        spec: The submodels that remain.
        whole: The whole graph.
        plan: Where each submodel runs.
        stages: What remains, as a graph of its own: what jobs predict are inputs of it.
        jobs: Each after those whose files it reads.
        environments: The environments of the jobs.
        reads: The job that makes each input of what remains that is no input of the whole graph.
    """

    spec: GraphSpec
    whole: Wiring
    plan: Plan
    stages: Stages
    jobs: tuple[Job, ...] = ()
    environments: tuple[Environment, ...] = ()
    reads: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def outside(self) -> tuple[str, ...]:
        """The submodels that are not in the Keras model, so that nothing in them trains."""
        return (*self.plan.at("workflow"), *self.stages.outside)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All models that run before the final one."""
        return (*(step for job in self.jobs for step in job.stages.steps), *self.stages.steps)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said where what remains is compared without the jobs."""
        names = " and ".join(f"'{name}'" for job in self.jobs for name in job.stages.whole.order)
        return (f"Without {names}, which run in environments of their own.",) if self.jobs else ()


def flow(spec: GraphSpec, wiring: Wiring, resolver: Resolver | None = None) -> Flow:
    """Place every submodel and cut the graph into jobs and what remains.

    The resolver tells whether dependencies go together; by default ``uv`` is asked, and only where it is needed.

    Raises:
        StitchError: Where a submodel is asked to run where it cannot.
    """
    settled = settle(spec, wiring, resolver)
    environments = {name: known.name for known in settled.environments for name in known.submodels}
    plan = place(spec, wiring, settled.leaving, environments, settled.remark)
    if not settled.leaving:
        return Flow(spec, wiring, plan, stage(spec, wiring, plan))
    away = {it.name for it in spec.submodels if it.elsewhere or (it.unmet and it.name not in settled.unconsidered)}
    cutter = _Jobs(spec, wiring, environments, away)
    jobs = tuple(map(cutter.job, cutter.groups()))
    remaining = [name for name in wiring.order if name not in settled.leaving]
    rest = cut(wiring, remaining, wiring.outputs, wiring.name)
    known = replace(spec, submodels=tuple(s for s in spec.submodels if s.name in remaining))
    own = replace(plan, places=tuple(it for it in plan.places if it.submodel in remaining))
    stages = stage(known, rest.wiring, own)
    return Flow(known, wiring, plan, stages, jobs, settled.environments, cutter.reads(rest))


class _Jobs:
    """Cuts jobs out of a graph, given the environment of every submodel that leaves.

    Those in ``away`` need other packages than this environment has.
    """

    def __init__(self, spec: GraphSpec, whole: Wiring, environments: Mapping[str, str], away: Collection[str]):
        self.spec, self.whole, self.environments, self.away = spec, whole, environments, away
        self.job_of: dict[str, str] = {}

    def groups(self) -> list[list[str]]:
        """Submodels of one environment between which nothing else runs; each group after those that feed it."""
        known = levels(self.whole, self.environments)
        found: dict[tuple[int, str], list[str]] = {}
        for node in self.whole.feeds:  # in the order in which they were added
            if node in self.environments:
                found.setdefault((known[node], self.environments[node]), []).append(node)
        return [group for _, group in sorted(found.items(), key=lambda item: item[0][0])]

    def job(self, group: Sequence[str]) -> Job:
        name = group_name(group, self.spec)
        self.job_of |= dict.fromkeys(group, name)
        part = cut(self.whole, group, wanted(self.whole, group), name)
        submodels = tuple(self.alone(it, group) for it in self.spec.submodels if it.name in group)
        spec = replace(self.spec, name=name, submodels=submodels, connections=(), inputs=(), outputs=())
        plan = Plan(tuple(Placed(node, "dataloader", "runs in this environment") for node in group))
        owners = {
            submodel.name: submodel.share
            for submodel in map(self.spec.submodel, group)
            if submodel.share is not None and submodel.share not in group
        }
        stages, runs_here = stage(spec, part.wiring, plan), not any(node in self.away for node in group)
        return Job(name, self.environments[group[0]], spec, stages, self.reads(part), owners, runs_here)

    def alone(self, submodel: Submodel, group: Sequence[str]) -> Submodel:
        """A submodel as its job has it: by its own Kipoi directory where this Keras is not its own."""
        own = submodel.is_keras and submodel.name in self.away
        for option, given in (
            ("outputs=", submodel.inner_outputs),
            ("custom_objects=", submodel.source.custom_objects or submodel.source.live_objects),
        ):
            if own and given:
                raise StitchError(
                    f"Submodel '{submodel.name}' runs in an environment of its own, as its Kipoi directory says, and "
                    f"{option} says otherwise.",
                    expected=f"none, or placement='model' for one that this Keras loads: {', '.join(submodel.unmet)}",
                    received=f"{option} {', '.join(map(str, given))}",
                )
        return replace(
            submodel,
            share=submodel.share if submodel.share in group else None,
            framework="kipoi" if own else submodel.framework,
        )

    def reads(self, part: Cut) -> dict[str, str]:
        """The job that makes each input of a part that a submodel makes."""
        return {name: self.job_of[tap.node] for name, tap in part.takes.items() if tap.node is not None}
