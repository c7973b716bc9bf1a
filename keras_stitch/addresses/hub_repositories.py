"""Repositories of the Hub, and folders in them: which of their files are a model, and the path that this becomes."""

from __future__ import annotations

import functools
import glob
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_stitch import directory_layout as layout
from keras_stitch.addresses import hub_files
from keras_stitch.addresses.parse_address import HubAddress
from keras_stitch.addresses.required_packages import needed
from keras_stitch.errors import SourceError
from keras_stitch.files.scratch import Scratch
from keras_stitch.terminal import others_show

# What keras.saving.save_model("hf://user/repo") writes: the members of a .keras file, beside each other.
_KERAS = ("config.json", "metadata.json", "model.weights.h5")
_ASSETS = "assets/"
_SAVED_MODEL = "saved_model.pb"
_OF_SAVED_MODEL = (_SAVED_MODEL, "keras_metadata.pb", "fingerprint.pb", "variables/", _ASSETS)
_MODELS = (".keras", ".h5", ".hdf5", ".onnx")


@dataclass(frozen=True)
class Repository:
    """A path for what a repository holds.

    Attributes:
        path: A file, a Kipoi directory or a SavedModel.
        kept: The temporary folder that it lies in, if any.
    """

    path: Path
    kept: Scratch | None = None


def fetch(address: HubAddress, *, pinned: bool) -> Repository:
    """The model in a repository, or in a folder of one, at the address's commit.

    A Kipoi directory is a program, so the user has to name its commit: then it is the one that was read.

    Args:
        address: The address with a commit.
        pinned: Whether the user named the commit, and not a branch.

    Raises:
        SourceError: If there is no model in it, or several, or it cannot be had.
    """
    names = hub_files.files_in(address)
    start = f"{address.file}/" if address.file else ""
    within = [name.removeprefix(start) for name in names if name.startswith(start)]
    if not within:
        raise hub_files.missing(address, names)
    if any(name in within for name in layout.MODEL_YAMLS):
        if not pinned:
            raise _program(address)
        return _copied(address, _downloaded(address, start, within), within)
    if set(_KERAS) <= set(within):
        chosen = [name for name in within if name in _KERAS or name.startswith(_ASSETS)]
        return _archive(address, _downloaded(address, start, chosen), chosen)
    models = [name for name in within if name.endswith(_MODELS)]
    if len(models) == 1:
        return Repository(_downloaded(address, start, models) / models[0])
    if not models and _SAVED_MODEL in within:
        chosen = [name for name in within if name.startswith(_OF_SAVED_MODEL)]
        return _copied(address, _downloaded(address, start, chosen), chosen)
    raise _unclear(address, start, models, within)


def _downloaded(address: HubAddress, start: str, names: Sequence[str]) -> Path:
    """The folder with these files of a folder, whose path in the repository is ``start``."""
    hub = needed("huggingface_hub")
    bars = functools.partial(needed("huggingface_hub.utils").tqdm, disable=None)  # none without a terminal
    wanted = [glob.escape(f"{start}{name}") for name in names]
    with hub_files.client_errors(address), others_show():
        folder = hub.snapshot_download(address.repo, revision=address.commit, allow_patterns=wanted, tqdm_class=bars)
    for name in names:
        hub_files.check(address, Path(folder, start, name))
    return Path(folder, start)


def _copied(address: HubAddress, folder: Path, names: Sequence[str]) -> Repository:
    """A directory of these files: in the cache, they are links that lead out of it."""
    scratch = Scratch()
    path = scratch.path / address.label
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, path / name)
    return Repository(path, scratch)


def _archive(address: HubAddress, folder: Path, names: Sequence[str]) -> Repository:
    """The same files as a ``.keras`` file, which always has the same bytes."""
    scratch = Scratch()
    path = scratch.path / f"{address.label}.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(names):
            # Without a time, and with room for large files.
            with (
                (folder / name).open("rb") as file,
                archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member,
            ):
                shutil.copyfileobj(file, member, 1 << 20)
    return Repository(path, scratch)


def _program(address: HubAddress) -> SourceError:
    branch = f"'{address.revision}'" if address.revision else "the default branch"
    return SourceError(
        f"'{address}' is a Kipoi directory, whose Python code would run here.",
        expected="the address with a commit, so that the code is the one that you have read",
        received=f"{branch}, which may change",
        fix=f"Read it, and add {address.pinned!r}.",
    )


def _unclear(address: HubAddress, start: str, models: Sequence[str], names: Sequence[str]) -> SourceError:
    if models:
        return SourceError(
            f"'{address}' holds {len(models)} models.",
            expected="the address of one file",
            received=", ".join(models[:8]) + (", ..." if len(models) > 8 else ""),
            fix=f"Name one: {str(replace(address, file=f'{start}{models[0]}'))!r}.",
        )
    return SourceError(
        f"'{address}' holds no model that can be a submodel.",
        expected="what Keras 3 saves to the Hub, one .keras, .h5 or .onnx file, a SavedModel or a Kipoi directory",
        received=", ".join(sorted(names)[:8]) + (", ..." if len(names) > 8 else ""),
    )
