"""Processes that read rows while this one trains; what they read is finished here.

``keras.utils.PyDataset`` has processes of its own, but waits for ever for one that is killed, and has all work done in
them: models that run in a dataloader have to run here, as TensorFlow hangs in a process that was forked after it ran.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError
from keras_stitch.training.dataloading import is_merged, read_rows, said

Rows = np.ndarray[Any, Any]


class Workers:
    """Processes with a dataloader each.

    Args:
        make: Makes the dataloader.
        dataloader: One that it made, which stays in this process.
        count: How many processes; they are started at once.

    Example:
        >>> from kipoi.data import Dataset
        >>> class Squares(Dataset):
        ...     def __len__(self): return 10
        ...     def __getitem__(self, i): return {"inputs": i**2}
        >>> Workers(Squares, Squares(), 1).read(np.array([2, 3]))["inputs"].tolist()
        [4, 9]
    """

    def __init__(self, make: Callable[[], Any], dataloader: Any, count: int):
        # Forked, as a dataloader that is loaded by its path cannot be sent to a process.
        context = multiprocessing.get_context("fork")
        self._pool = ProcessPoolExecutor(count, context, initializer=_start, initargs=(make, dataloader))
        # What has run models may run one batch at a time.
        self._dataloader, self._one = dataloader, threading.Lock()
        self._result(_ready)

    def read(self, rows: Rows) -> dict[str, Any]:
        """The batch of some rows: read there, finished here; several threads may ask at once.

        Raises:
            StitchError: When a dataloader fails or a process has died.
        """
        batch = self._result(_read, rows)
        if not hasattr(self._dataloader, "finish"):
            return batch
        with self._one:
            return dict(self._dataloader.finish(batch))

    def _result(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            made, problem = self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise StitchError(
                "A process that reads rows has died.",
                expected="batches",
                fix="Look for a lack of memory, or read without them: workers=0.",
            ) from error
        if problem is not None:
            raise StitchError(problem)
        return made


# -- within a worker: its dataloader, one for the life of the process -----------------------------------------------

_own: dict[str, Any] = {}


def _start(make: Callable[[], Any], dataloader: Any) -> None:
    # A merged dataloader knows about processes. Files that others have open, they share the place of reading of.
    _own.update(make=(lambda: dataloader) if is_merged(dataloader) else make)


def _ready() -> tuple[None, None]:
    return None, None


def _read(rows: Rows) -> tuple[dict[str, Any] | None, str | None]:
    try:
        if "dataloader" not in _own:
            _own["dataloader"] = _own["make"]()
        dataloader = _own["dataloader"]
        raw = dataloader.raw(rows) if hasattr(dataloader, "finish") else read_rows(dataloader, rows)
        return dict(raw), None
    except Exception as error:  # sent as text: not every error can be made again from what it says
        return None, said(error)
