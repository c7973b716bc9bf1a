"""The graph inputs: those that were named, those that free ports ask for, and their shapes and dtypes."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from keras_stitch.errors import NamingError, Problems
from keras_stitch.graphs import shapes
from keras_stitch.graphs.names import check_name, clean
from keras_stitch.graphs.references import Reference, node_of
from keras_stitch.graphs.spec import GraphSpec, InputSpec, Port, Submodel, port_text
from keras_stitch.graphs.targets import PortKey, Targets


class GraphInputs:
    """The inputs of a graph.

    Attributes:
        ports: Name, shape and dtype of each, in the order in which the submodels that take them were added.
        implicit: For each port that nothing feeds, the name of its graph input.
    """

    def __init__(self, spec: GraphSpec, targets: Targets, problems: Problems):
        self._targets, self._problems = targets, problems
        self._submodels = {submodel.name: submodel for submodel in spec.submodels}
        self._ports = {(it.name, port.name): port for it in self._submodels.values() for port in it.inputs}
        self.implicit: dict[PortKey, str] = {}
        self.ports: dict[str, Port] = {}
        given = {one.name: one for one in spec.inputs}
        found = self._find(given)
        named = {node_of(source) for connection in spec.connections for source in connection.sources}
        for name in given:
            # Where it was to feed something, that problem is already known.
            meant = given[name].targets or name in named - self._submodels.keys()
            if name not in found and not meant:
                self._problems.add(
                    f"The graph input '{name}' feeds nothing.",
                    fix=f'Name it in a connection, graph.connect("{name}", "submodel.port"), or take it back: '
                    f'graph.remove("{name}").',
                )
        for name, keys in found.items():
            self._check_name(name, keys, name in given)
            self.ports[name] = self._port_of(name, keys, given.get(name))

    def _find(self, given: Collection[str]) -> dict[str, list[PortKey]]:
        """For each graph input, the ports that it feeds alone and whole."""
        found: dict[str, list[PortKey]] = {}
        for submodel in self._submodels.values():
            for port in submodel.inputs:
                key = (submodel.name, port.name)
                feed = self._targets.fed.get(key)
                if feed is None:
                    self.implicit[key] = _implicit_name(submodel, port)
                    found.setdefault(self.implicit[key], []).append(key)
                elif isinstance(feed, InputSpec):
                    found.setdefault(feed.name, []).append(key)
                else:
                    for name in self._named(key, given):
                        alone = self._targets.sources[key] == (Reference(name),)
                        found.setdefault(name, []).extend([key] if alone else [])
        return found

    def _named(self, key: PortKey, given: Collection[str]) -> Iterator[str]:
        """The graph inputs among the sources of a port."""
        for source in self._targets.sources[key]:
            if not isinstance(source, Reference) or source.port is not None:
                continue
            if source.node in given and source.node not in self._submodels:
                yield source.node

    def _check_name(self, name: str, keys: list[PortKey], given: bool) -> None:
        # A port that a mistyped target may have meant is not known to be free.
        keys = [key for key in keys if key not in self.implicit or key[0] not in self._targets.mistaken]
        free = [key for key in keys if key in self.implicit]
        ports = [f'"{node}.{port}"' for node, port in keys]
        if name in self._submodels:
            self._problems.add(
                f"The graph input '{name}' has the name of a submodel.",
                fix=f'Name it otherwise: graph.add_input("{name}_input", {", ".join(ports) or "..."}).',
            )
        try:
            check_name(name, "graph input")
        except NamingError as problem:
            self._problems.append(problem)
        if free and len(keys) > 1:
            apart = ", ".join(f'graph.add_input("{node}_{clean(port)}", "{node}.{port}")' for node, port in free)
            self._problems.add(
                f"{len(keys)} graph inputs would be called '{name}': {self._listed(keys)}.",
                fix=f'If they are the same data: graph.add_input("{name}", [{", ".join(ports)}]). If not: {apart}.',
            )

    def _listed(self, keys: list[PortKey]) -> str:
        return " and ".join(port_text(key[0], self._ports[key]) for key in keys)

    def _port_of(self, name: str, keys: list[PortKey], given: InputSpec | None) -> Port:
        """Shape and dtype of a graph input: what was said, refined by the ports it feeds."""
        shape, dtype = (given.shape, given.dtype) if given else (None, None)
        for key in keys:
            port = self._ports[key]
            if port.shape is not None:
                unified = port.shape if shape is None else shapes.unify(shape, port.shape)
                if unified is None and given and given.shape is None:
                    self._problems.add(
                        f"The graph input '{name}' cannot feed {self._listed(keys)}: their shapes differ.",
                        fix="Give each an input of its own, or a Reshape node in between.",
                    )
                    return Port(name, None, dtype)
                # A shape that was said and does not fit is reported where it arrives.
                shape = unified if unified is not None else shape
            if not (given and given.dtype):
                dtype = shapes.common_dtype(dtype, port.dtype)
        if shape is None:
            where = "".join(f'"{node}.{port}", ' for node, port in keys[:1])
            why = "it feeds a layer that was never called" if keys else "it feeds only merges"
            self._problems.add(
                f"The shape of the graph input '{name}' is unknown: {why}.",
                fix=f'graph.add_input("{name}", {where}shape=(...)), without the batch axis.',
            )
        return Port(name, shape, dtype or "float32")


def _implicit_name(submodel: Submodel, port: Port) -> str:
    if not port.generated:
        return clean(port.name)
    return f"{submodel.name}_input" if len(submodel.inputs) == 1 else f"{submodel.name}_{clean(port.name)}"
