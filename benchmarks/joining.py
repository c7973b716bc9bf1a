"""What joining files with predictions costs, against reading the same files by plain h5py.

    python benchmarks/joining.py

Each file is as a workflow writes it: chunks, compression, ids and a digest for every row. Every way of reading takes
its turn, in an order that changes from round to round, and the reference twice (the A/A comparison, which shows the
noise). Printed are medians of the rounds' ratios with the middle half of them. Opening the files is included, and so
are all checks of the joining dataloader. Needs kipoi and Linux, whose /proc says how much memory is used.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
from rich.progress import track
from timing import Runs, measure, ratio

from keras_stitch.terminal import render

TEMPLATES = Path(__file__).parents[1] / "model_templates"


def template(folder: str, name: str) -> ModuleType:
    """A module of the templates, imported as by those who use it: without Keras, whose memory is not measured here."""
    sys.path.insert(0, str(TEMPLATES / folder))
    return importlib.import_module(name)


M, records = template("kipoi", "merging"), template("kipoi", "merging.records")
results = template("workflow/scripts", "results")

BATCHES = (32, 256, 1024)
WIDTHS = (4, 16)  # numbers in a row of each file
LIMIT = 1.3  # of joining, against plain h5py
MADE_BY = "benchmark"


def names(rows: Iterable[int]) -> list[bytes]:
    """An id for each row; the last are the longest."""
    return [f"chr{1 + row % 22}:{50 * row}-{50 * row + 50}".encode() for row in rows]


def write(path: Path, rows: int, width: int, seed: int) -> None:
    """A file with predictions, as the scripts of a workflow make them."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for name, shape, dtype in (
            ("rows/number", (), "int64"),
            ("rows/id", (), f"S{max(map(len, names(range(max(0, rows - 22), rows))))}"),
            ("preds/y", (width,), "float32"),
        ):
            results.create(file, name, rows, shape, np.dtype(dtype))
        digests = file.create_dataset("rows/digest", shape=(rows,), dtype="uint64")
        for start, stop in results.blocks(rows, 4 * width + 32):
            numbers = np.arange(start, stop)
            file["rows/number"][start:stop] = numbers
            file["rows/id"][start:stop] = names(numbers.tolist())
            file["preds/y"][start:stop] = rng.random((stop - start, width), dtype="float32")
            digests[start:stop] = records.digests(records.covered(file, start, stop))
        made = {"model": path.stem, "directory": MADE_BY, "arguments": {}, "predictions": {}}
        records.write_record(file, made)


def written(folder: Path, rows: int, widths: list[int]) -> list[Path]:
    """One file for each width, all with the same ids."""
    paths = [folder / f"model{number}.h5" for number, _ in enumerate(widths, 1)]
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(track(paths, f"writing {rows:,} rows", transient=True)):
        write(path, rows, widths[number], seed=number)
    return paths


def dataloader(paths: list[Path]) -> Any:
    """The merged dataloader, as a generated directory has it."""
    return M.MergedDataset(
        *(M.Predictions(path.stem, str(path), {path.stem: ("y", (None,))}, made_by=MADE_BY) for path in paths)
    )


def joined(paths: list[Path], size: int) -> Iterator[Any]:
    """By the joining dataloader."""
    return iter(dataloader(paths).batch_iter(batch_size=size))


def by_slices(paths: list[Path], size: int) -> Iterator[list[np.ndarray]]:
    """By plain h5py: predictions and ids of all files."""
    files = [h5py.File(path, "r") for path in paths]
    datasets = [file[name] for file in files for name in ("preds/y", "rows/id")]
    for start in range(0, len(datasets[0]), size):
        yield [dataset[start : start + size] for dataset in datasets]
    for file in files:
        file.close()


def at_once(paths: list[Path], size: int) -> Iterator[list[np.ndarray]]:
    """The same, all loaded before the first slice."""
    arrays = []
    for path in paths:
        with h5py.File(path, "r") as file:
            arrays += [file["preds/y"][:], file["rows/id"][:]]
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


WAYS: dict[str, Callable[[list[Path], int], Iterator[Any]]] = {
    "joined": joined,
    "slices": by_slices,
    "at once": at_once,
}


def consume(batches: Iterator[Any]) -> None:
    """Read everything."""
    for _ in batches:
        pass


def check_the_same(paths: list[Path], size: int) -> None:
    """All ways give the same rows."""
    for batch, slices, loaded in zip(joined(paths, size), by_slices(paths, size), at_once(paths, size), strict=True):
        found = []
        for path in paths:
            found += [batch["inputs"][path.stem], batch["metadata"][path.stem]["id"].astype("S")]
        for one, other, another in zip(found, slices, loaded, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(another, other)


def reading(paths: list[Path], rows: int, rounds: int) -> tuple[str, list[tuple[str, float]]]:
    """The table of times, and for each batch size the upper quartile that has to be below the limit."""
    lines, found = [], []
    for size in BATCHES:
        check_the_same(paths, size)
        runs: Runs = {name: lambda way=way, size=size: consume(way(paths, size)) for name, way in WAYS.items()}
        runs["again"] = runs["slices"]
        name = f"batches of {size}"
        times = measure(runs, rounds, name)
        found.append((name, float(np.quantile(np.array(times["joined"]) / np.array(times["slices"]), 0.75))))
        lines.append(
            (
                name,
                *(f"{np.median(times[way]) / rows * 1e6:.2f}" for way in WAYS),
                ratio(times["again"], times["slices"]),
                ratio(times["joined"], times["slices"]),
                ratio(times["joined"], times["at once"]),
            )
        )
    ways = ("slices / slices", "joined / slices", "joined / at once")
    return render((f"{rows:,} rows, µs/row", *WAYS, *ways), lines), found


def drawn(paths: list[Path], rows: int, size: int) -> Iterator[object]:
    """Random rows by plain h5py, which takes rows in their order only."""
    files = [h5py.File(path, "r") for path in paths]
    datasets = [file[name] for file in files for name in ("preds/y", "rows/id")]
    order = np.random.default_rng(0).permutation(len(datasets[0]))[:rows]
    for start in range(0, rows, size):
        chosen, places = np.unique(order[start : start + size], return_inverse=True)
        yield [dataset[chosen][places] for dataset in datasets]


def shuffled(paths: list[Path], rows: int, rounds: int) -> str:
    """The table of some batches in random order: chunks are read for few of their rows."""
    lines, loader = [], dataloader(paths)
    for size in BATCHES:
        runs: Runs = {
            "joined": lambda size=size: consume(islice(loader.batch_iter(size, shuffle=True), -(-rows // size))),
            "h5py": lambda size=size: consume(drawn(paths, rows, size)),
        }
        runs["again"] = runs["h5py"]
        times = measure(runs, rounds, f"shuffled batches of {size}")
        lines.append(
            (
                f"batches of {size}",
                *(f"{np.median(times[way]) / rows * 1e6:.0f}" for way in ("joined", "h5py")),
                ratio(times["again"], times["h5py"]),
                ratio(times["joined"], times["h5py"]),
            )
        )
    return render((f"{rows:,} shuffled rows, µs/row", "joined", "h5py", "h5py / h5py", "joined / h5py"), lines)


# Memory


def used(field: str) -> float:
    """Resident memory of this process in MiB: now (VmRSS), or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def peak_growth(way: str, size: int, paths: list[Path]) -> float:
    """By how many MiB memory grows at most while everything is read; in a process that did nothing but import."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak back to what is used now
    before = used("VmRSS")
    consume(WAYS[way](paths, size))
    return used("VmHWM") - before


def memory(files: dict[int, list[Path]], size: int) -> str:
    """The table of peak memory, for few rows and many."""
    lines = []
    for way in track(WAYS, "memory", transient=True):
        found = []
        for paths in files.values():
            command = [sys.executable, __file__, "--memory", json.dumps([way, size, *map(str, paths)])]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append(float(printed.splitlines()[-1]))
        lines.append((way, *(f"{one:.1f}" for one in found), f"{found[-1] - found[0]:+.1f}"))
    return render((f"peak growth, MiB, batches of {size}", *(f"{rows:,} rows" for rows in files), "difference"), lines)


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shuffled-rows", type=int, default=2048, help="how many of the rows to read in random order")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="for each file, the numbers in a row")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        way, size, *paths = json.loads(options.memory)
        print(peak_growth(way, size, list(map(Path, paths))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        few = max(1, options.rows // 10)
        files = {rows: written(folder / str(rows), rows, options.widths) for rows in (few, options.rows)}
        table, found = reading(files[options.rows], options.rows, options.rounds)
        print(table, end="\n\n")
        print(memory(files, 256), end="\n\n")
        rows = min(options.rows, options.shuffled_rows)
        print(shuffled(files[options.rows], rows, min(3, options.rounds)), end="\n\n")
    for name, quartile in found:
        verdict = "clear of" if quartile < LIMIT else "NOT clear of"
        print(f"{name}: the upper quartile, {quartile:.2f}, is {verdict} the limit of {LIMIT:g}")


if __name__ == "__main__":
    main()
