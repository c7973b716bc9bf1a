"""References as users write them: read, printed back, and refused where they cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY

from keras_stitch.errors import StitchError
from keras_stitch.graphs.references import Reference, parse_reference
from keras_stitch.graphs.slices import Range, Slice

NAMES = (
    st.text(st.characters(exclude_characters="[].", exclude_categories=("Cs",)), min_size=1).map(str.strip).filter(bool)
)


def written_parts() -> st.SearchStrategy[str]:
    """``[2]``, ``[1:3]``, ``[ -2 : ]``: what is written and what Python makes of it."""
    numbers = st.integers(-9, 9).map(str)
    sides = st.one_of(st.just(""), numbers)
    return st.one_of(numbers, st.tuples(sides, sides).map(":".join), st.tuples(sides, sides).map(" : ".join))


@MANY
@given(NAMES, st.none() | NAMES, st.none() | written_parts())
def test_a_reference_says_itself(node: str, port: str | None, part: str | None) -> None:
    text = node + (f".{port}" if port else "") + (f"[{part}]" if part else "")
    reference = parse_reference(text)
    assert (reference.node, reference.port, not reference.part) == (node, port, part is None)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("model1", Reference("model1")),
        (" model1.out ", Reference("model1", "out")),
        ("model1.block.out", Reference("model1", "block.out")),
        ("model1[0]", Reference("model1", None, Slice((Range(0, 1),)))),
        ("model1[-1]", Reference("model1", None, Slice((Range(-1, None),)))),
        ("model1[-2]", Reference("model1", None, Slice((Range(-2, -1),)))),
        ("model1.out[1:3]", Reference("model1", "out", Slice((Range(1, 3),)))),
        ("model1[:]", Reference("model1", None, Slice((Range(None, None),)))),
        ("model1[:-1]", Reference("model1", None, Slice((Range(None, -1),)))),
        ("model1[:, 0:10]", Reference("model1", None, Slice((Range(None, None), Range(0, 10))))),
        ("model1.out[0,-1 , 2:]", Reference("model1", "out", Slice((Range(0, 1), Range(-1, None), Range(2, None))))),
    ],
)
def test_reading(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ".",
            "m.",
            ".x",
            "[0]",
            "m[",
            "m]",
            "m[]",
            "m[a]",
            "m[1.5]",
            "m[1:2:3]",
            "m[0,]",
            "m[,0]",
            "m[0,,1]",
            "m[...,0]",
            "m[0][1]",
            "m]0[",
        ),
        *("m[0,]", "m[,0]", "m[0,,1]", "m[...,0]"),
        *("m[1 2]", "m[--1]", "m[-1-2]", "m[٣]", "m[0]x", 3, None, ["m"]),
    ],
)
def test_what_cannot_be_read_is_refused(text: object) -> None:
    with pytest.raises(StitchError) as caught:
        parse_reference(text)
    assert str(caught.value) == (
        f"Cannot read {text!r} as the name of a tensor.\n"
        "  Expected: 'submodel', 'submodel.port' or 'graph_input', and behind it, if only a part is meant, "
        "'[0]', '[0:3]' or '[-2:]' of the last axis, or one of these for each axis, '[:, 0:3]'\n"
        f"  Received: {text!r}"
    )
