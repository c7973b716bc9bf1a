"""A graph that is changed: connections, submodels, inputs and outputs taken back, sources put in place of others."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import World
from strategies import Case, cases

import keras_stitch as ks
from keras_stitch.errors import StitchError, WiringError
from keras_stitch.graphs.merges import options_of


def dense(size: int, units: int, **options: object) -> keras.Model:
    return keras.Sequential([keras.Input((size,), name="x"), keras.layers.Dense(units, name="d", **options)])


def two() -> ks.Graph:
    return ks.Graph().add("a", dense(3, 4)).add("b", dense(4, 1)).connect("a", "b")


def refused(call: object) -> str:
    with pytest.raises(StitchError) as error:
        call()  # type: ignore[operator]
    return str(error.value)


# -- disconnect ------------------------------------------------------------------------------------


def test_a_connection_is_taken_back_and_made_anew() -> None:
    graph = two()
    assert graph.disconnect("b.x") is graph
    assert graph.spec.connections == ()
    assert graph.connect("a", "b.x").build().output_shape == (None, 1)


def test_the_target_of_an_input_is_taken_back_and_the_input_stays() -> None:
    graph = ks.Graph().add("a", dense(3, 4)).add_input("data", "a", shape=(3,)).disconnect("a")
    assert graph.spec.inputs[0].targets == ()
    graph.add("double", keras.layers.Rescaling(2.0)).connect("data", "double").connect("double", "a")
    assert [tensor.name for tensor in graph.build().inputs] == ["data"]


def test_both_of_a_port_fed_twice_are_taken_back() -> None:
    graph = two().connect("a", "b.x")
    assert "fed twice" in refused(graph.build)
    assert graph.disconnect("b").spec.connections == ()


def test_a_mistaken_target_is_taken_back_as_it_was_written() -> None:
    graph = two().connect("a", "modle")
    assert 'graph.disconnect("modle")' in refused(graph.build)
    graph.disconnect("modle").build()


def test_what_cannot_be_disconnected() -> None:
    assert refused(lambda: two().disconnect("a")) == "Nothing is connected to 'a'.\n  Expected: one of b"
    assert refused(lambda: ks.Graph().add("a", dense(3, 4)).disconnect("a")) == (
        "Nothing is connected to 'a'.\n  Expected: nothing is connected yet"
    )
    named = ks.Graph().add("model2", dense(3, 4)).add("b", dense(4, 1)).add_input("x", ["model2", "b"])
    near = "'model2', the nearest name"
    for unknown, known in (("modle2", near), ("model2[0:3]", near), ("model2[::2]", near), ("c", "one of model2, b")):
        assert refused(lambda unknown=unknown: named.disconnect(unknown)) == (  # type: ignore[misc]
            f"There is no connection to '{unknown}' to take back.\n  Expected: {known}"
        )
    assert refused(lambda: two().disconnect(3)) == (  # type: ignore[arg-type]
        "disconnect(...) takes one name.\n  Expected: text\n  Received: 3"
    )


# -- remove ----------------------------------------------------------------------------------------


def test_a_submodel_goes_with_what_belongs_to_it_alone() -> None:
    graph = two().add_output("early", "a").add_output("late", "b").freeze("b", "*").add_input("data", "a")
    graph.add("c", dense(3, 1)).add_input("more", "c").add_output("c", "c").freeze("c", layers="d")
    graph.remove("c").remove("b")
    assert [submodel.name for submodel in graph.spec.submodels] == ["a"]
    assert [output.name for output in graph.spec.outputs] == ["early"]
    assert [given.name for given in graph.spec.inputs] == ["data"]
    assert [rule.pattern for rule in graph.spec.freezes] == ["*"]
    assert graph.spec.connections == ()
    assert graph.build().output_shape == (None, 4)


def test_inputs_and_outputs_are_removed_by_name() -> None:
    graph = two().add_input("data", "a").add_output("score", "b").remove("data").remove("score")
    assert (graph.spec.inputs, graph.spec.outputs) == ((), ())


def test_what_cannot_be_removed() -> None:
    assert refused(lambda: two().remove("a")) == (
        "The submodel 'a' cannot be removed: it feeds 'b'.\n"
        '  Fix: Take that back first: graph.disconnect("b"). '
        'Or put another model in its place: graph.replace("a", ...).'
    )
    assert refused(lambda: two().share("c", of="a").remove("a")) == (
        "The submodel 'a' cannot be removed: 'c' shares its weights.\n  Fix: Remove that first: graph.remove(\"c\")."
    )
    assert refused(lambda: two().share("c", of="a").share("d", of="a").remove("a")) == (
        "The submodel 'a' cannot be removed: 'c' and 'd' share its weights.\n"
        '  Fix: Remove them first: graph.remove("c"), graph.remove("d").'
    )
    given = ks.Graph().add("a", dense(3, 4)).add_input("data").connect("data", "a")
    assert refused(lambda: given.remove("data")) == (
        "The graph input 'data' cannot be removed: it feeds 'a'.\n  Fix: Take that back first: graph.disconnect(\"a\")."
    )
    assert refused(lambda: two().remove("c")) == "There is nothing called 'c' to remove.\n  Expected: one of a, b"


# -- replace ---------------------------------------------------------------------------------------


def test_another_model_takes_the_place_of_one() -> None:
    graph = two().share("again", of="a").add_output("early", "a").add_output("late", "b").add_output("twice", "again")
    graph.add_input("left", "a").add_input("right", "again").freeze("a").replace(
        "a", dense(3, 4, kernel_initializer="ones", activation="relu")
    )
    assert [submodel.name for submodel in graph.spec.submodels] == ["a", "b", "again"]
    model = graph.build()
    assert not model.get_layer("a").trainable
    assert [tensor.name for tensor in model.inputs] == ["left", "right"]
    assert graph.verify().passed


def test_options_of_the_old_one_stay_unless_they_are_given() -> None:
    graph = ks.Graph().add("a", dense(3, 4), trainable=False, placement="model")
    assert graph.replace("a", dense(3, 2)).spec.submodel("a").trainable is False
    assert graph.spec.submodel("a").placement == "model"
    assert graph.replace("a", dense(3, 2), trainable=True).spec.submodel("a").trainable is True


def test_a_twin_that_is_replaced_has_weights_of_its_own() -> None:
    graph = ks.Graph().add("a", dense(3, 4)).share("b", of="a").replace("b", dense(3, 4))
    assert graph.spec.submodel("b").share is None


def test_what_cannot_be_replaced() -> None:
    assert refused(lambda: two().replace("c", dense(3, 4))) == (
        "There is no submodel 'c' to replace.\n  Expected: one of a, b"
    )
    graph = two()
    before = graph.spec
    refused(lambda: graph.replace("a", "missing.h5"))
    assert graph.spec is before
    assert "cannot be built" in refused(graph.replace("a", dense(3, 5)).build)


@pytest.mark.parametrize("verb", ["add", "replace"])
def test_an_option_that_there_is_not(verb: str) -> None:
    graph = two()
    with pytest.raises(TypeError, match=rf"{verb}\(\) got an unexpected keyword argument 'foo'"):
        getattr(graph, verb)("a" if verb == "replace" else "c", dense(3, 4), foo=1)


# -- the advice of the messages --------------------------------------------------------------------


def follow(graph: ks.Graph) -> None:
    """Does what the first message says, word for word, until the graph is built."""
    for _ in range(6):
        try:
            graph.build()
            return
        except WiringError as error:
            fix = error.problems[0].fix
            assert fix is not None
            calls = re.findall(r"graph\.\w+\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", fix)
            assert calls and "..." not in "".join(calls), fix
            for call in calls:
                exec(call, {"graph": graph, "keras": keras})
    raise AssertionError("the advice leads nowhere")


def made(name: str, *shape: int) -> keras.Model:
    data = keras.Input((2,), name=f"{name}_in")
    size = int(np.prod(shape))
    return keras.Model(data, keras.layers.Reshape(shape)(keras.layers.Dense(size)(data)))


def taking(*shape: int) -> keras.Model:
    data = keras.Input(shape, name="x")
    return keras.Model(data, keras.layers.Flatten()(data))


@pytest.mark.parametrize(
    ("one", "other", "options", "want"),
    [
        ((4,), None, {}, (4, 1)),
        ((3, 4), None, {}, (4, 3)),
        ((5,), None, {}, (3,)),
        ((4, 5), (3, 5), {}, (7, 5)),
        ((4, 5), (4,), {}, (4, 6)),
        ((3,), (4,), {"merge": "add"}, (3,)),
        ((3,), (4,), {"merge": "stack"}, (2, 3)),
        ((3,), (5, 3), {"merge": "add"}, (5, 3)),
    ],
)
def test_the_advice_about_shapes_leads_to_a_model(
    one: tuple[int, ...], other: tuple[int, ...] | None, options: dict[str, str], want: tuple[int, ...]
) -> None:
    graph = ks.Graph().add("m1", made("m1", *one)).add("end", taking(*want))
    if other is not None:
        graph.add("m2", made("m2", *other))
    follow(graph.connect(["m1"] if other is None else ["m1", "m2"], "end", **options))  # type: ignore[arg-type]
    assert graph.verify().passed


@pytest.mark.parametrize(("one", "other", "want"), [((3, 4), (4, 5), (3, 5)), ((4, 4), (4, 5), (4, 5))])
def test_the_advice_about_dot_leads_to_a_model(one: tuple[int, ...], other: tuple[int, ...], want: object) -> None:
    graph = ks.Graph().add("m1", made("m1", *one)).add("m2", made("m2", *other)).add("end", taking(*want))  # type: ignore[misc]
    follow(graph.connect(["m1", "m2"], "end", merge="dot", axes=(1, 2)))
    assert graph.verify().passed


def test_the_advice_about_submodels_that_are_not_used_can_be_followed() -> None:
    graph = two().add("c", dense(4, 4)).add("d", dense(4, 1)).share("e", of="c").connect("a", "c").connect("c", "d")
    graph.connect("a", "e").add_output("score", "b")
    with pytest.raises(WiringError) as error:
        graph.build()
    fix = error.value.problems[0].fix
    assert fix is not None and fix.endswith(
        'or leave it and what needs it out: graph.remove("d"), graph.remove("e"), graph.remove("c").'
    )
    graph.remove("d").remove("e").remove("c").build()
    assert [submodel.name for submodel in graph.spec.submodels] == ["a", "b"]


def test_two_ports_that_need_a_node_of_one_name() -> None:
    graph = ks.Graph().add("m1", made("m1", 4)).add("left", taking(4, 1)).add("right", taking(4, 1))
    follow(graph.connect("m1", "left").connect("m1", "right"))
    assert [s.name for s in graph.spec.submodels[3:]] == ["m1_reshape", "m1_reshape_1"]


@settings(max_examples=10, deadline=None)
@given(cases(max_nodes=4), st.data())
def test_taking_back_and_connecting_again_changes_nothing(case: Case, data: st.DataObject) -> None:
    graph = World(case).graph()
    if not graph.spec.connections:
        return
    connection = data.draw(st.sampled_from(graph.spec.connections))
    merge, before = connection.merge, graph.build().output_shape
    graph.disconnect(connection.target)
    assert connection not in graph.spec.connections
    how = getattr(keras.layers, merge.layer["class_name"])() if merge.layer else merge.kind
    options = {} if merge.layer else options_of(merge)
    graph.connect(list(connection.sources), connection.target, merge=how, **options)
    assert graph.build().output_shape == before
