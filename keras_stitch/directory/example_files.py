"""Small inputs with which ``kipoi test`` runs: the user's, the parts' own, or random tables."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.checks import mapping_of
from keras_stitch.directory.argument_names import distinct_examples, owners_of
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import Feeder, FileFeeder, TableFeeder, TargetsFeeder
from keras_stitch.errors import SaveError, StitchError, nearest
from keras_stitch.files.read_files import is_file, plain
from keras_stitch.graphs.shapes import shape_fits
from keras_stitch.graphs.spec import Port, Wiring, shape_text
from keras_stitch.kipoi import table_files
from keras_stitch.kipoi.run_directory import late_import, may_be_data, opened, quiet, readable
from keras_stitch.kipoi.schema import Missing
from keras_stitch.kipoi.templates import is_plain
from keras_stitch.models.sample_rows import find_size, random_rows

_ROWS = 10
_FIX = "Pass examples={argument: file or value} with data that they read."
_INDEXES = (".fai", ".gzi", ".tbi", ".csi", ".bai")


def choose_examples(merged: Merged, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The example for every argument: a ``Path`` of a file to copy, ``{"url", ...}``, or a plain value.

    Raises:
        StitchError: When an argument is unknown or a required one has no example.
    """
    given = mapping_of(given, "examples=", "{argument: file or value}")
    known = {argument.name: argument for argument in merged.arguments}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise StitchError(
                f"examples= names '{name}', which is no argument of the merged dataloader.",
                expected=nearest(name, known),
            )
        chosen[name] = _given(name, value, of_file=isinstance(merged.owners[name][0], FileFeeder))
    missing, owners = [], owners_of(merged.feeders)
    for name, argument in known.items():
        if name in chosen:
            continue
        own = distinct_examples(owners[name])
        if len(own) > 1:
            raise StitchError(
                f"The dataloaders of {' and '.join(owner for owner, _ in own)} share the argument '{name}', but "
                "have different examples for it.",
                expected="one example: a required argument of the same name is one argument",
                received=", ".join(f"{_shown(example)} of {owner}" for owner, example in own),
                fix=f"Pass examples={{{name!r}: ...}} with one that all of them read, or keep them apart: "
                f"ks.Dataloader(..., separate={name!r}).",
            )
        if argument.example is not Missing:
            chosen[name] = argument.example
        elif argument.required and not isinstance(merged.owners[name][0], FileFeeder):
            missing.append(f"'{name}' of {' and '.join(feeder.name for feeder in merged.owners[name])}")
    if missing:
        raise StitchError(
            f"There is no example for {', '.join(missing)}, so the directory could not be tested.",
            fix=f"Pass examples={{{missing[0].split()[0]}: ...}} with small files or values.",
        )
    return chosen


def _given(name: str, value: Any, *, of_file: bool) -> Any:
    """An example that the user gave, for the path of a file with rows, or for an argument of a component."""
    is_path = isinstance(value, str | os.PathLike)
    if is_path and os.fspath(value) and is_file(value):
        try:
            return plain(Path(value)).resolve()
        except OSError as error:
            raise StitchError(f"The file for examples['{name}'], '{value}', is not copied: {error.strerror}.") from None
    if isinstance(value, os.PathLike) or of_file:
        there = is_path and os.path.exists(value)  # noqa: PTH110 - any text
        raise StitchError(
            f"The file for examples['{name}'] {'is a folder' if there else 'is not there'}."
            if is_path
            else f"examples['{name}'] is not a file.",
            expected=f"an {table_files.listed()} file" if of_file else "the path of a file",
            received=f"'{os.fspath(value)}'" if is_path else repr(value)[:200],
            fix=f"Give the whole path, or one seen from '{Path.cwd()}'." if is_path and not there else None,
        )
    if not is_plain(value):
        raise StitchError(f"examples['{name}'] is not a plain value or a file.", received=repr(value))
    return value


def _shown(example: Any) -> str:
    if isinstance(example, Path):
        return f"'{example.parent.name}/{example.name}'"
    return repr(example["url"] if isinstance(example, Mapping) and "url" in example else example)


def file_names(merged: Merged, chosen: Mapping[str, Any]) -> dict[str, str]:
    """The path in the directory of every example that will be a file: copies, then random tables."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name, value in chosen.items():
        if isinstance(value, Path):
            file = value.name if value.name not in taken else f"{name}-{value.name}"
            taken |= {file, *(file + end for end in _INDEXES if value.with_name(value.name + end).is_file())}
            names[name] = f"{layout.EXAMPLES}/{file}"
    for feeder in merged.files:
        if feeder.made_example is not None and feeder.path_argument not in chosen:
            file, argument = feeder.made_example, feeder.path_argument
            names[argument] = f"{layout.EXAMPLES}/{file if file not in taken else argument + Path(file).suffix}"
    return names


def requirements(merged: Merged, chosen: Mapping[str, Any]) -> list[str]:
    """What has to be installed to read the chosen examples that are files with rows."""
    files = [chosen.get(feeder.path_argument) for feeder in merged.files]
    found = [table_files.requirement_of(file) for file in files if isinstance(file, Path)]
    return list(dict.fromkeys(item for item in found if item is not None))


def place_examples(directory: Path, chosen: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Copies example files into the directory; returns the examples as ``dataloader.yaml`` names them."""
    placed = {}
    for name, value in chosen.items():
        if isinstance(value, Path):
            copy = directory / names[name]
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(value, copy)  # with its time, which must not be later than an index's
            for end in _INDEXES:
                index = value.with_name(value.name + end)
                if index.is_file():
                    shutil.copy2(index, copy.with_name(copy.name + end))
            value = names[name]
        placed[name] = value
    return placed


def add_random_tables(
    directory: Path,
    merged: Merged,
    wiring: Wiring,
    model: Callable[..., Any],
    placed: Mapping[str, Any],
    names: Mapping[str, str],
) -> tuple[dict[str, str], int]:
    """Writes an NPY file with random rows for every table reader that has no example.

    As many rows as the other components' examples have, or 10; the same numbers each time. The lengths that the model
    takes are tried out where shapes are open.

    Returns:
        The example of each such argument, and how many rows there are.
    """
    wanted = {
        feeder.path_argument: feeder.port
        for feeder in merged.feeders
        if isinstance(feeder, TableFeeder) and feeder.path_argument not in placed
    }
    rows: dict[str, Any] = {}
    count = _ROWS
    for feeder, first, length in _first_rows(directory, merged, wiring, placed):
        count = length if feeder.alignment.align_on is None else count
        rows |= first
    if not wanted:
        return {}, count
    size = _size(wiring, model, rows)
    (directory / layout.EXAMPLES).mkdir(exist_ok=True)
    seeds = {port.name: number for number, port in enumerate(wiring.inputs)}
    for argument, port in wanted.items():
        np.save(directory / names[argument], random_rows(port, count, size, seed=seeds[port.name]))
    return {argument: names[argument] for argument in wanted}, count


def _first_rows(
    directory: Path, merged: Merged, wiring: Wiring, placed: Mapping[str, Any]
) -> Iterator[tuple[Feeder, dict[str, Any], int]]:
    """First row by graph input, and number of rows, of the components on their examples, as they are read later."""
    ports = {port.name: port for port in wiring.inputs}
    with quiet():
        with _explained("The merged dataloader cannot be loaded", directory, None):
            made = opened(directory)
            loader = made.dataloader_class
            module = loader.__init__.__globals__
        with _explained("Examples cannot be downloaded", directory, _FIX):
            values = {**_defaults(loader), **made.downloaded_defaults(), **made.example_arguments()}
        for feeder in merged.feeders:
            if isinstance(feeder, FileFeeder) and feeder.path_argument not in placed:
                continue
            arguments = {own: values.get(name) for own, name in feeder.arguments.items()}
            for own, value in arguments.items():
                if isinstance(value, str) and value and is_file(directory / value):
                    arguments[own] = str(directory / value)
            with _explained(f"The dataloader of {feeder.name} cannot read its examples", directory, _FIX):
                reader = feeder.reader(module, arguments)
                if isinstance(feeder, TargetsFeeder):
                    yield feeder, {}, reader.length
                    continue
                merging = module["merging"]
                alone = (merging.MergedIterator if feeder.in_order else merging.MergedDataset)(reader)
                count = sum(1 for _ in alone) if feeder.in_order else len(alone)
                first = next(alone.batch_iter(batch_size=1))["inputs"]
                rows = {name: array[0] for name, array in first.items()}
                _check_rows(feeder, rows, ports)
            yield feeder, rows, count


def _defaults(loader: type) -> dict[str, Any]:
    """The arguments of a dataloader that have defaults."""
    parameters = inspect.signature(loader).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _check_rows(feeder: Feeder, rows: Mapping[str, Any], ports: Mapping[str, Port]) -> None:
    for name, row in rows.items():
        shape = ports[name].shape
        if shape_fits(np.shape(row), shape):
            continue
        raise SaveError(
            f"The dataloader of {feeder.name} gave shape {shape_text(np.shape(row))}, the graph input '{name}' takes "
            f"{shape_text(shape)}.",
            fix="Set the arguments of the dataloader with ks.Dataloader(..., args=...), or pass examples= that fit.",
        )


@contextlib.contextmanager
def _explained(problem: str, directory: Path, fix: str | None) -> Iterator[None]:
    try:
        yield
    except SaveError:
        raise
    except Exception as error:  # whatever a component does
        chosen = late_import(error, directory) or (fix if may_be_data(error) else None)
        raise SaveError(f"{problem}.", received=readable(error, directory), fix=chosen) from error


def _size(wiring: Wiring, model: Callable[..., Any], rows: Mapping[str, Any]) -> int:
    """A length for the open dimensions that the model takes."""
    size, problem = find_size(wiring, model, rows)
    if size is None:
        raise SaveError(
            "No length was found for the open dimensions of the inputs, so there is no example to test the directory "
            "with.",
            received=problem,
            fix="Pass examples={'<input>_file': file} with data that fit the model.",
        )
    return size
