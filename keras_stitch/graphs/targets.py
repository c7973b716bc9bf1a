"""Which input ports are fed: the targets of connections and of graph inputs, by name."""

from __future__ import annotations

from typing import TypeAlias

from keras_stitch.errors import Problems, StitchError, nearest
from keras_stitch.graphs.references import Reference, node_of, parse_reference
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, Port, Submodel, port_text, shape_text

PortKey: TypeAlias = tuple[str, str]


class Targets:
    """The input ports of a graph that are fed.

    Attributes:
        fed: For each such port, what feeds it.
        sources: For each port with a connection, what its sources point at, or why that cannot be read.
        mistaken: The names of submodels, as written, of targets that are no ports.
    """

    def __init__(self, spec: GraphSpec, problems: Problems):
        self._spec, self._problems = spec, problems
        self.fed: dict[PortKey, Connection | InputSpec] = {}
        self.sources: dict[PortKey, tuple[Reference | StitchError, ...]] = {}
        self.mistaken: set[str] = set()
        for connection in spec.connections:
            self._claim(connection.target, connection)
        for given in spec.inputs:
            for target in given.targets:
                self._claim(target, given)

    def _claim(self, target: str, feed: Connection | InputSpec) -> None:
        try:
            submodel, port = target_port(self._spec, target)
        except StitchError as problem:
            self._problems.append(problem)
            self.mistaken.add(node_of(target))
            return
        key = (submodel.name, port.name)
        if key in self.fed:
            self._problems.add(
                f"{port_text(submodel.name, port)} is fed twice: by {_feed_text(self.fed[key])} "
                f"and by {_feed_text(feed)}.",
                expected="one connection for each input port",
                fix=f'Take both back, graph.disconnect("{submodel.name}.{port.name}"), and connect it once; '
                "several sources in a list are merged.",
            )
            return
        self.fed[key] = feed
        if isinstance(feed, Connection):
            self.sources[key] = tuple(map(_read, feed.sources))


def target_port(spec: GraphSpec, text: str) -> tuple[Submodel, Port]:
    """The input port that a target names.

    Raises:
        StitchError: If there is none, or several.
    """
    reference = parse_reference(text)
    if reference.part:
        raise StitchError(
            f"'{text}' cannot be fed: an input port takes a whole tensor.",
            fix=f"Connect to '{reference.node}' and merge the sources in the order of the axis.",
        )
    submodel = spec.by_name.get(reference.node)
    if submodel is None:
        owners = [s.name for s in spec.submodels for port in s.inputs if port.name == text]
        raise StitchError(
            f"There is no submodel '{reference.node}' to connect to.",
            expected=" or ".join(f"'{owner}.{text}'" for owner in owners)
            or nearest(reference.node, [s.name for s in spec.submodels]),
            fix=f'Take it back, graph.disconnect("{text}"), and connect to another.',
        )
    if reference.port is None:
        if len(submodel.inputs) == 1:
            return submodel, submodel.inputs[0]
        if not submodel.inputs:
            raise StitchError(f"'{text}' has no input port, so nothing can be connected to it.")
        raise StitchError(
            f"'{text}' has {len(submodel.inputs)} input ports, so the name alone does not say which is fed.",
            expected=port_list(submodel, submodel.inputs),
        )
    port = next((port for port in submodel.inputs if port.name == reference.port), None)
    if port is None:
        known = nearest(reference.port, [port.name for port in submodel.inputs])
        raise StitchError(f"Submodel '{submodel.name}' has no input port '{reference.port}'.", expected=known)
    return submodel, port


def _read(source: str) -> Reference | StitchError:
    try:
        return parse_reference(source)
    except StitchError as problem:
        return problem


def _feed_text(feed: Connection | InputSpec) -> str:
    if isinstance(feed, InputSpec):
        return f"the graph input '{feed.name}'" + (f" {shape_text(feed.shape)}" if feed.shape is not None else "")
    return " and ".join(f"'{source}'" for source in feed.sources)


def port_list(submodel: Submodel, ports: tuple[Port, ...]) -> str:
    """Ports of a submodel as a message expects one of them."""
    return "one of " + ", ".join(port_text(submodel.name, port) for port in ports) if ports else "it has none"
