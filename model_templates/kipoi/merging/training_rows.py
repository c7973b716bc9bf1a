"""Rows for ``fit``: which of them are in which batch of which epoch, and their inputs and targets."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from .dataloader_kinds import numpy_collate
from .workers import Workers


class Epochs(keras.utils.PyDataset):
    """A ``PyDataset`` over numbered rows; ``len`` is the steps of an epoch.

    Every row comes once in an epoch; the last batch has the remaining rows.

    Args:
        rows: How many there are.
        batch_size: Rows in a batch.
        shuffle: Whether each epoch has its own order of rows.
        seed: What the orders are drawn from; by default, they are others each time.
        **options: Those of Keras' class.
    """

    def __init__(
        self, rows: int, *, batch_size: int = 32, shuffle: bool = True, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.batch_size, self.rows = batch_size, rows
        self._generator = np.random.default_rng(seed) if shuffle else None
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch, the short last one included."""
        return len(self)

    def rows_of(self, index: int) -> np.ndarray[Any, Any]:
        """Returns the numbers of the rows of a batch, int64; an ``IndexError`` if there is no such batch."""
        start = range(len(self))[index] * self.batch_size
        rows = np.arange(start, min(start + self.batch_size, self.rows))
        return rows if self._order is None else self._order[rows]

    def on_epoch_end(self) -> None:
        """Draws the order of the next epoch; Keras calls it."""
        self._order = None if self._generator is None else self._generator.permutation(self.rows)


class TrainingRows(Epochs):
    """Inputs and targets from a dataloader with random access.

    Processes of our own read: those of Keras would run packed models, and it waits for ever for one that was killed.

    Args:
        dataloader: The dataloader. It stays in this process, where the models run that are packed into it.
        make: Makes the dataloader of a worker; ``None`` for a merged one, which opens its files anew in each process.
        workers: Processes that read ahead while the model trains; with 0 the rows are read in between.
        **options: Those of ``Epochs``.
    """

    def __init__(
        self, dataloader: Any, make: Callable[[], Any] | None = None, *, workers: int = 0, **options: Any
    ) -> None:
        own = functools.lru_cache(None)((lambda: dataloader) if make is None or is_merged(dataloader) else make)
        self.dataloader, self._one = dataloader, threading.Lock()
        self._readers = Workers(workers, lambda rows: raw_rows(own(), rows)) if workers else None
        # Keras' threads wait for the processes, and keep batches ready; one more, as it takes none for one.
        super().__init__(len(dataloader), workers=workers + 1 if workers else 0, **options)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        batch = self.read(self.rows_of(index))
        return for_fit(batch["inputs"]), for_fit(batch["targets"])

    def read(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> dict[str, Any]:
        """Returns the batch of some rows as Kipoi has it, with metadata; several threads may ask at once."""
        if self._readers is None:
            return read_rows(self.dataloader, rows)
        raw = self._readers.read(np.asarray(rows))
        with self._one:  # what has run models may run one batch at a time
            return dict(self.dataloader.finish(raw)) if is_merged(self.dataloader) else raw


def is_merged(dataloader: Any) -> bool:
    """Whether it is what a directory of ours has; others may have a method ``read`` that means something else."""
    return any(kind.__name__ == "MergedDataset" for kind in type(dataloader).__mro__)


def read_rows(dataloader: Any, rows: Sequence[int] | np.ndarray[Any, Any]) -> dict[str, Any]:
    """Returns the batch of some rows of a dataloader with random access, as Kipoi has it."""
    if is_merged(dataloader):  # it reads many rows at once
        return dict(dataloader.read(rows))
    return dict(numpy_collate([dataloader[int(row)] for row in rows]))


def raw_rows(dataloader: Any, rows: Sequence[int] | np.ndarray[Any, Any]) -> dict[str, Any]:
    """Returns what ``read_rows`` does, before packed models have run."""
    return dict(dataloader.raw(rows)) if is_merged(dataloader) else read_rows(dataloader, rows)


def for_fit(nested: Any) -> Any:
    """Returns nested arrays as ``fit`` takes them: those of text as tensors, which only TensorFlow has."""
    if isinstance(nested, Mapping):
        return {name: for_fit(item) for name, item in nested.items()}
    if isinstance(nested, list | tuple):
        return type(nested)(map(for_fit, nested))
    text = isinstance(nested, np.ndarray) and nested.dtype.kind in "USO" and keras.backend.backend() == "tensorflow"
    return keras.ops.convert_to_tensor(nested) if text else nested
