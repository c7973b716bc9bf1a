"""Checks of what the user gives that need nothing else: a path, a flag, a name, a mapping, a whole number."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError


def path_of(given: object, where: str) -> Path:
    """A path from text or anything that is one; nothing has to be there."""
    if not isinstance(given, (str, os.PathLike)) or "\0" in os.fspath(given) or not os.fspath(given):
        raise StitchError(f"{where} takes a path.", expected="text or a pathlib.Path", received=repr(given)[:200])
    try:
        os.lstat(given)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise StitchError(
                f"{where} takes a path, and this is longer than the system takes.", received=repr(given)[:100]
            ) from error
    except UnicodeEncodeError as error:
        raise StitchError(
            f"{where} takes a path, and no file can have this name.", received=repr(given)[:200]
        ) from error
    return Path(given)


def flag_of(given: object, where: str) -> bool | None:
    """``True``, ``False`` or ``None``, and nothing that merely counts as one of them."""
    if given is not None and not isinstance(given, bool):
        raise StitchError(f"{where} is neither on nor off.", expected="True, False or None", received=repr(given)[:200])
    return given


def one_name(given: object, where: str) -> str:
    """Return ``given`` if it is text."""
    if not isinstance(given, str):
        raise StitchError(f"{where} takes one name.", expected="text", received=repr(given)[:200])
    return given


def names(given: object, where: str) -> tuple[str, ...]:
    """One name or several as a tuple."""
    listed = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    found = tuple(name for name in listed if isinstance(name, str))
    if not found or len(found) < len(listed):
        raise StitchError(
            f"{where} takes names." if listed else f"{where} names nothing.",
            expected="one name, or a list of names",
            received=repr(given)[:200],
        )
    return found


def mapping_of(given: Any, what: str, expected: str) -> dict[str, Any]:
    """A mapping from names that a user gave; empty for ``None``. Messages call it ``what``."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise StitchError(f"{what} is not a mapping from names.", expected=expected, received=repr(given)[:200])
    return dict(given)


def whole_number(name: str, value: Any, least: int) -> int:
    """An argument that is a whole number, and not below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise StitchError(
            f"{name}= is not a whole number, or too small.", expected=f"{least} or more", received=repr(value)
        )
    return int(value)
