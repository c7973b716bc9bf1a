"""Names and shapes that a Kipoi directory gives the ports of its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import assert_allclose

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.kipoi.model_directory import KerasPart
from keras_stitch.kipoi.schema import Field
from keras_stitch.models.check_graph import KerasInference
from keras_stitch.sources.added import Added
from keras_stitch.sources.kipoi_models import described_by
from keras_stitch.sources.load_source import load


def described(model: keras.Model, inputs: tuple[Field, ...], targets: tuple[Field, ...], **options: Any) -> Added:
    part = KerasPart(path=Path("zoo/m3"), weights=Path("w"), inputs=inputs, outputs=targets)
    found = load("m", model, **options)
    assert found.blueprint is not None
    submodel, part = described_by(part, found.submodel, found.blueprint)
    return replace(found, submodel=submodel, part=part)


def ports(found: Added) -> list[tuple[Any, ...]]:
    both = (*found.submodel.inputs, *found.submodel.outputs)
    return [(port.name, port.shape, port.generated) for port in both]


def one(shape: tuple[int | None, ...] = (3,), name: str | None = None) -> keras.Model:
    inputs = keras.Input(shape, name=name)
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))


def two(names: tuple[str | None, str | None] = (None, None)) -> keras.Model:
    a, b = keras.Input((3,), name=names[0]), keras.Input((4,), name=names[1])
    left, right = keras.layers.Dense(1, name="left")(a), keras.layers.Dense(2, name="right")(b)
    return keras.Model([a, b], {"p": left, "q": right})


Y = (Field("y", (), (2,)),)
PQ = (Field("p", ("p",), (1,)), Field("q", ("q",), (2,)))


def test_a_single_array():
    assert ports(described(one(), (Field("seq", (), (3,)),), Y)) == [("seq", (3,), False), ("y", (2,), False)]
    assert ports(described(one(name="x"), (Field("seq", ("seq",), (3,)),), Y))[0] == ("seq", (3,), False)


def test_names_that_the_schema_does_not_say():
    nameless = (Field("inputs", (), (3,), named=False),)
    assert ports(described(one(name="x"), nameless, (Field("inputs", (), (2,), named=False),))) == [
        ("x", (3,), False),
        ("dense", (2,), False),
    ]
    assert ports(described(one(), nameless, Y))[0][2]


def test_a_list_goes_by_position():
    fields = (Field("seq", (0,), (3,)), Field("1", (1,), (4,), named=False))
    found = described(two(("a", "b")), fields, PQ)
    assert [port[0] for port in ports(found)] == ["seq", "b", "p", "q"]
    fields = (Field("seq", (0,), (3,)), Field("seq", (1,), (4,)))
    assert [port[0] for port in ports(described(two(), fields, PQ))][:2] == ["seq", "seq_1"]


def test_a_dict_goes_by_name():
    fields = (Field("b", ("b",), (4,), "Four."), Field("a", ("a",), (3,), "Three."))
    found = described(two(("a", "b")), fields, PQ[::-1])
    assert [port[:2] for port in ports(found)] == [("a", (3,)), ("b", (4,)), ("p", (1,)), ("q", (2,))]
    assert [field.doc for field in found.part.inputs] == ["Three.", "Four."]
    assert [field.name for field in found.part.outputs] == ["p", "q"]


def test_outputs_of_which_nobody_knows_the_order():
    found = described(two(("a", "b")), (Field("a", ("a",), (3,)), Field("b", ("b",), (4,))), tuple(
        Field(name, (name,), (1,)) for name in ("r", "s")
    ))  # fmt: skip
    assert [port[0] for port in ports(found)][2:] == ["p", "q"] and found.part.outputs == ()
    assert found.submodel.repairs == (
        "names of outputs: the model's own, as model.yaml has others: 'r' (1,) and 's' (1,)",
    )


def test_open_sizes_become_known():
    found = described(one((None, 4)), (Field("seq", (), (7, 4)),), (Field("y", (), (None, 2)),))
    assert [port[1] for port in ports(found)] == [(7, 4), (7, 2)]
    found = described(one((7, 4)), (Field("seq", (), (None, None)),), (Field("y", (), (7, 2)),))
    assert [port[1] for port in ports(found)] == [(7, 4), (7, 2)]


def test_a_batch_axis_in_the_schema():
    found = described(one(), (Field("seq", (), (None, 3)),), (Field("y", (), (None, 2)),))
    assert [port[1] for port in ports(found)] == [(3,), (2,)]
    assert [field.shape for field in (*found.part.inputs, *found.part.outputs)] == [(3,), (2,)]
    assert found.submodel.repairs == (
        "schema (seq): (None, 3) has a batch axis",
        "schema (y): (None, 2) has a batch axis",
    )
    # What the model has an axis for is none.
    found = described(one((None, 4)), (Field("seq", (), (None, 4)),), (Field("y", (), (None, None, 2)),))
    assert [port[1] for port in ports(found)] == [(None, 4), (None, 2)]
    assert found.submodel.repairs == ("schema (y): (None, None, 2) has a batch axis",)
    with pytest.raises(SourceError, match=r"\(7, 3\), which model.yaml says"):
        described(one(), (Field("seq", (), (7, 3)),), Y)


def test_inner_outputs_are_not_those_of_the_schema():
    found = described(one(), (Field("seq", (), (3,)),), (Field("y", (), (9,)),), outputs=["dense"])
    assert ports(found)[1][0] == "dense" and found.part.outputs == ()


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "text"),
    [
        (
            one((3,), "x"),
            (Field("seq", (), (5,)),),
            Y,
            "The schema of 'm3' does not fit its Keras model: the input 'seq' has another shape.\n"
            "  Expected: (3,), which the model has for 'x'\n"
            "  Received: (5,), which model.yaml says\n"
            "  Fix: Correct the schema in model.yaml, or add the file of the model itself.",
        ),
        (
            one((3,), "x"),
            (Field("seq", (), (3,)),),
            (Field("y", (), (2, 1)),),
            "The schema of 'm3' does not fit its Keras model: the output 'y' has another shape.\n"
            "  Expected: (2,), which the model has for 'dense'\n"
            "  Received: (2, 1), which model.yaml says\n"
            "  Fix: Correct the schema in model.yaml, or add the file of the model itself.",
        ),
        (
            two(("a", "b")),
            (Field("a", ("a",), (3,)), Field("c", ("c",), (4,))),
            PQ,
            "The schema of 'm3' is not that of its Keras model: the inputs differ.\n"
            "  Expected: 'a' (3,) and 'b' (4,), which the model has\n"
            "  Received: 'a' (3,) and 'c' (4,), which model.yaml says\n"
            "  Fix: Correct the schema in model.yaml, or add the file of the model itself.",
        ),
        (
            one((3,), "x"),
            (Field("a", (0,), (3,)), Field("b", (1,), (3,))),
            Y,
            "The schema of 'm3' is not that of its Keras model: the inputs differ.\n"
            "  Expected: 'x' (3,), which the model has\n"
            "  Received: 'a' (3,) and 'b' (3,), which model.yaml says\n"
            "  Fix: Correct the schema in model.yaml, or add the file of the model itself.",
        ),
    ],
)
def test_schemas_of_another_model(model, inputs, outputs, text):
    with pytest.raises(SourceError) as error:
        described(model, inputs, outputs)
    assert str(error.value) == text


def test_renamed_ports_feed_the_same_inputs():
    """The names are those of the schema, what runs is the model as it was saved."""
    model = two()
    fields = (Field("seq", (0,), (3,)), Field("x", (1,), (4,)))
    found = described(model, fields, PQ)
    arriving = found.submodel.inputs
    assert [p.shape for p in KerasInference({"m": found.blueprint}).outputs(found.submodel, arriving)] == [(1,), (2,)]
    graph = ks.Graph("g").add("m", model)
    graph._added["m"] = found
    graph._spec = type(graph.spec)("g", (found.submodel,))
    x, y = np.ones((2, 3), "float32"), np.ones((2, 4), "float32")
    stitched, expected = graph.build()({"seq": x, "x": y}), model([x, y])
    assert_allclose(stitched["m_p"], expected["p"], rtol=1e-5)
    assert_allclose(stitched["m_q"], expected["q"], rtol=1e-5)
