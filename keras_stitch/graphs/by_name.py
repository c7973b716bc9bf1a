"""Connections that names alone give: a port called ``model2_model3`` takes model2 and model3."""

from __future__ import annotations

from keras_stitch.errors import Problems, StitchError
from keras_stitch.graphs.names import clean
from keras_stitch.graphs.spec import Connection, GraphSpec, Submodel
from keras_stitch.graphs.targets import Targets


def connections_by_name(spec: GraphSpec) -> tuple[Connection, ...]:
    """The connections of every free input port whose name says what it takes.

    A name can be that of another submodel, of a port of another submodel or of a graph input, or several
    of these joined by ``_``; sources are in the order of the name.

    Raises:
        StitchError: If a name can be read in two ways.
    """
    fed = Targets(spec, Problems()).fed
    free = [(s.name, port.name) for s in spec.submodels for port in s.inputs if (s.name, port.name) not in fed]
    found = []
    for submodel, port in ((s, port) for s in spec.submodels for port in s.inputs):
        if port.generated or (submodel.name, port.name) not in free:
            continue
        target, words = f"{submodel.name}.{port.name}", _words(spec, submodel, port.name, free)
        readings = _readings(port.name, words)
        if len(readings) > 1:
            listed = " or ".join(str(list(reading)) for reading in readings)
            fix = f'Say which: graph.connect([...], "{target}").'
            raise StitchError(f"The name of '{target}' can be read as {listed}.", fix=fix)
        if not readings:
            continue
        sources = []
        for word in readings[0]:
            meanings = words[word]
            if len(meanings) > 1:
                raise StitchError(
                    f"'{word}' in the name of '{target}' can be {' or '.join(meanings)}.",
                    fix=f'Say which: graph.connect(["{meanings[0]}", ...], "{target}").',
                )
            sources.append(meanings[0])
        found.append(Connection(target, tuple(sources)))
    return tuple(found)


def _words(spec: GraphSpec, taker: Submodel, own: str, free: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What each word of a port's name can stand for: references as ``connect`` takes them."""
    words: dict[str, list[str]] = {}

    def add(word: str, meaning: str) -> None:
        if meaning not in words.setdefault(word, []):
            words[word].append(meaning)

    others = [submodel for submodel in spec.submodels if submodel.name != taker.name]
    for submodel in others:
        for port in submodel.outputs:
            add(submodel.name, submodel.name if len(submodel.outputs) == 1 else f"{submodel.name}.{port.name}")
    given = {given.name for given in spec.inputs}
    for name in given:
        add(name, name)
    for submodel in others:
        for port in submodel.outputs:
            if port.name not in words:
                add(port.name, f"{submodel.name}.{port.name}")
        for port in submodel.inputs:
            # A free port of the same name is a twin, not a source.
            source = (submodel.name, port.name) in free and not port.generated and port.name != own
            if source and port.name not in given and clean(port.name) == port.name:
                once = [name for _, name in free].count(port.name) == 1
                add(port.name, port.name if once else f"{submodel.name}.{port.name}")
    return words


def _readings(name: str, words: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Every way to read a name as words joined by ``_``."""
    found: list[tuple[str, ...]] = [(name,)] if name in words else []
    for position, letter in enumerate(name):
        if letter == "_" and name[:position] in words:
            found += [(name[:position], *rest) for rest in _readings(name[position + 1 :], words)]
    return found
