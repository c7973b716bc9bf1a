"""What Keras 3 cannot compute, and no rule can put right: a file that has it is refused."""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, name_of, walk
from keras_stitch.repairs.changed_functions import is_hard_sigmoid
from keras_stitch.repairs.rule import Check, configured, keras_layers


def _mixed_versions(saved: Saved) -> None:
    """Nobody can know which of the two functions the weights were trained with."""
    of_weights = saved.weights_version
    if of_weights is None or (of_weights < (3,)) == saved.is_legacy or "hard_sigmoid" in saved.custom:
        return
    for path, layer in walk(saved.model):
        config = layer["config"]
        keys = ("activation", "recurrent_activation")
        if isinstance(config, dict) and any(is_hard_sigmoid(config.get(key)) for key in keys):
            raise SourceError(
                f"The layer '{path}' has a hard_sigmoid, one function in Keras 2 and another in Keras 3, and the "
                "architecture is of one and the weights of the other.",
                expected="both as the same version of Keras saved them",
                received=f"an architecture of Keras {saved.version[0]}, weights of Keras {of_weights[0]}",
            )


MIXED_VERSIONS = Check("mixed-versions", _mixed_versions, legacy=False)


def _renorm(saved: Saved) -> None:
    for _, layer in configured(saved, "BatchNormalization"):
        if layer["config"].get("renorm"):
            raise SourceError(
                f"The layer '{name_of(layer)}' is a BatchNormalization with renorm=True, which Keras 3 does not have.",
                fix="Copy its gamma, beta, moving_mean and moving_variance into one without renorm in the model that "
                "made the file, which predicts the same, and save it again.",
            )


RENORM = Check("renorm", _renorm)


def _random_crop(saved: Saved) -> None:
    for _, layer in configured(saved, "RandomCrop"):
        raise SourceError(
            f"The layer '{name_of(layer)}' is a RandomCrop, which crops and resizes in Keras 2 when it predicts, "
            "and does nothing in Keras 3.",
            fix="Use a Resizing with crop_to_aspect_ratio=True, which predicts the same, where the file was made.",
        )


RANDOM_CROP = Check("random-crop", _random_crop)


def _interpolation(saved: Saved) -> None:
    for _, layer in keras_layers(saved):
        kind = layer["config"].get("interpolation") if isinstance(layer["config"], dict) else None
        if kind in ("gaussian", "mitchellcubic"):
            raise SourceError(
                f"The layer '{name_of(layer)}' interpolates in a way that Keras 3 does not have.",
                expected="bilinear, nearest, bicubic, lanczos3, lanczos5 or area",
                received=f"interpolation={kind!r}",
            )


INTERPOLATION = Check("interpolation", _interpolation)
