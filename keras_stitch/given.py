"""Inputs that the user gives for a graph: read from a file, and checked against its ports."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.sampling import shape_of, table_dtype
from keras_stitch.shapes import dtype_fits, shape_fits
from keras_stitch.spec import Port, Wiring, port_text, shape_text


def read_data(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an NPZ file, by name.

    Raises:
        StitchError: If it is not there, or no such file.
    """
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise ValueError("one array without a name")
        with stored:
            return {name: stored[name] for name in stored.files}
    except OSError as error:
        raise StitchError(f"The data '{path}' cannot be read: {error.strerror or reason(error)}.") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StitchError(
            f"The data '{path}' is no NPZ file.",
            expected="what numpy.savez(file, input=array, ...) writes, numbers or text",
            received=reason(error),
        ) from error


def given_inputs(data: object, wiring: Wiring) -> dict[str, np.ndarray[Any, Any]]:
    """The user's inputs by graph input, checked against the graph.

    Args:
        data: A dict by graph input, or a list in their order; arrays of shape ``(rows, ...)``.
        wiring: The graph.

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


def _given_array(value: object, port: Port) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise StitchError(f"data['{port.name}'] is no array.", received=str(error)) from error
    dtype = port.dtype or "float32"
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
            expected=f"shape {shape_text((None, *(port.shape or ())))}, rows first",
            received=f"shape {array.shape}",
        )
    return array if text else array.astype(table_dtype(port))
