"""The command line of a directory: predicts with its model for what its dataloader reads, and writes an HDF5 file."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .data_errors import problem
from .directory import Directory
from .prediction_file import PredictionFile, flat
from .progress import shown

OUTPUT = "predictions.h5"
# The program's own options; an argument of the dataloader with such a name is given as --data-<name>.
OPTIONS = ("help", "output", "overwrite", "keep-inputs", "batch-size", "workers", "traceback")


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Runs the command with a directory; returns the exit status.

    Args:
        folder: The directory.
        arguments: What was given; by default, what the program was started with.
    """
    # Keras' backend has much to say at its start, and nothing about the data.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    directory = Directory(folder)
    parser, names = _parser(directory)
    given = vars(parser.parse_args(arguments))
    chosen = {name: _value(given[key], directory.arguments[name]) for name, key in names.items() if key in given}
    missing = [name for name in directory.needed if name not in chosen]
    if chosen and missing:
        parser.error(f"these are missing: {', '.join(missing)}. Without any, the examples are predicted.")
    try:
        count = _predict(directory, chosen or None, Path(given["output"]), given)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    except Exception as error:  # whatever a dataloader or a model does
        if given["traceback"]:
            raise
        kind = "" if type(error).__name__ == "DataError" else f"{type(error).__name__}: "
        parser.exit(1, f"{parser.prog}: error: {kind}{' '.join(str(error).split())}\n")
    print(f"{count:,} rows in {given['output']}")
    return 0


def _predict(directory: Directory, chosen: dict[str, Any] | None, output: Path, given: Mapping[str, Any]) -> int:
    """Writes the predictions, and returns how many rows there are; the file is there when it is whole."""
    if output.suffix not in (".h5", ".hdf5") or output.is_dir():
        raise problem(f"'{output}' is no name of an HDF5 file.", fix="Name a file that ends with .h5.")
    if output.exists() and not given["overwrite"]:
        raise problem(f"'{output}' exists already.", fix="Name another file, or add --overwrite.")
    if chosen is None:
        print("No data are named: these are the examples of the directory.", file=sys.stderr)
    part = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    kept = ("preds", "metadata", *(("inputs", "targets") if given["keep_inputs"] else ()))
    try:
        count = 0
        with PredictionFile(part) as file:
            loader = directory.example_or(chosen)
            total = len(loader) if hasattr(loader, "__len__") else None
            batches = directory.predicted(loader, given["batch_size"], given["workers"])
            for batch in shown(batches, "predicting", _rows, total):
                file.write({key: batch[key] for key in kept if key in batch})
                count += _rows(batch)
        if not count:
            raise problem("There are no rows to predict.")
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return count


def _rows(batch: Mapping[str, Any]) -> int:
    return len(next(array for _, array in flat(batch["inputs"])))


def flag(name: str) -> str:
    """Returns the option that gives an argument of the dataloader."""
    return f"--data-{name}" if name in OPTIONS else f"--{name}"


def _parser(directory: Directory) -> tuple[argparse.ArgumentParser, dict[str, str]]:
    """Returns the parser, and what it calls each argument of the dataloader."""
    parser = argparse.ArgumentParser(
        description=f"Predict with {directory.folder.name}. Without data, its examples are predicted.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--output", "-o", metavar="FILE.h5", default=OUTPUT, help=f"default: {OUTPUT}")
    parser.add_argument("--overwrite", action="store_true", default=False, help="replace the output if it exists")
    parser.add_argument("--keep-inputs", action="store_true", default=False, help="write inputs and targets, too")
    parser.add_argument("--batch-size", type=_at_least(1), metavar="ROWS", default=32, help="default: 32")
    parser.add_argument("--workers", type=_at_least(0), metavar="N", default=0, help="processes that read; default: 0")
    parser.add_argument("--traceback", action="store_true", default=False, help="show where an error comes from")
    data, names = parser.add_argument_group("data"), {}
    for name, said in directory.arguments.items():
        names[name] = f"data {name}"  # no option has such a name
        text = str(said.get("doc") or "") + (" (needed)" if name in directory.needed else "")
        data.add_argument(flag(name), dest=names[name], metavar="VALUE", help=text.replace("%", "%%"))
    return parser, names


def _at_least(least: int) -> Any:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"it is a whole number, {least} or more, not {text!r}")
        return int(text)

    return whole_number


def _value(text: str, said: Mapping[str, Any]) -> Any:
    """Returns the value of an argument: what JSON or YAML make of it, unless its type is text; files by whole paths."""
    value: Any = text
    if not str(said.get("type") or "").startswith("str"):
        value = _parsed(text)
    if not isinstance(value, str):
        return value
    try:
        return str(Path(text).resolve()) if Path(text).exists() else value
    except (OSError, ValueError):  # a long text is no path
        return value


def _parsed(text: str) -> Any:
    for parse in (json.loads, yaml.safe_load):
        with contextlib.suppress(ValueError, yaml.YAMLError):
            return parse(text)
    return text
