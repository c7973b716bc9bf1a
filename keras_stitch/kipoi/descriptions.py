"""What ``model.yaml`` and ``dataloader.yaml`` say, as Kipoi reads them: what may be left out, and what it stands for.

The format is that of Kipoi 0.8 (https://kipoi.org/docs/contributing/02_Writing_model.yaml). Two things differ: a shape
is read and not evaluated as Python, and a file that is named where a list may stand has been looked at before.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch.files.parse_text import BadText, from_yaml
from keras_stitch.files.read_files import is_file, read_text
from keras_stitch.graphs.spec import Shape


class BadDescription(ValueError):
    """A description that Kipoi would not take; its text says what is wrong and where."""


class Missing:
    """Stands for a value that nobody gave, where ``None`` would be one."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download, as ``{url: ..., md5: ...}`` says it; ``name`` is the name to keep it by."""

    url: str
    md5: str = ""
    name: str = ""


@dataclass(frozen=True)
class ArraySchema:
    """An array of a schema; the shape is that of a row."""

    shape: Shape
    doc: str = ""
    name: str | None = None
    special_type: str | None = None
    column_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetadataStruct:
    """A field of the metadata."""

    doc: str
    type: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Author:
    """Somebody who made a model or a dataloader."""

    name: str
    github: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class Info:
    """The section ``info``."""

    authors: tuple[Author, ...] = ()
    doc: str = ""
    tags: tuple[str, ...] = ()
    cite_as: str | None = None
    trained_on: str | None = None


@dataclass(frozen=True)
class Dependencies:
    """The section ``dependencies``."""

    conda: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    conda_channels: tuple[str, ...] = ("defaults",)


@dataclass(frozen=True)
class ArgumentDescription:
    """What is said about one argument of a dataloader; ``Missing`` where an example or a default is not."""

    doc: str = ""
    default: Any = Missing
    example: Any = Missing


@dataclass(frozen=True)
class Schema:
    """Arrays in dicts and lists, or a single one; ``None`` where nothing is said."""

    inputs: Any
    targets: Any = None
    metadata: Any = None


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A ``model.yaml``. In ``args``, what has a ``url`` is a ``RemoteFile``."""

    args: Mapping[str, Any]
    info: Info
    schema: Schema
    defined_as: str | None = None
    type: str | None = None
    dependencies: Dependencies = field(default_factory=Dependencies)


@dataclass(frozen=True, kw_only=True)
class DataloaderDescription:
    """A ``dataloader.yaml``. An argument of which nothing is said is ``None``."""

    defined_as: str
    args: Mapping[str, ArgumentDescription | None]
    output_schema: Schema
    type: str | None = None
    info: Info = field(default_factory=Info)
    dependencies: Dependencies = field(default_factory=Dependencies)


def model_description(raw: Mapping[str, Any], folder: Path) -> ModelDescription:
    """The description of a model; ``raw`` is its YAML, ``folder`` where the files that it names lie.

    Raises:
        BadDescription: When something is missing, or is of another kind than it has to be.

    Example:
        >>> schema = {"inputs": {"shape": "(None, 4)"}, "targets": {"shape": "(1,)"}}
        >>> raw = {"type": "keras", "args": {"weights": "model.keras"}, "info": {"doc": "A model."}, "schema": schema}
        >>> model_description(raw, Path()).schema.inputs.shape
        (None, 4)
    """
    defined_as, kind = _text(raw, "defined_as"), _text(raw, "type")
    if defined_as is None and kind is None:
        raise BadDescription("it names neither defined_as nor type")
    args = _mapping(raw, "args")
    if "url" in args:  # Kipoi would take all arguments for one file
        raise BadDescription("args has the argument 'url'")
    schema = _mapping(raw, "schema")
    return ModelDescription(
        args=_with_remote_files(args, "args"),
        info=_info(_mapping(raw, "info")) if raw.get("info") != "" else Info(),
        schema=Schema(_arrays(schema, "inputs", folder), _arrays(schema, "targets", folder)),
        defined_as=defined_as,
        type=kind,
        dependencies=_dependencies(raw, folder),
    )


def dataloader_description(raw: Mapping[str, Any], folder: Path) -> DataloaderDescription:
    """The description of a dataloader; see ``model_description``.

    Raises:
        BadDescription: When something is missing, or is of another kind than it has to be.
    """
    schema = _mapping(raw, "output_schema")
    metadata = schema.get("metadata")
    return DataloaderDescription(
        defined_as=_needed_text(raw, "defined_as"),
        args={str(name): _argument(str(name), said) for name, said in _mapping(raw, "args").items()},
        output_schema=Schema(
            _arrays(schema, "inputs", folder),
            _arrays(schema, "targets", folder) if schema.get("targets") else None,
            _nested(metadata, "metadata", "doc", _metadata) if metadata else None,
        ),
        type=_text(raw, "type"),
        info=_info(_mapping(raw, "info")) if raw.get("info") is not None else Info(),
        dependencies=_dependencies(raw, folder),
    )


# -- sections -----------------------------------------------------------------------------------------------------
def _info(said: Mapping[str, Any]) -> Info:
    authors = said.get("authors") or []
    if not isinstance(authors, list):
        raise BadDescription("authors is no list")
    return Info(
        authors=tuple(_author(author) for author in authors if author is not None),
        doc=_text(said, "doc") or "",
        tags=_texts(said, "tags"),
        cite_as=_text(said, "cite_as"),
        trained_on=_text(said, "trained_on"),
    )


def _author(said: Any) -> Author:
    if not isinstance(said, Mapping):
        raise BadDescription(f"an author is no mapping: {_shown(said)}")
    return Author(_needed_text(said, "name"), _text(said, "github"), _text(said, "email"))


def _dependencies(raw: Mapping[str, Any], folder: Path) -> Dependencies:
    if raw.get("dependencies") is None:
        return Dependencies()
    said: dict[str, Any] = dict(_mapping(raw, "dependencies"))
    if file := _text(said, "conda_file"):
        listed = _yaml(folder / file)
        said["conda"] = [item for item in listed["dependencies"] if not isinstance(item, Mapping)]
        said["pip"] = next((item["pip"] for item in listed["dependencies"] if isinstance(item, Mapping)), [])
        said["conda_channels"] = listed["channels"]
    found = {key: _texts(said, key) for key in ("conda", "pip", "conda_channels")}
    for key in ("conda", "pip"):
        names = found[key]
        if len(names) == 1 and names[0].endswith(".txt") and is_file(folder / names[0]):
            lines = (line.partition("#")[0].strip() for line in _lines(folder / names[0]))
            found[key] = tuple(line for line in lines if line)
    return Dependencies(found["conda"], found["pip"], found["conda_channels"] or ("defaults",))


def _argument(name: str, said: Any) -> ArgumentDescription | None:
    if said is None:
        return None
    if not isinstance(said, Mapping):
        raise BadDescription(f"args: {name} is no mapping, but {_shown(said)}")
    values = {key: _with_remote_files(said[key], name) for key in ("default", "example") if key in said}
    return ArgumentDescription(_text(said, "doc") or "", **values)


def _arrays(schema: Mapping[str, Any], key: str, folder: Path) -> Any:
    if schema.get(key) is None:
        raise BadDescription(f"the schema names no {key}")

    def array(said: Mapping[str, Any], name: str | None) -> ArraySchema:
        labels = _texts(said, "column_labels")
        if len(labels) == 1 and is_file(folder / labels[0]):
            labels = _lines(folder / labels[0])
        return ArraySchema(_shape(said["shape"]), _text(said, "doc") or "", name, _text(said, "special_type"), labels)

    return _nested(schema[key], key, "shape", array)


def _metadata(said: Mapping[str, Any], name: str | None) -> MetadataStruct:
    return MetadataStruct(_needed_text(said, "doc"), _text(said, "type"), name)


def _nested(said: Any, where: str, keyword: str, make: Callable[[Mapping[str, Any], str | None], Any]) -> Any:
    """What is in dicts and lists: a mapping with the keyword is one item, called by the key that leads to it."""

    def walk(found: Any, key: str | None) -> Any:
        if isinstance(found, Mapping) and keyword in found:
            name = _text(found, "name")
            if None not in (name, key) and name != key:
                raise BadDescription(f"{where}: what is called {key!r} has the name {name!r}")
            return make(found, name if name is not None else key)
        if isinstance(found, Mapping):
            return {item: walk(inner, str(item)) for item, inner in found.items()}
        if isinstance(found, list):
            return [walk(inner, None) for inner in found]
        raise BadDescription(f"{where} is no array, and no list or mapping of arrays: {_shown(found)}")

    return walk(said, None)


def _shape(said: Any) -> Shape:
    try:
        shape = ast.literal_eval(said) if isinstance(said, str) else said
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        shape = None
    if not isinstance(shape, tuple | list) or not all(size is None or type(size) is int for size in shape):
        raise BadDescription(f"a shape is none, such as '(None, 4)': {_shown(said)}")
    return tuple(shape)


# -- values -------------------------------------------------------------------------------------------------------
def _with_remote_files(said: Any, where: str) -> Any:
    """The same data, with each mapping that has a ``url`` as a ``RemoteFile``."""
    if isinstance(said, Mapping) and "url" in said:
        name = (_text(said, "name") or "").rpartition("/")[2]
        return RemoteFile(_needed_text(said, "url"), _text(said, "md5") or "", name)
    if isinstance(said, Mapping):
        return {str(key): _with_remote_files(item, where) for key, item in said.items()}
    return [_with_remote_files(item, where) for item in said] if isinstance(said, list) else said


def _mapping(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = said.get(key)
    if not isinstance(found, Mapping):
        raise BadDescription(f"{key} is missing" if found is None else f"{key} is no mapping, but {_shown(found)}")
    return found


def _text(said: Mapping[str, Any], key: str) -> str | None:
    """A text; numbers and the like count as what they are written as."""
    found = said.get(key)
    if isinstance(found, Mapping | list):
        raise BadDescription(f"{key} is no text, but {_shown(found)}")
    return None if found is None else str(found)


def _needed_text(said: Mapping[str, Any], key: str) -> str:
    found = _text(said, key)
    if found is None:
        raise BadDescription(f"{key} is missing")
    return found


def _texts(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts, or a text alone."""
    found = said.get(key) or []
    if isinstance(found, str):
        return (found,)
    if not isinstance(found, list):
        raise BadDescription(f"{key} is neither a text nor a list of texts: {_shown(found)}")
    return tuple(map(str, found))


def _lines(file: Path) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in read_text(file).splitlines())


def _yaml(file: Path) -> Mapping[str, Any]:
    try:
        found = from_yaml(read_text(file))
    except (OSError, BadText) as error:
        raise BadDescription(f"'{file.name}' cannot be read: {error}") from error
    if not isinstance(found, Mapping) or not {"dependencies", "channels"} <= found.keys():
        raise BadDescription(f"'{file.name}' names no dependencies and channels")
    return found


def _shown(value: Any) -> str:
    return repr(value)[:200]
