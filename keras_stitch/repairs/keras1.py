"""Keras 1: other names for layers and arguments, and Merge layers that held their inputs.

Source: the conversions that Keras 2.0 to 2.3 made (``keras/legacy/interfaces.py`` of those releases).
"""

from __future__ import annotations

from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    layer_path,
    name_of,
    walk,
)
from keras_stitch.repairs.gone_layers import COSINE
from keras_stitch.repairs.nested_sequentials import connect, make_functional
from keras_stitch.repairs.rule import layer_rule, rule
from keras_stitch.repairs.structure import shape_of_first

_CLASSES = {
    **{f"Convolution{rank}D": f"Conv{rank}D" for rank in (1, 2, 3)},
    **{f"AtrousConvolution{rank}D": f"Conv{rank}D" for rank in (1, 2)},
    "SeparableConvolution2D": "SeparableConv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "TimeDistributedDense": "Dense",
}

_ARGUMENTS = {
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
    "border_mode": "padding",
    "nb_filter": "filters",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}

_UNITS = {"output_dim": "units"}
_RATE = {"p": "rate"}
_POOLS = {"pool_length": "pool_size", "stride": "strides"}
_WINDOW = {"filter_length": "kernel_size", "subsample_length": "strides", "atrous_rate": "dilation_rate"}
_STRIDES = {"subsample": "strides", "atrous_rate": "dilation_rate"}

_OF_CLASS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("Dense", "LSTM", "GRU", "SimpleRNN"), _UNITS),
    **dict.fromkeys(("Dropout", "GaussianDropout"), _RATE),
    **{f"SpatialDropout{rank}D": _RATE for rank in (1, 2, 3)},
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), _POOLS),
    **dict.fromkeys(("Conv2D", "Conv3D", "Conv2DTranspose", "SeparableConv2D"), _STRIDES),
    **dict.fromkeys(("ConvLSTM2D", "GoneLocallyConnected2D"), _STRIDES),
    **dict.fromkeys(("Conv1D", "GoneLocallyConnected1D"), _WINDOW),
    "UpSampling1D": {"length": "size"},
    "GaussianNoise": {"sigma": "stddev"},
    "PReLU": {"init": "alpha_initializer"},
    "Embedding": {
        "init": "embeddings_initializer",
        "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
    },
    "BatchNormalization": {"beta_init": "beta_initializer", "gamma_init": "gamma_initializer"},
}

_TELLING = ("nb_filter", "output_dim", "border_mode", "init", "inner_init", "dim_ordering", "W_regularizer")
_OF_KERAS_2 = ("units", "filters", "kernel_size", "kernel_initializer", "rate", "use_bias", "data_format", "center")
_DROPPED = ("input_dim", "input_length", "consume_less", "forget_bias_init", "output_shape", "input_dtype")
_KERNEL_AXES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_ORDERINGS = {"tf": "channels_last", "th": "channels_first"}

_MERGES = {
    **{"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum"},
    **{"concat": "Concatenate", "dot": "Dot", "cos": COSINE},
}

_LISTS = ("strides", "kernel_size", "pool_size", "size", "dilation_rate")


@layer_rule("keras-1-classes", "Keras 1 had other names for some layers")
def class_names(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] not in _CLASSES or (saved.version >= (2,) and not _speaks_keras_1(layer)):
        return False
    saved.rename_class(layer, _CLASSES[layer["class_name"]])
    return True


def speaks_keras_2(layer: Layer) -> bool:
    """Whether a layer has arguments that came with Keras 2."""
    return isinstance(layer["config"], dict) and any(key in layer["config"] for key in _OF_KERAS_2)


def _speaks_keras_1(layer: Layer) -> bool:
    """Whether a layer has the arguments of Keras 1; files without a version may be of either."""
    return layer["class_name"] != "Embedding" and any(key in layer["config"] for key in _TELLING)


@layer_rule("keras-1-arguments", "Keras 1 had other names for arguments")
def arguments(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if is_model(layer) or (saved.version >= (2,) and not _speaks_keras_1(layer)):
        return False
    before = dict(config)
    kind = layer["class_name"]
    names = {**_ARGUMENTS, **_OF_CLASS.get(kind, {})}
    if kind == "Embedding":
        config.pop("dropout", None)
    for old in [key for key in config if key in names]:
        config[names[old]] = config.pop(old)
    for axes in _KERNEL_AXES:
        if axes[0] in config:
            config["kernel_size"] = [config.pop(axis) for axis in axes]
    if "dim_ordering" in config:
        default = "channels_first" if saved.backend == "theano" else "channels_last"
        config["data_format"] = _ORDERINGS.get(config.pop("dim_ordering"), default)
    if kind == "BatchNormalization":
        _mode(layer)
    if config.get("forget_bias_init") == "one":
        config["unit_forget_bias"] = True
    for key in _DROPPED:
        # The one says how much is embedded, the other where a transposed convolution is cut off.
        if (kind, key) not in (("Embedding", "input_dim"), ("Conv2DTranspose", "output_shape")):
            config.pop(key, None)
    for key in _LISTS:
        if isinstance(config.get(key), list) and len(config[key]) == 1:
            config[key] = config[key][0]
    _padding(kind, config, saved.version)
    for key in [key for key in config if key.endswith(("_regularizer", "_constraint"))]:
        # They matter in training only, and were written in many ways.
        config[key] = _penalty(config[key])
    return config != before


def _mode(layer: Layer) -> None:
    if layer["config"].pop("mode", 0) != 0:
        raise SourceError(
            f"The layer '{name_of(layer)}' is a BatchNormalization of Keras 1 with mode=2, which normalises by the "
            "batch even when it predicts: what it predicts for a row depends on the other rows.",
            expected="mode=0, which normalises by moving averages, or mode=1, which normalises each row",
            fix="Keep this model in an environment with Keras 1.",
        )


def _padding(kind: str, config: dict[str, Any], version: tuple[int, ...]) -> None:
    padding = config.get("padding")
    sides = ("left", "right") if kind == "ZeroPadding1D" else ("top", "bottom", "left", "right")
    if isinstance(padding, dict):
        padding = config["padding"] = [int(padding.get(f"{side}_pad", 0)) for side in sides]
    if kind == "ZeroPadding2D" and isinstance(padding, list) and len(padding) == 4:
        # Before it could have four sides, Keras took the first two for both sides of the axes.
        old = (1,) < version < (1, 1, 1)
        config["padding"] = [[padding[0]] * 2, [padding[1]] * 2] if old else [padding[:2], padding[2:]]


def _penalty(value: Any) -> Any:
    """A regularizer or constraint in the form of Keras 2, or none where it is of another kind."""
    if not isinstance(value, dict):
        return None
    name, numbers = value.get("name") or value.get("class_name"), value.get("config", value)
    if name in ("WeightRegularizer", "L1L2Regularizer", "L1L2"):
        return {"class_name": "L1L2", "config": {key: float(numbers.get(key) or 0) for key in ("l1", "l2")}}
    if name in ("MaxNorm", "maxnorm"):
        return {"class_name": "MaxNorm", "config": {"max_value": float(numbers.get("m", numbers.get("max_value", 2)))}}
    if name in ("NonNeg", "nonneg"):
        return {"class_name": "NonNeg", "config": {}}
    return None


@rule("keras-1-merge", "Keras 1 merged by a layer Merge with a mode")
def merge_layers(saved: Saved) -> list[str]:
    found = []
    for path, layer in list(walk(saved.model)):
        if layer["class_name"] == "Merge" and not layer["config"].get("layers") and not saved.is_custom(layer):
            _merge(layer, saved)
            found.append(path)
    # The inner first: a branch may start by merging, too.
    for path, model in reversed(list(walk(saved.model))):
        held = inner_layers(model)
        if held and not is_functional(model) and held[0]["class_name"] == "Merge" and not saved.is_custom(held[0]):
            _open_merge(model, saved)
            found.append(layer_path(path, held[0]))
    return found


def _merge(layer: Layer, saved: Saved) -> None:
    config = layer["config"]
    mode = config.get("mode")
    if config.get("mode_type", "raw") != "raw" or not isinstance(mode, str):
        raise SourceError(
            f"The layer '{name_of(layer)}' is a Merge of Keras 1 by a function, that is Python code, and loading "
            "it would run whatever its author wrote.",
            expected=f"one of the modes {', '.join(_MERGES)}",
            fix="Rebuild the model with a merge of Keras, and save it again.",
        )
    if mode not in _MERGES:
        raise SourceError(
            f"The layer '{name_of(layer)}' is a Merge of Keras 1 that no layer of Keras 3 does.",
            expected=f"one of the modes {', '.join(_MERGES)}",
            received=f"mode {mode!r}",
        )
    saved.rename_class(layer, _MERGES[mode])
    layer["config"] = {"name": name_of(layer)}
    if mode == "concat":
        layer["config"]["axis"] = config.get("concat_axis", -1)
    if mode == "dot":
        layer["config"]["axes"] = config.get("dot_axes", -1)


def _open_merge(model: Layer, saved: Saved) -> None:
    """A Sequential that starts by merging other models becomes a functional model that calls them."""
    merge, *rest = inner_layers(model)
    layers: list[Layer] = []
    ends = []
    inputs = []
    branches = merge["config"].pop("layers")
    # Such a merge knew the masks of layers, and none of models.
    saved.unmasked[id(merge)] = [is_model(branch) for branch in branches]
    for branch in branches:
        # Keras 1 wrote the weights of the branches beside the others, so they are opened, too.
        if is_functional(branch):
            layers += inner_layers(branch)
            inputs += branch["config"]["input_layers"]
            ends.append(branch["config"]["output_layers"][0])
            continue
        first, *_ = chain = inner_layers(branch) or [branch]
        if first["class_name"] != "InputLayer":
            shape, _ = shape_of_first(first)
            if shape is None:
                raise SourceError(
                    f"The branch '{name_of(branch)}' of '{name_of(model)}' does not say its input's shape."
                )
            config = {"batch_input_shape": shape, "name": f"{name_of(first)}_input"}
            chain = [{"class_name": "InputLayer", "config": config}, *chain]
        chain[0] |= {"name": name_of(chain[0]), "inbound_nodes": []}
        connect(chain)
        layers += chain
        inputs.append([name_of(chain[0]), 0, 0])
        ends.append([name_of(chain[-1]), 0, 0])
    _merge(merge, saved)
    merge |= {"name": name_of(merge), "inbound_nodes": [[[*end[:3], {}] for end in ends]]}
    connect([merge, *rest])
    make_functional(saved, model, [*layers, merge, *rest], inputs)
