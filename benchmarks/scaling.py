"""Many submodels: loading, stitching, saving, loading again and the first prediction, for 10, 100 and 500 of them.

    python benchmarks/scaling.py FOLDER FIGURES.json PROFILE.json

A figure is the time for each submodel as a ratio to that with the fewest, measured in the same round: 1 is linear. The
profile says in whose code the time goes with the most of them.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import works
from figures import Figure, Target, compared, write
from rich.progress import track
from timing import Times, timed

from keras_stitch.kipoi.templates import template_module

COUNTS = (10, 100, 500)
STEPS = ("load and add", "build", "save", "load again", "first prediction", "first prediction, directory")
# A round of few submodels is repeated until it has had so many: a hiccup of the machine is then no matter.
_LEAST_SUBMODELS = 50
_LINEAR = Target("at most", 1.25)
_SOURCE = Path(__file__).parents[1]
_PACKAGES = ("keras_stitch", "tensorflow", "keras", "h5py", "numpy")
Timed = Callable[[str, Callable[[], Any]], Any]


def steps(work: works.Work, folder: Path, timed: Timed) -> None:
    """One round: files to a stitched model, to a file, to a model, to predictions."""
    keras.utils.clear_session()
    file, rows = folder / "scaled.keras", work.rows(32)
    graph = timed("load and add", work.graph)
    model = timed("build", graph.build)
    timed("save", lambda: model.save(file))
    again = timed("load again", lambda: keras.saving.load_model(file, compile=False))
    timed("first prediction", lambda: again.predict_on_batch(rows))
    wrapped = template_module("kipoi.stitched_model").StitchedModel(str(file))
    timed("first prediction, directory", lambda: wrapped.predict_on_batch(rows))


def scaling(folder: Path, rounds: int, counts: tuple[int, ...] = COUNTS) -> list[Figure]:
    """The time for each submodel, relative to that with the fewest."""
    most = works.deepbind(folder, max(counts))
    sizes: dict[str, works.Work] = {}
    for count in counts:
        sizes[str(count)] = replace(most, files=dict(list(most.files.items())[:count]))
    few = str(counts[0])
    names, order = [*sizes, f"{few} again"], random.Random(0)
    times: dict[str, Times] = {step: defaultdict(list) for step in STEPS}
    for number in track(range(rounds + 1), "submodels", transient=True):
        chosen = order.sample(names, len(names)) if number else [few]
        for name in chosen:
            work = sizes[name.removesuffix(" again")]
            often = max(1, _LEAST_SUBMODELS // len(work.files))
            took: dict[str, float] = defaultdict(float)

            def add(step: str, run: Callable[[], Any], took: dict[str, float] = took) -> Any:
                made, lasted = timed(run)
                took[step] += lasted
                return made

            for _ in range(often):
                steps(work, folder, add)
            if number:  # the first round imports and compiles
                for step in STEPS:
                    times[step][name].append(took[step] / often / len(work.files))
    pairs = [(name, few) for name in sizes if name != few]
    found = []
    for step in STEPS:
        targets = {f"{one} / {other}": _LINEAR for one, other in pairs}
        again = (f"{few} again", few)
        found += compared("scaling", step, 0, times[step], pairs, again=again, unit="ms", scale=1000, targets=targets)
    return found


def profile(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """For every step, the share of its time that is spent in the code of each package."""
    found: dict[str, dict[str, float]] = {}

    def timed(step: str, run: Callable[[], Any]) -> Any:
        profiler = cProfile.Profile()
        made = profiler.runcall(run)
        shares: dict[str, float] = defaultdict(float)
        stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
        for (file, _, function), (_, _, own, _, _) in stats.items():
            shares[_package(file, function)] += own
        total = sum(shares.values())
        found[step] = {package: own / total for package, own in shares.items()}
        return made

    steps(works.deepbind(folder, count), folder, timed)
    return found


def _package(file: str, function: str) -> str:
    """Whose code a line of the profile is; compiled functions have no file, but a name that may say it."""
    before, _, installed = file.rpartition("site-packages/")
    if not before and Path(file).is_relative_to(_SOURCE):
        return "keras_stitch"
    words = [installed.partition("/")[0]] if before else re.split(r"\W+", function)
    for package in _PACKAGES:
        if package in words:
            return package
    return "Python"


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--rounds", type=int, default=12, help="at least six, for an interval")
    options = parser.parse_args()
    write(options.figures, scaling(options.folder, options.rounds))
    options.profile.write_text(json.dumps(profile(options.folder, max(COUNTS)), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
