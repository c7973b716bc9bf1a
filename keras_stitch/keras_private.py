"""Every private name of Keras that is used here, and what Keras only says in the text of a message.

Each is one small function, so that a new version of Keras can break nothing but this module. Its docstring says what
the public interface lacks.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import h5py
import keras

# The module that a config names for a functional model. There is a public name for the class, but none that a config
# could give: Keras writes this one, and looks the class up by it.
FUNCTIONAL_MODULE = "keras.src.models.functional"


# The modules that a config names for operations, which are no layers: Keras writes these, too.
_OPERATION_MODULES = tuple(f"keras.src.ops.{name}" for name in ("numpy", "math", "nn", "core", "image"))


@contextlib.contextmanager
def temporary_folders(make: Callable[[], str]) -> Iterator[None]:
    """Have ``make`` make the folders that Keras unpacks archives in, of which it leaves some behind when it fails."""
    library = keras.src.saving.saving_lib
    before, library.get_temp_dir = library.get_temp_dir, make
    try:
        yield
    finally:
        library.get_temp_dir = before


def operation_module(kind: str) -> str | None:
    """The module that a config names for an operation of a class; ``None`` if Keras has no such operation."""
    for name in _OPERATION_MODULES:
        found = getattr(importlib.import_module(name), kind, None)
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return name
    return None


def is_operation_module(name: object) -> bool:
    """Whether a module that a config names has operations."""
    return name in _OPERATION_MODULES


def as_hdf5(model: keras.Model) -> memoryview:
    """What ``model.save`` writes into an ``.h5`` file: it takes a path only, and HDF5 may crash on a full disk."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(model, file)
    return content.getbuffer()


def layers_within(layer: keras.Layer, *, include_self: bool = True) -> Iterator[keras.Layer]:
    """A layer and all that it holds at any depth, in wrappers and cells, too: ``model.layers`` are the outermost."""
    return iter(layer._flatten_layers(include_self=include_self))


def held_layers(layer: keras.Layer) -> Sequence[keras.Layer]:
    """The layers that a layer holds itself; those in a wrapper are no operations of a model."""
    return list(getattr(layer, "_layers", None) or ())


def own_trainable_weights(layer: keras.Layer) -> Sequence[keras.Variable]:
    """The weights that a layer itself trains unless it is frozen: ``trainable_weights`` is empty for a frozen one."""
    return list(layer._trainable_variables)


def calls(model: keras.Model) -> list[Any]:
    """The calls in the graph of a model, from its inputs to its outputs, each with operation, arguments and tensors.

    ``layer.input`` and ``layer.output`` are those of the first call of a layer, perhaps in another model. What is
    called in nested models is not among them; a layer that is no functional model has no calls.
    """
    graph = model._functional if isinstance(model, keras.Sequential) else model
    by_depth = getattr(graph, "_nodes_by_depth", {})
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def maker(tensor: keras.KerasTensor) -> keras.Operation:
    """The layer or operation that a symbolic tensor comes from, which a tensor does not say in public."""
    return tensor._keras_history.operation


def mask_of(tensor: Any) -> Any:
    """The mask that Keras carries along with a tensor, ``None`` where there is none."""
    return keras.src.backend.get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Make a tensor carry a mask. ``mask=`` in a call is only for layers that heed one, and for one input."""
    keras.src.backend.set_keras_mask(tensor, mask)


def carry_masks(layer: keras.Layer, *arguments: Any, **options: Any) -> list[bool]:
    """Whether each output of a layer carries a mask when it runs, where nothing that it is called on does.

    A symbolic call does not say what layers do that a user's class calls: their tensors are not those of the graph.
    """
    found: list[bool] = []

    def run(*arguments: Any, **options: Any) -> Any:
        made = layer(*arguments, **options)
        found[:] = [mask_of(tensor) is not None for tensor in keras.tree.flatten(made)]
        return made

    keras.src.backend.compute_output_spec(run, *arguments, **options)
    return found


def given_vocabulary(layer: keras.Layer) -> Any:
    """The vocabulary that a lookup layer was made with, ``None`` where it learns one by ``adapt``.

    ``get_vocabulary`` gives either.
    """
    return getattr(getattr(layer, "_lookup_layer", layer), "input_vocabulary", None)


def archive_name(class_name: str) -> str:
    """What a ``.keras`` archive calls the group of the first layer of a class: ``batch_normalization``."""
    return str(keras.src.utils.naming.to_snake_case(class_name))


def shared_objects() -> contextlib.AbstractContextManager[None]:
    """Within it, what has the same ``shared_object_id`` in a config becomes one object, as in a ``.keras`` file.

    Keras also gives ids to objects that it copies and drops, whose ids later objects may have: only where it is needed.
    """
    return keras.src.saving.serialization_lib.ObjectSharingScope()


@contextlib.contextmanager
def build_sequentials_once() -> Iterator[None]:
    """Build a ``Sequential`` when all layers of its config are there: Keras builds it anew for each that it adds.

    So its layers are called once, too.
    """
    read, add = keras.Sequential.__dict__["from_config"], keras.Sequential.add
    reads = ContextVar("reads", default=False)  # other threads may add layers meanwhile

    def from_config(cls: Any, config: Any, custom_objects: Any = None) -> Any:
        token = reads.set(True)
        try:
            model = read.__func__(cls, config, custom_objects)
        finally:
            reads.reset(token)
        if model._layers and not model._functional:
            model._maybe_rebuild()
        return model

    def add_layer(model: Any, layer: Any, rebuild: bool = True) -> None:
        add(model, layer, rebuild=rebuild and not reads.get())

    keras.Sequential.from_config, keras.Sequential.add = classmethod(from_config), add_layer
    try:
        yield
    finally:
        keras.Sequential.from_config, keras.Sequential.add = read, add


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Without Keras' remarks on the age of the HDF5 format and on arguments of old layers."""
    absl = logging.getLogger("absl")
    absl.addFilter(_not_about_hdf5)
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        stack.callback(absl.removeFilter, _not_about_hdf5)
        warnings.filterwarnings("ignore", message=r"Do not pass an `input_shape`", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"You are saving your model as an HDF5 file", category=UserWarning)
        yield


@contextlib.contextmanager
def quiet_about_masks() -> Iterator[None]:
    """Without Keras' remark that a layer drops a mask, which it says of every functional model, heeded in it or not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*was passed an input with a mask", category=UserWarning)
        yield


def _not_about_hdf5(record: logging.LogRecord) -> bool:
    return "HDF5 file" not in record.getMessage() and "No training configuration" not in record.getMessage()


def layer_without_weights(error: Exception) -> str | None:
    """The name of a layer for which an archive has no weights, from Keras' error about it."""
    found = re.search(r"Layer '(.+?)' expected [1-9]\d* variables, but received 0 variables", str(error))
    return found[1] if found else None


def is_lambda_refusal(error: Exception) -> bool:
    """Whether Keras refused to run Python code that a file or a config holds."""
    text = str(error)
    return "lambda" in text.lower() and ("unsafe" in text or "safe_mode" in text or "arbitrary code" in text)
