"""Rows to train on, as users have them: arrays, or a dataset; read from any row on, in an order that stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import keras
import numpy as np

from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.spec import Wiring
from keras_stitch.models.named_targets import check_named
from keras_stitch.models.sample_rows import given_inputs
from keras_stitch.training.batches import Array, split
from keras_stitch.training.dataloading import failure
from keras_stitch.training.epochs import Epochs
from keras_stitch.training.provenance import Key

# Inputs by name, targets and, unless they are None, weights of rows: arrays, or dicts of them by output.
Batch = tuple[dict[str, Array], Any, Any]

# How many rows of a dataset are hashed where nothing else identifies it.
SAMPLE = 64
_PARTS = ("targets", "sample weights")
_UNSTORABLE = "in data= cannot be stored"
_PIECE = 1 << 23


def rows_of(data: Any, wiring: Wiring) -> _Tables | _Numbered | _Batched:
    """What a user gives to train on, checked against a graph.

    Data are ``(inputs, targets)`` or ``(inputs, targets, sample_weights)``. Inputs are a dict by graph input, a list in
    their order or, where there is one, an array of shape ``(rows, ...)``; the others an array, or a dict by graph
    output. Or data are a ``keras.utils.PyDataset`` of those.

    Returns:
        ``rows``, how many, ``None`` if that is not known; ``key``, what they are or are made of; and
        ``batches(start, batch_size)``, the rows from one on, where datasets without access by row have batches of their
        own size.

    Raises:
        StitchError: If it is something else, or names, shapes, dtypes or numbers of rows do not fit.
    """
    if isinstance(data, Epochs) and hasattr(data, "read"):
        return _Numbered(data, wiring)
    if isinstance(data, keras.utils.PyDataset):
        return _Batched(data, wiring)
    if isinstance(data, tuple) and len(data) in (2, 3):
        return _Tables(wiring, *data)
    is_path = isinstance(data, str) or hasattr(data, "__fspath__")
    raise StitchError(
        "data= is nothing to train on.",
        expected="(inputs, targets), perhaps with sample weights behind them, or a keras.utils.PyDataset",
        received=f"a tuple of {len(data)}" if isinstance(data, tuple) else repr(data)[:200],
        fix="For a directory: ks.training_data(directory, {argument: value})." if is_path else None,
    )


class _Tables:
    """Arrays; those of a memory map or an HDF5 file are read in pieces."""

    def __init__(self, wiring: Wiring, inputs: Any, targets: Any, weights: Any = None):
        self._wiring = wiring
        named, names = _named(inputs, wiring), [port.name for port in wiring.inputs]
        if isinstance(named, list | tuple) and len(named) == len(names):
            named = dict(zip(names, named, strict=True))
        if isinstance(named, Mapping):
            named = {name: _array(value, f"data['{name}']", "does not fit") for name, value in named.items()}
            given_inputs({name: value[:1] for name, value in named.items()}, wiring)  # all but the number of rows
        else:
            named = given_inputs(named, wiring)  # which says what is wrong
        self._inputs = {name: named[name] for name in names}
        _check_outputs(targets, weights, wiring)
        self._targets, self._weights = _arrays(targets, "targets"), _arrays(weights, "sample weights")
        counts = {name: len(array) for name, array in self._leaves()}
        if len(set(counts.values())) > 1:
            raise StitchError(
                "data= does not have the same rows everywhere.",
                expected="one number of rows",
                received=", ".join(f"{name}: {count}" for name, count in counts.items()),
            )
        self.rows = next(iter(counts.values()))

    @property
    def key(self) -> Key:
        return Key({name: _digest(array) for name, array in self._leaves()})

    def batches(self, start: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, self.rows, batch_size):
            rows = slice(first, first + batch_size)
            inputs = given_inputs({name: array[rows] for name, array in self._inputs.items()}, self._wiring)
            yield inputs, _some(self._targets, rows), _some(self._weights, rows)

    def _leaves(self) -> Iterator[tuple[str, Any]]:
        for name, array in self._inputs.items():
            yield f"input '{name}'", array
        for what, value in zip(_PARTS, (self._targets, self._weights), strict=True):
            if isinstance(value, Mapping):
                yield from ((f"{what} '{name}'", array) for name, array in value.items())
            elif value is not None:
                yield what, value


class _Numbered:
    """A dataloader with access by row, or precomputed rows, from the first to the last."""

    def __init__(self, data: Any, wiring: Wiring):
        self._data, self._wiring, self.rows = data, wiring, int(data.rows)

    @property
    def key(self) -> Key:
        known = getattr(self._data, "key", None)
        if isinstance(known, Key):
            files = {f"data: {name}": checksum for name, checksum in known.files.items()}
            return Key(files, known.arguments, known.data)
        return _sampled(list(map(self._read, _spread(self.rows, SAMPLE))), f"of {self.rows:,} rows")

    def batches(self, start: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, self.rows, batch_size):
            yield _checked(self._read(np.arange(first, min(first + batch_size, self.rows))), self._wiring)

    def _read(self, rows: Any) -> tuple[Any, ...]:
        try:
            batch = self._data.read(np.atleast_1d(rows))
        except Exception as error:  # whatever a dataloader does
            raise _failed(error, f"row {np.min(rows)}") from error
        return batch["inputs"], batch.get("targets")


class _Batched:
    """A dataset that gives batches by their number, which may have any sizes."""

    rows = None

    def __init__(self, data: keras.utils.PyDataset, wiring: Wiring):
        self._data, self._wiring = data, wiring
        try:
            count = data.num_batches
        except NotImplementedError:
            count = None
        if count is None:
            raise StitchError(
                f"data= has no end: {type(data).__name__} does not say how many batches there are.",
                expected="a dataset with a length, __len__",
            )
        self._count = int(count)

    @property
    def key(self) -> Key:
        chosen = [self._read(number) for number in _spread(self._count, SAMPLE // 8)]
        return _sampled(chosen, f"of {self._count:,} batches")

    def batches(self, start: int, batch_size: int) -> Iterator[Batch]:
        for number in range(self._count):
            batch = _checked(self._read(number), self._wiring)
            count = len(next(iter(batch[0].values())))
            if start < count:
                inputs, targets, weights = (_some(part, slice(start, None)) for part in batch)
                yield inputs, targets, weights
            start = max(0, start - count)

    def _read(self, number: int) -> tuple[Any, ...]:
        try:
            batch = self._data[int(number)]
        except Exception as error:  # whatever a dataset does
            raise _failed(error, f"batch {number}") from error
        if not isinstance(batch, tuple) or len(batch) not in (2, 3):
            raise StitchError(
                f"Batch {number} of data= is nothing to train on.",
                expected="(inputs, targets) or (inputs, targets, sample_weights)",
                received=f"a tuple of {len(batch)}" if isinstance(batch, tuple) else repr(batch)[:200],
            )
        return batch


def _named(inputs: Any, wiring: Wiring) -> Any:
    """What ``given_inputs`` takes: one array is that of the one input."""
    is_array = not isinstance(inputs, Mapping | list | tuple)
    return [inputs] if is_array and len(wiring.inputs) == 1 and hasattr(inputs, "shape") else inputs


def _checked(batch: tuple[Any, ...], wiring: Wiring) -> Batch:
    inputs, targets, weights = (*batch, None)[:3]
    _check_outputs(targets, weights, wiring)
    return given_inputs(_named(inputs, wiring), wiring), targets, weights


def _check_outputs(targets: Any, weights: Any, wiring: Wiring) -> None:
    names = [output.port.name for output in wiring.outputs]
    if targets is None or (isinstance(targets, Mapping) and not targets):
        raise StitchError(
            "data= has no targets to train on.",
            expected="(inputs, targets)"
            if len(names) == 1
            else f"(inputs, {{output: targets}}) for {', '.join(names)}",
        )
    for value, what in zip((targets, weights), _PARTS, strict=True):
        for name in value if isinstance(value, Mapping) else ():
            if names and name not in names:
                message = f"The {what} in data= name '{name}', which is no output."
                raise StitchError(message, expected=nearest(str(name), names))
    if not isinstance(weights, Mapping):
        check_named(weights, "The sample weights in data=", names)
    if len(names) > 1 and not isinstance(targets, Mapping):
        raise StitchError(
            "The targets in data= do not say which output they are for.",
            expected=f"a dict by output: {', '.join(names)}",
            received=type(targets).__name__,
        )


def _array(value: Any, what: str, fault: str) -> Any:
    """An array; what lies in a file stays there. ``fault`` is what a message says of something else."""
    if isinstance(value, h5py.Dataset):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise StitchError(f"{what} is no array.", received=str(error)) from error
    if array.ndim == 0 or array.dtype.kind == "O":
        raise StitchError(
            f"{what} {fault}.",
            expected="an array of numbers or text, rows first",
            received=f"shape {array.shape}, dtype {array.dtype}",
        )
    return array


def _arrays(value: Any, what: str) -> Any:
    """An array, those in a dict, or nothing."""
    if isinstance(value, Mapping):
        return {name: _array(one, f"The {what} '{name}'", _UNSTORABLE) for name, one in value.items()}
    return None if value is None else _array(value, f"The {what}", _UNSTORABLE)


def _some(value: Any, rows: slice) -> Any:
    """Some rows of an array, of those in a dict, or of nothing."""
    if isinstance(value, Mapping):
        return {name: np.asarray(one[rows]) for name, one in value.items()}
    return None if value is None else np.asarray(value[rows])


def _failed(error: Exception, where: str) -> StitchError:
    fix = "Rows before it are kept: unless the data change, the same call goes on there."
    return failure(error, f"data= cannot be read from {where} on.", fix)


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spread, the first and the last among them."""
    return sorted({int(number) for number in np.linspace(0, count - 1, min(count, most))}) if count else []


def _sampled(batches: list[tuple[Any, ...]], of: str) -> Key:
    found = hashlib.sha256(of.encode())
    for batch in batches:
        parts = dict(zip(("inputs", "targets", "metadata"), batch, strict=False))
        structure, arrays = split(parts)
        found.update(json.dumps([structure, list(map(_digest, arrays.values()))]).encode())
    return Key({f"{len(batches)} {of} of the data": found.hexdigest()})


def _digest(array: Any) -> str:
    """The sha256 of an array's dtype, shape and values."""
    shape = tuple(map(int, array.shape))
    found = hashlib.sha256(f"{np.dtype(array.dtype).str} {shape}".encode())
    step = max(1, _PIECE // max(1, int(np.prod(shape[1:])) * np.dtype(array.dtype).itemsize))
    for start in range(0, shape[0] if shape else 0, step):
        piece = np.asarray(array[start : start + step])
        found.update(json.dumps(piece.tolist()).encode() if piece.dtype.kind == "O" else piece.tobytes())
    return found.hexdigest()
