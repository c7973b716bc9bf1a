"""What merging Kipoi dataloaders costs, against reading the same parts one after another by Kipoi.

    python benchmarks/dataloading.py

Each round runs every way of reading once, in an order that changes from round to round, and the reference twice (the
A/A comparison, which shows the noise). Printed are medians of the rounds' ratios with the middle half of them; all
checks of merged dataloaders are included. Needs kipoi, kipoiseq and Linux, whose /proc says how much memory is used.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from kipoi.data import Dataset
from kipoiseq.dataloaders import SeqIntervalDl
from rich.progress import track
from timing import Runs, measure, ratio

from keras_stitch.terminal import render

# As in a generated directory: the processes whose memory is measured have no use for Keras and its backend.
sys.path.insert(0, str(Path(__file__).parents[1] / "model_templates" / "kipoi"))
M = importlib.import_module("merging")

BATCH = 32
UNSHARED, SHARED = 1.05, 0.6  # limits of merged reading, against the sum of the parts
MEMORY_KINDS = {
    "dataset": "MergedDataset: rows + HDF5",
    "shuffled": "the same, shuffle=True",
    "iterator": "MergedIterator: generator + HDF5",
}


def consume(*iterables: Iterable[object]) -> None:
    """Read everything, one after another."""
    for iterable in iterables:
        for _ in iterable:
            pass


def per_row(times: list[float], rows: int) -> str:
    """The median in microseconds for each row."""
    return f"{np.median(times) / rows * 1e6:.1f}"


# Sequences


def write_genome(folder: Path, count: int) -> dict[str, str]:
    """A random genome, and two files with the same intervals."""
    rng = np.random.default_rng(0)
    length = 2_000_000
    letters = rng.choice(np.frombuffer(b"ACGT", "S1"), length).tobytes().decode()
    lines = "\n".join(letters[start : start + 60] for start in range(0, length, 60))
    paths = {name: folder / name for name in ("genome.fa", "one.bed", "other.bed")}
    paths["genome.fa"].write_text(f">chr1\n{lines}\n", encoding="ascii")
    starts = rng.integers(1000, length - 2000, count)
    paths["one.bed"].write_text("".join(f"chr1\t{start}\t{start + 500}\n" for start in starts), encoding="ascii")
    shutil.copy(paths["one.bed"], paths["other.bed"])
    return {name: str(path) for name, path in paths.items()}


def sequences(folder: Path, count: int, rounds: int) -> tuple[str, list[tuple[str, float, float]]]:
    """Merged reading of two kipoiseq dataloaders, with the cases that have limits: name, median and limit."""
    files = write_genome(folder, count)
    cases: dict[str, tuple[list[tuple[str, int]], float | None]] = {
        "200 and 1000 bp, two BED files": ([("one.bed", 200), ("other.bed", 1000)], UNSHARED),
        "1000 bp twice, two BED files": ([("one.bed", 1000), ("other.bed", 1000)], UNSHARED),
        "1000 bp twice, all shared": ([("one.bed", 1000), ("one.bed", 1000)], SHARED),
        "200 and 1000 bp, intervals shared": ([("one.bed", 200), ("one.bed", 1000)], None),
    }
    rows, limited = [], []
    for name, (settings, limit) in cases.items():
        arguments: list[dict[str, Any]] = [
            {"intervals_file": files[bed], "fasta_file": files["genome.fa"], "auto_resize_len": length}
            for bed, length in settings
        ]
        keys: dict[str, Any] = {"metadata": True, "ranges": ("ranges",), "resized_by": "auto_resize_len"}
        merged = M.MergedDataset(
            *(M.Part(f"s{i}", SeqIntervalDl, own, {f"s{i}": ()}, **keys) for i, own in enumerate(arguments))
        )
        parts = [SeqIntervalDl(**own) for own in arguments]

        def separately(parts: list[Any] = parts) -> None:
            consume(*(part.batch_iter(batch_size=BATCH, num_workers=0) for part in parts))

        def together(merged: Any = merged) -> None:
            consume(merged.batch_iter(batch_size=BATCH, num_workers=0))

        times = measure({"parts": separately, "again": separately, "merged": together}, rounds, name)
        if limit is not None:
            limited.append((name, float(np.median(np.array(times["merged"]) / np.array(times["parts"]))), limit))
        rows.append(
            (
                name,
                per_row(times["parts"], count),
                ratio(times["again"], times["parts"]),
                ratio(times["merged"], times["parts"]),
                "" if limit is None else str(limit),
            )
        )
    headers = (f"FASTA + BED, {count} rows", "parts, µs/row", "parts / parts", "merged / parts", "limit")
    return render(headers, rows), limited


# Arrays in memory


def slices(arrays: list[np.ndarray], batch_size: int) -> Iterator[list[np.ndarray]]:
    """Plain NumPy: nothing is copied, compared or collated."""
    for start in range(0, len(arrays[0]), batch_size):
        yield [array[start : start + batch_size] for array in arrays]


def in_memory(count: int, rounds: int) -> str:
    """The overhead of merging for each row, where the data themselves cost nothing."""
    rows = []
    for widths in ((10, 100), (10, 30, 100)):
        data = [
            {"inputs": np.ones((count, width), "float32"), "metadata": {"id": np.arange(count).astype("U")}}
            for width in widths
        ]
        loaders = [M.from_function(lambda own=own: own) for own in data]
        merged = M.MergedDataset(
            *(M.Part(f"p{i}", own, {}, {f"p{i}": ()}, metadata=True, ids=("id",)) for i, own in enumerate(loaders))
        )
        parts = [loader() for loader in loaders]
        arrays = [array for own in data for array in (own["inputs"], own["metadata"]["id"])]
        for size in (32, 256):
            runs: Runs = {
                "merged": lambda merged=merged, size=size: consume(merged.batch_iter(batch_size=size)),
                "slices": lambda arrays=arrays, size=size: consume(slices(arrays, size)),
                "kipoi": lambda parts=parts, size=size: consume(*(part.batch_iter(batch_size=size) for part in parts)),
            }
            runs["again"] = runs["merged"]
            name = f"{len(widths)} parts, batches of {size}"
            times = measure(runs, rounds, name)
            rows.append(
                (
                    name,
                    *(per_row(times[run], count) for run in ("merged", "slices", "kipoi")),
                    ratio(times["again"], times["merged"]),
                    ratio(times["merged"], times["kipoi"]),
                )
            )
    headers = ("in memory, µs/row", "merged", "slices", "Kipoi, parts", "merged / merged", "merged / Kipoi")
    return render(headers, rows)


# Workers


class Slow(Dataset):
    """Rows that take a millisecond or two of Python each."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> dict[str, Any]:
        total = 0
        for number in range(30_000):
            total += number * row
        return {"inputs": np.full(10, total, "float64"), "metadata": {"id": str(row)}}


def workers(count: int, rounds: int) -> str:
    """How much faster more processes read rows that keep a processor busy."""
    ids = {"inputs": np.ones((count, 10)), "metadata": {"id": np.arange(count).astype("U")}}
    merged = M.MergedDataset(
        M.Part("slow", Slow, {"rows": count}, {"slow": ()}, metadata=True, ids=("id",)),
        M.Part("fast", M.from_function(lambda: ids), {}, {"fast": ()}, metadata=True, ids=("id",)),
    )
    rows = []
    for name, loader in {"merged: slow + in memory": merged, "Kipoi: slow alone": Slow(count)}.items():

        def read(processes: int, loader: Any = loader) -> None:
            consume(loader.batch_iter(batch_size=8, num_workers=processes))

        runs: Runs = {str(processes): lambda p=processes, read=read: read(p) for processes in (0, 1, 2)}
        runs["again"] = runs["0"]
        times = measure(runs, rounds, name)
        rows.append(
            (
                name,
                *(f"{count / np.median(times[processes]):.0f}" for processes in ("0", "1", "2")),
                ratio(times["again"], times["0"]),
                ratio(times["1"], times["2"]),
                ratio(times["0"], times["2"]),
            )
        )
    headers = ("rows per second", "0 workers", "1", "2", "0 / 0 workers", "gain, 2 over 1", "gain, 2 over 0")
    return render(headers, rows)


# Memory


class Computed(Dataset):
    """Rows that are computed and hold nothing."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"inputs": np.full(4, row, "float32"), "metadata": {"id": str(row)}}


def generated(rows: int) -> Iterator[dict[str, Any]]:
    """The same rows in batches of 1000."""
    for start in range(0, rows, 1000):
        numbers = np.arange(start, min(rows, start + 1000))
        inputs = np.repeat(numbers.astype("float32")[:, None], 4, axis=1)
        yield {"inputs": inputs, "metadata": {"id": numbers.astype("U")}}


def used(field: str) -> float:
    """Resident memory of this process in MiB: now (VmRSS), or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def peak_growth(run: Callable[[], Any]) -> tuple[float, Any]:
    """By how many MiB memory grows at most during a call, and its result."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak back to what is used now
    before = used("VmRSS")
    result = run()
    return used("VmHWM") - before, result


def memory_of(kind: str, path: str) -> dict[str, float]:
    """Peak growth while a merged dataloader is made and while it is read, in a process of its own."""
    with h5py.File(path, "r") as file:
        rows = len(file["table"])
    loader, make = Computed, M.MergedDataset
    if kind == "iterator":
        loader, make = M.from_function(generated, "BatchGenerator"), M.MergedIterator
    part = M.Part("rows", loader, {"rows": rows}, {"rows": ()}, metadata=True, ids=("id",))
    making, merged = peak_growth(lambda: make(part, M.Table("table", path, (4,), "float32")))
    next(iter(merged.batch_iter(batch_size=256)))  # imports and opens what reading needs
    options = {"shuffle": True} if kind == "shuffled" else {}
    start = time.perf_counter()
    reading, _ = peak_growth(lambda: consume(merged.batch_iter(batch_size=256, **options)))
    return {"making": making, "reading": reading, "seconds": time.perf_counter() - start}


def memory(folder: Path, counts: tuple[int, int]) -> str:
    """Peak memory of reading few rows, few again, and many."""
    for count in counts:
        with h5py.File(folder / f"{count}.h5", "w") as file:
            file["table"] = np.repeat(np.arange(count, dtype="float32")[:, None], 4, axis=1)
            file["id"] = np.arange(count).astype("S")
    rows = []
    for kind, name in track(MEMORY_KINDS.items(), "memory", transient=True):
        found = []
        for count in (counts[0], *counts):
            command = [sys.executable, __file__, "--memory", kind, str(folder / f"{count}.h5")]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append(json.loads(printed.splitlines()[-1]))
        few, again, many = found
        rows.append(
            (
                name,
                *(f"{one['reading']:.1f}" for one in (few, again, many)),
                f"{many['reading'] - few['reading']:+.1f}",
                f"{few['making']:.1f}",
                f"{many['making']:.1f}",
                f"{many['seconds']:.0f}",
            )
        )
    few_rows, many_rows = (f"{count:,}" for count in counts)
    headers = (
        *("peak growth, MiB", f"read {few_rows}", "again", f"read {many_rows}", "difference"),
        *(f"made {few_rows}", f"made {many_rows}", f"seconds, {many_rows}"),
    )
    order = f"The order of a shuffle takes 8 bytes a row: {counts[1] * 8 / 2**20:.1f} MiB of {many_rows}."
    return f"{render(headers, rows)}\n{order} Ids of a text table are kept in memory; those of HDF5 stay in the file."


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=None, help="default: 9, and 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer rows: shows that everything runs")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory_of(*options.memory)))
        return
    quick, rounds = options.quick, options.rounds or (3 if options.quick else 9)
    with tempfile.TemporaryDirectory() as name:
        table, limited = sequences(Path(name), 300 if quick else 1000, rounds)
        print(f"{table}\n")
        print(f"{in_memory(2000 if quick else 20_000, rounds)}\n")
        print(f"{workers(64 if quick else 200, rounds)}\n")
        print(f"{memory(Path(name), (10_000, 100_000 if quick else 1_000_000))}\n")
    for case, median, limit in limited:
        print(f"{'met' if median <= limit else 'NOT MET'}: {case}: {median:.3f}, limit {limit}")


if __name__ == "__main__":
    main()
