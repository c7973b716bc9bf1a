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


ROWS = 1024


def noisy(seed: int, *, scale: float = 1e-6) -> np.ndarray:
    """What a model that amplifies rounding predicts in float32: most rows are near to ``TRUTH``, a few are not."""
    random = np.random.default_rng(seed)
    return (TRUTH + scale * random.standard_cauchy(TRUTH.shape).clip(-300, 300)).astype("float32")


TRUTH = np.random.default_rng(0).uniform(0, 1, (ROWS, 3))
EXPECTED = noisy(1)
FOUND = noisy(2)
NEARLY = TRUTH + 1e-6


def far(array: np.ndarray, distance: float) -> np.ndarray:
    """With one row far off."""
    moved = array.copy()
    moved[7] += distance
    return moved


@pytest.mark.parametrize(
    ("found", "in_float64", "equal"),
    [
        (FOUND, None, False),
        (FOUND, NEARLY, True),
        (noisy(3, scale=1.4e-6), NEARLY, True),
        (noisy(3, scale=2e-6), NEARLY, False),  # that is more than rounding, in most rows
        (FOUND + np.float32(1e-5), NEARLY, False),
        (far(FOUND, 1e-2), NEARLY, False),  # and that in one
        (FOUND, far(NEARLY, 1e-3), False),  # it is another model
        (FOUND, far(NEARLY, np.nan), False),
        (FOUND, TRUTH[:, :1], False),
        (far(FOUND, np.nan), NEARLY, False),
        (far(FOUND, np.inf), NEARLY, False),
    ],
)
def test_rounding_counts_where_float64_ran(found: np.ndarray, in_float64: np.ndarray | None, equal: bool) -> None:
    compared = compare(found, EXPECTED, None if in_float64 is None else InFloat64(in_float64, TRUTH))
    assert compared.equal == compared.as_near == equal
    assert compared.allowed == 1e-5


def test_few_rows_say_nothing_of_rounding() -> None:
    few = slice(0, 511)
    assert not compare(FOUND[few], EXPECTED[few], InFloat64(NEARLY[few], TRUTH[few])).equal
    assert not compare(np.float32(1.5), np.float32(1.0), InFloat64(np.array(1.0), np.array(1.0))).equal


def test_no_rounding_excuses_a_model_without_any() -> None:
    """Where float32 is exact, float64 says nothing new."""
    exact = TRUTH.astype("float32").astype("float64")
    assert not compare(FOUND, exact, InFloat64(exact + 1e-12, exact)).equal
    assert not compare(FOUND, exact, InFloat64(exact, exact)).equal


def test_a_run_in_float32_is_none_in_float64() -> None:
    with pytest.raises(ValueError, match="float32 is not what a run in float64 gives"):
        InFloat64(TRUTH.astype("float32"), TRUTH)
