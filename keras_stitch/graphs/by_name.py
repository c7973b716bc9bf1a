"""Connections that names alone give: a port called ``model2_model3`` takes model2 and model3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from keras_stitch.errors import Problems, StitchError
from keras_stitch.graphs.names import clean
from keras_stitch.graphs.spec import Connection, GraphSpec, Port, Submodel
from keras_stitch.graphs.targets import Targets

# A message lists as many ways to read a name at most.
_READINGS = 8


def connections_by_name(spec: GraphSpec) -> tuple[Connection, ...]:
    """The connections of every free input port whose name says what it takes.

    A name can be that of another submodel, of a port of another submodel or of a graph input, or several
    of these joined by ``_``; sources are in the order of the name.

    Raises:
        StitchError: If a name can be read in two ways.
    """
    fed = Targets(spec, Problems()).fed
    free = [(s, port) for s in spec.submodels for port in s.inputs if (s.name, port.name) not in fed]
    words, found = _Words(spec, free), []
    for submodel, port in free:
        if port.generated:
            continue
        target = f"{submodel.name}.{port.name}"
        meanings_of = partial(words.meanings, taker=submodel.name, own=port.name)
        readings = _readings(port.name, meanings_of)
        if len(readings) > 1:
            listed = " or ".join(str(list(reading)) for reading in readings)
            fix = f'Say which: graph.connect([...], "{target}").'
            raise StitchError(f"The name of '{target}' can be read as {listed}.", fix=fix)
        if not readings:
            continue
        sources = []
        for word in readings[0]:
            meanings = meanings_of(word)
            if len(meanings) > 1:
                raise StitchError(
                    f"'{word}' in the name of '{target}' can be {' or '.join(meanings)}.",
                    fix=f'Say which: graph.connect(["{meanings[0]}", ...], "{target}").',
                )
            sources.append(meanings[0])
        found.append(Connection(target, tuple(sources)))
    return tuple(found)


class _Words:
    """What each word of a port's name can stand for: references as ``connect`` takes them.

    Args:
        spec: The graph.
        free: Its input ports that nothing feeds, with their submodels.
    """

    def __init__(self, spec: GraphSpec, free: Sequence[tuple[Submodel, Port]]):
        self._spec, self._inputs = spec, {given.name for given in spec.inputs}
        self._places = {submodel.name: place for place, submodel in enumerate(spec.submodels)}
        self._outputs: dict[str, list[str]] = {}
        for submodel in spec.submodels:
            for port in submodel.outputs:
                self._outputs.setdefault(port.name, []).append(submodel.name)
        self._free: dict[str, list[str]] = {}
        for submodel, port in free:
            if not port.generated and port.name not in self._inputs and clean(port.name) == port.name:
                self._free.setdefault(port.name, []).append(submodel.name)
        self._often = Counter(port.name for _, port in free)

    def meanings(self, word: str, taker: str, own: str) -> list[str]:
        """What a word stands for in the name ``own`` of an input port of ``taker``."""
        found = []
        if word != taker and (submodel := self._spec.by_name.get(word)) is not None:
            found = [word] if len(submodel.outputs) == 1 else [f"{word}.{port.name}" for port in submodel.outputs]
        if word in self._inputs:
            found.append(word)
        makers = [name for name in self._outputs.get(word, ()) if name != taker]
        # A free port of the same name is a twin, not a source.
        twins = [name for name in self._free.get(word, ()) if name != taker] if word != own else []
        if makers and not found and not (twins and self._places[twins[0]] < self._places[makers[0]]):
            found += [f"{name}.{word}" for name in makers]
        found += [word] if twins and self._often[word] == 1 else [f"{name}.{word}" for name in twins]
        return list(dict.fromkeys(found))


def _readings(name: str, meanings_of: Callable[[str], list[str]]) -> list[tuple[str, ...]]:
    """The ways to read a name as words joined by ``_``; of very many, some."""
    ends = [*(position for position, letter in enumerate(name) if letter == "_"), len(name)]
    # For each place where a word can begin, from the last on, the ways to read what begins there.
    found: dict[int, list[tuple[str, ...]]] = {len(name) + 1: [()]}
    for start in [*(end + 1 for end in reversed(ends[:-1])), 0]:
        ways = [
            (name[start:end], *rest)
            for end in reversed([end for end in ends if end > start])
            if found.get(end + 1) and meanings_of(name[start:end])
            for rest in found[end + 1]
        ]
        found[start] = ways[:_READINGS]
    return found[0]
