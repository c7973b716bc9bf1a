"""A Keras model, a layer or a saved file to a ``Submodel`` and a ``Blueprint`` that makes the Keras object for it.

Blueprints give a fresh object each time, so that a graph can be built again and again and nothing that
the user holds is renamed, frozen or trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files import read_files
from keras_stitch.graphs.spec import Port, Source, Submodel
from keras_stitch.models import channels_last, keras_file, ports, stored_weights
from keras_stitch.models.clone import clone, copy_layer, learnt, uncopied
from keras_stitch.models.custom_objects import held_by, in_registry
from keras_stitch.models.layer_config import layer_config
from keras_stitch.models.one_of_a_name import check_objects
from keras_stitch.repairs import changed_functions
from keras_stitch.repairs.rule import Repair

CustomObjects = Mapping[str, Any]


class Blueprint:
    """Makes the Keras object of one submodel, a fresh one at every ``take``.

    Args:
        make: Makes one with the layers of the source.
        inner_outputs: Inner layers whose outputs replace the model's own.
        custom_objects: What the object is made with.
        first: The first one that was made, if it is there already; made at once if not.
    """

    def __init__(
        self,
        make: Callable[[], keras.Layer],
        inner_outputs: Sequence[str] | None = None,
        custom_objects: CustomObjects | None = None,
        first: keras.Layer | None = None,
    ):
        self._make = make
        self.custom_objects = dict(custom_objects or {})
        self.inner_outputs = tuple(inner_outputs) if inner_outputs is not None else None
        self._spare: keras.Layer | None
        with in_registry(self.custom_objects):
            first = self._make() if first is None else first
            self._changes = isinstance(first, keras.Model) and bool(channels_last.repairs_of(first))
            self._spare = self._finished(first)

    def _finished(self, made: keras.Layer, *, one_by_one: bool = False) -> keras.Layer:
        """A model with the outputs that are exposed, and layers that run on every CPU."""
        if not isinstance(made, keras.Model):
            return made
        return channels_last.with_channels_last(made, self.inner_outputs, one_by_one=one_by_one)

    def peek(self) -> keras.Layer:
        """The object to look at, not to change."""
        if self._spare is None:
            with in_registry(self.custom_objects):
                self._spare = self._finished(self._make())
        return self._spare

    def take(self) -> keras.Layer:
        """A fresh object that belongs to the caller; what was loaded to look at is not loaded again."""
        taken, self._spare = self.peek(), None
        return taken

    def take_reference(self) -> keras.Layer:
        """A fresh object to compare others to: where layers had to be changed, each was by itself."""
        if not self._changes:
            return self.take()
        with in_registry(self.custom_objects):
            return self._finished(self._make(), one_by_one=True)


def load_model(
    name: str,
    model: keras.Model,
    *,
    custom_objects: CustomObjects | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[Submodel, Blueprint]:
    """Load a model in memory, which is cloned; ``outputs`` are inner layers, see ``Graph.add``.

    Custom objects are those that the model is made of, and those given.

    Raises:
        SourceError: If it cannot be a submodel.
    """
    label = f"{type(model).__name__} '{model.name}'"
    _check_ends(name, label, model)
    known = {**held_by(model).for_keras(), **(custom_objects or {})}
    with in_registry(known):
        snapshot = clone(model, f"Submodel '{name}'")
    rule, training = changed_functions.training, ports.always_training(model)
    repairs = [Repair(rule.name, rule.why, tuple(training))] if training else []
    repairs += channels_last.repairs_of(snapshot)
    submodel = _described(name, Source("model", label), snapshot, outputs, repairs)
    return submodel, Blueprint(lambda: clone(snapshot, name), outputs, known)


def load_file(
    name: str,
    source: Source,
    weights: Path,
    *,
    arch: Path | None = None,
    custom_objects: CustomObjects | None = None,
    outputs: Sequence[str] | None = None,
    **options: Any,
) -> tuple[Submodel, Blueprint]:
    """Load a saved model or, with the architecture JSON, its weights; see ``Graph.add`` and ``keras_file.open_file``.

    The submodel has the source that is given, with its sha256. ``options`` are those of ``open_file``.

    Raises:
        SourceError: If there is nothing there that can be a submodel.
    """
    # Absolute: whoever changes the current directory still means the same file.
    weights = weights.absolute()
    arch = None if arch is None else arch.absolute()

    def open_it() -> keras_file.Opened:
        return keras_file.open_file(weights, arch=arch, custom_objects=custom_objects, outputs=outputs, **options)

    first = open_it()
    before = {weights: first.sha256} | ({} if arch is None else {arch: read_files.sha256(arch)})

    def make() -> keras.Model:
        for path, known in before.items():
            read_files.check_unchanged(path, known)
        return open_it().as_saved

    submodel = _described(name, replace(source, sha256=first.sha256), first.as_saved, outputs, first.repairs)
    return submodel, Blueprint(make, outputs, custom_objects, first.as_saved)


def _described(
    name: str, source: Source, model: keras.Model, inner_outputs: Sequence[str] | None, repairs: Sequence[Repair]
) -> Submodel:
    """What a model looks like as it was saved: whatever is done to it, its ports and layers keep their names."""
    _check_ends(name, source.label, model)
    ports.check_stateless(model, name)
    try:
        tensors = list(model.outputs) if inner_outputs is None else ports.inner_tensors(model, inner_outputs)
    except StitchError as problem:
        raise problem.behind(f"outputs= of submodel '{name}': ", kind=SourceError) from None
    stored_weights.warn_of_non_finite(model, f"Submodel '{name}'")
    return Submodel(
        name,
        source,
        inputs=ports.input_ports(model),
        outputs=ports.output_ports(model, tensors),
        inner_outputs=None if inner_outputs is None else tuple(inner_outputs),
        layers=ports.walk_layers(model),
        repairs=tuple(map(str, repairs)),
    )


def _check_ends(name: str, label: str, model: keras.Model) -> None:
    if not model.built:
        raise SourceError(
            f"Submodel '{name}' ({label}) was never built, so it holds no weights.",
            expected="a functional model, or a Sequential whose first layer is an Input",
            received=f"a {type(model).__name__} without weights",
            fix="Build it with its Input and train it, or load its weights, before it is added or saved.",
        )
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise SourceError(
            f"Submodel '{name}' ({label}) does not say what its inputs are.",
            expected="a functional model, or a Sequential whose first layer is an Input",
            received=f"a {type(model).__name__} without symbolic inputs",
            fix="Call it on a keras.Input, wrap that in keras.Model(inputs, outputs), and take or save the result.",
        )
    if not type(model).call.__module__.startswith("keras."):
        raise SourceError(
            f"Submodel '{name}' ({label}) has a call of its own, so it does not compute what its graph of layers says.",
            expected="a functional model, or a Sequential whose first layer is an Input",
            fix="Call it on a keras.Input, wrap that in keras.Model(inputs, outputs), and take or save the result.",
        )


def load_layer(
    name: str,
    layer: keras.Layer,
    *,
    custom_objects: CustomObjects | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[Submodel, Blueprint]:
    """Load a bare layer, which is copied; the arguments are those of ``load_model``.

    Raises:
        SourceError: If it cannot be a submodel, or inner layers are asked for.
    """
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
    channels_last.check(layer, fix="Add keras.Sequential([keras.Input(shape=...), layer]) instead.")
    known = {**held_by(layer).for_keras(), **(custom_objects or {})}
    try:
        config = layer_config(layer)
        with in_registry(known):
            snapshot = copy_layer(layer, name)
    except Exception as error:
        raise uncopied(f"Submodel '{name}' ({label})", error) from error
    check_objects(layer, snapshot, f"Submodel '{name}' ({label})")
    described = Source("trained layer" if learnt(layer) else "layer", label, layer=config)
    info = ports.layer_info(name, layer, bool(layer.trainable))
    stored_weights.warn_of_non_finite(layer, f"Submodel '{name}'")
    submodel = Submodel(
        name,
        described,
        inputs=ports.layer_ports(layer),
        outputs=(Port("output", None, None),),
        layers=(info,),
    )
    return submodel, Blueprint(lambda: copy_layer(snapshot, name), custom_objects=known)
