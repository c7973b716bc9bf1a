"""Names to tensors: which tensor a source is, and what the graph outputs are.

A source is looked up as an output port, then as a graph input, then as an input port, which stands for the
tensor that feeds it. Shapes are none of this module's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from keras_stitch.errors import Problems, StitchError, nearest
from keras_stitch.graphs.graph_inputs import GraphInputs
from keras_stitch.graphs.names import clean
from keras_stitch.graphs.references import Reference, parse_reference
from keras_stitch.graphs.slices import WHOLE, Slice
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, Port, Submodel, Tap
from keras_stitch.graphs.targets import PortKey, Targets, port_list

Key: TypeAlias = "str | PortKey"


@dataclass(frozen=True)
class Taken:
    """A source as it was written: the tensor that it names, and the part of it that is taken."""

    text: str
    tap: Tap
    part: Slice = WHOLE


def waited(tap: Tap) -> list[Key]:
    """What has to be wired before a tensor is known: a submodel, or a port whose merged tensor is taken."""
    if tap.node is None:
        return []
    return [(tap.node, tap.port) if tap.merged else tap.node]


class Resolver:
    """The names of one graph, resolved; ``inputs`` has the graph inputs by name, as ``GraphInputs.ports`` does."""

    def __init__(self, spec: GraphSpec, problems: Problems):
        self._spec, self._problems = spec, problems
        self._submodels = {submodel.name: submodel for submodel in spec.submodels}
        self._targets = Targets(spec, problems)
        found = GraphInputs(spec, self._targets, problems)
        self.inputs, self._implicit = found.ports, found.implicit
        self._taken: dict[PortKey, tuple[Taken, ...]] = {}
        self._arriving: dict[PortKey, Tap] = {}
        for key, references in self._targets.sources.items():
            connection = self._targets.fed[key]
            assert isinstance(connection, Connection)
            texts = zip(connection.sources, references, strict=True)
            taken = [self._source(text, reference, key) for text, reference in texts]
            # A port with an unresolved source counts as unfed: that problem is already known.
            if None not in taken:
                self._taken[key] = tuple(one for one in taken if one is not None)

    def connection(self, node: str, port: str) -> Connection | None:
        """The connection that feeds a port, if one does."""
        feed = self._targets.fed.get((node, port))
        return feed if isinstance(feed, Connection) and (node, port) in self._taken else None

    def sources(self, node: str, port: str) -> tuple[Taken, ...]:
        """What feeds a port."""
        key = (node, port)
        if key in self._taken:
            return self._taken[key]
        feed = self._targets.fed.get(key)
        if isinstance(feed, InputSpec):
            return (Taken(feed.name, Tap(None, feed.name)),) if feed.name in self.inputs else ()
        return (Taken(self._implicit[key], Tap(None, self._implicit[key])),) if key in self._implicit else ()

    def waits_for(self, key: Key) -> list[Key]:
        """What a submodel (its ports) or a port (what feeds it) has to wait for."""
        if isinstance(key, str):
            return [(key, port.name) for port in self._submodels[key].inputs]
        return [waiting for source in self.sources(*key) for waiting in waited(source.tap)]

    def outputs(self) -> Iterator[tuple[str, Taken]]:
        """Name and source of every graph output."""
        chosen = list(self._chosen_outputs() if self._spec.outputs else self._free_outputs())
        seen: dict[str, str] = {}
        for name, source in chosen:
            owner = None
            if name in seen:
                owner = f"the output from '{seen[name]}'"
            elif name in self._submodels:
                whole = source.tap.node == name and not source.tap.merged and not source.part
                owner = None if whole else "a submodel"
            elif name in self.inputs:
                owner = "a graph input"
            if owner:
                self._problems.add(
                    f"The graph output '{name}' (from '{source.text}') has the name of {owner}.",
                    fix=f'Name it otherwise: graph.add_output("{name}_output", "{source.text}")'
                    + ("." if self._spec.outputs else ", and every other output likewise."),
                )
            seen[name] = source.text
            yield name, source

    # -- sources -------------------------------------------------------------

    def _source(self, text: str, reference: Reference | StitchError, target: PortKey) -> Taken | None:
        try:
            if isinstance(reference, StitchError):
                raise reference
            return Taken(text, self._tap(text, reference), reference.part)
        except StitchError as problem:
            self._problems.append(problem.behind(f"In the connection to '{target[0]}.{target[1]}': "))
            return None

    def _tap(self, text: str, reference: Reference) -> Tap:
        """The whole tensor that a source names."""
        submodel = self._submodels.get(reference.node)
        if submodel is not None:
            return self._submodel_tap(text, reference, submodel)
        if reference.port is None and reference.node in self.inputs:
            return Tap(None, reference.node)
        takers = [submodel.name for submodel in self._submodels.values() if reference.node in _names(submodel.inputs)]
        known = [*self._submodels, *self.inputs]
        hint = " or ".join(f"'{taker}.{reference.node}'" for taker in takers) or nearest(reference.node, known)
        raise StitchError(f"There is no submodel or graph input '{reference.node}'.", expected=hint)

    def _submodel_tap(self, text: str, reference: Reference, submodel: Submodel) -> Tap:
        if reference.port is None:
            if len(submodel.outputs) == 1:
                return Tap(submodel.name, submodel.outputs[0].name)
            raise StitchError(
                f"'{text}' has {len(submodel.outputs)} output ports, so the name alone does not say which is meant.",
                expected=port_list(submodel, submodel.outputs),
            )
        if reference.port in _names(submodel.outputs):
            return Tap(submodel.name, reference.port)
        if reference.port in _names(submodel.inputs):
            return self._feeding(submodel.name, reference.port)
        known = nearest(reference.port, _names((*submodel.outputs, *submodel.inputs)))
        raise StitchError(f"Submodel '{submodel.name}' has no port '{reference.port}'.", expected=known)

    def _feeding(self, node: str, port: str) -> Tap:
        """The tensor that feeds an input port, perhaps through the input ports of other submodels."""
        key, passed = (node, port), set[PortKey]()
        while key not in self._arriving:
            feed = self._targets.fed.get(key)
            if feed is None:
                self._arriving[key] = Tap(None, self._implicit[key])
            elif isinstance(feed, InputSpec):
                self._arriving[key] = Tap(None, feed.name)
            elif (before := self._passed_on(key, feed)) is None:
                self._arriving[key] = Tap(*key, merged=True)
            elif isinstance(before, Tap):
                self._arriving[key] = before
            elif before in passed:  # a cycle, which is reported where the order is sought
                return Tap(*before, merged=True)
            else:
                passed.add(key)
                key = before
        self._arriving |= dict.fromkeys(passed, self._arriving[key])
        return self._arriving[key]

    def _passed_on(self, key: PortKey, feed: Connection) -> Tap | PortKey | None:
        """The tensor or input port that alone and whole feeds a port; ``None`` where something is merged or cut."""
        source = self._targets.sources[key][0]
        if len(feed.sources) > 1:
            return None
        if isinstance(source, StitchError):
            raise source
        if source.part:
            return None
        submodel = self._submodels.get(source.node)
        if submodel and source.port in set(_names(submodel.inputs)) - set(_names(submodel.outputs)):
            return source.node, str(source.port)
        return self._tap(feed.sources[0], source)

    # -- graph outputs -------------------------------------------------------

    def _chosen_outputs(self) -> Iterator[tuple[str, Taken]]:
        for output in self._spec.outputs:
            try:
                reference = parse_reference(output.source)
                yield output.name, Taken(output.source, self._tap(output.source, reference), reference.part)
            except StitchError as problem:
                self._problems.append(problem.behind(f"For the graph output '{output.name}': "))

    def _free_outputs(self) -> Iterator[tuple[str, Taken]]:
        """The output ports that nothing consumes."""
        taps = [source.tap for sources in self._taken.values() for source in sources]
        consumed = {(tap.node, tap.port) for tap in taps if not tap.merged}
        for submodel in self._spec.submodels:
            for port in submodel.outputs:
                if (submodel.name, port.name) not in consumed:
                    one = len(submodel.outputs) == 1
                    name = submodel.name if one else f"{submodel.name}_{clean(port.name)}"
                    yield name, Taken(f"{submodel.name}.{port.name}", Tap(submodel.name, port.name))


def _names(ports: Sequence[Port]) -> list[str]:
    return [port.name for port in ports]
