"""Runs that take turns, and their ratios: what all benchmarks here are made of."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import track

Runs = dict[str, Callable[[], object]]
Times = dict[str, list[float]]
# Faster than this, a run is repeated until it takes as long: the clock and what comes before it are then no matter.
LEAST_SECONDS = 0.05
_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Ratio:
    """The ratio of two things that took turns.

    Attributes:
        median: Of the rounds' ratios.
        low, high: The interval of the median, at 95 %, of its order statistics: it holds whatever the distribution, if
            rounds do not depend on one another.
        rounds: How many there were; below six there is no such interval, and these are infinite.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, ones: Sequence[float], others: Sequence[float]) -> Ratio:
        """The ratio of what was measured in the same rounds."""
        from scipy import stats

        ratios = np.asarray(ones, float) / np.asarray(others, float)
        median = float(np.median(ratios))
        interval = stats.quantile_test(ratios, q=median, p=0.5).confidence_interval(0.95)
        found = [float(interval.low), float(interval.high)]
        low, high = (value if np.isfinite(value) else end for value, end in zip(found, (0.0, np.inf), strict=True))
        return cls(median, low, high, len(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and how long it took, in seconds."""
    gc.collect()
    start = time.perf_counter()
    made = run()
    return made, time.perf_counter() - start


def seconds(run: Callable[[], object], times: int = 1) -> float:
    """How long a call takes, on the average of some."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        run()
    return max(time.perf_counter() - start, 1e-9) / times


def measure(runs: Runs, rounds: int, what: str, *, least: float = 0.0, lasting: float = 0.0) -> Times:
    """Seconds of every round; what the first call opens, indexes and traces is not in them.

    Args:
        runs: What takes turns, in an order that changes from round to round.
        rounds: How often, at least.
        what: Shown beside the progress bar.
        least: Runs are repeated until a round of them takes so many seconds.
        lasting: As many more rounds, up to a hundred, as are over in so many seconds.
    """
    often = dict.fromkeys(runs, 1)
    for name, run in runs.items():
        run()
        if least:
            often[name] = max(1, round(least / min(seconds(run) for _ in range(3))))
    gc.freeze()  # what is there by now stays; looking it through before every run would take longer than many runs
    if lasting:
        start = time.perf_counter()
        for name, run in runs.items():
            seconds(run, often[name])
        rounds = max(rounds, min(_MOST_ROUNDS, int(lasting / (time.perf_counter() - start))))
    times: Times = {name: [] for name in runs}
    order = random.Random(0)
    for _ in track(range(rounds), what, transient=True):
        for name in order.sample(list(runs), len(runs)):
            times[name].append(seconds(runs[name], often[name]))
    gc.unfreeze()
    return times


def ratio(ones: list[float], others: list[float]) -> str:
    """The median of the rounds' ratios, and the quartiles around it."""
    low, middle, high = np.quantile(np.array(ones) / np.array(others), (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
