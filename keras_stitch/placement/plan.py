"""Where each submodel of a graph runs, and why. Data only ever flow workflow -> dataloader -> model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import FRAMEWORKS, PLACEMENTS, GraphSpec, Submodel, Wiring
from keras_stitch.graphs.upstream import fed_by
from keras_stitch.terminal import render

_ORDER = {"workflow": 0, "dataloader": 1, "model": 2}
_STAGES = {"workflow": "an environment of its own", "dataloader": "the dataloader", "model": "the stitched model"}


@dataclass(frozen=True)
class Placed:
    """One submodel's place: the stage, the reason, and the environment where it has one of its own."""

    submodel: str
    placement: str
    reason: str
    environment: str = ""


@dataclass(frozen=True)
class Plan:
    """The place of every submodel; ``print`` shows a table.

    Attributes:
        places: One for each submodel, in the order in which they were added.
        last: The submodel of another framework that is the directory's model, where no Keras model remains.
        remark: A remark about the whole graph; may be empty.

    Example:
        >>> plan = Plan((Placed("model1", "model", "a Keras model"),))
        >>> plan["model1"].placement
        'model'
    """

    places: tuple[Placed, ...]
    last: str | None = None
    remark: str = ""

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.places)

    def __getitem__(self, submodel: str) -> Placed:
        for place in self.places:
            if place.submodel == submodel:
                return place
        raise KeyError(submodel)

    def __str__(self) -> str:
        headers, rows = ["submodel", "placement"], [[place.submodel, place.placement] for place in self.places]
        if any(place.environment for place in self.places):
            headers.append("environment")
            rows = [[*row, place.environment or "-"] for row, place in zip(rows, self.places, strict=True)]
        table = render([*headers, "why"], [[*row, place.reason] for row, place in zip(rows, self.places, strict=True)])
        return f"{table}\n{self.remark}" if self.remark else table

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

    @classmethod
    def feeds(cls, other: str, which: str) -> Reason:
        """The submodel feeds another one; ``which`` says why that matters."""
        return cls(f"feeds '{other}', {which}", other)

    @classmethod
    def shares(cls, other: str, which: str) -> Reason:
        """The submodel shares weights with another one; ``which`` says why that matters."""
        return cls(f"has the same weights as '{other}', {which}", other)


@dataclass(frozen=True)
class _Bound:
    """The latest stage that a submodel can be in, the reason, and the submodel that is the cause."""

    placement: str
    reason: Reason
    cause: str


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
        submodel.name: _Bound("workflow", leaving[submodel.name], submodel.name)
        if submodel.name in leaving
        else _own_bound(submodel)
        for submodel in spec.submodels
    }
    _propagate(spec, wiring, bounds)
    last = _last(spec, wiring, bounds)
    remarks = [remark] if remark else []
    if last is not None:
        submodel = spec.submodel(last)
        remarks.append(
            f"No Keras model remains: '{last}' ({framework(submodel)}) makes the predictions.\n"
            "So it is the directory's model, through Kipoi's own class."
        )
        reason = Reason(f"{framework(submodel)}, and the last one: no Keras model remains")
        bounds[last] = _Bound("model", reason, last)
    elif not any(bound.placement == "model" for bound in bounds.values()):
        remarks.append("No Keras model remains: the model only passes on what the dataloader delivers.")
    for submodel in spec.submodels:
        bound = bounds[submodel.name]
        if submodel.placement is not None and _ORDER[submodel.placement] > _ORDER[bound.placement]:
            raise _too_late(spec, submodel, bound)
    places = tuple(
        Placed(name, bound.placement, bound.reason.text, environments.get(name, "")) for name, bound in bounds.items()
    )
    return Plan(places, last, "\n".join(remarks))


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
        return _Bound("dataloader", Reason(f"{framework(submodel)}, not Keras"), submodel.name)
    if submodel.placement == "dataloader":
        return _Bound("dataloader", Reason("placement='dataloader' asks for it"), submodel.name)
    if submodel.share:
        reason = f"shares the weights of {submodel.share}"
    elif submodel.is_layer:
        reason = "a Keras layer"
    else:
        reason = "a Keras model in memory" if submodel.source.in_memory else "a saved Keras model"
    return _Bound("model", Reason(reason), submodel.name)


def _propagate(spec: GraphSpec, wiring: Wiring, bounds: dict[str, _Bound]) -> None:
    """Move what feeds the dataloader into it, and what shares weights with that, until nothing moves."""
    moved = True
    while moved:
        moved = False
        for node in reversed(wiring.order):
            submodel = spec.submodel(node)
            what = "which runs in the dataloader" if submodel.is_keras else f"which is {framework(submodel)}, not Keras"
            for source in fed_by(wiring, node) if bounds[node].placement == "dataloader" else ():
                moved |= _move(bounds, source, Reason.feeds(node, what))
        for submodel in spec.submodels:
            owner = submodel.share or submodel.name
            twins = [twin.name for twin in spec.submodels if owner in (twin.name, twin.share)]
            packed = next((twin for twin in twins if bounds[twin].placement == "dataloader"), None)
            if packed is not None:
                moved |= _move(bounds, submodel.name, Reason.shares(packed, "which runs in the dataloader"))


def _move(bounds: dict[str, _Bound], name: str, reason: Reason) -> bool:
    if bounds[name].placement != "model":
        return False
    bounds[name] = _Bound("dataloader", reason, bounds[reason.along_with].cause)
    return True


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
    free = not submodel.is_keras and bounds[submodel.name].placement == "dataloader"
    free = free and submodel.placement != "dataloader"
    return submodel.name if free and alone and not shared else None


def _too_late(spec: GraphSpec, submodel: Submodel, bound: _Bound) -> StitchError:
    cause = spec.submodel(bound.cause)
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
