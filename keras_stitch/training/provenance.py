"""What precomputed rows were made from, by content: a directory's models and code, arguments, files of data."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import StitchError
from keras_stitch.files.parse_text import from_yaml
from keras_stitch.files.read_files import is_directory, sha256

# Nothing of this decides what a dataloader gives: the model of model_files/, which model.yaml and stitch.yaml
# describe, is the one that is trained on the rows.
_WITHOUT_AT_TOP = frozenset(
    {
        *(layout.MODEL_FILES, layout.EXAMPLES, *layout.MODEL_YAMLS),
        *(layout.RECORD, layout.CARD, layout.PICTURE, layout.CERTIFICATE),
    }
)

# Kipoi makes downloaded/ when it is first needed, of what files that count name with their checksums.
_WITHOUT = frozenset({layout.DOWNLOADS, layout.COMPILED})

# These say what others say too: docs and examples change where nothing is computed in another way.
_WORDY = frozenset({layout.DATALOADER_CODE, *layout.DATALOADER_YAMLS})
_NAMED = 4


@dataclass(frozen=True)
class DataFile:
    """A file of data: where it was found, its size in bytes and the sha256 of its content; ``""`` if not read."""

    path: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"'{self.path}' of {self.size:,} bytes" + (f", sha256 {self.sha256[:12]}..." if self.sha256 else "")


@dataclass(frozen=True)
class Key:
    """What rows were made from. Two keys are compared with ``differences``.

    Attributes:
        files: The sha256 of models and code, by a name that messages use.
        arguments: What was given besides, as JSON has it.
        data: Those of the arguments that are files, by name: ``"targets_file"``, ``"tracks[0]"`` in a list. They are
            compared by their content, wherever they lie.
        directory: Where the files were found; it is not compared.
    """

    files: Mapping[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, DataFile] = field(default_factory=dict)
    directory: str | None = None

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Key:
        """The key from what JSON made of ``asdict``."""
        found = cls(**{**plain, "data": {name: DataFile(**file) for name, file in plain["data"].items()}})
        if not isinstance(found.files, Mapping) or not isinstance(found.arguments, Mapping):
            raise TypeError("no mapping of files, or none of arguments")
        return found


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: its name, what it was and what it is."""

    name: str
    before: str
    now: str


def key_of(directory: Path, arguments: Mapping[str, Any]) -> Key:
    """The key of what a Kipoi directory's dataloader gives for some arguments; files among these are read once.

    Raises:
        StitchError: If an argument cannot be written as JSON, or a file cannot be read.
    """
    return _with_arguments(arguments, files=hashes(directory), directory=str(directory.resolve()))


def hashes(directory: Path) -> dict[str, str]:
    """The sha256 of every file of a directory that decides what its dataloader gives, by relative name.

    Left out are the model of the directory and what describes it, examples, documentation, caches and hidden files.
    """
    own = _folders_of_the_model(directory)
    found, seen = {}, set()
    for folder, folders, names in os.walk(directory, followlinks=True):
        at_top = Path(folder) == directory
        folders[:] = sorted(name for name in folders if not _is_left_out(name, at_top))
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            path = Path(folder, name)
            place = path.relative_to(directory).as_posix()
            if not _is_left_out(name, at_top) and path.is_file() and not place.startswith(own):
                found[place] = _without_words(path) if place in _WORDY else sha256(path)
    return dict(sorted(found.items()))


def _folders_of_the_model(directory: Path) -> tuple[str, ...]:
    """Where the files of a directory's model lie that is no Keras model: the dataloader does not use them."""
    try:
        said = from_yaml((directory / layout.MODEL_YAML).read_text(encoding="utf-8"))
        values = [value for value in said["args"].values() if isinstance(value, str)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()
    places = [value.split("/") for value in values if value.startswith(f"{layout.COMPONENTS}/")]
    return tuple({"/".join([*place[:3], ""]) for place in places if len(place) > 2})


def _without_words(path: Path) -> str:
    """The sha256 of a file's content without what is said about it: docs, examples, authors, a licence."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        if path.suffix == ".py":
            tree = ast.parse(text)
            documented = ast.ClassDef | ast.FunctionDef | ast.Module
            for node in ast.walk(tree):
                if isinstance(node, documented) and ast.get_docstring(node) is not None:
                    node.body[0] = ast.Pass()
            text = ast.unparse(tree)
        else:
            said = from_yaml(text)
            arguments = {
                name: {key: value for key, value in argument.items() if key not in ("doc", "example")}
                for name, argument in (said.get("args") or {}).items()
            }
            kept = {key: value for key, value in said.items() if key not in ("info", "dependencies", "output_schema")}
            text = json.dumps({**kept, "args": arguments}, sort_keys=True, default=str)
    except (SyntaxError, ValueError, AttributeError, TypeError, RecursionError, MemoryError):
        pass  # as it is
    return hashlib.sha256(text.encode()).hexdigest()


def existing_file(value: Any) -> Path | None:
    """The whole path of a file that is there; ``None`` for any other value."""
    try:
        value = os.fspath(value)
        return Path(value).resolve() if isinstance(value, str) and value and Path(value).is_file() else None
    except (TypeError, OSError, ValueError):  # text that no path can be, such as one of many lines
        return None


def differences(before: Key, now: Key) -> list[Difference]:
    """All that two keys do not have in common: files first, then arguments.

    Example:
        >>> differences(Key({"m.h5": "ab12"}, {"width": 101}), Key({"m.h5": "ab12"}, {"width": 51}))
        [Difference(name='width', before='101', now='51')]
    """
    both = before.files, now.files
    found = [
        Difference(name, *(f"sha256 {files[name][:12]}..." if name in files else "not there" for files in both))
        for name in dict.fromkeys([*before.files, *now.files])
        if before.files.get(name) != now.files.get(name)
    ]
    old, new = (dict(_slots(key.arguments)) for key in (before, now))
    for name in dict.fromkeys([*old, *new]):
        one, other = before.data.get(name), now.data.get(name)
        if one is not None and other is not None:
            same = (one.size, one.sha256) == (other.size, other.sha256)
        elif one is not None:  # the same path, where no file is any more
            same = isinstance(new.get(name), str) and str(Path(new[name]).resolve()) == one.path
        else:
            same = name in old and name in new and _as_json(old[name]) == _as_json(new[name])
        if not same:
            found.append(Difference(name, _shown(name, old, one), _shown(name, new, other)))
    return found


def changes(key: Key, arguments: Mapping[str, Any] | None = None, directory: Path | None = None) -> list[Difference]:
    """What is not as it was when the key was made, as far as that can be seen: what is gone is no change.

    The arguments are compared with those of the key; without them its files of data are looked at again. The directory
    is where the files are now, if not where they were.
    """
    where = directory if directory is not None else Path(key.directory) if key.directory else None
    files = hashes(where) if where is not None and is_directory(where) else key.files
    if arguments is not None:
        return differences(key, _with_arguments(arguments, files=files))
    data = {}
    for name, file in key.data.items():
        path = existing_file(file.path)
        data[name] = file if path is None else _data_file(path, unless_size=file.size)
    return differences(key, Key(files, key.arguments, data))


def refusal(message: str, found: Sequence[Difference], fix: str) -> StitchError:
    """The error that names differences, behind a message that says what is wrong."""
    return StitchError(
        f"{message}: {first_names([difference.name for difference in found])}.",
        expected="; ".join(f"{difference.name}: {difference.before}" for difference in found[:_NAMED]),
        received="; ".join(f"{difference.name}: {difference.now}" for difference in found[:_NAMED]),
        fix=fix,
    )


def first_names(names: Sequence[str]) -> str:
    """The first names and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _is_left_out(name: str, at_top: bool) -> bool:
    return name.startswith(".") or name.endswith(".pyc") or name in _WITHOUT or (at_top and name in _WITHOUT_AT_TOP)


def _with_arguments(arguments: Mapping[str, Any], **parts: Any) -> Key:
    plain = {name: _plain(value, name) for name, value in arguments.items()}
    files = {name: existing_file(value) for name, value in _slots(plain)}
    return Key(arguments=plain, data={name: _data_file(path) for name, path in files.items() if path}, **parts)


def _data_file(path: Path, unless_size: int | None = None) -> DataFile:
    size = path.stat().st_size
    # A genome takes seconds to read, which another size spares.
    return DataFile(str(path), size, "" if unless_size not in (None, size) else sha256(path))


def _plain(value: Any, name: str) -> Any:
    """An argument as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{number}]") for number, item in enumerate(value)]
    raise StitchError(
        f"The argument {name} cannot be written down: nobody could tell later what rows were made from.",
        expected="text, a number, True, False, None, a path, or lists and dicts of these",
        received=repr(value)[:200],
    )


def _slots(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of everything in nested arguments: ``width``, ``tracks[0]``, ``options['x']``."""
    if isinstance(value, Mapping) and (value or not name):
        for key, item in value.items():
            yield from _slots(item, f"{name}[{key!r}]" if name else key)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _slots(item, f"{name}[{number}]")
    else:
        yield name, value


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(name: str, values: Mapping[str, Any], file: DataFile | None) -> str:
    return str(file) if file is not None else repr(values[name])[:200] if name in values else "not given"
