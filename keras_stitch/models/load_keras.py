"""A source, whatever it is, to a ``Submodel`` and a ``Blueprint`` that makes the Keras object for it.

Blueprints give a fresh object each time, so that a graph can be built again and again and nothing that
the user holds is renamed, frozen or trained.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_stitch import files
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.graphs.spec import LayerInfo, Port, Source, Submodel
from keras_stitch.models import file_formats, keras_file, ports
from keras_stitch.models.clone import clone, copy_state, uncopied
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.layer_config import layer_config
from keras_stitch.repairs.changed_functions import TRAINING
from keras_stitch.repairs.rule import Repair

CustomObjects = Mapping[str, Any]


class Blueprint:
    """Makes the Keras object of one submodel, a fresh one at every ``take``.

    Args:
        make: Makes one; the first is made at once.
        inner_outputs: Inner layers whose outputs replace the model's own.
        custom_objects: What the object is made with.
    """

    def __init__(
        self,
        make: Callable[[], keras.Layer],
        inner_outputs: Sequence[str] | None = None,
        custom_objects: CustomObjects | None = None,
    ):
        self._make = make
        self.custom_objects = dict(custom_objects or {})
        self.inner_outputs = tuple(inner_outputs) if inner_outputs is not None else None
        self._spare: keras.Layer | None = None
        self.peek()

    def peek(self) -> keras.Layer:
        """The object to look at, not to change."""
        if self._spare is None:
            with in_registry(self.custom_objects):
                self._spare = self._make()
        return self._spare

    def take(self) -> keras.Layer:
        """A fresh object that belongs to the caller; what was loaded to look at is not loaded again."""
        taken, self._spare = self.peek(), None
        return taken

    def outputs(self, model: keras.Model) -> list[keras.KerasTensor]:
        """The output tensors that this submodel exposes, of a model it made."""
        return list(model.outputs) if self.inner_outputs is None else ports.inner_tensors(model, self.inner_outputs)


class Part(Protocol):
    """What loading needs of a Kipoi directory."""

    @property
    def weights(self) -> Path | None:
        """The file with the weights or the whole model."""

    @property
    def arch(self) -> Path | None:
        """The architecture JSON, for a file with weights only."""

    @property
    def custom_objects(self) -> CustomObjects:
        """The custom objects that it needs, by name."""


@dataclass(frozen=True)
class Loaded:
    """A submodel and the blueprint of its Keras object.

    Attributes:
        submodel: The plain data.
        blueprint: Makes the Keras object.
    """

    submodel: Submodel
    blueprint: Blueprint


def load(
    name: str,
    source: object,
    *,
    part: Part | None = None,
    trainable: bool | None = None,
    custom_objects: CustomObjects | None = None,
    arch: str | os.PathLike[str] | None = None,
    outputs: Sequence[str] | None = None,
    placement: str | None = None,
) -> Loaded:
    """Load a source under the user's name; see ``Graph.add``.

    Args:
        name: The user's name.
        source: A path, a model or a layer.
        part: What a Kipoi directory says, if the source is one.
        trainable: See ``Graph.add``, as for what follows.
        custom_objects: Those of the part are added.
        arch: That of the part goes before it.
        outputs: Inner layers.
        placement: Where it runs.

    Raises:
        SourceError: If there is nothing there that can be a submodel.
    """
    repairs: tuple[Repair, ...] = ()
    if isinstance(source, keras.Model):
        _check_ends(name, f"{type(source).__name__} '{source.name}'", source)
        described, blueprint = _from_memory(name, source, outputs)
        training = ports.always_training(source)
        repairs = (Repair(TRAINING.name, TRAINING.why, tuple(training)),) if training else ()
    elif isinstance(source, keras.Layer):
        return _from_layer(name, source, trainable, outputs, placement)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if part is not None:
            assert part.weights is not None  # a Keras model: nothing else comes here
            weights, arch, kind = part.weights, part.arch, None
            custom_objects = {**part.custom_objects, **(custom_objects or {})}
            described = Source("kipoi", path.name, path=str(path.absolute()))
        else:
            weights, kind = path, file_formats.recognise(path)
            # Absolute: whoever changes the current directory still means the same file.
            given_arch = None if arch is None else str(Path(arch).absolute())
            described = Source("file", path.name, path=str(path.absolute()), arch=given_arch)
        blueprint, sha256, repairs = _from_file(weights, kind, arch, custom_objects, outputs)
        described = replace(described, sha256=sha256)
    else:
        raise SourceError(
            f"Submodel '{name}' cannot be made of this {type(source).__name__}.",
            expected="the path of a saved model or of a Kipoi directory, a keras.Model, a Keras layer, a scikit-learn "
            "estimator or a torch.nn.Module",
            received=repr(source)[:200],
        )
    return _described(name, described, blueprint, trainable, placement, repairs)


def _described(
    name: str,
    source: Source,
    blueprint: Blueprint,
    trainable: bool | None,
    placement: str | None,
    repairs: Sequence[Repair],
) -> Loaded:
    model = blueprint.peek()
    _check_ends(name, source.label, model)
    ports.check_stateless(model, name)
    try:
        tensors = blueprint.outputs(model)
    except StitchError as problem:
        raise SourceError(
            f"outputs= of submodel '{name}': {problem.message}",
            expected=problem.expected,
            received=problem.received,
            fix=problem.fix,
        ) from None
    submodel = Submodel(
        name,
        source,
        inputs=ports.input_ports(model),
        outputs=ports.output_ports(model, tensors),
        trainable=trainable,
        inner_outputs=blueprint.inner_outputs,
        placement=placement,
        layers=ports.walk_layers(model),
        repairs=tuple(map(str, repairs)),
    )
    return Loaded(submodel, blueprint)


def _check_ends(name: str, label: str, model: keras.Model) -> None:
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise SourceError(
            f"Submodel '{name}' ({label}) does not say what its inputs are.",
            expected="a functional model, or a Sequential whose first layer is an Input",
            received=f"a {type(model).__name__} without symbolic inputs",
            fix="Call it on a keras.Input, wrap that in keras.Model(inputs, outputs), and take or save the result.",
        )


def _from_file(
    weights: Path,
    kind: str | None,
    arch: str | os.PathLike[str] | None,
    custom_objects: CustomObjects | None,
    outputs: Sequence[str] | None,
) -> tuple[Blueprint, str, tuple[Repair, ...]]:
    weights = weights.absolute()
    arch_path = None if arch is None else Path(arch).absolute()

    def open_it() -> keras_file.Opened:
        return keras_file.open_file(weights, kind=kind, arch=arch_path, custom_objects=custom_objects)

    first = open_it()
    spare = [first.model]

    def make() -> keras.Model:
        if spare:
            return spare.pop()
        if files.sha256(weights) != first.sha256:
            raise SourceError(
                f"'{weights}' has changed since it was added.",
                received="another sha256",
                fix="Add it to a new Graph.",
            )
        return open_it().model

    return Blueprint(make, outputs, custom_objects), first.sha256, first.repairs


def _from_memory(name: str, model: keras.Model, outputs: Sequence[str] | None) -> tuple[Source, Blueprint]:
    snapshot = clone(model, f"Submodel '{name}'")
    return Source("model", f"{type(model).__name__} '{model.name}'"), Blueprint(lambda: clone(snapshot, name), outputs)


def _from_layer(
    name: str,
    layer: keras.Layer,
    trainable: bool | None,
    outputs: Sequence[str] | None,
    placement: str | None,
) -> Loaded:
    label = type(layer).__name__
    if isinstance(layer, keras.layers.InputLayer):
        raise SourceError(
            f"Submodel '{name}' is an InputLayer.", fix=f'Use graph.add_input("{name}", targets, shape=...).'
        )
    if outputs is not None:
        raise SourceError(f"Submodel '{name}' is a bare layer ({label}), so outputs= does not apply to it.")
    if getattr(layer, "stateful", False):
        raise SourceError(
            f"Submodel '{name}' is a stateful layer: what it predicts depends on the batches before.",
            expected="a stateless recurrent layer",
            fix="Make it with stateful=False.",
        )
    try:
        config = layer_config(layer)
    except Exception as error:
        raise uncopied(f"Submodel '{name}' ({label})", error) from error
    # What a layer learnt, by training or by adapt, cannot be said by its config.
    learnt = bool(layer.built and layer.weights) or ports.learnt_vocabulary(layer)

    def copy_of(original: keras.Layer) -> keras.Layer:
        fresh = type(original).from_config({**copy.deepcopy(config["config"]), "name": name})
        if learnt:
            if original.built:
                fresh.build_from_config(original.get_build_config())
            copy_state(original, fresh)
        return fresh

    try:
        snapshot = copy_of(layer)
    except Exception as error:
        raise uncopied(f"Submodel '{name}' ({label})", error) from error
    described = Source("trained layer" if learnt else "layer", label, layer=config)
    info = LayerInfo(name, label, bool(layer.trainable), layer.count_params() if layer.built else 0)
    submodel = Submodel(
        name,
        described,
        inputs=ports.layer_ports(layer),
        outputs=(Port("output", None, None),),
        trainable=trainable,
        placement=placement,
        layers=(info,),
    )
    return Loaded(submodel, Blueprint(lambda: copy_of(snapshot)))
