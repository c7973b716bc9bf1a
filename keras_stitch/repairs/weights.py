"""Weights of Keras 1 and 2 into a model of Keras 3, by the names and the order of the file that has them.

Keras 3 fills layers in the order of its own graph, which need not be the order in which Keras 2 wrote them; where
shapes agree, nobody would notice. Here the architecture in the file says which array belongs where.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import h5py
import keras
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import layers_within
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_model, name_of
from keras_stitch.repairs.kernel_layouts import convert


@dataclass(frozen=True)
class Array:
    """An array in a file, with its name there: ``"dense/kernel:0"``."""

    name: str
    value: np.ndarray


@dataclass(frozen=True)
class _Slot:
    """The weights of a layer that train, or those that do not: how many of them, or of arrays in the file."""

    leaf: keras.Layer
    said: Layer
    trains: bool
    count: int


def read_arrays(file: h5py.File) -> dict[str, list[Array]]:
    """The arrays of every outer layer in an HDF5 file of Keras, in the order in which they were saved.

    Raises:
        SourceError: If the file says less than it should.
    """
    group = file.get("model_weights", file)
    try:
        return {
            layer: [Array(name, _numbers(group[layer][name])) for name in _attribute(group[layer], "weight_names")]
            for layer in _attribute(group, "layer_names")
        }
    except (KeyError, OSError, RuntimeError) as error:
        raise SourceError(
            f"The weights in '{file.filename}' are damaged: {error}.", fix="Copy or download it again."
        ) from error


def _numbers(dataset: h5py.Dataset) -> np.ndarray:
    value = np.asarray(dataset)
    # HDF5 has no bfloat16, so that it comes back as two bytes of anything.
    return value.view("bfloat16") if value.dtype.kind == "V" and value.dtype.itemsize == 2 else value


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of texts, in pieces where it was too long for HDF5."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        count = next(index for index in range(len(group.attrs) + 1) if f"{name}{index}" not in group.attrs)
        pieces = [group.attrs[f"{name}{index}"] for index in range(count)]
    return [item.decode() if isinstance(item, bytes) else str(item) for piece in pieces for item in piece]


def assign(model: keras.Model, saved: Saved, arrays: Mapping[str, Sequence[Array]]) -> None:
    """Give a model that was made from a repaired architecture the arrays that ``read_arrays`` gave.

    Raises:
        SourceError: If a layer and its arrays do not fit.
    """
    if arrays.get("top_level_model_weights"):
        raise SourceError("The model has weights of its own, outside any layer, which plain Keras does not load.")
    used = set()
    for said in inner_layers(saved.model):
        layer = _layer(model, said)
        name = saved.name_in_file(said)
        used.add(name)
        given = list(arrays.get(name, ()))
        if layer is not None and (given or layer.weights):
            _fill(layer, said, given, saved, name)
    unused = [name for name, given in arrays.items() if given and name not in used]
    if unused:
        raise SourceError(
            "The file has weights for layers that its architecture does not have.", received=", ".join(unused[:5])
        )
    for layer in layers_within(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _layer(model: keras.Model, said: Layer) -> keras.Layer | None:
    if said["class_name"] == "InputLayer":
        return None
    return model.get_layer(name_of(said))


def _fill(layer: keras.Layer, said: Layer, arrays: list[Array], saved: Saved, name: str) -> None:
    """One outer layer: its arrays are handed to the leaves in it in the order in which Keras 2 collected them."""
    slots = sorted(_slots(layer, said), key=lambda slot: not slot.trains)
    if len({id(slot.leaf) for slot in slots}) > 1 and sum(slot.count for slot in slots) != len(arrays):
        slots = [_in_file(slot, saved) for slot in slots]
    if len({id(slot.leaf) for slot in slots}) == 1:
        _fill_leaf(slots[0].leaf, slots[0].said, arrays, saved, name)
        return
    if sum(slot.count for slot in slots) != len(arrays):
        raise _misfit(name, layer.weights, arrays)
    leaves: dict[int, tuple[_Slot, list[Array]]] = {}
    rest = iter(arrays)
    for slot in slots:
        leaves.setdefault(id(slot.leaf), (slot, []))[1].extend(islice(rest, slot.count))
    for slot, given in leaves.values():
        _fill_leaf(slot.leaf, slot.said, given, saved, name)


def _fill_leaf(leaf: keras.Layer, said: Layer, arrays: list[Array], saved: Saved, name: str) -> None:
    with _flag(leaf, said):
        weights = list(leaf.trainable_weights) + list(leaf.non_trainable_weights)
    values = convert(leaf, said, _sorted(weights, arrays), saved)
    if [tuple(value.shape) for value in values] != [tuple(weight.shape) for weight in weights]:
        raise _misfit(f"{name}/{leaf.name}" if leaf.name != name else name, weights, arrays)
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)


def _sorted(weights: Sequence[keras.Variable], arrays: list[Array]) -> list[np.ndarray]:
    """The arrays in the order of the weights, where the names in the file tell them apart."""
    wanted = [weight.name for weight in weights]
    named = {array.name.split("/")[-1].split(":")[0]: array.value for array in arrays}
    if len(named) == len(arrays) and sorted(named) == sorted(wanted) and len(set(wanted)) == len(wanted):
        return [named[name] for name in wanted]
    return [array.value for array in arrays]


def _slots(layer: keras.Layer, said: Layer) -> list[_Slot]:
    """The weights of the leaves, leaf by leaf; Keras 2 listed those of a model that train before the others."""
    if is_model(said):
        found = [(_layer(layer, inner), inner) for inner in inner_layers(said)]
        return [slot for held, inner in found if held is not None for slot in _slots(held, inner)]
    with _flag(layer, said):
        counts = {True: len(layer.trainable_weights), False: len(layer.non_trainable_weights)}
    return [_Slot(layer, said, trains, count) for trains, count in counts.items() if count]


def _in_file(slot: _Slot, saved: Saved) -> _Slot:
    """Keras 1 had an array for every gate."""
    many = {"LSTM": 12, "GRU": 9, "ConvLSTM2D": 12}.get(slot.said["class_name"])
    return replace(slot, count=many) if many and saved.version < (2,) else slot


@contextlib.contextmanager
def _flag(layer: keras.Layer, said: Layer) -> Iterator[None]:
    """The layer with the flag that the file has, by which Keras 2 ordered its weights."""
    flag, wanted = layer.trainable, bool(said["config"].get("trainable", True))
    if flag == wanted:
        yield
        return
    inner = [(held, held.trainable) for held in layers_within(layer)]
    layer.trainable = wanted
    try:
        yield
    finally:
        for held, was in inner:
            held.trainable = was


def _misfit(name: str, weights: Sequence[keras.Variable], arrays: Sequence[Array]) -> SourceError:
    return SourceError(
        f"The weights of layer '{name}' do not fit it.",
        expected=", ".join(f"{weight.name} {tuple(weight.shape)}" for weight in weights) or "none",
        received=", ".join(f"{array.name} {array.value.shape}" for array in arrays) or "none",
        fix="The file may be damaged, or its architecture may be that of another version of the model.",
    )
