"""Temporary folders: they go with what needs them, and those of killed processes go when the next one is made.

Keras is imported only where it is told where to put its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from keras_stitch.files.new_files import disk_errors
from keras_stitch.files.temporary_names import left_behind, new_name

_START = "keras-stitch"
MORE_ROOM = "Free some space there, or name another folder in the environment variable TMPDIR."


class Scratch:
    """A temporary folder, which goes at the end of its ``with`` block, or with this object.

    Attributes:
        path: The folder, by its real path.

    Raises:
        SaveError: If it cannot be made, or has no room for what the block writes.
    """

    def __init__(self) -> None:
        with disk_errors(os.environ.get("TMPDIR", "/tmp"), MORE_ROOM):
            place = Path(tempfile.gettempdir()).resolve()
            for old in left_behind(place, _START):
                shutil.rmtree(old, ignore_errors=True)
            self.path = place / new_name(_START)
            self.path.mkdir(mode=0o700)
        # Unlike tempfile.TemporaryDirectory, this says nothing when it goes.
        self._end = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return
        if str(error.filename or self.path).startswith(str(self.path)):
            with disk_errors(self.path.parent, MORE_ROOM):
                raise error

    def close(self) -> None:
        """Remove the folder."""
        self._end()


@contextlib.contextmanager
def folders_of_keras() -> Iterator[None]:
    """Have the temporary folders of Keras named like ours, and remove them where the block ends with an error."""
    from keras_stitch import keras_private

    made: list[Path] = []

    def make() -> str:
        made.append(Path(tempfile.gettempdir(), new_name(_START)))
        made[-1].mkdir(mode=0o700)
        return str(made[-1])

    with keras_private.temporary_folders(make):
        try:
            yield
        except BaseException:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
            raise
