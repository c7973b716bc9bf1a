"""Where submodels run, and what cannot be asked for yet."""

from __future__ import annotations

import pytest
from plain_graphs import node, spec

from keras_stitch.errors import StitchError
from keras_stitch.placement import Placed, check_placement, plan
from keras_stitch.spec import Source, Submodel

TABLE = """\
submodel   placement   why
───────────────────────────────────────────────────
model1     model       a saved Keras model
head       model       a Keras layer
tower      model       a Keras model in memory
zoo        model       a saved Keras model
again      model       shares the weights of model1
"""


def test_a_plan_is_data_and_a_table() -> None:
    submodels = (
        node("model1"),
        Submodel("head", Source("layer", "Dense")),
        Submodel("tower", Source("model", "Functional 'tower'")),
        Submodel("zoo", Source("kipoi", "zoo")),
        node("again", share="model1"),
    )
    made = plan(spec(*submodels))
    assert made["head"] == Placed("head", "model", "a Keras layer")
    assert [place.submodel for place in made] == ["model1", "head", "tower", "zoo", "again"]
    assert str(made) + "\n" == TABLE
    with pytest.raises(KeyError):
        made["model2"]


@pytest.mark.parametrize("placement", [None, "model"])
def test_the_placement_there_is(placement: str | None) -> None:
    check_placement(placement, "m1")


def test_a_placement_that_does_not_exist() -> None:
    with pytest.raises(StitchError) as caught:
        check_placement("moon", "m1")
    assert str(caught.value) == (
        "Submodel 'm1': there is no placement 'moon'.\n  Expected: one of model, dataloader, workflow"
    )


@pytest.mark.parametrize("placement", ["dataloader", "workflow"])
def test_a_placement_that_is_to_come(placement: str) -> None:
    with pytest.raises(StitchError) as caught:
        check_placement(placement, "m1")
    assert str(caught.value) == (
        "Submodel 'm1': this version of keras_stitch runs every submodel in the stitched model.\n"
        f"  Expected: placement='model'\n  Received: placement='{placement}'"
    )
