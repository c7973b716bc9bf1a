"""What options say that are more than one word, or name a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from keras_stitch.errors import StitchError, reason


def read_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """The dict that an option says which is given as ``NAME=VALUE``, again and again; ``option`` is for errors.

    Raises:
        StitchError: When one is no pair, or a name is there twice.

    Example:
        >>> read_pairs(["authors=You", "doc=a=b"], "-e")
        {'authors': 'You', 'doc': 'a=b'}
    """
    pairs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise StitchError(f"Cannot read {option} {text!r}.", expected="NAME=VALUE")
        if key in pairs:
            raise StitchError(f"{option} {key!r} is given twice.")
        pairs[key] = value
    return pairs


def read_info(path: str | None) -> dict[str, object] | None:
    """The mapping in the YAML file of ``--info``, or ``None`` without one.

    Raises:
        StitchError: When it is not there, or holds no mapping.
    """
    if path is None:
        return None
    try:
        info = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StitchError(f"--info '{path}' cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise StitchError(f"--info '{path}' is not valid YAML: {reason(error)}.") from error
    if not isinstance(info, dict):
        raise StitchError(f"--info '{path}' is no mapping.", expected="authors: ..., doc: ..., license: ...")
    return info
