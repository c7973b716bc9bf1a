"""What is refused of a saved model: arguments that do not go with it, damage, and what nobody knows here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, reason
from keras_stitch.models import broadcast_sums
from keras_stitch.models.file_formats import CHECKPOINT, SAVED_MODEL
from keras_stitch.repairs import keras3_config, stateless
from keras_stitch.repairs.architecture import Saved, name_of, walk
from keras_stitch.repairs.keras3_config import Missing
from keras_stitch.repairs.read_saved_model import PACKED
from keras_stitch.repairs.rule import Repair

CustomObjects = Mapping[str, Any]

_GONE = frozenset(["RandomHeight", "RandomWidth", "RandomFourierFeatures", "DenseFeatures"])


def check_arch(path: Path, kind: str, arch: Path | None) -> None:
    """Raise where weights come without an architecture, or an archive or a SavedModel with another one."""
    weights_only = kind.endswith("weights")
    if weights_only and arch is None:
        example = path.name if kind == CHECKPOINT else "weights.h5"
        raise SourceError(
            f"'{path}' holds weights only, not the architecture they belong to.",
            expected="a whole model, or weights with the architecture beside them",
            fix=f'Give the architecture, graph.add(name, "{example}", arch="model.json"), or save the whole model: '
            "model.save(...) instead of model.save_weights(...).",
        )
    if arch is not None and kind in ("keras", SAVED_MODEL):
        raise SourceError(
            f"'{path}' is a whole model, so arch= is not needed.",
            received=f"arch='{arch}'",
            fix="Leave arch= out, or give an .h5 file.",
        )


def check_saved_backend(path: Path, saved: Saved, backend: str) -> None:
    """Raise where a file had no backend that could be meant."""
    if not saved.is_legacy:
        raise SourceError(
            f"'{path}' is of Keras 3, which has no kernels of Theano, so saved_backend= is not needed.",
            received=f"saved_backend={backend!r}",
            fix="Leave it out.",
        )


def check_stateless(path: Path, saved: Saved, repairs: tuple[Repair, ...]) -> None:
    """Raise where layers were to become stateless, and there is no stateful one."""
    if not saved.stateless or any(done.rule == stateless.stateless.name for done in repairs):
        return
    if saved.is_legacy:
        raise SourceError(f"'{path}' has no stateful layer, so stateless= is not needed.", fix="Leave it out.")
    raise SourceError(
        f"'{path}' is of Keras 3, and stateless= is for files of Keras 1 and 2.",
        fix="Rebuild the model with stateful=False, copy the weights, and save it again.",
    )


def check_known(path: Path, saved: Saved, custom_objects: CustomObjects) -> None:
    """Raise where the architecture names layers and functions that are gone, or that nobody has here, all at once."""
    gone = [
        (where, layer["class_name"])
        for where, layer in walk(saved.model)
        if layer["class_name"] in _GONE - saved.custom
    ]
    if gone:
        listed = ", ".join(f"'{where}' ({kind})" for where, kind in gone)
        raise SourceError(
            f"'{path}' has layers that Keras 3 no longer has: {listed}.",
            fix="Rebuild them with other layers, or give classes of your own for them in custom_objects.",
        )
    if missing := keras3_config.missing_objects(saved, custom_objects):
        raise UnknownObjectsError(path, missing)


def check_biases(path: Path, model: keras.Model) -> None:
    """Raise where plain Keras, on TensorFlow, may add the bias of a layer along another axis than Keras 2 did."""
    for layer in keras_private.layers_within(model):
        if not isinstance(layer, keras.layers.EinsumDense) or layer.bias is None:
            continue
        given = tuple(layer.compute_output_shape(layer.get_build_config()["input_shape"]))
        if broadcast_sums.may_go_wrong(given, tuple(layer.bias.shape)):
            raise SourceError(
                f"Keras {keras.__version__} may add the bias of layer '{layer.path}' in '{path}' along the wrong axis.",
                expected="a bias along the last axis, or along several axes with sizes above 1",
                received=f"one of shape {tuple(layer.bias.shape)}, for a tensor of shape {given}",
                fix="Keep this model in an environment with the Keras that made it.",
            )


def check_learnt(path: Path, model: keras.Model) -> None:
    """A lookup layer without its vocabulary would predict that it knows no word."""
    for layer in keras_private.layers_within(model):
        is_lookup = type(layer).__module__.startswith("keras.") and hasattr(layer, "get_vocabulary")
        if is_lookup and not layer.get_vocabulary(include_special_tokens=False):
            raise SourceError(
                f"'{path}' does not hold the vocabulary of layer '{layer.name}', which it had learnt by adapt.",
                expected="a .keras file, or a layer that was made with vocabulary=",
                fix="Save the whole model as .keras.",
            )


def without_weights(path: Path, saved: Saved, name: str) -> SourceError:
    """The error of a layer for which an archive has no weights."""
    places = [where for where, layer in walk(saved.model) if where and name_of(layer) == name]
    held = f", which is at several places in it: {', '.join(places)}" if len(places) > 1 else ""
    return SourceError(
        f"'{path}' does not hold the weights of layer '{name}'{held}.",
        fix="If it was one layer at all of these places, save the model as .h5 with the Keras that made it."
        if held
        else "Copy or download it again.",
    )


class UnknownObjectsError(SourceError):
    """Classes and functions that a file names and that nobody has here, all at once."""

    def __init__(self, path: Path, missing: Sequence[Missing]):
        self.missing = tuple(missing)
        what = "a custom object that is" if len(missing) == 1 else "custom objects that are"
        super().__init__(
            f"'{path}' needs {what} not known here: {', '.join(map(_shown, missing))}.",
            expected="layers and functions of Keras, or those in custom_objects",
            # Only a SavedModel is a directory; it has what they compute as a graph of operations.
            fix=_fix(missing) + (f"; or, as it is, {PACKED}" if path.is_dir() else ""),
        )


def _shown(one: Missing) -> str:
    said = [f"layer '{one.path}'"] if one.path else []
    said += [f"of {one.module}"] if one.module else []
    return f"'{one.name}'" + (f" ({', '.join(said)})" if said else "")


def _fix(missing: Sequence[Missing]) -> str:
    """The line that helps: modules that the file names, and names for what is in none."""
    modules = list(dict.fromkeys(one.module for one in missing if one.module))
    packages = dict.fromkeys(module.partition(".")[0] for module in modules)
    absent = [package for package in packages if PathFinder.find_spec(package) is None]
    entries = ", ".join(f'"{one.name}": ...' for one in missing if not one.module)
    given = ([f'"{modules[0]}"'] if len(modules) == 1 else [json.dumps(modules)]) if modules else []
    given += [f"{{{entries}}}"] if entries else []
    line = f"graph.add(name, source, custom_objects={given[0]})"
    if len(given) == 2:
        line = f"objects = {{...}} of {json.dumps(modules)} with {entries}; graph.add(..., custom_objects=objects)"
    return f"If you trust it, pip install {' '.join(absent)}, and then: {line}" if absent else line


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """What breaks because an architecture is not what Keras writes."""
    try:
        yield
    except SourceError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"The architecture in '{path}' is damaged: {type(error).__name__}, {reason(error)}.",
            expected="the architecture as Keras writes it",
            fix="Copy or download it again.",
        ) from error


@contextlib.contextmanager
def unrepaired(path: Path) -> Iterator[None]:
    """What cannot be repaired, with the name of the file."""
    try:
        yield
    except SourceError as error:
        start = f"'{path}' cannot be loaded without changing what it predicts. "
        raise error.behind(start, kind=SourceError) from None
