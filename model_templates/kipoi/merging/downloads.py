"""Files that a directory names by a URL, downloaded to where Kipoi puts them."""

from __future__ import annotations

import hashlib
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data_errors import problem

TIMEOUT = 20.0  # seconds
CHUNK = 2**20  # bytes


def is_remote(value: Any) -> bool:
    """Whether a value of a YAML file is that of a file to download."""
    return isinstance(value, Mapping) and "url" in value


def fetch(remote: Mapping[str, Any], place: Path, what: str) -> str:
    """Returns where a file is, downloaded if it is not there yet.

    Args:
        remote: Its ``url``, and its ``md5`` if that is known.
        place: Where it is to be.
        what: What it is, for messages.
    """
    url, known = str(remote["url"]), str(remote.get("md5") or "").lower()
    if place.is_file() and known in ("", md5_of(place)):
        return str(place)
    part = Path(f"{place}.{uuid.uuid4().hex}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
        came = md5_of(part)
        if known not in ("", came):
            raise problem(f"{what} is not what it was.", expected=f"md5 {known}", received=f"md5 {came} from {url}")
        part.replace(place)
    except (OSError, ValueError) as error:
        raise problem(
            f"{what} cannot be downloaded.",
            expected=url,
            received=f"{type(error).__name__}: {error}",
            fix=f"Put the file at '{place}'.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return str(place)


def md5_of(file: Path) -> str:
    """Returns the md5 of a file, as hexadecimal digits."""
    found = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
