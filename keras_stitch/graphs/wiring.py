"""A ``GraphSpec`` checked and resolved: names to tensors, shapes along every connection.

Every problem of a graph is reported at once. What only Keras can know, the output shape of a
layer, is asked of an ``Inference``; everything else here is plain data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from keras_stitch.errors import Problems, StitchError, WiringError
from keras_stitch.graphs import changes, fixes, merge_options, merges, shapes
from keras_stitch.graphs.lookup import Key, Resolver, Taken, waited
from keras_stitch.graphs.mask_borders import Borders, Takers, whole
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.spec import (
    Connection,
    Feed,
    GraphOutput,
    GraphSpec,
    Merge,
    Port,
    Submodel,
    Tap,
    Wiring,
    port_text,
    shape_text,
)

# A message lists as many submodels to remove at most.
_MOST_REMOVALS = 20


class Inference:
    """What wiring asks of whoever holds the models; this one believes what the ports say, and knows no bare layers."""

    def outputs(self, submodel: Submodel, arriving: Sequence[Port]) -> tuple[Port, ...]:
        """The output ports of a submodel for what arrives at its input ports."""
        return submodel.outputs

    def merged(self, merge: Merge, arriving: Sequence[Port]) -> Port:
        """What a Keras layer that takes a list makes of these."""
        return arriving[0]

    def takes_mask(self, submodel: Submodel, number: int) -> bool:
        """Whether a Keras mask at an input port, by number, is heeded or passed on."""
        return False

    def merge_masks(self, merge: Merge, arriving: Sequence[Port], masked: Sequence[bool]) -> tuple[bool, bool]:
        """Whether a Keras layer that takes a list heeds the masks in it, and whether what it makes carries one."""
        return (False, False)

    def masked(self, submodel: Submodel, arriving: Sequence[Port], masked: Sequence[bool]) -> tuple[bool, ...]:
        """Whether each output port of a submodel carries a Keras mask, where some of what arrives does."""
        return (False,) * len(submodel.outputs)


def wire(spec: GraphSpec, inference: Inference | None = None) -> Wiring:
    """Check a graph and resolve it; by default the shapes that its ports declare are believed.

    Raises:
        WiringError: With every problem of the graph.
    """
    return _Wirer(spec, inference or Inference()).run()


class _Wirer:
    """One pass over one graph; collects problems and goes on as far as they let it."""

    def __init__(self, spec: GraphSpec, inference: Inference):
        self.spec, self.inference = spec, inference
        self.problems = Problems()
        self.resolver = Resolver(spec, self.problems)
        self.feeds: dict[tuple[str, str], Feed] = {}
        self.numbers = {(it.name, port.name): number for it in spec.submodels for number, port in enumerate(it.inputs)}
        self.node_outputs: dict[str, tuple[Port, ...]] = {}
        self.misfed: set[str] = set()
        self.borders = Borders(spec)
        self.free_names = Names([submodel.name for submodel in spec.submodels] + list(self.resolver.inputs))

    def run(self) -> Wiring:
        if not self.spec.submodels:
            self.problems.add("It has no submodel.", fix='graph.add("model1", "m1.h5")')
            raise WiringError(self.spec.name, self.problems)
        order = self._order()
        for key in order:
            if isinstance(key, str):
                self._wire_node(self.spec.submodel(key))
            else:
                self._wire_port(*key)
        outputs = self._outputs()
        if not self.problems:
            self._check_every_submodel_is_used(outputs)
        if self.problems:
            raise WiringError(self.spec.name, self.problems)
        return Wiring(
            name=self.spec.name,
            order=tuple(key for key in order if isinstance(key, str)),
            inputs=tuple(self.resolver.inputs.values()),
            outputs=outputs,
            feeds={s.name: tuple(self.feeds[s.name, port.name] for port in s.inputs) for s in self.spec.submodels},
            node_outputs=self.node_outputs,
            masked=frozenset(self.borders.masked),
        )

    def _order(self) -> tuple[Key, ...]:
        """Ports and submodels so that each follows what it waits for; ties in the order of ``add``."""
        position: dict[Key, int] = {}
        for submodel in self.spec.submodels:
            keys: list[Key] = [*((submodel.name, port.name) for port in submodel.inputs), submodel.name]
            for key in keys:
                position[key] = len(position)
        waits = {key: self.resolver.waits_for(key) for key in position}
        while True:
            sorter = TopologicalSorter(waits)
            try:
                sorter.prepare()
            except CycleError as error:
                self._break_cycle(error.args[1], waits, position)
                continue
            order: list[Key] = []
            while sorter.is_active():
                for key in sorted(sorter.get_ready(), key=position.__getitem__):
                    order.append(key)
                    sorter.done(key)
            return tuple(order)

    def _break_cycle(self, cycle: Sequence[Key], waits: dict[Key, list[Key]], position: dict[Key, int]) -> None:
        """Report a cycle, each step before what it feeds, and go on without its last connection."""
        steps = list(cycle[:-1])
        start = steps.index(min(steps, key=position.__getitem__))
        steps = [*steps[start:], *steps[: start + 1]]
        links = [(one, other) for one, other in pairwise(steps) if not isinstance(other, str)]
        shown = [f"'{self._source_text(one, other)}' feeds '{'.'.join(other)}'" for one, other in links]
        source, target = links[-1]
        self.problems.add(
            f"The connections form a cycle: {', '.join(shown)}.",
            expected="data that flows one way",
            fix=f'Take one of these connections back, such as graph.disconnect("{".".join(target)}").',
        )
        waits[target] = [key for key in waits[target] if key != source]

    def _source_text(self, source: Key, target: tuple[str, str]) -> str:
        if not isinstance(source, str):
            return ".".join(source)
        taps = [taken.tap for taken in self.resolver.sources(*target)]
        return next(f"{tap.node}.{tap.port}" for tap in taps if waited(tap) == [source])

    def _wire_port(self, node: str, name: str) -> None:
        submodel = self.spec.submodel(node)
        before = len(self.problems)
        number = self.numbers[node, name]
        feed = self._feed(submodel, submodel.inputs[number])
        if len(self.problems) == before:
            feed = self._with_masks(feed, submodel, number)
        self.feeds[node, name] = feed
        if len(self.problems) > before:
            self.misfed.add(node)

    def _wire_node(self, submodel: Submodel) -> None:
        arriving = [self.feeds[submodel.name, port.name].port for port in submodel.inputs]
        # Behind a problem the declared shapes stand in, so that one mistake is reported once.
        self.node_outputs[submodel.name] = submodel.outputs
        if all(port.shape is not None for port in arriving) and submodel.name not in self.misfed:
            try:
                self.node_outputs[submodel.name] = self.inference.outputs(submodel, arriving)
                masks = [self.borders.arrives(self.feeds[submodel.name, port.name]) for port in submodel.inputs]
                carrying = self.inference.masked(submodel, arriving, masks)
            except StitchError as problem:
                self.problems.append(problem)
                return
            for port, carries in zip(self.node_outputs[submodel.name], carrying, strict=True):
                self.borders.masked |= {Tap(submodel.name, port.name)} if carries else set()

    def _with_masks(self, feed: Feed, submodel: Submodel, number: int) -> Feed:
        """What arrives at an input port, with the masks that are passed on to it."""
        connection = self.resolver.connection(feed.node, feed.port.name)
        asked = connection is not None and connection.mask
        if not asked and not any(whole(tap) in self.borders.masked for tap in feed.taps):
            return feed
        try:
            takes = submodel.is_keras and self.inference.takes_mask(submodel, number)
            takers = Takers(takes, partial(self.inference.merge_masks, feed.merge, feed.tap_ports))
            return self.borders.passed(feed, connection, takers)
        except StitchError as problem:
            self.problems.append(problem)
        return feed

    def _feed(self, submodel: Submodel, port: Port) -> Feed:
        target = f"{submodel.name}.{port.name}"
        connection = self.resolver.connection(submodel.name, port.name)
        merge = connection.merge if connection else Merge()
        taps, tap_ports = self._tapped(self.resolver.sources(submodel.name, port.name), f"'{target}'")
        feed = Feed(submodel.name, port, taps, tap_ports, merge)
        if not tap_ports or any(tap.shape is None for tap in tap_ports):
            return feed
        try:
            arriving = self._merged(merge, tap_ports)
        except StitchError as problem:
            what = f"{_ports_text(tap_ports)} cannot be merged into {port_text(submodel.name, port)}. "
            fix = problem.fix or fixes.merge_fix(merge, tap_ports, port.shape, target, self.free_names)
            self.problems.append(problem.behind(what, fix=fix))
            return feed
        self._check_fit(arriving, tap_ports, submodel.name, port, connection)
        assert arriving.shape is not None
        shape = arriving.shape if port.shape is None else shapes.unify(arriving.shape, port.shape)
        return replace(feed, port=Port(port.name, shape or port.shape, port.dtype or arriving.dtype))

    def _tapped(self, sources: Sequence[Taken], target: str) -> tuple[tuple[Tap, ...], tuple[Port, ...]]:
        resolved, ports = [], []
        for source in sources:
            port = self._tap_port(source.tap)
            try:
                shape, part = (None, ()) if port.shape is None else source.part.taken(port.shape)
            except StitchError as problem:
                self.problems.append(problem.behind(f"'{source.text}', which should feed {target}, cannot be taken. "))
                shape, part = None, ()
            resolved.append(replace(source.tap, part=part))
            ports.append(Port(source.text, shape, port.dtype))
        return tuple(resolved), tuple(ports)

    def _tap_port(self, tap: Tap) -> Port:
        if tap.node is None:
            return self.resolver.inputs[tap.port]
        if tap.merged:
            feed = self.feeds.get((tap.node, tap.port))
            return feed.port if feed else Port(tap.port, None)
        ports = self.node_outputs.get(tap.node, self.spec.submodel(tap.node).outputs)
        return next((port for port in ports if port.name == tap.port), Port(tap.port, None))

    def _merged(self, merge: Merge, ports: Sequence[Port]) -> Port:
        if len(ports) == 1:
            merge_options.check_one_source(merge)
            return ports[0]
        if merge.kind == "layer":
            return self.inference.merged(merge, ports)
        shape = merges.merged_shape(merge, [port.shape for port in ports if port.shape is not None])
        return Port(merge.kind, shape, merges.merged_dtype(merge, [port.dtype or "float32" for port in ports]))

    def _check_fit(
        self, arriving: Port, tap_ports: Sequence[Port], node: str, port: Port, connection: Connection | None
    ) -> None:
        assert arriving.shape is not None
        source, target = tap_ports[0].name, f"{node}.{port.name}"
        many = len(tap_ports) > 1
        arrived = _ports_text(tap_ports) + (f", merged to {shape_text(arriving.shape)}," if many else "")
        misfit = f"{arrived} {'do' if many else 'does'} not fit {port_text(node, port)}"
        if port.shape is not None and not shapes.shape_fits(arriving.shape, port.shape):
            if connection is None:
                fix = (
                    f'graph.remove("{source}"), and leave shape= out of graph.add_input("{source}", ...), or feed '
                    f"'{target}' from another input."
                )
            elif many:
                better = fixes.merge_fix(connection.merge, tap_ports, port.shape, target, self.free_names)
                anew = f"merge other sources, so that {shape_text(port.shape)} results"
                fix = better or f'Take it back, graph.disconnect("{target}"), and {anew}.'
            else:
                fix = fixes.shape_fix(source, arriving.shape, port.shape, target, self.free_names)
            self.problems.add(
                f"{misfit}.",
                expected=f"shape {shape_text(port.shape)}",
                received=f"shape {shape_text(arriving.shape)}",
                fix=fix,
            )
        elif not shapes.dtype_fits(arriving.dtype, port.dtype):
            alike = {shapes.kind_of(str(dtype)) for dtype in (arriving.dtype, port.dtype)} <= {"bool", "int", "float"}
            why = f"the values would be cut to {port.dtype}" if alike else "these do not convert"
            back = f'Take it back, graph.disconnect("{target}"), and feed'
            if connection is None:
                back = f'graph.remove("{source}"), and leave dtype= out of graph.add_input("{source}", ...), or feed'
            self.problems.add(
                f"{misfit}: {why}.",
                expected=f"dtype {port.dtype}",
                received=f"dtype {arriving.dtype}",
                fix=f"{back} '{target}' from a graph input of its own, or from an output of that dtype.",
            )

    def _outputs(self) -> tuple[GraphOutput, ...]:
        found = []
        for name, source in self.resolver.outputs():
            (tap,), (port,) = self._tapped((source,), f"the graph output '{name}'")
            found.append(GraphOutput(Port(name, port.shape, port.dtype), tap))
        return tuple(found)

    def _check_every_submodel_is_used(self, outputs: Sequence[GraphOutput]) -> None:
        used: set[Key] = set()
        waiting: list[Key] = [key for output in outputs for key in waited(output.tap)]
        while waiting:
            key = waiting.pop()
            if key not in used:
                used.add(key)
                waiting += self.resolver.waits_for(key)
        unused = [submodel for submodel in self.spec.submodels if submodel.name not in used]
        if not unused:
            return
        needs = changes.Needs(self.spec)
        held = needs.of(key for key in used if isinstance(key, str))
        for submodel in unused:
            source = submodel.name if len(submodel.outputs) == 1 else f"{submodel.name}.{submodel.outputs[0].name}"
            output = f'graph.add_output("{submodel.name}_output", "{source}")'
            removals = needs.removals(submodel.name, _MOST_REMOVALS)
            what = "it" if len(removals) == 1 else "it and what needs it"
            calls = ", ".join(f'graph.remove("{name}")' for name in removals)
            fix = f"Connect it, add {output}, or leave {what} out" + (f": {calls}." if calls else ", the last first.")
            if submodel.name in held:
                fix = f"Connect it, or add {output}."
            self.problems.add(f"Submodel '{submodel.name}' reaches no graph output.", fix=fix)


def _ports_text(ports: Sequence[Port]) -> str:
    """Several ports as messages show them: ``'a' (4,) float32 and 'b' (3,) float32``."""
    return " and ".join(port_text(None, port) for port in ports)
