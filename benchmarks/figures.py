"""What a benchmark finds: ratios, and whether they meet a target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timing import Ratio, Times

# Wider than this around 1, an interval says nothing about being 1.
_NEAR = 0.1
# Among the seconds that steps took; in MiB.
MEMORY = "peak memory"


@dataclass(frozen=True)
class Target:
    """What a ratio should be.

    Attributes:
        kind: ``"at least"``, ``"at most"``, or ``"no more than noise from"``.
        value: The limit.
    """

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"

    def verdict(self, found: Ratio, noise: Ratio | None = None) -> str:
        """``met`` or ``missed`` where the whole interval says so, else ``undecided``.

        Args:
            found: The ratio.
            noise: Of the same thing with itself, in the same rounds.
        """
        if self.kind == "at least":
            return "met" if found.low >= self.value else "missed" if found.high < self.value else "undecided"
        if self.kind == "at most":
            return "met" if found.high <= self.value else "missed" if found.low > self.value else "undecided"
        ends = [self.value, *([] if noise is None else [noise.low, noise.high])]
        if found.high < min(ends) or found.low > max(ends):
            return "missed"
        near = self.value - _NEAR <= found.low and found.high <= self.value + _NEAR
        return "met" if near else "undecided"


@dataclass(frozen=True)
class Figure:
    """One ratio.

    Attributes:
        section: Of the page: ``throughput``, ``start``, ``memory``, ``building``, ``pipelines``.
        work: What was run.
        rows: Its batch size; 0 where that does not matter.
        what: Of what it is the ratio, such as ``stitched / by hand``.
        ratio: The ratio.
        noise: The same of a thing with itself.
        base: What is below the line, in its unit.
        unit: Of the base: ``ms``, ``s``, ``MiB``.
        target: What it should be, if that was said.
    """

    section: str
    work: str
    rows: int
    what: str
    ratio: Ratio
    noise: Ratio | None
    base: float
    unit: str
    target: Target | None = None

    @property
    def verdict(self) -> str:
        """As the target says; empty without one."""
        return "" if self.target is None else self.target.verdict(self.ratio, self.noise)


def compared(
    section: str,
    work: str,
    rows: int,
    times: Times,
    pairs: Sequence[tuple[str, str]],
    *,
    again: tuple[str, str],
    unit: str,
    scale: float,
    targets: Mapping[str, Target] | None = None,
) -> list[Figure]:
    """The ratios of what took turns.

    Args:
        section: Of the page.
        work: What was run.
        rows: Its batch size.
        times: What each run took, in every round.
        pairs: What is divided by what.
        again: Two names of the same thing, for the noise.
        unit: Of the bases.
        scale: By which times are multiplied to be in that unit.
        targets: By ``what`` of the figure.
    """
    import numpy as np

    noise = Ratio.of(times[again[0]], times[again[1]])
    found = []
    for one, other in pairs:
        if one not in times or other not in times:
            continue
        what, base = f"{one} / {other}", float(np.median(times[other])) * scale
        found_ratio = Ratio.of(times[one], times[other])
        found.append(Figure(section, work, rows, what, found_ratio, noise, base, unit, (targets or {}).get(what)))
    return found


def replaced(olds: Sequence[Figure], news: Sequence[Figure]) -> list[Figure]:
    """What was known, but for what has been measured again: each work stays at its place in its section."""
    places = {(figure.section, figure.work): number for number, figure in reversed([*enumerate(olds)])}
    again = {(figure.section, figure.work) for figure in news}
    kept = [(n, figure) for n, figure in enumerate(olds) if (figure.section, figure.work) not in again]
    put = [(places.get((figure.section, figure.work), len(olds)), figure) for figure in news]
    return [figure for _, figure in sorted(kept + put, key=lambda item: item[0])]


def to_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Plain data."""
    return [asdict(figure) for figure in figures]


def from_json(items: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The same, read again."""

    def read(item: Mapping[str, Any]) -> Figure:
        made: dict[str, Any] = {
            name: kind(**item[name]) if item[name] is not None else None
            for name, kind in (("ratio", Ratio), ("noise", Ratio), ("target", Target))
        }
        return Figure(**{**item, **made})

    return [read(item) for item in items]


def write(path: Path, figures: Sequence[Figure]) -> None:
    """A file of figures, for whoever runs a benchmark in a process of its own."""
    path.write_text(json.dumps(to_json(figures), indent=1), encoding="utf-8")


def read(path: Path) -> list[Figure]:
    """The figures in a file."""
    return from_json(json.loads(path.read_text(encoding="utf-8")))
