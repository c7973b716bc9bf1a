"""Small inputs with which ``kipoi test`` runs: the user's, the parts' own, or random tables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kipoi
import numpy as np
from kipoi_utils.utils import default_kwargs

from keras_stitch.errors import SaveError, StitchError, nearest
from keras_stitch.kipoi.describing import Missing
from keras_stitch.kipoi.literals import is_plain
from keras_stitch.kipoi.merging import Feeder, Merged, own_examples
from keras_stitch.kipoi.running import example_inputs, quiet
from keras_stitch.spec import Port, Wiring

FOLDER = "example_files"
_ROWS = 10
_SIZES = tuple(2**power for power in range(3, 16))
_INDEXES = (".fai", ".gzi", ".tbi", ".csi", ".bai")


def choose_examples(merged: Merged, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The example for every argument: a ``Path`` of a file to copy, ``{"url", ...}``, or a plain value.

    Args:
        merged: The merged dataloader.
        given: The user's examples by argument.

    Raises:
        StitchError: When an argument is unknown or a required one has no example.
    """
    given, known = dict(given or {}), {argument.name: argument for argument in merged.arguments}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise StitchError(
                f"examples= names '{name}', which is no argument of the merged dataloader.",
                expected=nearest(name, known),
            )
        if isinstance(value, str | os.PathLike) and os.fspath(value) and Path(value).is_file():
            chosen[name] = Path(value).resolve()
        elif isinstance(value, os.PathLike):
            raise StitchError(f"The file for examples['{name}'] is not there.", received=f"'{os.fspath(value)}'")
        elif is_plain(value):
            chosen[name] = value
        else:
            raise StitchError(f"examples['{name}'] is not a plain value or a file.", received=repr(value))
    missing = []
    for name, argument in known.items():
        if name in chosen:
            continue
        own = own_examples(merged, name)
        if len(own) > 1:
            raise StitchError(
                f"The dataloaders of {' and '.join(feeder.name for feeder, _ in own)} share the argument '{name}', but "
                "have different examples for it.",
                expected="one example: a required argument of the same name is one argument",
                received=", ".join(f"{_shown(example)} of {feeder.name}" for feeder, example in own),
                fix=f"Pass examples={{{name!r}: ...}} with one that all of them read, or give one of them a value of "
                f"its own: ks.Dataloader(..., args={{{name!r}: ...}}).",
            )
        if argument.example is not Missing:
            chosen[name] = argument.example
        elif argument.required and merged.owners[name][0].component is not None:
            missing.append(f"'{name}' of {' and '.join(feeder.name for feeder in merged.owners[name])}")
    if missing:
        raise StitchError(
            f"There is no example for {', '.join(missing)}, so the directory could not be tested.",
            fix=f"Pass examples={{{missing[0].split()[0]}: ...}} with small files or values.",
        )
    return chosen


def _shown(example: Any) -> str:
    if isinstance(example, Path):
        return f"'{example.parent.name}/{example.name}'"
    return repr(example["url"] if isinstance(example, Mapping) and "url" in example else example)


def place_examples(directory: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Copies example files into the directory; returns the examples as ``dataloader.yaml`` names them."""
    placed, taken = {}, set()
    for name, value in chosen.items():
        if isinstance(value, Path):
            file = value.name if value.name not in taken else f"{name}-{value.name}"
            taken.add(file)
            (directory / FOLDER).mkdir(exist_ok=True)
            shutil.copy2(value, directory / FOLDER / file)  # with its time, which must not be later than an index's
            for end in _INDEXES:
                index = value.with_name(value.name + end)
                if index.is_file():
                    shutil.copy2(index, directory / FOLDER / (file + end))
                    taken.add(file + end)
            value = f"{FOLDER}/{file}"
        placed[name] = value
    return placed


def add_random_tables(
    directory: Path, merged: Merged, wiring: Wiring, model: Any, placed: Mapping[str, Any]
) -> dict[str, str]:
    """Writes an NPY file with random rows for every table reader that has no example.

    As many rows as the other components' examples have, or 10; the same numbers each time.

    Args:
        directory: With everything but these examples.
        merged: The merged dataloader.
        wiring: The graph.
        model: Its model: which lengths it takes is tried out where the shape leaves them open.
        placed: The examples that there are.

    Returns:
        The example of each such argument.
    """
    wanted = {
        feeder.arguments["path"]: feeder.port
        for feeder in merged.feeders
        if feeder.port is not None and feeder.arguments["path"] not in placed
    }
    if not wanted:
        return {}
    rows: dict[str, Any] = {}
    count = _ROWS
    for feeder, dataset in _datasets(directory, merged, placed):
        count = len(dataset)
        first = dataset[0]["inputs"]
        for name, field in feeder.fields.items():
            rows[name] = first
            for key in field.path:
                rows[name] = rows[name][key]
        if feeder.port is not None:
            rows[feeder.name] = first
    size = _size(wanted.values(), wiring, model, rows)
    (directory / FOLDER).mkdir(exist_ok=True)
    for port in wanted.values():
        np.save(directory / FOLDER / f"{port.name}.npy", random_rows(port, count, size, seed=_seed(wiring, port)))
    return {argument: f"{FOLDER}/{port.name}.npy" for argument, port in wanted.items()}


def random_rows(port: Port, count: int, size: int, seed: int) -> np.ndarray[Any, Any]:
    """Random rows for an input: normal for floats, 0 and 1 for all else, which every embedding takes.

    Args:
        port: The graph input.
        count: Number of rows.
        size: What an open dimension becomes.
        seed: The same seed gives the same rows.

    Example:
        >>> random_rows(Port("x", (None, 4)), 10, 8, seed=0).shape
        (10, 8, 4)
    """
    shape = [count, *(size if dimension is None else dimension for dimension in port.shape or ())]
    generator = np.random.default_rng(seed)
    dtype = table_dtype(port)
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)


def table_dtype(port: Port) -> str:
    """The NumPy dtype of the rows that a table reader gives.

    Raises:
        StitchError: For an input that takes no numbers.
    """
    dtype = port.dtype or "float32"
    if dtype == "bfloat16":
        return "float32"
    try:
        if np.dtype(dtype).kind in "biuf":
            return dtype
    except TypeError:
        pass
    raise StitchError(
        f"No table holds what the input '{port.name}' takes, {dtype}.",
        fix=f"Name a dataloader for it: dataloaders={{{port.name!r}: ...}}.",
    )


def _seed(wiring: Wiring, port: Port) -> int:
    return [known.name for known in wiring.inputs].index(port.name)


def _datasets(directory: Path, merged: Merged, placed: Mapping[str, Any]) -> Iterator[tuple[Feeder, Any]]:
    """The component dataloaders, on their examples, as the generated file makes them."""
    try:
        with quiet():
            loader = kipoi.get_dataloader_factory(str(directory), "dir")
            values = {**default_kwargs(loader), **loader.example_kwargs}
            module = loader.__init__.__globals__
            for feeder in merged.feeders:
                arguments = {own: values.get(name) for own, name in feeder.arguments.items()}
                for own, value in arguments.items():
                    if isinstance(value, str) and value and (directory / value).is_file():
                        arguments[own] = str(directory / value)
                if feeder.component is not None:
                    yield feeder, module["LOADERS"][feeder.name](**arguments)
                elif feeder.port is not None and feeder.arguments["path"] in placed:
                    port = feeder.port
                    yield feeder, module["tables"].Table(arguments["path"], port.name, port.shape, table_dtype(port))
    except Exception as error:  # whatever a component does
        raise SaveError(
            "The dataloaders of the parts cannot read their examples.",
            received=f"{type(error).__name__}: {error}",
            fix="Pass examples={argument: file or value} with data that they read.",
        ) from error


def _size(ports: Any, wiring: Wiring, model: Any, rows: Mapping[str, Any]) -> int:
    """A length for the open dimensions that the model takes."""
    if all(None not in (port.shape or ()) for port in ports):
        return _SIZES[0]
    known = [size for row in rows.values() for size in np.shape(row)]
    wanted = [port for port in wiring.inputs if port.name not in rows]
    reason = ""
    for size in [*sorted(set(known), reverse=True), *_SIZES]:
        made = {port.name: random_rows(port, 1, size, seed=0)[0] for port in wanted}
        try:
            # Eager: predict() would compile the model anew for every length.
            outputs = model(example_inputs({**rows, **made}, wiring), training=False)
        except Exception as error:  # Keras and TensorFlow raise many kinds for a length that does not fit
            reason = reason or f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        if all(0 not in np.shape(output) for output in (outputs.values() if isinstance(outputs, dict) else [outputs])):
            return size
    raise SaveError(
        "No length was found for the open dimensions of the inputs, so there is no example to test the directory with.",
        received=reason or "empty predictions",
        fix="Pass examples={'<input>_file': file} with data that fit the model.",
    )
