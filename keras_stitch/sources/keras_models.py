"""Saved Keras models, and models and layers in memory, as submodels."""

from __future__ import annotations

from pathlib import Path

from keras_stitch.graphs.spec import Source
from keras_stitch.models import file_formats, load_keras
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.sources.added import Added, Request


def load_file(request: Request) -> Added:
    """A saved model; see ``load_keras.load_file``."""
    given, arch = request.objects(), request.arch_file()
    path = Path(request.source)
    source = Source("file", path.name, path=str(path.absolute()), arch=None if arch is None else str(arch))
    objects, kind = given.for_keras(), file_formats.recognise(path)
    with in_registry(objects):
        submodel, blueprint = load_keras.load_file(
            request.name, source, path, kind=kind, arch=arch, custom_objects=objects, **request.keras_options
        )
    return Added.of_keras(submodel, blueprint, given)


def load_model(request: Request) -> Added:
    """A ``keras.Model``; see ``load_keras.load_model``."""
    given = request.objects()
    with in_registry(given.for_keras()):
        submodel, blueprint = load_keras.load_model(request.name, request.source, **request.keras_options)
    return Added.of_keras(submodel, blueprint, given)


def load_layer(request: Request) -> Added:
    """A Keras layer; see ``load_keras.load_layer``."""
    given = request.objects()
    with in_registry(given.for_keras()):
        submodel, blueprint = load_keras.load_layer(request.name, request.source, **request.keras_options)
    return Added.of_keras(submodel, blueprint, given)
