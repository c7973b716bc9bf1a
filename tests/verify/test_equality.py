"""What counts as equal: the one tolerance, and NaN, infinity and text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_stitch.verify.equality import InFloat64, compare


@given(st.floats(1e-3, 1e6), st.floats(0, 3))
def test_the_tolerance_is_a_part_of_the_magnitude(magnitude: float, times: float) -> None:
    expected = np.array([magnitude, -magnitude / 2, 0.0])
    limit = 1e-5 * max(1.0, magnitude)
    compared = compare(expected + np.array([0, 0, times * limit]), expected)
    assert compared.magnitude == magnitude and compared.allowed == limit
    assert compared.equal == (compared.largest <= limit)
    assert compared.equal or times > 0.999


@pytest.mark.parametrize(
    ("found", "expected", "problem"),
    [
        ([1.0], [1.0, 1.0], "shape (1,)"),
        ([np.nan, 1.0], [1.0, np.nan], "NaN in other places: 2 of 2 differ"),
        ([np.inf, 1.0], [-np.inf, 1.0], "infinity in other places"),
        ([np.inf, 1.0], [1.0, 1.0], "infinity in other places"),
        ([1.0, 1.0], [np.inf, 1.0], "infinity in other places"),
        ([b"a", b"b"], [b"a", b"c"], "other text: 1 of 2 differ"),
    ],
)
def test_what_no_number_measures(found: list, expected: list, problem: str) -> None:
    compared = compare(np.array(found), np.array(expected))
    assert not compared.equal and compared.problem == problem and compared.largest is None


def test_the_same_nan_and_infinity_are_equal() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 2.0], "float32")
    compared = compare(values, values)
    assert compared.equal and (compared.finite, compared.magnitude, compared.largest) == (1, 2.0, 0.0)
    nothing = compare(values[:3], values[:3])
    assert nothing.equal and (nothing.finite, nothing.largest) == (0, None)


def test_whole_numbers_booleans_and_text() -> None:
    assert compare(np.array([3, 4]), np.array([3, 5])).largest == 1
    assert compare(np.array([True, False]), np.array([True, True])).largest == 1
    assert compare(np.array([b"a", b"bb"]), np.array([b"a", b"bb"])).equal


# A model that amplifies rounding: what should be there is 3e-5 from its own float64.
TRUTH = np.array([0.5, 1.0])
EXPECTED = np.array([0.50003, 1], "float32")
FOUND = np.array([0.49997, 1], "float32")


@pytest.mark.parametrize(
    ("found", "in_float64", "equal"),
    [
        (FOUND, None, False),
        (FOUND, np.array([0.50002, 1]), True),
        (FOUND - np.float32(2e-4), TRUTH, True),
        (FOUND - np.float32(3e-4), TRUTH, False),  # that is more than rounding
        (FOUND, np.array([0.50004, 1]), False),  # it is another model
        (FOUND, np.array([0.5, 1.00004]), False),
        (FOUND, np.array([0.5, np.nan]), False),
        (FOUND, TRUTH[:1], False),
        (np.array([np.nan, 1], "float32"), TRUTH, False),
        (np.array([np.inf, 1], "float32"), TRUTH, False),
    ],
)
def test_rounding_counts_where_float64_ran(found: np.ndarray, in_float64: np.ndarray | None, equal: bool) -> None:
    compared = compare(found, EXPECTED, None if in_float64 is None else InFloat64(in_float64, TRUTH))
    assert compared.equal == equal
    assert compared.allowed == 1e-5 and compared.is_rounding == equal


def test_no_rounding_excuses_a_model_without_any() -> None:
    """Where float32 is exact, float64 says nothing new."""
    exact = TRUTH.astype("float32")
    assert not compare(FOUND, exact, InFloat64(TRUTH + 1e-12, TRUTH)).equal
    assert not compare(FOUND, exact, InFloat64(TRUTH, TRUTH)).equal


def test_a_run_in_float32_is_none_in_float64() -> None:
    with pytest.raises(ValueError, match="float32 is not what a run in float64 gives"):
        InFloat64(TRUTH.astype("float32"), TRUTH)
