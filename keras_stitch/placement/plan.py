"""Where each submodel of a graph runs, and why. Data only ever flow workflow -> dataloader -> model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import FRAMEWORKS, PLACEMENTS, GraphSpec, Submodel, Wiring
from keras_stitch.graphs.upstream import fed_by
from keras_stitch.terminal import Shown, Table

_ORDER = {"workflow": 0, "dataloader": 1, "model": 2}
_STAGES = {"workflow": "an environment of its own", "dataloader": "the dataloader", "model": "the stitched model"}


@dataclass(frozen=True)
class Placed:
    """One submodel's place: the stage, the reason, and the environment where it has one of its own."""

    submodel: str
    placement: str
    reason: str
    environment: str = ""


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """The place of every submodel; ``print`` shows a table.

    Attributes:
        places: One for each submodel, in the order in which they were added.
        last: The submodel of another framework that is the directory's model, where no Keras model remains.
        remark: A remark about the whole graph; may be empty.
        notes: What else there is to know about submodels, in sentences.
    """

    places: tuple[Placed, ...]
    last: str | None = None
    remark: str = ""
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.places)

    def __getitem__(self, submodel: str) -> Placed:
        return self._by_name[submodel]

    @cached_property
    def _by_name(self) -> dict[str, Placed]:
        return {place.submodel: place for place in self.places}

    def _lines(self) -> list[str | Table]:
        headers, rows = ["submodel", "placement"], [[place.submodel, place.placement] for place in self.places]
        if any(place.environment for place in self.places):
            headers.append("environment")
            rows = [[*row, place.environment or "-"] for row, place in zip(rows, self.places, strict=True)]
        table = Table([*headers, "why"], [[*row, place.reason] for row, place in zip(rows, self.places, strict=True)])
        return [table, *([self.remark] if self.remark else []), *self.notes]

    def at(self, placement: str) -> tuple[str, ...]:
        """The submodels of a stage, in the order in which they were added."""
        return tuple(place.submodel for place in self.places if place.placement == placement)


@dataclass(frozen=True)
class Reason:
    """Why a submodel runs where it does.

    Attributes:
        text: The reason in words. Where it goes along with another submodel, a verb phrase: "feeds 'model2', ...".
        along_with: That other submodel; empty where the reason is the submodel's own.
    """

    text: str
    along_with: str = ""


class Companions:
    """What has to run no later than some submodels do: what feeds them, and what shares their weights."""

    def __init__(self, spec: GraphSpec, wiring: Wiring):
        self._submodels = spec.submodels
        self._fed_by = {node: fed_by(wiring, node) for node in reversed(wiring.order)}

    def of(self, reasons: Mapping[str, Reason], which: Callable[[str], str]) -> dict[str, Reason]:
        """Submodels and their companions, with reasons, in the order of the graph; ``which`` tells of one in words."""
        found, before = dict(reasons), -1
        while len(found) > before:
            before = len(found)
            for node, sources in self._fed_by.items():
                for source in sources if node in found else ():
                    found.setdefault(source, Reason(f"feeds '{node}', {which(node)}", node))
            firsts = {
                owner_of(submodel): submodel.name for submodel in reversed(self._submodels) if submodel.name in found
            }
            for submodel in self._submodels:
                if (twin := firsts.get(owner_of(submodel))) is not None:
                    reason = Reason(f"has the same weights as '{twin}', {which(twin)}", twin)
                    found.setdefault(submodel.name, reason)
        return {submodel.name: found[submodel.name] for submodel in self._submodels if submodel.name in found}


@dataclass(frozen=True)
class _Bound:
    """The latest stage that a submodel can be in, and the reason."""

    placement: str
    reason: Reason


def plan(
    spec: GraphSpec,
    wiring: Wiring,
    leaving: Mapping[str, Reason] | None = None,
    environments: Mapping[str, str] | None = None,
    remark: str = "",
) -> Plan:
    """Place every submodel of a graph in the latest stage that it can be in.

    Args:
        spec: The graph.
        wiring: The same graph, checked.
        leaving: The submodels that run in environments of their own, with all that feed them, and why.
        environments: The name of the environment of each of them.
        remark: A remark about them; may be empty.

    Raises:
        StitchError: Where ``placement=`` asks for a later stage than possible; it names the submodel in the way.
    """
    leaving, environments = leaving or {}, environments or {}
    bounds = {
        submodel.name: _Bound("workflow", leaving[submodel.name]) if submodel.name in leaving else _own_bound(submodel)
        for submodel in spec.submodels
    }
    packed = {name: bound.reason for name, bound in bounds.items() if bound.placement == "dataloader"}
    for name, reason in Companions(spec, wiring).of(packed, lambda node: _in_dataloader(spec.submodel(node))).items():
        if bounds[name].placement == "model":
            bounds[name] = _Bound("dataloader", reason)
    last = _last(spec, wiring, bounds)
    remarks = [remark] if remark else []
    if last is not None:
        submodel = spec.submodel(last)
        remarks.append(
            f"No Keras model remains: '{last}' ({framework(submodel)}) makes the predictions.\n"
            "So it is the directory's model, through Kipoi's own class."
        )
        reason = Reason(f"{framework(submodel)}, and the last one: no Keras model remains")
        bounds[last] = _Bound("model", reason)
    elif not any(bound.placement == "model" for bound in bounds.values()):
        remarks.append("No Keras model remains: the model only passes on what the dataloader delivers.")
    for submodel in spec.submodels:
        bound = bounds[submodel.name]
        if submodel.placement is not None and _ORDER[submodel.placement] > _ORDER[bound.placement]:
            raise _too_late(spec, submodel, bounds)
    places = tuple(
        Placed(name, bound.placement, bound.reason.text, environments.get(name, "")) for name, bound in bounds.items()
    )
    return Plan(places, last, "\n".join(remarks))


def owner_of(submodel: Submodel) -> str:
    """The submodel that has the weights of a submodel: itself, or the one that it shares them with."""
    return submodel.share or submodel.name


def framework(submodel: Submodel) -> str:
    """What runs a submodel, as messages call it, such as "PyTorch"."""
    return FRAMEWORKS[submodel.framework]


def check_placement(placement: str | None, name: str) -> None:
    """Raise where a submodel is asked to run in a stage that does not exist."""
    if placement is not None and placement not in PLACEMENTS:
        raise StitchError(
            f"Submodel '{name}': there is no placement {placement!r}.", expected=f"one of {', '.join(PLACEMENTS)}"
        )


def _own_bound(submodel: Submodel) -> _Bound:
    if not submodel.is_keras:
        return _Bound("dataloader", Reason(f"{framework(submodel)}, not Keras"))
    if submodel.placement == "dataloader":
        return _Bound("dataloader", Reason("placement='dataloader' asks for it"))
    if submodel.share:
        reason = f"shares the weights of {submodel.share}"
    elif submodel.is_layer:
        reason = "a Keras layer"
    else:
        reason = "a Keras model in memory" if submodel.source.in_memory else "a saved Keras model"
    return _Bound("model", Reason(reason))


def _in_dataloader(submodel: Submodel) -> str:
    return "which runs in the dataloader" if submodel.is_keras else f"which is {framework(submodel)}, not Keras"


def _last(spec: GraphSpec, wiring: Wiring, bounds: Mapping[str, _Bound]) -> str | None:
    """The only submodel whose one output is the graph's, if it is no Keras model and none remains."""
    if any(bound.placement == "model" for bound in bounds.values()) or len(wiring.outputs) != 1:
        return None
    tap = wiring.outputs[0].tap
    if tap.node is None or tap.part or tap.merged:
        return None
    submodel = spec.submodel(tap.node)
    alone = len(wiring.node_outputs[tap.node]) == 1 and not any(tap.node in fed_by(wiring, n) for n in wiring.order)
    shared = submodel.share is not None or any(twin.share == submodel.name for twin in spec.submodels)
    free = bounds[submodel.name].placement == "dataloader" and submodel.placement != "dataloader"
    return submodel.name if not submodel.is_keras and free and alone and not shared else None


def _too_late(spec: GraphSpec, submodel: Submodel, bounds: Mapping[str, _Bound]) -> StitchError:
    bound, cause = bounds[submodel.name], submodel
    while along_with := bounds[cause.name].reason.along_with:
        cause = spec.submodel(along_with)
    message = f"Submodel '{submodel.name}' cannot run in {_STAGES[submodel.placement or '']}"
    received = f"placement='{submodel.placement}'"
    if bound.placement == "workflow":
        return StitchError(
            f"{message}: {'it ' if bound.reason.along_with else ''}{bound.reason.text}.",
            expected="placement='workflow', as data flow workflow -> dataloader -> model only",
            received=received,
        )
    if cause.name == submodel.name:
        message += f": it is {framework(submodel)}, not Keras."
        return StitchError(message, expected="placement='dataloader'", received=received)
    why = f"it {bound.reason.text}"
    if bound.reason.along_with != cause.name:
        why += f", because of '{cause.name}'"
    return StitchError(
        f"{message}: {why}.",
        expected="placement='dataloader', as data flow from the dataloader to the model only",
        received=received,
        fix=f"Leave placement= of '{submodel.name}' out"
        + (f", or that of '{cause.name}'." if cause.is_keras else f": '{cause.name}' is {framework(cause)}."),
    )
