"""A saved model to a Keras model that predicts what it predicted in the Keras that saved it.

Files that need nothing are loaded by Keras alone. Others are repaired first (``repairs``), and their weights are
put where the file says that they belong.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, reason
from keras_stitch.files import read_files
from keras_stitch.files.scratch import folders_of_keras
from keras_stitch.models import channels_last, clone, file_formats, stored_weights, weight_budget
from keras_stitch.models.file_formats import SAVED_MODEL
from keras_stitch.repairs import (
    archives,
    changed_functions,
    hard_sigmoid,
    keras3_config,
    layer_classes,
    learnt_state,
    read_saved_model,
    rebuild,
    repair,
    shape_checks,
    shared_layers,
    unsafe_config,
    weights,
    weights_order,
)
from keras_stitch.repairs import stateless as stateless_layers
from keras_stitch.repairs.architecture import Saved, inner_layers, is_model, name_of, walk
from keras_stitch.repairs.read_file import opened_hdf5, read_archive, read_h5, read_json
from keras_stitch.repairs.rule import Repair

CustomObjects = Mapping[str, Any]

# Whole models by what ``file_formats.recognise`` says of them; weights come with an architecture JSON.
_READERS = {"h5": read_h5, "keras": read_archive, SAVED_MODEL: read_saved_model.read_saved_model}
_GONE = frozenset(["RandomHeight", "RandomWidth", "RandomFourierFeatures", "DenseFeatures"])


@dataclass(frozen=True)
class Opened:
    """A loaded model, uncompiled, with the sha256 of its file and the repairs that it needs.

    Attributes:
        as_saved: The model with the layers of the file, in which convolutions may have their channels first.
        sha256: The checksum of the file.
        repairs: Of the file and of ``as_saved``.
    """

    as_saved: keras.Model
    sha256: str
    repairs: tuple[Repair, ...] = ()

    @cached_property
    def model(self) -> keras.Model:
        """The model with all repairs; ``as_saved`` is not to be used any more."""
        return channels_last.with_channels_last(self.as_saved)


def open_file(
    path: Path,
    *,
    kind: str | None = None,
    arch: Path | None = None,
    custom_objects: CustomObjects | None = None,
    saved_backend: str | None = None,
    stateless: bool = False,
) -> Opened:
    """Load a saved model, whatever its ending; ``arch`` is the architecture JSON of a weights-only file.

    ``kind`` is what ``file_formats.recognise`` said of the file; it is asked if that is left out. ``saved_backend`` is
    the backend of the Keras that saved it, where the file does not say it. ``stateless`` makes its stateful layers
    stateless.

    Raises:
        SourceError: With the reason, if it cannot be loaded, or not without changing what it predicts.
    """
    kind = kind or file_formats.recognise(path)
    _check_arch(path, kind, arch)
    before = read_files.version_of(path)
    # Checksums take no time of their own where there is a second core.
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(file_formats.checked_sha256, path, kind)
        try:
            model, repairs = _open(path, kind, arch, dict(custom_objects or {}), saved_backend, stateless)
        except SourceError:
            # Damage explains more than what it led to.
            checked.result()
            raise
        sha256 = checked.result()
    if read_files.version_of(path) != before:
        raise SourceError(f"'{path}' changed while it was read.", fix="Add it again, once nobody writes it any more.")
    return Opened(model, sha256, (*repairs, *channels_last.repairs_of(model)))


def _open(
    path: Path,
    kind: str,
    arch: Path | None,
    custom_objects: CustomObjects,
    saved_backend: str | None,
    stateless: bool,
) -> tuple[keras.Model, tuple[Repair, ...]]:
    stored = stored_weights.check_stored(path, kind)
    saved = _READERS[kind](path) if arch is None else read_json(arch, path)
    saved.custom = frozenset({*custom_objects, *keras.saving.get_custom_objects()})
    if saved_backend is not None:
        _check_saved_backend(path, saved, saved_backend)
        saved.backend = saved_backend
    saved.stateless = stateless
    try:
        unsafe_config.refuse(arch or path, saved)
        repairs = _repair(arch or path, saved)
        _check_stateless(path, saved, repairs)
        _check_known(arch or path, saved, custom_objects)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"The architecture in '{arch or path}' is damaged: {type(error).__name__}, {reason(error)}.",
            expected="the architecture as Keras writes it",
            fix="Copy or download it again.",
        ) from error
    with (
        keras_private.quiet_keras(),
        folders_of_keras(),
        weight_budget.as_stored(path, stored),
        keras_private.build_sequentials_once(),
    ):
        try:
            # Keras 3 may load the weights of nested models in an .h5 file in another order than it saved them.
            nested = kind == "h5" and any(map(is_model, inner_layers(saved.model)))
            if repairs or saved.is_legacy or nested:
                model, repairs = _repaired(path, kind, saved, custom_objects, repairs)
            else:
                model = _as_it_is(path, kind, arch, custom_objects)
                clone.restore_alphas(model, saved)
            if not isinstance(model, keras.Model):
                raise SourceError(
                    f"'{path}' does not hold a model.", expected="a keras.Model", received=type(model).__name__
                )
            _check_learnt(path, model)
        except SourceError:
            raise
        except Exception as error:
            if keras_private.is_lambda_refusal(error):
                raise unsafe_config.lambda_refusal(arch or path) from error
            if empty := keras_private.layer_without_weights(error):
                raise _without_weights(path, saved, empty) from error
            raise SourceError(f"Keras {keras.__version__} cannot load '{arch or path}': {reason(error)}") from error
    weights.finalize(model)
    if any(map(clone.is_adapted, keras_private.layers_within(model))):
        model = clone.clone(model, f"'{path}'")
    return model, repairs


def _check_learnt(path: Path, model: keras.Model) -> None:
    """A lookup layer without its vocabulary would predict that it knows no word."""
    for layer in keras_private.layers_within(model):
        is_lookup = type(layer).__module__.startswith("keras.") and hasattr(layer, "get_vocabulary")
        if is_lookup and not layer.get_vocabulary(include_special_tokens=False):
            raise SourceError(
                f"'{path}' does not hold the vocabulary of layer '{layer.name}', which it had learnt by adapt.",
                expected="a .keras file, or a layer that was made with vocabulary=",
                fix="Save the whole model as .keras.",
            )


def _repair(path: Path, saved: Saved) -> tuple[Repair, ...]:
    with _of_file(path):
        repairs = tuple(repair(saved))
        if saved.is_legacy:
            keras3_config.fit_arguments(saved)
    return repairs


@contextlib.contextmanager
def _of_file(path: Path) -> Iterator[None]:
    """What cannot be repaired, with the name of the file."""
    try:
        yield
    except SourceError as error:
        start = f"'{path}' cannot be loaded without changing what it predicts. "
        raise error.behind(start, kind=SourceError) from None


def _check_arch(path: Path, kind: str, arch: Path | None) -> None:
    weights_only = kind.endswith("weights")
    if weights_only and arch is None:
        raise SourceError(
            f"'{path}' holds weights only, not the architecture they belong to.",
            expected="a whole model, or weights with the architecture beside them",
            fix='Give the architecture, graph.add(name, "weights.h5", arch="model.json"), or save the whole model: '
            "model.save(...) instead of model.save_weights(...).",
        )
    if arch is not None and not weights_only:
        raise SourceError(
            f"'{path}' is a whole model, so arch= is not needed.",
            received=f"arch='{arch}'",
            fix="Leave arch= out, or give the weights-only file.",
        )


def _check_saved_backend(path: Path, saved: Saved, backend: str) -> None:
    if not saved.is_legacy:
        raise SourceError(
            f"'{path}' is of Keras 3, which has no kernels of Theano, so saved_backend= is not needed.",
            received=f"saved_backend={backend!r}",
            fix="Leave it out.",
        )


def _check_stateless(path: Path, saved: Saved, repairs: tuple[Repair, ...]) -> None:
    if not saved.stateless or any(done.rule == stateless_layers.stateless.name for done in repairs):
        return
    if saved.is_legacy:
        raise SourceError(f"'{path}' has no stateful layer, so stateless= is not needed.", fix="Leave it out.")
    raise SourceError(
        f"'{path}' is of Keras 3, and stateless= is for files of Keras 1 and 2.",
        fix="Rebuild the model with stateful=False, copy the weights, and save it again.",
    )


def _check_known(path: Path, saved: Saved, custom_objects: CustomObjects) -> None:
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
    missing = keras3_config.missing_objects(saved, custom_objects)
    if not missing:
        return
    listed = ", ".join(f"'{name}'" + (f" (layer '{where}')" if where else "") for where, name in missing)
    entries = ", ".join(f'"{name}": ...' for _, name in missing)
    one = len(missing) == 1
    raise SourceError(
        f"'{path}' needs {'a custom object that is' if one else 'custom objects that are'} not known here: {listed}.",
        expected="layers and functions of Keras, or those in custom_objects",
        fix=f"graph.add(name, source, custom_objects={{{entries}}})",
    )


def _repaired(
    path: Path, kind: str, saved: Saved, custom_objects: CustomObjects, repairs: tuple[Repair, ...]
) -> tuple[keras.Model, tuple[Repair, ...]]:
    arrays = {}
    if kind == SAVED_MODEL:
        arrays = read_saved_model.read_arrays(path)
        repairs += learnt_state.from_arrays(saved, arrays)
    elif kind.startswith("keras"):
        repairs += learnt_state.from_archive(saved, path) if saved.is_legacy else ()
    else:
        with opened_hdf5(path) as file:
            arrays = weights.read_arrays(file)
        repairs += learnt_state.from_arrays(saved, arrays) if saved.is_legacy else ()
    with _of_file(path):
        rebuild.rebuild(saved, custom_objects)
    keras3_config.modernise(saved)
    # Keras takes a config apart while it reads it.
    shares = any(done.rule == shared_layers.shared_layers.name for done in repairs)
    with keras_private.shared_objects() if shares else contextlib.nullcontext():
        model = keras.saving.deserialize_keras_object(copy.deepcopy(saved.model), custom_objects=custom_objects)
    shape_checks.refuse_shapes(model, saved)
    if kind in ("keras", "keras weights") and any(done.rule == layer_classes.cudnn.name for done in repairs):
        raise SourceError(
            f"'{path}' has layers that only ran on a GPU, whose weights are read from .h5 files only.",
            expected="an .h5 file, where there are layers such as CuDNNLSTM",
            fix='Save the model as .h5 with the Keras that made it: model.save("model.h5").',
        )
    if kind == "keras":
        model = archives.load(path, model, saved, custom_objects)
    elif kind == "keras weights":
        archives.load_weights(path, model, saved)
    elif kind == "h5 weights":
        repairs += weights_order.assign(model, saved, arrays)
    else:
        weights.assign(model, saved, arrays)
    if any(done.rule == changed_functions.hard_sigmoid.name for done in repairs):
        hard_sigmoid.fold_hard_sigmoid(model)
    return model, repairs


def _as_it_is(path: Path, kind: str, arch: Path | None, custom_objects: CustomObjects) -> keras.Model:
    with file_formats.by_its_ending(path, kind) as link:
        if arch is None:
            return keras.saving.load_model(link, compile=False, custom_objects=custom_objects)
        model = keras.models.model_from_json(arch.read_text(encoding="utf-8"), custom_objects=custom_objects)
        try:
            model.load_weights(link)
        except ValueError as error:
            raise SourceError(
                f"The weights in '{path}' do not fit the architecture '{arch}': {reason(error)}",
                fix="Give the architecture that the weights were saved with.",
            ) from error
        return model


def _without_weights(path: Path, saved: Saved, name: str) -> SourceError:
    places = [where for where, layer in walk(saved.model) if where and name_of(layer) == name]
    held = f", which is at several places in it: {', '.join(places)}" if len(places) > 1 else ""
    return SourceError(
        f"'{path}' does not hold the weights of layer '{name}'{held}.",
        fix="If it was one layer at all of these places, save the model as .h5 with the Keras that made it."
        if held
        else "Copy or download it again.",
    )
