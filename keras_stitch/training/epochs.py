"""Which rows are in which batch of which epoch."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_stitch.checks import whole_number


class Epochs(keras.utils.PyDataset):
    """A ``PyDataset`` over numbered rows; ``len`` is the steps of an epoch.

    Every row comes once in an epoch; the last batch has the remaining rows. With ``shuffle``, each epoch has its own
    order of rows, drawn from ``seed``.
    """

    def __init__(
        self, rows: int, *, batch_size: int = 32, shuffle: bool = True, seed: int | None = None, **options: Any
    ):
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
        """The numbers of the rows of a batch, int64; an ``IndexError`` if there is no such batch."""
        start = range(len(self))[index] * self.batch_size
        rows = np.arange(start, min(start + self.batch_size, self.rows))
        return rows if self._order is None else self._order[rows]

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch; Keras calls it."""
        self._order = None if self._generator is None else self._generator.permutation(self.rows)


def checked_options(**options: Any) -> dict[str, Any]:
    """The same options, once ``batch_size``, ``workers`` and ``seed`` are known to be whole numbers."""
    for name, least in (("batch_size", 1), ("workers", 0), ("seed", 0)):
        if name != "seed" or options[name] is not None:
            options[name] = whole_number(name, options[name], least)
    return options
