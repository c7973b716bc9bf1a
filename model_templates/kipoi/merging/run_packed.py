"""Packed models: they run in the dataloader, on whole batches, and are loaded once, in the process that made it.

Workers only read: a TensorFlow model that the parent has used hangs for ever in a forked worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .data_errors import DataError, problem, reason, span
from .model_loading import load_model
from .numpy_merges import Connection, Tensors, arrays_of, names_in

Nested: TypeAlias = "Connection | Sequence[Nested] | Mapping[str, Nested]"


class Model:
    """A model that runs in the dataloader.

    Args:
        name: Its name, also in messages.
        folder: The Kipoi directory that it lies in; several models of one folder are one model on several inputs.
        takes: The connection that feeds it, or a list or dict of connections, as the model has its inputs.
        gives: The shape of a row of every tensor that it makes, by name, in the order of the arrays that it predicts;
            None stands for a size that varies.
        keys: The keys that lead to each of them, if it predicts a dict or nested lists.
        whole: The dtypes of tensors that are whole numbers or truth values: what takes them cuts fractions off.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        takes: Nested,
        gives: Mapping[str, tuple[int | None, ...]],
        keys: Sequence[tuple[Any, ...]] | None = None,
        whole: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.folder, self.takes, self.gives, self.whole = name, folder, takes, gives, whole or {}
        self.keys: Sequence[tuple[Any, ...]] = keys or (
            [()] if len(gives) == 1 else [(number,) for number in range(len(gives))]
        )

    def run(self, model: Any, tensors: dict[str, np.ndarray], uses: Mapping[str, int], rows: Sequence[int]) -> None:
        """Adds what it predicts to the arrays by name.

        Args:
            model: The model, as ``load_model`` gives it.
            tensors: Arrays of shape (rows, ...) by name.
            uses: How often each of them is taken in total.
            rows: The numbers of the rows, for messages.
        """
        given = arriving(self.takes, tensors, uses, f"What feeds the model '{self.name}' cannot be merged", rows)
        try:
            predicted = model.predict_on_batch(given)
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"{array.shape} {array.dtype}" for array in leaves_of(given))
            raise problem(
                f"The model '{self.name}' fails on {span(rows)}.",
                expected=f"predictions for {shapes}",
                received=reason(error),
            ) from error
        for (name, shape), keys in zip(self.gives.items(), self.keys, strict=True):
            tensors[name] = self.checked(predicted, keys, name, shape, rows, given)

    def checked(
        self,
        predicted: Any,
        keys: tuple[Any, ...],
        name: str,
        shape: tuple[int | None, ...],
        rows: Sequence[int],
        given: Any,
    ) -> np.ndarray:
        """Returns one array of a prediction: a row for each that was given, of the right shape, without NaN."""
        where = f"The model '{self.name}' gives"
        what = f"an array of shape ({len(rows)}{''.join(f', {size}' for size in shape) or ','})"

        def wrong(text: str, received: str) -> DataError:
            return problem(f"{where} {text} for {span(rows)}.", expected=what, received=received)

        try:
            found = self.found(predicted, keys)
            # A copy, as a model may fill the same array again.
            array = np.array(found)
        except Exception as error:
            raise wrong(f"no '{name}'", described(predicted)) from error
        if array.dtype.kind not in "biufc" and "float" not in array.dtype.name:  # NumPy knows no bfloat16
            raise wrong(f"no numbers as '{name}'", described(found))
        if name in self.whole and array.dtype.kind not in "biu":
            raise problem(
                f"{where} no whole numbers as '{name}' for {span(rows)}.",
                expected=f"{self.whole[name]}, as it gave when it was added",
                received=str(array.dtype),
                fix="Have it give floats for all rows, and make the directory again.",
            )
        if array.ndim == 1 and shape == (1,):
            array = array[:, None]
        if array.ndim == 0 or len(array) != len(rows):
            count = "one value" if array.ndim == 0 else f"{len(array)} row{'' if len(array) == 1 else 's'}"
            raise wrong(f"{count} as '{name}'", str(array.shape))
        if array.ndim != len(shape) + 1 or any(
            size not in (None, own) for size, own in zip(shape, array.shape[1:], strict=True)
        ):
            raise wrong(f"another shape as '{name}'", str(array.shape))
        if array.dtype.kind not in "fc" or not np.isnan(array).any():
            return array
        bad = np.flatnonzero(np.isnan(array).reshape(len(array), -1).any(1))
        own = any(array.dtype.kind == "f" and np.isnan(array).any() for array in leaves_of(given))
        count = "" if len(rows) == 1 else f", {len(bad)} of the {len(rows)} in {span(rows)}"
        raise problem(
            f"{where} NaN as '{name}' for {span([rows[row] for row in bad.tolist()])}{count}.",
            expected="numbers",
            received="NaN, of inputs with NaN" if own else "NaN, of inputs without NaN",
        )

    def found(self, predicted: Any, keys: tuple[Any, ...]) -> Any:
        """Returns what some keys lead to; a list has to have as many items as it should."""
        for depth, key in enumerate(keys):
            if isinstance(key, int):
                beside = {other[depth] for other in self.keys if other[:depth] == keys[:depth]}
                if not isinstance(predicted, list | tuple) or len(predicted) != len(beside):
                    raise LookupError(key)
            predicted = predicted[key]
        if isinstance(predicted, Mapping):
            raise LookupError(keys)
        return predicted


class Packed:
    """The models of a dataloader, and what the dataloader gives in the end.

    Args:
        *models: The models, in the order in which they run.
        inputs: What the dataloader gives as inputs: a connection, or a list or dict of connections.
    """

    def __init__(self, *models: Model, inputs: Nested) -> None:
        self.models, self.inputs, self.process = models, inputs, os.getpid()
        self.loaded: dict[Path, Any] = {}
        taken = [*leaves_of(inputs), *(connection for model in models for connection in leaves_of(model.takes))]
        self.uses = Counter(name for connection in taken for name in names_in(connection))

    def run(self, inputs: Mapping[str, np.ndarray], rows: Sequence[int]) -> Any:
        """Returns what the dataloader gives for what its parts have read.

        Args:
            inputs: Arrays of shape (rows, ...) by name.
            rows: The numbers of the rows, for messages.
        """
        tensors = dict(inputs)
        with without_remarks():
            for model in self.models:
                model.run(self.model(model), tensors, self.uses, rows)
        return arriving(self.inputs, tensors, self.uses, "The inputs cannot be merged", rows)

    def model(self, model: Model) -> Any:
        """Returns the model in the folder of a packed model; loads it once."""
        if os.getpid() != self.process:
            raise problem(
                f"The model '{model.name}' would run in a process forked from the one that made the dataloader, where "
                "TensorFlow hangs for ever.",
                fix="Use num_workers=0; workers that this dataloader starts, batch_iter(num_workers=...), only read.",
            )
        if model.folder not in self.loaded:
            try:
                self.loaded[model.folder] = load_model(model.folder)
            except (Exception, SystemExit) as error:
                raise problem(f"The model '{model.name}' cannot be loaded.", received=reason(error)) from error
        return self.loaded[model.folder]


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Hides TensorFlow's remark on functions that it compiles often: it takes all Keras models for one function."""

    def is_no_remark(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_no_remark)
    try:
        yield
    finally:
        logger.removeFilter(is_no_remark)


def arriving(nested: Nested, tensors: Tensors, uses: Mapping[str, int], message: str, rows: Sequence[int]) -> Any:
    """Returns the arrays of a connection, or of a list or dict of connections.

    Args:
        nested: The connection, or a list or dict of connections.
        tensors: Arrays by name.
        uses: How often each of them is taken in total.
        message: The message if they do not fit together.
        rows: The numbers of the rows.
    """

    def array_of(connection: Connection) -> np.ndarray:
        array = arrays_of(connection, tensors)
        # A model may change what it is given, and others would take the change for the data.
        others = [tensors[name] for name in names_in(connection) if uses[name] > 1]
        if not array.flags.writeable or any(np.may_share_memory(array, other) for other in others):
            return np.array(array)
        return array

    try:
        return structured(nested, array_of)
    except Exception as error:
        received = ", ".join(
            f"{name} {tensors[name].shape} {tensors[name].dtype}"
            for name in dict.fromkeys(name for connection in leaves_of(nested) for name in names_in(connection))
            if name in tensors
        )
        raise problem(f"{message}, in {span(rows)}.", received=f"{reason(error)}; of {received}") from error


def structured(nested: Any, function: Callable[[Any], Any]) -> Any:
    """Returns a list or dict with a function applied to its items; a single item is one, too."""
    if isinstance(nested, Mapping):
        return {key: structured(item, function) for key, item in nested.items()}
    if isinstance(nested, list | tuple):
        return [structured(item, function) for item in nested]
    return function(nested)


def leaves_of(nested: Any) -> Iterator[Any]:
    """Yields the items of nested lists and dicts, or the single one."""
    if isinstance(nested, Mapping):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        for item in nested:
            yield from leaves_of(item)
    else:
        yield nested


def described(predicted: Any) -> str:
    """Returns in a few words what a model gave."""
    if isinstance(predicted, Mapping):
        return f"a dict of {', '.join(map(repr, predicted)) or 'nothing'}"
    if isinstance(predicted, list | tuple):
        return f"a {type(predicted).__name__} of {len(predicted)}"
    if isinstance(predicted, np.ndarray):
        return f"{predicted.shape} {predicted.dtype}"
    return "None" if predicted is None else f"a {type(predicted).__name__}"
