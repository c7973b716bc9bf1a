"""Rows on their way into a file: a folder beside it that survives whatever ends the process.

HDF5 files that were open for writing when their process was killed may not open again. So rows are appended to plain
files, one for each array, and a small file says how many rows are whole; it is replaced when all of them are on the
disk. What lies behind these rows is written again.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_stitch.errors import SaveError, StitchError, reason
from keras_stitch.files import new_files
from keras_stitch.files.parse_text import from_json
from keras_stitch.files.read_files import read_text
from keras_stitch.training.batches import TEXT, Array, Leaf, split
from keras_stitch.training.provenance import Key, differences, refusal

# Between two notes of how many rows are whole: what a killed process loses at most, besides the batch at hand.
SECONDS = 1.0
# Bytes of an array that are read at once, at most; a line of text counts as 64.
_PIECE = 1 << 23
_OWN = re.compile(r"\d+\.(numbers|text)|lock|state\.json(\.new)?|joined\.h5")


def folder_of(path: Path) -> Path:
    """Where the rows of a file are until all are there."""
    return path.with_name(f"{path.name}.part")


def rows_so_far(path: Path) -> tuple[int, int | None] | None:
    """How many rows of how many are done of a file that is not finished; ``None`` if nobody began it."""
    state = _read(folder_of(path))
    return None if state is None else (state["done"], state["rows"])


@contextlib.contextmanager
def unfinished(path: Path, key: Key, rows: int | None) -> Iterator[Unfinished]:
    """The folder of a file, new or as it was left, for this process alone.

    Raises:
        StitchError: If rows of something else are there, another process is writing, or the disk does not allow it.
    """
    folder = folder_of(path)
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(entry.name for entry in folder.iterdir() if not _OWN.fullmatch(entry.name))
        if foreign:
            raise StitchError(
                f"'{folder}' is where unfinished rows would lie, and holds something else.",
                received=", ".join(foreign[:6]),
                fix="Move it away, or choose another path.",
            )
        lock = _locked(folder)
    try:
        with disk(folder):
            for name in ("joined.h5", "state.json.new"):  # of a process that was killed
                (folder / name).unlink(missing_ok=True)
            state = _read(folder)
            if state is None:
                state = {"key": asdict(key), "rows": rows, "done": 0, "whole": False, "structure": None, "leaves": []}
            elif found := differences(Key.of_plain(state["key"]), key):
                message = f"'{folder}' holds unfinished rows of something else; these are not the same"
                raise refusal(message, found, f"Delete '{folder}', or choose another path.")
            part = Unfinished(folder, state)
        try:
            yield part
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one that matters
                part.note() if part.done else discard(path)
            raise
        with disk(folder):
            if (folder / "state.json").exists():  # else it became a file
                part.note()
    finally:
        os.close(lock)


def discard(path: Path) -> None:
    """Remove the folder of a file."""
    folder = folder_of(path)
    with contextlib.suppress(OSError):
        # First what says that the rest is whole.
        (folder / "state.json").unlink(missing_ok=True)
        if all(_OWN.fullmatch(entry.name) for entry in folder.iterdir()):
            shutil.rmtree(folder)


def disk(place: Path) -> contextlib.AbstractContextManager[None]:
    """Errors of the disk as ``SaveError``; h5py raises two kinds."""
    fix = "Free some space or choose another place; the rows that are done are kept."
    return new_files.disk_errors(place, fix, (OSError, RuntimeError))


class Unfinished:
    """Rows in a folder: how many are ``done``, and whether these are the ``whole``; ``state`` is what is noted."""

    def __init__(self, folder: Path, state: dict[str, Any]):
        self.folder, self.done, self.whole = folder, state["done"], state["whole"]
        self.structure = state["structure"]
        self.leaves = list(map(Leaf.of_plain, state["leaves"]))
        self._sizes = [leaf["bytes"] for leaf in state["leaves"]]
        self._key, self._rows = state["key"], state["rows"]
        self._noted = time.monotonic()
        sizes = [file.stat().st_size if file.is_file() else -1 for file in self._files()]
        if any(found < size for found, size in zip(sizes, self._sizes, strict=True)):
            raise SaveError(f"'{folder}' is damaged: rows are gone.", fix="Delete it; all rows are made again.")
        if not (folder / "state.json").exists():
            self.note()

    def append(self, batch: Any) -> None:
        """Add the rows of a Kipoi batch.

        Raises:
            StitchError: If its arrays are not those of the first batch, or cannot be stored.
        """
        structure, arrays = split(batch)
        if self.structure is None:
            self.structure, self.leaves, self._sizes = structure, list(arrays), [0] * len(arrays)
        self._check(structure, list(arrays))
        sizes = []
        with disk(self.folder):
            for file, size, array in zip(self._files(), self._sizes, arrays.values(), strict=True):
                data = array.tobytes() if array.dtype.kind != "O" else _lines(array)
                _write(file, data, size)
                sizes.append(size + len(data))
            self.done, self._sizes = self.done + len(next(iter(arrays.values()))), sizes
            if time.monotonic() - self._noted >= SECONDS:
                self.note()

    def note(self) -> None:
        """Note how many rows are done, once they are on the disk."""
        for file in self._files():
            sync(file)
        leaves = [asdict(leaf) | {"bytes": size} for leaf, size in zip(self.leaves, self._sizes, strict=True)]
        state = {"key": self._key, "rows": self._rows, "done": self.done, "whole": self.whole}
        with new_files.new_file(self.folder / "state.json", self.folder / "state.json.new") as new:
            new.write_text(json.dumps(state | {"structure": self.structure, "leaves": leaves}), encoding="utf-8")
            sync(new)
        self._noted = time.monotonic()

    def stored(self, number: int) -> Iterator[Array]:
        """The array of one of ``leaves``, some consecutive rows at a time; text as objects."""
        leaf, file = self.leaves[number], list(self._files())[number]
        with file.open("rb") as opened:
            if leaf.dtype == TEXT:
                yield from _texts(opened, leaf.shape, self.done)
                return
            dtype, size = np.dtype(leaf.dtype), math.prod(leaf.shape)
            step = max(1, _PIECE // max(1, size * dtype.itemsize))
            for start in range(0, self.done, step):
                count = min(step, self.done - start)
                yield np.fromfile(opened, dtype, count * size).reshape(count, *leaf.shape)

    def _files(self) -> Iterator[Path]:
        for number, leaf in enumerate(self.leaves):
            yield self.folder / f"{number}.{'text' if leaf.dtype == TEXT else 'numbers'}"

    def _check(self, structure: Any, leaves: list[Leaf]) -> None:
        if (structure, leaves) == (self.structure, self.leaves):
            return
        before, now = (
            {leaf.name: f"{leaf.name} with dtype {leaf.dtype} and shape {leaf.shape}" for leaf in one}
            for one in (self.leaves, leaves)
        )
        name = next((name for name in [*before, *now] if before.get(name) != now.get(name)), None)
        raise StitchError(
            f"The batch from row {self.done} on is not like those before it.",
            expected=json.dumps(self.structure) if name is None else before.get(name, f"no {name}"),
            received=json.dumps(structure) if name is None else now.get(name, f"no {name}"),
            fix="All rows need the same arrays, each with one dtype and one shape.",
        )


def _locked(folder: Path) -> int:
    """A lock that ends with this process, and that processes it starts do not hold for it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who had the lock before may have finished, and removed the folder.
        alone = os.path.samestat(os.fstat(descriptor), (folder / "lock").stat())
    except OSError:
        alone = False
    if not alone:
        os.close(descriptor)
        raise StitchError(f"Another process is writing into '{folder}'.", fix="Wait for it, or choose another path.")
    return descriptor


def _read(folder: Path) -> dict[str, Any] | None:
    file = folder / "state.json"
    try:
        state = from_json(read_text(file))
        Key.of_plain(state["key"])
        numbers = [state["done"], *(leaf["bytes"] for leaf in state["leaves"] if Leaf.of_plain(leaf))]
        if not all(isinstance(number, int) and number >= 0 for number in [*numbers, state["rows"] or 0]):
            raise ValueError("a number of rows or bytes is none")
        return {name: state[name] for name in ("key", "rows", "done", "whole", "structure", "leaves")}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise StitchError(f"'{file}' is damaged: {reason(error)}.", fix=f"Delete '{folder}'.") from error


def _write(file: Path, data: bytes, start: int) -> None:
    # Opened each time, and not buffered: what is open is shared with the workers of a dataloader.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666)  # a pipe is an error, not a wait
    try:
        view = memoryview(data)
        while len(view):
            count = os.pwrite(descriptor, view, start)
            view, start = view[count:], start + count
    finally:
        os.close(descriptor)


def sync(file: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(array: Array) -> bytes:
    """Text as lines of JSON, one for each row; they may be of any length, and hold line ends."""
    return "".join(json.dumps(item) + "\n" for item in array.tolist()).encode("ascii")


def _texts(file: BinaryIO, shape: tuple[int, ...], rows: int) -> Iterator[Array]:
    lines = itertools.islice(file, rows)
    while chosen := [json.loads(line) for line in itertools.islice(lines, _PIECE // 64)]:
        array = np.empty((len(chosen), *shape), dtype="O")
        array[...] = np.asarray(chosen, dtype="O").reshape(array.shape)
        yield array
