"""The layers that Keras 3 has no longer, and how each of them is rebuilt from layers that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_stitch.repairs import rebuilt_activations, rebuilt_bidirectional, rebuilt_dense, rebuilt_local
from keras_stitch.repairs.architecture import Layer, Saved, walk
from keras_stitch.repairs.rebuilt_layer import Kind
from keras_stitch.repairs.rule import keras_layers, rule

# What rules call them: users have classes of these names, too.
_PREFIX = "Gone"
COSINE = f"{_PREFIX}CosineMerge"
SAMPLE_NORMALIZATION = f"{_PREFIX}SampleNormalization"
OPENED_BIDIRECTIONAL = f"{_PREFIX}OpenedBidirectional"

# Keras 2 still had these two for old files, with the arguments of Keras 1, which tell them from classes of users.
_ARGUMENTS_OF_KERAS_1 = {"W_regularizer", "b_regularizer", "W_constraint", "b_constraint", "bias", "input_dim", "init"}
_IN_KERAS_2 = ("Highway", "MaxoutDense")


def _with_bias(kernels: int) -> Any:
    """So many kernels, each with a bias unless the layer says that it has none."""

    def arrays(config: Mapping[str, Any]) -> tuple[int, int]:
        return (2 * kernels if config.get("use_bias", True) else kernels), 0

    return arrays


KINDS: dict[str, Kind] = {
    f"{_PREFIX}Highway": Kind(rebuilt_dense.highway, _with_bias(2)),
    f"{_PREFIX}MaxoutDense": Kind(rebuilt_dense.maxout, _with_bias(1)),
    f"{_PREFIX}LocallyConnected1D": Kind(rebuilt_local.locally_connected, _with_bias(1)),
    f"{_PREFIX}LocallyConnected2D": Kind(rebuilt_local.locally_connected, _with_bias(1)),
    f"{_PREFIX}ParametricSoftplus": Kind(rebuilt_activations.parametric_softplus, lambda _: (2, 0)),
    f"{_PREFIX}SReLU": Kind(rebuilt_activations.srelu, lambda _: (4, 0)),
    COSINE: Kind(rebuilt_dense.cosine, lambda _: (0, 0)),
    OPENED_BIDIRECTIONAL: Kind(rebuilt_bidirectional.opened, rebuilt_bidirectional.arrays),
    SAMPLE_NORMALIZATION: Kind(rebuilt_dense.sample_normalization, lambda _: (2, 2)),
}


@rule("gone-layers", "Keras 3 has no such layer; a model of layers that it has does the same, with the file's weights")
def gone_layers(saved: Saved) -> list[str]:
    """They get another class here, and are rebuilt once the shapes of what they take are known."""
    found = []
    for path, layer in keras_layers(saved):
        if _is_gone(layer, saved):
            saved.rename_class(layer, f"{_PREFIX}{layer['class_name']}")
        elif layer["class_name"] == "BatchNormalization" and layer["config"].get("mode") == 1:
            saved.rename_class(layer, SAMPLE_NORMALIZATION)
        else:
            continue
        found.append(path)
    return found


def _is_gone(layer: Layer, saved: Saved) -> bool:
    name = layer["class_name"]
    if f"{_PREFIX}{name}" not in KINDS or name.startswith(_PREFIX):
        return False
    if saved.version < (2,) or name.startswith("LocallyConnected"):
        return True
    return name in _IN_KERAS_2 and layer["config"].keys() >= _ARGUMENTS_OF_KERAS_1


def gone(saved: Saved) -> list[Layer]:
    """All such layers of an architecture, in the order of ``walk``."""
    return [layer for _, layer in walk(saved.model) if layer["class_name"] in KINDS]
