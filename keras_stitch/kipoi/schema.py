"""What a Kipoi description says, as plain data."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError, StitchError, nearest
from keras_stitch.files.read_files import is_file
from keras_stitch.graphs.spec import Shape
from keras_stitch.kipoi.descriptions import Missing, RemoteFile
from keras_stitch.kipoi.templates import is_plain

_READ_BY_KIPOI = ("column_labels", "conda", "pip", "conda_file")


@dataclass(frozen=True)
class Argument:
    """One argument of a dataloader.

    Attributes:
        doc: What it means; may be empty.
        type: As stated; ``None`` where nothing is.
        required: Whether it has no default.
        default: A plain value, a ``Path`` of a file, or ``{"url", "md5"}`` for a file that Kipoi downloads.
        exposed: False for an optional argument whose default has no Python source, such as a function.
        example: Like ``default``; the class ``Missing`` where there is none.
    """

    name: str
    doc: str = ""
    type: str | None = None
    required: bool = True
    default: Any = None
    exposed: bool = True
    example: Any = Missing


@dataclass(frozen=True)
class Field:
    """One array among the inputs that a dataloader gives.

    Attributes:
        name: The key, the ``name`` in the schema, or ``"inputs"`` for a nameless single array.
        path: Keys and indices that lead to it from ``row["inputs"]``; empty for a single array.
        shape: Shape without the batch axis.
        doc: What it is; may be empty.
        special_type: Kipoi's special type, such as ``"DNASeq"``.
        column_labels: What the columns are, for an array of one axis.
        named: Whether the schema says its name, as a key or a ``name``.
    """

    name: str
    path: tuple[str | int, ...]
    shape: Shape
    doc: str = ""
    special_type: str | None = None
    column_labels: tuple[str, ...] = ()
    named: bool = True


def read_arguments(
    label: str,
    signature: inspect.Signature,
    described: Mapping[str, Any],
    raw: Mapping[str, Any],
    folder: Path | None,
    args: Mapping[str, Any],
) -> tuple[Argument, ...]:
    """The arguments of a dataloader, from its signature and its description.

    Args:
        label: What messages call the dataloader.
        signature: The signature of the class or function.
        described: The parsed description of every argument.
        raw: The same before parsing: Kipoi fills in a type where none is stated.
        folder: The Kipoi directory, which relative paths start from.
        args: New defaults, from the user.

    Raises:
        SourceError: When signature and description name other arguments.
        StitchError: When ``args`` do not fit.
    """
    parameters = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    _check_names(label, parameters, described, args, open_ended=len(parameters) < len(signature.parameters))
    names = [*parameters, *(name for name in described if name not in parameters)]
    return tuple(
        _argument(label, name, parameters.get(name), described[name], raw.get(name), folder, args) for name in names
    )


def _check_names(
    label: str, parameters: Collection[str], described: Mapping[str, Any], args: Collection[str], *, open_ended: bool
) -> None:
    """Raise where the signature, the description and the user name different arguments."""
    if set(parameters) != set(described) and not (open_ended and set(parameters) <= set(described)):
        raise SourceError(
            f"The arguments of the dataloader '{label}' are not those of its description.",
            expected=", ".join(described) or "none",
            received=", ".join(parameters) or "none",
        )
    for name, about in described.items():
        if about is None:
            raise SourceError(f"The argument '{name}' of the dataloader '{label}' is not described.", expected="a doc")
    for name in args:
        if name not in described:
            raise StitchError(f"The dataloader '{label}' has no argument '{name}'.", expected=nearest(name, described))


def _argument(
    label: str,
    name: str,
    parameter: inspect.Parameter | None,
    described: Any,
    raw: Any,
    folder: Path | None,
    args: Mapping[str, Any],
) -> Argument:
    """One argument; the user's default goes before the described one, and that before the one in the signature."""
    default = inspect.Parameter.empty if parameter is None else parameter.default
    if name in args:
        default = _value(args[name], Path.cwd(), anywhere=True)
        if not isinstance(default, Path) and not is_plain(default):
            raise StitchError(
                f"args['{name}'] of the dataloader '{label}' is not a plain value.",
                expected="numbers, strings, None, lists, tuples and dicts of them, or the path of a file",
                received=repr(default),
            )
    elif _is_said(described.default):
        default = _value(described.default, folder)
    elif isinstance(default, str):
        default = _value(default, folder)
    required = default is inspect.Parameter.empty
    # What the user gives stands: an example of the part's would win over it in `kipoi test`.
    has_example = name not in args and _is_said(described.example)
    return Argument(
        name=name,
        doc=_one_line(described.doc),
        type=str(raw["type"]) if isinstance(raw, Mapping) and "type" in raw else None,
        required=required,
        default=None if required else default,
        exposed=required or isinstance(default, Path) or is_plain(default),
        example=_value(described.example, folder) if has_example else Missing,
    )


def _is_said(value: Any) -> bool:
    """Whether a value is stated in a description; classes of packages have what Kipoi itself has parsed."""
    return value is not None and value is not Missing and type(value).__name__ != "UNSPECIFIED"


def _value(value: Any, folder: Path | None, *, anywhere: bool = False) -> Any:
    """A default or an example: a ``Path`` for a file that is there, plain data for one to download.

    What a directory says may only name files in it; ``anywhere`` is for what the user says.
    """
    if is_remote(value):
        return {key: text for key in ("url", "md5", "name") if (text := getattr(value, key))}
    if isinstance(value, str | os.PathLike) and folder is not None and os.fspath(value):
        if is_file(folder / value):
            path = (folder / value).resolve()
            if anywhere or path.is_relative_to(folder.resolve()):
                return path
        return os.fspath(value)
    return value


def is_remote(value: Any) -> bool:
    """Whether a value is a file to download, of this package or as Kipoi has parsed it."""
    return type(value).__name__ == RemoteFile.__name__


def check_read_files(described_in: Path, said: Any) -> None:
    """Refuse a description for which Kipoi would read a file outside of its directory, and take over what it says.

    Kipoi takes one column label, and one dependency, for the path of a file with all of them, if there is such a file.

    Raises:
        SourceError: When there is one that is none of the directory's.
    """
    directory = described_in.parent.resolve()
    for key, value in said.items() if isinstance(said, Mapping) else enumerate(said) if isinstance(said, list) else ():
        text = value[0] if isinstance(value, list) and len(value) == 1 else value
        if key in _READ_BY_KIPOI and isinstance(text, str) and os.path.exists(directory / text):  # noqa: PTH110
            place = (directory / text).resolve()
            if not place.is_relative_to(directory) or not (place.is_file() or place.is_dir()):
                raise SourceError(
                    f"'{described_in}' names a file outside of its directory.",
                    expected="a file in the directory",
                    received=f"{key}: {text}"[:200],
                    fix="Copy the file into the directory and name it there, or write down what it says.",
                )
        check_read_files(described_in, value)


def _one_line(doc: str | None) -> str:
    return " ".join((doc or "").split())


def read_fields(schema: Any) -> tuple[Field, ...]:
    """The arrays in the ``inputs`` of a parsed schema, nested ones too."""

    def walk(found: Any, path: tuple[str | int, ...]) -> Iterator[Field]:
        if not isinstance(found, Mapping | list):
            special = getattr(found.special_type, "value", found.special_type)
            name = found.name or "/".join(map(str, path)) or "inputs"
            shape = tuple(None if size is None else int(size) for size in found.shape)
            labels = tuple(str(label) for label in found.column_labels or ())
            named = bool(found.name) or any(isinstance(key, str) for key in path)
            yield Field(name, path, shape, _one_line(found.doc), special, labels, named)
        else:
            for key, item in found.items() if isinstance(found, Mapping) else enumerate(found):
                yield from walk(item, (*path, key))

    return tuple(walk(schema, ()))


def read_metadata(schema: Any) -> dict[str, Any]:
    """The ``metadata`` of a parsed output schema, as plain data."""

    def walk(found: Any) -> Any:
        if isinstance(found, Mapping):
            return {key: walk(item) for key, item in found.items()}
        if isinstance(found, list):
            return [walk(item) for item in found]
        kind = {"type": getattr(found.type, "value", found.type)} if found.type is not None else {}
        return {"doc": _one_line(found.doc) or "Metadata.", **kind}

    return walk(schema) if schema else {}


def read_info(info: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The ``info`` section, ``None`` where it is empty, as plain data; ``raw`` is the whole file before parsing."""
    stated: Any = raw.get("info") if isinstance(raw.get("info"), Mapping) else {}
    authors = [
        {key: text for key in ("name", "github", "email") if (text := getattr(author, key))}
        for author in getattr(info, "authors", None) or []
        if author is not None
    ]
    # Kipoi fills in MIT where nothing is stated.
    licence = stated.get("license")
    return {
        "authors": authors,
        "license": str(licence) if licence else None,
        "doc": _one_line(getattr(info, "doc", None)),
        "cite_as": getattr(info, "cite_as", None),
        "trained_on": getattr(info, "trained_on", None),
        "tags": [str(tag) for tag in getattr(info, "tags", None) or []],
    }


def read_dependencies(dependencies: Any) -> dict[str, list[str]]:
    """The ``dependencies`` section as plain data; it may be there and say nothing."""
    return {key: [str(item) for item in getattr(dependencies, key, ())] for key in ("conda", "pip", "conda_channels")}


def structure_of(schema: Any) -> str:
    """Whether a parsed schema is that of an ``"array"``, a ``"list"`` or a ``"dict"``."""
    return "list" if isinstance(schema, list) else "dict" if isinstance(schema, Mapping) else "array"


def plain_schema(schema: Any) -> Any:
    """A parsed schema as ``model.yaml`` has it, with the column labels themselves and not the file that has them."""
    if isinstance(schema, Mapping):
        return {key: plain_schema(item) for key, item in schema.items()}
    if isinstance(schema, list):
        return [plain_schema(item) for item in schema]
    (field,) = read_fields(schema)
    said = {"name": schema.name, "shape": str(field.shape), "doc": field.doc, "special_type": field.special_type}
    labels = {"column_labels": list(field.column_labels)} if field.column_labels else {}
    return {key: value for key, value in said.items() if value is not None} | labels
