"""Weights in a file of their own, whose layers may have other names than those of the architecture beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from keras_stitch.errors import SourceError
from keras_stitch.repairs import weights
from keras_stitch.repairs.architecture import Saved, inner_layers, is_operation, name_of
from keras_stitch.repairs.rule import ArrayRule, Repair

Arrays = Mapping[str, Sequence[weights.Array]]

BY_ORDER = ArrayRule(
    "weights-by-order",
    "the layers of a weights-only file have other names than those of the architecture; they were assigned in their "
    "order, as load_weights of Keras did",
)


def assign(model: keras.Model, saved: Saved, arrays: Arrays) -> tuple[Repair, ...]:
    """Give a model the arrays of a weights-only file, by the names of its layers or, where these differ, in order.

    Keras 1 and 2 counted the layers of a whole session in their names, so that the same model has other names when it
    is made anew. Their ``load_weights`` went by the order alone.

    Returns:
        The repair, where the order was needed.

    Raises:
        SourceError: If the weights do not fit, or if names and order contradict each other.
    """
    if saved.part is not None:
        weights.assign(model, saved, arrays)
        return ()
    layers = [
        said for said in inner_layers(saved.model) if said["class_name"] != "InputLayer" and not is_operation(said)
    ]
    weighted = [said for said in layers if model.get_layer(name_of(said)).weights]
    wanted = [saved.name_in_file(said) for said in weighted]
    given = [name for name, values in arrays.items() if values]
    if wanted == given or len(wanted) != len(given):
        weights.assign(model, saved, arrays)
        return ()
    in_order = {name: arrays[other] for name, other in zip(wanted, given, strict=True)}
    try:
        weights.assign(model, saved, in_order)
    except SourceError as error:
        if set(wanted) == set(given):
            weights.assign(model, saved, arrays)
            return ()
        raise error.behind(
            "The weights belong to other layers than the architecture has, and in their order they do not fit them. ",
            fix="Give the architecture that the weights were saved with.",
            kind=SourceError,
        ) from error
    if set(wanted) == set(given):
        raise SourceError(
            "The layers of the weights and of the architecture have the same names in another order, and the weights "
            "fit by name and by order.",
            expected=", ".join(wanted),
            received=", ".join(given),
            fix="Give the architecture that the weights were saved with, by model.to_json() beside "
            "model.save_weights(...), or the whole model.",
        )
    return (Repair(BY_ORDER.name, BY_ORDER.why, tuple(wanted)),)
