"""Whether two predictions are equal, as this project means it, and by how much they are not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# The only definition of equal predictions: everything else takes it from here.
TOLERANCE = 1e-5
RULE = f"|a - b| <= {TOLERANCE} * max(1, max|b|)"
# Some models amplify rounding, so that b is further from what its model predicts in float64 than that. Then a may be
# further from b, too: in float64 the models differ by no more than b's own rounding, and a and b by no more than sums
# in other orders made of it (2 to 10 times as much). It holds only where both models really ran in float64.
AMPLIFIED = 10
ROUNDING_RULE = f"|a64 - b64| <= max|b - b64| and |a - b| <= {AMPLIFIED} * max|b - b64|"


@dataclass(frozen=True)
class InFloat64:
    """What both models predict in float64.

    Attributes:
        found: ``a64``, of the model whose predictions are compared.
        expected: ``b64``, of the model that it should be.
    """

    found: np.ndarray[Any, Any]
    expected: np.ndarray[Any, Any]

    def __post_init__(self) -> None:
        for array in (self.found, self.expected):
            if array.dtype != np.float64:
                raise ValueError(f"{array.dtype} is not what a run in float64 gives")


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
        in_float64: The largest difference in float64, ``None`` where nothing ran so.
        rounding: The largest difference of what should be there from its float64; ``None`` likewise.
    """

    magnitude: float
    largest: float | None
    expected: str | None = None
    problem: str | None = None
    finite: int = 0
    nan_moved: bool = False
    in_float64: float | None = None
    rounding: float | None = None

    @property
    def allowed(self) -> float:
        """The largest difference that counts as equal."""
        return allowed(self.magnitude)

    @property
    def equal(self) -> bool:
        """Whether the arrays are equal, by ``RULE`` or by ``ROUNDING_RULE``."""
        within = self.largest is None or self.largest <= self.allowed
        return self.is_rounding or (within and self.problem is None)

    @property
    def is_rounding(self) -> bool:
        """Whether the model is as near to float64 as the one that it should be."""
        if self.problem or self.largest is None or self.in_float64 is None or self.rounding is None:
            return False
        return self.in_float64 <= self.rounding and self.largest <= AMPLIFIED * self.rounding


def allowed(magnitude: float) -> float:
    """The largest difference that counts as equal: float32 promises a part of the magnitude."""
    return TOLERANCE * max(1.0, magnitude)


def compare(
    found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], in_float64: InFloat64 | None = None
) -> Comparison:
    """Compare predictions ``a`` to those that should be, ``b``; ``RULE`` says when they are equal.

    Where both models ran in float64 on the same inputs, ``ROUNDING_RULE`` does, too. NaN equals NaN and infinity equals
    infinity of the same sign, in the same places only. Text is equal or not.

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
    compared = Comparison(magnitude, largest, finite=count)
    if in_float64 is None:
        return compared
    exact, own = compare(in_float64.found, in_float64.expected), compare(expected, in_float64.expected)
    if exact.problem or own.problem:
        return compared
    return replace(compared, in_float64=exact.largest, rounding=own.largest)


def _is_number(array: np.ndarray[Any, Any]) -> bool:
    # V: bfloat16 and other floats that NumPy itself does not have.
    return array.dtype.kind in "biufV"
