"""Bilinear UpSampling2D of the Kerases that were not part of TensorFlow."""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Layer, Saved, name_of
from keras_stitch.repairs.layer_blocks import Block, mean
from keras_stitch.repairs.rule import layer_rule


@layer_rule(
    "bilinear-upsampling",
    "Keras 2.2 and 2.3 interpolated from the corners of pixels, Keras 3 does from their centres; a mean of repeated "
    "pixels is the same",
)
def bilinear_upsampling(layer: Layer, saved: Saved) -> bool:
    """The mean of a window of repeated pixels: as many of the one as the place is near to it, the rest of the next."""
    config = layer["config"]
    if layer["class_name"] != "UpSampling2D" or config.get("interpolation") != "bilinear":
        return False
    if saved.is_tf_keras:
        return False
    if saved.version < (2, 2) or saved.backend not in ("tensorflow", None):
        raise SourceError(
            f"The layer '{name_of(layer)}' interpolates, which every Keras 2 did in its own way.",
            expected="a file that says which Keras wrote it, on TensorFlow",
            received=f"Keras {'.'.join(map(str, saved.version))} on {saved.backend}",
            fix="Save it again with the Keras that made it, or use interpolation='nearest'.",
        )
    size = config["size"] if isinstance(config["size"], list) else [config["size"]] * 2
    block = Block(layer, 2)
    repeated = block.add("UpSampling2D", "repeated", block.start, size=size, interpolation="nearest")
    sides = [(0, factor - 1) for factor in size]
    block.put(saved, mean(block, repeated, sides, size=size[0] * size[1], pool_size=size, strides=1))
    return True
