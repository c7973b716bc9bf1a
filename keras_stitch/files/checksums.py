"""What a file has to be: its sha256 or its md5, and the error where it is something else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files import read_files

_DIGITS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True)
class Checksum:
    """The hash of a file: ``algorithm`` is ``"sha256"`` or ``"md5"``, ``digest`` has hexadecimal digits."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest}"

    def of(self, path: Path) -> Checksum:
        """The hash of a file, by the same algorithm.

        Raises:
            SourceError: If the file cannot be read.
        """
        if self.algorithm == "sha256":
            return Checksum("sha256", read_files.sha256(path))
        try:
            with read_files.plain(path).open("rb") as file:
                return Checksum(self.algorithm, hashlib.file_digest(file, self.algorithm).hexdigest())
        except OSError as error:
            raise SourceError(f"'{path}' cannot be read any more: {error.strerror}.") from error

    def differs(self, what: object, received: Checksum, fix: str) -> SourceError:
        """The error about a file that messages call ``what`` and that has another hash."""
        return SourceError(
            f"'{what}' is not the file that it should be: its {self.algorithm} differs.",
            expected=str(self),
            received=str(received),
            fix=fix,
        )


def checksums(sha256: object, md5: object, where: str) -> tuple[Checksum, ...]:
    """The hashes that were given, in any case and also as ``"sha256:..."``; messages call the place ``where``.

    Raises:
        StitchError: If one is none.

    Example:
        >>> checksums(None, "md5:D41D8CD98F00B204E9800998ECF8427E", "add")[0].digest
        'd41d8cd98f00b204e9800998ecf8427e'
    """
    return tuple(
        _checksum(name, given, where) for name, given in (("sha256", sha256), ("md5", md5)) if given is not None
    )


def _checksum(name: str, given: object, where: str) -> Checksum:
    digest = given.lower().removeprefix(f"{name}:") if isinstance(given, str) else ""
    if not re.fullmatch(f"[0-9a-f]{{{_DIGITS[name]}}}", digest):
        raise StitchError(
            f"{name}= of {where} is none.",
            expected=f"{_DIGITS[name]} hexadecimal digits, perhaps after '{name}:'",
            received=repr(given)[:200],
        )
    return Checksum(name, digest)


def check_file(path: Path, expected: Sequence[Checksum], *, what: object = None, fix: str | None = None) -> None:
    """Raise a ``SourceError`` where a file has another hash; messages call it ``what``, by default its path."""
    for one in expected:
        if (received := one.of(path)) != one:
            raise one.differs(what or path, received, fix or f"Bring the right file, or leave {one.algorithm}= out.")
