"""Models and dataloaders in the sources that Kipoi knows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kipoi
from kipoi.config import model_sources
from kipoi.sources import LocalComponentGroup

from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files.parse_text import from_yaml
from keras_stitch.files.read_files import find_yaml, load_yaml
from keras_stitch.graphs.names import zoo_name

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
        raw: Its description as it is written, rendered from the template where it is one of a group.
        of_group: Whether it is one of a group that shares a template.
        root: The folder of the source.
    """

    name: str
    kind: str
    directory: Path
    downloads: Path
    raw: Mapping[str, Any]
    of_group: bool
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
        rendered = _rendered(source, inner, kind)
    except SourceError:
        raise
    except Exception as error:  # Kipoi, git and the parsers raise whatever they meet
        raise SourceError(
            f"'{name}' cannot be had from its source.", received=f"{type(error).__name__}: {reason(error)}"
        ) from error
    found = find_yaml(directory, kind)
    raw = rendered if rendered is not None else load_yaml(found) if found is not None else {}
    return Located(name, kind, directory, downloads, raw, rendered is not None, Path(source.local_path))


def dataloader_class(name: str) -> Any:
    """The class of a dataloader of a source, by its name, as Kipoi makes it."""
    source, inner = zoo_name(name) or ("", name)
    return kipoi.get_dataloader_factory(inner, source=source)


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
    """The description of a member of a group, rendered from the template in the folder above; ``None`` for others."""
    local = getattr(source, "local_source", source)
    inner = os.path.normpath(inner)
    group = None if local._is_nongroup_component(inner, kind) else local.get_group_name(inner, kind)
    if group is None:
        return None
    members = LocalComponentGroup.load(str(Path(local.local_path) / group), kind)
    text = members.template.render(**members.get_model_row(os.path.relpath(inner, group)))
    return dict(from_yaml(text))
