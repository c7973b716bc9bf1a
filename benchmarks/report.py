"""The page and the picture of the last run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from figures import MEMORY, Figure

from keras_stitch.terminal import render

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "benchmarks.svg"
_INTRODUCTION = """# Speed

These are the latest results of `make bench` for each work. Every figure is a ratio of two runs that took turns, in an
order that changes from round to round. It is the median of the rounds' ratios, with its 95 % confidence interval in
brackets (from order statistics; rounds are assumed to be independent). *Noise* is the ratio of the stitched model to
itself (in *Building*, of loading to itself), in the same rounds. A target is met or missed if the whole interval is on
one side of it, else undecided. *No more than noise from 1* is met if the interval lies within 0.9 to 1.1. It is missed
if the interval contains neither 1 nor the noise, also if stitched needs less.

{machine}.

- **stitched**: the model of `graph.build()`, by Keras' `predict_on_batch`;
- **by hand**: the same graph in plain Keras;
- **one after another**: the submodels as Keras loads them, `predict_on_batch` of each, NumPy between them;
- **directory**: the generated directory, by the `predict_on_batch` of its model class, as Kipoi and
  `keras-stitch predict` run it;
- **merged ONNX**: the submodels exported one by one, merged by `onnx.compose.merge_models`, in ONNX Runtime.

All predict the same numbers; this is checked before they are timed.
"""
_SECTIONS = {
    "throughput": "## Predicting\n\nRatios of the time for a batch. *one after another / stitched* says how many times "
    "faster stitched is.",
    "start": "## Time to the first prediction\n\nFour rows, in a new process: loading, stitching if needed, and the "
    "first prediction. Imports other than NumPy are included.",
    "memory": "## Peak memory\n\nOf the same processes, without the submodels' files in the page cache. Most of it is "
    "Python, TensorFlow and Keras.",
    "model's memory": "## Peak memory of the model\n\nThe same peak, minus the memory of the process after its "
    "imports.",
    "building": "## Building, saving, loading\n\nCompared with `keras.saving.load_model` on the files of the "
    "submodels. The model from these files is saved and loaded again, in `.keras`.",
    "compiling": "## jit_compile\n\nThe stitched model compiled by XLA against itself. The time that XLA takes to "
    "compile for every batch size is not included.",
    "pipelines": "## Kipoi's pipeline.predict\n\nReading an NPY file is included; every submodel reads it again.",
    "scaling": "## Many submodels\n\nThe time per submodel with 100 and 500 submodels, relative to that with 10. "
    "1 means that the time grows linearly.",
}
_GROWTH = """## Large graphs

Seconds of the processor for graphs of *n* submodels with one Dense layer each, and how many times as long it takes with
four times as many; one run. 4 is linear. *submodels* lie side by side, *inputs* have an input and an output each, and
*layers* are one frozen submodel with *n* Dense layers in 50 branches. Whatever starts processes of its own takes some
seconds in any case. *peak memory* is that of the largest process; it, exports, and most directories are of a run with
only these steps. The machine was busy; above, loading and the first prediction, which are Keras' own, are measured in
rounds.
"""
_LONG_RUNS = """## Long runs

Batches of four rows, and what is more in the last fifth of the run than in the first one after the start: memory (with
files that are mapped into it), open files and threads, of all processes together. *seconds* are those of the processor.
One run of a quarter of the batches came first; a ratio of 4 is linear. What grows in *dataloader* are the pages
of the rows' files that were read: without those, its processes had 0.1 MiB more after 60,000 batches than after 2,000.
"""
# What the figures with a target are ratios of.
_OF = {"throughput": "time", "model's memory": "memory", "building": "time", "scaling": "time"}


def targets(figures: Sequence[Figure]) -> str:
    """The table of all figures that have a target."""
    rows = [
        (_OF[figure.section], _case(figure), figure.what, str(figure.target), str(figure.ratio), figure.verdict)
        for figure in figures
        if figure.target is not None
    ]
    return render(("of", "work", "ratio", "target", "found", ""), rows)


def write(known: Mapping[str, Any], figures: Sequence[Figure]) -> list[Path]:
    """Writes the page and the picture; returns their paths."""
    parts = [_INTRODUCTION.format(machine=_machine(known["machine"]))]
    parts += ["![Throughput](benchmarks.svg)\n", "## Targets\n", _block(targets(figures))]
    for section, text in _SECTIONS.items():
        chosen = [figure for figure in figures if figure.section == section]
        if not chosen:
            continue
        rows = [
            (_case(figure), figure.what, str(figure.ratio), str(figure.noise), f"{figure.base:.4g} {figure.unit}")
            for figure in chosen
        ]
        below = "the first alone" if section == "scaling" else "below the line"
        parts += [text + "\n", _block(render(("work", "ratio", "found", "noise", below), rows))]
        if section == "scaling" and known.get("profile"):
            parts.append(_profile(known["profile"]))
        if section == "model's memory" and known.get("sizes"):
            parts.append(_sizes(known["sizes"]))
    parts += [*_growth(known.get("growth", {})), *_long_runs(known.get("long_runs", {}))]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    _draw(figures)
    return [PAGE, PICTURE]


def file_sizes(folder: Path, parts: Iterable[Path]) -> dict[str, int]:
    """Bytes of what the ways to predict load, in the folder of a work."""
    return {
        "directory, its model": (folder / "composed/model_files/model.keras").stat().st_size,
        "merged ONNX": (folder / "merged.onnx").stat().st_size,
        "parts": sum(path.stat().st_size for path in parts),
    }


def _case(figure: Figure) -> str:
    return f"{figure.work}, batch {figure.rows}" if figure.rows else figure.work


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']} of memory, no GPU;\n"
        f"{machine['system']}, Python {machine['python']}, {packages}"
    )


def _profile(profile: Mapping[str, Mapping[str, float]]) -> str:
    packages = sorted({name for shares in profile.values() for name in shares})
    packages.sort(key=lambda name: -sum(shares.get(name, 0) for shares in profile.values()))
    rows = [(step, *(f"{100 * shares.get(name, 0):.0f} %" for name in packages)) for step, shares in profile.items()]
    text = render(("500 submodels, own time in", *packages), rows)
    return f"Shares of packages in the time, measured by `cProfile`:\n\n{_block(text)}"


def _growth(known: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    rows = []
    for work, found in known.items():
        few, *_, many = found
        for step, seconds in found[few].items():
            if step not in found[many]:
                continue
            form = "{:.0f} MiB" if step == MEMORY else "{:.2f} s"
            each = [form.format(found[size][step]) for size in (few, many)]
            rows.append((work, step, f"{few}, {many}", *each, f"{found[many][step] / max(seconds, 0.01):.1f}"))
    return [_GROWTH, _block(render(("graph", "step", "n", "with n", "with 4n", "4n / n"), rows))] if rows else []


def _long_runs(known: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    rows = []
    for work, found in known.items():
        few, many = found
        ends = found[many]
        growths = [f"{ends[f'{what} growth']:+.1f}" for what in ("memory", "files", "threads")]
        ratio = f"{ends['seconds'] / found[few]['seconds']:.1f}"
        rows.append((work, f"{int(many):,}", f"{ends['seconds']:.0f}", ratio, f"{ends['memory']:.0f} MiB", *growths))
    headers = ("run", "batches", "seconds", "4n / n", "memory", "growth, MiB", "open files", "threads")
    return [_LONG_RUNS, _block(render(headers, rows))] if rows else []


def _sizes(sizes: Mapping[str, Mapping[str, int]]) -> str:
    names = list(dict.fromkeys(name for found in sizes.values() for name in found))
    rows = [
        (work, *(f"{found[name] / 2**20:.2f} MiB" if name in found else "" for name in names))
        for work, found in sizes.items()
    ]
    return f"Sizes of files:\n\n{_block(render(('work', *names), rows))}"


def _draw(figures: Sequence[Figure]) -> None:
    """How many times faster than one after another, with intervals."""
    ways = {"stitched": "#1f6f8b", "directory": "#e07a1f", "merged ONNX": "#7a7a7a"}
    found: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        one, _, way = figure.what.partition(" / ")
        if figure.section == "throughput" and one == "one after another" and way in ways:
            found.setdefault(_case(figure), {})[way] = figure
    picture, axes = plt.subplots(figsize=(8, 0.42 * len(found) + 1.3), layout="constrained")
    for row, by_way in enumerate(found.values()):
        for shift, (way, color) in zip((-0.22, 0, 0.22), ways.items(), strict=True):
            if way not in by_way:
                continue
            ratio = by_way[way].ratio
            axes.plot([ratio.low, ratio.high], [row + shift] * 2, color=color, linewidth=2)
            axes.plot(ratio.median, row + shift, "o", color=color, markersize=4, label=way if not row else None)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    low, high = axes.get_xlim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("times the throughput of the models one after another")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "keras_stitch"}):
        picture.savefig(PICTURE, metadata={"Date": None})
    plt.close(picture)
