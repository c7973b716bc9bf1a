"""Runs a written directory through Kipoi itself, in this process."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import kipoi
import numpy as np

from keras_stitch.errors import SaveError
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.scratch import Scratch
from keras_stitch.kipoi.run_directory import BATCH, cannot_run
from keras_stitch.kipoi.templates import template_module
from keras_stitch.verify.equality import compare


def check_in_kipoi(directory: Path, expected: Path) -> None:
    """Let Kipoi predict the examples of a complete directory, and compare every number with what is stored.

    Raises:
        SaveError: When Kipoi fails, warns, or reads or predicts something else.
    """
    with Scratch() as scratch, _collected() as said:
        found = scratch / "kipoi.h5"
        try:
            model = kipoi.get_model(str(directory), source="dir")
            # As `kipoi test` does: the chunk size that model.yaml names.
            options = {key: size for key, size in (model.writers or {}).items() if key == "hdf5_chunk_size"}
            model.pipeline.predict_example(batch_size=BATCH, output_file=str(found), **options)
        except Exception as error:  # whatever Kipoi does
            raise cannot_run("Kipoi cannot run the directory on its examples", error, directory) from error
        if problems := said():
            last_lines = "\n".join("\n".join(problems).splitlines()[-12:])
            raise SaveError("Kipoi runs the directory on its examples, but warns.", received=last_lines)
        _compare(found, expected)


def _compare(found: Path, expected: Path) -> None:
    with open_hdf5(found) as file, open_hdf5(expected) as stored:
        added = sorted({*_datasets(file)} - {*_datasets(stored)})
        if added:
            raise SaveError(
                "In Kipoi, the directory gives more on its examples than without it.", received=", ".join(added)
            )
        for name in _datasets(stored):
            own, other = stored[name][:], file[name][:] if name in file else None
            if other is None or own.shape != other.shape:
                problem: str | None = "nothing" if other is None else f"shape {other.shape}"
            elif own.dtype.kind in "OSU":
                problem = None if np.array_equal(own, other) else "other texts"
            else:
                compared = compare(other, own)
                problem = None if compared.equal else compared.problem or f"a difference of {compared.largest:.3g}"
            if problem is not None:
                raise SaveError(
                    f"In Kipoi, the directory gives something else as '{name}' on its examples.",
                    expected=f"what it gives without Kipoi, of shape {own.shape}",
                    received=problem,
                )


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return names


@contextlib.contextmanager
def _collected() -> Iterator[Callable[[], list[str]]]:
    """Keep what Kipoi shows off the screen during the block; yields a function that gives its warnings."""
    records: list[str] = []
    printed = io.StringIO()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    def said() -> list[str]:
        text = printed.getvalue().strip()  # Kipoi only prints what of a schema does not fit
        return [*records, *([text] if text and (records or "mismatch" in text) else [])]

    logger, handler = logging.getLogger("kipoi"), Collect(logging.WARNING)
    propagate, handlers = logger.propagate, logger.handlers[:]
    logger.propagate, logger.handlers = False, [handler]
    without_remarks = template_module("kipoi.merging.run_packed").without_remarks
    try:
        with without_remarks(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            yield said
    finally:
        logger.propagate, logger.handlers = propagate, handlers
