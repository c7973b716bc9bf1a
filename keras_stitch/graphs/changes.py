"""What is taken back of a graph: connections, submodels, inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.references import parse_reference
from keras_stitch.graphs.spec import GraphSpec, Port, Submodel
from keras_stitch.graphs.targets import target_port


def disconnected(spec: GraphSpec, target: str) -> GraphSpec:
    """A graph without what feeds an input port, which is named as ``connect`` takes it, or mistaken as it was written.

    Raises:
        StitchError: If there is no such port, or nothing was connected to it.
    """
    written, port = list(_targets(spec)), _port(spec, target)
    own = {text for text in written if text == target or (port is not None and _port(spec, text) == port)}
    if not own:
        what = "Nothing is connected to '{}'." if port else "There is no connection to '{}' to take back."
        known = nearest(target, written) if written else "nothing is connected yet"
        raise StitchError(what.format(target), expected=known)
    return _without_targets(spec, own)


def removed(spec: GraphSpec, name: str) -> GraphSpec:
    """A graph without a submodel, a graph input or a graph output; of one name, the submodel is meant.

    Raises:
        StitchError: If there is none, or something else needs it.
    """
    if any(submodel.name == name for submodel in spec.submodels):
        return _without_submodel(spec, name)
    if any(given.name == name for given in spec.inputs):
        _check_unused(spec, name, "graph input")
        return replace(spec, inputs=tuple(given for given in spec.inputs if given.name != name))
    if any(output.name == name for output in spec.outputs):
        return replace(spec, outputs=tuple(output for output in spec.outputs if output.name != name))
    known = [*(s.name for s in spec.submodels), *(i.name for i in spec.inputs), *(o.name for o in spec.outputs)]
    raise StitchError(f"There is nothing called '{name}' to remove.", expected=nearest(name, known))


class Needs:
    """Which submodels of a graph need which: for its tensors, or for its weights."""

    def __init__(self, spec: GraphSpec):
        self._needed: dict[str, set[str]] = {submodel.name: set() for submodel in spec.submodels}
        for connection in spec.connections:
            for taker in _nodes([connection.target]) & self._needed.keys():
                self._needed[taker] |= _nodes(connection.sources) & self._needed.keys()
        for submodel in spec.submodels:
            self._needed[submodel.name] |= {submodel.owner} - {submodel.name}
        self._takers: dict[str, list[str]] = {name: [] for name in self._needed}
        for taker, names in self._needed.items():
            for name in names:
                self._takers[name].append(taker)

    def of(self, names: Iterable[str]) -> set[str]:
        """Some submodels, and all that they need."""
        waiting = list(names)
        found = set(waiting)
        while waiting:
            new = self._needed[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    def removals(self, name: str, most: int) -> tuple[str, ...]:
        """A submodel behind all that need it, each behind its own; nothing where these are more than ``most``."""
        found, seen, path = [], {name}, [(name, iter(self._takers[name]))]
        while path and len(seen) <= most:
            needed, takers = path[-1]
            taker = next((taker for taker in takers if taker not in seen), None)
            if taker is None:
                found.append(needed)
                path.pop()
            else:
                seen.add(taker)
                path.append((taker, iter(self._takers[taker])))
        return () if path else tuple(found)


def replaced(spec: GraphSpec, submodel: Submodel) -> GraphSpec:
    """A graph with another submodel in the place of the one that has its name; what shares its weights shares these."""

    def in_place(old: Submodel) -> Submodel:
        if old.share == submodel.name:
            return replace(submodel, name=old.name, share=submodel.name, trainable=None)
        return submodel if old.name == submodel.name else old

    return replace(spec, submodels=tuple(map(in_place, spec.submodels)))


def _without_submodel(spec: GraphSpec, name: str) -> GraphSpec:
    twins = [submodel.name for submodel in spec.submodels if submodel.share == name]
    if twins:
        calls = ", ".join(f'graph.remove("{twin}")' for twin in twins)
        verb, them = ("shares", "that") if len(twins) == 1 else ("share", "them")
        raise StitchError(
            f"The submodel '{name}' cannot be removed: {_listed(twins)} {verb} its weights.",
            fix=f"Remove {them} first: {calls}.",
        )
    into = {text for text in _targets(spec) if name in _nodes([text])}
    rest = _without_targets(spec, into)
    _check_unused(rest, name, "submodel")
    fed_it_alone = {given.name for given in spec.inputs if given.targets and set(given.targets) <= into}
    named = {node for connection in rest.connections for node in _nodes(connection.sources)}
    return replace(
        rest,
        submodels=tuple(submodel for submodel in rest.submodels if submodel.name != name),
        inputs=tuple(given for given in rest.inputs if given.name not in fed_it_alone - named),
        outputs=tuple(output for output in rest.outputs if name not in _nodes([output.source])),
        freezes=tuple(rule for rule in rest.freezes if rule.pattern != name),
    )


def _check_unused(spec: GraphSpec, name: str, what: str) -> None:
    """Raise where a connection takes a tensor of something that is to be removed."""
    targets = [connection.target for connection in spec.connections if name in _nodes(connection.sources)]
    if targets:
        calls = ", ".join(f'graph.disconnect("{target}")' for target in targets)
        instead = f' Or put another model in its place: graph.replace("{name}", ...).' if what == "submodel" else ""
        raise StitchError(
            f"The {what} '{name}' cannot be removed: it feeds {_listed(targets)}.",
            fix=f"Take that back first: {calls}.{instead}",
        )


def _without_targets(spec: GraphSpec, targets: set[str]) -> GraphSpec:
    return replace(
        spec,
        connections=tuple(connection for connection in spec.connections if connection.target not in targets),
        inputs=tuple(
            replace(given, targets=tuple(target for target in given.targets if target not in targets))
            for given in spec.inputs
        ),
    )


def _targets(spec: GraphSpec) -> Iterator[str]:
    """The targets of connections and of graph inputs, as they were written."""
    yield from (connection.target for connection in spec.connections)
    yield from (target for given in spec.inputs for target in given.targets)


def _port(spec: GraphSpec, target: str) -> tuple[Submodel, Port] | None:
    try:
        return target_port(spec, target)
    except StitchError:
        return None


def _nodes(texts: Iterable[str]) -> set[str]:
    """The submodels and graph inputs that some references name; what cannot be read names none."""
    found = set()
    for text in texts:
        with suppress(StitchError):
            found.add(parse_reference(text).node)
    return found


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
