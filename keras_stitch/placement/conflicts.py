"""Which pins exclude each other in one environment, and which submodels have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from keras_stitch.placement.requirements import as_tensorflow, clash, exclude, joined, package
from keras_stitch.placement.uv import Resolver

T = TypeVar("T")


@dataclass(frozen=True)
class Pin:
    """A requirement and the submodel that has it; no submodel for the stitched model itself."""

    text: str
    of: str = ""


class Conflicts:
    """Which submodels exclude each other in the environment of the stitched model, and by which pins.

    Args:
        base: The pins of the stitched model itself.
        pins: The pins of every submodel.
        resolver: Decides what the version numbers leave open; without it, only the numbers count.
    """

    def __init__(self, base: Iterable[Pin], pins: Mapping[str, Sequence[Pin]], resolver: Resolver | None):
        self._base, self._pins, self._resolver = tuple(base), pins, resolver

    def fit(self, names: Iterable[str]) -> bool | None:
        """Whether the pins of these submodels and the base can be in one environment."""
        return self._resolve((*self._base, *(pin for name in names for pin in self._pins[name])))

    def conflict(self, names: Iterable[str]) -> frozenset[str]:
        """A smallest set of submodels that do not fit: one or two where the version numbers show it."""
        names = tuple(names)
        pair = _pair((*self._base, *(pin for name in names for pin in self._pins[name])))
        owners = frozenset(pin.of for pin in pair).intersection(names)
        return owners or frozenset(_explain((), names, lambda some: self.fit(some) is not False))

    def reason(self, name: str, conflict: Collection[str]) -> str:
        """The pins by which a submodel and the others of a conflict exclude each other."""
        others = [pin for other in self._pins if other in conflict and other != name for pin in self._pins[other]]
        pins = [*self._pins[name], *others, *self._base]
        # Bare names come last: they are the least likely to be a reason.
        telling = sorted(dict.fromkeys(pins), key=lambda pin: package(pin.text) == pin.text)
        few = _pair(pins) or _explain((), tuple(telling), lambda some: self._resolve(some) is not False)
        texts = [_owned(pin, name) for pin in dict.fromkeys(pins) if pin in few]
        alone = f"no environment of the stitched model can have {texts[0]}"
        return f"{listed(texts)} exclude each other" if len(texts) > 1 else alone

    def _resolve(self, pins: Iterable[Pin]) -> bool | None:
        return resolve(self._resolver, [as_tensorflow(pin.text) for pin in pins])


def resolve(resolver: Resolver | None, requirements: Iterable[str], python: str = "") -> bool | None:
    """Whether requirements can be in one environment; version numbers that exclude each other decide it alone.

    The resolver decides what the version numbers leave open; without it, the answer is then ``None``. The release of
    Python is this one unless it is said.
    """
    asked = joined(requirements)
    if clash(asked):
        return False
    return resolver.resolves(asked, python) if resolver else None


def _pair(pins: Iterable[Pin]) -> tuple[Pin, ...]:
    """The first two pins that exclude each other by their numbers."""
    alike = combinations([(package(pin.text), pin) for pin in pins], 2)
    return next(((a, b) for (x, a), (y, b) in alike if x == y and exclude(a.text, b.text)), ())


def _explain(known: tuple[T, ...], items: tuple[T, ...], fits: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """QuickXplain: a smallest part of ``items`` that does not fit together with ``known``."""
    if not items or not fits(known):
        return ()
    if len(items) == 1:
        return items
    first, second = items[: len(items) // 2], items[len(items) // 2 :]
    late = _explain((*known, *first), second, fits)
    return (*_explain((*known, *late), first, fits), *late)


def _owned(pin: Pin, name: str) -> str:
    if pin.of == name:
        return f"its {pin.text}"
    return f"{pin.text} of '{pin.of}'" if pin.of else f"{pin.text} of the stitched model"


def listed(items: Sequence[str]) -> str:
    """Several texts as one text, for messages: "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
