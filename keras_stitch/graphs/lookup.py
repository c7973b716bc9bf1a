"""Names to tensors: which port a target is, which tensor a source is, what the graph inputs and outputs are.

A source is looked up as an output port, then as a graph input, then as an input port, which stands for the
tensor that feeds it. Shapes are none of this module's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from keras_stitch.errors import NamingError, StitchError, nearest
from keras_stitch.graphs import shapes
from keras_stitch.graphs.names import Part, Reference, check_name, clean, parse_reference
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, Port, Submodel, Tap, port_text, shape_text

_PortKey = tuple[str, str]


Key: TypeAlias = "str | _PortKey"


def waited(tap: Tap) -> list[Key]:
    """What has to be wired before a tensor is known: a submodel, or a port whose merged tensor is taken."""
    if tap.node is None:
        return []
    return [(tap.node, tap.port) if tap.merged else tap.node]


class Resolver:
    """The names of one graph, resolved.

    Args:
        spec: The graph.
        problems: Where problems are added.

    Attributes:
        inputs: Graph inputs by name, in the order in which their submodels were added.
    """

    def __init__(self, spec: GraphSpec, problems: list[StitchError]):
        self._spec, self._problems = spec, problems
        self._submodels = {submodel.name: submodel for submodel in spec.submodels}
        self._fed: dict[_PortKey, Connection | InputSpec] = {}
        self._mistaken: set[str] = set()
        for connection in spec.connections:
            self._claim(connection.target, connection)
        for given in spec.inputs:
            for target in given.targets:
                self._claim(target, given)
        self._implicit: dict[_PortKey, str] = {}
        self.inputs: dict[str, Port] = {}
        self._find_inputs()
        self._taps: dict[_PortKey, tuple[Tap, ...]] = {}
        for key, feed in self._fed.items():
            if isinstance(feed, Connection):
                taps = [self._source(text, key) for text in feed.sources]
                # A port with an unresolved source counts as unfed: that problem is already known.
                if None not in taps:
                    self._taps[key] = tuple(tap for tap in taps if tap is not None)

    def connection(self, node: str, port: str) -> Connection | None:
        """The connection that feeds a port, if one does."""
        feed = self._fed.get((node, port))
        return feed if isinstance(feed, Connection) and (node, port) in self._taps else None

    def taps(self, node: str, port: str) -> tuple[Tap, ...]:
        """The tensors that feed a port, parts left out."""
        key = (node, port)
        if key in self._taps:
            return self._taps[key]
        feed = self._fed.get(key)
        if isinstance(feed, InputSpec):
            return (Tap(None, feed.name),) if feed.name in self.inputs else ()
        return (Tap(None, self._implicit[key]),) if key in self._implicit else ()

    def waits_for(self, key: Key) -> list[Key]:
        """What a submodel (its ports) or a port (what feeds it) has to wait for."""
        if isinstance(key, str):
            return [(key, port.name) for port in self._submodels[key].inputs]
        return [waiting for tap in self.taps(*key) for waiting in waited(tap)]

    def part(self, text: str) -> Part | None:
        """The part of the last axis that a source asks for."""
        if text in self.inputs:
            return None
        try:
            return parse_reference(text).part
        except StitchError:
            return None

    def outputs(self) -> Iterator[tuple[str, str, Tap]]:
        """Name, source text and tensor of every graph output."""
        chosen = list(self._chosen_outputs() if self._spec.outputs else self._free_outputs())
        seen: dict[str, str] = {}
        for name, text, tap in chosen:
            owner = None
            if name in seen:
                owner = f"the output from '{seen[name]}'"
            elif name in self._submodels:
                whole = tap.node == name and not tap.merged and self.part(text) is None
                owner = None if whole else "a submodel"
            elif name in self.inputs:
                owner = "a graph input"
            if owner:
                self._problems.append(
                    StitchError(
                        f"The graph output '{name}' (from '{text}') has the name of {owner}.",
                        fix=f'Name it otherwise: graph.add_output("{name}_output", "{text}")'
                        + ("." if self._spec.outputs else ", and every other output likewise."),
                    )
                )
            seen[name] = text
            yield name, text, tap

    # -- targets -------------------------------------------------------------

    def _claim(self, target: str, feed: Connection | InputSpec) -> None:
        try:
            submodel, port = self._target(target)
        except StitchError as problem:
            self._problems.append(problem)
            self._mistaken.add(str(target).split(".")[0].split("[")[0].strip())
            return
        key = (submodel.name, port.name)
        if key in self._fed:
            self._problems.append(
                StitchError(
                    f"{port_text(submodel.name, port)} is fed twice: by {_feed_text(self._fed[key])} "
                    f"and by {_feed_text(feed)}.",
                    expected="one connection for each input port",
                    fix=f'Merge them in one, graph.connect([...], "{submodel.name}.{port.name}"), or drop one.',
                )
            )
            return
        self._fed[key] = feed

    def _target(self, text: str) -> tuple[Submodel, Port]:
        reference = parse_reference(text)
        if reference.part is not None:
            raise StitchError(
                f"'{text}' cannot be fed: an input port takes a whole tensor.",
                fix=f"Connect to '{reference.node}' and merge the sources in the order of the axis.",
            )
        submodel = self._submodels.get(reference.node)
        if submodel is None:
            raise self._unknown_target(text, reference)
        if reference.port is None:
            if len(submodel.inputs) == 1:
                return submodel, submodel.inputs[0]
            if not submodel.inputs:
                raise StitchError(f"'{text}' has no input port, so nothing can be connected to it.")
            raise StitchError(
                f"'{text}' has {len(submodel.inputs)} input ports, so the name alone does not say which is fed.",
                expected=_port_list(submodel, submodel.inputs),
            )
        for port in submodel.inputs:
            if port.name == reference.port:
                return submodel, port
        known = [port.name for port in submodel.inputs]
        raise StitchError(
            f"Submodel '{submodel.name}' has no input port '{reference.port}'.",
            expected=nearest(reference.port, known),
        )

    def _unknown_target(self, text: str, reference: Reference) -> StitchError:
        owners = [s.name for s in self._submodels.values() for port in s.inputs if port.name == text]
        known = [*self._submodels, *(f"{owner}.{text}" for owner in owners)]
        hint = " or ".join(f"'{owner}.{text}'" for owner in owners) or nearest(reference.node, known)
        return StitchError(f"There is no submodel '{reference.node}' to connect to.", expected=hint)

    # -- graph inputs --------------------------------------------------------

    def _find_inputs(self) -> None:
        found: dict[str, list[_PortKey]] = {}
        given = {spec.name: spec for spec in self._spec.inputs}
        for submodel in self._spec.submodels:
            for port in submodel.inputs:
                key = (submodel.name, port.name)
                feed = self._fed.get(key)
                if feed is None:
                    name = self._implicit_name(submodel, port)
                    self._implicit[key] = name
                    found.setdefault(name, []).append(key)
                elif isinstance(feed, InputSpec):
                    found.setdefault(feed.name, []).append(key)
                else:
                    for text in feed.sources:
                        name = text.split("[")[0].strip()
                        if name in given and name not in self._submodels:
                            found.setdefault(name, []).extend([key] if feed.sources == (name,) else [])
        for name in given:
            # Where it was to feed something, that problem is already known.
            if name not in found and not given[name].targets:
                self._problems.append(
                    StitchError(
                        f"The graph input '{name}' feeds nothing.",
                        fix=f'graph.add_input("{name}", "submodel.port"), or name it in a connection.',
                    )
                )
        for name, keys in found.items():
            self._check_input_name(name, keys, name in given)
            self.inputs[name] = self._input_port(name, keys, given.get(name))

    def _implicit_name(self, submodel: Submodel, port: Port) -> str:
        if not port.generated:
            return clean(port.name)
        return f"{submodel.name}_input" if len(submodel.inputs) == 1 else f"{submodel.name}_{clean(port.name)}"

    def _check_input_name(self, name: str, keys: list[_PortKey], given: bool) -> None:
        # A port that a mistyped target may have meant is not known to be free.
        keys = [key for key in keys if key not in self._implicit or key[0] not in self._mistaken]
        free = [key for key in keys if key in self._implicit]
        ports = [f'"{node}.{port}"' for node, port in keys]
        if name in self._submodels:
            self._problems.append(
                StitchError(
                    f"The graph input '{name}' has the name of a submodel.",
                    fix=f'Name it otherwise: graph.add_input("{name}_input", {", ".join(ports) or "..."}).',
                )
            )
        try:
            check_name(name, "graph input")
        except NamingError as problem:
            self._problems.append(problem)
        if free and len(keys) > 1:
            listed = " and ".join(port_text(node, self._port(node, port)) for node, port in keys)
            apart = ", ".join(f'graph.add_input("{node}_{clean(port)}", "{node}.{port}")' for node, port in free)
            self._problems.append(
                StitchError(
                    f"{len(keys)} graph inputs would be called '{name}': {listed}.",
                    fix=f'If they are the same data: graph.add_input("{name}", [{", ".join(ports)}]). If not: {apart}.',
                )
            )

    def _port(self, node: str, port: str) -> Port:
        return next(candidate for candidate in self._submodels[node].inputs if candidate.name == port)

    def _input_port(self, name: str, keys: list[_PortKey], given: InputSpec | None) -> Port:
        """Shape and dtype of a graph input: what was said, refined by the ports it feeds."""
        shape = given.shape if given else None
        dtype = given.dtype if given else None
        for key in keys:
            port = self._port(*key)
            if port.shape is not None:
                unified = port.shape if shape is None else shapes.unify(shape, port.shape)
                if unified is None and given and given.shape is None:
                    listed = " and ".join(port_text(node, self._port(node, name_)) for node, name_ in keys)
                    self._problems.append(
                        StitchError(
                            f"The graph input '{name}' cannot feed {listed}: their shapes differ.",
                            fix="Give each an input of its own, or a Reshape node in between.",
                        )
                    )
                    return Port(name, None, dtype)
                # A shape that was said and does not fit is reported where it arrives.
                shape = unified if unified is not None else shape
            if not (given and given.dtype):
                dtype = shapes.common_dtype(dtype, port.dtype)
        if shape is None:
            where = "".join(f'"{node}.{port}", ' for node, port in keys[:1])
            self._problems.append(
                StitchError(
                    f"The shape of the graph input '{name}' is unknown: "
                    + ("it feeds a layer that was never called." if keys else "it feeds only merges."),
                    fix=f'graph.add_input("{name}", {where}shape=(...)), without the batch axis.',
                )
            )
        return Port(name, shape, dtype or "float32")

    # -- sources -------------------------------------------------------------

    def _source(self, text: str, target: _PortKey) -> Tap | None:
        try:
            return self.tap(text)
        except StitchError as problem:
            message = f"In the connection to '{target[0]}.{target[1]}': {problem.message}"
            self._problems.append(
                StitchError(message, expected=problem.expected, received=problem.received, fix=problem.fix)
            )
            return None

    def tap(self, text: str) -> Tap:
        """The tensor that a source names, its part left out.

        Raises:
            StitchError: If there is none, or several.
        """
        reference = parse_reference(text)
        submodel = self._submodels.get(reference.node)
        if submodel is not None:
            return self._submodel_tap(text, reference, submodel)
        if reference.port is None and reference.node in self.inputs:
            return Tap(None, reference.node)
        owners = [
            f"{s.name}.{port.name}"
            for s in self._submodels.values()
            for port in s.inputs
            if port.name == reference.node
        ]
        known = [*self._submodels, *self.inputs]
        hint = " or ".join(map(repr, owners)) or nearest(reference.node, known)
        raise StitchError(f"There is no submodel or graph input '{reference.node}'.", expected=hint)

    def _submodel_tap(self, text: str, reference: Reference, submodel: Submodel) -> Tap:
        if reference.port is None:
            if len(submodel.outputs) == 1:
                return Tap(submodel.name, submodel.outputs[0].name)
            raise StitchError(
                f"'{text}' has {len(submodel.outputs)} output ports, so the name alone does not say which is meant.",
                expected=_port_list(submodel, submodel.outputs),
            )
        if any(port.name == reference.port for port in submodel.outputs):
            return Tap(submodel.name, reference.port)
        if any(port.name == reference.port for port in submodel.inputs):
            return self._feeding(submodel.name, reference.port, set())
        known = [port.name for port in (*submodel.outputs, *submodel.inputs)]
        raise StitchError(
            f"Submodel '{submodel.name}' has no port '{reference.port}'.",
            expected=nearest(reference.port, known),
        )

    def _feeding(self, node: str, port: str, seen: set[_PortKey]) -> Tap:
        """The tensor that feeds an input port."""
        key = (node, port)
        feed = self._fed.get(key)
        if feed is None:
            return Tap(None, self._implicit[key])
        if isinstance(feed, InputSpec):
            return Tap(None, feed.name)
        if len(feed.sources) > 1 or parse_reference(feed.sources[0]).part is not None or key in seen:
            return Tap(node, port, merged=True)
        reference = parse_reference(feed.sources[0])
        submodel = self._submodels.get(reference.node)
        if submodel and reference.port and all(p.name != reference.port for p in submodel.outputs):
            return self._feeding(reference.node, reference.port, {*seen, key})
        return self.tap(feed.sources[0])

    # -- graph outputs -------------------------------------------------------

    def _chosen_outputs(self) -> Iterator[tuple[str, str, Tap]]:
        for output in self._spec.outputs:
            try:
                yield output.name, output.source, self.tap(output.source)
            except StitchError as problem:
                message = f"For the graph output '{output.name}': {problem.message}"
                self._problems.append(
                    StitchError(message, expected=problem.expected, received=problem.received, fix=problem.fix)
                )

    def _free_outputs(self) -> Iterator[tuple[str, str, Tap]]:
        """The output ports that nothing consumes."""
        consumed = {(tap.node, tap.port) for taps in self._taps.values() for tap in taps if not tap.merged}
        for submodel in self._spec.submodels:
            for port in submodel.outputs:
                if (submodel.name, port.name) not in consumed:
                    one = len(submodel.outputs) == 1
                    name = submodel.name if one else f"{submodel.name}_{clean(port.name)}"
                    yield name, f"{submodel.name}.{port.name}", Tap(submodel.name, port.name)


def _feed_text(feed: Connection | InputSpec) -> str:
    if isinstance(feed, InputSpec):
        return f"the graph input '{feed.name}'" + (f" {shape_text(feed.shape)}" if feed.shape is not None else "")
    return " and ".join(f"'{source}'" for source in feed.sources)


def _port_list(submodel: Submodel, ports: tuple[Port, ...]) -> str:
    return "one of " + ", ".join(port_text(submodel.name, port) for port in ports) if ports else "it has none"
