"""Runs that take turns, and their ratios: what all benchmarks here are made of."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

import numpy as np
from rich.progress import track

Runs = dict[str, Callable[[], object]]
Times = dict[str, list[float]]


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes, once."""
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(runs: Runs, rounds: int, what: str) -> Times:
    """Seconds of every round; what the first call opens and indexes is not in them."""
    for run in runs.values():
        run()
    times: Times = {name: [] for name in runs}
    order = random.Random(0)
    for _ in track(range(rounds), what, transient=True):
        for name in order.sample(list(runs), len(runs)):
            times[name].append(seconds(runs[name]))
    return times


def ratio(ones: list[float], others: list[float]) -> str:
    """The median of the rounds' ratios, and the quartiles around it."""
    low, middle, high = np.quantile(np.array(ones) / np.array(others), (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
