"""Bidirectional layers that Keras 3 would compute otherwise: what comes out of them at masked steps.

Keras 3 gives zeros for masked steps where all steps are given out, and the last output before them otherwise. Keras 1
and 2 always did the latter; TensorFlow 1.13 always gave zeros. Sources: ``Bidirectional`` and ``K.rnn`` of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import (
    RECURRENT,
    Layer,
    Saved,
    inner_layers,
    is_functional,
    layer_path,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.gone_layers import OPENED_BIDIRECTIONAL
from keras_stitch.repairs.rebuilt_bidirectional import MERGES
from keras_stitch.repairs.rule import rule

_STEPWISE = (
    *("Activation", "Dense", "BatchNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU", "ThresholdedReLU"),
    *("ActivityRegularization", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D", "TimeDistributed"),
)


@rule(
    "bidirectional-masks",
    "a masked Bidirectional gave out its last output for masked steps, or zeros, where Keras 3 does the other; its two "
    "layers are apart now, in a model",
)
def bidirectional_masks(saved: Saved) -> list[str]:
    """They get another class here, and are rebuilt once the shapes of what they take are known."""
    found = []
    for path, model in list(walk(saved.model)):
        for layer in inner_layers(model):
            if layer["class_name"] == "Bidirectional" and not saved.is_custom(layer) and _differs(layer, model, saved):
                where = layer_path(path, layer)
                _refuse_others(layer, where)
                saved.rename_class(layer, OPENED_BIDIRECTIONAL)
                layer["config"]["zero_output_for_mask"] = _zeros(layer["config"]["layer"]["config"], saved)
                found.append(where)
    return found


def _differs(layer: Layer, model: Layer, saved: Saved) -> bool:
    inner = layer["config"]["layer"]["config"]
    steps = bool(inner.get("return_sequences"))
    if inner.get("go_backwards"):
        return True
    if id(layer) not in saved.masked or _zeros(inner, saved) == steps:
        return False
    # Keras 3 puts its zeros at wrong steps where the loop is unrolled.
    return not steps or bool(inner.get("unroll")) or not all(map(_heeds, _takers(layer, model)))


def _zeros(inner: Mapping[str, Any], saved: Saved) -> bool:
    """Whether that Keras gave zeros for masked steps; TensorFlow wrote it only where it always did."""
    return bool(inner.get("zero_output_for_mask", saved.is_tf_keras and inner.get("return_sequences")))


def _heeds(layer: Layer | None) -> bool:
    """Whether a layer takes no notice of what comes at masked steps; ``None`` is the end of a model."""
    return layer is not None and layer["class_name"] in (*RECURRENT, "Bidirectional")


def _takers(layer: Layer, model: Layer) -> Iterator[Layer | None]:
    """What takes the output of a layer, behind layers that do something at each step."""
    layers = inner_layers(model)
    if is_functional(model):
        takers = [
            other
            for other in layers
            if any(item[0] == name_of(layer) for item in references(other.get("inbound_nodes") or []))
        ]
        if any(item[0] == name_of(layer) for item in references(model["config"]["output_layers"])):
            yield None
    else:
        takers = layers[next(i for i, other in enumerate(layers) if other is layer) + 1 :][:1]
        if not takers:
            yield None
    for taker in takers:
        if taker["class_name"] in _STEPWISE:
            yield from _takers(taker, model)
        else:
            yield taker


def _refuse_others(layer: Layer, path: str) -> None:
    config = layer["config"]
    inner = config["layer"]
    several = any(len(list(references(node))) > 1 for node in layer.get("inbound_nodes") or [])
    if (
        config.get("merge_mode") not in MERGES
        or inner["config"].get("return_state")
        or inner["class_name"].startswith("Conv")
        or several
    ):
        raise SourceError(
            f"The layer '{path}' is a Bidirectional whose masked steps Keras 3 computes otherwise, with first or last "
            "states, without a merge mode, or of images.",
            expected="a Bidirectional of a layer of sequences that gives out one tensor",
            fix="Keep this model in an environment with the Keras that made it.",
        )
