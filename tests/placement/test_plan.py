"""Where submodels run and why, and what cannot be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from plain_graphs import node, spec

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphSpec, Merge, Source, Submodel
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement.plan import Placed, Plan, Reason, check_placement, plan

TABLE = """\
submodel   placement   why
───────────────────────────────────────────────────
model1     model       a saved Keras model
head       model       a Keras layer
tower      model       a Keras model in memory
zoo        model       a saved Keras model
again      model       shares the weights of model1
"""

# The seed's graph.
SEED = {"model2": ["model1", "model1.model1_x"], "model4": ["model2", "model3"]}


def placed(graph: GraphSpec) -> Plan:
    return plan(graph, wire(graph))


def at(name: str, size: int = 3, **options: Any) -> Submodel:
    """A submodel whose input has a name that no other has."""
    return node(name, {f"{name}_x": (size,)}, **options)


def seed(**changes: dict[str, Any]) -> GraphSpec:
    """model1 -> model2 -> model4 <- model3; ``changes`` are options of the submodels."""
    sizes = {"model1": (3, 4), "model2": (7, 3), "model3": (6, 4), "model4": (7, 1)}
    nodes = [at(name, size, outputs={"y": (units,)}, **changes.get(name, {})) for name, (size, units) in sizes.items()]
    return spec(*nodes, connect=SEED)


def test_a_plan_is_data_and_a_table() -> None:
    submodels = (
        node("model1"),
        Submodel("head", Source("layer", "Dense"), *ports()),
        Submodel("tower", Source("model", "Functional 'tower'"), *ports()),
        Submodel("zoo", Source("kipoi", "zoo"), *ports()),
        node("again", share="model1"),
    )
    connect = {"head": "model1", "tower": "head", "zoo": "tower", "again": "zoo"}
    made = placed(spec(*submodels, connect=connect))
    assert made["head"] == Placed("head", "model", "a Keras layer")
    assert [place.submodel for place in made] == ["model1", "head", "tower", "zoo", "again"]
    assert made.at("model") == ("model1", "head", "tower", "zoo", "again")
    assert (made.at("dataloader"), made.last, made.remark) == ((), None, "")
    assert str(made) + "\n" == TABLE
    with pytest.raises(KeyError):
        made["model2"]


def ports() -> tuple:
    model = node("any")
    return model.inputs, model.outputs


@pytest.mark.parametrize("placement", [None, "model", "dataloader"])
def test_the_placements_there_are(placement: str | None) -> None:
    check_placement(placement, "m1")


def test_a_placement_that_does_not_exist() -> None:
    with pytest.raises(StitchError) as caught:
        check_placement("moon", "m1")
    assert str(caught.value) == (
        "Submodel 'm1': there is no placement 'moon'.\n  Expected: one of model, dataloader, workflow"
    )


def beforehand(graph: GraphSpec, leaving: dict[str, Reason], **names: str) -> Plan:
    return plan(graph, wire(graph), leaving, names)


def test_environments_of_their_own() -> None:
    why = Reason("placement='workflow' asks for it")
    found = beforehand(seed(), {"model1": why, "model3": why}, model1="model1", model3="old")
    assert str(found) == (
        "submodel   placement   environment   why\n"
        "─────────────────────────────────────────────────────────────────────\n"
        "model1     workflow    model1        placement='workflow' asks for it\n"
        "model2     model       -             a saved Keras model\n"
        "model3     workflow    old           placement='workflow' asks for it\n"
        "model4     model       -             a saved Keras model"
    )
    assert found.at("workflow") == ("model1", "model3") and found["model3"].environment == "old"


def test_what_runs_beforehand_is_not_moved_into_the_dataloader() -> None:
    graph = seed(model2={"framework": "kipoi"})
    found = beforehand(graph, {"model1": Reason("needs keras==2.15.0")}, model1="model1")
    assert [(place.submodel, place.placement) for place in found] == [
        ("model1", "workflow"),
        ("model2", "dataloader"),
        ("model3", "model"),
        ("model4", "model"),
    ]


def test_a_model_that_has_left_is_not_the_last_one() -> None:
    graph = GraphSpec("g", (at("m", framework="scikit-learn"),))
    found = beforehand(graph, {"m": Reason("needs scikit-learn==1.3.2")}, m="m")
    assert found.last is None
    assert found.remark == "No Keras model remains: the model only passes on what the dataloader delivers."


@pytest.mark.parametrize(
    ("asked", "reason", "why"),
    [
        (
            "model",
            Reason("feeds 'model2', which runs in an environment of its own", "model2"),
            "the stitched model: it feeds 'model2'",
        ),
        ("dataloader", Reason("needs keras==2.15.0, and cannot be loaded here"), "the dataloader: needs keras==2.15.0"),
    ],
)
def test_a_later_stage_than_its_environment(asked: str, reason: Reason, why: str) -> None:
    with pytest.raises(StitchError) as caught:
        beforehand(seed(model1={"placement": asked}), {"model1": reason}, model1="model1")
    first, expected, received = str(caught.value).splitlines()
    assert first.startswith(f"Submodel 'model1' cannot run in {why}")
    assert expected == "  Expected: placement='workflow', as data flow workflow -> dataloader -> model only"
    assert received == f"  Received: placement='{asked}'"


def test_what_another_framework_needs_goes_to_the_dataloader() -> None:
    made = placed(seed(model2={"framework": "scikit-learn"}))
    assert f"{made}\n" == (
        "submodel   placement    why\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "model1     dataloader   feeds 'model2', which is scikit-learn, not Keras\n"
        "model2     dataloader   scikit-learn, not Keras\n"
        "model3     model        a saved Keras model\n"
        "model4     model        a saved Keras model\n"
    )


def test_an_earlier_stage_can_be_asked_for() -> None:
    made = placed(seed(model2={"placement": "dataloader"}))
    assert made["model2"].reason == "placement='dataloader' asks for it"
    assert made["model1"].reason == "feeds 'model2', which runs in the dataloader"
    assert made.at("model") == ("model3", "model4")


def test_what_feeds_an_input_port_that_is_taken_elsewhere_runs_before() -> None:
    nodes = (at("a"), at("b"), at("c", 6), at("d", 6, framework="pytorch"), at("e"))
    graph = spec(*nodes, connect={"c": ["a", "b"], "d": "c.c_x", "e": (["c", "d"], Merge("add"))})
    assert placed(graph).at("dataloader") == ("a", "b", "d")


def test_submodels_that_share_weights_run_in_one_stage() -> None:
    nodes = (at("a"), at("again", share="a"), at("forest", framework="scikit-learn"), at("head", 6))
    made = placed(spec(*nodes, connect={"forest": "a", "head": ["forest", "again"]}))
    assert made.at("dataloader") == ("a", "again", "forest")
    assert made["again"].reason == "has the same weights as 'a', which runs in the dataloader"


def test_what_feeds_a_twin_moves_with_it() -> None:
    nodes = (
        at("first"),
        at("a"),
        at("again", share="a"),
        at("forest", framework="kipoi"),
        at("head", 6),
    )
    graph = spec(*nodes, connect={"forest": "a", "again": "first", "head": ["forest", "again"]})
    assert placed(graph).at("model") == ("head",)


# -- where no Keras model remains ------------------------------------------------------


def test_the_last_submodel_is_the_model_of_the_directory() -> None:
    made = placed(seed(model4={"framework": "scikit-learn"}))
    assert (made.last, made["model4"].placement) == ("model4", "model")
    assert made["model4"].reason == "scikit-learn, and the last one: no Keras model remains"
    assert made["model2"].reason == "feeds 'model4', which is scikit-learn, not Keras"
    assert made.at("dataloader") == ("model1", "model2", "model3")
    assert made.remark == (
        "No Keras model remains: 'model4' (scikit-learn) makes the predictions.\nSo it is the directory's model, "
        "through Kipoi's own class."
    )
    assert str(made).endswith(f"\n{made.remark}")


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow", "kipoi"])
def test_any_framework_can_be_the_last(framework: str) -> None:
    assert placed(spec(at("m", framework=framework))).last == "m"


PASSED_ON = "No Keras model remains: the model only passes on what the dataloader delivers."


@pytest.mark.parametrize(
    "graph",
    [
        spec(at("m", placement="dataloader")),
        spec(at("m", framework="pytorch", placement="dataloader")),
        spec(at("m", framework="pytorch"), at("n", framework="pytorch")),
        spec(at("m", framework="pytorch", outputs={"a": (3,), "b": (3,)})),
        spec(at("m", framework="pytorch"), outputs={"part": "m[0]"}),
        spec(at("m", framework="pytorch"), outputs={"one": "m", "two": "m"}),
        spec(
            at("m", framework="pytorch"),
            at("n", framework="pytorch"),
            connect={"n": "m"},
            outputs={"a": "m", "b": "n"},
        ),
        spec(at("m", framework="pytorch"), at("again", framework="pytorch", share="m"), connect={"again": "m"}),
    ],
)
def test_otherwise_the_model_passes_on(graph: GraphSpec) -> None:
    made = placed(graph)
    assert (made.last, made.remark, made.at("model")) == (None, PASSED_ON, ())


def test_one_keras_output_is_enough_for_a_keras_model() -> None:
    made = placed(spec(at("m", framework="pytorch"), at("n")))
    assert (made.last, made.remark, made.at("model")) == (None, "", ("n",))


# -- a later stage than possible -----------------------------------------------------


def refused(graph: GraphSpec) -> str:
    with pytest.raises(StitchError) as caught:
        placed(graph)
    return str(caught.value)


def test_another_framework_in_the_stitched_model() -> None:
    assert refused(seed(model2={"framework": "pytorch", "placement": "model"})) == (
        "Submodel 'model2' cannot run in the stitched model: it is PyTorch, not Keras.\n"
        "  Expected: placement='dataloader'\n  Received: placement='model'"
    )


def test_the_submodel_in_the_way_is_named() -> None:
    assert refused(seed(model1={"placement": "model"}, model2={"framework": "tensorflow"})) == (
        "Submodel 'model1' cannot run in the stitched model: it feeds 'model2', which is TensorFlow, not Keras.\n"
        "  Expected: placement='dataloader', as data flow from the dataloader to the model only\n"
        "  Received: placement='model'\n"
        "  Fix: Leave placement= of 'model1' out: 'model2' is TensorFlow."
    )


def test_the_submodel_in_the_way_is_named_across_others() -> None:
    nodes = (at("a", placement="model"), at("b"), at("c", placement="dataloader"), at("d"))
    assert refused(spec(*nodes, connect={"b": "a", "c": "b", "d": "c"})) == (
        "Submodel 'a' cannot run in the stitched model: it feeds 'b', which runs in the dataloader, because of 'c'.\n"
        "  Expected: placement='dataloader', as data flow from the dataloader to the model only\n"
        "  Received: placement='model'\n"
        "  Fix: Leave placement= of 'a' out, or that of 'c'."
    )


def test_the_last_submodel_may_be_asked_for_where_it_is() -> None:
    assert placed(spec(at("m", framework="pytorch", placement="model"))).last == "m"
