"""What users write to point at tensors, such as ``"model1.port[0:3]"``, as a value.

One index or slice in brackets is of the last axis: ``[0]``, ``[0:3]``. Several are of all axes, in their order from the
first behind the batch axis on: ``[:, 0:10]``. An index keeps its axis, which then has size 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from keras_stitch.errors import StitchError

_REFERENCE = re.compile(r"(?P<base>[^\[\]]+)(\[(?P<part>[^\[\]]*)\])?", re.DOTALL)


_RANGE = re.compile(r"\s*(?P<start>-?[0-9]+)?\s*(?P<colon>:)?\s*(?P<stop>-?[0-9]+)?\s*")


@dataclass(frozen=True)
class Range:
    """Some elements of an axis as written: ``[2]`` is ``Range(2, 3)``, ``[-1]`` is ``Range(-1, None)``."""

    start: int | None
    stop: int | None

    def resolve(self, size: int, axis: str = "a last axis") -> tuple[int, int]:
        """The range as non-negative ``(start, stop)`` on an axis of ``size`` elements.

        Args:
            size: How many elements the axis has.
            axis: What messages call it.

        Raises:
            StitchError: If it is empty or reaches beyond the axis.

        Example:
            >>> Range(-2, None).resolve(5)
            (3, 5)
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


# Of the last axis, if it is one; else one for each axis. Empty for a whole tensor.
Part: TypeAlias = tuple[Range, ...]


def part_text(part: Part) -> str:
    """A part as it is written.

    Example:
        >>> part_text((Range(None, None), Range(0, 10))), part_text(())
        ('[:, 0:10]', '')
    """
    return f"[{', '.join(map(str, part))}]" if part else ""


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    Attributes:
        node: What stands before the first dot: a submodel or a graph input.
        port: What stands behind it, if anything.
        part: The part of it that is meant; empty for the whole tensor.
    """

    node: str
    port: str | None = None
    part: Part = ()

    def __str__(self) -> str:
        return self.whole + part_text(self.part)

    @property
    def whole(self) -> str:
        """The text of the whole tensor."""
        return f"{self.node}.{self.port}" if self.port else self.node


def parse_reference(text: object) -> Reference:
    """Parse what the user wrote.

    Raises:
        StitchError: If it cannot be read.

    Example:
        >>> parse_reference("model1.out[0:3]")
        Reference(node='model1', port='out', part=(Range(start=0, stop=3),))
    """
    match = _REFERENCE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise _unreadable(text)
    node, _, port = match["base"].partition(".")
    if not node or (port == "" and "." in match["base"]):
        raise _unreadable(text)
    return Reference(node, port or None, () if match["part"] is None else _parse_part(text, match["part"]))


def _parse_part(text: object, part: str) -> Part:
    return tuple(_parse_range(text, one) for one in part.split(","))


def _parse_range(text: object, written: str) -> Range:
    match = _RANGE.fullmatch(written)
    if match is None or (match["colon"] is None and (match["start"] is None or match["stop"] is not None)):
        raise _unreadable(text)
    start = None if match["start"] is None else int(match["start"])
    if match["colon"] is None:
        assert start is not None
        return Range(start, None if start == -1 else start + 1)
    return Range(start, None if match["stop"] is None else int(match["stop"]))


def _unreadable(text: object) -> StitchError:
    return StitchError(
        f"Cannot read {text!r} as the name of a tensor.",
        expected="'submodel', 'submodel.port' or 'graph_input', and behind it, if only a part is meant, '[0]', '[0:3]' "
        "or '[-2:]' of the last axis, or one of these for each axis, '[:, 0:3]'",
        received=repr(text),
    )
