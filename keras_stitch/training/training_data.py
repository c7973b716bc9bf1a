"""Training data: a directory's dataloader, or precomputed rows, as Keras takes it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_stitch.checks import mapping_of, whole_number
from keras_stitch.errors import StitchError
from keras_stitch.files.read_files import is_directory
from keras_stitch.kipoi.templates import template_module
from keras_stitch.training.dataloading import failure, label, maker
from keras_stitch.training.epochs import TrainingRows, checked_options, for_fit, is_merged, raw_rows
from keras_stitch.training.provenance import Key, changes, key_of, refusal
from keras_stitch.training.stored_rows import Features, check_finished, is_features, open_features

if TYPE_CHECKING:
    from merging.dataloader_kinds import BaseDataLoader

_KINDS = template_module("kipoi.merging.dataloader_kinds")

Batch = tuple[Any, Any]


class TrainingData(TrainingRows):
    """Batches of inputs and targets from a Kipoi dataloader with random access; ``len`` is the steps of an epoch.

    Args:
        make: Makes the dataloader. Each worker has its own: processes that share an open file also share its position,
            and would mix up rows.
        key: Says what the rows are made from, where that is known.
        options: Workers, the batch size and the order, see ``TrainingRows``.
    """

    def __init__(self, make: Callable[[], Any], key: Callable[[], Key] | None, **options: Any):
        self._key = key
        super().__init__(make(), make, **options)

    def first(self) -> Mapping[str, Any]:
        """The first row, to look at; packed models do not run for it."""
        return raw_rows(self.dataloader, [0])

    @property
    def key(self) -> Key | None:
        """What the rows are made from, by the content of all files; computed anew each time."""
        return None if self._key is None else self._key()

    @functools.cached_property
    def note(self) -> str | None:
        """Which parts another order of rows would not be noticed in, as only the number of a row says where it belongs.

        ``None`` where all parts are compared by ids or genomic ranges, or nothing is known of the dataloader.
        """
        by_number = getattr(self.dataloader, "by_number", None) if is_merged(self.dataloader) else None
        names = [] if by_number is None else by_number()
        if not names:
            return None
        listed = " and ".join(f"'{name}'" for name in names)
        return f"Row i of {listed} is row i of the others: no ids or genomic ranges were found to compare."

    def __repr__(self) -> str:
        note = "" if self.note is None else f" {self.note}"
        return f"<TrainingData of {self.rows:,} rows in batches of {self.batch_size}.{note}>"


def training_data(
    source: str | os.PathLike[str] | type | BaseDataLoader,
    dataloader_args: Mapping[str, Any] | None = None,
    *,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    workers: int = 0,
    steps: int | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> TrainingData | Features | Iterator[Batch]:
    """Training data for ``model.fit``, from a directory's dataloader or from precomputed rows.

    Args:
        source: A Kipoi directory, such as one that ``Graph.save`` wrote; a name in a Kipoi source (``"kipoi:..."``); a
            Kipoi dataloader class or object; or a file that ``precompute`` wrote.
        dataloader_args: The dataloader's arguments, including ``targets_file``. Paths are relative to the current
            folder. For precomputed rows, they are optional, and are compared with the arguments at that time.
        batch_size: The number of rows in a batch; the last batch of an epoch has the remaining rows.
        shuffle: Whether each epoch has its own order of rows. It must be False for dataloaders that go from the first
            row to the last. ``model.fit`` also shuffles batches, unless it has ``shuffle=False``.
        seed: The seed of the order; by default, a new one each time.
        workers: The number of processes that read rows; packed models run in this process. For precomputed rows, the
            number of threads, which help if the disk is slow.
        steps: The number of batches in all, for dataloaders that go from the first row to the last. The data are read
            again from the start when they end; without ``steps``, they are read once. Give ``model.fit``
            ``steps_per_epoch`` and ``epochs`` with this product, and ``shuffle=False``.
        directory: The directory that precomputed rows were made from, if it was moved.

    Returns:
        A ``keras.utils.PyDataset`` whose length is the number of steps in an epoch; a generator for dataloaders without
        random access. Both give ``(inputs, targets)``: dicts by name, or the targets of one output as an array.

    Raises:
        StitchError: If there is no such dataloader, its arguments do not fit, or it gives no targets; if precomputed
            rows are not finished, or the directory, the arguments or the data files changed.

    Example:
        >>> import numpy as np, keras_stitch as ks
        >>> from kipoi.data import Dataset
        >>> class Squares(Dataset):
        ...     def __len__(self): return 10
        ...     def __getitem__(self, i): return {"inputs": np.ones(2) * i, "targets": np.ones(1) * i**2}
        >>> data = ks.training_data(Squares, batch_size=4, shuffle=False)
        >>> len(data), data[2][1].tolist()
        (3, [[64.0], [81.0]])
    """
    options = checked_options(batch_size=batch_size, shuffle=shuffle, seed=seed, workers=workers)
    steps = None if steps is None else whole_number("steps", steps, 1)
    if isinstance(source, str | os.PathLike) and is_features(Path(source)):
        return _features(source, dataloader_args, directory, steps, options)
    if directory is not None:
        raise StitchError("directory= is for precomputed rows.", received=f"the dataloader of {label(source)}")
    arguments = mapping_of(dataloader_args, "dataloader_args=", "{argument: value}")
    make = maker(source, arguments)
    dataloader = make()
    if isinstance(dataloader, _KINDS.Dataset | _KINDS.PreloadedDataset):
        _check_no_steps(steps)
        return _with_random_access(make, len(dataloader), source, arguments, options)
    return _in_order(make, dataloader, source, options, steps)


def _with_random_access(
    make: Callable[[], Any], rows: int, source: Any, arguments: Mapping[str, Any], options: dict[str, Any]
) -> TrainingData:
    """The rows of a dataloader that knows how many there are, once the first could be read."""
    if options["workers"] and isinstance(source, _KINDS.BaseDataLoader):
        raise StitchError(
            "A dataloader that is made already is read by one process.",
            expected="workers=0, or the class of the dataloader and dataloader_args=",
            received=f"workers={options['workers']}",
        )
    if rows == 0:
        raise StitchError(f"The dataloader of {label(source)} has no rows.")
    folder = Path(source) if isinstance(source, str | os.PathLike) else None
    key = functools.partial(key_of, folder, arguments) if folder is not None and is_directory(folder) else None
    data = TrainingData(make, key, **options)
    try:
        first = data.first()
    except Exception as error:  # whatever a dataloader does
        raise failure(error, f"The dataloader of {label(source)} cannot read its first row.") from error
    _check_targets(first, source)
    return data


def _features(
    source: str | os.PathLike[str],
    dataloader_args: Mapping[str, Any] | None,
    directory: str | os.PathLike[str] | None,
    steps: int | None,
    options: dict[str, Any],
) -> Features:
    """Precomputed rows, once it is clear that they are still what the dataloader would give."""
    check_finished(source)
    features = open_features(source, **options)
    _check_no_steps(steps)
    if directory is not None and not is_directory(directory):
        raise StitchError(f"There is no directory '{directory}'.", expected="the one that the rows were made from")
    arguments = mapping_of(dataloader_args, "dataloader_args=", "{argument: value}")
    place = None if directory is None else Path(directory)
    if found := changes(features.key, None if dataloader_args is None else arguments, place):
        fix = f"Delete '{source}', and call ks.precompute(...) again."
        raise refusal(f"'{source}' is stale; these are not as they were when it was precomputed", found, fix)
    if not features.has_targets:
        raise _without_targets(source)
    return features


def _check_no_steps(steps: int | None) -> None:
    if steps is not None:
        raise StitchError(
            "steps= is for dataloaders that go from the first row to the last; this one knows how many there are.",
            fix="Leave it out, and give model.fit(..., epochs=...).",
        )


def _in_order(
    make: Callable[[], Any], dataloader: Any, source: Any, options: Mapping[str, Any], steps: int | None
) -> Iterator[Batch]:
    """The batches of a dataloader that goes from the first row to the last."""
    if options["shuffle"]:
        raise StitchError(
            f"The rows of {label(source)} cannot be shuffled: its dataloader goes from the first to the last.",
            expected="shuffle=False",
            fix="Shuffle the data themselves, or use dataloaders with random access.",
        )
    return _passes(make, dataloader, source, options, steps)


def _passes(
    make: Callable[[], Any], dataloader: Any, source: Any, options: Mapping[str, Any], steps: int | None
) -> Iterator[Batch]:
    """The batches of one pass over the data, or ``steps`` of as many passes as that takes."""
    done = 0
    while True:
        before = done
        if dataloader is None:  # one that iterates over itself is used up by a pass
            dataloader = make()
        for batch in dataloader.batch_iter(batch_size=options["batch_size"], num_workers=options["workers"]):
            _check_targets(batch, source)
            yield for_fit(batch["inputs"]), for_fit(batch["targets"])
            done += 1
            if done == steps:
                return
        dataloader = None
        if steps is None:
            return
        if done == before:
            raise StitchError(
                f"The dataloader of {label(source)} has no rows" + (" when it is read once more." if done else "."),
                expected=f"{steps} batches",
                received=str(done),
            )


def _check_targets(batch: Mapping[str, Any], source: Any) -> None:
    targets = batch.get("targets")
    if targets is None or (isinstance(targets, Mapping | Sequence) and not len(targets)):
        raise _without_targets(source)


def _without_targets(source: Any) -> StitchError:
    return StitchError(
        f"The dataloader of {label(source)} gives no targets to train on.",
        fix="Give it targets_file in dataloader_args; a directory takes one if it was saved with targets=.",
    )
