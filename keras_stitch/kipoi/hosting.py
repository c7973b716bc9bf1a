"""Files of a directory that will lie at a URL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from keras_stitch.errors import StitchError, nearest


def resolve_urls(hosting: str | Mapping[str, str] | None, files: Sequence[str]) -> dict[str, str]:
    """The URL of every file that is hosted.

    Args:
        hosting: A base URL for all of them, or a URL for each path in the directory.
        files: Paths in the directory that can be hosted.

    Raises:
        StitchError: When something is no URL, or no such file is written.

    Example:
        >>> resolve_urls("https://example.org/m", ["model_files/model.keras"])
        {'model_files/model.keras': 'https://example.org/m/model_files/model.keras'}
    """
    if hosting is None:
        return {}
    if isinstance(hosting, str):
        _check_url(hosting)
        return {file: f"{hosting.rstrip('/')}/{quote(file)}" for file in files}
    for file, url in hosting.items():
        if file not in files:
            raise StitchError(
                f"hosting= names '{file}', which is no file that can be hosted.", expected=nearest(file, files)
            )
        _check_url(url)
    return dict(hosting)


def remote_file(path: Path, url: str) -> dict[str, str]:
    """What Kipoi needs to download a file and to know it again."""
    with path.open("rb") as file:
        return {"url": url, "md5": hashlib.file_digest(file, "md5").hexdigest()}


def _check_url(url: str) -> None:
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https", "ftp", "file"):
        raise StitchError("hosting= needs URLs.", expected="https://..., http://..., ftp://... or file:///...",
                          received=repr(url))  # fmt: skip
