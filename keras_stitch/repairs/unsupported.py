"""What Keras 3 cannot compute, and no rule can put right: a file that has it is refused."""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, is_model, name_of, walk
from keras_stitch.repairs.changed_functions import has_hard_sigmoid
from keras_stitch.repairs.rule import check, configured, keras_layers


@check("mixed-versions", legacy=False)
def mixed_versions(saved: Saved) -> None:
    """Nobody can know which of the two functions the weights were trained with."""
    of_weights = saved.weights_version
    if of_weights is None or (of_weights < (3,)) == saved.is_legacy or "hard_sigmoid" in saved.custom:
        return
    for path, layer in walk(saved.model):
        if not is_model(layer) and has_hard_sigmoid(layer):
            raise SourceError(
                f"The layer '{path}' has a hard_sigmoid, one function in Keras 2 and another in Keras 3, and the "
                "architecture is of one and the weights of the other.",
                expected="both as the same version of Keras saved them",
                received=f"an architecture of Keras {saved.version[0]}, weights of Keras {of_weights[0]}",
            )


@check("renorm")
def renorm(saved: Saved) -> None:
    for _, layer in configured(saved, "BatchNormalization"):
        if layer["config"].get("renorm"):
            raise SourceError(
                f"The layer '{name_of(layer)}' is a BatchNormalization with renorm=True, which Keras 3 does not have.",
                fix="Copy its gamma, beta, moving_mean and moving_variance into one without renorm in the model that "
                "made the file, which predicts the same, and save it again.",
            )


@check("random-crop")
def random_crop(saved: Saved) -> None:
    for _, layer in configured(saved, "RandomCrop"):
        raise SourceError(
            f"The layer '{name_of(layer)}' is a RandomCrop, which crops and resizes in Keras 2 when it predicts, "
            "and does nothing in Keras 3.",
            fix="Use a Resizing with crop_to_aspect_ratio=True, which predicts the same, where the file was made.",
        )


@check("interpolation")
def interpolation(saved: Saved) -> None:
    for _, layer in keras_layers(saved):
        kind = layer["config"].get("interpolation")
        if kind in ("gaussian", "mitchellcubic"):
            raise SourceError(
                f"The layer '{name_of(layer)}' interpolates in a way that Keras 3 does not have.",
                expected="bilinear, nearest, bicubic, lanczos3, lanczos5 or area",
                received=f"interpolation={kind!r}",
            )
