"""Parts of tensors: against Python's and NumPy's slices, printed back, and refused where they cannot be taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY

from keras_stitch.errors import StitchError
from keras_stitch.graphs.references import parse_reference
from keras_stitch.graphs.slices import Range, Slice, spans_text
from keras_stitch.graphs.spec import Shape

SIZES = st.integers(1, 3)
BOUNDS, NEAR_BOUNDS = (st.none() | st.integers(-most, most) for most in (9, 4))


@MANY
@given(BOUNDS, BOUNDS, st.integers(1, 12))
def test_a_part_is_what_python_slices(start: int | None, stop: int | None, size: int) -> None:
    part, elements = Range(start, stop), list(range(size))
    in_range = all(bound is None or -size <= bound <= size for bound in (start, stop))
    if in_range and elements[start:stop]:
        first, last = part.resolve(size)
        assert 0 <= first < last <= size
        assert elements[first:last] == elements[start:stop]
    else:
        # Python would cut what reaches beyond, and take nothing; both are mistakes here.
        with pytest.raises(StitchError):
            part.resolve(size)


@MANY
@given(st.integers(-9, 9), st.integers(1, 9))
def test_one_element_is_what_python_indexes(index: int, size: int) -> None:
    part = Range.parse(str(index))
    assert part is not None
    if -size <= index < size:
        assert list(range(size))[slice(*part.resolve(size))] == [range(size)[index]]
    else:
        with pytest.raises(StitchError, match="reaches beyond"):
            part.resolve(size)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Range(2, 5), "[2:5] reaches beyond a last axis of size 4.\n  Expected: a part of [0:4]"),
        (Range(7, 8), "[7] reaches beyond a last axis of size 4.\n  Expected: a part of [0:4]"),
        (Range(-5, None), "[-5:] reaches beyond a last axis of size 4.\n  Expected: a part of [0:4]"),
        (Range(2, 2), "[2:2] is empty on a last axis of size 4.\n  Expected: a part of [0:4]"),
        (Range(3, 1), "[3:1] is empty on a last axis of size 4.\n  Expected: a part of [0:4]"),
    ],
)
def test_parts_out_of_range(part: Range, message: str) -> None:
    with pytest.raises(StitchError) as caught:
        part.resolve(4)
    assert str(caught.value) == message


@MANY
@given(st.lists(SIZES, min_size=1, max_size=4), NEAR_BOUNDS, NEAR_BOUNDS)
def test_a_part_has_numpys_shape(shape: list[int], start: int | None, stop: int | None) -> None:
    try:
        found, spans = Slice((Range(start, stop),)).taken(tuple(shape))
    except StitchError:
        return
    assert found == np.zeros(shape)[..., start:stop].shape
    assert (not spans) == (found == tuple(shape))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "There is no axis but the batch axis.\n  Expected: a last axis of known length"),
        (
            (4, None),
            "The last axis of (4, None) is of variable length.\n  Expected: a last axis of known length",
        ),
        (
            (1, 2, 3, 4, 5),
            "(1, 2, 3, 4, 5) has more axes than any Keras layer crops.\n"
            "  Expected: at most 4 axes beside the batch axis\n"
            "  Fix: Reshape it first, with a node of its own.",
        ),
    ],
)
def test_parts_that_cannot_be_taken(shape: Shape, message: str) -> None:
    with pytest.raises(StitchError) as caught:
        Slice((Range(0, 1),)).taken(shape)
    assert str(caught.value) == message


@MANY
@given(st.lists(st.tuples(SIZES, NEAR_BOUNDS, NEAR_BOUNDS), min_size=2, max_size=4))
def test_parts_of_all_axes_are_numpys(drawn: list[tuple[int, int | None, int | None]]) -> None:
    array = np.arange(np.prod([size for size, _, _ in drawn])).reshape([1, *(size for size, _, _ in drawn)])
    try:
        found, spans = Slice(tuple(Range(start, stop) for _, start, stop in drawn)).taken(array.shape[1:])
    except StitchError:
        return
    want, taken = array[(slice(None), *(slice(start, stop) for _, start, stop in drawn))], array
    for span in spans:
        taken = taken[span.index]
    assert found == want.shape[1:]
    assert np.array_equal(taken, want)
    again = parse_reference(f"m{spans_text(spans, len(drawn))}").part
    assert again.taken(array.shape[1:]) == (found, spans)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        (
            "m[:, 0:2]",
            (5, 4, 3),
            "[:, 0:2] is of 2 axes, and (5, 4, 3) has 3 beside the batch axis.\n"
            "  Expected: one index or slice, of the last axis, or one for each axis beside the batch axis\n"
            "  Fix: Give every axis its own, such as [:, 0:2, :].",
        ),
        (
            "m[:, 0, 1:3]",
            (5, 4),
            "[:, 0, 1:3] is of 3 axes, and (5, 4) has 2 beside the batch axis.\n"
            "  Expected: one index or slice, of the last axis, or one for each axis beside the batch axis\n"
            "  Fix: Leave the batch axis out: [0, 1:3].",
        ),
        (
            "m[0, 1]",
            (4,),
            "[0, 1] is of 2 axes, and (4,) has 1 beside the batch axis.\n"
            "  Expected: one index or slice, of the last axis, or one for each axis beside the batch axis",
        ),
        (
            "m[0:2, :]",
            (None, 4),
            "Axis 1 of (None, 4) is of variable length.\n  Expected: axis 1 of known length",
        ),
        ("m[7, :]", (5, 4), "[7] reaches beyond axis 1 of size 5.\n  Expected: a part of [0:5]"),
        ("m[:, 3:3]", (5, 4), "[3:3] is empty on a last axis of size 4.\n  Expected: a part of [0:4]"),
    ],
)
def test_parts_of_axes_that_cannot_be_taken(text: str, shape: Shape, message: str) -> None:
    with pytest.raises(StitchError) as caught:
        parse_reference(text).part.taken(shape)
    assert str(caught.value) == message
