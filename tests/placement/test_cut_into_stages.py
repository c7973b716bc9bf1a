"""What runs in the dataloader, in which order, and on what: plain data."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from plain_graphs import node, spec

from keras_stitch.directory.connections_code import source
from keras_stitch.errors import StitchError
from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import GraphSpec, Merge
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement.cut_into_stages import Cast, Merged, Stages, Take, stage, tensors


def staged(graph: GraphSpec) -> Stages:
    return stage(graph, wire(graph))


def seed(**changes: dict[str, Any]) -> GraphSpec:
    """The seed's graph; ``changes`` are options of the submodels."""
    ports = {
        "model1": ({"input1": (3,)}, {"y": (4,)}),
        "model2": ({"input1_model1": (7,)}, {"y": (3,)}),
        "model3": ({"input2": (6,)}, {"y": (4,)}),
        "model4": ({"model2_model3": (7,)}, {"y": (1,)}),
    }
    nodes = [node(name, *made, **changes.get(name, {})) for name, made in ports.items()]
    return spec(*nodes, connect={"model2": ["model1", "model1.input1"], "model4": ["model2", "model3"]})


def test_all_in_the_model_is_the_graph_itself() -> None:
    graph = seed()
    made = staged(graph)
    assert (made.final, made.steps, made.packs) == (wire(graph), (), False)
    assert [port.name for port in made.inputs] == ["input1", "input2"]


def test_neighbours_run_as_one_model() -> None:
    made = staged(seed(model2={"placement": "dataloader"}, model3={"placement": "dataloader"}))
    (step,) = made.steps
    assert (step.name, step.submodels) == ("model1_model2_model3", ("model1", "model2", "model3"))
    assert step.takes == {"input1": "input1", "input2": "input2"}
    assert list(step.gives) == ["model2", "model3"]
    assert made.delivered == {"model2": "model2", "model3": "model3"}
    assert made.final is not None
    assert (made.final.order, [port.name for port in made.inputs]) == (("model4",), ["model2", "model3"])
    assert made.packs


def test_another_framework_between_keras_models() -> None:
    nodes = [node("first"), node("forest", framework="scikit-learn"), node("second", {"x": (6,)}), node("last")]
    nodes[2] = node("second", {"x": (6,)}, placement="dataloader")
    made = staged(spec(*nodes, connect={"forest": "first", "second": ["first", "forest"], "last": "second"}))
    assert [step.name for step in made.steps] == ["first", "forest", "second"]
    assert made.steps[2].takes == {"first": "first", "forest": "forest"}
    assert made.steps[1].takes == {"x": "first"}


def test_merges_in_front_of_other_frameworks() -> None:
    connect = {"forest": (["a", "b[0:3]"], Merge("add")), "last": "forest"}
    nodes = (
        node("a", {"p": (3,)}),
        node("b", {"q": (3,)}, {"y": (5,)}),
        node("forest", framework="kipoi"),
        node("last"),
    )
    made = staged(spec(*nodes, connect=connect))
    (step,) = [step for step in made.steps if step.name == "forest"]
    assert step.takes == {"x": Merged("add", ("a", Take("b", Span(0, 3))), "float32")}


def test_parts_of_several_axes_are_taken_one_after_another() -> None:
    nodes = node("a", outputs={"y": (5, 4)}), node("forest", {"x": (2, 1)}, framework="kipoi"), node("last")
    made = staged(spec(*nodes, connect={"forest": "a[1:3, 2]", "last": "forest"}))
    assert made.steps[1].takes == {"x": Take(Take("a", Span(1, 3, axis=-2)), Span(2, 3))}
    assert source(made.steps[1].takes) == '{"x": merging.Take(merging.Take("a", 1, 3, axis=-2), 2, 3)}'


@pytest.mark.parametrize(
    ("given", "taken", "expected"),
    [
        ("float64", "float32", Cast("a", "float32")),
        ("float32", "float32", "a"),
        ("float64", None, "a"),
    ],
)
def test_other_frameworks_get_the_dtype_that_they_take(given: str, taken: str | None, expected: object) -> None:
    nodes = (
        node("a", outputs={"y": ((3,), given)}, framework="scikit-learn"),
        node("b", [port_of(taken)], framework="pytorch"),
        node("last"),
    )
    made = staged(spec(*nodes, connect={"b": "a", "last": "b"}))
    assert next(step for step in made.steps if step.name == "b").takes == {"x": expected}


def port_of(dtype: str | None) -> Any:
    from keras_stitch.graphs.spec import Port

    return Port("x", (3,), dtype)


def test_a_merge_by_a_keras_layer_is_a_model_of_its_own() -> None:
    merge = Merge("layer", layer={"class_name": "Dot", "config": {"axes": 1}})
    nodes = (node("a", {"p": (3,)}), node("b", {"q": (3,)}), node("forest", framework="kipoi"), node("last"))
    made = staged(spec(*nodes, connect={"forest": (["a", "b"], merge), "last": "forest"}))
    assert [step.name for step in made.steps] == ["a_b", "forest_input_merged", "forest"]
    merging = made.steps[1]
    assert (merging.submodels, merging.takes) == ((), {"a": "a", "b": "b"})
    assert list(merging.gives) == ["forest_input_merged"]
    assert made.steps[2].takes == {"x": "forest_input_merged"}


def test_inputs_that_only_the_dataloader_needs_do_not_leave_it() -> None:
    nodes = (node("forest", {"rows": (3,)}, framework="scikit-learn"), node("last", {"x": (6,)}))
    made = staged(spec(*nodes, connect={"last": ["forest", "forest.rows"]}))
    assert made.delivered == {"rows": "rows", "forest": "forest"}
    alone = staged(spec(*nodes[:1], node("last"), connect={"last": "forest"}))
    assert alone.delivered == {"forest": "forest"}


def test_what_is_merged_for_a_packed_model_can_be_taken_elsewhere() -> None:
    nodes = (
        node("a", {"p": (3,)}),
        node("b", {"q": (3,)}),
        node("forest", framework="kipoi"),
        node("last", {"x": (6,)}),
    )
    connect = {"forest": (["a", "b"], Merge("maximum")), "last": ["forest", "forest.x"]}
    made = staged(spec(*nodes, connect=connect))
    assert made.delivered == {"a": "a", "b": "b", "forest": "forest"}  # and merged once more by the model


def test_what_is_merged_for_a_later_submodel_can_be_taken_before() -> None:
    nodes = [node("a", {"p": (3,)}), node("b", {"q": (3,)}), node("c"), node("last", {"x": (6,)})]
    nodes[2] = node("c", placement="dataloader")
    connect = {"c": "last.x[0:3]", "last": ["a", "b"]}
    made = staged(spec(*nodes, connect=connect))
    (step,) = made.steps
    assert (step.submodels, step.takes) == (("a", "b", "c"), {"p": "p", "q": "q"})


def test_one_model_on_two_inputs() -> None:
    nodes = (
        node("a", {"p": (3,)}, framework="pytorch"),
        node("again", {"p": (3,)}, framework="pytorch", share="a"),
        node("last", {"x": (6,)}),
    )
    made = staged(spec(*nodes, connect={"again": "a", "last": ["a", "again"]}))
    assert [(step.name, step.owner) for step in made.steps] == [("a", None), ("again", "a")]


def test_the_last_submodel_is_given_what_its_ports_take() -> None:
    nodes = (node("a", {"p": (3,)}), node("b", {"q": (3,)}), node("top", {"x": (6,)}, framework="scikit-learn"))
    made = staged(spec(*nodes, connect={"top": ["a", "b"]}))
    assert (made.last, made.final) == ("top", None)
    assert made.delivered == {"x": Merged("concatenate", ("a", "b"), "float32", {"axis": -1})}
    assert [port.name for port in made.inputs] == ["x"]


def test_half_precision_leaves_as_float32() -> None:
    nodes = (node("a", outputs={"y": ((3,), "bfloat16")}, placement="dataloader"), node("last"))
    made = staged(spec(*nodes, connect={"last": "a"}))
    assert made.delivered == {"a": Cast("a", "float32")}


def test_many_submodels_have_a_short_name() -> None:
    nodes = [node(f"m{number}", {f"x{number}": (3,)}, placement="dataloader") for number in range(5)]
    made = staged(spec(*nodes, node("last", {"x": (15,)}), connect={"last": [one.name for one in nodes]}))
    assert [step.name for step in made.steps] == ["m0_and_4_more"]


def test_a_group_is_never_called_like_another_submodel() -> None:
    nodes = (node("a", placement="dataloader"), node("b", placement="dataloader"), node("a_b"))
    made = staged(spec(*nodes, connect={"b": "a", "a_b": "b"}))
    assert [step.name for step in made.steps] == ["a_b_"]


def test_names_of_tensors_in_a_connection() -> None:
    made = Merged("add", ("a", Take(Cast("b", "float32"), Span(0, 1)), "a"), "float32")
    assert list(tensors(made)) == ["a", "b", "a"]


def _residual(count: int) -> GraphSpec:
    """Each submodel takes what the one before took, and what it made; every other one is no Keras model."""
    frameworks = ("scikit-learn", "keras")
    nodes = [node(f"m{number}", framework=frameworks[number % 2]) for number in range(count)]
    merges = {f"m{number}": ([f"m{number - 1}.x", f"m{number - 1}"], Merge("add")) for number in range(1, count)}
    return spec(*nodes, connect=merges)


def test_merges_within_merges_become_code_that_python_reads():
    delivered = staged(_residual(40)).delivered
    assert delivered
    for taken in delivered.values():
        assert isinstance(ast.parse(source(taken), mode="eval"), ast.Expression)


def test_too_many_merges_within_one_another():
    with pytest.raises(StitchError, match=r"^The dataloader cannot make 'm\d+\.x': too many merges lie within one ano"):
        staged(_residual(60))
