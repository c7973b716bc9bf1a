"""Files of a directory that will lie at a URL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from keras_stitch.checks import mapping_of
from keras_stitch.errors import StitchError, nearest


def resolve_urls(hosting: str | Mapping[str, str] | None, files: Sequence[str]) -> dict[str, str]:
    """The URL of every file that is hosted, of those that can be.

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
        if "?" in hosting or "#" in hosting:
            raise StitchError("hosting= needs a base URL that paths can be appended to.", received=repr(hosting))
        return {file: f"{hosting.rstrip('/')}/{quote(file)}" for file in files}
    for file, url in mapping_of(hosting, "hosting=", "a base URL, or {path in the directory: URL}").items():
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


def hosted_model(model: Mapping[str, Any], hosted: Mapping[str, Mapping[str, str]], folder: str = "") -> dict[str, Any]:
    """A model as ``model.yaml`` says that it is loaded, from files that may lie at URLs.

    Args:
        model: The same without URLs: the files among its ``args`` are paths in ``folder``.
        hosted: What ``remote_file`` gave for each path in the directory.
        folder: Where the model lies in the directory, with a slash at the end.
    """
    args = {
        key: hosted.get(f"{folder}{value}", value) if isinstance(value, str) else value
        for key, value in model.get("args", {}).items()
    }
    return {**model, "args": args}


def _check_url(url: object) -> None:
    kinds = "https://..., http://..., ftp://... or file:///..."
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:  # such as an IPv6 address without its end
        parts = None
    whole = parts is not None and bool(parts.path if parts.scheme == "file" else parts.netloc)
    if parts is None or parts.scheme not in ("http", "https", "ftp", "file") or not whole:
        raise StitchError("hosting= needs URLs.", expected=kinds, received=repr(url))
    bad = re.search(r"[^!#-;=?-\[\]_a-z~]", parts.geturl())
    if bad is not None:
        raise StitchError(
            f"hosting= has a URL with {bad[0]!r} in it, which no URL may have.",
            received=repr(url),
            fix=f"Write it as a URL has it: {quote(bad[0])}.",
        )
