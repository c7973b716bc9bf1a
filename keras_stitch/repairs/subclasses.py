"""Functional models that were saved under a class of their author's, who changed how they are trained."""

from __future__ import annotations

from keras_stitch.keras_private import FUNCTIONAL_MODULE
from keras_stitch.repairs.architecture import Layer, Saved, is_functional
from keras_stitch.repairs.rule import layer_rule

_OF_KERAS = ("Functional", "Model", "Sequential")
_SAID = ("name", "trainable", "layers", "input_layers", "output_layers", "dtype")


@layer_rule(
    "subclass-of-model",
    "the class of its author is not known here, so it is the functional model that its file says; what the class "
    "itself does, as a training step, was not carried",
    legacy=False,
)
def subclasses(layer: Layer, saved: Saved) -> bool:
    if not is_functional(layer) or layer["class_name"] in _OF_KERAS:
        return False
    layer |= {"module": FUNCTIONAL_MODULE, "registered_name": "Functional"}
    saved.rename_class(layer, "Functional")
    layer["config"] = {key: value for key, value in layer["config"].items() if key in _SAID}
    return True
