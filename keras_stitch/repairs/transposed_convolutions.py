"""Where transposed convolutions were cut off, by Theano and where Keras 1 was told the shape of the output.

Every one of them makes ``(length - 1) * stride + size`` places of its input. What is left of them differs: ``before``
places are cut off at the start, and the result has as many as those and ``offset``.
"""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Layer, Saved
from keras_stitch.repairs.rule import distributed, held_layers, insert_after, listed, rule

_RANKS = {f"Conv{rank}DTranspose": rank for rank in (2, 3)}


@rule(
    "transposed-borders",
    "a transposed convolution was cut off at other places than those of Keras 3; a Cropping layer does it now",
)
def transposed(saved: Saved) -> list[str]:
    found = []
    for path, model, outer, layer in held_layers(saved):
        if layer["class_name"] not in _RANKS or saved.is_custom(layer):
            continue
        cuts = _cuts(path, layer, saved)
        if cuts is not None:
            _cut(saved, model, outer, layer, cuts)
            found.append(path)
    return found


def _cuts(path: str, layer: Layer, saved: Saved) -> list[tuple[int, int]] | None:
    """``before`` and ``offset`` of every axis; ``None`` if those of Keras 3 are the same."""
    config, rank = layer["config"], _RANKS[layer["class_name"]]
    shape = config.pop("output_shape", None)
    sizes, strides, dilations = (
        listed(config.get(key) or 1, rank) for key in ("kernel_size", "strides", "dilation_rate")
    )
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True)]
    same, theano = config.get("padding") == "same", saved.backend == "theano"
    if theano and same and any(span % 2 == 0 for span in spans):
        raise SourceError(
            f"The layer '{path}' is a transposed convolution whose kernel has an even size, with borders that are the "
            "same, which Theano did not compute.",
            expected="kernels of odd size",
            received=f"kernel_size={sizes}",
        )
    if shape is None or None in (lengths := shape[2:] if _first(config) else shape[1:-1]):
        if not (theano and same) or all(span == 1 or stride == 1 for span, stride in zip(spans, strides, strict=True)):
            return None
        more = listed(config.get("output_padding"), rank)
        return [
            (span // 2, stride - span if extra is None else extra - span // 2 * 2)
            for span, stride, extra in zip(spans, strides, more, strict=True)
        ]
    cuts = []
    usual = []
    for length, span, stride in zip(lengths, spans, strides, strict=True):
        before = span // 2 if same else 0
        steps = -(-length // stride) if same and not theano else (length + 2 * before - span) // stride + 1
        places = (steps - 1) * stride + span
        if same and not theano:
            before = max(places - length, 0) // 2
        cuts.append((before, length - places))
        usual.append((max(span - stride, 0) // 2, stride - span) if same else (0, max(stride - span, 0)))
    return cuts if cuts != usual else None


def _first(config: dict[str, object]) -> bool:
    return config.get("data_format") == "channels_first"


def _cut(saved: Saved, model: Layer, outer: Layer, layer: Layer, cuts: list[tuple[int, int]]) -> None:
    config = layer["config"]
    more = [before + offset for before, offset in cuts]
    config |= {"padding": "valid", "output_padding": [max(extra, 0) for extra in more]}
    cropping = [[before, max(-extra, 0)] for (before, _), extra in zip(cuts, more, strict=True)]
    if any(map(any, cropping)):
        said = {"cropping": cropping, "data_format": config.get("data_format")}
        kind, said = distributed(outer, layer, f"Cropping{len(cuts)}D", **said)
        insert_after(saved, model, outer, kind, "uncut", **said)
