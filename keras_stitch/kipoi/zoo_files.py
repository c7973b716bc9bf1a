"""Models in the sources that Kipoi knows, and the files that they name."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from kipoi.config import model_sources
from kipoi.sources import LocalComponentGroup
from kipoi.specs import RemoteFile

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files.parse_text import from_yaml
from keras_stitch.files.read_files import is_file
from keras_stitch.graphs.names import zoo_name
from keras_stitch.kipoi.downloads import fetch_all, is_remote_folder

_SECONDS = 60

# Kipoi's fourth kind, permalinks of GitHub, has URLs for names.
_TYPES = ("local", "git", "git-lfs")


@dataclass(frozen=True)
class Located:
    """A model or a dataloader of a source of Kipoi's, downloaded to this machine.

    Attributes:
        name: As the user wrote it, ``"kipoi:DeepSEA/predict"``.
        kind: ``"model"`` or ``"dataloader"``.
        directory: Where it lies. The members of a group that share a template share it, too.
        downloads: Where Kipoi puts what its description names by URL.
        description: As Kipoi has parsed it.
        raw: Its description as it is written; ``None`` where it is a file in the directory.
        root: The folder of the source.
    """

    name: str
    kind: str
    directory: Path
    downloads: Path
    description: Any
    raw: Mapping[str, Any] | None
    root: Path

    @property
    def inner(self) -> str:
        """The name within the source."""
        return self.name.partition(":")[2]


def locate(name: str, *kinds: str) -> Located:
    """Download a model or dataloader by Kipoi's own means: a git source is cloned or pulled.

    Args:
        name: ``"<source>:<name in it>"``.
        kinds: ``"model"``, ``"dataloader"`` or both; the first that exists counts.

    Raises:
        SourceError: If there is no such source, it cannot be reached, or it has no such model or dataloader.
    """
    source_name, inner = zoo_name(name) or ("", name)
    sources = {key: source for key, source in model_sources().items() if key != "dir" and source.TYPE in _TYPES}
    if source_name not in sources:
        raise SourceError(
            f"'{name}': Kipoi knows no source '{source_name}'.",
            expected=nearest(source_name, sources),
            fix="Name it in ~/.kipoi/config.yaml, or kipoi.config.add_source(...).",
        )
    source = sources[source_name]
    _check_reachable(name, source)
    try:
        kind = next((kind for kind in kinds if source._is_component(inner, kind)), None)
        if kind is None:
            raise _unknown(name, inner, kinds[-1], source)
        directory = Path((source.pull_model if kind == "model" else source.pull_dataloader)(inner))
        downloads = Path(source._get_component_download_dir(inner, kind))
        description = source._get_component_descr(inner, kind)
    except SourceError:
        raise
    except Exception as error:  # Kipoi, git and the parsers raise whatever they meet
        raise SourceError(
            f"'{name}' cannot be had from its source.", received=f"{type(error).__name__}: {reason(error)}"
        ) from error
    return Located(
        name, kind, directory, downloads, description, _rendered(source, inner, kind), Path(source.local_path)
    )


def _unknown(name: str, inner: str, kind: str, source: Any) -> SourceError:
    known = [item for item in source._list_components(kind) if not f"/{item}".endswith("/template")]
    below = [item for item in known if item.startswith(f"{inner}/")]
    return SourceError(
        f"'{name}': the source '{name.partition(':')[0]}' has no {kind} '{inner}'.",
        expected=nearest(inner, below or known) if known else f"{kind}s in it, of which it has none",
    )


def _check_reachable(name: str, source: Any) -> None:
    """Ask the server of a git source before it is cloned: Kipoi only prints why that fails."""
    remote, local = getattr(source, "remote_url", None), Path(source.local_path)
    if remote is None or (local.is_dir() and any(local.iterdir())):
        return
    try:
        asked = subprocess.run(
            ["git", "ls-remote", remote, "HEAD"],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        said = None if asked.returncode == 0 else asked.stderr
    except FileNotFoundError:
        said = "there is no program git"
    except subprocess.TimeoutExpired:
        said = f"no answer in {_SECONDS} seconds"
    if said is not None:
        raise SourceError(
            f"'{name}' cannot be had: its source {remote} does not answer.",
            received=" ".join(said.split())[:400],
            fix=f"Clone it to '{local}' where there is a network, or give the directory of the model.",
        )


def _rendered(source: Any, inner: str, kind: str) -> dict[str, Any] | None:
    """The description of a member of a group, rendered from the template in the folder above."""
    local = getattr(source, "local_source", source)
    inner = os.path.normpath(inner)
    group = None if local._is_nongroup_component(inner, kind) else local.get_group_name(inner, kind)
    if group is None:
        return None
    members = LocalComponentGroup.load(str(Path(local.local_path) / group), kind)
    text = members.template.render(**members.get_model_row(os.path.relpath(inner, group)))
    return dict(from_yaml(text))


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
