"""A graph checked with Keras at hand: the shapes that only Keras knows, masks, and which layers train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_stitch.errors import Problems, StitchError, WiringError, reason
from keras_stitch.graphs.freezing import Flags, resolve_flags
from keras_stitch.graphs.spec import GraphSpec, Merge, Port, Submodel, Wiring
from keras_stitch.graphs.wiring import Inference, wire
from keras_stitch.models import mask_passage, merge_layers
from keras_stitch.models.build import listed, named, one_or_list
from keras_stitch.models.load_keras import Blueprint


def check(spec: GraphSpec, blueprints: Mapping[str, Blueprint]) -> tuple[Wiring, Flags]:
    """The graph wired, and which of its layers train.

    Raises:
        WiringError: With every problem of the graph, those of freezing included.
    """
    problems = Problems()
    flags = resolve_flags(spec, problems)
    try:
        wiring = wire(spec, KerasInference(blueprints))
    except WiringError as error:
        raise WiringError(spec.name, [*error.problems, *problems]) from None
    if problems:
        raise WiringError(spec.name, problems)
    return wiring, flags


class KerasInference(Inference):
    """Asks Keras for the output shapes of layers; it has the blueprint of every submodel that owns its weights."""

    def __init__(self, blueprints: Mapping[str, Blueprint]):
        self._blueprints = blueprints

    def outputs(self, submodel: Submodel, arriving: Sequence[Port]) -> tuple[Port, ...]:
        """The output ports for what arrives; a saved model whose shapes are as declared is believed."""
        shapes = [port.shape for port in arriving]
        if not submodel.is_keras:
            return submodel.outputs
        if not submodel.is_layer and shapes == [port.shape for port in submodel.inputs]:
            return submodel.outputs
        blueprint = self._blueprints[submodel.owner]
        tensors = [_tensor(port) for port in arriving]
        if submodel.is_layer:
            # A layer is built by its first call, so a fresh one is asked.
            return (_asked(blueprint.take(), tensors, submodel, arriving),)
        probe = named(blueprint.peek(), blueprint, "probe", to_keep=False)
        results = listed(probe(one_or_list(tensors)))
        return tuple(_port(port.name, result) for port, result in zip(submodel.outputs, results, strict=True))

    def merged(self, merge: Merge, arriving: Sequence[Port]) -> Port:
        """What a Keras layer that takes a list makes of these."""
        layer = merge_layers.merge_layer(merge, None, "float32")
        try:
            result = layer([_tensor(port) for port in arriving])
        except Exception as error:
            raise StitchError(f"{type(layer).__name__} refuses them: {reason(error)}") from error
        if isinstance(result, (list, tuple, dict)):
            raise StitchError(f"{type(layer).__name__} makes several tensors of them.", expected="one tensor")
        return _port("merged", result)

    def takes_mask(self, submodel: Submodel, number: int) -> bool:
        """Whether a mask at an input port, by number, is heeded or passed on."""
        port = submodel.inputs[number].name
        return mask_passage.takes_mask(self._blueprints[submodel.owner].peek(), number, port)

    def merge_masks(self, merge: Merge, arriving: Sequence[Port], masked: Sequence[bool]) -> tuple[bool, bool]:
        """Whether a Keras layer that takes a list heeds the masks in it, and whether what it makes carries one."""
        layer = merge_layers.merge_layer(merge, None, "float32")
        if not mask_passage.takes_mask(layer, 0, ""):
            return (False, False)
        try:
            carries = mask_passage.layer_masks_output(layer, [[_tensor(port) for port in arriving]], [masked])
        except Exception as error:
            raise StitchError(f"{type(layer).__name__} as merge= refuses masks: {reason(error)}") from error
        return (mask_passage.heeds_masks(layer), carries)

    def masked(self, submodel: Submodel, arriving: Sequence[Port], masked: Sequence[bool]) -> tuple[bool, ...]:
        """Whether each output port carries a mask."""
        blueprint = self._blueprints.get(submodel.owner)
        if not submodel.is_keras or blueprint is None:
            return (False,) * len(submodel.outputs)
        held = blueprint.peek()
        if not any(masked) and not mask_passage.makes_masks(held):
            return (False,) * len(submodel.outputs)
        if submodel.is_layer:
            layer = blueprint.take()
            return (mask_passage.layer_masks_output(layer, [_tensor(port) for port in arriving], masked),)
        return mask_passage.masked_outputs(held, held.outputs, masked)


def _asked(layer: keras.Layer, tensors: list[Any], submodel: Submodel, arriving: Sequence[Port]) -> Port:
    shapes = " and ".join(f"{port.shape} {port.dtype}" for port in arriving)
    what = f"Layer '{submodel.name}' ({type(layer).__name__}) cannot take {shapes}"
    try:
        result = layer(*tensors)
    except Exception as error:
        fix = None
        if len(tensors) == 1 and "list" in str(error):
            fix = (
                "A layer that merges belongs in the connection: "
                f"graph.connect([...], target, merge=keras.layers.{type(layer).__name__}(...))."
            )
        raise StitchError(f"{what}: {reason(error)}", fix=fix) from error
    if isinstance(result, (list, tuple, dict)):
        raise StitchError(
            f"Layer '{submodel.name}' ({type(layer).__name__}) makes several tensors.",
            expected="a layer with one output",
            fix="Wrap it in a keras.Model, whose outputs become ports.",
        )
    return _port("output", result)


def _port(name: str, tensor: Any) -> Port:
    return Port(name, tuple(tensor.shape[1:]), str(tensor.dtype))


def _tensor(port: Port) -> keras.KerasTensor:
    return keras.KerasTensor((None, *port.row), dtype=port.dtype or "float32")
