"""Parts of a graph as graphs of their own."""

from __future__ import annotations

import pytest
from plain_graphs import node, spec

from keras_stitch.errors import NamingError
from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import GraphOutput, Merge, Port, Tap, Wiring
from keras_stitch.graphs.subgraph import cut, tensor_name, tensor_port
from keras_stitch.graphs.wiring import wire

SEED = wire(
    spec(
        node("model1", {"input1": (3,)}, {"y": (4,)}),
        node("model2", {"input1_model1": (7,)}, {"y": (3,)}),
        node("model3", {"input2": (6,)}, {"y": (4,)}),
        node("model4", {"model2_model3": (7,)}, {"y": (1,)}),
        connect={"model2": ["model1", "model1.input1"], "model4": ["model2", "model3"]},
    )
)


def names(wiring: Wiring) -> list[str]:
    return [port.name for port in wiring.inputs]


def test_the_rest_takes_what_the_others_deliver_under_their_names() -> None:
    made = cut(SEED, ["model4"], SEED.outputs, "rest")
    assert (made.wiring.name, made.wiring.order, names(made.wiring)) == ("rest", ("model4",), ["model2", "model3"])
    assert [port.shape for port in made.wiring.inputs] == [(3,), (4,)]
    assert made.takes == {"model2": Tap("model2", "y"), "model3": Tap("model3", "y")}
    assert made.wiring.feeds["model4"][0].taps == (Tap(None, "model2"), Tap(None, "model3"))
    assert made.gives == {"model4": Tap("model4", "y")}


def test_graph_inputs_come_first_and_the_rest_as_it_was_added() -> None:
    made = cut(SEED, ["model2", "model4"], SEED.outputs, "rest")
    assert names(made.wiring) == ["input1", "model1", "model3"]


def test_inputs_that_only_others_need_stay_away() -> None:
    wanted = [GraphOutput(Port("model2", (3,)), Tap("model2", "y"))]
    made = cut(SEED, ["model1", "model2"], wanted, "first")
    assert (names(made.wiring), made.wiring.order) == (["input1"], ("model1", "model2"))
    assert made.wiring.outputs == tuple(wanted)


def test_an_output_of_others_is_passed_on() -> None:
    made = cut(SEED, [], SEED.outputs, "nothing")
    assert (names(made.wiring), made.wiring.outputs[0].tap) == (["model4"], Tap(None, "model4"))


def test_parts_are_taken_where_they_are_needed() -> None:
    whole = wire(spec(node("a"), node("b", {"x": (2,)}), connect={"b": "a[0:2]"}))
    made = cut(whole, ["b"], whole.outputs, "rest")
    assert made.takes == {"a": Tap("a", "y")}
    assert made.wiring.feeds["b"][0].taps == (Tap(None, "a", (Span(0, 2),)),)
    assert made.wiring.inputs[0].shape == (3,)


def test_what_feeds_an_input_port_elsewhere() -> None:
    connect = {"c": (["a", "b"], Merge("add")), "d": ["c.x", "a"]}
    nodes = (node("a", {"p": (3,)}), node("b", {"q": (3,)}), node("c"), node("d", {"x": (6,)}))
    whole = wire(spec(*nodes, connect=connect))
    for part in (["d"], ["c", "d"]):  # merged once more where the submodel that it is merged for is elsewhere
        made = cut(whole, part, [output for output in whole.outputs if output.port.name == "d"], "rest")
        assert made.takes == {"a": Tap("a", "y"), "b": Tap("b", "y")}
        assert made.wiring.feeds["d"][0].taps[0] == Tap("c", "x", merged=True)
        assert made.wiring.feeds["c"][0].taps == (Tap(None, "a"), Tap(None, "b"))
        assert made.wiring.order == tuple(part)


def test_names_of_tensors() -> None:
    connect = {"c.x": (["a.p", "a.q"], Merge("add")), "d": "c.x"}
    nodes = (node("a", {"w": (3,)}, {"p": (3,), "q": (3,)}), node("c", {"x": (3,), "z": (2,)}), node("d"))
    whole = wire(spec(*nodes, connect=connect))
    assert tensor_name(whole, Tap(None, "z")) == "z"
    assert tensor_name(whole, Tap("a", "q")) == "a_q"
    assert tensor_name(whole, Tap("d", "y")) == "d"
    assert tensor_name(whole, Tap("c", "x", merged=True)) == "c_x_input"
    assert tensor_port(whole, Tap("c", "x", merged=True)) == Port("c_x_input", (3,))


def test_two_tensors_of_one_name() -> None:
    nodes = (node("a", {"a_p": (3,)}, {"p": (3,), "q": (3,)}), node("b", {"x": (6,)}))
    whole = wire(spec(*nodes, connect={"b": ["a.p", "a.a_p"]}))
    with pytest.raises(NamingError) as caught:
        cut(whole, ["b"], whole.outputs, "rest")
    assert str(caught.value) == (
        "Two tensors that go from one stage to the next would both be called 'a_p'.\n"
        "  Received: 'a.p' and the graph input 'a_p'\n"
        "  Fix: Rename the submodel or the graph input."
    )
