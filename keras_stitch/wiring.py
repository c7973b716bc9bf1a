"""A ``GraphSpec`` checked and resolved: names to tensors, shapes along every connection.

Every problem of a graph is reported at once. What only Keras can know, the output shape of a
layer, is asked of an ``Inference``; everything else here is plain data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from keras_stitch import shapes
from keras_stitch.errors import StitchError, WiringError
from keras_stitch.resolving import Resolver
from keras_stitch.spec import (
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


class Inference(Protocol):
    """What wiring asks of whoever holds the models."""

    def outputs(self, submodel: Submodel, arriving: Sequence[Port]) -> tuple[Port, ...]:
        """The output ports of a submodel for what arrives at its input ports."""

    def merged(self, merge: Merge, ports: Sequence[Port]) -> Port:
        """What a Keras layer that takes a list makes of these."""


class Declared:
    """The ``Inference`` that believes what the ports say; enough for graphs without bare layers."""

    def outputs(self, submodel: Submodel, arriving: Sequence[Port]) -> tuple[Port, ...]:
        """The ports as declared."""
        return submodel.outputs

    def merged(self, merge: Merge, ports: Sequence[Port]) -> Port:
        """The first port, unchanged."""
        return ports[0]


def wire(spec: GraphSpec, inference: Inference | None = None) -> Wiring:
    """Check a graph and resolve it.

    Args:
        spec: What the user said.
        inference: Knows the output shapes of layers; by default ports are believed.

    Raises:
        WiringError: With every problem of the graph.

    Example:
        >>> from keras_stitch.spec import Source
        >>> node = Submodel("m", Source("file", "m.h5"), (Port("x", (3,)),), (Port("y", (2,)),))
        >>> [port.name for port in wire(GraphSpec("g", (node,))).inputs]
        ['x']
    """
    return _Wirer(spec, inference or Declared()).run()


class _Wirer:
    """One pass over one graph; collects problems and goes on as far as they let it."""

    def __init__(self, spec: GraphSpec, inference: Inference):
        self.spec, self.inference = spec, inference
        self.problems: list[StitchError] = []
        self.resolver = Resolver(spec, self.problems)
        self.feeds: dict[str, dict[str, Feed]] = {submodel.name: {} for submodel in spec.submodels}
        self.node_outputs: dict[str, tuple[Port, ...]] = {}

    def run(self) -> Wiring:
        if not self.spec.submodels:
            self.problems.append(StitchError("It has no submodel.", fix='graph.add("model1", "m1.h5")'))
            raise WiringError(self.spec.name, self.problems)
        order = self._order()
        for node in order:
            self._wire_node(self.spec.submodel(node))
        outputs = self._outputs() if order else ()
        if not self.problems:
            self._check_every_submodel_is_used(order, outputs)
        if self.problems:
            raise WiringError(self.spec.name, self.problems)
        return Wiring(
            name=self.spec.name,
            order=order,
            inputs=tuple(self.resolver.inputs.values()),
            outputs=outputs,
            feeds={node: tuple(self.feeds[node].values()) for node in order},
            node_outputs=self.node_outputs,
        )

    def _order(self) -> tuple[str, ...]:
        """Submodels so that each follows those that feed it; ties in the order of ``add``."""
        position = {submodel.name: index for index, submodel in enumerate(self.spec.submodels)}
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for name in position:
            sorter.add(name, *self.resolver.predecessors(name))
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = list(reversed(error.args[1]))
            self.problems.append(
                StitchError(
                    f"The connections form a cycle: {' -> '.join(cycle)}.",
                    expected="data that flows one way",
                    fix="Remove one of these connections.",
                )
            )
            return ()
        order: list[str] = []
        while sorter.is_active():
            for name in sorted(sorter.get_ready(), key=position.__getitem__):
                order.append(name)
                sorter.done(name)
        return tuple(order)

    def _wire_node(self, submodel: Submodel) -> None:
        before = len(self.problems)
        for port in submodel.inputs:
            self.feeds[submodel.name][port.name] = self._feed(submodel, port)
        arriving = [self.feeds[submodel.name][port.name].port for port in submodel.inputs]
        outputs = submodel.outputs
        known = all(port.shape is not None for port in arriving)
        # Behind a problem the declared shapes stand in, so that one mistake is reported once.
        if known and len(self.problems) == before:
            try:
                outputs = self.inference.outputs(submodel, arriving)
            except StitchError as problem:
                self.problems.append(problem)
        self.node_outputs[submodel.name] = outputs

    def _feed(self, submodel: Submodel, port: Port) -> Feed:
        target = f"{submodel.name}.{port.name}"
        connection = self.resolver.connection(submodel.name, port.name)
        taps = self.resolver.taps(submodel.name, port.name)
        merge = connection.merge if connection else Merge()
        texts = connection.sources if connection else tuple(tap.port for tap in taps)
        taps, tap_ports = self._tapped(taps, texts, target)
        if not tap_ports or any(tap.shape is None for tap in tap_ports):
            return Feed(submodel.name, port, taps, tap_ports, merge)
        try:
            arriving = self._merged(merge, tap_ports)
        except StitchError as problem:
            self.problems.append(
                StitchError(
                    f"{shapes.ports_text(tap_ports)} cannot be merged into {port_text(submodel.name, port)}. "
                    f"{problem.message}",
                    expected=problem.expected,
                    fix=problem.fix or self._merge_fix(merge, tap_ports),
                )
            )
            return Feed(submodel.name, port, taps, tap_ports, merge)
        self._check_fit(arriving, tap_ports, submodel.name, port)
        assert arriving.shape is not None
        shape = arriving.shape if port.shape is None else shapes.unify(arriving.shape, port.shape)
        dtype = port.dtype or arriving.dtype
        return Feed(submodel.name, Port(port.name, shape or port.shape, dtype), taps, tap_ports, merge)

    def _tapped(
        self, taps: Sequence[Tap], texts: Sequence[str], target: str
    ) -> tuple[tuple[Tap, ...], tuple[Port, ...]]:
        resolved, ports = [], []
        for tap, text in zip(taps, texts, strict=True):
            port = self._tap_port(tap)
            shape, bounds = port.shape, None
            asked = self.resolver.part(text)
            if asked is not None:
                try:
                    shape, bounds = shapes.sliced(port.shape, asked)
                except StitchError as problem:
                    message = f"'{text}', which should feed '{target}', cannot be taken. {problem.message}"
                    self.problems.append(StitchError(message, expected=problem.expected, fix=problem.fix))
                    shape = None
            resolved.append(replace(tap, part=bounds))
            ports.append(Port(text, shape, port.dtype))
        return tuple(resolved), tuple(ports)

    def _tap_port(self, tap: Tap) -> Port:
        if tap.node is None:
            return self.resolver.inputs[tap.port]
        if tap.merged:
            return self.feeds[tap.node][tap.port].port if tap.port in self.feeds[tap.node] else Port(tap.port, None)
        for port in self.node_outputs.get(tap.node, self.spec.submodel(tap.node).outputs):
            if port.name == tap.port:
                return port
        return Port(tap.port, None)

    def _merged(self, merge: Merge, ports: Sequence[Port]) -> Port:
        if len(ports) == 1:
            return ports[0]
        if merge.kind == "layer":
            return self.inference.merged(merge, ports)
        shape = shapes.merged_shape(merge, [port.shape for port in ports if port.shape is not None])
        return Port(merge.kind, shape, shapes.merged_dtype(merge, [port.dtype or "float32" for port in ports]))

    def _check_fit(self, arriving: Port, tap_ports: Sequence[Port], node: str, port: Port) -> None:
        assert arriving.shape is not None
        many = len(tap_ports) > 1
        what = f"{shapes.ports_text(tap_ports)}" + (f", merged to {shape_text(arriving.shape)}," if many else "")
        verb = "do not fit" if many else "does not fit"
        if port.shape is not None and not shapes.shape_fits(arriving.shape, port.shape):
            fix = (
                f"Merge other sources, or along another axis, so that {shape_text(port.shape)} results."
                if many
                else shapes.shape_fix(tap_ports[0].name, arriving.shape, port.shape, f"{node}.{port.name}")
            )
            self.problems.append(
                StitchError(
                    f"{what} {verb} {port_text(node, port)}.",
                    expected=f"shape {shape_text(port.shape)}",
                    received=f"shape {shape_text(arriving.shape)}",
                    fix=fix,
                )
            )
        elif not shapes.dtype_fits(arriving.dtype, port.dtype):
            self.problems.append(
                StitchError(
                    f"{what} {verb} {port_text(node, port)}: the values would be cut to {port.dtype}.",
                    expected=f"dtype {port.dtype}",
                    received=f"dtype {arriving.dtype}",
                    fix=f"Feed '{node}.{port.name}' from a graph input of its own, or from an output of that dtype.",
                )
            )

    def _merge_fix(self, merge: Merge, ports: Sequence[Port]) -> str | None:
        """For a missing axis, the reshape that brings the odd source in line with the longest one."""
        model = max(ports, key=lambda port: len(port.shape or ()))
        for port in ports:
            if port.shape is None or model.shape is None or len(port.shape) == len(model.shape):
                continue
            want = (*((1,) * (len(model.shape) - len(port.shape))), *port.shape)
            if None not in want:
                return shapes.shape_fix(port.name, port.shape, want, "...").replace(
                    'graph.connect("' + port.name.split(".")[0] + '_reshape", "...")',
                    f'name "{port.name.split(".")[0]}_reshape" as the source instead',
                )
        return None

    def _outputs(self) -> tuple[GraphOutput, ...]:
        found = []
        for name, text, tap in self.resolver.outputs():
            (tap,), (port,) = self._tapped((tap,), (text,), name)
            found.append(GraphOutput(Port(name, port.shape, port.dtype), tap))
        return tuple(found)

    def _check_every_submodel_is_used(self, order: Sequence[str], outputs: Sequence[GraphOutput]) -> None:
        used = set()
        waiting = [output.tap.node for output in outputs]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in used:
                used.add(node)
                waiting += self.resolver.predecessors(node)
        for node in order:
            if node not in used:
                self.problems.append(
                    StitchError(
                        f"Submodel '{node}' reaches no graph output.",
                        fix=f'Connect it, add graph.add_output("{node}_output", "{node}"), or leave it out.',
                    )
                )
