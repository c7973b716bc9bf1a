"""Sources as ``Graph.add`` loads them: what came of one, its error, its ports."""

from __future__ import annotations

from typing import Any

import pytest

from keras_stitch.errors import StitchError
from keras_stitch.sources import load_source
from keras_stitch.sources.added import Added


def added(source: Any, **options: Any) -> Added:
    return load_source.load("m", source, **options)


def problem(source: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as error:
        added(source, **options)
    return str(error.value)


def ports(found: Added) -> list[tuple[Any, ...]]:
    return [(port.name, port.shape, port.dtype) for port in (*found.submodel.inputs, *found.submodel.outputs)]
