"""Training data: a directory's dataloader, or precomputed rows, as Keras takes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kipoi
import numpy as np
from kipoi.data import BaseDataLoader, Dataset, PreloadedDataset
from kipoi_utils.data_utils import numpy_collate

from keras_stitch.epochs import Epochs
from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.features import Features, check_finished, is_features, open_features
from keras_stitch.keys import changes, existing_file, refusal
from keras_stitch.kipoi.dataloaders import mapping_of
from keras_stitch.kipoi.running import is_data_error
from keras_stitch.naming import zoo_name

Batch = tuple[Any, Any]


class TrainingData(Epochs):
    """Batches of inputs and targets from a dataloader with random access; ``len`` is the steps of an epoch.

    Every row comes once in an epoch; the last batch has what is left. Rows are in another order in each epoch if
    ``shuffle``, by a random generator of its own.

    Args:
        make: Makes the dataloader, one of Kipoi's with random access by rows. Each worker makes its own: open files
            that processes share have one place where reading goes on, and rows would get mixed up.
        batch_size: Rows in a batch.
        shuffle: Whether the order changes.
        seed: Of the order.
        workers: Processes that read ahead while the model trains; with 0 the rows are read in between.
        max_queue_size: How many batches they are ahead at most.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        workers: int = 0,
        max_queue_size: int = 10,
    ):
        self._make, self._dataloader = make, make()
        self._parent = self._process = os.getpid()
        # Files are not read by threads: those of one process share the place where reading goes on.
        options = {"workers": workers, "use_multiprocessing": workers > 0, "max_queue_size": max_queue_size}
        super().__init__(len(self._dataloader), batch_size=batch_size, shuffle=shuffle, seed=seed, **options)

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows_of(index)
        try:
            return _inputs_and_targets(self.read(rows))
        except Exception as error:
            if os.getpid() == self._parent:
                raise
            # Python would wait for ever for a worker whose error cannot be made again from its text.
            raise StitchError(said(error)) from None

    def read(self, rows: np.ndarray[Any, Any]) -> Mapping[str, Any]:
        """The batch of some rows as Kipoi has it, with metadata."""
        # A merged dataloader knows about processes itself.
        if self._process != os.getpid() and not is_merged(self._dataloader):
            self._dataloader, self._process = self._make(), os.getpid()
        return read_rows(self._dataloader, rows)


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
    """A directory's dataloader, or what it gave once, as training data for ``model.fit``.

    Args:
        source: A directory that ``Graph.save`` wrote, or any other Kipoi directory; a name in a source that Kipoi knows
            (``"kipoi:..."``); a Kipoi dataloader class, or an object of one. Or a file that ``precompute`` wrote.
        dataloader_args: Its arguments, ``targets_file`` among them. Relative paths start from the current folder. For
            precomputed rows they are optional, and compared with those that the rows were made from.
        batch_size: Rows in a batch; the last one of an epoch has what is left.
        shuffle: Whether rows come in another order in each epoch. Dataloaders that go from the first row to the last
            cannot do that: for them it has to be False. ``model.fit`` shuffles batches, too, unless told not to.
        seed: Of the order; by default another one each time.
        workers: Processes that read while the model trains. They only read: models run in this process. For
            precomputed rows threads, which are of use where the disk is slow.
        steps: For dataloaders that go from the first row to the last, how many batches there are in all; the data are
            read from the start again whenever they end. Without it they are read once. Give ``model.fit`` the
            ``steps_per_epoch`` and ``epochs`` of which it is the product, and ``shuffle=False``.
        directory: For precomputed rows, where the directory is that they were made from, if it was moved.

    Returns:
        For precomputed rows and a dataloader with random access a ``keras.utils.PyDataset`` whose length is the steps
        of an epoch; for any other a generator. All give ``(inputs, targets)``: inputs by name, targets as an array or,
        for several outputs, by name.

    Raises:
        StitchError: If there is no such dataloader, its arguments do not fit, or it gives no targets; if precomputed
            rows are not finished, or the directory, the arguments or files of data changed since.

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
    batch_size, workers = whole_number("batch_size", batch_size, 1), whole_number("workers", workers, 0)
    steps = None if steps is None else whole_number("steps", steps, 1)
    seed = None if seed is None else whole_number("seed", seed, 0)
    if isinstance(source, str | os.PathLike) and is_features(Path(source)):
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "workers": workers}
        return _features(source, dataloader_args, directory, steps, options)
    if directory is not None:
        raise StitchError("directory= is for precomputed rows.", received=f"the dataloader of {label(source)}")
    arguments = mapping_of(dataloader_args, "dataloader_args=", "{argument: value}")
    make = maker(source, arguments)
    dataloader = make()
    if isinstance(dataloader, Dataset | PreloadedDataset):
        _check_no_steps(steps)
        if workers and isinstance(source, BaseDataLoader):
            raise StitchError(
                "A dataloader that is made already is read by one process.",
                expected="workers=0, or the class of the dataloader and dataloader_args=",
                received=f"workers={workers}",
            )
        if len(dataloader) == 0:
            raise StitchError(f"The dataloader of {label(source)} has no rows.")
        data = TrainingData(make, batch_size=batch_size, shuffle=shuffle, seed=seed, workers=workers)
        try:
            first = data.read(np.asarray([0]))
        except Exception as error:  # whatever a dataloader does
            if is_data_error(error):
                raise StitchError(str(error)) from error
            raise StitchError(
                f"The dataloader of {label(source)} cannot read its first row.", received=said(error)
            ) from error
        _check_targets(first, source)
        return data
    if shuffle:
        raise StitchError(
            f"The rows of {label(source)} cannot be shuffled: its dataloader goes from the first to the last.",
            expected="shuffle=False",
            fix="Shuffle the data themselves, or use dataloaders with random access.",
        )
    return _batches(make, dataloader, source, batch_size, workers, steps)


def read_rows(dataloader: Any, rows: Sequence[int] | np.ndarray[Any, Any]) -> dict[str, Any]:
    """The batch of some rows of a dataloader with random access, as Kipoi has it."""
    if is_merged(dataloader):  # it reads many rows at once
        return dict(dataloader.read(rows))
    return dict(numpy_collate([dataloader[int(row)] for row in rows]))


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
    if directory is not None and not Path(directory).is_dir():
        raise StitchError(f"There is no directory '{directory}'.", expected="the one that the rows were made from")
    arguments = None
    if dataloader_args is not None:
        arguments = mapping_of(dataloader_args, "dataloader_args=", "{argument: value}")
    if found := changes(features.key, arguments, None if directory is None else Path(directory)):
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


def _batches(
    make: Callable[[], Any], dataloader: Any, source: Any, batch_size: int, workers: int, steps: int | None
) -> Iterator[Batch]:
    """The batches of one pass over the data, or ``steps`` of as many passes as that takes."""
    done = 0
    while True:
        before = done
        if dataloader is None:  # one that iterates over itself is used up by a pass
            dataloader = make()
        for batch in dataloader.batch_iter(batch_size=batch_size, num_workers=workers):
            _check_targets(batch, source)
            yield _inputs_and_targets(batch)
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


def whole_number(name: str, value: Any, least: int) -> int:
    """An argument that is a whole number.

    Raises:
        StitchError: If it is none, or below ``least``.

    Example:
        >>> whole_number("workers", 2, 0)
        2
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise StitchError(
            f"{name}= is not a whole number, or too small.", expected=f"{least} or more", received=repr(value)
        )
    return int(value)


def is_merged(dataloader: Any) -> bool:
    """Whether it is what a directory of ours has; others may have a method ``read`` that means something else."""
    return any(kind.__name__ == "MergedDataset" for kind in type(dataloader).__mro__)


def maker(source: Any, arguments: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes a dataloader.

    Args:
        source: What ``training_data`` takes, without precomputed rows.
        arguments: Of the dataloader.

    Raises:
        StitchError: If there is no such dataloader, or its arguments are others; by the function, if it cannot be made.
    """
    if isinstance(source, BaseDataLoader):
        if arguments:
            raise StitchError("dataloader_args= has no meaning for a dataloader that is made already.")
        return lambda: source
    loader: Any = source if isinstance(source, type) else _loader(source)
    if not issubclass(loader, BaseDataLoader):
        raise StitchError(
            "training_data(...) takes a dataloader.",
            expected="a Kipoi directory, or a Kipoi dataloader",
            received=repr(source)[:200],
        )
    known = dict(loader.args or {})
    for name in arguments:
        if known and name not in known:
            raise StitchError(
                f"The dataloader of {label(source)} has no argument '{name}'.", expected=nearest(name, known)
            )
    missing = [name for name, argument in known.items() if not argument.optional and name not in arguments]
    if missing:
        raise StitchError(
            f"The dataloader of {label(source)} lacks {' and '.join(map(repr, missing))}.",
            fix=f"dataloader_args={{{missing[0]!r}: ...}}",
        )
    values = {name: _absolute(value) for name, value in arguments.items()}

    def make() -> Any:
        try:
            return loader(**values)
        except Exception as error:  # whatever it does with its arguments
            raise StitchError(f"The dataloader of {label(source)} cannot be made.", received=said(error)) from error

    return make


def _loader(source: Any) -> Any:
    if not isinstance(source, str | os.PathLike):
        raise StitchError(
            "training_data(...) takes a dataloader.",
            expected="a Kipoi directory, or a Kipoi dataloader",
            received=repr(source)[:200],
        )
    path = Path(source)
    named = None if path.is_dir() else zoo_name(str(source))
    if named is None and not path.is_dir():
        raise StitchError(
            f"There is no directory '{source}'.",
            expected="a Kipoi directory, such as graph.save(...) writes",
            received="a file" if path.exists() else None,
        )
    try:
        if path.is_dir():
            return kipoi.get_dataloader_factory(str(path.resolve()), source="dir")
        kipoi_source, name = str(source).split(":", 1)
        return kipoi.get_dataloader_factory(name, source=kipoi_source)
    except Exception as error:  # Kipoi raises whatever it meets
        raise StitchError(f"The dataloader of {label(source)} cannot be loaded.", received=said(error)) from error


def _absolute(value: Any) -> Any:
    """The whole path of a file that is there: workers and dataloaders may look from another folder."""
    path = existing_file(value)
    return str(path) if path is not None else os.fspath(value) if isinstance(value, os.PathLike) else value


def _inputs_and_targets(batch: Mapping[str, Any]) -> Batch:
    return batch["inputs"], batch["targets"]


def _check_targets(batch: Mapping[str, Any], source: Any) -> None:
    targets = batch.get("targets")
    if targets is None or (isinstance(targets, Mapping | Sequence) and not len(targets)):
        raise _without_targets(source)


def _without_targets(source: Any) -> StitchError:
    return StitchError(
        f"The dataloader of {label(source)} gives no targets to train on.",
        fix="Give it targets_file in dataloader_args; a directory takes one if it was saved with targets=.",
    )


def label(source: Any) -> str:
    """What messages call a source."""
    return (
        f"'{source}'" if isinstance(source, str | os.PathLike) else getattr(source, "__name__", type(source).__name__)
    )


def said(error: BaseException) -> str:
    """What somebody else's error says, in one line; that of the merged dataloader as it is."""
    text = str(error.args[0]) if error.args else ""
    if "Traceback (most recent call last):" in text:  # from a worker of Kipoi's loader
        lines = text.rstrip().splitlines()
        last = max(number for number, line in enumerate(lines) if line[:1].strip())
        text = "\n".join(lines[last:])
        return text.partition(": ")[2] if is_data_error(error) else text
    return str(error) if is_data_error(error) else f"{type(error).__name__}: {reason(error)}"
