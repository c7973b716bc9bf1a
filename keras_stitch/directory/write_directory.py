"""Writes the Kipoi directory of a graph: assembled, run through Kipoi, then put in place whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_stitch import files
from keras_stitch.directory import custom_objects_file, example_files, model_yaml
from keras_stitch.directory import hosting as hosting_of
from keras_stitch.directory.card import write_card
from keras_stitch.directory.dataloader_code import copy_components, write_dataloader
from keras_stitch.directory.dataloader_plan import Merged, merge
from keras_stitch.directory.packed_models import Packing
from keras_stitch.errors import SaveError
from keras_stitch.graphs.spec import GraphSpec, Wiring
from keras_stitch.keras_private import quiet_keras
from keras_stitch.kipoi import run_kipoi
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.templates import write_stitched_model, write_yaml
from keras_stitch.models.custom_objects import CustomObjects
from keras_stitch.models.sample_rows import table_dtype
from keras_stitch.models.save_keras import check_format
from keras_stitch.placement.plan import Plan
from keras_stitch.placement.stages import Stages
from keras_stitch.verify.certificate import Certificate
from keras_stitch.verify.run_stages import Whole

EXPECTED = "model_files/expected.h5"


ARCHITECTURE = "model_files/model.json"


CERTIFICATE = "certificate.json"


_CERTIFIED_ROWS = 10


_CHUNK_BYTES = 16_000_000


_CHUNK_ROWS = 10_000


class Workflow(Protocol):
    """What is asked of the models that run in environments of their own."""

    @property
    def spec(self) -> GraphSpec:
        """The whole graph."""

    @property
    def whole(self) -> Wiring:
        """The same, checked."""

    @property
    def plan(self) -> Plan:
        """Where all submodels run."""

    def remaining(self, merged: Merged) -> Merged:
        """The merged dataloader of what remains, of that of the whole graph."""

    def everything(self, merged: Merged) -> Merged:
        """The merged dataloader with all arguments that there are."""

    def write(
        self,
        directory: Path,
        merged: Merged,
        parts: Mapping[str, KipoiPart],
        chosen: Mapping[str, Any],
        step: Callable[[str], None],
    ) -> dict[str, Any]:
        """Writes ``workflow/``; returns the examples with those that were made."""


def write_directory(
    directory: str | Path,
    *,
    model: keras.Model | None,
    spec: GraphSpec,
    stages: Stages,
    packing: Packing | None = None,
    workflow: Workflow | None = None,
    dataloaders: Mapping[str, Any] | None = None,
    targets: Any = None,
    info: Mapping[str, Any] | None = None,
    examples: Mapping[str, Any] | None = None,
    hosting: str | Mapping[str, str] | None = None,
    format: str = "keras",
    overwrite: bool = False,
    picture: str,
    record: str,
    parts: Mapping[str, KipoiPart] | None = None,
    custom_objects: Mapping[str, CustomObjects] | None = None,
    trained: bool = False,
    certify: Callable[..., Certificate] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes a directory that ``kipoi test`` and ``kipoi predict`` accept, whole or not at all.

    Args:
        directory: Where to. Folders above it are made.
        model: The built model; ``None`` where no Keras model remains. Inputs are named like ``stages.inputs``, in that
            order; one output is a tensor, several are a dict by name. It is not changed; its optimizer is not saved.
        spec: The graph; with a workflow, what remains of it.
        stages: The same, checked, and where its submodels run.
        packing: The models that run in the dataloader, if any do.
        workflow: The models that run in environments of their own, if any do.
        dataloaders: Graph input or submodel -> ``Dataloader``, Kipoi directory, import path or class. Inputs that
            nobody covers are read from NPY, TSV, CSV or HDF5 files.
        targets: An example of a file with targets, as a path or a ``Dataloader``.
        info: ``authors``, ``license``, ``doc``, ``cite_as`` and so on; adds to what the parts say and overrides it.
        examples: Files or values for arguments of the merged dataloader, for ``kipoi test``.
        hosting: Where weights, expected predictions and examples will be found: a base URL, or
            ``{path in the directory: URL}``.
        format: ``"keras"`` or ``"h5"``.
        overwrite: Whether a Kipoi directory that is there is replaced.
        picture: The graph as SVG.
        record: The text of ``stitch.yaml``.
        parts: For submodels that came from Kipoi directories, what ``read_directory`` returned.
        custom_objects: For submodels that need custom objects, what was given, or what their directories bring.
        trained: Whether the model was trained after it was built, so that its weights are not those of the sources.
        certify: ``Subject.certify`` of this model: holds the file that was written against the parts, on the examples.
        progress: Called with a few words at every step.

    Returns:
        The directory.

    Raises:
        StitchError: When dataloaders, examples, info or hosting do not fit the graph.
        SaveError: When the target must not be replaced or cannot be written, when Kipoi does not predict what the
            model does, or when the certificate is not passed.
    """
    step = progress or (lambda _: None)
    target, wiring = Path(directory), stages.whole
    whole_spec = spec if workflow is None else workflow.spec
    if model is not None:
        check_format(model, format)
    files.check_target(target, overwrite=overwrite)
    step("reading the dataloaders")
    parts = _with_shared(whole_spec, parts or {})
    everything = merge(whole_spec, wiring if workflow is None else workflow.whole, dataloaders, parts, targets)
    model_yaml.check_names(stages, everything)
    for feeder in everything.feeders:
        if feeder.port is not None:
            table_dtype(feeder.port)
    said = model_yaml.statements(whole_spec, everything, parts)
    merged = everything if workflow is None else workflow.remaining(everything)
    target_schemas = model_yaml.target_schemas(wiring, parts, merged)
    chosen = example_files.choose_examples(
        everything if workflow is None else workflow.everything(everything), examples
    )
    kind = "Keras model" if packing is None else "Kipoi model"
    info_section = model_yaml.info_section(spec.name, said, info, kind)
    names = example_files.file_names(merged, {name: chosen[name] for name in chosen if name in merged.owners})
    carried = (
        custom_objects_file.carry(model, custom_objects or {}) if model is not None else custom_objects_file.Carried()
    )
    model_file = f"model_files/model.{format}"
    hostable = [*([model_file] if stages.last is None else []), *(packing.hostable() if packing is not None else ())]
    urls = hosting_of.resolve_urls(hosting, [*hostable, EXPECTED, *names.values()])
    requirements = [*carried.requirements, *(packing.requirements if packing is not None else ())]
    with files.new_directory(target, overwrite=overwrite) as place:
        (place / "stitch.yaml").write_text(record, encoding="utf-8")
        (place / "graph.svg").write_text(picture, encoding="utf-8")
        if workflow is not None:
            chosen = workflow.write(place, everything, parts, chosen, step)
            merged = workflow.remaining(everything)
        chosen = {name: value for name, value in chosen.items() if name in merged.owners}
        copy_components(place, merged)
        step("saving the model")
        if packing is not None:
            packing.write(place)
        saved = _write_final(place / model_file, model, packing, carried)
        placed = example_files.place_examples(place, chosen, names)
        inputs = model_yaml.input_schemas(stages, merged, parts)
        structured = packing.given(inputs) if packing is not None else inputs
        needed = said if workflow is None else model_yaml.statements(spec, merged, parts)
        dependencies = model_yaml.dependencies_section(needed, requirements, _framework(spec, stages))
        description = {
            **saved.described({}),
            "default_dataloader": ".",
            "info": info_section,
            "dependencies": dependencies,
            "schema": {"inputs": structured, "targets": target_schemas},
            **_writers(stages),
        }
        write_yaml(place / "model.yaml", description)

        def describe(known: Mapping[str, Any]) -> None:
            write_dataloader(
                place,
                spec.name,
                merged,
                structured,
                target_schemas,
                wiring.outputs,
                info_section,
                dependencies,
                known,
                packing,
            )

        describe(placed)
        step("making examples")
        before = set(place.rglob("*"))
        whole = Whole(stages, model, packing, place)
        placed |= example_files.add_random_tables(place, merged, wiring, whole, placed, names)[0]
        describe(placed)

        step("running Kipoi on the examples")
        run_kipoi.run_examples(place, place / EXPECTED)
        _remove_new(place, before | {place / EXPECTED} | {place / str(value) for value in placed.values()})
        called = model if model is not None else whole.last_called
        own_inputs = [port.name for port in stages.inputs]
        paths = ["/".join(map(str, path)) for path in packing.paths()] if packing is not None else own_inputs
        largest = run_kipoi.check_predictions(called, paths, wiring, place / EXPECTED)
        test: dict[str, Any] = {"expect": EXPECTED, "precision_decimal": run_kipoi.precision_decimal(largest)}
        certificate = None
        if certify is not None:
            if packing is None:
                own = run_kipoi.stored_inputs(place / EXPECTED, wiring, _CERTIFIED_ROWS)
            else:
                own = run_kipoi.read_inputs(place, _CERTIFIED_ROWS)
            certificate = certify(
                None if model is None else place / model_file,
                {"example": own},
                directory=place,
                objects_file=place / custom_objects_file.FILE if carried.files else None,
            )
            certificate.require()
            (place / CERTIFICATE).write_text(certificate.to_json(), encoding="utf-8")

        step("describing it")
        hosted = {file: hosting_of.remote_file(place / file, url) for file, url in urls.items()}
        if packing is not None:
            packing.host(place, hosted)
        test["expect"] = hosted.get(EXPECTED, EXPECTED)
        write_yaml(place / "model.yaml", {**description, **saved.described(hosted), "test": test})
        if hosted:
            describe(
                {
                    name: {**hosted[value], "name": Path(value).name}
                    if isinstance(value, str) and value in hosted
                    else value
                    for name, value in placed.items()
                }
            )
            (place / ".gitignore").write_text("".join(f"/{file}\n" for file in hosted), encoding="utf-8")
        plan = stages.plan if workflow is None else workflow.plan
        write_card(
            place,
            whole_spec,
            plan,
            stages,
            inputs,
            merged,
            said,
            description,
            placed,
            urls,
            model,
            trained,
            certificate,
        )
        step("putting it in place")
    return target


@dataclass(frozen=True)
class _Saved:
    """The model of a directory, as it was written.

    Attributes:
        defined_as: Its class, as ``model.yaml`` names it.
        args: Its arguments.
    """

    defined_as: str
    args: Mapping[str, Any]

    def described(self, hosted: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """The part of ``model.yaml`` that says how it is loaded, from files that may lie at URLs."""
        args = {key: hosted.get(value, value) if isinstance(value, str) else value for key, value in self.args.items()}
        return {"defined_as": self.defined_as, "args": args}


def _write_final(
    file: Path, model: keras.Model | None, packing: Packing | None, carried: custom_objects_file.Carried
) -> _Saved:
    """Writes the model of the directory: the Keras model into a file, or else the last submodel."""
    folder, place = file.parent, file.parent.parent
    if model is None:
        assert packing is not None
        folder.mkdir()
        written = packing.as_model(place)
        return _Saved(**written)
    write_model(model, file)
    # Keras warns about every .h5 file that it loads as a whole, so Kipoi is given the architecture beside it.
    extra = {"arch": ARCHITECTURE} if file.suffix == ".h5" else {}
    if carried.files:
        carried.write(place)
        extra["custom_objects"] = custom_objects_file.FILE
    return _Saved(write_stitched_model(place), {"weights": f"{folder.name}/{file.name}", **extra})


def write_model(model: keras.Model, path: Path) -> None:
    """Saves a model without its optimizer and loss, by the ending of the path; for ``.h5`` its architecture, too.

    Raises:
        SaveError: When Keras cannot write the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = keras.Model(model.inputs, model.output, name=model.name)
    try:
        with quiet_keras():
            bare.save(path)
        if path.suffix == ".h5":
            path.with_suffix(".json").write_text(bare.to_json(), encoding="utf-8")
    except OSError:
        raise
    except Exception as error:  # Keras, h5py and TensorFlow raise many kinds
        raise SaveError(
            f"Keras cannot save the model as {path.name}.", received=f"{type(error).__name__}: {error}"
        ) from error


def _framework(spec: GraphSpec, stages: Stages) -> str:
    """The framework of the directory's model; what was in memory says itself which packages it needs."""
    if stages.last is None:
        return "keras"
    submodel = spec.submodel(stages.last)
    return "kipoi" if submodel.source.in_memory else submodel.framework


def _with_shared(spec: GraphSpec, parts: Mapping[str, KipoiPart]) -> dict[str, KipoiPart]:
    owners = {submodel.name: submodel.share or submodel.name for submodel in spec.submodels}
    return {name: parts[owner] for name, owner in owners.items() if owner in parts}


def _writers(stages: Stages) -> dict[str, Any]:
    """How many rows Kipoi stores at once: its 10,000 are too many where rows are large."""
    ports = [*stages.inputs, *(output.port for output in stages.whole.outputs)]
    largest = 4
    for port in ports:
        size = 4
        for dimension in port.shape or ():
            size *= dimension or 10_000
        largest = max(largest, size)
    rows = max(1, _CHUNK_BYTES // largest)
    return {"writers": {"hdf5_chunk_size": rows}} if rows < _CHUNK_ROWS else {}


def _remove_new(place: Path, kept: set[Path]) -> None:
    """Removes what Kipoi and the components left: downloads, bytecode, indexes."""
    for path in sorted(place.rglob("*"), reverse=True):
        if path in kept or (path.is_dir() and any(path.iterdir())):
            continue
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
