"""Whether two predictions are equal, as this project means it, and by how much they are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# The only definition of equal predictions: everything else takes it from here.
TOLERANCE = 1e-5
RULE = f"|a - b| <= {TOLERANCE} * max(1, max|b|)"


@dataclass(frozen=True)
class Comparison:
    """Two arrays side by side: what was found, and what it should be.

    Attributes:
        magnitude: The largest absolute value that should be there, infinity and NaN left out.
        largest: The largest absolute difference of finite values; ``None`` where nothing can be subtracted.
        expected: Where the arrays differ in more than numbers: what they should have in common.
        problem: And what was found instead.
        finite: How many finite values there should be.
        nan_moved: Whether NaN are in other places.
    """

    magnitude: float
    largest: float | None
    expected: str | None = None
    problem: str | None = None
    finite: int = 0
    nan_moved: bool = False

    @property
    def allowed(self) -> float:
        """The largest difference that counts as equal."""
        return allowed(self.magnitude)

    @property
    def equal(self) -> bool:
        """Whether the arrays are equal."""
        return self.problem is None and (self.largest is None or self.largest <= self.allowed)


def allowed(magnitude: float) -> float:
    """The largest difference that counts as equal: float32 promises a part of the magnitude."""
    return TOLERANCE * max(1.0, magnitude)


def compare(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> Comparison:
    """Compare predictions ``a`` to those that should be, ``b``; ``RULE`` says when they are equal.

    NaN equals NaN and infinity equals infinity of the same sign, in the same places only. Text is equal or not.

    Example:
        >>> compare(np.array([np.nan, 2.0]), np.array([1.0, 2.0])).problem
        'NaN in other places: 1 of 2 differ'
    """
    if found.shape != expected.shape:
        return Comparison(0.0, None, f"shape {expected.shape}", f"shape {found.shape}")
    if not (_is_number(found) and _is_number(expected)):
        differ = int(np.sum(found != expected))
        problem = f"other text: {differ} of {expected.size} differ" if differ else None
        return Comparison(0.0, None if differ else 0.0, "the same text" if differ else None, problem, expected.size)
    a, b = found.astype("float64"), expected.astype("float64")
    finite = np.isfinite(b)
    magnitude, count = float(np.abs(b[finite]).max(initial=0.0)), int(finite.sum())
    differ = int(np.sum(np.isnan(a) != np.isnan(b)))
    if differ:
        problem = f"NaN in other places: {differ} of {b.size} differ"
        return Comparison(magnitude, None, "NaN in the same places", problem, count, nan_moved=True)
    infinite = np.isinf(a) | np.isinf(b)
    if not np.array_equal(a[infinite], b[infinite]):
        limit = f"at most {allowed(magnitude):.3g}"
        return Comparison(magnitude, None, limit, "infinity in other places", count)
    largest = float(np.abs(a[finite] - b[finite]).max()) if count else None
    return Comparison(magnitude, largest, finite=count)


def _is_number(array: np.ndarray[Any, Any]) -> bool:
    # V: bfloat16 and other floats that NumPy itself does not have.
    return array.dtype.kind in "biufV"
