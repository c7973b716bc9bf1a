"""A placed graph as what runs: the packed models of the dataloader, one after another, and the final model.

Plain data: no Keras, no I/O. ``models.build`` makes the Keras models of it, ``directory`` the dataloader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any, TypeAlias

from keras_stitch.errors import StitchError
from keras_stitch.graphs.mask_borders import check_together
from keras_stitch.graphs.merges import dtype_of, options_of
from keras_stitch.graphs.names import name_of_several
from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import Feed, GraphOutput, GraphSpec, Port, Tap, Wiring
from keras_stitch.graphs.subgraph import Cut, cut, tensor_name, tensor_port, wanted
from keras_stitch.graphs.upstream import levels
from keras_stitch.placement.plan import Plan
from keras_stitch.placement.plan import plan as place


@dataclass(frozen=True)
class Take:
    """Some elements of one axis of a tensor."""

    source: Connected
    span: Span


@dataclass(frozen=True)
class Merged:
    """Several tensors made one in a dtype, by a kind of merge that reads these options."""

    kind: str
    sources: tuple[Connected, ...]
    dtype: str
    # A dict has no hash; kind, sources and dtype tell merges apart well enough for one.
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Cast:
    """A tensor in another dtype."""

    source: Connected
    dtype: str


# Python cannot read code with 200 brackets within one another; a merge within a merge has up to four.
_MOST_NESTED = 40
_MOST_EXPANDED = 1000

# What arrives somewhere: a tensor by its name, or something made of tensors.
Connected: TypeAlias = "str | Take | Merged | Cast"


@dataclass(frozen=True)
class Step:
    """A model that runs in the dataloader.

    Attributes:
        name: That of the submodel, or those of several that are stitched, joined by ``_``.
        submodels: The submodels in it; none for a Keras layer that merges for a model of another framework.
        cut: The Keras model, as a graph; ``None`` for a submodel of another framework.
        takes: What feeds each of its input ports.
        gives: The name of the tensor that each of its output ports makes, with its shape and dtype.
        owner: The step whose model it uses, where that is not one of its own: the same submodel on other inputs.
    """

    name: str
    submodels: tuple[str, ...]
    cut: Cut | None
    takes: Mapping[str, Connected]
    gives: Mapping[str, Port]
    owner: str | None = None


@dataclass(frozen=True)
class Stages:
    """A graph and its stages.

    Attributes:
        whole: The graph.
        plan: Where each submodel runs.
        steps: The models that run in the dataloader, each after those that feed it.
        delivered: What the dataloader gives to the final model, by its inputs.
        final: The Keras model that remains, as a graph; the whole graph where nothing runs in the dataloader.
            ``None`` where the last submodel, which is no Keras model, is the final model.
    """

    whole: Wiring
    plan: Plan
    steps: tuple[Step, ...] = ()
    delivered: Mapping[str, Connected] = field(default_factory=dict)
    final: Wiring | None = None

    @property
    def last(self) -> str | None:
        """The submodel that is the directory's model where no Keras model remains."""
        return self.plan.last

    @property
    def outside(self) -> tuple[str, ...]:
        """The submodels that are not in the Keras model, so that nothing in them trains."""
        return (*self.plan.at("dataloader"), *([self.last] if self.last is not None else []))

    @property
    def packs(self) -> bool:
        """Whether the dataloader does more than reading."""
        return bool(self.steps) or self.last is not None

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What the final model takes."""
        if self.final is not None:
            return self.final.inputs
        return tuple(feed.port for feed in self.whole.feeds[self.last or ""])


def stage(spec: GraphSpec, wiring: Wiring, plan: Plan | None = None) -> Stages:
    """Cut a graph into stages, after its plan; by default, submodels run as late as they can.

    Raises:
        StitchError: Where a submodel is asked to run where it cannot.
    """
    return _Stager(spec, wiring, plan or place(spec, wiring)).run()


class _Stager:
    def __init__(self, spec: GraphSpec, whole: Wiring, plan: Plan):
        self.spec, self.whole, self.plan = spec, whole, plan
        self.packed = {node for node in whole.order if plan[node].placement == "dataloader"}
        # Merges by Keras layers for what is no Keras model: each becomes a model of its own.
        self.merges: dict[str, Tap] = {}
        self.nested, self.expanded = 0, 0

    def run(self) -> Stages:
        last = self.plan.last
        if not self.packed and last is None:
            return Stages(self.whole, self.plan, final=self.whole)
        if last is None:
            final = cut(self.whole, set(self.plan.at("model")), self.whole.outputs, self.whole.name)
            delivered = {port.name: self.delivered(final.takes[port.name], port) for port in final.wiring.inputs}
        else:
            final = None
            delivered = {feed.port.name: self.fed(feed) for feed in self.whole.feeds[last]}
        steps = [step for group in self.groups() for step in self.steps_of(group)]
        done: set[str] = set()
        while waiting := [name for name in self.merges if name not in done]:
            for name in waiting:
                steps.append(self.merge_step(name))
                done.add(name)
        return Stages(self.whole, self.plan, _in_order(steps), delivered, final.wiring if final else None)

    # -- which models --------------------------------------------------------

    def groups(self) -> Iterator[list[str]]:
        """Keras submodels between which nothing else runs together, all others alone."""
        # How often data have passed between Keras and others before: only Keras models of one level can be one model.
        known = levels(self.whole, {node: self.spec.submodel(node).is_keras for node in self.packed})
        keras: dict[int, list[str]] = {}
        for node in self.whole.feeds:  # in the order in which they were added
            if node in self.packed and self.spec.submodel(node).is_keras:
                keras.setdefault(known[node], []).append(node)
            elif node in self.packed:
                yield [node]
        yield from keras.values()

    # -- what they take and give ---------------------------------------------

    def steps_of(self, group: Sequence[str]) -> Iterator[Step]:
        submodel = self.spec.submodel(group[0])
        if submodel.is_keras:
            yield self.keras_step(group_name(group, self.spec), group, wanted(self.whole, group))
            return
        takes = {feed.port.name: self.fed(feed) for feed in self.whole.feeds[submodel.name]}
        ports = self.whole.node_outputs[submodel.name]
        gives = {port.name: tensor_port(self.whole, Tap(submodel.name, port.name)) for port in ports}
        yield Step(submodel.name, (submodel.name,), None, takes, gives, submodel.share)

    def keras_step(self, name: str, nodes: Sequence[str], outputs: Sequence[GraphOutput]) -> Step:
        made = cut(self.whole, nodes, outputs, name)
        takes = {key: self.connected(tap) for key, tap in made.takes.items()}
        return Step(name, tuple(nodes), made, takes, {output.port.name: output.port for output in outputs})

    def merge_step(self, name: str) -> Step:
        tap = self.merges[name]
        output = GraphOutput(replace(tensor_port(self.whole, tap), name=name), tap)
        return self.keras_step(name, (), [output])

    # -- connections ---------------------------------------------------------

    def connected(self, tap: Tap) -> Connected:
        found = self.merge_of(tap) if tap.merged else tensor_name(self.whole, tap)
        for span in tap.part:
            found = Take(found, span)
        return found

    def merge_of(self, tap: Tap) -> Connected:
        """What is merged for an input port, perhaps of what is merged for others."""
        self.expanded = self.expanded + 1 if self.nested else 0
        self.nested += 1
        if self.nested > _MOST_NESTED or self.expanded > _MOST_EXPANDED:
            raise StitchError(
                f"The dataloader cannot make '{tap.node}.{tap.port}': too many merges lie within one another.",
                expected=f"at most {_MOST_NESTED} within one another, and {_MOST_EXPANDED} in all",
                fix="Put a submodel between some of them: graph.add(..., keras.layers.Identity()), and take its "
                "output in place of an input port.",
            )
        found = self.fed(self.whole.feed_of(tap), cast=False)
        self.nested -= 1
        return found

    def delivered(self, tap: Tap, port: Port) -> Connected:
        # NumPy, and Kipoi's files, have no bfloat16; every one of them is a float32.
        made = self.connected(tap)
        return Cast(made, "float32") if port.dtype == "bfloat16" and tap.node is not None else made

    def fed(self, feed: Feed, *, cast: bool = True) -> Connected:
        """What arrives at an input port, merged by NumPy; Keras ports cast by themselves."""
        check_together(feed, feed.taps)
        sources = tuple(map(self.connected, feed.taps))
        if len(sources) == 1:
            made, dtype = sources[0], feed.tap_ports[0].dtype
        elif feed.merge.kind == "layer":
            tap = Tap(feed.node, feed.port.name, merged=True)
            name = f"{tensor_name(self.whole, tap)}_merged"
            self.merges.setdefault(name, tap)
            made, dtype = name, feed.port.dtype
        else:
            dtype = dtype_of(feed)
            made = Merged(feed.merge.kind, sources, dtype, options_of(feed.merge))
        if not cast:  # what is merged for a submodel may be taken where that does not run
            return made
        taken = next(port for port in self.spec.submodel(feed.node).inputs if port.name == feed.port.name).dtype
        return Cast(made, taken) if taken is not None and taken != dtype else made


def _in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    makers = {port.name: step.name for step in steps for port in step.gives.values()}
    known = {step.name: step for step in steps}
    sorter = TopologicalSorter(
        {
            step.name: [makers[name] for item in step.takes.values() for name in tensors(item) if name in makers]
            for step in steps
        }
    )
    return tuple(known[name] for name in sorter.static_order())


def group_name(group: Sequence[str], spec: GraphSpec) -> str:
    """A name for some submodels: theirs, or of many the first and how many more; no other submodel has it."""
    name = name_of_several(group)
    taken = {submodel.name for submodel in spec.submodels} - {group[0]}
    while name in taken or (len(group) > 1 and name == group[0]):
        name += "_"
    return name


def parts(steps: Sequence[Step]) -> dict[str, str]:
    """The step that each submodel runs in which is not in the final model."""
    return {node: step.name for step in steps for node in step.submodels}


def tensors(connected: Connected) -> Iterator[str]:
    """The names of the tensors that something is made of."""
    if isinstance(connected, str):
        yield connected
    elif isinstance(connected, Merged):
        for source in connected.sources:
            yield from tensors(source)
    else:
        yield from tensors(connected.source)
