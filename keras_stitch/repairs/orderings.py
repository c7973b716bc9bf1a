"""Where the channels of images are, in files of Keras 1 that do not say it of every layer."""

from __future__ import annotations

from keras_stitch.errors import SourceError
from keras_stitch.repairs.architecture import Saved, walk
from keras_stitch.repairs.rule import configured, rule

# Keras 1 wrote no dim_ordering for them, whatever it was.
_SILENT = [f"{kind}{rank}D" for kind in ("UpSampling", "ZeroPadding", "Cropping") for rank in (2, 3)]


@rule("keras-1-orderings", "Keras 1 did not say where the channels of some layers are; it is where others have them")
def orderings(saved: Saved) -> list[str]:
    if saved.version >= (2,):
        return []
    silent = [(path, layer) for path, layer in configured(saved, *_SILENT) if "data_format" not in layer["config"]]
    said = {layer["config"]["data_format"] for _, layer in walk(saved.model) if "data_format" in layer["config"]}
    if silent and len(said) != 1:
        path, layer = silent[0]
        raise SourceError(
            f"The layer '{path}' ({layer['class_name']}) does not say which axis has the channels, and "
            f"{'the other layers disagree' if said else 'no other layer does'}.",
            expected="the argument dim_ordering",
            fix='Write "dim_ordering": "th" (channels first) or "tf" (last) into its config in the architecture.',
        )
    for _, layer in silent:
        layer["config"]["data_format"] = next(iter(said))
    return [path for path, _ in silent] if "channels_first" in said else []
