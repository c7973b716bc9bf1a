"""Names: which are well-formed, which Keras made up, and free ones."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from keras_stitch.errors import NamingError

# A name for more submodels does not list them all.
_NAMED = 3

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# Keras writes a group of this name beside those of the layers, and then cannot load the .h5 file.
RESERVED = frozenset({"top_level_model_weights"})

# What Keras 1 to 3 call an input that nobody named.
_GENERATED = re.compile(r"(keras_tensor|input_layer)(_\d+)?(CLONE)?|input_\d+")

# Of two characters and more: `C:` begins a path on Windows, and `//` stands behind the colon of a URL.
_ZOO = re.compile(r"([A-Za-z][\w.-]+):(?!//)([^:]+)")


def check_name(name: object, what: str) -> str:
    """Return ``name`` if it can name a submodel, a graph input or a graph output.

    Raises:
        NamingError: If it is malformed or reserved by Keras.
    """
    fix = f"Call it {clean(name)!r}, for example." if isinstance(name, str) and name else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise NamingError(
            f"{name!r} cannot name a {what}.",
            expected="a letter, followed by letters, digits and underscores",
            received=repr(name),
            fix=fix,
        )
    if name in RESERVED:
        raise NamingError(f"{name!r} cannot name a {what}: Keras uses it inside .h5 files.", fix=fix)
    return name


def clean(text: str) -> str:
    """The nearest well-formed name.

    Example:
        >>> clean("séquence/1"), clean("1st"), clean("***")
        ('sequence_1', 'x1st', 'x')
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_text).strip("_")
    name = name if name[:1].isalpha() else f"x{name}"
    return f"{name}_1" if name in RESERVED else name


def is_generated(name: str, first_layer: str | None = None) -> bool:
    """Whether Keras made an input's name up: Keras 2 calls that of a ``Sequential`` ``<first layer>_input``.

    Example:
        >>> is_generated("keras_tensor_9"), is_generated("input1"), is_generated("dense_input", "dense")
        (True, False, True)
    """
    return bool(_GENERATED.fullmatch(name)) or (first_layer is not None and name == f"{first_layer}_input")


def names_file(text: str) -> bool:
    """Whether text that names custom objects is the path of a Python file, not the name of a module.

    Example:
        >>> names_file("layers.py"), names_file("package.layers"), names_file("package.layers:Times")
        (True, False, False)
    """
    return text.endswith(".py") or "/" in text or os.sep in text


def zoo_name(text: str) -> tuple[str, str] | None:
    """The source and the model of a name in one of Kipoi's sources; ``None`` for text of another kind.

    Example:
        >>> zoo_name("kipoi:DeepSEA/predict"), zoo_name("models/m1.h5"), zoo_name("https://here.org/m.h5")
        (('kipoi', 'DeepSEA/predict'), None, None)
    """
    found = _ZOO.fullmatch(text)
    return (found[1], found[2]) if found else None


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """The same names, repeated ones numbered from 1: ``encoder``, ``encoder_1``."""
    names = tuple(names)
    taken, avoid = Names(()), frozenset(names)
    return tuple(taken.new(name, avoid=avoid) for name in names)


class Names:
    """Names already taken in one graph, and a source of new ones.

    Example:
        >>> names = Names({"model4", "model4_concatenate"})
        >>> names.new("model4_concatenate")
        'model4_concatenate_1'
    """

    def __init__(self, taken: Iterable[str]):
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}  # up to which those of a name are taken, or were to be avoided

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def new(self, base: str, avoid: Collection[str] = ()) -> str:
        """A free name that starts with ``base``; it is taken from now on. Numbered ones are not in ``avoid``."""
        number = self._numbers.get(base, 0)
        name = f"{base}_{number}" if number else base
        while name in self._taken or (number and name in avoid):
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        self._taken.add(name)
        return name


def name_of_several(names: Sequence[str]) -> str:
    """A name for some submodels: theirs, or of many the first and how many more.

    Example:
        >>> name_of_several(["a", "b"]), name_of_several(["a", "b", "c", "d"])
        ('a_b', 'a_and_3_more')
    """
    return "_".join(names) if len(names) <= _NAMED else f"{names[0]}_and_{len(names) - 1}_more"


def new_name(name: object, what: str, taken: Sequence[str], *, fix: str) -> None:
    """Check a name that must be well-formed and not taken yet."""
    check_name(name, what)
    if name in taken:
        raise NamingError(f"There is already a {what} '{name}'.", fix=fix)
