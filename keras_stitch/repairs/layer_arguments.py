"""Arguments of layers that Keras 3 calls otherwise, or no longer takes."""

from __future__ import annotations

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
from keras_stitch.repairs.rule import configured, insert_before, layer_rule, rule

_RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")

_ONE_KERNEL = ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint")

# What layers had in Keras 2 that does not change what they predict.
_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(RECURRENT, ("implementation", "num_constants", "input_dim", "input_length")),
    "Bidirectional": ("input_dim", "input_length", "num_constants"),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), ("implementation",)),
    **dict.fromkeys(("StringLookup", "IntegerLookup", "TextVectorization"), ("vocabulary_size",)),
    "Embedding": ("input_length",),
    **dict.fromkeys([f"Conv{rank}DTranspose" for rank in (1, 2, 3)], ("groups",)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (*_ONE_KERNEL, "filters")),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _ONE_KERNEL),
    "BatchNormalization": ("fused", "virtual_batch_size", "adjustment", "renorm", "renorm_clipping", "renorm_momentum"),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
    **{f"Random{kind}": ("rng_type",) for kind in _RANDOM},
    **{f"SpatialDropout{rank}D": ("noise_shape",) for rank in (1, 2, 3)},
}


@layer_rule("dtype-policy", "a dtype policy was written in another form", custom=True)
def dtype_policy(layer: Layer, saved: Saved) -> bool:
    policy = layer["config"].get("dtype")
    if not isinstance(policy, dict) or policy.get("class_name") not in ("Policy", "PolicyV1"):
        return False
    layer["config"]["dtype"] = policy["config"]["name"]
    return True


@layer_rule("array-arguments", "numbers among the arguments were saved as arrays")
def numbers_in_arrays(layer: Layer, saved: Saved) -> bool:
    """Numbers that were saved as the array they happened to be in."""
    config = layer["config"]
    arrays = [key for key, value in config.items() if _is_array(value)]
    for key in arrays:
        config[key] = config[key]["value"] if "value" in config[key] else config[key]["config"]["value"]
    return bool(arrays)


def _is_array(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("type") == "ndarray" or value.get("class_name") == "__numpy__")


@layer_rule("initializers", "initializers had arguments that Keras 3 refuses; the weights come from the file")
def initializers(layer: Layer, saved: Saved) -> bool:
    changed = False
    for key, value in layer["config"].items():
        given = value.get("config") if key.endswith("_initializer") and isinstance(value, dict) else None
        if not isinstance(given, dict):
            continue
        for name in ("dtype", "partition_info"):
            changed |= given.pop(name, None) is not None
        if given.get("distribution") == "normal":
            given["distribution"] = "truncated_normal"
    return changed


@layer_rule("constraints", "a constraint that Keras 3 does not have was dropped; it matters in training only")
def constraints(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    gone = [
        key
        for key, value in config.items()
        if isinstance(value, dict) and value.get("class_name") == "RadialConstraint"
    ]
    for key in gone:
        config[key] = None
    return bool(gone)


@rule("causal-padding", "SeparableConv1D knew causal padding; a ZeroPadding1D does it now")
def causal_padding(saved: Saved) -> list[str]:
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


@layer_rule("removed-arguments", "arguments that Keras 3 refuses and that change no prediction were dropped")
def arguments(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    dropped = [key for key in _WITHOUT_EFFECT.get(layer["class_name"], ()) if key in config]
    for key in dropped:
        del config[key]
    # Keras 3 takes these two, or warns at most.
    return any(key not in ("implementation", "input_length") for key in dropped)


@layer_rule("time-major", "recurrent layers had the argument time_major=False")
def time_major(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if "time_major" not in config or layer["class_name"] not in RECURRENT:
        return False
    if config.pop("time_major"):
        raise SourceError(
            f"The layer '{name_of(layer)}' has time_major=True, which Keras 3 does not have.",
            expected="(batch, time, features) as the axes of what a recurrent layer takes",
            fix="Transpose its input in the model that made the file, set time_major=False, and save it again.",
        )
    return True


@layer_rule("axis-list", "an axis was in a list, which Keras 3 refuses or forgets", legacy=False)
def axis(layer: Layer, saved: Saved) -> bool:
    """Keras 3 reads a list of one axis in some layers only, and forgets a longer one in files of HDF5."""
    config = layer["config"]
    axis = config.get("axis")
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


@layer_rule("leaky-relu", "LeakyReLU's alpha is negative_slope now")
def leaky_relu(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "LeakyReLU" or "alpha" not in layer["config"]:
        return False
    layer["config"]["negative_slope"] = layer["config"].pop("alpha")
    return True


@rule("causal-attention", "causal=True of an attention layer is an argument of its calls now")
def causal(saved: Saved) -> list[str]:
    """Attention was made causal, and is called so now."""
    found = []
    for path, layer in configured(saved, "Attention", "AdditiveAttention"):
        if layer["config"].pop("causal", False):
            for item in references(layer.get("inbound_nodes") or []):
                item.extend([{}] if len(item) < 4 else [])
                item[3]["use_causal_mask"] = True
            found.append(path)
    return found


@layer_rule("prelu-shared-axes", "Keras 1 did not write along which axes a PReLU shares its weights; their shape tells")
def prelu_shared_axes(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "PReLU" or "shared_axes" in layer["config"]:
        return False
    name = f"{name_of(layer)}_alphas"
    every = (item for group in saved.arrays.values() for item in group.items())
    shape = next((shape for array, shape in every if array.split("/")[-1].split(":")[0] == name), ())
    shared = [axis for axis, size in enumerate(shape, start=1) if size == 1]
    layer["config"]["shared_axes"] = shared or None
    return bool(shared)
