"""Keras 1: other names for layers and arguments, and Merge layers that held their inputs.

Source: the conversions that Keras 2.0 to 2.3 made (``keras/legacy/interfaces.py`` of those releases).
"""

from __future__ import annotations

from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_functional, is_model, name_of, walk
from keras_stitch.repairs.rule import Rule, each_layer

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
_STRIDES = {"subsample": "strides", "atrous_rate": "dilation_rate"}

_OF_CLASS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("Dense", "LSTM", "GRU", "SimpleRNN"), _UNITS),
    **dict.fromkeys(("Dropout", "GaussianDropout"), _RATE),
    **{f"SpatialDropout{rank}D": _RATE for rank in (1, 2, 3)},
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), _POOLS),
    **dict.fromkeys(("Conv2D", "Conv3D", "Conv2DTranspose", "SeparableConv2D", "ConvLSTM2D"), _STRIDES),
    "Conv1D": {"filter_length": "kernel_size", "subsample_length": "strides", "atrous_rate": "dilation_rate"},
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
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
    "dot": "Dot",
}

_LISTS = ("strides", "kernel_size", "pool_size", "size", "dilation_rate")


def _class_names(layer: Layer, saved: Saved) -> bool:
    if saved.version >= (2,) and not speaks_keras_1(layer):
        return False
    if layer["class_name"] in _CLASSES:
        saved.rename_class(layer, _CLASSES[layer["class_name"]])
        return True
    return False


def speaks_keras_2(layer: Layer) -> bool:
    """Whether a layer has arguments that came with Keras 2."""
    config = layer["config"]
    return isinstance(config, dict) and any(key in config for key in _OF_KERAS_2)


def speaks_keras_1(layer: Layer) -> bool:
    """Whether a layer has the arguments of Keras 1; files without a version may be of either."""
    config = layer["config"]
    return isinstance(config, dict) and any(key in config for key in _TELLING) and (layer["class_name"] != "Embedding")


def _arguments(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if saved.version >= (2,) and not speaks_keras_1(layer):
        return False
    if not isinstance(config, dict) or is_model(layer):
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
        config["data_format"] = _ORDERINGS.get(config.pop("dim_ordering"), _default_format(saved))
    if kind == "BatchNormalization" and config.pop("mode", 0) != 0:
        raise SourceError(
            f"The layer '{name_of(layer)}' has mode=1 or 2 of Keras 1's BatchNormalization, which is gone.",
            expected="mode=0, which normalises by moving averages",
        )
    if config.get("forget_bias_init") == "one":
        config["unit_forget_bias"] = True
    for key in _DROPPED:
        if kind != "Embedding" or key != "input_dim":
            config.pop(key, None)
    for key in _LISTS:
        if isinstance(config.get(key), list) and len(config[key]) == 1:
            config[key] = config[key][0]
    _padding(kind, config)
    for key in [key for key in config if key.endswith(("_regularizer", "_constraint"))]:
        # They matter in training only, and were written in many ways.
        config[key] = _penalty(config[key])
    return config != before


def _default_format(saved: Saved) -> str:
    return "channels_first" if saved.backend == "theano" else "channels_last"


def _padding(kind: str, config: dict[str, Any]) -> None:
    padding = config.get("padding")
    keys = ("left_pad", "right_pad") if kind == "ZeroPadding1D" else ("top_pad", "bottom_pad", "left_pad", "right_pad")
    if isinstance(padding, dict):
        padding = [int(padding.get(key, 0)) for key in keys]
        config["padding"] = padding
    if kind == "ZeroPadding2D" and isinstance(padding, list) and len(padding) == 4:
        config["padding"] = [padding[:2], padding[2:]]


def _penalty(value: Any) -> Any:
    """A regularizer or constraint in the form of Keras 2, or none where it is of another kind."""
    if not isinstance(value, dict):
        return None
    name = value.get("name") or value.get("class_name")
    if name in ("WeightRegularizer", "L1L2Regularizer", "L1L2"):
        numbers = value.get("config", value)
        return {"class_name": "L1L2", "config": {key: float(numbers.get(key) or 0) for key in ("l1", "l2")}}
    if name in ("MaxNorm", "maxnorm"):
        numbers = value.get("config", value)
        return {"class_name": "MaxNorm", "config": {"max_value": float(numbers.get("m", numbers.get("max_value", 2)))}}
    if name in ("NonNeg", "nonneg"):
        return {"class_name": "NonNeg", "config": {}}
    return None


def _merge_layers(saved: Saved) -> list[str]:
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
            found.append(f"{path}/{name_of(held[0])}".lstrip("/"))
    return found


def _merge(layer: Layer, saved: Saved) -> None:
    config = layer["config"]
    mode = config.get("mode")
    if mode not in _MERGES or config.get("mode_type") == "lambda":
        raise SourceError(
            f"The layer '{name_of(layer)}' is a Merge of Keras 1 that no layer of Keras 3 does.",
            expected=f"one of the modes {', '.join(_MERGES)}",
            received=f"mode {mode!r}",
        )
    saved.rename_class(layer, _MERGES[mode])
    new: dict[str, Any] = {"name": name_of(layer)}
    if mode == "concat":
        new["axis"] = config.get("concat_axis", -1)
    if mode == "dot":
        new["axes"] = config.get("dot_axes", -1)
    layer["config"] = new


def _open_merge(model: Layer, saved: Saved) -> None:
    """A Sequential that starts by merging other models becomes a functional model that calls them."""
    merge, *rest = inner_layers(model)
    branches = merge["config"].pop("layers")
    layers: list[Layer] = []
    ends = []
    inputs = []
    for branch in branches:
        # Keras 1 wrote the weights of the branches beside the others, so they are opened, too.
        if is_functional(branch):
            layers += inner_layers(branch)
            inputs += branch["config"]["input_layers"]
            ends.append(branch["config"]["output_layers"][0])
            continue
        last = None
        for inner in inner_layers(branch):
            if last is None and inner["class_name"] != "InputLayer":
                shape = inner["config"].get("batch_input_shape")
                if shape is None:
                    raise SourceError(
                        f"The branch '{name_of(branch)}' of '{name_of(model)}' does not say its input's shape."
                    )
                name = f"{name_of(inner)}_input"
                layers.append(
                    _call({"class_name": "InputLayer", "config": {"batch_input_shape": shape, "name": name}}, [])
                )
                inputs.append([name, 0, 0])
                last = name
            elif last is None:
                inputs.append([name_of(inner), 0, 0])
                layers.append(_call(inner, []))
                last = name_of(inner)
                continue
            layers.append(_call(inner, [last]))
            last = name_of(inner)
        ends.append([last, 0, 0])
    _merge(merge, saved)
    merge |= {"name": name_of(merge), "inbound_nodes": [[[*end[:3], {}] for end in ends]]}
    layers.append(merge)
    last = name_of(merge)
    for inner in rest:
        layers.append(_call(inner, [last]))
        last = name_of(inner)
    model["config"] = {
        "name": name_of(model),
        "layers": layers,
        "input_layers": inputs,
        "output_layers": [[last, 0, 0]],
    }
    saved.rename_class(model, "Functional")


def _call(layer: Layer, sources: list[str | None]) -> Layer:
    layer |= {"name": name_of(layer), "inbound_nodes": [[[source, 0, 0, {}] for source in sources]] if sources else []}
    return layer


CLASS_NAMES = Rule("keras-1-classes", "Keras 1 had other names for some layers", each_layer(_class_names))
ARGUMENTS = Rule("keras-1-arguments", "Keras 1 had other names for arguments", each_layer(_arguments))
MERGE_LAYERS = Rule("keras-1-merge", "Keras 1 merged by a layer Merge with a mode", _merge_layers)
