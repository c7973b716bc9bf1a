"""Whether two predictions are equal, as this project means it, and by how much they are not.

Some models amplify rounding: what one predicts in float32, ``b``, is further from what it predicts in float64,
``b64``, than ``TOLERANCE`` allows. A repaired model ``a`` then cannot be within it, and neither is the original itself
once its sums run in another order. Such an ``a`` is equal where it is as near to the truth as the original was:

- In float64, no row differs from the original by more than the original's largest rounding.
- In float32, the distances of its rows from ``b64`` are those of the original, within a factor of 1.5 at the median,
  at 90 % and at 99 % of the rows. The largest distance is no measure of that: it is one row in which rounding happened
  to grow. Of a recurrent network on 1,024 rows, Keras 2 itself has 3.1e-4 when it runs compiled and 1.1e-4 when it
  runs eagerly, or 3.9e-4 and 7.7e-4 on other rows, while 99 % of the rows are within 1.6e-5 to 1.8e-5 each time. So the
  largest is only held within a factor of 10, and no row is far off.

That needs many rows, and a run of both models in float64, so ``compare`` does it only where it is given those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# The only definition of equal predictions: everything else takes it from here.
TOLERANCE = 1e-5
RULE = f"|a - b| <= {TOLERANCE} * max(1, max|b|)"
# Models that amplify rounding: the share of the rows up to which a distance holds, and how many times that of the
# original it may be there.
NEAR = {0.5: 1.5, 0.9: 1.5, 0.99: 1.5, 1.0: 10.0}
LEAST_ROWS = 512
ROUNDING_RULE = (
    "max|a64 - b64| <= max|b - b64|, and |a - b64| <= 1.5 |b - b64| at the median, at 90 % and at 99 % of at least "
    f"{LEAST_ROWS} rows, 10 |b - b64| at the largest"
)


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
        as_near: Whether it is as near to float64 as what should be there, by ``ROUNDING_RULE``.
    """

    magnitude: float
    largest: float | None
    expected: str | None = None
    problem: str | None = None
    finite: int = 0
    nan_moved: bool = False
    as_near: bool = False

    @property
    def allowed(self) -> float:
        """The largest difference that counts as equal."""
        return allowed(self.magnitude)

    @property
    def equal(self) -> bool:
        """Whether the arrays are equal, by ``RULE`` or by ``ROUNDING_RULE``."""
        within = self.largest is None or self.largest <= self.allowed
        return self.problem is None and (within or self.as_near)


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
    return compared if in_float64 is None else replace(compared, as_near=_as_near(a, b, in_float64))


def _as_near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], exact: InFloat64) -> bool:
    """``ROUNDING_RULE`` of predictions without infinity or NaN."""
    arrays = (a, b, exact.found, exact.expected)
    if len({array.shape for array in arrays}) > 1 or not all(np.isfinite(array).all() for array in arrays):
        return False
    rows = len(b) if b.ndim else 0
    if rows < LEAST_ROWS:
        return False
    repaired, own, models = (
        np.abs(array - exact.expected).reshape(rows, -1).max(axis=1, initial=0.0) for array in (a, b, exact.found)
    )
    near = all(np.quantile(repaired, share) <= factor * np.quantile(own, share) for share, factor in NEAR.items())
    return bool(near and models.max() <= own.max())


def _is_number(array: np.ndarray[Any, Any]) -> bool:
    # V: bfloat16 and other floats that NumPy itself does not have.
    return array.dtype.kind in "biufV"
