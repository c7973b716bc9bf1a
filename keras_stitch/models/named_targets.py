"""Targets, losses and weights of several outputs go by name: Keras would take a list in the order of the alphabet."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras

from keras_stitch.errors import StitchError

_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics")


def refuse_lists(model: keras.Model, names: Sequence[str]) -> None:
    """Have ``compile``, ``fit`` and ``evaluate`` of a model with a dict of outputs refuse lists.

    Keras sorts the names of outputs, and takes the entries of a list in that order. Where it is the graph's order, too,
    lists are right and stay possible. The model stays plain: what is saved of it, or copied, knows nothing of this.

    Args:
        model: The model.
        names: Its outputs in the graph's order.
    """
    if list(names) == sorted(names):
        return
    compile_model, compute_loss = model.compile, model.compute_loss

    @functools.wraps(compile_model)
    def checked_compile(*args: Any, **options: Any) -> None:
        given = {**dict(zip(("optimizer", *_COMPILED), args, strict=False)), **options}
        for what in _COMPILED:
            check_named(given.get(what), f"{what}=", names)
        compile_model(*args, **options)

    @functools.wraps(compute_loss)
    def checked_loss(*args: Any, **options: Any) -> Any:
        given = {**dict(zip(("x", "y", "y_pred", "sample_weight"), args, strict=False)), **options}
        try:
            check_named(given.get("y"), "The targets", names)
            check_named(given.get("sample_weight"), "sample_weight=", names)
        except StitchError:
            model.train_function = model.test_function = None  # compiled in part, they could not be used again
            raise
        return compute_loss(*args, **options)

    model.compile, model.compute_loss = checked_compile, checked_loss


def check_named(value: Any, what: str, names: Sequence[str]) -> None:
    """Raise where several outputs are given something as a list.

    Raises:
        StitchError: If ``value`` is a list or a tuple, and there is more than one name.
    """
    if len(names) > 1 and isinstance(value, list | tuple):
        verb = "do" if what.startswith("The ") else "does"
        raise StitchError(
            f"{what} {verb} not say which output each entry is for: Keras would take them in the order "
            f"{', '.join(sorted(names))}.",
            expected=f"a dict by output: {', '.join(names)}",
            received=f"a {type(value).__name__} of {len(value)}",
        )
