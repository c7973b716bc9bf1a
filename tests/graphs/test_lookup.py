"""Names to tensors: graph inputs and outputs, what they are called, and which are refused."""

from __future__ import annotations

import pytest
from plain_graphs import connection, node, problem, problems, spec

from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import InputSpec, Merge, Port, Source, Submodel, Tap, port_text
from keras_stitch.graphs.wiring import wire

TWO = node("two", {"p": (3,), "q": (4,)}, {"u": (3,), "v": (4,)})


def test_a_source_is_an_output_then_a_graph_input_then_what_feeds_an_input() -> None:
    wiring = wire(
        spec(
            node("a", {"x": (3,)}, {"x": (4,)}),  # its output has the name of its input
            node("b", {"in": (3,)}),
            node("c", {"in": (4,)}),
            node("d", {"in": (3,)}),
            node("e", {"in": (3,)}),
            connect={"c": "a.x", "d": "data", "e": "b.in"},
            inputs=[InputSpec("data", ("a", "b"))],
        )
    )
    taps = {name: feeds[0].taps for name, feeds in wiring.feeds.items()}
    assert taps["c"] == (Tap("a", "x"),)
    assert taps["d"] == taps["e"] == (Tap(None, "data"),)


def test_an_input_port_stands_for_what_feeds_it_through_any_number_of_ports() -> None:
    nodes = [node(name) for name in "abcd"]
    wiring = wire(spec(*nodes, connect={"b": "a", "c": "b.x", "d": "c.x"}))
    assert wiring.feeds["c"][0].taps == wiring.feeds["d"][0].taps == (Tap("a", "y"),)


def test_parts_and_merges_that_another_port_takes() -> None:
    wiring = wire(
        spec(
            node("a", outputs={"y": (6,)}),
            node("b"),
            node("c", {"x": (3,)}),
            node("d", {"x": (1,)}),
            connect={"b": "a[1:4]", "c": "b.x", "d": "c.x[0]"},
        )
    )
    assert wiring.feeds["b"][0].taps == (Tap("a", "y", part=(Span(1, 4),)),)
    assert wiring.feeds["c"][0].taps == (Tap("b", "x", merged=True),)
    assert wiring.feeds["d"][0].taps == (Tap("b", "x", part=(Span(0, 1),), merged=True),)


def test_graph_inputs_are_in_the_order_of_the_submodels() -> None:
    late = InputSpec("late", ("c",))
    graph = spec(node("a", {"x1": (3,)}), TWO, node("c"), connect={"two.q": "early[0:4]"}, inputs=[late])
    wiring = wire(spec(*graph.submodels, connect=graph.connections, inputs=[late, InputSpec("early", (), (9,))]))
    assert [port.name for port in wiring.inputs] == ["x1", "p", "early", "late"]
    assert [port.shape for port in wiring.inputs] == [(3,), (3,), (9,), (3,)]


def test_names_that_keras_made_up_become_the_submodels() -> None:
    made_up = Port("keras_tensor_3", (3,), generated=True), Port("keras_tensor_4", (3,), generated=True)
    wiring = wire(spec(node("one", made_up[:1]), node("many", made_up), node("odd", {"a b/c": (3,)})))
    assert [port.name for port in wiring.inputs] == ["one_input", "many_keras_tensor_3", "many_keras_tensor_4", "a_b_c"]


def test_free_outputs_are_named_after_submodel_and_port() -> None:
    wiring = wire(spec(node("m1"), TWO, connect={"two.p": "m1", "two.q": "two2"}, inputs=[InputSpec("two2", (), (4,))]))
    assert [(output.port.name, output.tap) for output in wiring.outputs] == [
        ("two_u", Tap("two", "u")),
        ("two_v", Tap("two", "v")),
    ]


def test_a_part_leaves_its_source_consumed() -> None:
    wiring = wire(spec(node("m1"), node("m2", {"x": (1,)}), connect={"m2": "m1[0]"}))
    assert [output.port.name for output in wiring.outputs] == ["m2"]


def test_an_input_has_what_its_ports_agree_on() -> None:
    nodes = node("m1", {"x": (None, 4)}), node("m2", {"x": ((101, None), "int32")})
    wiring = wire(spec(*nodes, inputs=[InputSpec("data", ("m1", "m2"))]))
    assert wiring.inputs == (Port("data", (101, 4), "int32"),)


# -- graph inputs that are refused ----------------------------------------------------------------


def test_inputs_of_one_name() -> None:
    assert problem(spec(node("m1"), node("m2"))) == (
        "2 graph inputs would be called 'x': 'm1.x' (3,) float32 and 'm2.x' (3,) float32.\n"
        '  Fix: If they are the same data: graph.add_input("x", ["m1.x", "m2.x"]). '
        'If not: graph.add_input("m1_x", "m1.x"), graph.add_input("m2_x", "m2.x").'
    )


def test_an_input_of_the_name_of_a_given_one() -> None:
    assert problem(spec(node("m1"), node("m2"), inputs=[InputSpec("x", ("m1",))])) == (
        "2 graph inputs would be called 'x': 'm1.x' (3,) float32 and 'm2.x' (3,) float32.\n"
        '  Fix: If they are the same data: graph.add_input("x", ["m1.x", "m2.x"]). '
        'If not: graph.add_input("m2_x", "m2.x").'
    )


def test_an_input_named_like_a_submodel() -> None:
    nodes = node("seq"), node("m2", {"seq": (3,)})
    assert problem(spec(*nodes)) == (
        "The graph input 'seq' has the name of a submodel.\n"
        '  Fix: Name it otherwise: graph.add_input("seq_input", "m2.seq").'
    )
    assert problem(spec(node("m1"), inputs=[InputSpec("m1", ("m1",))])) == (
        "The graph input 'm1' has the name of a submodel.\n"
        '  Fix: Name it otherwise: graph.add_input("m1_input", "m1.x").'
    )


def test_an_input_of_a_reserved_name_gets_another() -> None:
    wiring = wire(spec(node("m1", {"top_level_model_weights": (3,)})))
    assert [port.name for port in wiring.inputs] == ["top_level_model_weights_1"]
    given = InputSpec("top_level_model_weights", ("m1",))
    assert problem(spec(node("m1"), inputs=[given])) == (
        "'top_level_model_weights' cannot name a graph input: Keras uses it inside .h5 files.\n"
        "  Fix: Call it 'top_level_model_weights_1', for example."
    )


def test_an_input_takes_its_shape_from_the_port_it_is_connected_to() -> None:
    wiring = wire(spec(node("m1"), connect={"m1": "data"}, inputs=[InputSpec("data", ())]))
    assert wiring.inputs == (Port("data", (3,)),)


def test_an_input_that_feeds_nothing() -> None:
    assert problem(spec(node("m1"), inputs=[InputSpec("data", (), (3,))])) == (
        "The graph input 'data' feeds nothing.\n"
        '  Fix: Name it in a connection, graph.connect("data", "submodel.port"), or take it back: graph.remove("data").'
    )


def test_how_messages_show_a_port() -> None:
    assert port_text("m1", Port("x", (3,), "int32")) == "'m1.x' (3,) int32"
    assert port_text("m1", Port("x", None, None)) == "'m1.x' (any shape, any dtype)"
    assert port_text(None, Port("x", None)) == "'x' (any shape, float32)"


def test_an_input_whose_only_mention_is_mistaken_feeds_something() -> None:
    data = [InputSpec("data", (), (3,))]
    assert problem(spec(node("m1"), connect={"m1": "data[::2]"}, inputs=data)).startswith(
        "In the connection to 'm1.x': Cannot read 'data[::2]'"
    )
    assert problem(spec(node("m1"), connect={"m1.z": "data"}, inputs=data)).startswith("Submodel 'm1' has no input")


def test_an_input_of_unknown_shape() -> None:
    port = Port("input", None, None, generated=True)
    layer = Submodel("head", Source("layer", "Dense"), (port,), (Port("output", None, None),))
    assert problem(spec(layer)) == (
        "The shape of the graph input 'head_input' is unknown: it feeds a layer that was never called.\n"
        '  Fix: graph.add_input("head_input", "head.input", shape=(...)), without the batch axis.'
    )
    merged = spec(node("m1"), connect={"m1": ["data", "data"]}, inputs=[InputSpec("data", ())])
    assert problem(merged) == (
        "The shape of the graph input 'data' is unknown: it feeds only merges.\n"
        '  Fix: graph.add_input("data", shape=(...)), without the batch axis.'
    )


def test_an_input_whose_ports_differ() -> None:
    nodes = node("m1", {"x": (3,)}), node("m2", {"x": (4,)})
    assert problem(spec(*nodes, inputs=[InputSpec("data", ("m1", "m2"))])) == (
        "The graph input 'data' cannot feed 'm1.x' (3,) float32 and 'm2.x' (4,) float32: their shapes differ.\n"
        "  Fix: Give each an input of its own, or a Reshape node in between."
    )


def test_an_input_whose_shape_or_dtype_does_not_fit_its_port() -> None:
    assert problem(spec(node("m1"), inputs=[InputSpec("data", ("m1",), (4,))])) == (
        "'data' (4,) float32 does not fit 'm1.x' (3,) float32.\n"
        "  Expected: shape (3,)\n  Received: shape (4,)\n"
        '  Fix: graph.remove("data"), and leave shape= out of graph.add_input("data", ...), or feed \'m1.x\' from '
        "another input."
    )
    integers = node("m1", {"x": ((3,), "int32")})
    assert problem(spec(integers, inputs=[InputSpec("data", ("m1",), None, "float32")])) == (
        "'data' (3,) float32 does not fit 'm1.x' (3,) int32: the values would be cut to int32.\n"
        "  Expected: dtype int32\n  Received: dtype float32\n"
        '  Fix: graph.remove("data"), and leave dtype= out of graph.add_input("data", ...), or feed \'m1.x\' from a '
        "graph input of its own, or from an output of that dtype."
    )


# -- graph outputs that are refused ---------------------------------------------------------------


def test_free_outputs_of_one_name() -> None:
    nodes = node("a", outputs={"b_c": (3,), "d": (1,)}), node("a_b", {"x2": (3,)}, {"c": (3,), "e": (3,)})
    assert problem(spec(*nodes)) == (
        "The graph output 'a_b_c' (from 'a_b.c') has the name of the output from 'a.b_c'.\n"
        '  Fix: Name it otherwise: graph.add_output("a_b_c_output", "a_b.c"), and every other output likewise.'
    )


@pytest.mark.parametrize(
    ("output", "source", "owner"),
    [("data", "m1", "a graph input"), ("m1", "m2", "a submodel"), ("m1", "m1[0]", "a submodel")],
)
def test_an_output_of_a_taken_name(output: str, source: str, owner: str) -> None:
    data = InputSpec("data", ("m1", "m2"))
    graph = spec(node("m1"), node("m2"), inputs=[data], outputs={output: source, "rest": "m1", "more": "m2"})
    assert problem(graph) == (
        f"The graph output '{output}' (from '{source}') has the name of {owner}.\n"
        f'  Fix: Name it otherwise: graph.add_output("{output}_output", "{source}").'
    )


def test_an_output_may_have_the_name_of_its_submodel() -> None:
    assert wire(spec(node("m1"), outputs={"m1": "m1"})).outputs[0].port == Port("m1", (3,))


def test_a_submodel_that_reaches_no_output() -> None:
    graph = spec(node("m1"), TWO, outputs={"score": "m1"})
    assert problem(graph) == (
        "Submodel 'two' reaches no graph output.\n"
        '  Fix: Connect it, add graph.add_output("two_output", "two.u"), or leave it out: graph.remove("two").'
    )


def test_what_something_used_needs_is_not_to_be_left_out() -> None:
    nodes = node("m1"), node("again", share="m1")
    graph = spec(*nodes, inputs=[InputSpec("data", ("m1", "again"))], outputs={"score": "again"})
    assert problem(graph) == (
        'Submodel \'m1\' reaches no graph output.\n  Fix: Connect it, or add graph.add_output("m1_output", "m1").'
    )


def test_to_be_merged_for_a_dead_end_is_not_to_be_used() -> None:
    nodes = node("a"), node("dead"), node("head")
    connect = [connection("dead", (["a", "a"], Merge("add"))), connection("head", "dead.x")]
    assert problem(spec(*nodes, connect=connect, outputs={"score": "head"})).startswith("Submodel 'dead' reaches no")


def test_a_mistyped_target_leaves_no_false_alarm() -> None:
    """What 'm2.z' was to feed is free now; that it would be a second input 'x' is no mistake of its own."""
    (text,) = problems(spec(node("m1"), node("m2"), connect={"m2.z": "m1"}))
    assert text == "Submodel 'm2' has no input port 'z'.\n  Expected: one of x"
