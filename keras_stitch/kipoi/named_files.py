"""The files that the ``model.yaml`` of a directory names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError
from keras_stitch.files.read_files import is_file
from keras_stitch.kipoi.descriptions import RemoteFile
from keras_stitch.kipoi.downloads import fetch_all, is_remote_folder

_SAVED_MODEL = {"pb": "saved_model.pb", "index": "variables/variables.index"}


def local_file(label: str, directory: Path, root: Path, name: str, value: Any) -> Path:
    """The file that the argument ``name`` of a directory's model names relative to the directory.

    Raises:
        SourceError: When there is no such file, or it lies outside of ``root``.
    """
    file = directory / str(value)
    if not is_file(file):
        raise gone(label, name, value)
    if not Path(os.path.normpath(file)).is_relative_to(root):
        raise _outside(label, value)
    return file


def gone(label: str, name: str, value: Any) -> SourceError:
    """The error for a file that is named and does not exist."""
    return SourceError(f"The model.yaml of '{label}' names a file that is not there.", received=f"{name}: {value}")


def _outside(label: str, value: Any) -> SourceError:
    return SourceError(
        f"The model.yaml of '{label}' names a file outside of its directory.",
        expected="a file in the directory, which is copied together with the model",
        received=str(value),
        fix="Copy the file into the directory and name it there.",
    )


def python_files(directory: Path) -> dict[str, Path]:
    """The Python files of a directory by their names in it: no downloads, no examples, nothing from elsewhere."""
    found: dict[str, Path] = {}
    for current, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in layout.WITHOUT_CODE and not name.startswith("."))
        for path in (Path(current, name) for name in sorted(files)):
            own = path.suffix == ".py" and not path.name.startswith(".")
            if own and path.resolve().is_relative_to(directory.resolve()):
                found[path.relative_to(directory).as_posix()] = path
    return found


@dataclass
class NamedFiles:
    """The files that the arguments of a model name, and their places in a copy of its directory.

    Attributes:
        label: What messages call the directory.
        root: What its files may lie in: the directory, or the folder of the source that it belongs to.
        downloads: Where Kipoi puts what it downloads.
        files: The path of every file, by its place in the copy.
        fetched: The files at URLs, as ``fetch_all`` gives them.
    """

    label: str
    directory: Path
    root: Path
    downloads: Path
    files: dict[str, Path] = field(default_factory=dict)
    fetched: dict[str, Path] = field(default_factory=dict)

    def args(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as Kipoi has parsed them, with the places of their files in the copy; these go to ``files``.

        Raises:
            DownloadError: With every file at a URL that cannot be had.
            SourceError: When a file cannot be had, or lies outside of ``root``.
        """
        self.fetched = fetch_all(self.label, self.downloads, args)
        return {name: self._argument(name, value) for name, value in args.items()}

    def _argument(self, name: str, value: Any) -> Any:
        if isinstance(value, RemoteFile):
            file = self.fetched[name]
            return self._put(f"{layout.MODEL_FILES}/{name}{_ending(value) or file.suffix}", file)
        if name == "savedmodel_path" and isinstance(value, Mapping):
            return self._saved_model(value)
        return self._local(value)

    def _local(self, value: Any) -> Any:
        if isinstance(value, RemoteFile):  # deeper than Kipoi downloads
            return {key: text for key in ("url", "md5", "name") if (text := getattr(value, key))}
        if isinstance(value, Mapping):
            return {key: self._local(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._local(item) for item in value]
        # By os: a long text is no path, and no error either.
        if not isinstance(value, str) or not value or not os.path.exists(self.directory / value):  # noqa: PTH110
            return value
        path = Path(os.path.normpath(self.directory / value))
        inside = path.is_relative_to(self.directory)
        if path.is_dir():
            return self._folder(path) if inside and path != self.directory else value
        if inside:
            return self._put(path.relative_to(self.directory).as_posix(), path)
        if path.is_relative_to(self.root):
            return self._put(f"{layout.MODEL_FILES}/{path.name}", path)
        raise _outside(self.label, value)

    def _folder(self, folder: Path) -> str:
        for current, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != layout.COMPILED)
            for name in sorted(files):
                self._put(Path(current, name).relative_to(self.directory).as_posix(), Path(current, name))
        return folder.relative_to(self.directory).as_posix()

    def _saved_model(self, value: Mapping[str, Any]) -> Any:
        """A SavedModel by its files, each of which may have a URL, as a folder."""
        if not is_remote_folder(value):
            return self._local(os.path.dirname(str(value.get("pb", ""))))  # noqa: PTH120 - as Kipoi does it
        folder = f"{layout.MODEL_FILES}/savedmodel_path"
        for key in value:
            place = _SAVED_MODEL.get(key, "variables/variables.data-00000-of-00001")
            self._put(f"{folder}/{place}", self.fetched[f"savedmodel_{key}"])
        return folder

    def _put(self, place: str, file: Path) -> str:
        stem, ending = os.path.splitext(place)  # noqa: PTH122 - the folders stay
        number = 2
        while self.files.get(place, file) != file:
            place, number = f"{stem}_{number}{ending}", number + 1
        self.files[place] = file
        return place


def _ending(remote: RemoteFile) -> str:
    """The ending of the name that a URL gives to its file; empty where it has none."""
    for name in (remote.name or "", urlparse(remote.url).path):
        found = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
        if found is not None:
            return found.group()
    return ""
