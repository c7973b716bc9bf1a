"""The files of a TensorFlow checkpoint, for which its prefix stands: ``m.index`` and ``m.data-00000-of-00001``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from keras_stitch.errors import SourceError

_ENDING = re.compile(r"(.+)\.(index|meta|data-[0-9]{5}-of-[0-9]{5})")
_NAMED = re.compile(r'^model_checkpoint_path: "([^"\\]+)"', re.MULTILINE)
_LARGEST_STATE = 1 << 20


def prefix_of(path: Path) -> Path | None:
    """The prefix of the checkpoint that a path means; ``None`` where it means none.

    The path may be the prefix, one of its files, or the folder with the file ``checkpoint`` that TensorFlow keeps
    beside them, which names the newest one.
    """
    if os.path.isdir(path):  # noqa: PTH112 - no error for a path that is too long, or where nobody may look
        return _newest(path)
    if os.path.isfile(path):  # noqa: PTH113
        match = _ENDING.fullmatch(path.name)
        path = path.with_name(match[1]) if match else path
        return path if match and (files_of(path) or not match[2].startswith("index")) else None
    return path if files_of(path) else None


def files_of(prefix: Path) -> list[Path]:
    """The files of a checkpoint, sorted by name; none where the prefix is that of no checkpoint, or itself a file.

    Raises:
        SourceError: If nobody may list the folder.
    """
    index = f"{prefix.name}.index"
    if os.path.exists(prefix) or not os.path.isfile(prefix.with_name(index)):  # noqa: PTH110, PTH113
        return []
    names = re.compile(re.escape(prefix.name) + r"\.(index|data-[0-9]{5}-of-[0-9]{5})")
    try:
        beside = os.listdir(prefix.parent)  # noqa: PTH208
    except OSError as error:
        raise SourceError(
            f"The files of the checkpoint '{prefix}' cannot be listed: {error.strerror}.",
            fix="Change the permissions of its folder.",
        ) from error
    return [prefix.with_name(name) for name in sorted(filter(names.fullmatch, beside))]


def _newest(folder: Path) -> Path | None:
    """The checkpoint in a folder that the file ``checkpoint`` names: the folder may have been moved since."""
    state = folder / "checkpoint"
    try:
        if not os.path.isfile(state) or state.stat().st_size > _LARGEST_STATE:  # noqa: PTH113
            return None
        named = _NAMED.search(state.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # a file that nobody may read says nothing
        return None
    prefix = folder / Path(named[1]).name if named else folder
    return prefix if files_of(prefix) else None
