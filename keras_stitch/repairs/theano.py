"""Files of Keras 1 and 2 on Theano, and which files those are.

Theano convolves where TensorFlow correlates, so its kernels are turned round; ``kernel_layouts`` does that.
"""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, name_of
from keras_stitch.repairs.rule import check, configured, rule

# Layers with kernels that Theano convolves with, and how many kernels. Those of separable and depthwise convolutions
# are none of them: Keras turned them round itself.
TURNED = {
    **{f"Conv{rank}D": 1 for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": 1 for rank in (2, 3)},
    "ConvLSTM2D": 2,
}
_POOLS = [f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)]


@check("backend")
def backend(saved: Saved) -> None:
    """Nobody can know which of the two backends the weights were trained on."""
    if saved.backend is not None:
        return
    for path, layer in configured(saved, *TURNED, *_POOLS, "GoneSReLU"):
        if layer["class_name"] in (*TURNED, "GoneSReLU") or layer["config"].get("padding") == "same":
            raise SourceError(
                f"The layer '{path or name_of(layer)}' ({layer['class_name']}) computed something else on Theano than "
                "on TensorFlow, and the file does not say on which backend Keras ran.",
                expected="the attribute 'backend', or names of weights as Keras wrote them",
                fix='Say it: graph.add(name, source, saved_backend="tensorflow") or "theano".',
            )


@rule("theano-kernels", "Theano convolved where TensorFlow correlates; the kernels are turned round")
def kernels(saved: Saved) -> list[str]:
    """Says where; the kernels are turned when they are read."""
    return [path for path, _ in configured(saved, *TURNED)] if saved.backend == "theano" else []
