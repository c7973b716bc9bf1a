"""Copies of models in memory, with weights of their own."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, reason
from keras_stitch.files.scratch import Scratch
from keras_stitch.models import ports
from keras_stitch.models.changed_layers import copy_alphas, ordered_weights
from keras_stitch.models.layer_config import layer_config
from keras_stitch.models.one_of_a_name import check_objects
from keras_stitch.repairs.architecture import Saved, is_layer, walk
from keras_stitch.repairs.shared_layers import ID as SHARED


def uncopied(what: str, error: Exception) -> SourceError:
    """Why Keras could not copy a model or layer, as an error to raise."""
    if keras_private.is_lambda_refusal(error):
        return SourceError(
            f"{what} holds a Lambda layer, that is Python code, which Keras refuses to copy.",
            expected="a model without Python lambdas",
            fix="Use Keras layers, or a function registered with keras.saving.register_keras_serializable.",
        )
    return SourceError(
        f"{what} cannot be cloned: {reason(error)}",
        expected="a functional or Sequential model with an Input, or a layer with get_config",
        fix="Save it to a .keras file and give the path.",
    )


def learnt(layer: keras.Layer) -> bool:
    """Whether a layer knows what its config cannot say: it has weights, or learnt something by ``adapt``."""
    return bool(layer.built and layer.weights) or ports.learnt_vocabulary(layer)


def copy_layer(layer: keras.Layer, name: str) -> keras.Layer:
    """The same layer under another name, with weights of its own where it has some; Keras' errors go through."""
    fresh = type(layer).from_config({**copy.deepcopy(layer_config(layer)["config"]), "name": name})
    if learnt(layer):
        if layer.built:
            fresh.build_from_config(layer.get_build_config())
        copy_state(layer, fresh)
    return fresh


def clone(model: keras.Model, what: str) -> keras.Model:
    """The same model with weights of its own; those of nested models get unique paths.

    Raises:
        SourceError: If Keras cannot clone it.
    """
    done: dict[int, keras.Layer] = {}
    shared = _shared_in_wrappers(model)

    def fresh(layer: keras.Layer) -> keras.Layer:
        # A layer that several models or wrappers hold stays one layer.
        if id(layer) not in done:
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                # Weight paths are the names inside .h5, where two nested models may each have a `dense/kernel`.
                with keras.name_scope(layer.name):
                    done[id(layer)] = _copy_structure(layer, fresh, _call)
            elif type(layer) is keras.layers.TimeDistributed:
                config = layer.get_config()
                del config["layer"]
                done[id(layer)] = keras.layers.TimeDistributed(fresh(layer.layer), **config)
            else:
                done[id(layer)] = layer.__class__.from_config(_plain(_config(layer, shared)))
        return done[id(layer)]

    try:
        with keras_private.quiet_keras():
            with keras_private.shared_objects() if shared else contextlib.nullcontext():
                copied = _copy_structure(model, fresh, _call)
            copy_state(model, copied)
    except Exception as error:
        raise uncopied(f"{what} ({type(model).__name__})", error) from error
    check_objects(model, copied, what)
    # Flags of models that hold others do not travel with the layers' configurations.
    flags = ports.flags(model)
    ports.set_flags(copied, {path: flags[path] for path in ports.flags(copied) if path in flags})
    return copied


def made_anew(
    model: keras.Model,
    *,
    others: Callable[[keras.Layer], keras.Layer | None] = lambda _: None,
    call: Callable[..., Any] = lambda layer, *arguments, **options: layer(*arguments, **options),
) -> keras.Model:
    """A model of the same layers, with the weights that they have, at any depth.

    Args:
        model: The model, which is not to be used any more.
        others: Gives another layer in place of one, or ``None``.
        call: Calls a layer, or an operation, on the new tensors.
    """
    done: dict[int, keras.Layer] = {}

    def fresh(layer: keras.Layer) -> keras.Layer:
        if id(layer) in done or not isinstance(layer, keras.Layer):  # operations stay
            return done.get(id(layer), layer)
        found = others(layer)
        if found is None and isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            found = _copy_structure(layer, fresh, call)
        elif found is None and type(layer) is keras.layers.TimeDistributed:
            config = {key: value for key, value in layer.get_config().items() if key != "layer"}
            inner = fresh(layer.layer)
            found = layer if inner is layer.layer else keras.layers.TimeDistributed(inner, **config)
        return done.setdefault(id(layer), layer if found is None else found)

    changed = _copy_structure(model, fresh, call)
    flags = ports.flags(model)
    ports.set_flags(changed, {path: flags[path] for path in ports.flags(changed) if path in flags})
    return changed


def _copy_structure(
    model: keras.Model, fresh: Callable[[keras.Layer], keras.Layer], call: Callable[..., Any]
) -> keras.Model:
    """The model with fresh layers, without what it was compiled with: Keras would clone that too, or fail to."""
    if isinstance(model, keras.Sequential) and getattr(model, "inputs", None):
        (given,) = model.inputs
        first = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=given.name)
        return keras.Sequential([first, *map(fresh, model.layers)], name=model.name)
    if model.compiled and getattr(model, "inputs", None):
        model = keras.Model(model.input, model.output, name=model.name)
    return keras.models.clone_model(model, clone_function=fresh, call_function=call)


def is_adapted(layer: keras.Layer) -> bool:
    """Whether a layer has statistics that it learnt by ``adapt``, in weights."""
    if not isinstance(layer, keras.layers.Normalization) or layer.input_mean is not None or not layer.built:
        return False
    return bool(np.any(layer.adapt_mean) or np.any(np.asarray(layer.adapt_variance) != 1))


def _wrapped(layer: keras.Layer) -> Iterator[tuple[str, list[keras.Layer]]]:
    """The layers and cells that a wrapper holds, by the key that its config has for them."""
    for key in ("layer", "backward_layer", "cell", "cells"):
        held = getattr(layer, key, None)
        listed = list(held) if isinstance(held, list | tuple) else [held]
        if all(isinstance(one, keras.Layer) for one in listed):
            yield key, listed


def _shared_in_wrappers(model: keras.Model) -> set[int]:
    """The ``id`` of each layer or cell that wrappers hold several times."""
    layers = {id(layer): layer for layer in keras_private.layers_within(model)}
    held = Counter(id(one) for layer in layers.values() for _, listed in _wrapped(layer) for one in listed)
    return {one for one, times in held.items() if times > 1}


def _mark(config: dict[str, Any], layer: keras.Layer, shared: set[int]) -> None:
    """Say in the config of a wrapper which layers in it are one."""
    for key, listed in _wrapped(layer):
        said = config.get(key)
        for one, inner in zip(listed, said if isinstance(said, list) else [said], strict=True):
            if not is_layer(inner):
                continue
            if id(one) in shared:
                inner[SHARED] = id(one)
            _mark(inner["config"], one, shared)


def _config(layer: keras.Layer, shared: set[int]) -> dict[str, Any]:
    """The config of a layer, with the statistics that it learnt: from weights, Keras brings them back in part only."""
    if not is_adapted(layer):
        config = layer.get_config()
        if shared:
            _mark(config, layer, shared)
        return config
    learnt = {"mean": layer.adapt_mean, "variance": layer.adapt_variance}
    return layer.get_config() | {key: np.asarray(value).tolist() for key, value in learnt.items()}


def _plain(config: Any) -> Any:
    """The same config, where models in it call their layers without a training flag, and wrappers build their layers.

    Keras would build a wrapped layer at once, and its weights would not have the wrapper in their names.
    """
    if isinstance(config, list | tuple):
        return type(config)(map(_plain, config))
    if not isinstance(config, dict):
        return config
    if {"args", "kwargs"} == config.keys() and isinstance(config["kwargs"], dict) and config["kwargs"].get("training"):
        return {**config, "kwargs": {key: value for key, value in config["kwargs"].items() if key != "training"}}
    return {key: _plain(value) for key, value in config.items() if not (key == "build_config" and is_layer(config))}


def _call(layer: keras.Layer, *arguments: Any, **options: Any) -> Any:
    """The same call, without a training flag: one layer that trains would make those behind it train as well."""
    return layer(*arguments, **{key: value for key, value in options.items() if key != "training" or not value})


def copy_state(source: keras.Layer, target: keras.Layer) -> None:
    """Copy the weights, and what preprocessing layers learnt in ``adapt``, which is not all in weights."""
    copy_alphas(source, target)
    for new, old in zip(_weights(target), _weights(source), strict=True):
        new.assign(keras.ops.copy(old))  # on JAX, training would take the array from both
    olds = dict(ports.leaves(source)) if isinstance(source, keras.Model) else {"": source}
    news = dict(ports.leaves(target)) if isinstance(target, keras.Model) else {"": target}
    for path in olds.keys() & news.keys():
        for old, new in zip(*map(keras_private.layers_within, (olds[path], news[path])), strict=True):
            if not hasattr(old, "finalize_state") or (is_adapted(old) and new.input_mean is not None):
                continue
            store: dict[str, Any] = {}
            old.save_own_variables(store)
            new.load_own_variables(store)
            if hasattr(old, "load_assets"):
                with Scratch() as folder:
                    old.save_assets(str(folder))
                    new.load_assets(str(folder))


def _weights(layer: keras.Layer) -> list[keras.Variable]:
    """All weights but those of Normalization, which may be in the config of a copy."""
    inner = [held for held in keras_private.layers_within(layer) if isinstance(held, keras.layers.Normalization)]
    statistics = {id(weight) for held in inner for weight in held.weights}
    return [weight for weight in ordered_weights(layer) if id(weight) not in statistics]


def restore_alphas(model: keras.Model, saved: Saved) -> None:
    """Give adapters the ``lora_alpha`` of the file, which Keras forgets when it makes a Dense or an Embedding."""
    alphas = {where: it["config"]["lora_alpha"] for where, it in walk(saved.model) if "lora_alpha" in it["config"]}
    for where, layer in ports.leaves(model) if alphas else ():
        if where in alphas:
            layer.lora_alpha = alphas[where]
