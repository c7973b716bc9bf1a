"""Masks on their way through a model, as Keras 2 passed them on and as Keras 3 does.

The merges of Keras 3 take the union of masks where those of Keras 2 took the intersection, and drop it where one input
has none. A layer that heeds a mask gets that of Keras 2 as an argument of its call then, computed by operations of
Keras; where that cannot be said, the file is refused. Sources: ``compute_mask`` of both versions' layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs import gone_layers
from keras_stitch.repairs.architecture import (
    RECURRENT,
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    layer_path,
    makes_mask,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.mask_calls import ATTENTION, Call, inputs_of, takes_state
from keras_stitch.repairs.mask_operations import INPUT, Graph, Origin
from keras_stitch.repairs.rule import free_name, inner_calls, position, rule

_STEPS = (*RECURRENT, "Bidirectional")
_HEEDS = (*_STEPS, *ATTENTION, "GlobalAveragePooling1D", "Softmax", "TimeDistributed")

_PASSES = (
    *("Activation", "ActivityRegularization", "Dense", "BatchNormalization", "LayerNormalization", "UnitNormalization"),
    *("GroupNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU", "GaussianNoise"),
    *("AlphaDropout", "Dropout", "GaussianDropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
)

# They are rebuilt from layers that stop masks.
_PASSED_IN_KERAS_1 = ("GoneParametricSoftplus", "GoneSReLU", gone_layers.SAMPLE_NORMALIZATION)
_PASSES_IN_KERAS_3 = ("Identity", "Normalization", "Rescaling")
_MERGES = ("Add", "Subtract", "Average", "Concatenate", "Multiply", "Maximum", "Minimum")

# They fill in masked values before they merge.
_FILLING = ("Multiply", "Maximum", "Minimum")


@dataclass(frozen=True)
class _Mask:
    """Where a tensor's mask comes from: it leaves the steps that all of these leave. ``None``: there is no mask."""

    keras_2: frozenset[Origin] | None = None
    keras_3: frozenset[Origin] | None = None

    @property
    def differs(self) -> bool:
        return self.keras_2 != self.keras_3

    @property
    def known(self) -> list[Origin]:
        return [*(self.keras_2 or ()), *(self.keras_3 or ())]

    def map(self, change: Callable[[Origin], Origin]) -> _Mask:
        """The same mask, its origins said otherwise."""
        both = [None if one is None else frozenset(map(change, one)) for one in (self.keras_2, self.keras_3)]
        return _Mask(*both)


_NONE = _Mask()


@rule("mask-arguments", "Keras 3 passes masks on in another way; layers that heed one are given that of Keras 2")
def mask_arguments(saved: Saved) -> list[str]:
    """Masks that meet in merges, and those of recurrent layers that are given their first state."""
    if not any(makes_mask(layer) for _, layer in walk(saved.model)):
        return []
    passage = _Passage(saved)
    passage.through(saved.model, [], "", "")
    return passage.changed


class _Passage:
    """The masks of a file, layer by layer; what has to be said is written into the calls on the way."""

    def __init__(self, saved: Saved):
        self._saved = saved
        self.changed: list[str] = []

    def through(self, model: Layer, given: Sequence[_Mask], path: str, scope: str) -> list[_Mask]:
        """The masks of a model's outputs, from those of its inputs; ``scope`` tells its calls apart."""
        if is_functional(model):
            return self._through_graph(model, given, path, scope)
        mask = given[0] if given else _NONE
        first = True
        for layer in inner_layers(model):
            if layer["class_name"] != "InputLayer":
                inner = f"{scope}/{name_of(layer)}"
                source = (INPUT, 0, 0) if first else None
                mask = self._of(layer, [mask], layer_path(path, layer), inner, [source], None)[0]
                first = False
        return [mask]

    def _through_graph(self, model: Layer, given: Sequence[_Mask], path: str, scope: str) -> list[_Mask]:
        config, graph = model["config"], Graph(model)
        starts = [item[0] for item in references(config["input_layers"])]
        known: dict[tuple[str, int], list[_Mask]] = {
            (name, 0): [mask] for name, mask in zip(starts, [*given, *[_NONE] * len(starts)], strict=False)
        }
        waiting = [
            (layer, call) for layer in inner_layers(model) for call, _ in enumerate(layer.get("inbound_nodes") or [])
        ]
        while waiting:
            later = []
            for layer, call in waiting:
                node = layer["inbound_nodes"][call]
                if any((item[0], item[1]) not in known for item in references(node)):
                    later.append((layer, call))
                    continue
                inputs = inputs_of(node)
                masks = [known[item[0], item[1]][min(item[2], len(known[item[0], item[1]]) - 1)] for item in inputs]
                sources = [tuple(item[:3]) for item in inputs]
                where, inner = layer_path(path, layer), f"{scope}/{name_of(layer)}:{call}"
                made = self._of(layer, masks, where, inner, sources, Call(graph, layer, call))
                known[name_of(layer), call] = made
                if (name_of(layer), call) in graph.replaced:
                    known[graph.replaced[name_of(layer), call], 0] = [_Mask(made[0].keras_2, None)]
            if len(later) == len(waiting):
                break  # Keras will say what is wrong with the graph
            waiting = later
        ends = [known.get((item[0], item[1]), [_NONE])[0] for item in references(config["output_layers"])]
        return [end.map(lambda origin: origin.seen_from_outside(starts)) for end in ends]

    def _of(
        self, layer: Layer, masks: list[_Mask], path: str, scope: str, sources: list[Any], call: Call | None
    ) -> list[_Mask]:
        """The masks of what a layer makes of tensors with these masks."""
        kind, config = layer["class_name"], layer["config"]
        hidden = self._saved.unmasked.get(id(layer), [False] * len(masks))
        masks = [replace(mask, keras_2=None) if hides else mask for mask, hides in zip(masks, hidden, strict=True)]
        if is_model(layer):
            return self._nested(layer, masks, path, scope, sources)
        if self._has_to_be_said(layer, masks, call):
            masks = self._say(kind, masks, path, call)
        first = masks[0] if masks else _NONE
        if makes_mask(layer):
            made = frozenset([Origin.of(layer, scope, sources[0])])
            return [_Mask(made, made)]
        if kind in _MERGES:
            return [self._merged(layer, masks, path, scope, call)]
        if kind == "Bidirectional" and first.keras_2 is not None:
            self._saved.masked.add(id(layer))
        if kind in _STEPS:
            inner = config.get("layer", layer)["config"] if kind == "Bidirectional" else config
            return [first, _NONE] if inner.get("return_sequences") else [_NONE]
        if kind == "TimeDistributed":
            return [self._of_steps(config["layer"], first, path, scope)]
        if kind in _PASSES or kind in ATTENTION:
            return [first]
        if kind in _PASSED_IN_KERAS_1:
            return [_Mask(first.keras_2, None)]
        if kind in _PASSES_IN_KERAS_3:
            return [_Mask(None, first.keras_3)]
        return [_NONE]

    def _of_steps(self, layer: Layer, mask: _Mask, path: str, scope: str) -> _Mask:
        """What a ``TimeDistributed`` of a layer makes of a mask; Keras 3 passes it on as it is."""
        made = self.through(layer, [], layer_path(path, layer), scope)[0] if is_model(layer) else _NONE
        if self._saved.version >= (2, 2) and (makes_mask(layer) or made.keras_2 is not None):
            return replace(mask, keras_2=frozenset([Origin(f"{scope}, steps within steps")]))
        if mask != _NONE and _is_deep(layer):
            # Keras 2 reduced a mask of steps within steps to one of steps.
            return _Mask(frozenset([Origin(f"{scope}, reduced")]), frozenset([Origin(f"{scope}, not reduced")]))
        return mask

    def _nested(self, model: Layer, masks: list[_Mask], path: str, scope: str, sources: list[Any]) -> list[_Mask]:
        """Through a model: the origins of masks are said by tensors outside of it again behind it."""
        outside = {origin: origin for mask in masks for origin in mask.known}
        hidden = [mask.map(lambda origin: replace(origin, source=None, parts=())) for mask in masks]
        found = self.through(model, hidden, path, scope)
        return [mask.map(lambda origin: outside.get(origin) or origin.seen_at(sources)) for mask in found]

    def _has_to_be_said(self, layer: Layer, masks: list[_Mask], call: Call | None) -> bool:
        kind = layer["class_name"]
        given_state = kind in _STEPS and call is not None and takes_state(call.node)
        if given_state and masks[0].keras_2 is not None:  # Keras 3 forgets the mask of the input then
            return True
        return kind in _HEEDS and any(mask.differs for mask in masks)

    def _say(self, kind: str, masks: list[_Mask], path: str, call: Call | None) -> list[_Mask]:
        """Make a call heed the masks that it had in Keras 2."""
        has_state = kind in _STEPS and call is not None and takes_state(call.node)
        if call is None or kind == "MultiHeadAttention" or not call.say([mask.keras_2 for mask in masks]):
            raise _refusal(path, f"'{path}' ({kind}) heeds a mask that Keras 3 would make otherwise")
        self.changed.append(path)
        first = masks[0].keras_2
        if has_state and first is not None and self._saved.version == (2,):
            raise _refusal(
                path,
                f"'{path}' ({kind}) gave out its first state before Keras 2.3, and the file does not say its version",
            )
        if has_state and self._gave_out_states and first is not None and not call.give_out_state(first):
            raise _refusal(path, f"'{path}' ({kind}) gave out its first state for the masked steps at the start")
        return [_Mask(mask.keras_2, mask.keras_2) for mask in masks]

    @property
    def _gave_out_states(self) -> bool:
        """Whether recurrent layers gave out their first state for masked steps at the start, and not zeros."""
        saved = self._saved
        return saved.version < (2, 3) and not saved.is_tf_keras and saved.backend == "tensorflow"

    def _merged(self, layer: Layer, masks: list[_Mask], path: str, scope: str, call: Call | None) -> _Mask:
        kind = layer["class_name"]
        if kind in _FILLING and call is not None and any(mask.keras_3 is not None for mask in masks):
            call.hide([mask.keras_3 is not None for mask in masks])
            self.changed.append(path)
            masks = [_Mask(mask.keras_2, None) for mask in masks]
        if kind == "Maximum" and self._saved.version < (2,):
            return _Mask(None, None)
        if kind == "Concatenate" and layer["config"].get("axis", -1) in (1, -2):
            return _along_steps(masks, scope)
        of_2 = [mask.keras_2 for mask in masks if mask.keras_2 is not None]
        of_3 = {mask.keras_3 for mask in masks}
        both = frozenset[Origin]().union(*of_2) if of_2 else None
        if len(of_3) == 1:
            return _Mask(both, of_3.pop())
        drops = None in of_3 and kind != "Concatenate"
        return _Mask(both, None if drops else frozenset([Origin(f"{scope}, the union of masks")]))


def _along_steps(masks: list[_Mask], scope: str) -> _Mask:
    """Of tensors one behind the other, where both versions do the same if the masks are the same."""
    if all(mask == _NONE for mask in masks):
        return _NONE
    parts = tuple(mask.keras_2 for mask in masks)
    joined = Origin(f"{scope}, in a row", parts=() if None in parts else tuple(one for one in parts if one is not None))
    same = not any(mask.differs for mask in masks)
    return _Mask(frozenset([joined]), frozenset([joined if same else Origin(f"{scope}, in a row in Keras 3")]))


@rule(
    "attention-masks",
    "Keras 3's MultiHeadAttention takes masks off its inputs, which others use as well; it gets copies",
)
def attention_copies(saved: Saved) -> list[str]:
    """Keras 3's MultiHeadAttention takes the mask off its own inputs, which others may use after it."""
    if not any(makes_mask(layer) for _, layer in walk(saved.model)):
        return []
    return [
        path
        for path, model, layer in inner_calls(saved)
        if layer["class_name"] == "MultiHeadAttention" and _feed_copies(model, layer)
    ]


def _feed_copies(model: Layer, layer: Layer) -> bool:
    copies: dict[tuple[Any, ...], str] = {}
    for item in [item for node in layer["inbound_nodes"] for item in inputs_of(node)]:
        key = tuple(item[:3])
        if key not in copies:
            name = copies[key] = free_name(model, f"{name_of(layer)}_copy")
            # Identity would give the same tensor, mask and all.
            config = {"name": name, "scale": 1.0, "offset": 0.0}
            copying = {"class_name": "Rescaling", "config": config, "name": name, "inbound_nodes": [[[*key, {}]]]}
            inner_layers(model).insert(position(model, layer), copying)
        item[:3] = [copies[key], 0, 0]
    return bool(copies)


def _is_deep(layer: Any) -> bool:
    return isinstance(layer, dict) and (is_model(layer) or layer.get("class_name") in _STEPS)


def _refusal(path: str, what: str) -> SourceError:
    return SourceError(
        f"Keras 2 passed masks on in another way: {what}.",
        expected="masks (of Masking, or of Embedding with mask_zero=True) in the model of the layer that heeds them",
        fix="Keep this model in an environment with tf_keras, or rebuild it without the mask.",
    )
