"""Files that are written whole or not at all, and errors of the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_stitch.errors import SaveError
from keras_stitch.files.read_files import is_directory
from keras_stitch.files.temporary_names import left_behind, new_name


@contextlib.contextmanager
def disk_errors(
    target: object, fix: str | None = None, kinds: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Raise errors of the disk as ``SaveError``; ``kinds`` are these errors, as h5py raises others, too.

    With a fix, the message also names the file that the error is about.
    """
    try:
        yield
    except kinds as error:
        file = getattr(error, "filename", None)
        raise SaveError(
            f"'{target}' cannot be written: {getattr(error, 'strerror', None) or error}.",
            received=f"{type(error).__name__} on '{file}'" if fix and file else None,
            fix=fix,
        ) from error


@contextlib.contextmanager
def new_file(path: Path, place: Path | None = None, *, overwrite: bool = True) -> Iterator[Path]:
    """A place to write a file, which becomes ``path`` in one step when the block ends without an error.

    By default, the place is a hidden file beside ``path`` with the same ending. A link to a file stays a link.

    Raises:
        SaveError: If ``path`` is no file, or a file that is not to be replaced, also one that somebody else has written
            meanwhile.
    """
    target = Path(os.path.realpath(path))
    check_target(path, overwrite=overwrite)
    if place is None:
        start, end = f".{target.stem}.stitch", target.suffix
        for old in left_behind(target.parent, start, end):
            old.unlink(missing_ok=True)
        place = target.with_name(new_name(start, end))
    try:
        yield place
        if overwrite:
            place.replace(target)
        else:
            _put_where_nothing_is(place, target, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that matters
            place.unlink(missing_ok=True)
        raise


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse to write a file where something else is, or a file that is not to be replaced.

    Raises:
        SaveError: If it must stay.
    """
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return
    if target.is_dir():
        raise SaveError(f"'{path}' is a directory.", expected="a file, or nothing there yet")
    if not target.is_file():
        raise SaveError(f"'{path}' is no file, and is not replaced.", expected="a file, or nothing there yet")
    if not overwrite:
        raise SaveError(
            f"'{path}' exists.",
            fix="Pass overwrite=True (--overwrite on the command line) to replace it, or choose another name.",
        )


def _put_where_nothing_is(place: Path, target: Path, path: Path) -> None:
    """Rename a file in one step, unlike ``rename`` not onto another one."""
    try:
        os.link(place, target)
    except FileExistsError:
        check_target(path, overwrite=False)
        raise
    except OSError:  # a file system without links, where two writers may meet in a moment
        check_target(path, overwrite=False)
        place.replace(target)
    else:
        place.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path = path.absolute()
    if not is_directory(path.parent):
        raise SaveError(f"There is no folder '{path.parent}'.", fix="Make it first.")
    with disk_errors(path), new_file(path) as place:
        place.write_text(text, encoding="utf-8")
