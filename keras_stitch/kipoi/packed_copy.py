"""Copies of Kipoi models, and the structures of what these models take and predict."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, reason
from keras_stitch.files.read_files import changed
from keras_stitch.files.read_files import sha256 as sha256_of
from keras_stitch.graphs.spec import shape_text
from keras_stitch.kipoi.descriptions import ModelDescription
from keras_stitch.kipoi.named_files import NamedFiles, gone, python_files
from keras_stitch.kipoi.schema import Field
from keras_stitch.kipoi.templates import template_module, write_yaml

if TYPE_CHECKING:
    from keras_stitch.kipoi.model_directory import CopiedPart, KipoiPart

Array = np.ndarray[Any, Any]

# Arguments of Kipoi's own classes that are files.
_FILES = ("pkl_file", "weights", "savedmodel_path", "module_file", "file")


def packed_files(
    label: str, framework: str, directory: Path, root: Path, downloads: Path, description: ModelDescription
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The files that a copy of a model consists of, by their places in it, and the arguments that name them there.

    The parameters are those of ``NamedFiles``, the framework, and what the ``model.yaml`` says.

    Raises:
        SourceError: When a file cannot be had.
    """
    named = NamedFiles(label, directory, root, downloads)
    args = named.args(description.args)
    for name in _FILES if framework != "kipoi" else ():
        value = args.get(name)
        if isinstance(value, str) and not any(place == value or place.startswith(f"{value}/") for place in named.files):
            raise gone(label, name, value)
    # A SavedModel has no Python of its own; pickles and modules may.
    code = {} if description.defined_as == "kipoi.model.TensorFlow2Model" else python_files(directory)
    return {**code, **named.files}, args


# -- a copy of its own ------------------------------------------------------------------------------------------
def write_packed(part: CopiedPart, folder: Path, *, sha256: str | None = None, link: bool = False) -> None:
    """Write a Kipoi directory of the model alone: ``model.yaml`` and the files that it needs, no dataloader.

    Args:
        part: The model.
        folder: The directory to write; made if it does not exist.
        sha256: What ``fingerprint`` said when the model was added, to be sure that it is still the same.
        link: Whether to link to data files rather than copy them.

    Raises:
        SourceError: When the files are no longer those that were added.
    """
    if sha256 is not None and (now := fingerprint(part)) != sha256:
        raise changed(part.path, sha256, now)
    for place, file in part.files.items():
        copy = folder / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        if link and file.suffix != ".py":
            copy.symlink_to(file.resolve())
        else:
            shutil.copyfile(file, copy)
    folder.mkdir(parents=True, exist_ok=True)
    dependencies = {key: list(value) for key, value in part.dependencies.items() if value}
    write_yaml(
        folder / layout.MODEL_YAML,
        {
            **_defined(part),
            "info": part.description.get("info") or {"doc": part.label},
            **({"dependencies": dependencies} if dependencies else {}),
            "schema": part.description["schema"],
        },
    )


def load_packed(folder: Path) -> Any:
    """The model in a directory that ``write_packed`` made.

    Raises:
        Exception: Whatever the model's own code raises.
    """
    return template_module("kipoi.merging.model_loading").load_model(folder)


def fingerprint(part: CopiedPart) -> str:
    """The sha256 of all files of a model by their names, and of how it is made of them.

    Raises:
        SourceError: When a file cannot be read any more.
    """
    said = {place: sha256_of(file) for place, file in sorted(part.files.items())}
    return hashlib.sha256(json.dumps([said, _defined(part)], sort_keys=True, default=str).encode()).hexdigest()


def _defined(part: CopiedPart) -> dict[str, Any]:
    stated = {key: part.description[key] for key in ("defined_as", "type") if part.description.get(key)}
    return {**stated, "args": dict(part.args)}


# -- batches and predictions ------------------------------------------------------------------------------------------
def nested(part: KipoiPart, arrays: Sequence[Any]) -> Any:
    """The arrays for ``part.inputs``, in the structure that the model takes: one array, a list or a dict."""
    return _by_paths([(field.path, array) for field, array in zip(part.inputs, arrays, strict=True)])


def _by_paths(items: Sequence[tuple[tuple[str | int, ...], Any]]) -> Any:
    """Items in dicts and lists, by their paths; an item alone for the empty path."""
    if items[0][0] == ():
        return items[0][1]
    below: dict[str | int, list[tuple[tuple[str | int, ...], Any]]] = {}
    for (key, *rest), item in items:
        below.setdefault(key, []).append((tuple(rest), item))
    made = {key: _by_paths(inner) for key, inner in below.items()}
    return list(made.values()) if all(isinstance(key, int) for key in made) else made


def flattened(name: str, part: KipoiPart, given: Any) -> list[Array]:
    """The arrays in a prediction, in the order of ``part.outputs``; ``name`` is the submodel, for messages.

    Raises:
        SourceError: When the prediction has another structure than the schema.
    """

    def problem(received: str) -> SourceError:
        return SourceError(
            f"Submodel '{name}' ({part.label}) predicts other things than its schema says.",
            expected=f"{_listed(part.outputs)}, as {part.output_structure}",
            received=received,
            fix="Correct the targets of the schema in model.yaml.",
        )

    arrays = []
    for field in part.outputs:
        at = given
        for depth, key in enumerate(field.path):
            beside = {other.path[depth] for other in part.outputs if other.path[:depth] == field.path[:depth]}
            if isinstance(key, str):
                there = isinstance(at, Mapping) and key in at
            else:
                there = isinstance(at, list | tuple) and len(at) == len(beside)
            if not there:
                raise problem(_described(at))
            at = at[key]
        if isinstance(at, Mapping):
            raise problem(_described(given))
        try:
            arrays.append(np.asarray(at))
        except Exception as error:  # arrays of other libraries, lists of arrays of several lengths
            raise problem(f"{_described(at)}: {reason(error)}") from error
    return arrays


def _listed(fields: Sequence[Field]) -> str:
    return " and ".join(f"'{field.name}' {shape_text(field.shape)}" for field in fields) or "nothing"


def _described(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"a dict of {', '.join(map(repr, given)) or 'nothing'}"
    if isinstance(given, list | tuple):
        return f"a {type(given).__name__} of {len(given)}"
    return f"an array of shape {given.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
