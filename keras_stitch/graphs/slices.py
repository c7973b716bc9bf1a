"""A part of a tensor, the one place for it: as it is written, ``[0:3]``, and resolved against a shape.

One index or slice is of the last axis: ``[0]``, ``[0:3]``. Several are of all axes, in their order from the first
behind the batch axis on: ``[:, 0:10]``. An index keeps its axis, which then has size 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from keras_stitch.errors import StitchError

_RANGE = re.compile(r"\s*(?:(?P<index>{0})|(?P<start>{0})?\s*:\s*(?P<stop>{0})?)\s*".replace("{0}", "-?[0-9]{1,18}"))

# No Keras layer crops more axes.
_MOST_AXES = 4


@dataclass(frozen=True)
class Range:
    """Some elements of an axis as written: ``[2]`` is ``Range(2, 3)``, ``[-1]`` is ``Range(-1, None)``."""

    start: int | None
    stop: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The range that a text says, if it says one."""
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        if match["index"] is not None:
            index = int(match["index"])
            return cls(index, None if index == -1 else index + 1)
        return cls(*(None if match[bound] is None else int(match[bound]) for bound in ("start", "stop")))

    def resolve(self, size: int, axis: str = "a last axis") -> tuple[int, int]:
        """The range as non-negative ``(start, stop)`` on an axis of ``size`` elements, which messages call ``axis``.

        Raises:
            StitchError: If it is empty or reaches beyond the axis.
        """
        start = 0 if self.start is None else self.start + (size if self.start < 0 else 0)
        stop = size if self.stop is None else self.stop + (size if self.stop < 0 else 0)
        if not (0 <= start <= size and 0 <= stop <= size):
            raise StitchError(f"[{self}] reaches beyond {axis} of size {size}.", expected=f"a part of [0:{size}]")
        if start >= stop:
            raise StitchError(f"[{self}] is empty on {axis} of size {size}.", expected=f"a part of [0:{size}]")
        return start, stop

    def __str__(self) -> str:
        if self.start is not None and (self.stop == self.start + 1 or (self.start == -1 and self.stop is None)):
            return f"{self.start}"
        return f"{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}"


_ALL = Range(None, None)


@dataclass(frozen=True)
class Span:
    """The elements of one axis from ``start`` to before ``stop``; ``axis`` counts from the last one, -1, back."""

    start: int
    stop: int
    axis: int = -1

    @property
    def index(self) -> tuple[Any, ...]:
        """What takes these elements of a NumPy array."""
        return (..., slice(self.start, self.stop), *(slice(None),) * (-1 - self.axis))

    @property
    def arguments(self) -> list[tuple[str, int]]:
        """The arguments of ``Take`` in generated code, each with what is written before it."""
        axis = [("axis=", self.axis)] if self.axis != -1 else []
        return [("", self.start), ("", self.stop), *axis]


def spans_text(spans: Sequence[Span], rank: int) -> str:
    """What is taken of the axes of a tensor, as a reference says it.

    Example:
        >>> spans_text([Span(0, 3)], 2), spans_text([Span(0, 3, -2)], 2), spans_text([], 2)
        ('[0:3]', '[0:3, :]', '')
    """
    taken = {span.axis: f"{span.start}:{span.stop}" for span in spans}
    axes = range(-1 if taken.keys() <= {-1} else -rank, 0)
    return f"[{', '.join(taken.get(axis, ':') for axis in axes)}]" if taken else ""


@dataclass(frozen=True)
class Slice:
    """A part as written: one range of the last axis, or one for each axis; none for a whole tensor."""

    ranges: tuple[Range, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The part that a text between brackets says, if it says one."""
        ranges = [Range.parse(one) for one in text.split(",")]
        return None if None in ranges else cls(tuple(one for one in ranges if one is not None))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.ranges))}]" if self.ranges else ""

    def first(self, count: int) -> Self:
        """The first elements of the part along the last axis: 3 of ``[2:9]`` are ``[2:5]``."""
        start = (self.ranges[-1].start if self.ranges else None) or 0
        return replace(self, ranges=(*self.ranges[:-1], Range(start, start + count)))

    def taken(self, shape: tuple[int | None, ...]) -> tuple[tuple[int | None, ...], tuple[Span, ...]]:
        """The shape of the part of a tensor, and what is taken of each axis that is cut.

        Raises:
            StitchError: If the part cannot be taken.

        Example:
            >>> Slice((Range(1, 3),)).taken((None, 4))
            ((None, 2), (Span(start=1, stop=3, axis=-1),))
        """
        if not self:
            return shape, ()
        sizes, spans = list(shape), []
        for axis, (asked, size) in enumerate(zip(self._of_each_axis(shape), shape, strict=True), -len(shape)):
            if asked == _ALL:
                continue
            called = "last axis" if axis == -1 else f"axis {axis + len(shape) + 1}"
            if size is None:
                what = f"The {called}" if axis == -1 else called.capitalize()
                raise StitchError(
                    f"{what} of {shape} is of variable length.",
                    expected=f"{'a ' if axis == -1 else ''}{called} of known length",
                )
            start, stop = asked.resolve(size, f"a {called}" if axis == -1 else called)
            if (start, stop) != (0, size):
                sizes[axis] = stop - start
                spans.append(Span(start, stop, axis))
        return tuple(sizes), tuple(spans)

    def _of_each_axis(self, shape: tuple[int | None, ...]) -> tuple[Range, ...]:
        missing, fix = len(shape) - len(self.ranges), None
        if not shape and len(self.ranges) == 1:
            raise StitchError("There is no axis but the batch axis.", expected="a last axis of known length")
        if missing and len(self.ranges) > 1:
            # NumPy would take the first axes, which is easily meant otherwise.
            if missing > 0:
                fix = f"Give every axis its own, such as {Slice((*self.ranges, *(_ALL,) * missing))}."
            elif missing == -1 and self.ranges[0] == _ALL:
                fix = f"Leave the batch axis out: {Slice(self.ranges[1:])}."
            raise StitchError(
                f"{self} is of {len(self.ranges)} axes, and {shape} has {len(shape)} beside the batch axis.",
                expected="one index or slice, of the last axis, or one for each axis beside the batch axis",
                fix=fix,
            )
        if len(shape) > _MOST_AXES:
            raise StitchError(
                f"{shape} has more axes than any Keras layer crops.",
                expected=f"at most {_MOST_AXES} axes beside the batch axis",
                fix="Reshape it first, with a node of its own.",
            )
        return (*(_ALL,) * missing, *self.ranges)


WHOLE = Slice()
