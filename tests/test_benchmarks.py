"""The benchmarks measure what they say: equal numbers from all peers, intervals and verdicts that can be trusted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import figures
import long_runs
import numpy as np
import peers
import pytest
import report
import timing
import works
from figures import Figure, Target, compared
from hypothesis import given
from hypothesis import strategies as st
from timing import Ratio, measure

AT_LEAST, AT_MOST, NOISE = Target("at least", 2), Target("at most", 2), Target("no more than noise from", 1)


def of(low: float, high: float) -> Ratio:
    return Ratio((low + high) / 2, low, high, 9)


@pytest.mark.parametrize(
    ("target", "low", "high", "verdict"),
    [
        (AT_LEAST, 2.0, 2.5, "met"),
        (AT_LEAST, 1.9, 2.5, "undecided"),
        (AT_LEAST, 1.5, 1.9, "missed"),
        (AT_MOST, 1.5, 2.0, "met"),
        (AT_MOST, 1.5, 2.1, "undecided"),
        (AT_MOST, 2.1, 2.5, "missed"),
        (NOISE, 0.95, 1.02, "met"),
        (NOISE, 1.01, 1.05, "met"),  # the noise goes as far
        (NOISE, 0.7, 1.5, "undecided"),  # so wide that it says nothing
        (NOISE, 1.04, 1.09, "missed"),
        (NOISE, 0.8, 0.9, "missed"),
    ],
)
def test_a_target_is_met_where_the_whole_interval_says_so(target, low, high, verdict):
    assert target.verdict(of(low, high), noise=of(0.97, 1.03)) == verdict


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=40))
def test_the_interval_holds_the_median_and_lies_within_the_ratios(ratios):
    found = Ratio.of(ratios, [1.0] * len(ratios))
    assert min(ratios) <= found.low <= found.median <= found.high <= max(ratios)
    assert found.median == pytest.approx(np.median(ratios)) and found.rounds == len(ratios)


def test_intervals_hold_the_true_median_19_times_in_20():
    random = np.random.default_rng(0)
    draws = random.lognormal(0, 0.3, (400, 25))  # whose median is 1
    held = sum(ratio.low <= 1 <= ratio.high for ratio in (Ratio.of(draw, np.ones(25)) for draw in draws))
    assert held >= 0.94 * len(draws)


def test_too_few_rounds_have_no_interval():
    assert Ratio.of([1, 2, 3, 4, 5], [1] * 5) == Ratio(3.0, 0.0, np.inf, 5)


def test_ratios_are_of_the_same_rounds():
    times = {"a": [1.0, 10.0, 100.0] * 3, "b": [2.0, 20.0, 200.0] * 3, "a again": [1.0, 10.0, 100.0] * 3}
    (found,) = compared(
        "s", "w", 4, times, [("a", "b"), ("a", "missing")], again=("a again", "a"), unit="ms", scale=1000
    )
    assert str(found.ratio) == "0.50 (0.50 to 0.50)" and str(found.noise) == "1.00 (1.00 to 1.00)"
    assert (found.what, found.base, found.verdict) == ("a / b", 20_000, "")


@pytest.mark.slow
def test_short_runs_are_repeated():
    calls = []
    times = measure({"a": lambda: calls.append("a"), "b": lambda: None}, 3, "", least=0.001)
    assert len(calls) > 100 and {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3}
    calls.clear()
    measure({"a": lambda: calls.append("a")}, 3, "")
    assert len(calls) == 4


def test_fast_runs_have_more_rounds_and_slow_ones_as_many_as_are_asked_for(monkeypatch):
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)
    many = measure({"a": lambda: None}, 3, "", lasting=60)
    few = measure({"a": lambda: time.sleep(0.02)}, 3, "", lasting=0.01)
    assert (len(many["a"]), len(few["a"])) == (100, 3)


def test_figures_are_read_as_they_were_written(tmp_path):
    known = [
        Figure("throughput", "w", 1, "a / b", of(1, 2), of(0.9, 1.1), 3.5, "ms", AT_LEAST),
        Figure("scaling", "w", 0, "100 / 10", Ratio(1.0, 0.0, np.inf, 3), None, 3.5, "ms"),
    ]
    figures.write(tmp_path / "x.json", known)
    assert figures.read(tmp_path / "x.json") == known


def test_what_is_measured_again_stays_at_its_place():
    def figure(section: str, work: str, base: float) -> Figure:
        return Figure(section, work, 1, "a / b", of(1, 2), None, base, "ms")

    olds = [figure("s", "v", 1), figure("s", "w", 1), figure("s", "w", 2), figure("t", "v", 1), figure("t", "w", 1)]
    found = figures.replaced(olds, [figure("s", "v", 7), figure("s", "v", 8), figure("t", "v", 9), figure("t", "x", 9)])
    assert [(it.section, it.work, it.base) for it in found] == [
        *(("s", "v", 7), ("s", "v", 8), ("s", "w", 1), ("s", "w", 2)),
        *(("t", "v", 9), ("t", "w", 1), ("t", "x", 9)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed", "three"])
def test_all_ways_to_predict_give_the_same_numbers(tmp_path, monkeypatch, name):
    monkeypatch.setitem(works.WORKS, "three", lambda folder: works.deepbind(folder, 3))
    work = works.WORKS[name](tmp_path)
    rows = work.rows(5)
    found = {peer: make(work, tmp_path)(rows) for peer, make in peers.PEERS.items()}
    expected = found["one after another"]
    assert expected.shape == (5, 3 if name == "three" else 1) and np.ptp(expected) > 0
    for peer, predicted in found.items():
        assert np.abs(predicted - expected).max() <= 1e-5 * max(1, np.abs(expected).max()), peer
    sizes = report.file_sizes(tmp_path, work.files.values())
    assert sizes.keys() == {"directory, its model", "merged ONNX", "parts"} and min(sizes.values()) > 0


def test_growth_is_what_is_more_at_the_end_than_after_the_start():
    filling, steady = list(range(20)), [50.0] * 80
    assert long_runs.growth([*filling, *steady]) == 0
    assert long_runs.growth([*filling, *(50 + step / 10 for step in range(80))]) == pytest.approx(6)
    assert long_runs.growth([7.0]) == 0


def test_the_page_is_that_of_the_last_run(tmp_path, monkeypatch):
    known = json.loads((Path(report.__file__).parent / "results.json").read_text(encoding="utf-8"))
    there = report.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(report, "PICTURE", tmp_path / "picture.svg")
    found = figures.from_json(known["figures"])
    for path in report.write(known, found):
        assert path.stat().st_size > 1000
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == there
    assert all(figure.ratio.rounds >= 6 for figure in found)
