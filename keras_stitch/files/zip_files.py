"""The one place by which ZIP archives are opened for reading: members that are no plain files are refused.

Keras stores what it writes without compression. What is compressed may be so many times larger than the archive, and
anything may have 256 MiB; more would only fill the memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from keras_stitch.errors import SourceError

LARGE, MOST_EXPANSION = 1 << 28, 100
_HEADER = 30  # bytes of the header before each member, without its name
_FIX = "Do not use it if you do not know where it comes from; else write it anew with the program that made it."


@contextlib.contextmanager
def open_zip(path: str | os.PathLike[str], *, large: int = LARGE) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive, open for reading; it may unpack to ``large`` bytes, however well it is compressed.

    Raises:
        SourceError: If it has members that lead out of it, hide each other, or unpack to far more than is stored.
        zipfile.BadZipFile: If it is no such archive.
    """
    with zipfile.ZipFile(path) as archive:
        if fault := _fault(archive, Path(path).stat().st_size, large):
            raise SourceError(f"The archive '{path}' {fault}.", expected="plain files, each once", fix=_FIX)
        yield archive


def member_names(path: Path) -> list[str]:
    """The names in a ZIP archive, whatever its members are; none for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return []


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """What is in a member that may have so many bytes."""
    if (size := archive.getinfo(name).file_size) > most:
        raise SourceError(
            f"'{name}' in '{archive.filename}' is too large.", expected=f"at most {most:,} bytes", received=f"{size:,}"
        )
    return archive.read(name)


@contextlib.contextmanager
def open_member(archive: zipfile.ZipFile, name: str) -> Iterator[io.IOBase]:
    """A member as a binary file in which reading may begin anywhere, as HDF5 does."""
    info = archive.getinfo(name)
    with archive.open(info) as member:  # which compares both headers of the member
        if info.compress_type != zipfile.ZIP_STORED:
            yield io.BytesIO(member.read())
            return
        with Path(str(archive.filename)).open("rb") as file:
            file.seek(info.header_offset)
            name_length, extra_length = struct.unpack("<26xHH", file.read(_HEADER))
            yield _Stored(file, info.header_offset + _HEADER + name_length + extra_length, info.file_size)


class _Stored(io.RawIOBase):
    """A member that is stored as it is. A file of ``zipfile`` reads from its start whenever reading goes back."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _fault(archive: zipfile.ZipFile, size: int, large: int) -> str | None:
    """What is wrong with an archive of so many bytes."""
    members = archive.infolist()
    if not members:
        return None
    for info in members:
        if problem := _of_member(info, large):
            return f"has the member {info.orig_filename[:200]!r}, which {problem}"
    name, count = Counter(info.filename for info in members).most_common(1)[0]
    if count > 1:
        return f"has {count} members of one name, {name[:200]!r}"
    ordered = sorted(members, key=lambda info: info.header_offset)
    ends = [info.header_offset + _HEADER + len(info.orig_filename) + info.compress_size for info in ordered]
    starts = [*(info.header_offset for info in ordered[1:]), archive.start_dir]
    for info, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            return f"has the member {info.filename[:200]!r}, which overlaps with what follows"
    total = sum(info.file_size for info in members)
    if total > max(large, MOST_EXPANSION * size):
        return f"has {size:,} bytes and unpacks to {total:,}"
    return None


def _of_member(info: zipfile.ZipInfo, large: int) -> str | None:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    if "\0" in name or "\\" in name or name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        return "leads out of the archive"
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG) or (info.is_dir() and info.file_size):
        return "is no plain file"
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return f"is stored as it is and states two sizes, {info.compress_size:,} and {info.file_size:,} bytes"
    if info.file_size > large and info.file_size > MOST_EXPANSION * info.compress_size:
        return f"stores {info.compress_size:,} bytes and unpacks to {info.file_size:,}"
    return None
