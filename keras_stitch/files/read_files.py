"""Files that are read: plain ones alone; their sha256, YAML, Python."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.files import checkpoint_files
from keras_stitch.files.parse_text import from_yaml

# In bytes. Whole texts are read into memory, and no model is as large as the other.
LARGEST_TEXT = 1 << 28
LARGEST = 1 << 40
MOST_FILES = 10_000  # of a directory that is one model

_TEXTS = (".yaml", ".yml", ".py", ".json")
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def plain(path: Path, largest: int = LARGEST) -> Path:
    """The same path, once it is known that opening it does not wait for ever and that reading it ends.

    Raises:
        OSError: If a pipe, a device, a socket or a directory is there, or a file of more than ``largest`` bytes; or
            nothing that can be looked at. Its ``strerror`` says what.
    """
    found = path.stat()
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"It is {_KINDS.get(kind, 'something else')}, not a file", str(path))
    if found.st_size > largest:
        raise OSError(errno.EFBIG, f"It has {found.st_size:,} bytes, and {largest:,} at most are read", str(path))
    return path


def check_directory(directory: Path) -> None:
    """Refuse a directory with something in it that is not to be opened: its own code, and Kipoi, open what they like.

    Raises:
        SourceError: Naming it, see ``plain``. Hidden folders, links that lead nowhere and directories pass.
    """
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in files):
            try:
                plain(path, LARGEST_TEXT if path.suffix in _TEXTS else LARGEST)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EFBIG):
                    raise SourceError(f"'{path}' cannot be read: {error.strerror}.", fix="Move it away.") from None


def read_text(path: Path) -> str:
    """The text of a file, see ``plain``."""
    return plain(path, LARGEST_TEXT).read_text(encoding="utf-8")


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits; of a directory, that of what ``sha256sum`` says of its files.

    So it is that of ``find -L . -type f | LC_ALL=C sort | xargs sha256sum`` in the directory. That of the prefix of a
    checkpoint is made of its files alone.

    Raises:
        SourceError: If a file cannot be read.
    """
    if (held := _held(path)) is not None:
        folder, places = held
        lines = (f"{sha256(folder / place)}  ./{place}\n" for place in places)
        return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()
    try:
        with plain(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read any more: {error.strerror}.") from error


def _held(path: Path) -> tuple[Path, list[str]] | None:
    """The folder and the places in it of what is several files: a directory, or the prefix of a checkpoint."""
    if is_directory(path):
        return path, places_in(path)
    files = checkpoint_files.files_of(path)
    return (path.parent, [file.name for file in files]) if files else None


def places_in(directory: Path) -> list[str]:
    """The relative paths of all files in a directory, sorted.

    Raises:
        SourceError: If there are too many of them, or a name is no text.
    """
    found: list[str] = []
    for folder, _, names in os.walk(directory, followlinks=True):
        found += (Path(folder, name).relative_to(directory).as_posix() for name in names)
        if len(found) > MOST_FILES:
            raise SourceError(f"'{directory}' holds more than {MOST_FILES:,} files.", fix="Give a smaller directory.")
    return sorted(found, key=os.fsencode)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file; any text may be asked for, also one that is too long, or where nobody may look."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a long one


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Whether there is a directory; any text may be asked for, also where nobody may look."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises there


def version_of(path: Path) -> tuple[Any, ...] | None:
    """What tells a file from another one that takes its place, without reading it; ``None`` where none is.

    Of a directory or the prefix of a checkpoint, that of all its files.
    """
    if (held := _held(path)) is not None:
        folder, places = held
        return tuple((place, version_of(folder / place)) for place in places)
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_unchanged(path: Path, before: str) -> None:
    """Raise a ``SourceError`` where the sha256 of a file is not what it was before."""
    now = sha256(path)
    if now != before:
        raise changed(path, before, now)


def changed(path: Path, before: str, now: str) -> SourceError:
    """The error about a source that is not what it was."""
    return SourceError(
        f"'{path}' has changed since it was added.",
        expected=f"sha256 {before}",
        received=f"sha256 {now}",
        fix="Add it to a new Graph.",
    )


def find_yaml(directory: Path, kind: str) -> Path | None:
    """``model.yaml`` or ``dataloader.yaml``, with either ending."""
    return next((path for end in ("yaml", "yml") if is_file(path := directory / f"{kind}.{end}")), None)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a ``SourceError`` where there is none."""
    try:
        content = from_yaml(read_text(path))
    except (OSError, ValueError) as error:  # of the disk, of the encoding, or of the text
        raise SourceError(f"'{path}' cannot be read.", received=str(error)) from error
    if not isinstance(content, dict):
        raise SourceError(f"'{path}' does not describe anything.", received=type(content).__name__)
    return content


def load_python(path: Path, content: bytes | None = None, *, name: str = "module") -> ModuleType:
    """The module in a Python file: loaded by its path and alone, so that files of one name do not meet.

    ``content`` is what is in it, where that was read already. The module has no entry in ``sys.modules`` afterwards.
    """
    module = ModuleType(name)
    module.__file__ = str(path)
    code = compile(
        plain(path, LARGEST_TEXT).read_bytes() if content is None else content, path, "exec", dont_inherit=True
    )
    before = sys.modules.get(name)
    sys.modules[name] = module  # where dataclasses look for it while the file runs
    try:
        exec(code, vars(module))
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
    return module
