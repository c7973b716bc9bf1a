"""Runs a written directory through Kipoi, in this process, and compares every number."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import kipoi
import numpy as np

from keras_stitch.errors import SaveError
from keras_stitch.spec import Wiring

TOLERANCE = 1e-5
_BATCH = 32


def run_examples(directory: Path, expected: Path) -> None:
    """Has Kipoi predict the examples, and store inputs and predictions.

    Args:
        directory: A complete directory.
        expected: The HDF5 file to write.

    Raises:
        SaveError: When Kipoi fails or warns.
    """
    with quiet() as said:
        try:
            model = kipoi.get_model(str(directory), source="dir")
            # As `kipoi test` does: the chunk size that model.yaml names.
            options = {key: size for key, size in (model.writers or {}).items() if key == "hdf5_chunk_size"}
            model.pipeline.predict_example(batch_size=_BATCH, output_file=str(expected), **options)
        except Exception as error:  # whatever a component does
            raise SaveError(
                "Kipoi cannot run the directory on its examples.",
                received=f"{type(error).__name__}: {_last_lines(str(error))}",
                fix="Pass examples={argument: file or value} with data that fit together.",
            ) from error
    problems = [line for line in said() if line]
    if problems:
        raise SaveError(
            "Kipoi runs the directory on its examples, but warns.", received=_last_lines("\n".join(problems))
        )


def check_predictions(model: Any, wiring: Wiring, expected: Path) -> float:
    """Compares what Kipoi predicted to what the model in memory predicts, in every output.

    Args:
        model: The model that was saved.
        wiring: Its graph: the names of inputs and outputs.
        expected: The file that ``run_examples`` wrote.

    Returns:
        The largest magnitude among the predictions.

    Raises:
        SaveError: When an output differs by more than ``1e-5 * max(1, max|b|)``.
    """
    with h5py.File(expected) as file:
        inputs = {port.name: file["inputs"][port.name][:] for port in wiring.inputs}
        names = [output.port.name for output in wiring.outputs]
        stored = {name: (file["preds"] if len(names) == 1 else file["preds"][name])[:] for name in names}
    batches = []
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, _BATCH):
        batch = [inputs[port.name][start : start + _BATCH] for port in wiring.inputs]
        # Eager: predict() would compile the model, and TensorFlow warns where that happens often.
        batches.append(model(batch, training=False))
    largest = 0.0
    for name in names:
        own = np.concatenate([np.asarray(batch[name] if len(names) > 1 else batch) for batch in batches])
        finite = np.abs(own[np.isfinite(own)])
        magnitude = float(finite.max(initial=0.0))
        largest = max(largest, magnitude)
        allowed = TOLERANCE * max(1.0, magnitude)
        if own.shape != stored[name].shape:
            problem, limit = f"shape {stored[name].shape}", f"shape {own.shape}"
        elif not np.allclose(stored[name], own, rtol=0, atol=allowed, equal_nan=True):
            difference = float(np.nanmax(np.abs(stored[name] - own)))
            problem, limit = f"a difference of {difference:.3g}", f"at most {allowed:.3g}"
        else:
            continue
        raise SaveError(
            f"Saved and loaded again, the model predicts something else in its output '{name}'.",
            expected=limit,
            received=problem,
        )
    return largest


def precision_decimal(largest: float) -> int:
    """Decimals to which Kipoi compares: float32 promises a part of the magnitude, Kipoi's check is absolute.

    Args:
        largest: The largest magnitude among the predictions.

    Example:
        >>> precision_decimal(1.0), precision_decimal(5000.0)
        (5, 1)
    """
    return math.floor(-math.log10(TOLERANCE * max(1.0, largest) / 1.5))


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Keeps Kipoi's progress bars, prints and log lines off the screen, for the time of the block.

    Yields:
        A function that returns the lines among them that are warnings.
    """
    records: list[str] = []
    printed, progress = io.StringIO(), io.StringIO()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    def said() -> list[str]:
        text = printed.getvalue()
        return [*records, *([text.strip()] if records or "mismatch" in text else [])]

    logger, handler = logging.getLogger("kipoi"), Collect(logging.WARNING)
    propagate, handlers = logger.propagate, logger.handlers[:]
    logger.propagate, logger.handlers = False, [handler]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(progress):
            yield said
    finally:
        logger.propagate, logger.handlers = propagate, handlers


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def example_inputs(rows: Mapping[str, Any], wiring: Wiring) -> list[np.ndarray[Any, Any]]:
    """One batch of one row, in the order of the graph inputs."""
    return [np.asarray(rows[port.name])[None] for port in wiring.inputs]
