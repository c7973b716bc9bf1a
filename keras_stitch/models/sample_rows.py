"""Rows for graph inputs: random ones that the model takes, and those that the user gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.files.npz_files import read_npz
from keras_stitch.graphs.shapes import dtype_fits, shape_fits
from keras_stitch.graphs.spec import Port, Shape, Wiring, port_text, shape_text

Array = np.ndarray[Any, Any]
# What is drawn for an input: whole numbers below a number, or some of these texts.
Bound = int | tuple[str, ...]
TEXT = "str"  # NumPy's name
TEXTS = ("A", "C", "G", "T", "ACGT", "TTGACC")
SIZES = tuple(2**power for power in range(3, 16))


def random_rows(port: Port, count: int, size: int, seed: int | Sequence[int], bound: Bound | None = None) -> Array:
    """Random rows for an input: normal for floats, short texts for text, and 0 and 1 for all else.

    ``size`` is what an open dimension becomes. Where a bound is given, the rows are whole numbers below it, also for
    floats, or its texts.
    """
    shape = row_shape(port, size)
    generator = np.random.default_rng(seed)
    dtype = table_dtype(port)
    if dtype == TEXT:
        return generator.choice(np.asarray(_texts(bound)), (count, *shape))
    assert not isinstance(bound, tuple)
    if bound is None and np.dtype(dtype).kind == "f":
        return generator.standard_normal((count, *shape)).astype(dtype)
    return generator.integers(0, _top(dtype, bound), (count, *shape)).astype(dtype)


def mask_ends(rows: Array, values: Sequence[float]) -> bool:
    """Make steps at the end of some rows of such values as ``Masking`` masks, and say whether rows have steps."""
    if not values or rows.ndim < 3 or rows.dtype.kind != "f":
        return False
    for number, row in enumerate(rows):
        row[len(row) - number % len(row) :] = values[number % len(values)]
    return True


def _texts(bound: Bound | None) -> tuple[str, ...]:
    return bound if isinstance(bound, tuple) else TEXTS


def values_text(port: Port, bound: Bound | None) -> str:
    """What ``random_rows`` draws, in words: ``"normal"``, ``"0 to 19"`` or ``"12 texts"``."""
    dtype = table_dtype(port)
    if dtype == TEXT:
        return f"{len(_texts(bound))} texts"
    assert not isinstance(bound, tuple)
    return "normal" if bound is None and np.dtype(dtype).kind == "f" else f"0 to {_top(dtype, bound) - 1}"


def _top(dtype: str, bound: int | None) -> int:
    kind = np.dtype(dtype).kind
    largest = 2 if kind == "b" else int(np.iinfo(dtype).max) if kind in "iu" else 2**24
    return min(bound or 2, largest)


def row_shape(port: Port, size: int) -> tuple[int, ...]:
    """The shape of a row, its open dimensions of a size."""
    return tuple(size if dimension is None else dimension for dimension in port.row)


def table_dtype(port: Port) -> str:
    """The NumPy dtype of the rows that a table reader gives.

    Raises:
        StitchError: For an input that takes neither numbers nor text.
    """
    dtype = port.dtype or "float32"
    if dtype == "bfloat16":
        return "float32"
    if dtype == "string":
        return TEXT
    try:
        if np.dtype(dtype).kind in "biuf":
            return dtype
    except TypeError:
        pass
    raise StitchError(
        f"No table holds what the input '{port.name}' takes, {dtype}.",
        fix=f"Name a dataloader for it: dataloaders={{{port.name!r}: ...}}.",
    )


def find_size(
    wiring: Wiring, model: Callable[..., Any], rows: Mapping[str, Any], bounds: Mapping[str, Bound] | None = None
) -> tuple[int | None, str]:
    """A length for the open dimensions that a model takes; or ``None``, and what was wrong with the first tried.

    ``rows`` has a row for each input that has one already; ``bounds`` is what ``ports`` finds in the model.
    """
    wanted = [port for port in wiring.inputs if port.name not in rows]
    if not any(port.is_open for port in wanted):
        return SIZES[0], ""
    known = [size for row in rows.values() for size in np.shape(row)]

    def predict(size: int) -> Iterable[Any]:
        made = {port.name: random_rows(port, 1, size, 0, (bounds or {}).get(port.name))[0] for port in wanted}
        batch = [np.asarray({**rows, **made}[port.name])[None] for port in wiring.inputs]
        # Eager: predict() would compile the model anew for every length.
        outputs = model(batch, training=False)
        return outputs.values() if isinstance(outputs, dict) else [outputs]

    found, problem = fitting_sizes(predict, [*sorted(set(known), reverse=True), *SIZES])
    return (found[0], "") if found else (None, problem or "empty predictions")


def fitting_sizes(
    predict: Callable[[int], Iterable[Any]], sizes: Iterable[int] = SIZES, most: int = 1
) -> tuple[list[int], str]:
    """Up to ``most`` sizes of open dimensions with which a model predicts something, tried in their order.

    ``predict`` gives the outputs of the model for a size. The text says what was wrong with the first that did not fit.
    """
    found: list[int] = []
    problem = ""
    for size in sizes:
        if len(found) == most:
            break
        try:
            outputs = predict(size)
        except Exception as error:  # Keras and TensorFlow raise many kinds for a length that does not fit
            problem = problem or reason(error)
            continue
        if all(0 not in np.shape(output) for output in outputs):
            found.append(size)
    return found, problem


def shape_of(array: Array) -> Shape:
    """The shape of a row."""
    return tuple(array.shape[1:])


def read_data(path: Path) -> dict[str, Array]:
    """The arrays of an NPZ file, by name.

    Raises:
        StitchError: If it is not there, or no such file.
    """
    try:
        return read_npz(path)
    except StitchError:
        raise
    except OSError as error:
        raise StitchError(f"The data '{path}' cannot be read: {error.strerror or reason(error)}.") from error
    except Exception as error:  # NumPy and zipfile raise whatever they meet
        raise StitchError(
            f"The data '{path}' is no NPZ file.",
            expected="what numpy.savez(file, input=array, ...) writes, numbers or text",
            received=reason(error),
        ) from error


def given_inputs(data: object, wiring: Wiring) -> dict[str, Array]:
    """The user's inputs by graph input, checked against the graph.

    They are a dict, or a list in the order of the graph inputs, of arrays of shape ``(rows, ...)``.

    Raises:
        StitchError: If names, shapes, dtypes or numbers of rows do not fit.
    """
    names = [port.name for port in wiring.inputs]
    if isinstance(data, Mapping):
        for name in data:
            if name not in names:
                raise StitchError(f"data= names '{name}', which is no input.", expected=nearest(str(name), names))
        missing = [name for name in names if name not in data]
        if missing:
            raise StitchError(
                f"data= lacks the input '{missing[0]}'.",
                expected=", ".join(names),
                received=", ".join(map(str, data)) or "nothing",
            )
    elif isinstance(data, list | tuple) and len(data) == len(names):
        data = dict(zip(names, data, strict=True))
    else:
        raise StitchError(
            "data= is not one array for each input.",
            expected=f"a dict by input, or a list of {len(names)}: {', '.join(names)}",
            received=f"a list of {len(data)}" if isinstance(data, list | tuple) else type(data).__name__,
        )
    arrays = {port.name: _given_array(data[port.name], port) for port in wiring.inputs}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise StitchError(
            "data= does not have the same rows for every input." if 0 not in counts.values() else "data= has no rows.",
            expected="one number of rows, at least 1",
            received=", ".join(f"{name}: {count}" for name, count in counts.items()),
        )
    return arrays


def _given_array(value: object, port: Port) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise StitchError(f"data['{port.name}'] is no array.", received=str(error)) from error
    dtype = port.dtype or "float32"
    array = as_text(array) if dtype == "string" else array
    text = array.dtype.kind in "SU"
    if array.dtype.kind == "O" or text != (dtype == "string") or not (text or dtype_fits(str(array.dtype), dtype)):
        raise StitchError(
            f"data['{port.name}'] does not fit {port_text(None, port)}.",
            expected=f"dtype {dtype}",
            received=f"dtype {array.dtype}",
            fix=None if text or array.dtype.kind == "O" else f'Convert it: array.astype("{dtype}").',
        )
    if array.ndim == 0 or not shape_fits(shape_of(array), port.shape):
        raise StitchError(
            f"data['{port.name}'] does not fit {port_text(None, port)}.",
            expected=f"shape {shape_text((None, *port.row))}, rows first",
            received=f"shape {array.shape}",
        )
    return array if text else array.astype(table_dtype(port))


def as_text(array: Array) -> Array:
    """Texts and bytes among Python objects, as HDF5 gives them, as an array of text; any other array as it is."""
    if array.dtype.kind != "O" or not all(isinstance(item, str | bytes) for item in array.flat):
        return array
    texts = [item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else item for item in array.flat]
    return np.asarray(texts, dtype="U").reshape(array.shape)
