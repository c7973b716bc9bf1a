"""Writing models, after checking that what is written can be read again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras

from keras_stitch.errors import SaveError, reason
from keras_stitch.files import new_files
from keras_stitch.files.read_files import is_directory
from keras_stitch.files.scratch import folders_of_keras
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.keras_private import as_hdf5, held_layers, layers_within, quiet_keras
from keras_stitch.models import ports
from keras_stitch.models.changed_layers import change, has_adapters, same_weights
from keras_stitch.models.custom_objects import held_by, in_registry
from keras_stitch.repairs import archives

FORMATS = {"keras": ".keras", "h5": ".h5"}
_AS_KERAS = 'Save as .keras: graph.save(..., format="keras").'
_BACKENDS = {"jax": "JAX", "torch": "PyTorch"}


def check_format(model: keras.Model, format: str) -> None:
    """Raise a ``SaveError`` where a format does not exist or cannot hold a stitched model; it names the submodel."""
    if format not in FORMATS:
        raise SaveError(f"There is no format {format!r}.", expected=" or ".join(FORMATS))
    for layer in model.layers:
        if format == "h5" and (twice := _held_twice(layer)):
            raise SaveError(
                f"An .h5 file cannot hold submodel '{layer.name}': its layer '{twice[0]}' is also '{twice[1]}', and on "
                "loading they would be two layers.",
                fix=_AS_KERAS,
            )
        for path, leaf in ports.leaves(layer) if isinstance(layer, keras.Model) else [("", layer)]:
            if not leaf.trainable and _thaws(leaf):
                where = f"'{path}' in submodel '{layer.name}'" if path else f"submodel '{layer.name}'"
                warnings.warn(
                    f"Keras will not know on loading that {where} is frozen: a {type(leaf).__name__} makes the layers "
                    "in it anew. The numbers stay; set trainable = False again before further training.",
                    stacklevel=2,
                )
        for adapted in layers_within(layer) if format == "keras" else ():
            if has_adapters(adapted) and adapted.quantization_mode:
                raise SaveError(
                    f"A .keras file cannot hold submodel '{layer.name}': its layer '{adapted.name}' has "
                    f"{change(adapted)}, which Keras would merge and quantise anew.",
                    fix='Save as .h5, which holds them as they are: graph.save(..., format="h5").',
                )
        for path, what in _not_for_h5(layer, layer.name) if format == "h5" else ():
            raise SaveError(
                f"An .h5 file cannot hold submodel '{layer.name}': it has {what} ('{path}').",
                fix=_AS_KERAS,
            )


def format_of(path: Path) -> str:
    """The format that a file's ending asks for."""
    formats = {ending: format for format, ending in FORMATS.items()} | {".hdf5": "h5"}
    if path.suffix not in formats:
        raise SaveError(f"'{path.name}' does not end in a format of Keras.", expected=" or ".join(formats))
    return formats[path.suffix]


def save_model(model: keras.Model, path: Path, *, overwrite: bool = True) -> Path:
    """Save a stitched model, ``.keras`` or ``.h5`` by the ending, whole or not at all.

    Raises:
        SaveError: If the format cannot hold the model, or the file cannot be written, or must not be replaced.
    """
    check_format(model, format_of(path))
    if not is_directory(path.absolute().parent):
        raise SaveError(f"There is no folder '{path.absolute().parent}'.", fix="Make it first.")
    with new_files.disk_errors(path), new_files.new_file(path, overwrite=overwrite) as place:
        try:
            write(model, place)
            known = held_by(model).for_keras()
            with quiet_keras(), folders_of_keras(), in_registry(known):
                loaded = keras.saving.load_model(place, custom_objects=known, compile=False)
            if not same_weights(model, loaded):
                raise ValueError("it would have other weights")
        except OSError:
            raise
        except Exception as error:
            raise SaveError(
                f"'{path}' would be a file that Keras cannot load again: {reason(error)}",
                fix="Save as .keras." if path.suffix != ".keras" else None,
            ) from error
    return path


def write(model: keras.Model, path: Path) -> None:
    """Write a model as Keras does, so that Keras can load the layers that several models in it hold."""
    if path.suffix != ".keras":
        path.write_bytes(as_hdf5(model))
        return
    with quiet_keras(), folders_of_keras():
        model.save(path)
    archives.share_layers(path)


def check_backend(target: Path) -> None:
    """Raise a ``SaveError`` where Keras does not run on TensorFlow, on which Kipoi runs its Keras models.

    What a directory says of its dependencies, and the predictions that it is tested with, would be those of a backend
    that nobody uses there.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise SaveError(
            f"The Kipoi directory '{target}' cannot be written: Kipoi runs Keras models on TensorFlow, and here Keras "
            f"runs on {_BACKENDS.get(backend, backend)}.",
            expected="KERAS_BACKEND=tensorflow",
            received=f"KERAS_BACKEND={backend}",
            fix='Write it in a process with KERAS_BACKEND=tensorflow; for a trained model, model.save("trained.keras") '
            'here, and there graph.save(..., model=keras.saving.load_model("trained.keras")).',
        )


def check_outside(target: Path, spec: GraphSpec) -> None:
    """Raise where writing a directory would replace a file that the graph is made of."""
    for submodel in spec.submodels:
        source = submodel.source.path
        if source is not None and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(target)):
            raise SaveError(
                f"'{target}' cannot be written: the source of submodel '{submodel.name}', '{source}', lies in it.",
                fix="Choose another place.",
            )


def _not_for_h5(layer: keras.Operation, path: str, *, nested: bool = False) -> Iterator[tuple[str, str]]:
    """Paths and descriptions of what lies inside a layer that the HDF5 format has no word for."""
    if not isinstance(layer, keras.Layer):
        yield path, f"the operation {type(layer).__name__}, which is no Keras layer"
    elif _adapted(layer, nested=nested):
        yield path, f"an adapted {type(layer).__name__}, whose state is lost there"
    elif isinstance(axis := getattr(layer, "axis", None), list | tuple) and len(axis) > 1:
        yield path, f"a {type(layer).__name__} over several axes, which Keras forgets on loading"
    elif _forgets_alpha(layer):
        yield path, f"LoRA with lora_alpha={layer.lora_alpha}, which Keras forgets on loading"
    elif isinstance(layer, keras.layers.Attention):
        yield path, f"a {type(layer).__name__}, whose score_mode Keras reads as a function"
    # The layers that a wrapper holds are no operations of a model.
    for operation in getattr(layer, "operations", None) or held_layers(layer):
        yield from _not_for_h5(operation, f"{path}/{operation.name}", nested=True)


def _forgets_alpha(layer: keras.Layer) -> bool:
    kind = isinstance(layer, keras.layers.Dense | keras.layers.Embedding)
    return kind and has_adapters(layer) and layer.lora_alpha != layer.lora_rank


def _thaws(layer: keras.Layer) -> bool:
    """Whether a frozen layer trains once it is made from its config, because it makes sublayers only when built."""
    if not layer.built or not held_layers(layer):
        return False
    with in_registry(held_by(layer).for_keras()):
        again = type(layer).from_config(layer.get_config())
    again.build_from_config(layer.get_build_config())
    return any(weight.trainable for weight in again.weights if "moving_" not in weight.path)


def _held_twice(layer: keras.Layer) -> tuple[str, str] | None:
    """Both paths of a layer with weights that several models or wrappers hold."""
    seen: dict[int, str] = {}
    for path, inner in _inner(layer):
        if id(inner) in seen and inner.weights:
            return path, seen[id(inner)]
        seen[id(inner)] = path
    return None


def _inner(layer: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers in a layer at any depth, those in wrappers as well, with their paths."""
    for inner in layer.layers if isinstance(layer, keras.Model) else held_layers(layer):
        yield f"{prefix}{inner.name}", inner
        yield from _inner(inner, f"{prefix}{inner.name}/")


def _adapted(layer: keras.Layer, *, nested: bool) -> bool:
    """Whether a layer learnt something by ``adapt`` that is neither in its config nor restored from weights."""
    if isinstance(layer, keras.layers.Normalization):
        return nested and layer.input_mean is None
    return ports.learnt_vocabulary(layer)
