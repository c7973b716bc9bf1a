"""Files on the web, by their URL or by the DOI of an archive: downloaded once, and kept where their hash is right."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_stitch.addresses.parse_address import WebAddress
from keras_stitch.addresses.required_packages import needed
from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files.checksums import Checksum
from keras_stitch.files.new_files import disk_errors
from keras_stitch.files.read_files import is_file

CACHE = "KERAS_STITCH_CACHE"


def cache_folder() -> Path:
    """Where the files are kept: the folder that the environment variable names, or the user's cache."""
    named = os.environ.get(CACHE)
    return Path(named).expanduser().absolute() if named else Path(needed("pooch").os_cache("keras_stitch"))


def fetch(address: WebAddress, expected: Sequence[Checksum]) -> Path:
    """The file at an address, downloaded unless it is here and has the hashes.

    Without a hash, one in an archive has to have the md5 that the archive states. Any other is an error, which says the
    sha256 of what came.

    Raises:
        SourceError: If it cannot be had, has another hash, which removes it, or needs one.
    """
    needed("pooch")
    folder = cache_folder() / hashlib.md5(str(address).encode(), usedforsecurity=False).hexdigest()
    place = folder / address.label
    # Before anything is written: a cache may be one that is only read.
    if _is_here(address, place, expected):
        return place
    with disk_errors(folder, f"Free some space there, or name another folder in the environment variable {CACHE}."):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            if not _is_here(address, place, expected):
                _download(address, place, expected)
    return place


def _is_here(address: WebAddress, place: Path, expected: Sequence[Checksum]) -> bool:
    return is_file(place) and bool(expected or address.is_doi) and all(one.of(place) == one for one in expected)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait for other processes that download the same file."""
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks, where the hash still tells
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(address: WebAddress, place: Path, expected: Sequence[Checksum]) -> None:
    # They come with pooch; some errors of the second get past the first.
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    from keras_stitch.addresses.resumed_download import ResumedDownload, reason_of

    part = place.with_name(f"{place.name}.part")
    own = {f"{place.name}{end}" for end in ("", ".lock", ".part", ".part.etag")}
    for left in place.parent.iterdir():  # by pooch, in a process that was killed
        if left.name not in own:
            left.unlink()
    try:
        url, headers, stated = _located(address) if address.is_doi else (str(address), {}, None)
        downloader = ResumedDownload(part, address.label, headers)
        if not expected and stated is None:
            downloader.complete(url)
            raise _unchecked(address, part)
        for one in expected or filter(None, [stated]):
            _retrieve(address, url, place, one, downloader)
    except (RequestException, HTTPError) as error:
        kept = " What has come is kept: call again to go on." if part.exists() else ""
        raise SourceError(
            f"'{address}' cannot be downloaded.",
            received=reason_of(error),
            fix=f"Check the address and the connection.{kept}",
        ) from error


def _retrieve(address: WebAddress, url: str, place: Path, expected: Checksum, downloader: Any) -> None:
    """Have pooch download a file, unless it is there already and has the hash."""
    pooch = needed("pooch")

    def download(url: str, output_file: str, pooch: object) -> None:
        if downloader.size and expected.of(downloader.part) == expected:  # complete, and had no hash before
            downloader.move_to(output_file)
            return
        downloader(url, output_file, pooch)
        if (received := expected.of(Path(output_file))) != expected:  # pooch removes it
            fix = "What came was removed. If the file was meant to change, look at the new one, and give its hash."
            raise expected.differs(address, received, fix)

    with _quiet(pooch.get_logger()):
        known = f"{expected.algorithm}:{expected.digest}"
        pooch.retrieve(url, known, fname=place.name, path=place.parent, downloader=download)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Without a line for each download: there is a bar."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unchecked(address: WebAddress, part: Path) -> SourceError:
    found = Checksum("sha256", "").of(part)
    return SourceError(
        f"'{address}' was downloaded, and nothing says whether it is the file that you mean.",
        expected="sha256= or md5=, as its author states it",
        received=str(found),
        fix=f'Compare this with what the author states, and add sha256="{found.digest}". It is not downloaded again.',
    )


def _located(address: WebAddress) -> tuple[str, dict[str, str], Checksum | None]:
    """Where the file of a DOI lies, what to send along, and the md5 that the archive states for it."""
    pooch = needed("pooch")
    parsed = pooch.utils.parse_url(str(address))
    doi, name = parsed["netloc"], parsed["path"].removeprefix("/")
    headers = dict(pooch.downloaders.REQUESTS_HEADERS)
    registry = pooch.create(path=cache_folder(), base_url="")
    try:
        archive = pooch.downloaders.doi_to_repository(doi, headers=headers, timeout=30)
        archive.populate_registry(registry)
        url = archive.download_url(name) if name in registry.registry else None
    except Exception as error:  # of the connection, or of an answer that is none of such an archive
        raise SourceError(
            f"The archive of '{address}' cannot be asked for the file.",
            expected="the DOI of a record on Zenodo, figshare or a Dataverse",
            received=f"{type(error).__name__}: {reason(error)}",
        ) from error
    if url is None:
        known = nearest(name, registry.registry)
        raise SourceError(f"There is no file '{name}' in the archive of doi:{doi}.", expected=known)
    algorithm, _, digest = str(registry.registry[name]).rpartition(":")
    stated = Checksum(algorithm, digest.lower()) if algorithm in ("sha256", "md5") else None
    return url, headers, stated
