"""Layers that Keras 3 calls otherwise, or no longer has: other layers that do the same."""

from __future__ import annotations

from keras_stitch.repairs.architecture import Layer, Saved, is_functional, name_of
from keras_stitch.repairs.rule import configured, layer_rule, rule

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

_CUDNN = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_MERGES = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")


@layer_rule("class-names", "the class of a layer goes by another name in Keras 3")
def class_names(layer: Layer, saved: Saved) -> bool:
    name = layer["class_name"]
    if name not in _CLASSES or (name == "Model" and not is_functional(layer)):
        return False
    saved.rename_class(layer, _CLASSES[name])
    if name == "SyncBatchNormalization":
        layer["config"]["synchronized"] = True
    # Keras 2 called every functional model so.
    return name != "Model"


@layer_rule("cudnn", "a layer that only ran on a GPU is the general one now, with its weights in that order")
def cudnn(layer: Layer, saved: Saved) -> bool:
    name = layer["class_name"]
    if name not in _CUDNN:
        return False
    saved.rename_class(layer, _CUDNN[name])
    layer["config"] |= {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    if name == "CuDNNGRU":
        layer["config"]["reset_after"] = True
    return True


@layer_rule("layer-scale", "the LayerScale of ConvNeXt is an EinsumDense now, which scales channels, too")
def layer_scale(layer: Layer, saved: Saved) -> bool:
    config = layer["config"]
    if layer["class_name"] != "LayerScale" or not {"init_values", "projection_dim"} <= config.keys():
        return False
    saved.rename_class(layer, "EinsumDense")
    channels = config.pop("projection_dim")
    del config["init_values"]  # the file has the values
    config |= {"equation": "abcd,d->abcd", "output_shape": [None, None, channels], "bias_axes": None}
    return True


@layer_rule("thresholded-relu", "ThresholdedReLU is gone from Keras 3; a ReLU with a threshold is the same")
def thresholded_relu(layer: Layer, saved: Saved) -> bool:
    if layer["class_name"] != "ThresholdedReLU":
        return False
    _as_relu(layer, saved)
    return True


def _as_relu(layer: Layer, saved: Saved) -> None:
    saved.rename_class(layer, "ReLU")
    theta = layer["config"].pop("theta", 1.0)
    # As an activation, it has its numbers as the file does.
    theta = theta["value"] if isinstance(theta, dict) else theta
    layer["config"] |= {"threshold": float(theta), "negative_slope": 0.0, "max_value": None}


@layer_rule("activation-layers", "a layer was used as an activation in a way that Keras 3 does not read")
def activation_layers(layer: Layer, saved: Saved) -> bool:
    """A layer that serves as an activation: as a function where there is one, so that other rules see it."""
    config = layer["config"]
    changed = False
    for key in ("activation", "recurrent_activation"):
        given = config.get(key)
        if not isinstance(given, dict) or not isinstance(given.get("config"), dict):
            continue
        if given.get("class_name") == "Activation":
            config[key] = given["config"]["activation"]
            changed = True
        elif given.get("class_name") == "ThresholdedReLU":
            _as_relu(given, saved)
            changed = True
    return changed


@rule("single-merge", "a layer merged a single tensor, which Keras 3 refuses; it passes it on now")
def single_merge(saved: Saved) -> list[str]:
    """A merge of one tensor, which Keras 3 refuses, leaves it as it is."""
    found = []
    for path, layer in configured(saved, *_MERGES):
        nodes = layer.get("inbound_nodes") or []
        if nodes and all(isinstance(node, list) and len(node) == 1 for node in nodes):
            saved.rename_class(layer, "Identity")
            layer["config"] = {"name": name_of(layer), "dtype": layer["config"].get("dtype") or "float32"}
            found.append(path)
    return found
