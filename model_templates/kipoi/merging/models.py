"""Models that run in the dataloader: loaded once, in the process that made it, and run on whole batches.

Workers only read: a TensorFlow model that the parent has used hangs for ever in a forked worker.
"""

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Mapping

import kipoi
import numpy as np

from .connections import arrays_of, names_in
from .loading import neighbours_first
from .problems import problem, reason, span


class Model:
    """A model that runs in the dataloader, through Kipoi.

    Args:
        name: What it is called, also in messages.
        folder: The Kipoi directory that it lies in; several models of one folder are one model on several inputs.
        takes: The connection that feeds it, or a list or dict of connections, as the model has its inputs.
        gives: The tensors that it makes: for each name the shape of a row, None for a size that varies; in the order of
            the arrays that it predicts.
        keys: Where it predicts a dict or nested lists, the keys that lead to each of them.
        whole: The dtypes of tensors that are whole numbers or truth values: what takes them cuts fractions off.
    """

    def __init__(self, name, folder, takes, gives, keys=None, whole=None):
        self.name, self.folder, self.takes, self.gives, self.whole = name, folder, takes, gives, whole or {}
        self.keys = keys or ([()] if len(gives) == 1 else [(number,) for number in range(len(gives))])

    def run(self, model, tensors, uses, rows):
        """Adds what it predicts to the arrays by name.

        Args:
            model: What Kipoi has loaded.
            tensors: Arrays of shape (rows, ...) by name.
            uses: How often each of them is taken in all.
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

    def checked(self, predicted, keys, name, shape, rows, given):
        """Returns one array of a prediction: a row for each that was given, of the right shape, without NaN."""
        where = f"The model '{self.name}' gives"
        what = f"an array of shape ({len(rows)}{''.join(f', {size}' for size in shape) or ','})"

        def wrong(text, received):
            return problem(f"{where} {text} for {span(rows)}.", expected=what, received=received)

        try:
            found = self.found(predicted, keys)
            # An array of its own: a model may fill the same one again.
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
            f"{where} NaN as '{name}' for {span([rows[row] for row in bad])}{count}.",
            expected="numbers",
            received="NaN, of inputs with NaN" if own else "NaN, of inputs without NaN",
        )

    def found(self, predicted, keys):
        """Returns what is at the end of some keys; a list has to have as many items as it should."""
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
    """The models of a dataloader, and what it gives in the end.

    Args:
        models: In the order in which they run.
        inputs: What the dataloader gives as inputs: a connection, or a list or dict of connections.
    """

    def __init__(self, *models, inputs):
        self.models, self.inputs, self.loaded, self.process = models, inputs, {}, os.getpid()
        taken = [*leaves_of(inputs), *(connection for model in models for connection in leaves_of(model.takes))]
        self.uses = Counter(name for connection in taken for name in names_in(connection))

    def run(self, inputs, rows):
        """Returns what the dataloader gives, for what its parts read.

        Args:
            inputs: Arrays of shape (rows, ...) by name.
            rows: The numbers of the rows, for messages.
        """
        tensors = dict(inputs)
        with without_remarks():
            for model in self.models:
                model.run(self.model(model), tensors, self.uses, rows)
        return arriving(self.inputs, tensors, self.uses, "The inputs cannot be merged", rows)

    def model(self, model):
        """Returns what Kipoi makes of a model's folder, once."""
        if os.getpid() != self.process:
            raise problem(
                f"The model '{model.name}' would run in a process forked from the one that made the dataloader, where "
                "TensorFlow hangs for ever.",
                fix="Use num_workers=0; workers that this dataloader starts, batch_iter(num_workers=...), only read.",
            )
        if model.folder not in self.loaded:
            self.loaded[model.folder] = load_model(model.folder, model.name)
        return self.loaded[model.folder]


@contextlib.contextmanager
def without_remarks():
    """Keeps back TensorFlow's remark on functions that it compiles often: it takes all Keras models for one."""

    def is_no_remark(record):
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_no_remark)
    try:
        yield
    finally:
        logger.removeFilter(is_no_remark)


def load_model(folder, name):
    """Returns the model in a Kipoi directory."""
    try:
        # Several directories may each have a model.py.
        with neighbours_first(folder):
            return kipoi.get_model(str(folder), source="dir", with_dataloader=False)
    except (Exception, SystemExit) as error:
        # Kipoi leaves out why a class cannot be imported.
        said = error.__context__ if isinstance(error, ImportError) and error.__context__ is not None else error
        raise problem(f"The model '{name}' cannot be loaded.", received=reason(said)) from error


def arriving(nested, tensors, uses, message, rows):
    """Returns the arrays of a connection, or of a list or dict of connections.

    Args:
        nested: What arrives somewhere.
        tensors: Arrays by name.
        uses: How often each of them is taken in all.
        message: What is said where they do not fit together.
        rows: The numbers of the rows.
    """

    def array_of(connection):
        array = arrays_of(connection, tensors)
        # Whoever takes it may change it, and others would take that for the data.
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


def structured(nested, function):
    """Returns a list or dict with what a function makes of its items, or that of a single one."""
    if isinstance(nested, Mapping):
        return {key: structured(item, function) for key, item in nested.items()}
    if isinstance(nested, list | tuple):
        return [structured(item, function) for item in nested]
    return function(nested)


def leaves_of(nested):
    """Yields the items of a list or dict, or the single one."""
    if isinstance(nested, Mapping):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        for item in nested:
            yield from leaves_of(item)
    else:
        yield nested


def described(predicted):
    """What a model gave, in a few words."""
    if isinstance(predicted, Mapping):
        return f"a dict of {', '.join(map(repr, predicted)) or 'nothing'}"
    if isinstance(predicted, list | tuple):
        return f"a {type(predicted).__name__} of {len(predicted)}"
    if isinstance(predicted, np.ndarray):
        return f"{predicted.shape} {predicted.dtype}"
    return "None" if predicted is None else f"a {type(predicted).__name__}"
