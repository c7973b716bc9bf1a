"""Targets, losses and weights of several outputs go by name: Keras would take a list in the order of the alphabet."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_stitch.errors import StitchError

_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics")


def refuse_lists(model: keras.Model, names: Sequence[str]) -> None:
    """Have ``compile``, ``fit`` and ``evaluate`` of a model with a dict of outputs refuse lists that Keras misreads.

    Keras sorts the names of outputs, and takes the entries of a list in that order. Where it is the graph's order, too,
    lists are right and stay possible. Of the weights of rows, Keras takes no list for such a model in any order, and
    its messages do not say so. The model stays plain: what is saved of it, or copied, knows nothing of this.

    Args:
        model: The model.
        names: Its outputs in the graph's order.
    """
    if len(names) < 2:
        return

    def check_rows(targets: Any, weights: Any) -> None:
        if list(names) != sorted(names):
            check_named(targets, "The targets", names)
        check_weights(targets, weights, names)

    def check_compiled(given: Mapping[str, Any]) -> None:
        for what in _COMPILED:
            check_named(given.get(what), f"{what}=", names)

    def check_fitted(given: Mapping[str, Any]) -> None:
        check_rows(given.get("y"), given.get("sample_weight"))
        held = given.get("validation_data")
        check_rows(*((*held, None, None)[1:3] if isinstance(held, list | tuple) else (None, None)))

    def check_loss(given: Mapping[str, Any]) -> None:
        try:
            check_rows(given.get("y"), given.get("sample_weight"))
        except StitchError:
            model.train_function = model.test_function = None  # compiled in part, they could not be used again
            raise

    if list(names) != sorted(names):
        model.compile = _checked(model.compile, check_compiled)
    model.fit, model.evaluate = (_checked(call, check_fitted) for call in (model.fit, model.evaluate))
    model.compute_loss = _checked(model.compute_loss, check_loss)  # also for what datasets give


def _checked(call: Callable[..., Any], check: Callable[[Mapping[str, Any]], None]) -> Callable[..., Any]:
    signature = inspect.signature(call)

    @functools.wraps(call)
    def checked(*args: Any, **options: Any) -> Any:
        check(signature.bind_partial(*args, **options).arguments)
        return call(*args, **options)

    return checked


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


def check_weights(targets: Any, weights: Any, names: Sequence[str]) -> None:
    """Raise where the weights of rows for several outputs are a list, or a dict beside targets that are none.

    Raises:
        StitchError: If Keras could not take them.
    """
    if isinstance(weights, list | tuple):
        raise StitchError(
            "sample_weight= is a list, and Keras takes none for a model with several named outputs.",
            expected=f"a dict by output: {', '.join(names)}, or one array for all",
            received=f"a {type(weights).__name__} of {len(weights)}",
        )
    if isinstance(weights, Mapping) and isinstance(targets, list | tuple):
        raise StitchError(
            "sample_weight= is a dict by output, and the targets are a list: Keras takes both in one form.",
            expected=f"targets as a dict by output: {', '.join(names)}",
            received=f"a {type(targets).__name__} of {len(targets)}",
        )
