"""What Keras has no public name for, in one place."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Without Keras' remarks on the age of the HDF5 format and on arguments of old layers."""
    absl = logging.getLogger("absl")
    absl.addFilter(_not_about_hdf5)
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        stack.callback(absl.removeFilter, _not_about_hdf5)
        warnings.filterwarnings("ignore", message=r"Do not pass an `input_shape`", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"You are saving your model as an HDF5 file", category=UserWarning)
        yield


def _not_about_hdf5(record: logging.LogRecord) -> bool:
    return "HDF5 file" not in record.getMessage() and "No training configuration" not in record.getMessage()


def is_lambda_refusal(error: Exception) -> bool:
    """Whether Keras refused to run Python code that a file or a config holds."""
    text = str(error)
    return "lambda" in text.lower() and ("unsafe" in text or "safe_mode" in text or "arbitrary code" in text)
