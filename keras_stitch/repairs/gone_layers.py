"""The layers that Keras 3 has no longer, and how each of them is rebuilt from layers that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_stitch.repairs import rebuilt_activations, rebuilt_dense, rebuilt_local
from keras_stitch.repairs.architecture import Layer, Saved, walk
from keras_stitch.repairs.rebuilt_layer import Kind
from keras_stitch.repairs.rule import configured, rule

# What rules call a cosine Merge, and a BatchNormalization with mode=1.
COSINE = "CosineMerge"
SAMPLE_NORMALIZATION = "SampleNormalization"


def _with_bias(kernels: int) -> Any:
    """So many kernels, each with a bias unless the layer says that it has none."""

    def arrays(config: Mapping[str, Any]) -> tuple[int, int]:
        return (2 * kernels if config.get("use_bias", True) else kernels), 0

    return arrays


KINDS: dict[str, Kind] = {
    "Highway": Kind(rebuilt_dense.highway, _with_bias(2)),
    "MaxoutDense": Kind(rebuilt_dense.maxout, _with_bias(1)),
    "LocallyConnected1D": Kind(rebuilt_local.locally_connected, _with_bias(1)),
    "LocallyConnected2D": Kind(rebuilt_local.locally_connected, _with_bias(1)),
    "ParametricSoftplus": Kind(rebuilt_activations.parametric_softplus, lambda _: (2, 0)),
    "SReLU": Kind(rebuilt_activations.srelu, lambda _: (4, 0)),
    COSINE: Kind(rebuilt_dense.cosine, lambda _: (0, 0)),
    SAMPLE_NORMALIZATION: Kind(rebuilt_dense.sample_normalization, lambda _: (2, 2)),
}


@rule("gone-layers", "Keras 3 has no such layer; a model of layers that it has does the same, with the file's weights")
def gone_layers(saved: Saved) -> list[str]:
    """They are rebuilt once the shapes of what they take are known."""
    return [path for path, _ in configured(saved, *KINDS)]


def gone(saved: Saved) -> list[Layer]:
    """All such layers of an architecture, in the order of ``walk``."""
    return [layer for _, layer in walk(saved.model) if layer["class_name"] in KINDS and not saved.is_custom(layer)]
