"""Layers that a user gives in the place of layers of a file, such as a Lambda or a class that nobody has.

The file is loaded with a stand-in at each of their places, which has no weights and gives what the new layer gives.
Once all weights of the file are where they belong, the new layers come in.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_stitch.errors import SourceError, StitchError, nearest
from keras_stitch.graphs.names import Names
from keras_stitch.keras_private import set_mask
from keras_stitch.models.clone import clone, copy_layer, made_anew, uncopied
from keras_stitch.models.custom_objects import held_by, in_registry
from keras_stitch.models.merge_layers import without_mask
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    layer_path,
    makes_mask,
    name_of,
    walk,
    wrapped_layers,
)
from keras_stitch.repairs.rule import Repair

# Layers by the names of those in whose place they come.
Replacements = Mapping[str, keras.Layer]

_STAND_IN = "KerasStitchReplaced"
_RULE, _WHY = "replaced", "the layer of the file is left out, and what the user gave is in its place"
_ACCEPTED = 'layers by the names of those they replace: {"lambda_3": keras.layers.RepeatVector(4)}'


def read(given: Any, where: str) -> Replacements:
    """The layers that a user gave, copied; messages call them ``where``.

    Raises:
        StitchError: If they are no layers by name, or one of them cannot be copied.
    """
    if not isinstance(given, Mapping) or not given:
        raise StitchError(f"{where} is no dict of layers.", expected=_ACCEPTED, received=repr(given)[:200])
    found = {}
    for name, layer in given.items():
        if not isinstance(name, str) or not isinstance(layer, keras.Layer):
            raise StitchError(
                f"{where} has something that is no layer.", expected=_ACCEPTED, received=f"{name!r}: {layer!r}"[:200]
            )
        what = f"{where}, the layer for '{name}' ({type(layer).__name__})"
        if isinstance(layer, keras.Model) and not getattr(layer, "inputs", None):
            raise StitchError(
                f"{what} does not say what its inputs are.",
                expected="a layer, or a model of which they are known: keras.Model(inputs, outputs)",
            )
        found[name] = _copied(layer, name.rpartition("/")[2], what)
    return found


def _copied(layer: keras.Layer, name: str, what: str) -> keras.Layer:
    try:
        with in_registry(held_by(layer).for_keras()):
            return _copy(layer, name)
    except StitchError:
        raise
    except Exception as error:
        raise uncopied(what, error) from error


def _copy(layer: keras.Layer, name: str | None = None) -> keras.Layer:
    """The same layer or model, with weights of its own."""
    name = layer.name if name is None else name
    if not isinstance(layer, keras.Model):
        return copy_layer(layer, name)
    copied = clone(layer, f"The model '{name}'")
    if copied.name == name:
        return copied
    if isinstance(copied, keras.Sequential):  # which says what it takes only once it was called
        return keras.Sequential([keras.Input(tensor=copied.inputs[0]), *copied.layers], name=name)
    return keras.Model(copied.input, copied.output, name=name)


class Places:
    """The places in an architecture where layers of the user come in, which get stand-ins at once.

    Args:
        saved: The architecture.
        given: The layers.

    Attributes:
        repairs: What was replaced, for tables.
        custom_objects: What Keras needs to make the stand-ins.

    Raises:
        SourceError: If the file has no such layer, or several of one name.
    """

    def __init__(self, saved: Saved, given: Replacements):
        self._placed = [_copy(layer) for layer in given.values()]
        self._unbuilt = [layer for layer in self._placed if not layer.built]
        self._given = given
        found = [_find(saved, name) for name in given]
        # The function of a Lambda knew of no mask, and no mask went on behind it, unless it says what its mask is.
        unmasked = {
            number
            for number, (_, layer) in enumerate(found)
            if layer["class_name"] == "Lambda" and layer["config"].get("mask") is None
        }
        self._has_masks = any(makes_mask(layer) for _, layer in walk(saved.model))
        for number, (_, layer) in enumerate(found):
            saved.replaced[id(layer)] = dict(layer)
            saved.rename_class(layer, _STAND_IN)
            layer["config"] = {"name": name_of(layer), "number": number}
            for key in ("module", "registered_name", "build_config"):
                layer.pop(key, None)
            if not saved.is_legacy:
                layer |= {"module": None, "registered_name": _STAND_IN}
        saved.custom |= {_STAND_IN}
        self.repairs = (Repair(_RULE, _WHY, tuple(path for path, _ in found)),) if given else ()
        self.custom_objects = {_STAND_IN: _stand_in(self._placed, unmasked)}

    def explain(self, error: SourceError) -> StitchError:
        """An error of loading, with what was replaced, which may be the reason."""
        if not self._given:
            return error
        said = ", ".join(f"'{name}' by {type(layer).__name__}" for name, layer in self._given.items())
        return error.behind(f"With {said}: ", kind=SourceError)

    def fill(self, model: keras.Model, what: str) -> keras.Model:
        """The model with the layers of the user in place of the stand-ins; it is not to be used any more itself.

        Raises:
            SourceError: If a layer has weights that are in no file.
        """
        if not self._given:
            return model
        drawn = [layer.name for layer in self._unbuilt if layer.weights]
        if drawn:
            raise SourceError(
                f"{what}: the layer that replaces '{drawn[0]}' has weights that nobody has set.",
                expected="a layer without weights, or one that has its own",
                fix="Build it and set them before: layer.build(shape), layer.set_weights(...).",
            )
        copies = [_copy(layer) for layer in self._placed]
        new: set[int] = set()

        def other(layer: keras.Layer) -> keras.Layer | None:
            if type(layer).__name__ != _STAND_IN:
                return None
            found = copies[layer.number]
            found = _without_masks(found, layer.takes) if layer.unmasked and self._has_masks else found
            new.add(id(found))
            return found

        def call(layer: keras.Layer, *arguments: Any, **options: Any) -> Any:
            if id(layer) in new:  # Keras finds the mask with the tensor, if it is to be heeded
                options.pop("mask", None)
            return layer(*arguments, **options)

        return made_anew(model, others=other, call=call)


def _without_masks(layer: keras.Layer, takes: Sequence[Any]) -> keras.Layer:
    """A model of a layer that is called on tensors like these, whose masks end before it."""
    given = keras.tree.map_structure(_input_of, *takes)
    names = Names({layer.name})
    taken = keras.tree.map_structure(lambda tensor: without_mask(tensor, names), given)
    return keras.Model(given, layer(taken), name=layer.name)


def _input_of(*tensors: Any) -> Any:
    """An input for all of these tensors, open where their sizes differ."""
    sizes = zip(*(tensor.shape for tensor in tensors), strict=True)
    shape = [size[0] if len(set(size)) == 1 else None for size in sizes]
    return keras.Input(batch_shape=shape, dtype=tensors[0].dtype)


def _find(saved: Saved, name: str) -> tuple[str, Layer]:
    layers = [(path, layer) for path, layer in _within(saved.model) if layer["class_name"] != "InputLayer"]
    found = [(path, layer) for path, layer in layers if path == name] or [
        (path, layer) for path, layer in layers if name_of(layer) == name
    ]
    if len(found) != 1:
        paths = [path for path, _ in found] or [path for path, _ in layers]
        raise SourceError(
            f"The file has {'no layer' if not found else f'{len(found)} layers'} '{name}' to replace.",
            expected=nearest(name, paths),
        )
    return found[0]


def _within(model: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers of a model, of those in it, and those that a ``TimeDistributed`` repeats, with their paths."""
    for layer in inner_layers(model) or (wrapped_layers(model) if model["class_name"] == "TimeDistributed" else []):
        yield layer_path(path, layer), layer
        yield from _within(layer, layer_path(path, layer))


def _stand_in(layers: Sequence[keras.Layer], unmasked: Container[int]) -> type[keras.Layer]:
    """A class of layers, each of which gives what one of these gives, without its weights, or perhaps its masks."""

    class StandIn(keras.Layer):
        def __init__(self, number: int, **kwargs: Any):
            super().__init__(**kwargs)
            self.takes: list[Any] = []
            self.number, self.unmasked = number, number in unmasked
            self.supports_masking = True

        def call(self, *args: Any, **kwargs: Any) -> Any:
            return layers[self.number](*args, **kwargs)

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            self.takes += args
            kwargs.pop("mask", None)  # which Keras finds with the tensor
            made = layers[self.number](*args, **kwargs)
            for tensor in keras.tree.flatten(made) if self.unmasked else ():
                set_mask(tensor, None)
            return made

        def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
            """What the layer makes of a mask is with its tensors already."""

        def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
            return layers[self.number].compute_output_shape(*args, **kwargs)

        def load_own_variables(self, store: Any) -> None:
            """What the file has for the layer that was there is left where it is."""

    StandIn.__name__ = _STAND_IN
    return StandIn
