"""Layers whose weights were changed after they were made: adapted by LoRA, or quantised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_stitch.graphs.spec import LayerInfo
from keras_stitch.keras_private import layers_within

_as_array = keras.ops.convert_to_numpy
_OF_CHANGES = ("lora_rank", "lora_alpha", "quantization_config")


def change(layer: keras.Layer) -> str:
    """What was done to the weights of a layer, in words; empty for most."""
    said = [f"LoRA of rank {layer.lora_rank}"] if has_adapters(layer) else []
    return " on ".join([*said, *([f"{layer.quantization_mode} weights"] if layer.quantization_mode else [])])


def change_within(layer: keras.Layer) -> str:
    """The same for a layer that may hold others."""
    return ", ".join(dict.fromkeys(filter(None, map(change, layers_within(layer)))))


def has_adapters(layer: keras.Layer) -> bool:
    """Whether a layer has LoRA adapters."""
    return bool(getattr(layer, "lora_enabled", False))


def notes(name: str, layers: Iterable[LayerInfo]) -> tuple[str, ...]:
    """Which layers of a submodel were changed, a sentence for each change."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        if layer.change:
            found.setdefault(layer.change, []).append(f"'{layer.path}'")
    merged = "; a .keras file holds it merged into the weights, an .h5 file as it is"
    return tuple(
        f"'{name}' has {what} in {', '.join(paths)}{merged if 'LoRA' in what else ''}." for what, paths in found.items()
    )


def pairs(one: keras.Layer, other: keras.Layer) -> Iterator[tuple[keras.Layer, keras.Layer]]:
    """The layers in two models of one kind."""
    return zip(_without_inputs(one), _without_inputs(other), strict=True)


def _without_inputs(model: keras.Layer) -> list[keras.Layer]:
    """The layers in a model but for its inputs: a nested one may have the very input of the outer one, or its own."""
    return [layer for layer in layers_within(model) if not isinstance(layer, keras.layers.InputLayer)]


def change_alike(layer: keras.Layer, like: keras.Layer) -> None:
    """Adapt and quantise a layer, and those in it, as another one of its kind is; weights are copied afterwards."""
    for own, other in pairs(layer, like):
        if other.quantization_mode and not own.quantization_mode:
            own.quantize(other.quantization_mode, config=getattr(other, "quantization_config", None))
        if has_adapters(other) and not has_adapters(own):
            own.enable_lora(other.lora_rank, lora_alpha=other.lora_alpha)


def copy_weights(source: keras.Layer, target: keras.Layer) -> None:
    """Copy all weights between two layers or models that were changed alike, and how much adapters count."""
    copy_alphas(source, target)
    for new, old in zip(ordered_weights(target), ordered_weights(source), strict=True):
        new.assign(keras.ops.copy(old))  # on JAX, training would take the array from both


def copy_alphas(source: keras.Layer, target: keras.Layer) -> None:
    """Copy ``lora_alpha``, which Keras forgets when it makes a layer from its config."""
    for old, new in pairs(source, target):
        if has_adapters(old):
            new.lora_alpha = old.lora_alpha


def ordered_weights(layer: keras.Layer) -> list[keras.Variable]:
    """All weights, in an order that does not depend on when a layer was changed."""
    if not change_within(layer):
        return list(layer.weights)
    found: list[keras.Variable] = []
    for one in layers_within(layer):
        own = own_weights(one)
        found += sorted(own, key=lambda weight: str(weight.name)) if change(one) else own
    return found


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """The weights of a layer without those of the layers in it."""
    inner = {id(weight) for one in layers_within(layer, include_self=False) for weight in one.weights}
    return [weight for weight in layer.weights if id(weight) not in inner]


def same_weights(one: keras.Layer, other: keras.Layer) -> bool:
    """Whether two models have the same weights, where adapters may be merged into them in one of the two."""
    if not change_within(one):
        return _equal(one.weights, other.weights)
    mine, theirs = _without_inputs(one), _without_inputs(other)
    return len(mine) == len(theirs) and all(map(_equal, map(_effective, mine), map(_effective, theirs)))


def _effective(layer: keras.Layer) -> Sequence[Any]:
    """The weights of a layer that count in its predictions."""
    if not has_adapters(layer):
        return [weight for weight in ordered_weights(layer) if any(weight is own for own in own_weights(layer))]
    merged = layer.embeddings if isinstance(layer, keras.layers.Embedding) else layer.kernel
    return [*(weight for weight in own_weights(layer) if weight.name == "bias"), merged]


def _equal(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(_as_array(one), _as_array(other), equal_nan=True)
        for one, other in zip(some, others, strict=True)
    )


def shapes_as_made(layer: keras.Layer) -> list[tuple[int, ...]]:
    """The shapes of all weights of a layer or model as they were before any change."""
    owners = {id(weight): one for one in layers_within(layer) for weight in own_weights(one)}
    found = []
    for one in {id(owners[id(weight)]): owners[id(weight)] for weight in layer.weights}.values():
        found += [tuple(weight.shape) for weight in own_weights(_as_made(one) if change(one) else one)]
    return found


def _as_made(layer: keras.Layer) -> keras.Layer:
    config = {key: value for key, value in layer.get_config().items() if key not in _OF_CHANGES}
    config["dtype"] = layer.dtype_policy.name.rpartition("_from_")[2]
    made = type(layer).from_config(config)
    made.build_from_config(layer.get_build_config())
    return made
