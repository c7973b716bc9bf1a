"""Files that are written whole or not at all, and errors of the disk."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from keras_stitch.errors import SaveError


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
def new_file(path: Path, place: Path | None = None) -> Iterator[Path]:
    """A place to write a file, which becomes ``path`` in one step when the block ends without an error.

    By default, the place is a hidden file beside ``path`` with the same ending. A file that is there is replaced.
    """
    place = place or path.with_name(f".keras-stitch-{secrets.token_hex(4)}-{path.name}")
    try:
        yield place
        place.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that matters
            place.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path = path.absolute()
    if not path.parent.is_dir():
        raise SaveError(f"There is no folder '{path.parent}'.", fix="Make it first.")
    with disk_errors(path), new_file(path) as place:
        place.write_text(text, encoding="utf-8")
