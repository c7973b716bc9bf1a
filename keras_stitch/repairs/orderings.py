"""Where the channels of images are, in files of Keras 1 that do not say it of every layer."""

from __future__ import annotations

from itertools import pairwise

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    name_of,
    references,
    walk,
)
from keras_stitch.repairs.rule import held_layers, rule

# Keras 1 wrote no dim_ordering for them, whatever it was.
_SILENT = [f"{kind}{rank}D" for kind in ("UpSampling", "ZeroPadding", "Cropping") for rank in (2, 3)]

# What comes behind them need not have the channels where they are before.
_CHANGING = ("Flatten", "Reshape", "Permute", "RepeatVector", "Dense", "Lambda")


@rule("keras-1-orderings", "Keras 1 did not say where the channels of some layers are; it is where others have them")
def orderings(saved: Saved) -> list[str]:
    if saved.version >= (2,):
        return []
    said = {layer["config"]["data_format"] for _, layer in walk(saved.model) if "data_format" in layer["config"]}
    found = []
    for path, model, outer, layer in held_layers(saved):
        if layer["class_name"] not in _SILENT or "data_format" in layer["config"] or saved.is_custom(layer):
            continue
        near = said if len(said) == 1 else _said_near(model, outer)
        if len(near) != 1:
            raise SourceError(
                f"The layer '{path}' ({layer['class_name']}) does not say which axis has the channels, and "
                f"{'the other layers disagree' if said else 'no other layer does'}.",
                expected="the argument dim_ordering",
                fix='Write "dim_ordering": "th" (channels first) or "tf" (last) into its config in the architecture.',
            )
        layer["config"]["data_format"] = next(iter(near))
        if "channels_first" in near:
            found.append(path)
    return found


def _said_near(model: Layer, layer: Layer) -> set[str]:
    """What the nearest layers say that are connected to a layer, through others that leave the channels in place."""
    layers = {name_of(held): held for held in inner_layers(model)}
    pairs = list(pairwise(layers))
    if is_functional(model):
        calls = [(name, held.get("inbound_nodes") or []) for name, held in layers.items()]
        pairs = [(source[0], name) for name, nodes in calls for source in references(nodes)]
    said = set()
    seen, waiting = {name_of(layer)}, [name_of(layer)]
    while waiting:
        here = waiting.pop()
        for name in {other for pair in pairs if here in pair for other in pair} - seen:
            seen.add(name)
            held = layers[name]
            while held["class_name"] == "TimeDistributed":
                held = held["config"]["layer"]
            if "data_format" in held["config"]:
                said.add(held["config"]["data_format"])
            elif held["class_name"] not in _CHANGING and not is_model(held):
                waiting.append(name)
    return said
