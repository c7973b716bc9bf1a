"""Tables about one saved file: ports, layers, repairs."""

from __future__ import annotations

import os

from keras_stitch.graphs.spec import Submodel, shape_text
from keras_stitch.models.custom_objects import Given
from keras_stitch.placement.summary import repaired_text
from keras_stitch.sources import load_source
from keras_stitch.terminal import render


def inspect_file(
    path: str | os.PathLike[str], *, arch: str | os.PathLike[str] | None = None, custom_objects: Given = None
) -> str:
    """Describe a saved model.

    Args:
        path: Anything that ``Graph.add`` takes as a path or name.
        arch: The architecture JSON of a weights-only file.
        custom_objects: As ``Graph.add`` takes them.

    Returns:
        Tables of its ports and its layers.

    Raises:
        SourceError: If it cannot be loaded.
    """
    added = load_source.load("inspected", path, arch=arch, custom_objects=custom_objects)
    return describe(added.submodel, os.fspath(path))


def describe(submodel: Submodel, title: str) -> str:
    """The tables of ``inspect_file`` for a loaded submodel, below a title."""
    ports = [("input", port) for port in submodel.inputs] + [("output", port) for port in submodel.outputs]
    ends = render(
        ("port", "name", "shape", "dtype"),
        [
            (kind, port.name + (" (generated)" if port.generated else ""), shape_text(port.shape), str(port.dtype))
            for kind, port in ports
        ],
    )
    layers = render(
        ("layer", "class", "parameters", "trainable"),
        [
            (info.path, info.class_name, f"{info.parameters:,}", "yes" if info.trainable else "no")
            for info in submodel.layers
        ],
    )
    head = f"{title}\nsha256 {submodel.source.sha256}\n{submodel.parameters:,} parameters"
    return f"{head}\n{repaired_text(submodel.repairs)}\n\n{ends}\n\n{layers}\n"
