"""A submodel of any source: one table says which kinds there are, how each is recognised and what loads it.

Kipoi is imported only where a source needs it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from keras_stitch import checks
from keras_stitch.addresses.parse_address import HubAddress, is_address, parse
from keras_stitch.checks import path_of
from keras_stitch.errors import SourceError, StitchError, nearest, within_recursion_limit
from keras_stitch.files import read_files
from keras_stitch.graphs.names import zoo_name
from keras_stitch.graphs.source import SAVED_BACKENDS
from keras_stitch.graphs.spec import Connection, Source
from keras_stitch.graphs.spec_file import ModelEntry
from keras_stitch.models import custom_objects, file_formats, installed_objects, layer_config, load_keras
from keras_stitch.models.clone import learnt
from keras_stitch.models.custom_objects import CustomObjects, Given, in_registry
from keras_stitch.models.file_checks import UnknownObjectsError
from keras_stitch.placement import plan, requirements
from keras_stitch.repairs.saved_objects import is_of_keras, is_saved_model
from keras_stitch.sources import by_address
from keras_stitch.sources.added import OF_KERAS, Added, Request

# Endings of the files at the top of a Kipoi directory that say what its model and its dataloader are.
_DESCRIBING = (".yaml", ".yml", ".py")


# -- how a kind is recognised -------------------------------------------------------------------------------------
def is_in_zoo(source: object, folder: Path = Path()) -> bool:
    """Whether a source is a name in a source of Kipoi's, and no file of a folder has it."""
    return isinstance(source, str) and zoo_name(source) is not None and not (folder / source).exists()


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _is_directory(source: Any) -> bool:
    return _is_path(source) and file_formats.is_kipoi_directory(Path(source))


def _is_onnx(source: Any) -> bool:
    """Whether a source is the path of an ONNX file, which nothing but its ending says: it has no first bytes."""
    return _is_path(source) and os.fsdecode(source).lower().endswith(".onnx") and not read_files.is_directory(source)


def _is_bare(source: Any) -> bool:
    """Whether a source is a SavedModel that holds no Keras layers."""
    return _is_path(source) and is_saved_model(Path(source)) and not is_of_keras(Path(source))


def _is_of(source: object, package: str, name: str) -> bool:
    """Whether a source is of a class of a package, which is not imported for that."""
    base = getattr(sys.modules.get(package), name, None)
    return base is not None and isinstance(source, base)


# -- how it is loaded ---------------------------------------------------------------------------------------------
def _load_file(request: Request) -> Added:
    path = file_formats.located(Path(request.source))
    kind = file_formats.recognise(path)
    if request.signature is not None:
        if kind != file_formats.SAVED_MODEL:
            raise _not_for_it(request, "signature", "")
        return _load_graph(request)
    layers, arch = request.replacements(), request.arch_file()
    given = request.objects()
    for layer in layers.values():
        given = custom_objects.of_layer(layer, given)
    source = Source(
        "file",
        f"{path.name} (SavedModel of Keras)" if kind == file_formats.SAVED_MODEL else path.name,
        path=str(path.absolute()),
        arch=None if arch is None else str(arch),
        replaced={name: layer_config.layer_config(layer) for name, layer in layers.items()},
        replaced_in_memory=tuple(name for name, layer in layers.items() if learnt(layer)),
    )
    options = {"kind": kind, "arch": arch, "replace": layers, **request.options_of_file()}

    def load(given: CustomObjects) -> Added:
        objects = given.for_keras()
        with in_registry(objects):
            loaded = load_keras.load_file(request.name, source, path, custom_objects=objects, **options)
        return Added.of_keras(request, *loaded, given)

    try:
        return load(given)
    except UnknownObjectsError as problem:
        found = installed_objects.find(problem.missing)
        if not found.objects:
            raise
        return load(found | given).with_repair(installed_objects.repair(found))


def _load_held(request: Request) -> Added:
    """A ``keras.Model`` or a layer in memory."""
    given = request.objects()
    load = load_keras.load_model if isinstance(request.source, keras.Model) else load_keras.load_layer
    submodel, blueprint = load(request.name, request.source, custom_objects=given.for_keras(), outputs=request.outputs)
    added = Added.of_keras(request, submodel, blueprint, given)
    if not submodel.is_layer:
        return added
    # A stitch.yaml holds its config, and names what Keras does not have.
    said = custom_objects.of_layer(request.source, given)
    source = replace(added.submodel.source, custom_objects=said.said, live_objects=said.live)
    return replace(added, submodel=replace(added.submodel, source=source))


def _by(module: str, function: str) -> Callable[[Request], Added]:
    """A function of a module that imports Kipoi, imported when it is called."""
    return lambda request: getattr(importlib.import_module(f"keras_stitch.sources.{module}"), function)(request)


_load_graph = _by("saved_model_graphs", "load_graph")


# -- the table ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        what: What messages call one of them.
        recognises: Whether a source is of this kind; asked only if it is of none of the kinds before.
        load: Loads it.
        options: The options of ``Graph.add`` that it takes, beside ``placement``.
        several: What messages about options that few kinds take call several of them.
    """

    what: str
    recognises: Callable[[Any], bool]
    load: Callable[[Request], Added]
    options: tuple[str, ...] = OF_KERAS
    several: str = ""


KINDS = (
    Kind("a name such as 'kipoi:DeepSEA/predict'", is_in_zoo, _by("kipoi_models", "load_zoo_model")),
    Kind("the path of a Kipoi directory", _is_directory, _by("kipoi_models", "load_directory")),
    Kind("the path of an ONNX file", _is_onnx, _by("onnx_models", "load_onnx"), ("outputs",)),
    Kind("the path of a SavedModel of TensorFlow", _is_bare, _load_graph, ("signature",), "SavedModels of TensorFlow"),
    Kind("the path of a saved model", _is_path, _load_file, (*OF_KERAS, "signature")),
    Kind("a keras.Model", lambda source: isinstance(source, keras.Model), _load_held),
    # Before the modules of PyTorch: on that backend of Keras, every layer is one.
    Kind("a Keras layer", lambda source: isinstance(source, keras.Layer), _load_held),
    Kind(
        "a scikit-learn estimator",
        lambda source: _is_of(source, "sklearn.base", "BaseEstimator"),
        _by("estimators", "load_estimator"),
        ("shapes", "method"),
        "estimators of scikit-learn",
    ),
    Kind(
        "a torch.nn.Module",
        lambda source: _is_of(source, "torch.nn", "Module"),
        _by("torch_modules", "load_module"),
        ("shapes",),
        "modules of PyTorch",
    ),
)


def load(name: str, source: Any, **options: Any) -> Added:
    """Load what ``Graph.add`` is given, of whatever kind it is, with its options.

    Raises:
        SourceError: If the source cannot be used.
        StitchError: If the custom objects cannot be had, or an option does not go with the source.
    """
    request = Request(name, source, **options)
    added = by_address.load(request, _load)
    added = replace(added, files={**_read_from(added), **added.files})
    if added.part is None:
        return added
    said = added.part.dependencies
    requires, python = requirements.declared(said), requirements.python_of(said) or ""
    known = replace(added.submodel, requires=requires, unmet=requirements.unmet(requires), python=python)
    return replace(added, submodel=known)


def _load(request: Request) -> Added:
    kind = _kind_of(request)
    _check_options(request, kind)
    by_address.check_before(request, is_path=_is_path(request.source) and not is_in_zoo(request.source))
    with within_recursion_limit(f"Submodel '{request.name}'"):
        added = kind.load(request)
    by_address.check_after(request, added)
    return added


def _read_from(added: Added) -> dict[Path, str]:
    """The files of a source and their sha256; what is copied of other frameworks has a sha256 of its own."""
    source, part = added.submodel.source, added.part
    if source.path is None or added.files:
        return dict(added.files)
    found = {}
    weights = Path(source.path) if part is None else getattr(part, "weights", None)
    if weights is not None:
        found[weights] = str(source.sha256)
    described = [] if part is None else [path for path in sorted(part.path.iterdir()) if path.suffix in _DESCRIBING]
    arch = added.arch if source.arch is None else Path(source.arch)
    for path in described if arch is None else [*described, arch]:
        if path.is_file():
            found[path] = read_files.sha256(path)
    return found


def _kind_of(request: Request) -> Kind:
    if _is_path(request.source):
        path_of(request.source, f"The source of submodel '{request.name}'")
    for kind in KINDS:
        if kind.recognises(request.source):
            return kind
    *others, last = (kind.what for kind in KINDS)
    raise SourceError(
        f"Submodel '{request.name}' cannot be made of this {type(request.source).__name__}.",
        expected=f"an address such as 'hf://user/repo', {', '.join(others)} or {last}",
        received=repr(request.source)[:200],
    )


def _check_options(request: Request, kind: Kind) -> None:
    for option, why in (("shapes", ": the source says what it takes"), ("method", ""), ("signature", "")):
        if getattr(request, option) is not None and option not in kind.options:
            raise _not_for_it(request, option, why)
    request.refuse_keras_options(but=kind.options)
    _check_saved_backend(request)
    instead = {
        "stateless": "make the layer with stateful=False",
        "part": "add the part: model.get_layer(name)",
        "replace": "change the model",
    }
    for option, fix in instead.items() if not _is_path(request.source) else ():
        if getattr(request, option):
            raise StitchError(
                f"{option}= of submodel '{request.name}' is for files, and this is a model in memory.",
                fix=f"Leave it out, and {fix}.",
            )
    request.arch_file()  # no path is a mistake also where the source needs no file


def _not_for_it(request: Request, option: str, why: str) -> StitchError:
    owners = " and ".join(known.several for known in KINDS if option in known.options and known.several)
    return StitchError(f"{option}= of submodel '{request.name}' is for {owners} alone.", fix=f"Leave it out{why}.")


def _check_saved_backend(request: Request) -> None:
    given = request.saved_backend
    if given is not None and given not in SAVED_BACKENDS:
        raise StitchError(
            f"saved_backend= of submodel '{request.name}' is none that files are of.",
            expected=nearest(str(given), SAVED_BACKENDS),
            received=repr(given)[:200],
        )
    if given is not None and not _is_path(request.source):
        raise StitchError(
            f"saved_backend= of submodel '{request.name}' is for files, and this is a model in memory.",
            received=f"saved_backend={given!r}",
            fix="Leave it out.",
        )


def placed(entry: ModelEntry, folder: Path, given: Given) -> tuple[Any, dict[str, Any]]:
    """The source and the options of ``Graph.add`` for an entry of a ``stitch.yaml``, which shares no weights.

    Args:
        entry: The entry.
        folder: The folder of the file.
        given: What ``Graph.from_yaml`` was given in addition to what the entry names.

    Raises:
        StitchError: If there is no such layer, or the custom objects cannot be had.
    """
    options = dict(entry.options)
    objects = _named_objects(options.get("custom_objects"), f"models.{entry.name}", folder, given)
    options["custom_objects"] = objects
    if "arch" in options and not is_address(options["arch"]):
        options["arch"] = folder / options["arch"]
    if "replace" in options:
        known = objects.for_keras()
        options["replace"] = {
            layer: layer_config.layer_from_config(said, known) for layer, said in options["replace"].items()
        }
    if entry.layer is not None:
        return layer_config.layer_from_config(entry.layer, objects.for_keras()), options
    assert entry.source is not None
    if is_address(entry.source):
        address = parse(entry.source)
        if isinstance(address, HubAddress):
            address = replace(address, commit=entry.commit)
        return address, {**options, "sha256": entry.sha256}
    place = path_of(folder / entry.source, f"models.{entry.name}")
    return entry.source if is_in_zoo(entry.source, folder) else place, options


def with_objects(connection: Connection, named: Mapping[str, Any], folder: Path, given: Given) -> Connection:
    """A connection of a ``stitch.yaml`` with the custom objects of its merge; the arguments are those of ``placed``.

    ``named`` has what the file names for some connections, by target.
    """
    if connection.merge.kind != "layer":
        return connection
    objects = _named_objects(named.get(connection.target), f"connections.{connection.target}", folder, given)
    return replace(connection, merge=replace(connection.merge, objects=objects))


def _named_objects(named: Any, place: str, folder: Path, given: Given) -> CustomObjects:
    objects = custom_objects.read(given, "custom_objects= of from_yaml")
    found = custom_objects.placed(list(named) if named else None, folder)
    return objects | custom_objects.read(found, f"custom_objects of {place}")


def load_as_said(
    name: str,
    source: Any,
    *,
    trainable: object = None,
    outputs: Any = None,
    placement: str | None = None,
    stateless: object = False,
    signature: object = None,
    part: str | None = None,
    **options: Any,
) -> Added:
    """A source as ``add`` takes it, with its options checked."""
    plan.check_placement(placement, name)
    return load(
        name,
        source,
        trainable=checks.flag_of(trainable, f"trainable= of submodel '{name}'"),
        outputs=None if outputs is None else checks.names(outputs, f"outputs= of submodel '{name}'"),
        placement=placement,
        stateless=checks.flag_of(stateless, f"stateless= of submodel '{name}'") or None,
        signature=None if signature is None else checks.one_name(signature, f"signature= of submodel '{name}'"),
        part=None if part is None else checks.one_name(part, f"part= of submodel '{name}'"),
        **options,
    )
