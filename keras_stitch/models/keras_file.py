"""A saved model to a Keras model that predicts what it predicted in the Keras that saved it.

Files that need nothing are loaded by Keras alone. Others are repaired first (``repairs``), and their weights are
put where the file says that they belong.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files import read_files
from keras_stitch.files.scratch import folders_of_keras
from keras_stitch.models import (
    channels_last,
    clone,
    file_checks,
    file_formats,
    lambda_refusal,
    operation_layers,
    stored_weights,
    weight_budget,
)
from keras_stitch.models.file_formats import CHECKPOINT, SAVED_MODEL
from keras_stitch.models.replaced_layers import Places, Replacements
from keras_stitch.repairs import (
    archives,
    changed_functions,
    cut,
    hard_sigmoid,
    keras3_config,
    layer_classes,
    learnt_state,
    prepare,
    read_checkpoint,
    read_saved_model,
    rebuild,
    repair,
    shape_checks,
    shared_layers,
    unsafe_config,
    weights,
    weights_order,
)
from keras_stitch.repairs.architecture import Saved, inner_layers, is_model
from keras_stitch.repairs.read_file import opened_hdf5, read_archive, read_h5, read_json
from keras_stitch.repairs.rule import Repair

CustomObjects = Mapping[str, Any]
Loaded = tuple[keras.Model, tuple[Repair, ...]]
# Whole models by what ``file_formats.recognise`` says of them; weights come with an architecture JSON.
_READERS = {"h5": read_h5, "keras": read_archive, SAVED_MODEL: read_saved_model.read_saved_model}


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
    outputs: Sequence[str] | None = None,
    part: str | None = None,
    replace: Replacements | None = None,
) -> Opened:
    """Load a saved model, whatever its ending.

    Args:
        path: The file.
        kind: What ``file_formats.recognise`` said of the file; it is asked if that is left out.
        arch: The architecture JSON of a weights-only file, or in place of that in an ``.h5`` file.
        custom_objects: By the name that the file has for each.
        saved_backend: The backend of the Keras that saved it, where the file does not say it.
        stateless: Whether its stateful layers become stateless.
        outputs: The layers whose outputs are wanted. Where the whole model cannot be loaded, only what they need is.
        part: The nested model that is wanted alone; ``"inner/innermost"`` is a model within one.
        replace: Layers in place of layers of the file.

    Raises:
        SourceError: With the reason, if it cannot be loaded, or not without changing what it predicts.
    """
    kind = kind or file_formats.recognise(path)
    file_checks.check_arch(path, kind, arch)
    before = read_files.version_of(path)
    # Checksums take no time of their own where there is a second core.
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(file_formats.checked_sha256, path, kind)
        try:
            asked = _Asked(arch, dict(custom_objects or {}), saved_backend, stateless, part or "", replace or {})
            model, repairs = _open_as_far(path, kind, asked, outputs)
        except SourceError:
            # Damage explains more than what it led to.
            checked.result()
            raise
        sha256 = checked.result()
    if read_files.version_of(path) != before:
        raise SourceError(f"'{path}' changed while it was read.", fix="Add it again, once nobody writes it any more.")
    return Opened(model, sha256, (*repairs, *channels_last.repairs_of(model)))


@dataclass(frozen=True)
class _Asked:
    """What was asked of a file; the attributes are arguments of ``open_file``."""

    arch: Path | None
    custom_objects: CustomObjects
    saved_backend: str | None
    stateless: bool
    part: str
    replace: Replacements


def _open_as_far(path: Path, kind: str, asked: _Asked, outputs: Sequence[str] | None) -> Loaded:
    """The model or, where something in it stops that, what some outputs need of it."""
    stored = stored_weights.check_stored(path, kind)
    try:
        return _open(path, kind, _read(path, kind, asked), asked, stored)
    except SourceError:
        if outputs is None:
            raise
        rest = _read(path, kind, asked)
        if not (left := cut.to_outputs(rest, outputs)):
            raise
    kept = {
        name: layer
        for name, layer in asked.replace.items()
        if not any(name == one or name.startswith(f"{one}/") for one in left)
    }
    model, repairs = _open(path, kind, rest, dataclasses.replace(asked, replace=kept), stored)
    return model, (Repair("left-out", cut.WHY, tuple(left)), *repairs)


def _read(path: Path, kind: str, asked: _Asked) -> Saved:
    arch = asked.arch
    read_both = read_checkpoint.read_checkpoint if kind == CHECKPOINT else read_json
    saved = _READERS[kind](path) if arch is None else read_both(arch, path)
    saved.custom = frozenset({*asked.custom_objects, *keras.saving.get_custom_objects()})
    if asked.saved_backend is not None:
        file_checks.check_saved_backend(path, saved, asked.saved_backend)
        saved.backend = asked.saved_backend
    saved.stateless = asked.stateless
    if asked.part:
        cut.take_part(saved, asked.part.partition("/")[0])
    return saved


def _open(path: Path, kind: str, saved: Saved, asked: _Asked, stored: int) -> Loaded:
    arch = asked.arch
    with file_checks.damaged(arch or path):
        repairs = tuple(prepare(saved))
        places = Places(saved, asked.replace)
        custom_objects = {**asked.custom_objects, **places.custom_objects}
        lambda_refusal.refuse(arch or path, saved, custom_objects)
        unsafe_config.refuse(arch or path, saved)
        repairs += (*places.repairs, *_repair(arch or path, saved))
        file_checks.check_stateless(path, saved, repairs)
        file_checks.check_known(arch or path, saved, custom_objects)
    with (
        keras_private.quiet_keras(),
        folders_of_keras(),
        weight_budget.as_stored(path, stored),
        keras_private.build_sequentials_once(),
    ):
        try:
            if repairs or _needs_care(kind, saved, arch):
                model, repairs = _repaired(path, kind, saved, arch, custom_objects, repairs)
                if saved.is_legacy:
                    file_checks.check_biases(path, model)
                    model = operation_layers.with_layers(model)
            else:
                model = _as_it_is(path, kind, saved, arch, custom_objects)
                clone.restore_alphas(model, saved)
            model = places.fill(_part_of(path, model, asked.part), f"'{path}'")
            if not isinstance(model, keras.Model):
                raise SourceError(
                    f"'{path}' does not hold a model.", expected="a keras.Model", received=type(model).__name__
                )
            file_checks.check_learnt(path, model)
        except SourceError as error:
            raise places.explain(error) from error.__cause__
        except Exception as error:
            if keras_private.is_lambda_refusal(error):
                raise unsafe_config.lambda_refusal(arch or path) from error
            if empty := keras_private.layer_without_weights(error):
                raise file_checks.without_weights(path, saved, empty) from error
            cause = SourceError(f"Keras {keras.__version__} cannot load '{arch or path}': {reason(error)}")
            raise places.explain(cause) from error
    weights.finalize(model)
    if any(map(clone.is_adapted, keras_private.layers_within(model))):
        model = clone.clone(model, f"'{path}'")
    return model, repairs


def _needs_care(kind: str, saved: Saved, arch: Path | None) -> bool:
    """Whether Keras alone would not load a file, or not all of it as it should be, even if no rule applies."""
    # Keras 3 may load the weights of nested models in an .h5 file in another order than it saved them.
    nested = kind == "h5" and any(map(is_model, inner_layers(saved.model)))
    is_cut = saved.part is not None or bool(saved.layers_in_file)
    return saved.is_legacy or nested or is_cut or (kind == "h5" and arch is not None)


def _part_of(path: Path, model: keras.Model, part: str) -> keras.Model:
    """The model that was asked for within the one that was loaded; the first name of its path is that of the latter."""
    for name in part.split("/")[1:]:
        nested = {layer.name: layer for layer in model.layers if isinstance(layer, keras.Model)}
        if name not in nested:
            raise SourceError(f"'{path}' has no model '{part}' within its model.", expected=nearest(name, nested))
        model = nested[name]
    return model


def _repair(path: Path, saved: Saved) -> tuple[Repair, ...]:
    with file_checks.unrepaired(path):
        repairs = tuple(repair(saved))
        if saved.is_legacy:
            keras3_config.fit_arguments(saved)
    return repairs


def _repaired(
    path: Path, kind: str, saved: Saved, arch: Path | None, custom_objects: CustomObjects, repairs: tuple[Repair, ...]
) -> Loaded:
    arrays = {}
    if kind == SAVED_MODEL or (kind == CHECKPOINT and arch is not None):
        arrays = read_saved_model.read_arrays(path) if arch is None else read_checkpoint.read_arrays(arch, path)
        repairs += learnt_state.from_arrays(saved, arrays)
    elif kind.startswith("keras"):
        repairs += learnt_state.from_archive(saved, path) if saved.is_legacy else ()
    else:
        with opened_hdf5(path) as file:
            arrays = weights.read_arrays(file)
        repairs += learnt_state.from_arrays(saved, arrays) if saved.is_legacy else ()
    with file_checks.unrepaired(path):
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
        if kind == CHECKPOINT:
            read_checkpoint.check_order(path, model, saved, arrays)
        weights.assign(model, saved, arrays)
    if any(done.rule == changed_functions.hard_sigmoid.name for done in repairs):
        hard_sigmoid.fold_hard_sigmoid(model)
    return model, repairs


def _as_it_is(path: Path, kind: str, saved: Saved, arch: Path | None, custom_objects: CustomObjects) -> keras.Model:
    with file_formats.by_its_ending(path, kind) as link:
        if arch is None:
            return keras.saving.load_model(link, compile=False, custom_objects=custom_objects)
        model = keras.models.model_from_json(json.dumps(saved.model), custom_objects=custom_objects)
        try:
            model.load_weights(link)
        except ValueError as error:
            raise SourceError(
                f"The weights in '{path}' do not fit the architecture '{arch}': {reason(error)}",
                fix="Give the architecture that the weights were saved with.",
            ) from error
        return model
