"""Files that are read: their sha256, YAML, Python."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.files.parse_text import from_yaml


def sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits.

    Raises:
        SourceError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read any more: {error.strerror}.") from error


def find_yaml(directory: Path, kind: str) -> Path | None:
    """``model.yaml`` or ``dataloader.yaml``, with either ending."""
    return next((path for end in ("yaml", "yml") if (path := directory / f"{kind}.{end}").is_file()), None)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a ``SourceError`` where there is none."""
    try:
        content = from_yaml(path.read_text(encoding="utf-8"))
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
    code = compile(path.read_bytes() if content is None else content, path, "exec", dont_inherit=True)
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
