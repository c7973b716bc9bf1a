"""The options of merges as a user gives them: what each may be, and which kind reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from keras_stitch.errors import StitchError
from keras_stitch.graphs.merges import KINDS, merged_shape, options_of
from keras_stitch.graphs.spec import Merge


@dataclass(frozen=True)
class Option:
    """A field of ``Merge`` that says how a kind merges: what messages call it and expect, and which values hold."""

    what: str
    example: str
    holds: Callable[[object], bool]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _are_two(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_whole, value))


OPTIONS: Mapping[str, Option] = {
    "axis": Option("a whole number", "a number such as -1", _is_whole),
    "axes": Option(
        "a whole number, or two",
        "one number for both sources, such as 1, or one for each, such as (1, 2)",
        lambda value: _is_whole(value) or _are_two(value),
    ),
    "normalize": Option("true or false", "True or False", lambda value: isinstance(value, bool)),
}

DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Merge) if field.name in OPTIONS}


def misplaced(kind: str, options: Mapping[str, object]) -> list[str]:
    """The options that have no meaning for a kind, and are given another value than their default.

    A Keras layer, the kind ``layer``, has options of its own.
    """
    known = () if kind == "layer" else KINDS[kind].options
    return [name for name, value in options.items() if name not in known and value != DEFAULTS[name]]


def invalid(options: Mapping[str, object]) -> list[str]:
    """The options that are given a value they cannot have."""
    return [name for name, value in options.items() if value is not DEFAULTS[name] and not OPTIONS[name].holds(value)]


def missing(kind: str, options: Mapping[str, object]) -> list[str]:
    """The options that a kind needs, which have no default, and that are not given."""
    return [name for name in KINDS[kind].options if options.get(name, DEFAULTS[name]) is None]


def made(kind: str, options: Mapping[str, Any]) -> Merge:
    """A merge with those of some options that its kind reads; lists become tuples."""
    given = {name: _plain(options[name]) for name in KINDS[kind].options if name in options}
    return Merge(kind, **given)


def _plain(value: Any) -> Any:
    """A list as a tuple, a whole number of NumPy as one of Python."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value


def check_one_source(merge: Merge) -> None:
    """Raise where one source cannot be passed on as it is, because the merge asks for something else."""
    if merge.kind != "layer" and KINDS[merge.kind].pair:
        merged_shape(merge, [()])  # tells that it takes two
    if merge.kind == "layer":
        raise StitchError(
            "A Keras layer as merge= takes several sources, and this is one.",
            fix="Name several sources, or add the layer as a submodel and connect the source to it.",
        )
    for name in unusual_options(merge):
        raise StitchError(f"One source is passed on as it is, so {name}= has no meaning.", fix=f"Leave {name}= out.")


def unusual_options(merge: Merge) -> dict[str, Any]:
    """The options of a merge whose values are not the default."""
    return {name: value for name, value in options_of(merge).items() if value != DEFAULTS[name]}
