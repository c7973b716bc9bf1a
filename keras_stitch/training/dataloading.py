"""Dataloaders by what users name them, and their rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.files.read_files import check_directory, is_directory, is_file
from keras_stitch.graphs.names import zoo_name
from keras_stitch.kipoi.optional_kipoi import require_kipoi
from keras_stitch.kipoi.run_directory import is_data_error, opened
from keras_stitch.kipoi.templates import template_module
from keras_stitch.training.provenance import existing_file

_KINDS = template_module("kipoi.merging.dataloader_kinds")


def maker(source: Any, arguments: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes a dataloader of what ``training_data`` takes, without precomputed rows.

    Raises:
        StitchError: If there is no such dataloader, or its arguments are others; by the function, if it cannot be made.
    """
    if isinstance(source, _KINDS.BaseDataLoader):
        if arguments:
            raise StitchError("dataloader_args= has no meaning for a dataloader that is made already.")
        return lambda: source
    if isinstance(source, str | os.PathLike):
        loader, known = _loader(source)
    elif isinstance(source, type) and issubclass(source, _KINDS.BaseDataLoader):
        loader, known = source, _described_arguments(source)
    else:
        raise StitchError(
            "training_data(...) takes a dataloader.",
            expected="a Kipoi directory, or a Kipoi dataloader",
            received=repr(source)[:200],
        )
    for name in arguments:
        if known and name not in known:
            raise StitchError(
                f"The dataloader of {label(source)} has no argument '{name}'.", expected=nearest(name, known)
            )
    missing = [name for name, optional in known.items() if not optional and name not in arguments]
    if missing:
        raise StitchError(
            f"The dataloader of {label(source)} lacks {' and '.join(map(repr, missing))}.",
            fix=f"dataloader_args={{{missing[0]!r}: ...}}",
        )
    values = {name: _absolute(value) for name, value in arguments.items()}

    def make() -> Any:
        try:
            return loader(**values)
        except Exception as error:  # whatever it does with its arguments
            raise StitchError(f"The dataloader of {label(source)} cannot be made.", received=said(error)) from error

    return make


def label(source: Any) -> str:
    """What messages call a source."""
    if isinstance(source, str | os.PathLike):
        return f"'{source}'"
    return getattr(source, "__name__", type(source).__name__)


def said(error: BaseException) -> str:
    """What somebody else's error says, in one line; that of the merged dataloader as it is."""
    text = str(error.args[0]) if error.args else ""
    if "Traceback (most recent call last):" in text:  # from a worker of Kipoi's loader
        lines = text.rstrip().splitlines()
        last = max(number for number, line in enumerate(lines) if line[:1].strip())
        text = "\n".join(lines[last:])
        return text.partition(": ")[2] if is_data_error(error) else text
    return str(error) if is_data_error(error) else f"{type(error).__name__}: {reason(error)}"


def failure(error: Exception, message: str, fix: str | None = None) -> StitchError:
    """The error to raise where a dataloader fails; what a merged one says about its data replaces the message."""
    return StitchError(said(error)) if is_data_error(error) else StitchError(message, received=said(error), fix=fix)


def _described_arguments(loader: type) -> dict[str, bool]:
    """The arguments that a class' description names, and whether each is optional; none where it has no description."""
    for kind in loader.__mro__:
        # Kipoi writes those of a function that it loads into its own class, where they are no subclass's.
        if kind is not loader and kind in _KINDS.AVAILABLE_DATALOADERS.values():
            break
        if "args" in vars(kind):
            return {name: argument.optional for name, argument in (vars(kind)["args"] or {}).items()}
    return {}


def _loader(source: str | os.PathLike[str]) -> tuple[Callable[..., Any], dict[str, bool]]:
    """What makes the dataloader of a directory, or of a source of Kipoi's; and its arguments, see above."""
    path = Path(source)
    if not is_directory(path) and zoo_name(str(source)) is None:
        raise StitchError(
            f"There is no directory '{source}'.",
            expected="a Kipoi directory, such as graph.save(...) writes",
            received="a file" if is_file(path) else None,
        )
    if not is_directory(path):
        return _of_kipoi(str(source))
    check_directory(path)
    try:
        directory = opened(path)
        _ = directory.dataloader_class
    except Exception as error:  # whatever its code does
        raise StitchError(f"The dataloader of {label(source)} cannot be loaded.", received=said(error)) from error
    return directory.dataloader, {
        name: bool(described.get("optional")) for name, described in directory.arguments.items()
    }


def _of_kipoi(source: str) -> tuple[Callable[..., Any], dict[str, bool]]:
    require_kipoi(f"'{source}', a dataloader of one of Kipoi's sources,")
    from keras_stitch.kipoi.model_sources import dataloader_class

    try:
        loader = dataloader_class(source)
    except Exception as error:  # Kipoi raises whatever it meets
        raise StitchError(f"The dataloader of {label(source)} cannot be loaded.", received=said(error)) from error
    return loader, _described_arguments(loader)


def _absolute(value: Any) -> Any:
    """The whole path of a file that is there: workers and dataloaders may look from another folder."""
    path = existing_file(value)
    return str(path) if path is not None else os.fspath(value) if isinstance(value, os.PathLike) else value
