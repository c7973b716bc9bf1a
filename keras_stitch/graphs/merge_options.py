"""The options of a merge as a user gives them: which are wrong, and the merge that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_stitch.graphs.merges import DEFAULTS, KINDS, OPTIONS
from keras_stitch.graphs.spec import Merge


def misplaced(kind: str, options: Mapping[str, object]) -> list[str]:
    """The options that have no meaning for a kind, and are given another value than their default.

    Example:
        >>> misplaced("add", {"axis": 1}), misplaced("stack", {"axis": 1})
        (['axis'], [])
    """
    return [name for name, value in options.items() if name not in KINDS[kind].options and value != DEFAULTS[name]]


def invalid(options: Mapping[str, object]) -> list[str]:
    """The options that are given a value they cannot have.

    Example:
        >>> invalid({"axis": "last"})
        ['axis']
    """
    return [name for name, value in options.items() if value is not DEFAULTS[name] and not OPTIONS[name].holds(value)]


def missing(kind: str, options: Mapping[str, object]) -> list[str]:
    """The options that a kind needs, which have no default, and that are not given."""
    return [name for name in KINDS[kind].options if options.get(name, DEFAULTS[name]) is None]


def made(kind: str, options: Mapping[str, Any]) -> Merge:
    """A merge with those of some options that its kind reads; lists become tuples."""
    given = {name: options[name] for name in KINDS[kind].options if name in options}
    read: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Merge(kind, **read)
