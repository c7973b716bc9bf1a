"""The model in this folder and its dataloader, for Python; neither Kipoi nor keras_stitch is needed.

``import NAME`` finds it where the folder NAME lies, or is on ``sys.path``. Without arguments of the dataloader, all
functions take the examples of the folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["dataloader", "model", "predict", "training_data"]

_directory = importlib.import_module(f"{__name__}.merging.directory").Directory(Path(__file__).parent)


def model() -> Any:
    """Returns the model, with ``predict_on_batch``; the Keras model is its attribute ``model``."""
    return _directory.model()


def dataloader(**arguments: Any) -> Any:
    """Returns the dataloader: its ``batch_iter(batch_size=32, num_workers=0)`` gives dicts of inputs and metadata."""
    return _directory.dataloader(**(arguments or _directory.example_arguments()))


def predict(
    arguments: Mapping[str, Any] | None = None, batch_size: int = 32, workers: int = 0
) -> Iterator[dict[str, Any]]:
    """Yields batches: ``preds``, and the ``inputs`` and ``metadata`` of their rows, which has ids and genomic ranges.

    Args:
        arguments: Of the dataloader.
        batch_size: Rows in a batch; the last may have fewer.
        workers: Processes that read.
    """
    return iter(_directory.predictions(arguments, batch_size, workers))


def training_data(
    arguments: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
    workers: int = 0,
) -> Any:
    """Returns batches of inputs and targets for ``fit``: a ``keras.utils.PyDataset``.

    A dataloader that only goes from the first row to the last gives a generator of one pass instead.

    Args:
        arguments: Of the dataloader, ``targets_file`` among them.
        batch_size: Rows in a batch; the last may have fewer.
        shuffle: Whether each epoch has its own order of rows.
        seed: What the orders are drawn from; by default, they are others each time.
        workers: Processes that read while the model trains.
    """
    return _directory.training_data(arguments, batch_size, shuffle, seed, workers)
