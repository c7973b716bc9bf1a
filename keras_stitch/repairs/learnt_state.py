"""What layers of Keras 2 learnt by ``adapt``, and what Keras forgot of them.

Keras 3 makes such layers from their arguments, and the layers behind them need to know how much they give. So what
stands beside the architecture is put into the arguments.
"""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.zip_files import open_member
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, name_of, walk
from keras_stitch.repairs.archives import WEIGHTS, Numbers
from keras_stitch.repairs.read_file import opened_archive
from keras_stitch.repairs.rule import ArrayRule, Repair, configured, rule
from keras_stitch.repairs.weights import Array

ADAPTED = ArrayRule(
    "adapted-arguments", "what a layer learnt by adapt was beside the architecture; it is in its arguments now"
)
_VOCABULARY = "/vocabulary.txt"
_LOOKUPS = {"IntegerLookup": "", "StringLookup": "", "TextVectorization": "/_lookup_layer"}


@rule("normalization-invert", "Keras 2.11 and 2.12 did not write invert=True; it is taken as False, its default")
def normalization_invert(saved: Saved) -> list[str]:
    """A layer that inverts is saved as one that does not, without a trace: the user is warned."""
    if not (2, 11) <= saved.version < (2, 13):
        return []
    found = [path for path, layer in configured(saved, "Normalization") if "invert" not in layer["config"]]
    if found:
        warnings.warn(
            f"Keras {'.'.join(map(str, saved.version))} did not write whether a Normalization inverts: "
            f"{', '.join(found)}. It is taken as one that does not. If it was made with invert=True, set that in the "
            "model that made the file and save it with Keras 2.13 or later.",
            stacklevel=2,
        )
    return found


def from_arrays(saved: Saved, arrays: dict[str, list[Array]]) -> tuple[Repair, ...]:
    """Put what the arrays of an HDF5 file say of adapted layers into their arguments, and take it off the arrays.

    Raises:
        SourceError: If a layer that has to know what it learnt does not.
    """
    done = []
    for outer in inner_layers(saved.model):
        given = arrays.get(saved.name_in_file(outer), [])
        summaries = [array for array in given if array.name.split("/")[-1].startswith("summary")]
        waiting = [(path, layer) for path, layer in walk(outer, name_of(outer)) if _is_waiting(layer)]
        for path, layer in waiting:
            own = [array for array in summaries if f"/{name_of(layer)}/" in f"/{array.name}"]
            own = summaries if len(waiting) == len(summaries) == 1 else own
            if len(own) == 1:
                _set_boundaries(layer, own[0].value)
                given.remove(own[0])
                done.append(path)
    _check(saved)
    return _repairs(done)


def from_archive(saved: Saved, path: Path) -> tuple[Repair, ...]:
    """The same for a ``.keras`` file, where words and numbers that a lookup layer knows are texts, or its weights.

    Raises:
        SourceError: If a layer that has to know what it learnt does not.
    """
    if not any(_is_waiting(layer) or _knows_too_little(layer) for _, layer in walk(saved.model)):
        return ()
    texts: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        stored: Any = path
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(opened_archive(path))
            texts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(_VOCABULARY)}
            stored = stack.enter_context(open_member(archive, WEIGHTS))
        weights = stack.enter_context(open_hdf5(stored, path))
        done = [
            name_of(layer) for group, layer in _groups(saved.model, saved, "") if _take(layer, group, weights, texts)
        ]
    _check(saved)
    return _repairs(done)


def _take(layer: Layer, group: str, weights: h5py.File, texts: dict[str, str]) -> bool:
    """Give a layer what the file has for it; whether there was something."""
    inner = f"{group}{_LOOKUPS.get(layer['class_name'], '')}"
    if _is_waiting(layer) and f"{group}/vars/0" in weights:
        _set_boundaries(layer, np.asarray(weights[f"{group}/vars/0"]))
        return True
    if not _knows_too_little(layer) or f"assets/{inner}{_VOCABULARY}" not in texts:
        return False
    lines = texts[f"assets/{inner}{_VOCABULARY}"].split("\n")
    numbers = layer["class_name"] == "IntegerLookup"
    layer["config"]["vocabulary"] = [int(line) for line in lines] if numbers else lines
    if f"{inner}/vars/idf_weights" in weights:
        layer["config"]["idf_weights"] = np.asarray(weights[f"{inner}/vars/idf_weights"]).tolist()
    return True


def _repairs(done: list[str]) -> tuple[Repair, ...]:
    return (Repair(ADAPTED.name, ADAPTED.why, tuple(done)),) if done else ()


def _groups(said: Layer, saved: Saved, path: str) -> Iterator[tuple[str, Layer]]:
    """The layers at any depth, with their places in the archive."""
    numbers = Numbers()
    for layer in inner_layers(said):
        group = f"{path}layers/{numbers.next(saved.class_in_file(layer))}"
        yield group, layer
        yield from _groups(layer, saved, f"{group}/")


def _is_waiting(layer: Layer) -> bool:
    """Whether a layer learnt the boundaries of its bins."""
    return layer["class_name"] == "Discretization" and layer["config"].get("bin_boundaries") is None


def _set_boundaries(layer: Layer, summary: np.ndarray) -> None:
    """What Keras 2 made of a sketch of the data: values and how many there were of each, as quantiles."""
    values, counts = summary
    share = 1.0 / layer["config"].pop("num_bins")
    if len(values) * share >= 1:
        cumulated = counts.cumsum()
        wanted = share + np.arange(0.0, 1.0, share)
        values = np.interp(wanted, cumulated / cumulated[-1], values).astype("float32")
    layer["config"]["bin_boundaries"] = values[:-1].tolist()


def _knows_too_little(layer: Layer) -> bool:
    """Whether a lookup layer learnt its vocabulary, whose size the layers behind it have to know."""
    config = layer["config"]
    return layer["class_name"] in _LOOKUPS and config.get("vocabulary") is None and config.get("output_mode") != "int"


def _check(saved: Saved) -> None:
    for path, layer in walk(saved.model):
        if _is_waiting(layer) or _knows_too_little(layer):
            argument = "bin_boundaries" if _is_waiting(layer) else "vocabulary"
            raise SourceError(
                f"The file does not hold the {argument} of layer '{path}', which it had learnt by adapt.",
                expected=f"a .keras file, or a layer that was made with {argument}=",
                fix="Save the whole model as .keras.",
            )
