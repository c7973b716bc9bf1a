"""What a layer or model does with Keras masks: whether it takes one at an input, and which outputs carry one.

The calls of nested models say nothing of masks while a model is made (``compute_output_spec`` makes new tensors), so
their graphs are walked here, layer by layer, with symbolic masks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import StitchError, reason

# They fill in masked values, without an argument that says so.
_FILLING = (keras.layers.Multiply, keras.layers.Maximum, keras.layers.Minimum)


def makes_mask(layer: keras.Layer) -> bool:
    """Whether masks begin at a layer."""
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    own = [kind for kind in type(layer).__mro__ if not f"{kind.__module__}.".startswith("keras.")]
    if layer.supports_masking and any("compute_mask" in vars(kind) for kind in own):
        return True
    return _calls_by_itself(layer) and any(map(makes_mask, keras_private.layers_within(layer, include_self=False)))


def makes_masks(layer: keras.Layer) -> bool:
    """Whether masks begin at a layer or within it."""
    return any(makes_mask(inner) for inner in keras_private.layers_within(layer))


def masked_values(layers: Iterable[keras.Layer]) -> list[float]:
    """What steps are made of that the ``Masking`` layers within some layers mask."""
    inner = [one for layer in layers for one in keras_private.layers_within(layer)]
    return sorted({float(one.mask_value) for one in inner if isinstance(one, keras.layers.Masking)})


def takes_mask(layer: keras.Layer, number: int, port: str) -> bool:
    """Whether a mask at an input of a layer or model, by number and name, is heeded or passed on in it."""
    if not isinstance(layer, keras.Model):
        own, of_port = "mask", f"{port}_mask"
        arguments = inspect.signature(layer.call).parameters
        return (own in arguments or of_port in arguments) or (number == 0 and bool(layer.supports_masking))
    walk = _Walk()
    known = walk.through(layer, [_mask(tensor) if n == number else None for n, tensor in enumerate(layer.inputs)])
    without = _Walk().through(layer, [None] * len(layer.inputs))
    return walk.heeded > 0 or any(id(tensor) in known and id(tensor) not in without for tensor in layer.outputs)


def takes_masks_off(layer: keras.Layer) -> bool:
    """Whether a layer takes the masks off what it is called on, so that nothing else finds them there."""
    return any(isinstance(inner, keras.layers.MultiHeadAttention) for inner in keras_private.layers_within(layer))


def masked_outputs(model: keras.Model, outputs: Sequence[Any], masked: Sequence[bool]) -> tuple[bool, ...]:
    """Whether each of some tensors in a model carries a mask, where some of its inputs do."""
    inputs = zip(model.inputs, masked, strict=True)
    known = _Walk().through(model, [_mask(tensor) if has else None for tensor, has in inputs])
    return tuple(id(tensor) in known for tensor in outputs)


def layer_masks_output(layer: keras.Layer, arguments: Sequence[Any], masked: Sequence[Any]) -> bool:
    """Whether the output of a bare layer carries a mask, where some of the tensors it is called on do.

    ``masked`` says which of them do, in the structure of the arguments: lists for a layer that merges.
    """
    for tensor, has in zip(keras.tree.flatten(arguments), keras.tree.flatten(masked), strict=True):
        if has:
            keras_private.set_mask(tensor, _mask(tensor))
    with keras_private.quiet_about_masks():
        carries = keras_private.mask_of(layer(*arguments)) is not None
    return carries or (_calls_by_itself(layer) and makes_mask(layer) and any(_carried(layer, arguments, {})))


def heeds_masks(layer: keras.Layer) -> bool:
    """Whether a layer that merges computes something else where masks arrive."""
    return "mask" in inspect.signature(layer.call).parameters or isinstance(layer, _FILLING)


class _Walk:
    """Symbolic masks through the graph of a model; ``heeded`` counts the calls that use one."""

    def __init__(self) -> None:
        self.heeded = 0

    def through(self, model: keras.Model, given: Sequence[Any]) -> dict[int, Any]:
        """The mask of every tensor in a model that carries one, by the tensor's ``id``; ``given``: of its inputs."""
        inputs = zip(model.inputs, given, strict=True)
        known = {id(tensor): mask for tensor, mask in inputs if mask is not None}
        for call in keras_private.calls(model):
            layer, tensors = call.operation, call.input_tensors
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                said = call.arguments.kwargs.get("mask")
                arriving = [known.get(id(tensor)) for tensor in tensors[: len(layer.inputs)]]
                inner = self.through(layer, arriving if said is None else keras.tree.flatten(said))
                masks = [inner.get(id(tensor)) for tensor in layer.outputs]
            elif isinstance(layer, keras.Layer) and not isinstance(layer, keras.layers.InputLayer):
                masks = self._of(layer, call.arguments, known)
            else:
                masks = []
            if isinstance(layer, keras.Layer) and _calls_by_itself(layer) and makes_mask(layer):
                carried = _carried(layer, call.arguments.args, call.arguments.kwargs)
                given_on = zip_longest(masks, carried, call.output_tensors)
                masks = [_mask(out) if mask is None and carries else mask for mask, carries, out in given_on]
            known |= {id(out): mask for out, mask in zip(call.output_tensors, masks, strict=False) if mask is not None}
        return known

    def _of(self, layer: keras.Layer, arguments: Any, known: dict[int, Any]) -> list[Any]:
        """The masks of what a layer makes, as ``Layer.__call__`` of Keras has it."""
        names = list(inspect.signature(layer.call).parameters)
        given = {**dict(zip(names, arguments.args, strict=False)), **arguments.kwargs}
        with_tensors = [name for name, value in given.items() if any(map(_is_tensor, keras.tree.flatten(value)))]
        said = given.get("mask")
        if not with_tensors:
            return []
        first = given[with_tensors[0]]
        masks = said if said is not None else keras.tree.map_structure(lambda tensor: known.get(id(tensor)), first)
        any_mask = any(mask is not None for mask in keras.tree.flatten(masks))
        heeds = "mask" in names and not isinstance(layer, keras.layers.BatchNormalization)
        if any_mask and ((heeds and (len(with_tensors) == 1 or said is not None)) or isinstance(layer, _FILLING)):
            self.heeded += 1
        for name in with_tensors:
            flat = keras.tree.flatten(given[name])
            if f"{name}_mask" in names and len(with_tensors) > 1 and any(id(tensor) in known for tensor in flat):
                self.heeded += 1
        if not layer.supports_masking:
            return []
        copies = keras.tree.map_structure(_copy, first)
        try:
            return list(keras.tree.flatten(layer.compute_mask(copies, masks)))
        except Exception as error:  # a layer of somebody, or one that a file gives a mask that is none
            raise StitchError(
                f"Layer '{layer.name}' cannot say what becomes of the mask that it is given.",
                received=f"{type(error).__name__}: {reason(error)}",
                fix="Mend its compute_mask, or the mask that it is called with, and save the model again.",
            ) from error


def _calls_by_itself(layer: keras.Layer) -> bool:
    """Whether a layer or model has a call of its own, which may use the layers that it holds in any way."""
    return not f"{type(layer).call.__module__}.".startswith("keras.")


def _carried(layer: keras.Layer, arguments: Sequence[Any], options: dict[str, Any]) -> list[bool]:
    with keras_private.quiet_about_masks():
        return keras_private.carry_masks(layer, *arguments, **options)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _copy(value: Any) -> Any:
    """A symbolic tensor that belongs to no graph: what is computed of it leaves no trace in the model."""
    return keras.KerasTensor(value.shape, dtype=value.dtype) if _is_tensor(value) else value


def _mask(tensor: Any) -> Any:
    """A symbolic mask of the steps of a tensor."""
    return keras.KerasTensor(tensor.shape[:-1] if len(tensor.shape) > 2 else tensor.shape, dtype="bool")
