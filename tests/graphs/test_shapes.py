"""What merges and parts do to shapes, against NumPy; and what a message suggests where they do not fit."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY

from keras_stitch.errors import StitchError
from keras_stitch.graphs import merges, shapes
from keras_stitch.graphs.fixes import merge_fix, shape_fix
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.references import parse_reference
from keras_stitch.graphs.spec import Merge, Port, Shape

NUMPY = {"add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "average": np.add}
SIZES = st.integers(1, 3)
ANY_SHAPE = st.lists(st.none() | SIZES, max_size=3).map(tuple)


@st.composite
def alike(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """2 to 4 shapes that differ in few places, so that many of them merge."""
    base = draw(st.lists(SIZES, min_size=1, max_size=3))
    made = []
    for _ in range(draw(st.integers(2, 4))):
        shape = list(base)
        if draw(st.booleans()):
            shape[draw(st.integers(0, len(shape) - 1))] = draw(SIZES)
        if draw(st.integers(0, 9)) == 0:
            shape.append(1)
        made.append(tuple(shape))
    return made


def arrays(made: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.zeros((2, *shape)) for shape in made]


@MANY
@given(alike(), st.sampled_from(["concatenate", "stack"]), st.integers(-4, 4))
def test_joining_gives_numpys_shape(made: list[tuple[int, ...]], kind: str, axis: int) -> None:
    try:
        joined = (np.concatenate if kind == "concatenate" else np.stack)(arrays(made), axis)
        expected = joined.shape[1:] if joined.ndim + axis != 0 and axis != 0 else None  # along the batch: never
    except ValueError:  # AxisError is one
        expected = None
    try:
        found: Shape | None = merges.merged_shape(Merge(kind, axis), made)
    except StitchError:
        found = None
    assert found == expected


@MANY
@given(alike(), st.sampled_from([*NUMPY, "subtract"]))
def test_arithmetic_gives_numpys_shape(made: list[tuple[int, ...]], kind: str) -> None:
    made = made[:2] if kind == "subtract" else made
    try:
        result = arrays(made)[0]
        for array in arrays(made)[1:]:
            result = NUMPY.get(kind, np.subtract)(result, array)
        # NumPy adds axes at the front, among them the batch axis; Keras does not.
        expected = result.shape[1:] if len({len(shape) for shape in made}) == 1 else None
    except ValueError:
        expected = None
    try:
        found: Shape | None = merges.merged_shape(Merge(kind), made)
    except StitchError:
        found = None
    assert found == expected


@MANY
@given(alike(), st.sampled_from(["concatenate", "add", "stack"]), st.data())
def test_a_variable_size_can_become_what_it_was(made: list[tuple[int, ...]], kind: str, data: st.DataObject) -> None:
    """Where sizes are known to merge, hiding some still merges, and says nothing else."""
    try:
        known = merges.merged_shape(Merge(kind, 1), made)
    except StitchError:
        return
    hidden = [tuple(data.draw(st.sampled_from([size, None])) for size in shape) for shape in made]
    if kind == "stack" and sum(None in sizes for sizes in zip(*hidden, strict=True)) > 1:
        hidden = list(made)  # no Keras layer adds an axis to more than one variable one
    found = merges.merged_shape(Merge(kind, 1), hidden)
    assert shapes.shape_fits(found, known)


@MANY
@given(ANY_SHAPE, ANY_SHAPE)
def test_unify_is_symmetric(one: Shape, other: Shape) -> None:
    both = shapes.unify(one, other)
    assert both == shapes.unify(other, one)
    assert (both is not None) == shapes.shape_fits(one, other) == shapes.shape_fits(other, one)
    if both is not None:
        assert shapes.unify(both, one) == shapes.unify(both, other) == both
        assert both.count(None) <= min(one.count(None), other.count(None))


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("float32", "float32", True),
        ("float16", "float64", True),
        ("int32", "float32", True),
        ("bool", "int8", True),
        ("bool", "float32", True),
        ("float32", "int32", False),
        ("float32", "bool", False),
        ("int64", "bool", False),
        ("string", "float32", False),
        ("float32", "string", False),
        ("complex64", "float32", False),
        ("string", "string", True),
        (None, "int32", True),
        ("string", None, True),
    ],
)
def test_dtypes(source: str | None, target: str | None, fits: bool) -> None:
    assert shapes.dtype_fits(source, target) is fits


@MANY
@given(st.lists(st.sampled_from(["bool", "int8", "int32", "uint8", "float16", "float32", "float64"]), min_size=1))
def test_a_merged_dtype_holds_all_of_them(dtypes: list[str]) -> None:
    merged = merges.merged_dtype(Merge("add"), dtypes)
    assert all(shapes.dtype_fits(dtype, merged) for dtype in dtypes)
    assert merged in dtypes
    assert merges.merged_dtype(Merge("add"), dtypes[::-1]) == merged


def test_the_mean_of_integers_is_no_integer() -> None:
    assert merges.merged_dtype(Merge("average"), ["int32", "int32"]) == "float32"


@pytest.mark.parametrize(
    ("kind", "dtypes", "message"),
    [
        ("add", ["string", "float32"], "string and float32 do not mix.\n  Expected: numbers, or one dtype for all"),
        ("concatenate", ["int32", "string"], "int32 and string do not mix.\n  Expected: numbers, or one dtype for all"),
        ("maximum", ["string", "string"], "'maximum' does not work on string.\n  Expected: numbers"),
    ],
)
def test_dtypes_that_cannot_be_merged(kind: str, dtypes: list[str], message: str) -> None:
    with pytest.raises(StitchError) as caught:
        merges.merged_dtype(Merge(kind), dtypes)
    assert str(caught.value).startswith(message)


def test_strings_can_be_joined() -> None:
    assert merges.merged_dtype(Merge("concatenate"), ["string", "string"]) == "string"


PART = 'Connect a part of it: graph.disconnect("m2.x"), graph.connect("{}", "m2.x").'
ELSE = (
    'Take it back, graph.disconnect("m2.x"), and connect something of shape {}, or a layer between them that makes it.'
)
BETWEEN = 'Add a node between them: graph.disconnect("m2.x"), graph.add("m1_{0}", keras.layers.{1}), then '
BETWEEN += 'graph.connect("m1", "m1_{0}") and graph.connect("m1_{0}", "m2.x").'


@pytest.mark.parametrize(
    ("have", "want", "fix"),
    [
        ((4,), (4, 1), BETWEEN.format("reshape", "Reshape((4, 1))")),
        ((4, 1), (4,), BETWEEN.format("reshape", "Reshape((4,))")),
        ((3, 4), (12,), BETWEEN.format("reshape", "Reshape((12,))")),
        ((), (1,), BETWEEN.format("reshape", "Reshape((1,))")),
        ((None, 4), (None, 4, 1), BETWEEN.format("reshape", "Reshape((-1, 4, 1))")),
        ((4,), (None, 1), BETWEEN.format("reshape", "Reshape((4, 1))")),
        ((101, 4), (4, 101), BETWEEN.format("permute", "Permute((2, 1))")),
        ((5, 6, 7), (7, 5, 6), BETWEEN.format("permute", "Permute((3, 1, 2))")),
        ((7,), (3,), PART.format("m1[0:3]")),
        ((10, 5), (None, 4), PART.format("m1[0:4]")),
        ((3,), (7,), ELSE.format("(7,)")),
        ((None, None), (None, None, 1), ELSE.format("(None, None, 1)")),
    ],
)
def test_what_to_do_about_a_shape(have: Shape, want: Shape, fix: str) -> None:
    assert shape_fix("m1", have, want, "m2.x", Names(())).startswith(fix)


def test_a_part_of_a_part() -> None:
    assert shape_fix("m1.out[2:9]", (7,), (3,), "m2.x", Names(())) == PART.format("m1.out[2:5]")
    assert shape_fix("m1[-5:]", (5,), (3,), "m2.x", Names(())) == PART.format("m1[-5:-2]")


def literal(fix: str) -> tuple[int, ...]:
    """The argument of the layer in a message."""
    found = re.search(r"(?:Reshape|Permute)\((\(.*?\))\)", fix)
    assert found
    return tuple(ast.literal_eval(found[1]))


@MANY
@given(st.lists(SIZES, max_size=3).map(tuple), st.lists(SIZES, max_size=3).map(tuple))
def test_a_suggested_layer_makes_the_shape(have: tuple[int, ...], want: tuple[int, ...]) -> None:
    fix, array = shape_fix("m1", have, want, "m2", Names(())), np.zeros((2, *have))
    if have == want:
        return
    if "Reshape(" in fix:
        made = array.reshape((2, *literal(fix)))
    elif "Permute(" in fix:
        made = array.transpose((0, *literal(fix)))
    elif "a part" in fix:
        (part,) = parse_reference(fix.split('"')[3]).part.ranges
        made = array[..., slice(*part.resolve(have[-1]))]
    else:
        assert np.prod(have) != np.prod(want)
        return
    assert made.shape == (2, *want)


NODE = 'Add a node: graph.add("{0}_reshape", keras.layers.Reshape({1})), graph.connect("{0}", "{0}_reshape"), '
ALONG = "Merge along axis=1, which gives {}: "


def again(one: str, other: str, options: str = "") -> str:
    return f'graph.disconnect("m3"), graph.connect(["{one}", "{other}"], "m3"{options}).'


@pytest.mark.parametrize(
    ("kind", "given_shapes", "target", "fix"),
    [
        (
            "concatenate",
            [(4, 5), (3, 5)],
            (7, 5),
            ALONG.format("(7, 5)") + again("m1", "m2", ", axis=1"),
        ),
        (
            "concatenate",
            [(4, 5), (3, 5)],
            None,
            ALONG.format("(7, 5)") + again("m1", "m2", ", axis=1"),
        ),
        (
            "stack",
            [(3,), (3,)],
            (2, 3),
            ALONG.format("(2, 3)") + again("m1", "m2", ', merge="stack", axis=1'),
        ),
        ("concatenate", [(4, 5), (4,)], (4, 6), NODE.format("m2", "(4, 1)") + again("m1", "m2_reshape")),
        ("concatenate", [(4,), (None, 4)], (None, 4), None),
        ("add", [(3,), (1, 3)], (3,), NODE.format("m2", "(3,)") + again("m1", "m2_reshape", ', merge="add"')),
        (
            "add",
            [(3,), (5, 3)],
            (5, 3),
            NODE.format("m1", "(1, 3)") + again("m1_reshape", "m2", ', merge="add"'),
        ),
        (
            "multiply",
            [(101, 4), (101,)],
            (101, 4),
            NODE.format("m2", "(101, 1)") + again("m1", "m2_reshape", ', merge="multiply"'),
        ),
        ("add", [(3,), (4,)], (3,), "Take parts of one size: " + again("m1", "m2[0:3]", ', merge="add"')),
        ("stack", [(5,), (4,)], None, "Take parts of one size: " + again("m1[0:4]", "m2", ', merge="stack"')),
        ("add", [(3, 2), (4, 2)], (3, 2), None),
        ("concatenate", [(3, 2), (4, 5)], None, None),
        ("layer", [(3,), (4,)], None, None),
        ("add", [(3,), (3,)], (3,), None),
        (
            "dot",
            [(4, 4), (4, 5)],
            (4, 5),
            "Merge along axes=(1, 1), which gives (4, 5): "
            'graph.disconnect("m3"), graph.connect(["m1", "m2"], "m3", merge="dot", axes=(1, 1)).',
        ),
        ("concatenate", [(3,), (3,)], None, None),
    ],
)
def test_what_to_do_about_a_merge(kind: str, given_shapes: list[Shape], target: Shape | None, fix: str | None) -> None:
    ports = [Port(f"m{number}", shape) for number, shape in enumerate(given_shapes, 1)]
    assert merge_fix(Merge(kind, axes=(1, 2) if kind == "dot" else None), ports, target, "m3", Names(())) == fix


@pytest.mark.parametrize(
    ("merge", "given_shapes", "message"),
    [
        (
            Merge("concatenate", 0),
            [(3,), (3,)],
            "axis=0 is the batch axis: its rows must stay apart.\n  Expected: axis=1 or axis=-1",
        ),
        (
            Merge("concatenate", -3),
            [(3, 2), (3, 2)],
            "axis=-3 is the batch axis: its rows must stay apart.\n  Expected: axis=1 to axis=2, or axis=-1 to axis=-2",
        ),
        (
            Merge("stack", 4),
            [(3, 2), (3, 2)],
            "axis=4 does not exist.\n  Expected: axis=1 to axis=3, or axis=-1 to axis=-3",
        ),
        (Merge("concatenate"), [(), ()], "Sources that have only the batch axis cannot be concatenated."),
        (
            Merge("concatenate"),
            [(3,), (3, 1)],
            "Sources of different numbers of axes cannot be concatenated.\n  Expected: the same number of axes",
        ),
        (
            Merge("concatenate", 1),
            [(3, 4), (3, 5)],
            "Sources of these shapes cannot be concatenated along axis 1.\n"
            "  Expected: the same size on every other axis",
        ),
        (
            Merge("dot", axes=1),
            [(3,), (3,), (3,)],
            "'dot' takes two sources.\n  Expected: 2 sources\n  Received: 3 sources",
        ),
        (
            Merge("dot", axes=1),
            [(3, 4), (4, 5)],
            "axes=1 have the sizes 3 and 4.\n  Expected: axes of one size, or both of variable length",
        ),
        (Merge("dot", axes=(1, 1)), [(None,), (5,)], "axes=(1, 1) have the sizes None and 5."),
        (Merge("dot", axes=(0, 1)), [(3,), (3,)], "axes=0 is the batch axis: its rows must stay apart."),
        (Merge("dot", axes=2), [(3, 4), (4,)], "axes=2 does not exist.\n  Expected: axes=1 or axes=-1"),
        (Merge("stack"), [(3,), (4,)], "Sources of these shapes cannot be stacked.\n  Expected: equal shapes"),
        (
            Merge("stack"),
            [(3,), ()],
            "Sources of different numbers of axes cannot be stacked.\n  Expected: equal shapes",
        ),
        (
            Merge("stack", 1),
            [(None, None), (None, None)],
            "Sources of shape (None, None) cannot be stacked.\n"
            "  Expected: at most one variable dimension: no Keras layer adds an axis to more",
        ),
        (Merge("add"), [(3,), (4,)], "Sources of these shapes cannot be merged by 'add'.\n  Expected: sizes that are"),
        (
            Merge("average"),
            [(3,), (3, 1)],
            "Sources of different numbers of axes cannot go through 'average'.\n  Expected: the",
        ),
        (
            Merge("subtract"),
            [(3,), (3,), (3,)],
            "'subtract' takes the second source from the first.\n  Expected: 2 sources\n  Received: 3 sources\n",
        ),
    ],
)
def test_merges_that_cannot_be(merge: Merge, given_shapes: list[Shape], message: str) -> None:
    with pytest.raises(StitchError) as caught:
        merges.merged_shape(merge, given_shapes)
    assert str(caught.value).startswith(message)
