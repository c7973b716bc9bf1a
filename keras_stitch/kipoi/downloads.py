"""Files that a Kipoi model names by URL: they lie where Kipoi puts them, or are downloaded to there.

Kipoi's own downloader asks seven times for what is gone, in 12 seconds, and takes half a file for a whole one where no
md5 is stated. Its places are kept: what Kipoi has downloaded is taken, and so is what the user puts there.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keras_stitch.errors import DownloadError, SourceError, StitchError
from keras_stitch.files.checksums import Checksum
from keras_stitch.files.new_files import new_file
from keras_stitch.files.read_files import is_file
from keras_stitch.kipoi.descriptions import RemoteFile
from keras_stitch.terminal import bytes_done

_WHAT = {"weights": "file of weights", "arch": "architecture", "custom_objects": "file of custom objects"}

# Python that Kipoi imports by its path needs its ending.
_PYTHON = {"custom_objects", "module_file", "file"}

# The seconds to wait for an answer and for data; how often to ask where the next answer may be another one, and the
# seconds between.
_TIMEOUT = 20.0
_TRIES = 3
_PAUSE = 1.0
_PASSING = {429, 502, 503, 504}
_CHUNK = 1 << 20


def fetch_all(label: str, downloads: Path, args: Mapping[str, Any]) -> dict[str, Path]:
    """The files of those arguments that are a ``RemoteFile``, downloaded unless they are there.

    Args:
        label: What messages call the model.
        downloads: Where Kipoi puts what it downloads.
        args: The arguments. One that is ``savedmodel_path`` may be a dict of such files.

    Returns:
        Paths by argument; those of the dict by ``savedmodel_pb`` and so on.

    Raises:
        DownloadError: With every file that is neither there nor can be downloaded.
        SourceError: If the md5 of one is none.
    """
    found, problems, silent = {}, [], dict[str, str]()
    for name, remote in _named(args):
        what = f"The {_WHAT.get(name, f'file {name!r}')} of '{label}'"
        place = _place(what, downloads, name, remote)
        try:
            _fetch(what, place, remote, silent)
        except DownloadError as problem:
            problems.append(problem)
        found[name] = place
    if problems:
        raise DownloadError(problems)
    return found


def _named(args: Mapping[str, Any]) -> Iterator[tuple[str, RemoteFile]]:
    for name, value in args.items():
        if isinstance(value, RemoteFile):
            yield name, value
        elif name == "savedmodel_path" and is_remote_folder(value):
            yield from ((f"savedmodel_{key}", item) for key, item in value.items())


def is_remote_folder(value: object) -> bool:
    """Whether an argument is a folder, each of whose files has a URL."""
    return isinstance(value, Mapping) and all(isinstance(item, RemoteFile) for item in value.values())


def _place(what: str, downloads: Path, name: str, remote: RemoteFile) -> Path:
    """Where Kipoi puts the file of an argument."""
    if remote.md5 and not re.fullmatch("[0-9a-fA-F]{32}", remote.md5):  # it becomes a part of a path
        raise SourceError(f"{what} has no valid md5.", expected="32 hexadecimal digits", received=remote.md5[:200])
    place = downloads / name / ((remote.md5 or "file") + (".py" if name in _PYTHON else ""))
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(downloads)):
        raise SourceError(f"{what} has no name that Kipoi could pass on.", received=name)
    return place


def _fetch(what: str, place: Path, remote: RemoteFile, silent: dict[str, str]) -> None:
    """Download a file unless it is there; ``silent`` are the hosts that did not answer, and why."""
    known = Checksum("md5", remote.md5.lower()) if remote.md5 else None
    if is_file(place) and (known is None or known.of(place) == known):
        return
    host = ""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        host = urlsplit(remote.url).netloc
        if host in silent:
            raise _gone(what, place, remote, silent[host], known)
        with new_file(place) as part:
            download(remote.url, part)
            if known is not None and (came := known.of(part)) != known:
                raise DownloadError([_another(what, place, remote, came)])
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = _said(error)
        if host and (isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), OSError)):
            silent[host] = said
        raise _gone(what, place, remote, said, known) from error


def _gone(what: str, place: Path, remote: RemoteFile, said: str, known: Checksum | None) -> DownloadError:
    # Without an md5, whatever lies there would have been taken.
    there = f"; what lies at the place below has {known.of(place)}" if known is not None and is_file(place) else ""
    stated = f"{remote.url} with {known}" if known is not None else f"{remote.url}, of which no md5 is stated"
    problem = SourceError(
        f"{what} cannot be downloaded.",
        expected=stated,
        received=f"{said}{there}",
        fix=f"Put the file at '{place}': from there it is taken the next time.",
    )
    return DownloadError([problem])


def _another(what: str, place: Path, remote: RemoteFile, came: Checksum) -> SourceError:
    return SourceError(
        f"{what} is not what it was: another file was downloaded.",
        expected=f"md5 {remote.md5}, as its model.yaml says",
        received=f"{came} from {remote.url}",
        fix=f"Put the right file at '{place}', or correct the md5 if the new file is meant.",
    )


def _said(error: Exception) -> str:
    """Why a file does not come, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, StitchError):  # of the place
        return error.message
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer in {_TIMEOUT:g} seconds"
    return f"{type(inner).__name__}: {inner}" if isinstance(inner, Exception) else str(inner)


# -- one URL -------------------------------------------------------------------------------------------------------
def download(url: str, file: Path) -> None:
    """Download a URL to a file; a busy server and a connection that is cut off are asked again, what is gone is not.

    Raises:
        OSError: If it cannot be reached, refuses, or the file cannot be written.
        http.client.HTTPException: If the answer is none of a web server.
        ValueError: If the URL is none.
    """
    for left in reversed(range(_TRIES)):
        try:
            _download_once(url, file)
            return
        except urllib.error.HTTPError as error:
            if error.code not in _PASSING or not left:
                raise
        except ConnectionError:
            if not left:
                raise
        time.sleep(_PAUSE)


def _download_once(url: str, file: Path) -> None:
    name = urlsplit(url).path.rpartition("/")[2] or url
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, file.open("wb") as out, bytes_done(name) as show:
        length = answer.headers.get("Content-Length") or ""
        total, done = int(length) if length.isdecimal() else None, 0
        while chunk := answer.read(_CHUNK):
            out.write(chunk)
            done += len(chunk)
            show(done, total)
    if total is not None and done != total:
        raise ConnectionError(f"{done:,} of {total:,} bytes came, and the connection ended")
