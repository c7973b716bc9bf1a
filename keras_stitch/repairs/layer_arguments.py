"""Arguments of layers that Keras 3 calls otherwise, or no longer takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import (
    RECURRENT,
    Layer,
    Saved,
    inner_layers,
    layer_path,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.rule import Rule, configured, each_layer, insert_before

_RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")

# What layers had in Keras 2 that does not change what they predict.
_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(RECURRENT, ("implementation", "num_constants", "input_dim", "input_length")),
    "Bidirectional": ("input_dim", "input_length", "num_constants"),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), ("implementation",)),
    **dict.fromkeys(("StringLookup", "IntegerLookup", "TextVectorization"), ("vocabulary_size",)),
    "Embedding": ("input_length",),
    **dict.fromkeys([f"Conv{rank}DTranspose" for rank in (1, 2, 3)], ("groups",)),
    **dict.fromkeys(
        ("DepthwiseConv1D", "DepthwiseConv2D"),
        ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint", "filters"),
    ),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"),
        ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    ),
    "BatchNormalization": ("fused", "virtual_batch_size", "adjustment", "renorm", "renorm_clipping", "renorm_momentum"),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
    **{f"Random{kind}": ("rng_type",) for kind in _RANDOM},
    "SpatialDropout1D": ("noise_shape",),
    "SpatialDropout2D": ("noise_shape",),
    "SpatialDropout3D": ("noise_shape",),
}

_INITIALIZER_ARGUMENTS = ("dtype", "partition_info")
_DISTRIBUTIONS = {"normal": "truncated_normal"}


def _dtype_policy(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    policy = config.get("dtype") if isinstance(config, dict) else None
    if not isinstance(policy, dict) or policy.get("class_name") not in ("Policy", "PolicyV1"):
        return False
    config["dtype"] = policy["config"]["name"]
    return True


DTYPE_POLICY = Rule(
    "dtype-policy", "a dtype policy was written in another form", each_layer(_dtype_policy, custom=True)
)


def _plain_numbers(layer: Layer, saved: Saved) -> bool:
    """Numbers that were saved as the array they happened to be in."""
    config = layer["config"]
    arrays = [key for key, value in config.items() if _is_array(value)] if isinstance(config, dict) else []
    for key in arrays:
        config[key] = config[key]["value"] if "value" in config[key] else config[key]["config"]["value"]
    return bool(arrays)


def _is_array(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("type") == "ndarray" or value.get("class_name") == "__numpy__")


NUMBERS_IN_ARRAYS = Rule(
    "array-arguments", "numbers among the arguments were saved as arrays", each_layer(_plain_numbers)
)


def _initializers(layer: Layer, saved: Saved) -> bool:
    changed = False
    for item in _initializers_of(layer):
        for key in _INITIALIZER_ARGUMENTS:
            changed |= item["config"].pop(key, None) is not None
        if item["config"].get("distribution") in _DISTRIBUTIONS:
            item["config"]["distribution"] = _DISTRIBUTIONS[item["config"]["distribution"]]
    return changed


def _initializers_of(layer: Layer) -> Iterator[dict[str, Any]]:
    config = layer["config"]
    for key, value in config.items() if isinstance(config, dict) else ():
        if key.endswith("_initializer") and isinstance(value, dict) and isinstance(value.get("config"), dict):
            yield value


INITIALIZERS = Rule(
    "initializers",
    "initializers had arguments that Keras 3 refuses; the weights come from the file",
    each_layer(_initializers),
)


def _constraints(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    gone = [key for key, value in config.items() if _is_gone(value)] if isinstance(config, dict) else []
    for key in gone:
        config[key] = None
    return bool(gone)


def _is_gone(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "RadialConstraint"


CONSTRAINTS = Rule(
    "constraints",
    "a constraint that Keras 3 does not have was dropped; it matters in training only",
    each_layer(_constraints),
)


def _causal_padding(saved: Saved) -> list[str]:
    found = []
    for path, model in list(walk(saved.model)):
        for layer in list(inner_layers(model)):
            config = layer["config"]
            if layer["class_name"] != "SeparableConv1D" or config.get("padding") != "causal":
                continue
            (size,), (dilation,) = (_list(config.get(key, 1)) for key in ("kernel_size", "dilation_rate"))
            insert_before(model, layer, "ZeroPadding1D", "padding", padding=[dilation * (size - 1), 0])
            config["padding"] = "valid"
            found.append(layer_path(path, layer))
    return found


def _list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]


CAUSAL_PADDING = Rule(
    "causal-padding", "SeparableConv1D knew causal padding; a ZeroPadding1D does it now", _causal_padding
)


def _without_effect(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    dropped = [key for key in _WITHOUT_EFFECT.get(layer["class_name"], ()) if key in config]
    for key in dropped:
        del config[key]
    # Keras 3 takes these two, or warns at most.
    return any(key not in ("implementation", "input_length") for key in dropped)


ARGUMENTS = Rule(
    "removed-arguments",
    "arguments that Keras 3 refuses and that change no prediction were dropped",
    each_layer(_without_effect),
)


def _time_major(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if not isinstance(config, dict) or "time_major" not in config or layer["class_name"] not in RECURRENT:
        return False
    if config.pop("time_major"):
        raise SourceError(
            f"The layer '{name_of(layer)}' has time_major=True, which Keras 3 does not have.",
            expected="(batch, time, features) as the axes of what a recurrent layer takes",
            fix="Transpose its input in the model that made the file, set time_major=False, and save it again.",
        )
    return True


TIME_MAJOR = Rule("time-major", "recurrent layers had the argument time_major=False", each_layer(_time_major))


def _axis(layer: Layer, saved: Saved) -> bool:
    """Keras 3 reads a list of one axis in some layers only, and forgets a longer one in files of HDF5."""
    config = layer["config"]
    axis = config.get("axis") if isinstance(config, dict) else None
    if not isinstance(axis, list):
        return False
    if len(axis) == 1:
        config["axis"] = axis[0]
        return saved.is_legacy
    if layer["class_name"] == "BatchNormalization":
        raise SourceError(
            f"The layer '{name_of(layer)}' is a BatchNormalization over several axes, which Keras 3 does not have.",
            expected="one axis",
            received=f"axis={axis}",
        )
    if layer["class_name"] == "LayerNormalization" and min(axis) >= 0:
        # Keras 2 sorted them, and its weights with them.
        config["axis"] = sorted(axis)
    # Kept: what makes Keras forget it is that the layer has no module, which all of them get.
    return "module" not in layer


AXIS = Rule("axis-list", "an axis was in a list, which Keras 3 refuses or forgets", each_layer(_axis), legacy=False)


def _leaky_relu(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "LeakyReLU" or "alpha" not in layer["config"]:
        return False
    layer["config"]["negative_slope"] = layer["config"].pop("alpha")
    return True


LEAKY_RELU = Rule("leaky-relu", "LeakyReLU's alpha is negative_slope now", each_layer(_leaky_relu))


def _causal(saved: Saved) -> list[str]:
    """Attention was made causal, and is called so now."""
    found = []
    for path, layer in configured(saved, "Attention", "AdditiveAttention"):
        if layer["config"].pop("causal", False):
            for item in references(layer.get("inbound_nodes") or []):
                item.extend([{}] if len(item) < 4 else [])
                item[3]["use_causal_mask"] = True
            found.append(path)
    return found


CAUSAL = Rule("causal-attention", "causal=True of an attention layer is an argument of its calls now", _causal)
