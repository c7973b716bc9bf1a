"""The batches of epochs, which generated directories have, too, and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_stitch.checks import whole_number
from keras_stitch.kipoi.templates import template_module

if TYPE_CHECKING:
    from merging.training_rows import Epochs, TrainingRows, for_fit, is_merged, raw_rows, read_rows
else:
    _ROWS = template_module("kipoi.merging.training_rows")
    Epochs, TrainingRows, for_fit = _ROWS.Epochs, _ROWS.TrainingRows, _ROWS.for_fit
    is_merged, raw_rows, read_rows = _ROWS.is_merged, _ROWS.raw_rows, _ROWS.read_rows

__all__ = ["Epochs", "TrainingRows", "checked_options", "for_fit", "is_merged", "raw_rows", "read_rows"]


def checked_options(**options: Any) -> dict[str, Any]:
    """The same options, once ``batch_size``, ``workers`` and ``seed`` are known to be whole numbers."""
    for name, least in (("batch_size", 1), ("workers", 0), ("seed", 0)):
        if name != "seed" or options[name] is not None:
            options[name] = whole_number(name, options[name], least)
    return options
