"""Connections that names alone give."""

from __future__ import annotations

import pytest
from plain_graphs import connection, node, spec

from keras_stitch.errors import StitchError
from keras_stitch.graphs.by_name import connections_by_name
from keras_stitch.graphs.spec import InputSpec, Port, Submodel


def found(*submodels: Submodel, **options: object) -> dict[str, tuple[str, ...]]:
    given = spec(*submodels, **options)  # type: ignore[arg-type]
    return {each.target: each.sources for each in connections_by_name(given)}


def test_the_seeds_names() -> None:
    models = (
        node("model1", {"input1": (3,)}),
        node("model2", {"input1_model1": (6,)}),
        node("model3", {"input3": (3,)}),
        node("model4", {"model2_model3": (6,)}),
    )
    assert found(*models) == {
        "model2.input1_model1": ("input1", "model1"),
        "model4.model2_model3": ("model2", "model3"),
    }


def test_a_name_can_be_a_submodel_a_port_or_a_graph_input() -> None:
    taker = node("taker", {"encoder": (3,), "logits": (3,), "data": (3,), "seq_encoder": (6,)})
    models = node("encoder", {"seq": (3,)}), node("other", {"free": (3,)}, {"logits": (3,), "rest": (1,)}), taker
    assert found(*models, inputs=[InputSpec("data", (), (3,))]) == {
        "taker.encoder": ("encoder",),
        "taker.logits": ("other.logits",),
        "taker.data": ("data",),
        "taker.seq_encoder": ("seq", "encoder"),
    }


def test_names_with_underscores_are_read_whole() -> None:
    assert found(node("my_model"), node("b", {"my_model_your_model": (6,)}), node("your_model")) == {
        "b.my_model_your_model": ("my_model", "your_model")
    }


@pytest.mark.parametrize("target", ["b", "b.a"])
def test_what_is_fed_already_is_left_alone(target: str) -> None:
    models = node("a"), node("b", {"a": (3,)}), node("c", {"z": (3,)})
    assert found(*models, connect=[connection(target, "c")]) == {}
    assert found(*models, inputs=[InputSpec("data", (target,))]) == {}


def test_a_port_that_is_fed_is_no_source() -> None:
    """Its name says what it takes, not what others could take."""
    models = node("a", {"seq": (3,)}), node("b", {"seq_too": (3,)}), node("c", {"z": (3,)})
    assert found(*models, node("d", {"seq": (3,)}), connect=[connection("a", "c"), connection("d", "c")]) == {}
    assert found(*models[:1], node("b", {"seq_a": (6,)})) == {"b.seq_a": ("seq", "a")}
    assert found(*models[:1], node("b", {"seq_a": (6,)}), node("c"), connect=[connection("a", "c")]) == {}


def test_generated_names_and_names_of_nothing_are_left_alone() -> None:
    made_up = Port("input_1", (3,), generated=True)
    assert found(node("input", [made_up]), node("b", {"what": (3,)}), node("c", {"c": (3,)})) == {}


def test_a_twin_is_no_source() -> None:
    """Two free ports of one name are one input of the user's, not a chain."""
    assert found(node("a", {"seq": (3,)}), node("b", {"seq": (3,)})) == {}


def test_a_port_of_many_is_named_with_its_submodel() -> None:
    models = node("a", {"seq": (3,)}), node("b", {"seq": (3,)}), node("c", {"seq_a": (6,)})
    with pytest.raises(StitchError) as caught:
        found(*models)
    assert str(caught.value) == (
        "'seq' in the name of 'c.seq_a' can be a.seq or b.seq.\n"
        '  Fix: Say which: graph.connect(["a.seq", ...], "c.seq_a").'
    )


def test_a_name_that_can_be_read_in_two_ways() -> None:
    with pytest.raises(StitchError) as caught:
        found(node("a"), node("b"), node("a_b"), node("c", {"a_b": (6,)}))
    assert str(caught.value) == (
        "The name of 'c.a_b' can be read as ['a_b'] or ['a', 'b'].\n  Fix: Say which: graph.connect([...], \"c.a_b\")."
    )


def test_a_submodel_with_several_outputs_says_which() -> None:
    with pytest.raises(StitchError) as caught:
        found(node("two", outputs={"u": (3,), "v": (4,)}), node("b", {"two": (3,)}))
    assert str(caught.value) == (
        "'two' in the name of 'b.two' can be two.u or two.v.\n"
        '  Fix: Say which: graph.connect(["two.u", ...], "b.two").'
    )


def test_an_output_port_that_two_submodels_have() -> None:
    with pytest.raises(StitchError) as caught:
        found(node("one", outputs={"u": (3,)}), node("two", outputs={"u": (3,)}), node("b", {"u": (3,)}))
    assert str(caught.value) == (
        "'u' in the name of 'b.u' can be one.u or two.u.\n  Fix: Say which: graph.connect([\"one.u\", ...], \"b.u\")."
    )
