"""Weights of Keras 1 and 2 into a model of Keras 3, by the names and the order of the file that has them.

Keras 3 fills layers in the order of its own graph, which need not be the order in which Keras 2 wrote them; where
shapes agree, nobody would notice. Here the architecture in the file says which array belongs where.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import h5py
import keras
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import layers_within
from keras_stitch.repairs.architecture import (
    Layer,
    Rebuilt,
    Saved,
    inner_layers,
    is_layer,
    is_model,
    is_operation,
    name_of,
    walk,
)
from keras_stitch.repairs.kernel_layouts import convert
from keras_stitch.repairs.read_file import texts

TOP_LEVEL = "top_level_model_weights"  # what Keras calls the weights that a model has outside of its layers
_KERAS_1_ARRAYS = {"LSTM": 12, "GRU": 9, "SimpleRNN": 3, "ConvLSTM2D": 12}


@dataclass(frozen=True)
class Array:
    """An array in a file, with its name there: ``"dense/kernel:0"``."""

    name: str
    value: np.ndarray


@dataclass(frozen=True)
class _Slot:
    """The weights of a layer that train, or those that do not: how many of them, or of arrays in the file.

    ``path`` has the names in the file of the layers around it, from the outermost, and its own.
    """

    leaf: keras.Layer
    said: Layer
    path: tuple[str, ...]
    count: int


def read_arrays(file: h5py.File) -> dict[str, list[Array]]:
    """The arrays of every outer layer in an HDF5 file of Keras, in the order in which they were saved.

    Raises:
        SourceError: If the file says less than it should.
    """
    group = file.get("model_weights", file)
    try:
        return {
            layer: [Array(name, _numbers(group[layer][name])) for name in texts(group[layer], "weight_names")]
            for layer in texts(group, "layer_names")
        }
    except (KeyError, OSError, RuntimeError) as error:
        raise SourceError(
            f"The weights in '{file.filename}' are damaged: {error}.", fix="Copy or download it again."
        ) from error


def _numbers(dataset: h5py.Dataset) -> np.ndarray:
    value = np.asarray(dataset)
    # HDF5 has no bfloat16, so that it comes back as two bytes of anything.
    return value.view("bfloat16") if value.dtype.kind == "V" and value.dtype.itemsize == 2 else value


def assign(model: keras.Model, saved: Saved, arrays: Mapping[str, Sequence[Array]]) -> None:
    """Give a model that was made from a repaired architecture the arrays that ``read_arrays`` gave.

    Raises:
        SourceError: If a layer and its arrays do not fit.
    """
    if arrays.get(TOP_LEVEL):
        raise SourceError("The model has weights of its own, outside any layer, which plain Keras does not load.")
    assigned = dict[int, np.ndarray]()
    for layer, said, name in outer_layers(model, saved):
        given = list(arrays.get(name, ()))
        if layer is not None and (given or layer.weights) and not _is_replaced(said, saved):
            for weight, value in _filled(layer, said, given, saved, name):
                if not np.array_equal(assigned.setdefault(id(weight), value), value, equal_nan=True):
                    raise SourceError(f"The file says that '{weight.path}' is one weight, and has two values for it.")
                weight.assign(value)
    known = {saved.name_in_file(said) for said in saved.all_layers(saved.model)}
    unused = [name for name, given in arrays.items() if given and name not in known]
    if unused and saved.part is None:
        raise SourceError(
            "The file has weights for layers that its architecture does not have.", received=", ".join(unused[:5])
        )


def outer_layers(model: keras.Model, saved: Saved) -> list[tuple[keras.Layer | None, Layer, str]]:
    """The outer layers of a model, what the architecture says of each, and the names under which the file has them."""
    if saved.part is not None:
        return [(model, saved.model, saved.part.name)]
    return [(_layer(model, said), said, saved.name_in_file(said)) for said in inner_layers(saved.model)]


def finalize(model: keras.Model) -> None:
    """Let layers compute what they make of weights that they learnt by ``adapt``: Keras asks the outer ones alone."""
    for layer in layers_within(model):
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def _layer(model: keras.Model, said: Layer) -> keras.Layer | None:
    if said["class_name"] == "InputLayer" or is_operation(said):
        return None
    return model.get_layer(name_of(said))


def _filled(
    layer: keras.Layer, said: Layer, arrays: list[Array], saved: Saved, name: str
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    """The weights of one outer layer, each with its array: by the names of the arrays, or in the order of Keras 2."""
    slots = [slot for part in _slots(layer, said, saved) for slot in part]
    gone = [slot for slot in slots if _is_replaced(slot.said, saved)] + _left_out(layer, said, saved)
    slots = [slot for slot in slots if not _is_replaced(slot.said, saved)]
    arrays = _without(gone, slots, arrays, saved)
    leaves = list({id(slot.leaf): slot for slot in slots}.values())
    if len(leaves) > 1 and sum(slot.count for slot in slots) != len(arrays):
        slots = [_in_file(slot, saved) for slot in slots]
    if len(leaves) != 1 and sum(slot.count for slot in slots) != len(arrays):
        raise _misfit(name, layer.weights, arrays)
    handed = [arrays] if len(leaves) == 1 else _by_name(leaves, slots, arrays) or _in_order(leaves, slots, arrays)
    for slot, given in zip(leaves, handed, strict=True):
        yield from _filled_leaf(slot.leaf, slot.said, given, saved, name)


def _in_order(leaves: Sequence[_Slot], slots: Sequence[_Slot], arrays: Sequence[Array]) -> list[list[Array]]:
    """The arrays of each leaf by the order of the slots."""
    handed: dict[int, list[Array]] = {id(leaf.leaf): [] for leaf in leaves}
    rest = iter(arrays)
    for slot in slots:
        handed[id(slot.leaf)] += islice(rest, slot.count)
    return list(handed.values())


def _by_name(leaves: Sequence[_Slot], slots: Sequence[_Slot], arrays: Sequence[Array]) -> list[list[Array]] | None:
    """The same by the names of layers in those of the arrays; ``None`` where they do not tell.

    The order depends on what was frozen when the file was written, which files do not always say.
    """
    counts = Counter[int]()
    for slot in slots:
        counts[id(slot.leaf)] += slot.count
    handed: dict[int, list[Array]] = {id(leaf.leaf): [] for leaf in leaves}
    for array in arrays:
        owner = _owner(array.name, leaves)
        if owner is None:
            return None
        handed[id(owner.leaf)].append(array)
    complete = all(len(given) == counts[leaf] for leaf, given in handed.items())
    return list(handed.values()) if complete else None


def _owner(name: str, leaves: Sequence[_Slot]) -> _Slot | None:
    """The leaf that ``"inner/dense/kernel:0"`` names: as many names of its path as there are, the outermost first."""
    scopes = f"/{name.rpartition('/')[0]}/"
    for pattern in ("/{}/", "/{}_[0-9]+/"):  # TensorFlow 1 gave a scope a number that was there already
        found: dict[tuple[int, int], list[_Slot]] = {}
        for leaf in leaves:
            for length in range(1, len(leaf.path) + 1):
                end = re.escape("/".join(leaf.path[-length:]))
                if match := re.search(pattern.format(end), scopes):
                    found.setdefault((length, -match.start()), []).append(leaf)
        if found:
            best = found[max(found)]
            return best[0] if len(best) == 1 else None
    return None


def _is_replaced(said: Layer, saved: Saved) -> bool:
    """Whether the user gave a layer in place of this one, or of that which it repeats."""
    wrapped = said["config"].get("layer") if said["class_name"] == "TimeDistributed" else None
    return id(said) in saved.replaced or (wrapped is not None and _is_replaced(wrapped, saved))


def _left_out(layer: keras.Layer, said: Layer, saved: Saved) -> list[_Slot]:
    """The layers of a part of the file that its outputs do not need."""
    kept = [id(inner) for inner in inner_layers(said)]
    left = [inner for inner in saved.layers_in_file.get(id(said), ()) if id(inner) not in kept]
    return [_Slot(layer, inner, (saved.name_in_file(said), name_of(inner)), 0) for inner in left]


def _without(gone: Sequence[_Slot], kept: Sequence[_Slot], arrays: list[Array], saved: Saved) -> list[Array]:
    """The arrays without those that have the names of layers that the model does not have any more."""
    gone = [part for slot in gone for part in _in_file_within(slot, saved)]
    owners = [_owner(array.name, [*kept, *gone]) if gone else None for array in arrays]
    return [array for array, owner in zip(arrays, owners, strict=True) if not any(owner is part for part in gone)]


def _in_file_within(slot: _Slot, saved: Saved) -> Iterator[_Slot]:
    """A layer that the file has, and all within it."""
    said = slot.said
    while id(said) not in saved.replaced and _is_replaced(said, saved):
        said = said["config"]["layer"]
    for path, inner in walk(saved.replaced.get(id(said), said)):
        yield replace(slot, said=inner, path=(*slot.path, *(path.split("/") if path else ())))


def _filled_leaf(
    leaf: keras.Layer, said: Layer, arrays: list[Array], saved: Saved, name: str
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    if id(said) in saved.rebuilt:
        yield from _filled_inside(leaf, saved.rebuilt[id(said)], arrays, saved, name)
        return
    with trainable_as_said(leaf, said):
        weights = list(leaf.trainable_weights) + list(leaf.non_trainable_weights)
    values = convert(leaf, said, _sorted(weights, arrays), saved)
    if [tuple(value.shape) for value in values] != [tuple(weight.shape) for weight in weights]:
        raise _misfit(f"{name}/{leaf.name}" if leaf.name != name else name, weights, arrays)
    yield from zip(weights, values, strict=True)


def _filled_inside(
    model: keras.Model, rebuilt: Rebuilt, arrays: list[Array], saved: Saved, name: str
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    """The same of a model that stands for a layer that Keras 3 does not have."""
    if len(arrays) % len(rebuilt.parts) if rebuilt.parts else len(arrays) != sum(rebuilt.arrays):
        raise _misfit(name, model.weights, arrays)
    for number, (inner, part) in enumerate(rebuilt.parts.items()):
        count = len(arrays) // len(rebuilt.parts)
        yield from _filled_leaf(model.get_layer(inner), part, arrays[number * count :][:count], saved, name)
    for inner, fill in rebuilt.fills.items():
        layer = model.get_layer(inner)
        try:
            values = fill([array.value for array in arrays])
        except (ValueError, IndexError) as error:
            raise _misfit(f"{name}/{inner}", layer.weights, arrays) from error
        if [value.shape for value in values] != [tuple(weight.shape) for weight in layer.weights]:
            raise _misfit(f"{name}/{inner}", layer.weights, arrays)
        yield from zip(layer.weights, values, strict=True)


def _sorted(weights: Sequence[keras.Variable], arrays: list[Array]) -> list[np.ndarray]:
    """The arrays in the order of the weights, where the names in the file tell them apart."""
    wanted = [weight.name for weight in weights]
    named = {array.name.split("/")[-1].split(":")[0]: array.value for array in arrays}
    if len(named) == len(arrays) and sorted(named) == sorted(wanted) and len(set(wanted)) == len(wanted):
        return [named[name] for name in wanted]
    return [array.value for array in arrays]


def _slots(
    layer: keras.Layer, said: Layer, saved: Saved, path: tuple[str, ...] = ()
) -> tuple[list[_Slot], list[_Slot]]:
    """The weights of the leaves that train, and the others, in the order in which Keras 2 collected them."""
    path = (*path, saved.name_in_file(said))
    if _is_replaced(said, saved):
        return [_Slot(layer, said, path, 0)], []
    parts = None if id(said) in saved.rebuilt else _parts(layer, said)
    if parts is None:
        counts = _counts(layer, said, saved)
        trains, rest = ([_Slot(layer, said, path, count)] if count else [] for count in counts)
        return trains, rest
    pairs = [_slots(held, inner, saved, path) for held, inner in parts]
    trains, rest = ([slot for pair in pairs for slot in pair[which]] for which in range(2))
    return (trains, rest) if said["config"].get("trainable", True) else ([], trains + rest)


def _counts(layer: keras.Layer, said: Layer, saved: Saved) -> tuple[int, int]:
    """How many weights of a leaf train, and how many do not."""
    if id(said) in saved.rebuilt:
        trains, rest = saved.rebuilt[id(said)].arrays
        return (trains, rest) if said["config"].get("trainable", True) else (0, trains + rest)
    with trainable_as_said(layer, said):
        return len(layer.trainable_weights), len(layer.non_trainable_weights)


def _parts(layer: keras.Layer, said: Layer) -> list[tuple[keras.Layer, Layer]] | None:
    """The layers of a model, or the model that a TimeDistributed repeats; ``None`` where a layer is a leaf."""
    if is_model(said):
        found = [(_layer(layer, inner), inner) for inner in inner_layers(said)]
        return [(held, inner) for held, inner in found if held is not None]
    wrapped = said["config"].get("layer")
    if said["class_name"] == "TimeDistributed" and is_layer(wrapped) and is_model(wrapped):
        return [(layer.layer, wrapped)]
    return None


def _in_file(slot: _Slot, saved: Saved) -> _Slot:
    """Keras 1 had an array for every gate."""
    if id(slot.said) in saved.rebuilt:
        held = list(saved.rebuilt[id(slot.said)].parts.values())
    else:
        held = [slot.said["config"]["layer"]] * 2 if slot.said["class_name"] == "Bidirectional" else [slot.said]
    many = [_KERAS_1_ARRAYS.get(layer["class_name"]) for layer in held]
    return replace(slot, count=sum(filter(None, many))) if all(many) and many and saved.version < (2,) else slot


@contextlib.contextmanager
def trainable_as_said(layer: keras.Layer, said: Layer) -> Iterator[None]:
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
