"""Precomputed rows in an HDF5 file: written from any batches, read at random for training.

The file has a dataset for each array, with one entry for each row, under its own name: ``inputs/dna``,
``targets/liver``, ``metadata/ranges/chr``. Numbers lie in one piece, text as HDF5's strings of any length. The
attribute ``keras_stitch_features`` is the version of the format, ``rows`` the number of rows; the dataset ``about`` is
JSON text: ``key``, what the rows were made from; ``structure``, how the arrays are nested; ``leaves``, their names and
types; ``version`` of keras_stitch.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import keras_stitch
from keras_stitch.errors import StitchError, reason
from keras_stitch.files import new_files
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.parse_text import from_json
from keras_stitch.files.read_files import is_directory, is_file
from keras_stitch.terminal import Step, rows_done
from keras_stitch.training.batches import PARTS, TEXT, Array, Leaf, joined
from keras_stitch.training.epochs import Epochs, for_fit
from keras_stitch.training.provenance import Key, differences, refusal
from keras_stitch.training.row_folder import Unfinished, discard, disk, folder_of, rows_so_far, sync, unfinished

MARK = "keras_stitch_features"
FORMAT = 1
_PAGE = 4096
_EXPECTED = "a file that precompute(...) wrote"


class Features(Epochs):
    """Precomputed rows as training data: batches of inputs and targets at random; ``len`` is the steps of an epoch.

    Made by ``open_features``. Numbers are mapped into memory, so that only the rows of a batch are read, and copied.
    Nothing is kept open that processes could not share; copies by ``pickle`` map the file themselves.

    Attributes:
        path: The file, by its whole path.
        key: What the rows were made from.
        rows: How many.
    """

    def __init__(self, path: Path, **options: Any):
        with _of_file(path), open_hdf5(path) as file:
            about, rows = from_json(file["about"].asstr()[()]), int(file.attrs["rows"])
            self.path, self.key = path.resolve(), Key.of_plain(about["key"])
            self._structure = {part: about["structure"][part] for part in PARTS}
            self._leaves = list(map(Leaf.of_plain, about["leaves"]))
            for leaf in self._leaves:
                _check_dataset(file[leaf.dataset], leaf, rows)
            for part in PARTS:
                joined(self._structure[part], lambda number: np.asarray(self._leaves[number].shape))
        super().__init__(rows, **options)
        self._maps: list[Array | None] | None = None

    @property
    def has_targets(self) -> bool:
        """Whether the rows have targets."""
        return self._structure["targets"] is not None

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        parts = ("inputs", "targets") if self.has_targets else ("inputs",)
        return for_fit(tuple(self.read(self.rows_of(index), parts).values()))

    def read(self, rows: Array, parts: Sequence[str] = PARTS) -> dict[str, Any]:
        """Some rows, in any order, as the dataloader gave them; ``{}`` stands for a part that was not there."""
        rows = np.asarray(rows)
        with _of_file(self.path, (IndexError,)):
            return {part: joined(self._structure[part], lambda number: self._rows(number, rows)) for part in parts}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": None}

    def _rows(self, number: int, rows: Array) -> Array:
        if self._maps is None:
            with open_hdf5(self.path) as file:
                self._maps = [_mapped(self.path, file[leaf.dataset]) for leaf in self._leaves]
        mapped = self._maps[number]
        if mapped is not None:
            return mapped[rows]
        with open_hdf5(self.path) as file:  # h5py takes increasing numbers only
            chosen, places = np.unique(np.arange(self.rows)[rows], return_inverse=True)
            dataset = file[self._leaves[number].dataset]
            if self._leaves[number].dtype != TEXT:
                return dataset[chosen][places]
            return dataset.asstr()[chosen][places].astype("U")


@contextlib.contextmanager
def _of_file(path: Path, of_the_caller: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What does not fit in a file of stored rows, with the name of the file."""
    try:
        yield
    except StitchError:
        raise
    except of_the_caller:
        raise
    except Exception as error:  # h5py and NumPy raise whatever they meet, and what is said in it may be anything
        raise StitchError(
            f"'{path}' is damaged.",
            expected=_EXPECTED,
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Delete it, and precompute it again.",
        ) from error


def _check_dataset(dataset: Any, leaf: Leaf, rows: int) -> None:
    text = h5py.check_string_dtype(dataset.dtype) is not None
    if (
        rows < 1
        or dataset.shape != (rows, *leaf.shape)
        or (not text if leaf.dtype == TEXT else dataset.dtype != leaf.dtype)
    ):
        raise ValueError(f"{rows} rows of {leaf}, and a dataset of shape {dataset.shape} and type {dataset.dtype}")


def open_features(path: str | os.PathLike[str], **options: Any) -> Features:
    """Precomputed rows, recognised by content; the options are those of ``Epochs``.

    Raises:
        StitchError: If it is another file, or unfinished.
    """
    place = Path(path)
    if not is_file(place):
        check_finished(path)
        raise StitchError(f"There is no file '{path}'.", expected=_EXPECTED)
    try:
        with open_hdf5(place) as file:
            found, version = ", ".join(list(file)[:8]) or "nothing", file.attrs.get(MARK)
    except StitchError:
        raise
    except Exception as error:  # h5py raises whatever it meets
        raise StitchError(f"'{path}' cannot be read.", expected=_EXPECTED, received=reason(error)) from error
    if version is None:
        raise StitchError(f"'{path}' holds no precomputed rows.", expected=_EXPECTED, received=f"HDF5 with {found}")
    if not np.array_equal(version, FORMAT):  # it may be anything
        raise StitchError(
            f"'{path}' was written by another version of keras_stitch.",
            expected=f"format {FORMAT}",
            received=f"format {version}",
            fix="Precompute it again, or use that version.",
        )
    return Features(place, **options)


def is_features(path: Path) -> bool:
    """Whether a path is meant as precomputed rows: an HDF5 file, or one that is not finished."""
    if is_directory(path):
        return path.suffix == ".part" and rows_so_far(path.with_suffix("")) is not None
    try:
        return h5py.is_hdf5(path) if path.is_file() else rows_so_far(path) is not None
    except OSError:  # nobody knows, and whoever opens it says why
        return True


def check_finished(path: str | os.PathLike[str]) -> None:
    """Refuse a file that is not finished; the error says how many rows of how many are done."""
    place = Path(path)
    so_far = rows_so_far(place.with_suffix("") if is_directory(place) else place)
    if so_far is not None:
        done, rows = so_far
        raise StitchError(
            f"'{path}' is not finished.",
            expected="all rows" if rows is None else f"{rows:,} rows",
            received=f"{done:,} rows" + (" so far" if rows is None else ""),
            fix="Call precompute(...) as before; it goes on where it stopped.",
        )


def write_features(
    path: str | os.PathLike[str],
    batches: Callable[[int], Iterator[Mapping[str, Any]]],
    *,
    rows: int | None,
    key: Key,
    progress: Step | None = None,
) -> Path:
    """Store rows, and go on where an earlier call stopped.

    The file appears when all rows are there. Until then they lie in a folder beside it, ``<path>.part``, whatever ends
    the process; a second of work may be lost. For a moment in the end they are on the disk twice.

    Args:
        path: The HDF5 file. Folders above it are made.
        batches: Gives the Kipoi batches from a row on, of any sizes. It is called once, or not at all if nothing is
            missing. A batch is stored before the next is asked for.
        rows: How many rows there will be; ``None`` if that is not known.
        key: What the rows are made from. A file of another key is not touched.
        progress: Called with a few words at every batch; by default a bar is shown on the terminal.

    Raises:
        StitchError: If rows of something else are there, batches differ in their arrays, or there are not ``rows``.
    """
    place = Path(path)
    if is_finished(place, key):
        discard(place)  # of a process that was killed when it had nothing else to do
        return place
    with unfinished(place, key, rows) as part:
        if is_finished(place, key):  # another process was faster
            return place
        if not part.whole:
            with rows_done(part.done, rows, progress) as show:
                for batch in batches(part.done):
                    part.append(batch)
                    show(part.done)
            _check_count(place, part.done, rows)
            part.whole = True
            with disk(place):
                part.note()
        _join(part, place, key)
        discard(place)
    return place


def is_finished(path: Path, key: Key) -> bool:
    """Whether the rows of a key are all in a file.

    Raises:
        StitchError: If something else is there.
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise StitchError(f"'{path}' is no file, and is not replaced.", fix="Choose another path.")
    if found := differences(open_features(path).key, key):
        message = f"'{path}' holds rows of something else; these are not the same"
        raise refusal(message, found, f"Delete '{path}', or choose another path.")
    return True


def _check_count(path: Path, done: int, rows: int | None) -> None:
    if not done:
        raise StitchError(f"There are no rows for '{path}'.")
    if rows is not None and done != rows:
        raise StitchError(
            f"Other rows came for '{path}' than there should be.",
            expected=f"{rows:,}",
            received=f"{done:,}",
            fix=f"Delete '{folder_of(path)}' if the data have changed.",
        )


def _join(part: Unfinished, path: Path, key: Key) -> None:
    """Make the HDF5 file of plain files, and put it in its place."""
    about = {"version": keras_stitch.__version__, "key": asdict(key), "structure": part.structure}
    about["leaves"] = list(map(asdict, part.leaves))
    with disk(path), new_files.new_file(path, part.folder / "joined.h5") as new:
        _reserve(part, new)
        with h5py.File(new, "w", alignment_threshold=_PAGE, alignment_interval=_PAGE) as file:
            file.attrs[MARK], file.attrs["rows"] = FORMAT, part.done
            file["about"] = json.dumps(about)  # as an attribute it could not be long
            for number, leaf in enumerate(part.leaves):
                dtype = h5py.string_dtype() if leaf.dtype == TEXT else np.dtype(leaf.dtype)
                dataset = file.create_dataset(leaf.dataset, (part.done, *leaf.shape), dtype)
                start = 0
                for array in part.stored(number):
                    dataset[start : start + len(array)] = array
                    start += len(array)
        sync(new)
        if os.path.lexists(path):
            raise StitchError(f"'{path}' exists meanwhile, and is not replaced.")


def _reserve(part: Unfinished, new: Path) -> None:
    """Try whether the disk has room for the file: HDF5 may end the process where it has none."""
    sizes = [file.stat().st_size for file in part.folder.iterdir() if file.is_file()]
    texts = sum(leaf.dtype == TEXT for leaf in part.leaves)
    needed = sum(sizes) + 64 * part.done * texts + 16 * _PAGE * (len(part.leaves) + 1)
    with new.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, needed)


def _mapped(path: Path, dataset: Any) -> Array | None:
    """A dataset of numbers that lies in one piece, as an array that reads the file where it is used."""
    offset = dataset.id.get_offset()
    if offset is None or not dataset.size or dataset.dtype.kind == "O":
        return None
    # A plain array, as those made by choosing rows would be of a class of their own.
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape).view(np.ndarray)
