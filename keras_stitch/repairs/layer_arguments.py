"""Arguments and classes that Keras 3 calls otherwise, or no longer takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_functional, name_of, references, walk
from keras_stitch.repairs.rule import Rule, configured, each_layer, insert_before

_CLASSES = {
    "Model": "Functional",
    "Container": "Functional",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
}


_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


_RANDOM = ("Brightness", "Contrast", "Crop", "Flip", "Rotation", "Translation", "Zoom")


_CUDNN = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}


# What layers had in Keras 2 that does not change what they predict.
_WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_RECURRENT, ("implementation", "num_constants", "input_dim", "input_length")),
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
    "BatchNormalization": ("fused", "virtual_batch_size", "adjustment"),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
    **{f"Random{kind}": ("rng_type",) for kind in _RANDOM},
    "SpatialDropout1D": ("noise_shape",),
    "SpatialDropout2D": ("noise_shape",),
    "SpatialDropout3D": ("noise_shape",),
}


_MERGES = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")


_INITIALIZER_ARGUMENTS = ("dtype", "partition_info")


_DISTRIBUTIONS = {"normal": "truncated_normal"}


def _class_names(layer: Layer, saved: Saved) -> bool:
    name = layer["class_name"]
    if name not in _CLASSES or (name == "Model" and not is_functional(layer)):
        return False
    saved.rename_class(layer, _CLASSES[name])
    if name == "SyncBatchNormalization":
        layer["config"]["synchronized"] = True
    # Keras 2 called every functional model so.
    return name != "Model"


def _without_effect(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    dropped = [key for key in _WITHOUT_EFFECT.get(layer["class_name"], ()) if key in config]
    for key in dropped:
        del config[key]
    # Keras 3 takes these two, or warns at most.
    return any(key not in ("implementation", "input_length") for key in dropped)


def _time_major(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if not isinstance(config, dict) or "time_major" not in config or layer["class_name"] not in _RECURRENT:
        return False
    if config.pop("time_major"):
        raise SourceError(
            f"The layer '{name_of(layer)}' has time_major=True, which Keras 3 does not have.",
            expected="(batch, time, features) as the axes of what a recurrent layer takes",
            fix="Transpose its input in the model that made the file, set time_major=False, and save it again.",
        )
    return True


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


def _renorm(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "BatchNormalization":
        return False
    config = layer["config"]
    renorm = config.pop("renorm", False)
    for key in ("renorm_clipping", "renorm_momentum"):
        config.pop(key, None)
    if renorm:
        raise SourceError(
            f"The layer '{name_of(layer)}' is a BatchNormalization with renorm=True, which Keras 3 does not have.",
            fix="Copy its gamma, beta, moving_mean and moving_variance into one without renorm in the model that made "
            "the file, which predicts the same, and save it again.",
        )
    return False


def _reset_after(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] not in ("GRU", "GRUCell") or "reset_after" in layer["config"]:
        return False
    # cuDNN has it, Keras had not until it had the argument.
    layer["config"]["reset_after"] = saved.class_in_file(layer) in ("UnifiedGRU", "GRUV2")
    return True


def _recurrent_activation(layer: Layer, saved: Saved) -> bool:
    """ConvLSTM and old files may leave it to the default, which was hard_sigmoid in Keras 1 and early Keras 2."""
    if layer["class_name"] not in ("LSTM", "GRU", "LSTMCell", "GRUCell", "ConvLSTM2D", "ConvLSTM1D", "ConvLSTM3D"):
        return False
    if "recurrent_activation" in layer["config"]:
        return False
    layer["config"]["recurrent_activation"] = "hard_sigmoid"
    return True


def _cudnn(layer: Layer, saved: Saved) -> bool:
    name = layer["class_name"]
    if name not in _CUDNN:
        return False
    saved.rename_class(layer, _CUDNN[name])
    layer["config"] |= {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    if name == "CuDNNGRU":
        layer["config"]["reset_after"] = True
    return True


def _leaky_relu(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "LeakyReLU" or "alpha" not in layer["config"]:
        return False
    layer["config"]["negative_slope"] = _number(layer["config"].pop("alpha"))
    return False


def _thresholded_relu(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "ThresholdedReLU":
        return False
    saved.rename_class(layer, "ReLU")
    theta = _number(layer["config"].pop("theta", 1.0))
    layer["config"] |= {"threshold": theta, "negative_slope": 0.0, "max_value": None}
    return True


def _plain_numbers(layer: Layer, saved: Saved) -> bool:
    """Numbers that were saved as the array they happened to be in."""
    config = layer["config"]
    arrays = [key for key, value in config.items() if _is_array(value)] if isinstance(config, dict) else []
    for key in arrays:
        config[key] = config[key]["value"] if "value" in config[key] else config[key]["config"]["value"]
    return bool(arrays)


def _is_array(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("type") == "ndarray" or value.get("class_name") == "__numpy__")


def _number(value: Any) -> float:
    return float(value["value"] if isinstance(value, dict) else value)


def _initializers(layer: Layer, saved: Saved) -> bool:
    """Arguments of initializers that Keras 3 refuses; the weights come from the file anyhow."""
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


def _constraints(layer: Layer, saved: Saved) -> bool:
    """A constraint that is gone from Keras 3; it only matters in training."""
    config = layer["config"]
    gone = [key for key, value in config.items() if _is_gone(value)] if isinstance(config, dict) else []
    for key in gone:
        config[key] = None
    return bool(gone)


def _is_gone(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "RadialConstraint"


def _activation_layers(layer: Layer, saved: Saved) -> bool:
    """A layer that serves as an activation: as a function where there is one, so that other rules see it."""
    config = layer["config"]
    changed = False
    for key in ("activation", "recurrent_activation"):
        given = config.get(key) if isinstance(config, dict) else None
        if not isinstance(given, dict) or not isinstance(given.get("config"), dict):
            continue
        if given.get("class_name") == "Activation":
            config[key] = given["config"]["activation"]
            changed = True
        elif given.get("class_name") == "ThresholdedReLU":
            changed |= _thresholded_relu(given, saved)
    return changed


def _single_merge(saved: Saved) -> list[str]:
    """A merge of one tensor, which Keras 3 refuses, leaves it as it is."""
    found = []
    for path, layer in configured(saved, *_MERGES):
        nodes = layer.get("inbound_nodes") or []
        if nodes and all(isinstance(node, list) and len(node) == 1 for node in nodes):
            saved.rename_class(layer, "Identity")
            layer["config"] = {"name": name_of(layer), "dtype": layer["config"].get("dtype") or "float32"}
            found.append(path)
    return found


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
            found.append(f"{path}/{name_of(layer)}".lstrip("/"))
    return found


def _list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _random_crop(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] == "RandomCrop":
        raise SourceError(
            f"The layer '{name_of(layer)}' is a RandomCrop, which crops and resizes in Keras 2 when it predicts, "
            "and does nothing in Keras 3.",
            fix="Use a Resizing with crop_to_aspect_ratio=True, which predicts the same, where the file was made.",
        )
    return False


def _interpolation(layer: Layer, saved: Saved) -> bool:
    kind = layer["config"].get("interpolation") if isinstance(layer["config"], dict) else None
    if kind in ("gaussian", "mitchellcubic"):
        raise SourceError(
            f"The layer '{name_of(layer)}' interpolates in a way that Keras 3 does not have.",
            expected="bilinear, nearest, bicubic, lanczos3, lanczos5 or area",
            received=f"interpolation={kind!r}",
        )
    return False


def _dtype_policy(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    policy = config.get("dtype") if isinstance(config, dict) else None
    if not isinstance(policy, dict) or policy.get("class_name") not in ("Policy", "PolicyV1"):
        return False
    config["dtype"] = policy["config"]["name"]
    return True


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


def _state_of_removed(saved: Saved) -> list[str]:
    """``shared_object_id`` and the like, by which Keras 2 found objects again."""
    for _, layer in walk(saved.model):
        for key in ("shared_object_id", "build_config", "compile_config"):
            layer.pop(key, None)
        for inner in inner_layers(layer):
            inner.pop("shared_object_id", None)
    return []


CLASS_NAMES = Rule("class-names", "the class of a layer goes by another name in Keras 3", each_layer(_class_names))


CUDNN = Rule(
    "cudnn", "a layer that only ran on a GPU is the general one now, with its weights in that order", each_layer(_cudnn)
)


ARGUMENTS = Rule(
    "removed-arguments",
    "arguments that Keras 3 refuses and that change no prediction were dropped",
    each_layer(_without_effect),
)


TIME_MAJOR = Rule("time-major", "recurrent layers had the argument time_major=False", each_layer(_time_major))


AXIS = Rule("axis-list", "an axis was in a list, which Keras 3 refuses or forgets", each_layer(_axis), legacy=False)


RENORM = Rule("renorm", "BatchNormalization had arguments about renorm", each_layer(_renorm))


RESET_AFTER = Rule(
    "gru-reset-after",
    "a GRU that does not say reset_after means False, Keras 3 would take True",
    each_layer(_reset_after),
)


RECURRENT_ACTIVATION = Rule(
    "gate-activation",
    "gates that do not say their activation mean hard_sigmoid, Keras 3 would take sigmoid",
    each_layer(_recurrent_activation),
)


LEAKY_RELU = Rule("leaky-relu", "LeakyReLU's alpha is negative_slope now", each_layer(_leaky_relu))


THRESHOLDED_RELU = Rule(
    "thresholded-relu",
    "ThresholdedReLU is gone from Keras 3; a ReLU with a threshold is the same",
    each_layer(_thresholded_relu),
)


NUMBERS_IN_ARRAYS = Rule(
    "array-arguments", "numbers among the arguments were saved as arrays", each_layer(_plain_numbers)
)


INITIALIZERS = Rule(
    "initializers",
    "initializers had arguments that Keras 3 refuses; the weights come from the file",
    each_layer(_initializers),
)


DTYPE_POLICY = Rule(
    "dtype-policy", "a dtype policy was written in another form", each_layer(_dtype_policy, custom=True)
)


CONSTRAINTS = Rule(
    "constraints",
    "a constraint that Keras 3 does not have was dropped; it matters in training only",
    each_layer(_constraints),
)


ACTIVATION_LAYERS = Rule(
    "activation-layers",
    "a layer was used as an activation in a way that Keras 3 does not read",
    each_layer(_activation_layers),
)


SINGLE_MERGE = Rule(
    "single-merge", "a layer merged a single tensor, which Keras 3 refuses; it passes it on now", _single_merge
)


CAUSAL_PADDING = Rule(
    "causal-padding", "SeparableConv1D knew causal padding; a ZeroPadding1D does it now", _causal_padding
)


RANDOM_CROP = Rule("random-crop", "RandomCrop also cropped when it predicted", each_layer(_random_crop))


INTERPOLATION = Rule("interpolation", "images were interpolated in a way that is gone", each_layer(_interpolation))


CAUSAL = Rule("causal-attention", "causal=True of an attention layer is an argument of its calls now", _causal)


LEFTOVERS = Rule("leftovers", "identifiers that only Keras 2 reads were dropped", _state_of_removed)
