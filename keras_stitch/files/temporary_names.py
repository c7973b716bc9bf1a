"""Names of what lies somewhere for a time only; they say whose it is, so that others can remove what was left."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterator
from pathlib import Path


def new_name(start: str, end: str = "") -> str:
    """A name that nobody has, which says to which process of which machine it belongs."""
    return f"{start}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{end}"


def left_behind(folder: Path, start: str, end: str = "") -> Iterator[Path]:
    """What ``new_name`` named in a folder for processes that have ended, killed before they could remove it."""
    pattern = re.compile(re.escape(f"{start}-{_machine()}-") + "([0-9]+)-[0-9a-f]{8}" + re.escape(end) + r"(\.\w+)?")
    with os.scandir(folder) as entries:
        matches = [match for entry in entries if (match := pattern.fullmatch(entry.name))]
    return (folder / match[0] for match in matches if not _is_alive(int(match[1])))


def _machine() -> str:
    # The process ids of another machine, on a shared disk, say nothing here.
    return hashlib.md5(platform.node().encode(), usedforsecurity=False).hexdigest()[:6]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True
