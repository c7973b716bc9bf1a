"""Directories that are written whole or not at all, and what may be overwritten."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError
from keras_stitch.files.new_files import disk_errors
from keras_stitch.files.read_files import is_file
from keras_stitch.files.temporary_names import left_behind, new_name

_AT_FDCWD = -100 if sys.platform.startswith("linux") else -2
_OLD = "-old"
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS are the same number


@contextlib.contextmanager
def new_directory(
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    generated: Collection[str] = layout.WRITERS,
    mark: str = layout.RECORD,
) -> Iterator[Path]:
    """A temporary directory that becomes ``target`` when the block ends without an error.

    Args:
        target: The directory to write. Folders above it are made.
        overwrite: Whether a directory that is there, and holds nothing but what was generated, is replaced.
        generated: The names that what was generated may have.
        mark: The file that a generated directory always has.

    Yields:
        The directory to fill, next to the target.

    Raises:
        SaveError: When the target must not be replaced (before anything is written), or cannot be written.
    """
    shown, target = str(target), Path(os.path.realpath(target))
    check = functools.partial(check_target, target, overwrite=overwrite, generated=generated, mark=mark)
    check()
    with disk_errors(shown, "Free some space or choose another place; nothing was changed."):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        building = target.with_name(new_name(_start(target)))
        try:
            building.mkdir()
            yield building
            for compiled in list(building.rglob(layout.COMPILED)):  # it names paths of this machine
                shutil.rmtree(compiled)
            _put_in_place(building, target, check)
        finally:
            _remove(building)


def check_target(
    target: str | os.PathLike[str],
    *,
    overwrite: bool,
    generated: Collection[str] = layout.WRITERS,
    mark: str = layout.RECORD,
) -> None:
    """Refuse a target that is there and must stay; the arguments are those of ``new_directory``.

    Raises:
        SaveError: When the target is a file, exists and ``overwrite`` is false, is or holds the current
            directory, or holds something that was not generated.
    """
    path = Path(target)
    try:
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            raise SaveError(f"'{target}' is a file.", expected="a directory, or nothing there yet")
        if not overwrite:
            raise SaveError(
                f"'{target}' exists.",
                fix="Pass overwrite=True (--overwrite on the command line) to replace it, or choose another place.",
            )
        if Path.cwd().is_relative_to(path.resolve()):
            raise SaveError(
                f"'{target}' is not replaced: the current directory is in it.",
                fix="Go to another directory first, or choose another place.",
            )
        held = sorted(entry.name for entry in path.iterdir())
        foreign = [name for name in held if name not in generated]
        if not foreign and not (path / mark).is_file():
            foreign = held
        if foreign:
            listed = ", ".join(foreign[:6]) + (", ..." if len(foreign) > 6 else "")
            raise SaveError(
                f"'{target}' is not replaced: it holds what was not generated, and that would be lost.",
                expected="a new directory, an empty one, or one that was generated",
                received=listed,
                fix="Choose another place, or move these away.",
            )
    except OSError as error:
        raise SaveError(f"'{target}' cannot be read: {error.strerror}.") from error


def is_generated(folder: Path) -> bool:
    """Whether a folder is a generated directory; a folder with a ``stitch.yaml`` alone is somebody's."""
    return all(is_file(folder / name) for name in layout.ALWAYS)


def _put_in_place(building: Path, target: Path, check: Callable[[], None]) -> None:
    try:
        building.rename(target)  # fails where something is, except for an empty directory
        return
    except OSError:
        check()  # what somebody has put there meanwhile must be replaceable, too
        if not target.is_dir():
            raise
    if not _exchange(building, target):
        # Without the system call there is a moment in which only the old directory's new name exists.
        aside = target.with_name(f"{building.name}{_OLD}")
        target.rename(aside)
        try:
            building.rename(target)
        except OSError:
            aside.rename(target)
            raise
        _remove(aside)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories in one step; false where the system or its file system cannot."""
    names = os.fsencode(first), os.fsencode(second)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            return libc.renamex_np(*names, _EXCHANGE) == 0
        return libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0
    except AttributeError:
        return False


def _remove(folder: Path) -> None:
    """Remove a directory, and all in it that nobody may change."""
    shutil.rmtree(folder, ignore_errors=True)
    for held, _, _ in os.walk(folder):  # what is still there
        with contextlib.suppress(OSError):
            Path(held).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _start(target: Path) -> str:
    return f".{target.name}.stitch"


def _remove_stale(target: Path) -> None:
    for path in left_behind(target.parent, _start(target), _OLD):
        if not target.exists():
            path.rename(target)  # killed between the two renames: the old directory comes back
        else:
            _remove(path)
    for path in left_behind(target.parent, _start(target)):
        _remove(path)
