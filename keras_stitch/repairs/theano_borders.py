"""What Theano did at borders that are the "same": it put more around a tensor than TensorFlow, at other sides.

Sources: ``conv2d``, ``pool2d`` and so on in ``keras/backend/theano_backend.py`` of Keras 1.0 to 2.3, and Theano 1.0.
Whatever it did, the output has ``ceil(length / stride)`` places, so that the sides do not depend on the length.
"""

from __future__ import annotations

from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Layer, Saved, name_of
from keras_stitch.repairs.layer_blocks import Block, largest, mean
from keras_stitch.repairs.rule import distributed, held_layers, insert_before, layer_rule, listed, rule

Sides = list[tuple[int, int]]

_RANKS = {
    **{f"Conv{rank}D": rank for rank in (1, 2, 3)},
    **{f"SeparableConv{rank}D": rank for rank in (1, 2)},
    "DepthwiseConv2D": 2,
    "ConvLSTM2D": 2,
}
_POOLS = {f"{kind}Pooling{rank}D": rank for kind in ("Max", "Average") for rank in (1, 2, 3)}


@rule("theano-borders", "Theano put zeros at other borders of a convolution; a ZeroPadding layer does it now")
def convolutions(saved: Saved) -> list[str]:
    found = []
    for path, model, outer, layer in held_layers(saved):
        kind = layer["class_name"]
        if saved.backend != "theano" or kind not in _RANKS or saved.is_custom(layer):
            continue
        sides = _sides(layer, saved)
        if kind == "ConvLSTM2D":
            sides = _odd_kernel(layer, sides)
        if sides is not None:
            _pad(model, outer, layer, sides)
            found.append(path)
    return found


def _sides(layer: Layer, saved: Saved) -> Sides | None:
    """How many zeros Theano put on both sides of every axis; ``None`` if TensorFlow did the same."""
    config, rank = layer["config"], _RANKS[layer["class_name"]]
    if layer["class_name"] == "Conv3D" and saved.version < (1, 1, 1):
        return None  # That Keras did it itself, as TensorFlow does.
    sizes, strides, dilations = (
        listed(config.get(key, 1), rank) for key in ("kernel_size", "strides", "dilation_rate")
    )
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True)]
    if config.get("padding") == "full":
        return [(span - 1, span - 1) for span in spans]
    alike = all(span == 1 or (span % 2 and stride == 1) for span, stride in zip(spans, strides, strict=True))
    if config.get("padding") != "same" or alike:
        return None
    if layer["class_name"].startswith("Separable"):
        # Keras forgot to cut what an even kernel makes too long.
        return [(span // 2, span // 2) for span in spans]
    return [(span // 2, (span - 1) // 2) for span in spans]


def _odd_kernel(layer: Layer, sides: Sides | None) -> Sides | None:
    """A recurrent kernel of even size gets zeros at its end, as it is read, so that its borders are those of Theano.

    Both kernels of a layer have one size. What the other one reads beyond its end are zeros as well.
    """
    config = layer["config"]
    sizes, dilations = listed(config["kernel_size"], 2), listed(config.get("dilation_rate", 1), 2)
    if all(size % 2 for size in sizes):
        return sides
    if sides is None:
        around = [(size - 1) * dilation // 2 for size, dilation in zip(sizes, dilations, strict=True)]
        sides = [(zeros, zeros) if config.get("padding") == "same" else (0, 0) for zeros in around]
    config["kernel_size"] = [size + (size % 2 == 0) for size in sizes]
    more = [(size % 2 == 0) * dilation for size, dilation in zip(sizes, dilations, strict=True)]
    return [(left, right + extra) for (left, right), extra in zip(sides, more, strict=True)]


def _pad(model: Layer, outer: Layer, layer: Layer, sides: Sides) -> None:
    config = layer["config"]
    config["padding"] = "valid"
    padding = list(sides[0]) if len(sides) == 1 else [list(pair) for pair in sides]
    said = {"padding": padding, "data_format": config.get("data_format")}
    kind, said = distributed(outer, layer, f"ZeroPadding{len(sides)}D", **said)
    if layer["class_name"] == "ConvLSTM2D":
        kind, said = "TimeDistributed", {"layer": {"class_name": kind, "config": {"name": "zeros", **said}}}
    insert_before(model, outer, kind, "padding", **said)


@layer_rule(
    "theano-pooling", "Theano pooled at other borders; layers that do the same are in the place of the pooling layer"
)
def pooling(layer: Layer, saved: Saved) -> bool:
    config, kind = layer["config"], layer["class_name"]
    if saved.backend != "theano" or kind not in _POOLS or config.get("padding") != "same":
        return False
    rank = _POOLS[kind]
    sizes = listed(config["pool_size"], rank)
    strides = listed(config.get("strides") or sizes, rank)
    averages = kind.startswith("Average")
    if (averages or rank == 3) and saved.version == (2,) and max(sizes) > 1:
        what = "makes more places" if rank == 3 else "averages over zeros"
        raise SourceError(
            f"The layer '{name_of(layer)}' {what} at its borders in some versions of Keras 2 on Theano, in others it "
            "does not, and the file does not say its version.",
            expected="the attribute keras_version in the file",
            fix="Write it there: h5py.File(path, 'r+').attrs['keras_version'] = '2.1.6', or what it was.",
        )
    # These counted the zeros around the tensor.
    counts = averages and rank < 3 and (2, 0, 4) <= saved.version <= (2, 1, 4)
    # These forgot to cut off what they had made too much of.
    uncut = rank == 3 and (2,) <= saved.version < (2, 1, 6)
    alike = all(size == 1 or (size == 3 and stride == 1) for size, stride in zip(sizes, strides, strict=True))
    if alike and not (counts and max(sizes) > 1):
        return False
    around = [size - 2 if size > 2 and size % 2 else size - 1 for size in sizes]
    sides = [(left, left if uncut else size - 1 - left) for left, size in zip(around, sizes, strict=True)]
    block = Block(layer, rank)
    windows: dict[str, Any] = {"pool_size": sizes, "strides": strides}
    if counts:
        padded = block.pad(block.start, "padding", sides)
        end = block.add(kind, "windows", padded, padding="valid", **windows)
    elif averages:
        total = 1
        for size in sizes:
            total *= size
        end = mean(block, block.start, sides, size=total, **windows)
    else:
        end = largest(block, block.start, sides, **windows)
    block.put(saved, end)
    return True
