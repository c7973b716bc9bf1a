"""Masks on their way through a model, as Keras 2 passed them on and as Keras 3 does.

Where they would reach a layer that heeds them in another state, or change values on the way, the file is refused:
Keras 3 would load it and compute something else. Sources: ``compute_mask`` of both versions' layers; the merges of
Keras 3 take the union of masks where those of Keras 2 took the intersection, and drop it where one input has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    is_reference,
    layer_path,
    makes_mask,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.rule import check, free_name, inner_calls, position, rule

_STEPS = (*RECURRENT, "Bidirectional")
_ATTENTION = ("Attention", "AdditiveAttention", "MultiHeadAttention")
_HEEDS = (*_STEPS, *_ATTENTION, "GlobalAveragePooling1D", "Softmax", "TimeDistributed")

_PASSES = (
    *("Activation", "ActivityRegularization", "Dense", "BatchNormalization", "LayerNormalization", "UnitNormalization"),
    *("GroupNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU", "GaussianNoise"),
    *("AlphaDropout", "Dropout", "GaussianDropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    "TimeDistributed",
)

# They are rebuilt from layers that stop masks.
_PASSED_IN_KERAS_1 = ("ParametricSoftplus", "SReLU", gone_layers.SAMPLE_NORMALIZATION)
_PASSES_IN_KERAS_3 = ("Identity", "Normalization", "Rescaling")
_MERGES = ("Add", "Subtract", "Average", "Concatenate", "Multiply", "Maximum", "Minimum")

# They fill in masked values before they merge.
_FILLING = ("Multiply", "Maximum", "Minimum")


@dataclass(frozen=True)
class _Mask:
    """The layers that a tensor's mask comes from: the steps that all of them leave, or none."""

    keras_2: frozenset[str] | None = None
    keras_3: frozenset[str] | None = None

    @property
    def differs(self) -> bool:
        return self.keras_2 != self.keras_3


_NONE = _Mask()


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
    for item in [item for node in layer["inbound_nodes"] for item in _inputs(node)]:
        key = tuple(item[:3])
        if key not in copies:
            name = copies[key] = free_name(model, f"{name_of(layer)}_copy")
            # Identity would give the same tensor, mask and all.
            config = {"name": name, "scale": 1.0, "offset": 0.0}
            copying = {"class_name": "Rescaling", "config": config, "name": name, "inbound_nodes": [[[*key, {}]]]}
            inner_layers(model).insert(position(model, layer), copying)
        item[:3] = [copies[key], 0, 0]
    return bool(copies)


@check("masks")
def masks(saved: Saved) -> None:
    if any(makes_mask(layer) for _, layer in walk(saved.model)):
        _through(saved.model, [], "")


def _through(model: Layer, given: Sequence[_Mask], path: str) -> list[_Mask]:
    """The masks of a model's outputs, from those of its inputs."""
    if is_functional(model):
        return _through_graph(model, given, path)
    mask = given[0] if given else _NONE
    for layer in inner_layers(model):
        if layer["class_name"] != "InputLayer":
            mask = _of(layer, [mask], layer_path(path, layer))[0]
    return [mask]


def _through_graph(model: Layer, given: Sequence[_Mask], path: str) -> list[_Mask]:
    config = model["config"]
    starts = [item[0] for item in references(config["input_layers"])]
    known: dict[tuple[str, int], list[_Mask]] = {
        (name, 0): [mask] for name, mask in zip(starts, [*given, *[_NONE] * len(starts)], strict=False)
    }
    waiting = [(layer, call) for layer in inner_layers(model) for call in range(len(layer.get("inbound_nodes") or []))]
    while waiting:
        later = []
        for layer, call in waiting:
            node = layer["inbound_nodes"][call]
            sources = [(item[0], item[1]) for item in references(node)]
            if any(source not in known for source in sources):
                later.append((layer, call))
                continue
            if layer["class_name"] in _STEPS and known[sources[0]][0].keras_2 is not None and _takes_state(node):
                where = layer_path(path, layer)
                raise _refusal(
                    where,
                    f"'{where}' ({layer['class_name']}) is given its first state, and Keras 3 forgets "
                    "the mask of its input then",
                )
            masks = [known[item[0], item[1]][min(item[2], len(known[item[0], item[1]]) - 1)] for item in _inputs(node)]
            known[name_of(layer), call] = _of(layer, masks, layer_path(path, layer))
        if len(later) == len(waiting):
            break  # Keras will say what is wrong with the graph
        waiting = later
    ends = references(config["output_layers"])
    return [known.get((item[0], item[1]), [_NONE])[0] for item in ends]


def _takes_state(node: Any) -> bool:
    """Whether a recurrent layer is called with more than its input."""
    if isinstance(node, dict):
        return bool({"initial_state", "constants"} & set(node.get("kwargs") or {}))
    return len(list(references(node))) > 1


def _inputs(node: Any) -> list[list[Any]]:
    """The tensors a layer is called on, and those it is given as `value` and `key`."""
    if isinstance(node, dict):
        return list(references(node))
    first = [node] if is_reference(node) else [item for item in node if is_reference(item)]
    said = first[0][3] if first and len(first[0]) > 3 else {}
    return [*first, *(said[key] for key in ("value", "key") if is_reference(said.get(key)))]


def _of(layer: Layer, masks: list[_Mask], path: str) -> list[_Mask]:
    """The masks of what a layer makes of tensors with these masks."""
    kind, config = layer["class_name"], layer["config"]
    if is_model(layer):
        return _through(layer, masks, path)
    first = masks[0] if masks else _NONE
    if kind in _HEEDS and any(mask.differs for mask in masks):
        raise _refusal(path, f"'{path}' ({kind}) heeds a mask that Keras 3 would make otherwise")
    if makes_mask(layer):
        return [_Mask(frozenset([path]), frozenset([path]))]
    if kind in _MERGES:
        return [_merged(kind, masks, path)]
    if kind in _STEPS:
        inner = config.get("layer", layer)["config"] if kind == "Bidirectional" else config
        return [first, _NONE] if inner.get("return_sequences") else [_NONE]
    if kind == "TimeDistributed" and first != _NONE and _is_deep(config.get("layer")):
        # Keras 2 reduced a mask of steps within steps to one of steps.
        return [_Mask(first.keras_2, frozenset(["a mask that was not reduced"]))]
    if kind in _PASSES or kind in _ATTENTION:
        return [first]
    if kind in _PASSED_IN_KERAS_1:
        return [_Mask(first.keras_2, None)]
    if kind in _PASSES_IN_KERAS_3:
        return [_Mask(None, first.keras_3)]
    return [_NONE]


def _is_deep(layer: Any) -> bool:
    return isinstance(layer, dict) and (is_model(layer) or layer.get("class_name") in _STEPS)


def _merged(kind: str, masks: list[_Mask], path: str) -> _Mask:
    if kind in _FILLING and any(mask.keras_3 is not None for mask in masks):
        raise _refusal(path, f"'{path}' ({kind}) merges tensors with masks, whose masked values Keras 3 fills in")
    of_2 = [mask.keras_2 for mask in masks if mask.keras_2 is not None]
    of_3 = {mask.keras_3 for mask in masks}
    both = frozenset().union(*of_2) if of_2 else None
    if len(of_3) == 1:
        return _Mask(both, of_3.pop())
    return _Mask(both, None if None in of_3 else frozenset(["the union of masks"]))


def _refusal(path: str, what: str) -> SourceError:
    return SourceError(
        f"Keras 2 passed masks on in another way: {what}.",
        expected="masks (of Masking, or of Embedding with mask_zero=True) that meet no merge of other masks",
        fix="Keep this model in an environment with tf_keras, or rebuild it without the mask.",
    )
