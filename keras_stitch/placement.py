"""Where each submodel of a graph runs, and why. So far everything runs in the stitched model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keras_stitch.errors import StitchError
from keras_stitch.spec import PLACEMENTS, GraphSpec
from keras_stitch.tables import render


@dataclass(frozen=True)
class Placed:
    """One submodel's place: the stage and the reason."""

    submodel: str
    placement: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The place of every submodel; ``print`` shows a table.

    Example:
        >>> plan = Plan((Placed("model1", "model", "a Keras model"),))
        >>> plan["model1"].placement
        'model'
    """

    places: tuple[Placed, ...]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.places)

    def __getitem__(self, submodel: str) -> Placed:
        for place in self.places:
            if place.submodel == submodel:
                return place
        raise KeyError(submodel)

    def __str__(self) -> str:
        rows = [(place.submodel, place.placement, place.reason) for place in self.places]
        return render(("submodel", "placement", "why"), rows)


def plan(spec: GraphSpec) -> Plan:
    """Place every submodel of a graph."""
    reasons = {"layer": "a Keras layer", "trained layer": "a Keras layer", "model": "a Keras model in memory"}
    return Plan(
        tuple(
            Placed(
                submodel.name,
                "model",
                f"shares the weights of {submodel.share}"
                if submodel.share
                else reasons.get(submodel.source.kind, "a saved Keras model"),
            )
            for submodel in spec.submodels
        )
    )


def check_placement(placement: str | None, name: str) -> None:
    """Raise where a submodel is asked to run elsewhere than in the stitched model."""
    if placement is None or placement == "model":
        return
    if placement not in PLACEMENTS:
        raise StitchError(
            f"Submodel '{name}': there is no placement {placement!r}.", expected=f"one of {', '.join(PLACEMENTS)}"
        )
    raise StitchError(
        f"Submodel '{name}': this version of keras_stitch runs every submodel in the stitched model.",
        expected="placement='model'",
        received=f"placement='{placement}'",
    )
