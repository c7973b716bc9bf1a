"""Graphs checked and resolved, on plain data: what is refused, in which words, and what always holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY, connection, node, problem, problems, spec

from keras_stitch.errors import StitchError, WiringError
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, Merge, Port, Source, Submodel, Tap
from keras_stitch.graphs.wiring import wire

SAME = InputSpec("data", ("m1", "m2"))  # one graph input for two submodels that each take an 'x'
APART = [InputSpec("d1", ("m1",)), InputSpec("d2", ("m2",))]
WIDE = {"y": (6,)}


def layer(name: str, **options: Any) -> Submodel:
    """A bare layer: its shapes follow from what feeds it."""
    port = Port("input", None, None, generated=True)
    return Submodel(name, Source("layer", "Dense"), (port,), (Port("output", None, None),), **options)


# -- the whole message ----------------------------------------------------------------------------


def test_all_problems_at_once_each_with_both_ports_and_their_shapes() -> None:
    graph = spec(
        node("m1", {"sequence": (101, 4)}, {"y": (4,)}),
        node("m2", {"x": (4, 1)}),
        node("m3", {"p": ((4,), "int32"), "q": (9,)}),
        connect={"m2": "m1", "m3.p": "m1", "m3.q": ["m1", "m2"], "m4": "m1", "m3.r": "m1"},
        outputs={"score": "m3", "other": "m5"},
        name="composed",
    )
    with pytest.raises(WiringError) as caught:
        wire(graph)
    assert str(caught.value) == (
        "Graph 'composed' cannot be built, 6 problems:\n"
        "1. There is no submodel 'm4' to connect to.\n"
        "     Expected: one of m1, m2, m3\n"
        '     Fix: Take it back, graph.disconnect("m4"), and connect to another.\n'
        "2. Submodel 'm3' has no input port 'r'.\n"
        "     Expected: one of p, q\n"
        "3. 'm1' (4,) float32 does not fit 'm2.x' (4, 1) float32.\n"
        "     Expected: shape (4, 1)\n"
        "     Received: shape (4,)\n"
        '     Fix: Add a node between them: graph.disconnect("m2.x"), '
        'graph.add("m1_reshape", keras.layers.Reshape((4, 1))), then '
        'graph.connect("m1", "m1_reshape") and graph.connect("m1_reshape", "m2.x").\n'
        "4. 'm1' (4,) float32 does not fit 'm3.p' (4,) int32: the values would be cut to int32.\n"
        "     Expected: dtype int32\n"
        "     Received: dtype float32\n"
        "     Fix: Take it back, graph.disconnect(\"m3.p\"), and feed 'm3.p' from a graph input of its own, "
        "or from an output of that dtype.\n"
        "5. 'm1' (4,) float32 and 'm2' (3,) float32, merged to (7,), do not fit 'm3.q' (9,) float32.\n"
        "     Expected: shape (9,)\n"
        "     Received: shape (7,)\n"
        '     Fix: Take it back, graph.disconnect("m3.q"), and merge other sources, so that (9,) results.\n'
        "6. For the graph output 'other': There is no submodel or graph input 'm5'.\n"
        "     Expected: one of m1, m2, m3, sequence"
    )
    assert len(caught.value.problems) == 6


def test_an_empty_graph() -> None:
    with pytest.raises(WiringError) as caught:
        wire(GraphSpec("g"))
    assert str(caught.value) == (
        'Graph \'g\' cannot be built, 1 problem:\n1. It has no submodel.\n     Fix: graph.add("model1", "m1.h5")'
    )


# -- names ----------------------------------------------------------------------------------------

TWO = node("two", {"p": (3,), "q": (4,)}, {"u": (3,), "v": (4,)})
READABLE = "'submodel', 'submodel.port' or 'graph_input', and behind it, if only a part is meant, '[0]', "
READABLE += "'[0:3]' or '[-2:]' of the last axis, or one of these for each axis, '[:, 0:3]'"


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (
            spec(node("model1"), connect={"modle1": "model1"}),
            "There is no submodel 'modle1' to connect to.\n  Expected: 'model1', the nearest name\n"
            '  Fix: Take it back, graph.disconnect("modle1"), and connect to another.',
        ),
        (
            spec(node("m1"), node("m2", {"seq": (3,)}), connect={"seq": "m1"}),
            "There is no submodel 'seq' to connect to.\n  Expected: 'm2.seq'\n"
            '  Fix: Take it back, graph.disconnect("seq"), and connect to another.',
        ),
        (
            spec(node("model1"), node("model2"), connect={"model2": "modle1"}),
            "In the connection to 'model2.x': There is no submodel or graph input 'modle1'.\n"
            "  Expected: 'model1' or 'model2', the nearest names",
        ),
        (
            spec(
                node("m1", {"seq": (3,)}),
                node("m2"),
                connect={"m1": "data", "m2": "seq"},
                inputs=[InputSpec("data", ())],
            ),
            "In the connection to 'm2.x': There is no submodel or graph input 'seq'.\n  Expected: 'm1.seq'",
        ),
        (
            spec(node("m1"), node("m2"), connect={"m2": "m1.yy"}),
            "In the connection to 'm2.x': Submodel 'm1' has no port 'yy'.\n  Expected: 'y', the nearest name",
        ),
        (
            spec(node("m1"), node("m2"), connect={"m2.xx": "m1"}),
            "Submodel 'm2' has no input port 'xx'.\n  Expected: 'x', the nearest name",
        ),
        (
            spec(node("m1"), TWO, connect={"two": "m1"}),
            "'two' has 2 input ports, so the name alone does not say which is fed.\n"
            "  Expected: one of 'two.p' (3,) float32, 'two.q' (4,) float32",
        ),
        (
            spec(node("m1"), TWO, connect={"m1": "two"}),
            "In the connection to 'm1.x': 'two' has 2 output ports, so the name alone does not say which is meant.\n"
            "  Expected: one of 'two.u' (3,) float32, 'two.v' (4,) float32",
        ),
        (
            spec(node("m1"), node("constant", {}), connect={"constant": "m1"}),
            "'constant' has no input port, so nothing can be connected to it.",
        ),
        (
            spec(node("m1"), node("m2"), connect={"m2[0]": "m1"}),
            "'m2[0]' cannot be fed: an input port takes a whole tensor.\n"
            "  Fix: Connect to 'm2' and merge the sources in the order of the axis.",
        ),
        (
            spec(node("m1"), node("m2"), connect={"m2": "m1[x]"}),
            "In the connection to 'm2.x': Cannot read 'm1[x]' as the name of a tensor.\n"
            f"  Expected: {READABLE}\n  Received: 'm1[x]'",
        ),
        (
            spec(node("m1"), node("m2"), connect={"m2.": "m1"}, inputs=[SAME]),
            f"Cannot read 'm2.' as the name of a tensor.\n  Expected: {READABLE}\n  Received: 'm2.'",
        ),
        (
            spec(node("m1"), outputs={"score": "m2"}),
            "For the graph output 'score': There is no submodel or graph input 'm2'.\n  Expected: one of m1, x",
        ),
        (
            spec(node("m1"), outputs={"score": "m1.z"}),
            "For the graph output 'score': Submodel 'm1' has no port 'z'.\n  Expected: one of y, x",
        ),
        (
            spec(node("m1"), inputs=[InputSpec("data", ("m9",))]),
            "There is no submodel 'm9' to connect to.\n  Expected: one of m1\n"
            '  Fix: Take it back, graph.disconnect("m9"), and connect to another.',
        ),
    ],
)
def test_names_that_do_not_resolve(graph: GraphSpec, text: str) -> None:
    assert problem(graph) == text


# -- shapes and dtypes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "taken", "fix"),
    [
        ((4,), (4, 1), 'Add a node between them: graph.disconnect("m2.x"), '
         'graph.add("m1_reshape", keras.layers.Reshape((4, 1))), then '
         'graph.connect("m1", "m1_reshape") and graph.connect("m1_reshape", "m2.x").'),
        ((101, 4), (4, 101), 'Add a node between them: graph.disconnect("m2.x"), '
         'graph.add("m1_permute", keras.layers.Permute((2, 1))), then '
         'graph.connect("m1", "m1_permute") and graph.connect("m1_permute", "m2.x").'),
        ((5,), (3,), 'Connect a part of it: graph.disconnect("m2.x"), graph.connect("m1[0:3]", "m2.x").'),
        ((2,), (3,), 'Take it back, graph.disconnect("m2.x"), and connect something of shape (3,), '
         "or a layer between them that makes it."),
    ],
)  # fmt: skip
def test_a_shape_that_does_not_fit(made: tuple[int, ...], taken: tuple[int, ...], fix: str) -> None:
    graph = spec(node("m1", outputs={"y": made}), node("m2", {"x": taken}), connect={"m2": "m1"})
    assert problem(graph) == (
        f"'m1' {made} float32 does not fit 'm2.x' {taken} float32.\n"
        f"  Expected: shape {taken}\n  Received: shape {made}\n  Fix: {fix}"
    )


@pytest.mark.parametrize(
    ("merge", "one", "other", "taken", "text"),
    [
        (Merge(), (3,), (3,), (5,), "'m1' (3,) float32 and 'm2' (3,) float32, merged to (6,), do not fit 'm3.x' (5,) "
         "float32.\n  Expected: shape (5,)\n  Received: shape (6,)\n  "
         'Fix: Take it back, graph.disconnect("m3.x"), and merge other sources, so that (5,) results.'),
        (Merge(), (4, 5), (4, 5), (8, 5), "'m1' (4, 5) float32 and 'm2' (4, 5) float32, merged to (4, 10), do not fit "
         "'m3.x' (8, 5) float32.\n  Expected: shape (8, 5)\n  Received: shape (4, 10)\n"
         '  Fix: Merge along axis=1, which gives (8, 5): graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2"], "m3.x", axis=1).'),
        (Merge(), (4, 5), (3, 5), (7, 5), "'m1' (4, 5) float32 and 'm2' (3, 5) float32 cannot be merged into 'm3.x' "
         "(7, 5) float32. Sources of these shapes cannot be concatenated along axis -1.\n"
         "  Expected: the same size on every other axis\n"
         '  Fix: Merge along axis=1, which gives (7, 5): graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2"], "m3.x", '
         "axis=1)."),
        (Merge(), (4, 5), (4,), (4, 6), "'m1' (4, 5) float32 and 'm2' (4,) float32 cannot be merged into 'm3.x' (4, 6) "
         "float32. Sources of different numbers of axes cannot be concatenated.\n  Expected: the same number of axes\n"
         '  Fix: Add a node: graph.add("m2_reshape", keras.layers.Reshape((4, 1))), graph.connect("m2", "m2_reshape"), '
         'graph.disconnect("m3.x"), graph.connect(["m1", "m2_reshape"], "m3.x").'),
        (Merge("concatenate", 0), (3,), (3,), (6,), "'m1' (3,) float32 and 'm2' (3,) float32 cannot be merged into "
         "'m3.x' (6,) float32. axis=0 is the batch axis: its rows must stay apart.\n  Expected: axis=1 or axis=-1\n"
         '  Fix: Merge along axis=1, which gives (6,): graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2"], "m3.x", axis=1).'),
        (Merge("concatenate", 2), (3,), (3,), (6,), "'m1' (3,) float32 and 'm2' (3,) float32 cannot be merged into "
         "'m3.x' (6,) float32. axis=2 does not exist.\n  Expected: axis=1 or axis=-1\n"
         '  Fix: Merge along axis=1, which gives (6,): graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2"], "m3.x", axis=1).'),
        (Merge("add"), (3,), (4,), (3,), "'m1' (3,) float32 and 'm2' (4,) float32 cannot be merged into 'm3.x' (3,) "
         "float32. Sources of these shapes cannot be merged by 'add'.\n  Expected: sizes that are equal or 1\n"
         '  Fix: Take parts of one size: graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2[0:3]"], "m3.x", merge="add").'),
        (Merge("stack"), (3,), (4,), (2, 3), "'m1' (3,) float32 and 'm2' (4,) float32 cannot be merged into 'm3.x' "
         "(2, 3) float32. Sources of these shapes cannot be stacked.\n  Expected: equal shapes\n"
         '  Fix: Take parts of one size: graph.disconnect("m3.x"), '
         'graph.connect(["m1", "m2[0:3]"], "m3.x", merge="stack").'),
    ],
)  # fmt: skip
def test_merges_that_do_not_fit(merge: Merge, one: Any, other: Any, taken: Any, text: str) -> None:
    made = node("m1", outputs={"y": one}), node("m2", outputs={"y": other}), node("m3", {"x": taken})
    assert problem(spec(*made, connect={"m3": (["m1", "m2"], merge)}, inputs=APART)) == text


def test_subtract_takes_two() -> None:
    nodes = [node(f"m{number}") for number in (1, 2, 3, 4)]
    graph = spec(
        *nodes, connect={"m4": (["m1", "m2", "m3"], Merge("subtract"))}, inputs=[InputSpec("x", ("m1", "m2", "m3"))]
    )
    assert problem(graph) == (
        "'m1' (3,) float32 and 'm2' (3,) float32 and 'm3' (3,) float32 cannot be merged into 'm4.x' (3,) float32. "
        "'subtract' takes the second source from the first.\n  Expected: 2 sources\n  Received: 3 sources\n"
        "  Fix: Add up what is to be taken away, in a node of its own: "
        'graph.add("sum", keras.layers.Identity()), graph.connect([...], "sum", merge="add").'
    )


@pytest.mark.parametrize(
    ("made", "taken", "why"),
    [
        ("float32", "int32", "the values would be cut to int32"),
        ("int64", "bool", "the values would be cut to bool"),
        ("string", "float32", "these do not convert"),
        ("float32", "string", "these do not convert"),
    ],
)
def test_dtypes_that_do_not_fit(made: str, taken: str, why: str) -> None:
    graph = spec(node("m1", outputs={"y": ((3,), made)}), node("m2", {"x": ((3,), taken)}), connect={"m2": "m1"})
    assert problem(graph) == (
        f"'m1' (3,) {made} does not fit 'm2.x' (3,) {taken}: {why}.\n"
        f"  Expected: dtype {taken}\n  Received: dtype {made}\n"
        "  Fix: Take it back, graph.disconnect(\"m2.x\"), and feed 'm2.x' from a graph input of its own, "
        "or from an output of that dtype."
    )


def test_strings_do_not_mix_with_numbers() -> None:
    text = node("m1", outputs={"y": ((3,), "string")})
    graph = spec(text, node("m2"), node("m3", {"x": (6,)}), connect={"m3": ["m1", "m2"]}, inputs=APART)
    assert problem(graph).startswith(
        "'m1' (3,) string and 'm2' (3,) float32 cannot be merged into 'm3.x' (6,) float32. "
        "string and float32 do not mix.\n  Expected: numbers, or one dtype for all sources"
    )


@pytest.mark.parametrize(
    ("made", "part", "text"),
    [
        ((3,), "[2:5]", "[2:5] reaches beyond a last axis of size 3.\n  Expected: a part of [0:3]"),
        ((3,), "[3]", "[3] reaches beyond a last axis of size 3.\n  Expected: a part of [0:3]"),
        ((3,), "[2:2]", "[2:2] is empty on a last axis of size 3.\n  Expected: a part of [0:3]"),
        (
            (3, None),
            "[0]",
            "The last axis of (3, None) is of variable length.\n  Expected: a last axis of known length",
        ),
        ((), "[0]", "There is no axis but the batch axis.\n  Expected: a last axis of known length"),
    ],
)
def test_parts_that_cannot_be_taken(made: Any, part: str, text: str) -> None:
    made_by = node("m1", outputs={"y": made})
    graph = spec(made_by, node("m2", {"x": (1,)}), connect={"m2": f"m1{part}"})
    assert problem(graph) == f"'m1{part}', which should feed 'm2.x', cannot be taken. {text}"
    assert problem(spec(made_by, outputs={"score": f"m1{part}"})) == (
        f"'m1{part}', which should feed the graph output 'score', cannot be taken. {text}"
    )


def test_behind_a_problem_nothing_is_reported_again() -> None:
    graph = spec(
        node("m1", outputs={"y": (9,)}), layer("l1"), node("m2", {"x": (5,)}), connect={"l1": "m1[0:99]", "m2": "l1"}
    )
    assert problem(graph).startswith("'m1[0:99]', which should feed 'l1.input', cannot be taken.")


# -- cycles and ports fed twice -------------------------------------------------------------------

ONE_WAY = "\n  Expected: data that flows one way\n  Fix: Take one of these connections back, such as "


@pytest.mark.parametrize(
    ("connect", "text"),
    [
        ({"m1": "m1"}, "'m1.y' feeds 'm1.x'"),
        ({"m1": "m2", "m2": "m1"}, "'m1.y' feeds 'm2.x', 'm2.y' feeds 'm1.x'"),
        ({"m1": "m3", "m2": "m1", "m3": "m2"}, "'m1.y' feeds 'm2.x', 'm2.y' feeds 'm3.x', 'm3.y' feeds 'm1.x'"),
        ({"m1": "m1.x"}, "'m1.x' feeds 'm1.x'"),
        ({"m1": "m2.x", "m2": "m1.x"}, "'m1.x' feeds 'm2.x', 'm2.x' feeds 'm1.x'"),
        ({"m1": (["m1.x", "m2"], Merge("add"))}, "'m1.x' feeds 'm1.x'"),
        (
            {"m1": (["m2.x", "m3"], Merge("add")), "m2": (["m1.x", "m3"], Merge("add"))},
            "'m1.x' feeds 'm2.x', 'm2.x' feeds 'm1.x'",
        ),
        ({"m1": (["m2", "m3"], Merge("add")), "m2": "m1.x"}, "'m1.x' feeds 'm2.x', 'm2.y' feeds 'm1.x'"),
    ],
)
def test_cycles(connect: dict[str, Any], text: str) -> None:
    free = [f"m{number}" for number in (1, 2, 3) if f"m{number}" not in connect]
    graph = spec(
        node("m1"), node("m2"), node("m3"), connect=connect, inputs=[InputSpec("data", tuple(free))] if free else ()
    )
    cycle = next(text for text in problems(graph) if "cycle" in text)
    last = text.split("'")[-2]
    assert cycle == f'The connections form a cycle: {text}.{ONE_WAY}graph.disconnect("{last}").'


def test_every_cycle_and_what_else_is_wrong() -> None:
    nodes = [node(f"m{number}") for number in range(1, 5)]
    graph = spec(*nodes, node("m5", {"x": (7,)}), connect={"m1": "m2", "m2": "m1", "m3": "m4", "m4": "m3", "m5": "m1"})
    assert [text.split("\n")[0] for text in problems(graph)] == [
        "The connections form a cycle: 'm1.y' feeds 'm2.x', 'm2.y' feeds 'm1.x'.",
        "The connections form a cycle: 'm3.y' feeds 'm4.x', 'm4.y' feeds 'm3.x'.",
        "'m1' (3,) float32 does not fit 'm5.x' (7,) float32.",
    ]


def test_what_is_merged_for_one_port_may_come_back_through_another() -> None:
    """No cycle: m3 takes what is merged for m2.p, and m2 takes m3 at its other port."""
    m2 = node("m2", {"p": (6,), "q": (6,)})
    graph = spec(
        m2, node("a"), node("b"), node("m3", {"x": (6,)}, WIDE),
        connect={"m2.p": ["a", "b"], "m3": "m2.p", "m2.q": "m3"}, inputs=[InputSpec("data", ("a", "b"))],
    )  # fmt: skip
    wiring = wire(graph)
    assert wiring.order == ("a", "b", "m3", "m2")
    assert [feed.port.name for feed in wiring.feeds["m2"]] == ["p", "q"]
    assert wiring.feeds["m3"][0].taps == (Tap("m2", "p", merged=True),)
    assert wiring.feeds["m3"][0].tap_ports == (Port("m2.p", (6,)),)


@pytest.mark.parametrize(
    ("connect", "inputs", "text"),
    [
        (
            [connection("m3", "m1"), connection("m3.x", ["m2", "m1"])],
            [SAME],
            "'m3.x' (3,) float32 is fed twice: by 'm1' and by 'm2' and 'm1'.",
        ),
        (
            [connection("m3", "m1"), connection("m2", "m1")],
            [InputSpec("more", ("m3",), (3,))],
            "'m3.x' (3,) float32 is fed twice: by 'm1' and by the graph input 'more' (3,).",
        ),
        (
            [connection("m2", "m1")],
            [InputSpec("left", ("m3",)), InputSpec("right", ("m3",))],
            "'m3.x' (3,) float32 is fed twice: by the graph input 'left' and by the graph input 'right'.",
        ),
    ],
)
def test_a_port_fed_twice(connect: list[Connection], inputs: list[InputSpec], text: str) -> None:
    assert problem(spec(node("m1"), node("m2"), node("m3"), connect=connect, inputs=inputs)) == (
        f"{text}\n  Expected: one connection for each input port\n"
        '  Fix: Take both back, graph.disconnect("m3.x"), and connect it once; several sources in a list are merged.'
    )


# -- what always holds ----------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    """Graphs in which everything is of shape (3,); many have cycles, none has a name that is wrong."""
    count = draw(st.integers(1, 6))
    inputs = {f"m{number}": draw(st.sampled_from([("p",), ("p", "q")])) for number in range(count)}
    sources = [*inputs, *(f"{name}.{port}" for name, ports in inputs.items() for port in ports), "m0[0:3]", "data"]
    connections = [
        Connection(
            f"{name}.{port}", tuple(draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))), Merge("add")
        )
        for name, ports in inputs.items()
        for port in ports
    ]
    chosen = draw(st.lists(st.sampled_from(connections), unique=True))
    connected = {each.target for each in chosen}
    free = [f"{name}.{port}" for name, ports in inputs.items() for port in ports if f"{name}.{port}" not in connected]
    nodes = [node(name, dict.fromkeys(ports, (3,))) for name, ports in inputs.items()]
    return spec(*draw(st.permutations(nodes)), connect=chosen, inputs=[InputSpec("data", tuple(free), (3,))])


@MANY
@given(graphs())
def test_the_order_is_topological(graph: GraphSpec) -> None:
    try:
        wiring = wire(graph)
    except WiringError as error:
        texts = [str(problem) for problem in error.problems]
        assert all("cycle" in text or "feeds nothing" in text for text in texts)
        return
    assert sorted(wiring.order) == sorted(submodel.name for submodel in graph.submodels)
    place = {name: index for index, name in enumerate(wiring.order)}

    def needed(tap: Tap) -> set[str]:
        if tap.node is None:
            return set()
        if not tap.merged:
            return {tap.node}
        feed = next(feed for feed in wiring.feeds[tap.node] if feed.port.name == tap.port)
        return {name for inner in feed.taps for name in needed(inner)}

    for name, feeds in wiring.feeds.items():
        assert [feed.port.name for feed in feeds] == [port.name for port in graph.submodel(name).inputs]
        for before in (before for feed in feeds for tap in feed.taps for before in needed(tap)):
            assert place[before] < place[name]


def test_ties_are_in_the_order_in_which_submodels_were_added() -> None:
    names = ["z", "b", "y", "a"]
    given_ports = [node(name, {f"{name}_in": (3,)}) for name in names]
    assert wire(spec(*given_ports)).order == tuple(names)
    assert wire(spec(*given_ports, connect={"z": "a"})).order == ("b", "y", "a", "z")


@MANY
@given(graphs())
def test_every_reported_cycle_is_one(graph: GraphSpec) -> None:
    try:
        wire(graph)
    except WiringError as error:
        for text in (str(problem) for problem in error.problems if "cycle" in str(problem)):
            steps = [
                step.replace("'", "").split(" feeds ") for step in text.split("cycle: ")[1].split(".\n")[0].split(", ")
            ]
            for (_, fed), (source, _) in zip(steps, [*steps[1:], steps[0]], strict=True):
                # Data goes on from the port it arrived at, or from an output of the same submodel.
                assert source in (fed, f"{fed.split('.')[0]}.y")


def test_problems_are_stitch_errors() -> None:
    with pytest.raises(StitchError) as caught:
        wire(GraphSpec("g"))
    assert isinstance(caught.value, ValueError)
