"""Kipoi directories among the sources; Kipoi is imported only where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keras_stitch.files import is_kipoi_directory

if TYPE_CHECKING:
    from keras_stitch.kipoi import KipoiPart


def read_part(source: Path) -> KipoiPart | None:
    """What a Kipoi directory says about its model; ``None`` for a source of another kind.

    Raises:
        SourceError: When the directory cannot be read, or its model is no Keras model.

    Example:
        >>> read_part(Path("m1.h5")) is None
        True
    """
    if not is_kipoi_directory(source):
        return None
    from keras_stitch.kipoi import read_directory

    return read_directory(source)
