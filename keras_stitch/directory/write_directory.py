"""Writes the Kipoi directory of a graph: assembled, run through Kipoi, then put in place whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from keras_stitch import directory_layout as layout
from keras_stitch.directory import custom_objects_file, example_files, hub_metadata, model_info, model_schemas
from keras_stitch.directory import hosting as hosting_of
from keras_stitch.directory.card import ModelCard
from keras_stitch.directory.dataloader_code import GeneratedDataloader, copy_components
from keras_stitch.directory.dataloader_plan import merge
from keras_stitch.directory.runtime_files import write_entrances
from keras_stitch.directory.save_request import SavedGraph, SaveOptions
from keras_stitch.directory.split_plan import split
from keras_stitch.errors import SaveError
from keras_stitch.files import overwriting
from keras_stitch.files.scratch import Scratch, folders_of_keras
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.kipoi import run_directory
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.optional_kipoi import has_kipoi
from keras_stitch.kipoi.templates import write_stitched_model, write_yaml
from keras_stitch.models.save_keras import check_format, write
from keras_stitch.placement.cut_into_stages import Stages
from keras_stitch.terminal import Step
from keras_stitch.verify.certificate import Certificate
from keras_stitch.verify.run_stages import Whole

_CERTIFIED_ROWS = 10
_CHUNK_BYTES = 16_000_000
_CHUNK_ROWS = 10_000


def write_directory(
    directory: str | Path, graph: SavedGraph, options: SaveOptions | None = None, progress: Step | None = None
) -> Path:
    """Writes a directory that ``kipoi test`` and ``kipoi predict`` accept, whole or not at all; returns its path.

    Raises:
        StitchError: When dataloaders, examples, info or hosting do not fit the graph.
        SaveError: When the target must not be replaced or cannot be written, when Kipoi does not predict what the
            model does, or when the certificate is not passed.
    """
    target, options, step = Path(directory), options or SaveOptions(), progress or (lambda _: None)
    if graph.model is not None:
        check_format(graph.model, options.format)
    overwriting.check_target(target, overwrite=options.overwrite)
    step("reading the dataloaders")
    draft = Draft(graph, options, step)
    with overwriting.new_directory(target, overwrite=options.overwrite) as place, folders_of_keras():
        draft.write(place)
        step("putting it in place")
    return target


class Draft:
    """A directory before it is written: what is in it, with everything refused that can be before that."""

    def __init__(self, graph: SavedGraph, options: SaveOptions, step: Step):
        self.graph, self.step, self.stages = graph, step, graph.stages
        self.parts = _with_shared(graph.spec, graph.parts)
        whole = merge(
            graph.spec, graph.flow.whole, options.dataloaders, self.parts, options.targets, options.require_ids
        )
        model_schemas.check_names(self.stages, whole)
        self.loaders = split(graph.flow, whole)
        self.merged = self.loaders.remaining
        self.said = model_info.statements(graph.spec, whole, self.parts)
        self.targets = model_schemas.target_schemas(self.stages.whole, self.parts, self.merged)
        self.inputs = model_schemas.input_schemas(self.stages, self.merged, self.parts)
        self.chosen = example_files.choose_examples(self.loaders.everything, options.examples)
        kind = "Keras model" if graph.packing is None else "Kipoi model"
        self.info = model_info.info_section(graph.spec.name, self.said, options.info, kind)
        self.example_names = example_files.file_names(self.merged, self._of_the_rest(self.chosen))
        self.carried = custom_objects_file.Carried()
        if graph.model is not None:
            self.carried = custom_objects_file.carry(graph.model, graph.custom_objects)
        self.front_matter = hub_metadata.front_matter(graph.spec, self.info, options.card)
        self.model_file = layout.model_file(options.format)
        hostable = [] if graph.model is None else [self.model_file]
        hostable += graph.packing.hostable() if graph.packing is not None else []
        self.urls = hosting_of.resolve_urls(options.hosting, [*hostable, layout.EXPECTED, *self.example_names.values()])

    def write(self, place: Path) -> None:
        """Writes all files into an empty directory, runs Kipoi on the examples and compares the predictions."""
        (place / layout.RECORD).write_text(self.graph.record, encoding="utf-8")
        (place / layout.PICTURE).write_text(self.graph.picture, encoding="utf-8")
        write_entrances(place)
        placed = self._write_jobs(place)
        copy_components(place, self.merged)
        model = self._write_model(place)
        description = self._description(model)
        write_yaml(place / layout.MODEL_YAML, description)
        loader = GeneratedDataloader(
            self.graph.spec.name,
            self.merged,
            description["schema"]["inputs"],
            self.targets,
            self.info,
            description["dependencies"],
            self.graph.packing,
        )
        loader.write(place, placed)
        self.step("making examples")
        before = set(place.rglob("*"))
        whole = Whole(self.stages, self.graph.model, self.graph.packing, place)
        made, _ = example_files.add_random_tables(
            place, self.merged, self.stages.whole, whole, placed, self.example_names
        )
        examples = placed | made
        loader.write(place, examples)
        digits = self._run(place, whole)
        groups = run_directory.rows_in_step(place)
        _remove_new(place, before | {place / layout.EXPECTED} | {place / str(value) for value in examples.values()})
        certificate = self._certify(place)
        self.step("describing it")
        hosted = self._host(place, loader, examples)
        test = {"expect": hosted.get(layout.EXPECTED, layout.EXPECTED), "precision_decimal": digits}
        write_yaml(place / layout.MODEL_YAML, {**description, **hosting_of.hosted_model(model, hosted), "test": test})
        card = ModelCard(self.graph, self.merged, self.inputs, self.said, description, examples, self.urls, certificate)
        card.write(place, groups, front_matter=self.front_matter)

    def _of_the_rest(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The examples of arguments of what remains."""
        return {name: value for name, value in chosen.items() if name in self.merged.owners}

    # -- steps -----------------------------------------------------------------

    def _write_jobs(self, place: Path) -> dict[str, Any]:
        """Writes the models of jobs, if any, and the examples; returns these as ``dataloader.yaml`` names them."""
        if self.graph.workflow is None:
            return example_files.place_examples(place, self.chosen, self.example_names)
        with Scratch() as scratch:
            workflow = self.graph.workflow(place, scratch, self.loaders, self.parts, self.chosen, self.step)
            workflow.write()
            self.merged = self.merged.made_by(workflow.made_by)
            return example_files.place_examples(place, self._of_the_rest(workflow.chosen), self.example_names)

    def _write_model(self, place: Path) -> dict[str, Any]:
        """Writes the models: the packed ones, then the Keras model into a file, or else the last submodel.

        Returns:
            How ``model.yaml`` says that the model is loaded, while nothing is hosted.
        """
        self.step("saving the model")
        packing, model = self.graph.packing, self.graph.model
        if packing is not None:
            packing.write(place)
        if model is None:
            assert packing is not None
            (place / layout.MODEL_FILES).mkdir()
            return packing.as_model(place)
        write_model(model, place / self.model_file)
        # Keras warns about every .h5 file that it loads as a whole, so Kipoi is given the architecture beside it.
        extra = {"arch": layout.ARCHITECTURE} if self.model_file.endswith(".h5") else {}
        if self.carried.files:
            self.carried.write(place)
            extra["custom_objects"] = layout.CUSTOM_OBJECTS
        return {"defined_as": write_stitched_model(place), "args": {"weights": self.model_file, **extra}}

    def _description(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """What ``model.yaml`` says while nothing is hosted and nothing was tested."""
        packing, flow = self.graph.packing, self.graph.flow
        needed = model_info.statements(flow.spec, self.merged, self.parts)
        requirements = [*self.carried.requirements, *(packing.requirements if packing is not None else ())]
        requirements += example_files.requirements(self.merged, self.chosen)
        return {
            **model,
            "default_dataloader": ".",
            "info": self.info,
            "dependencies": model_info.dependencies_section(needed, requirements, _framework(flow.spec, self.stages)),
            "schema": {
                "inputs": packing.given(self.inputs) if packing is not None else self.inputs,
                "targets": self.targets,
            },
            **_writers(self.stages),
        }

    def _run(self, place: Path, whole: Whole) -> int:
        """Runs the directory on its examples; returns how many decimals of the predictions are those of the model."""
        self.step("running the examples")
        expected, packing = place / layout.EXPECTED, self.graph.packing
        run_directory.run_examples(place, expected)
        paths = [port.name for port in self.stages.inputs]
        if packing is not None:
            paths = ["/".join(map(str, path)) for path in packing.paths()]
        called = self.graph.model if self.graph.model is not None else whole.last_called
        largest = run_directory.check_predictions(called, paths, self.stages.whole, expected)
        if has_kipoi():
            from keras_stitch.kipoi.run_kipoi import check_in_kipoi

            self.step("running Kipoi on the examples")
            check_in_kipoi(place, expected)
        return run_directory.precision_decimal(largest)

    def _certify(self, place: Path) -> Certificate | None:
        """Compares what was written with the parts, and writes the certificate."""
        if self.graph.certify is None:
            return None
        if self.graph.packing is None:
            own = run_directory.stored_inputs(place / layout.EXPECTED, self.stages.whole, _CERTIFIED_ROWS)
        else:
            own = run_directory.read_inputs(place, _CERTIFIED_ROWS)
        certificate = self.graph.certify(
            None if self.graph.model is None else place / self.model_file,
            {"example": own},
            directory=place,
            objects_file=place / layout.CUSTOM_OBJECTS if self.carried.files else None,
        )
        certificate = replace(
            certificate, run_by=("its own code", *((f"Kipoi {version('kipoi')}",) if has_kipoi() else ()))
        )
        certificate.require()
        (place / layout.CERTIFICATE).write_text(certificate.to_json(), encoding="utf-8")
        return certificate

    def _host(self, place: Path, loader: GeneratedDataloader, examples: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Has the directory load from URLs the files that are hosted; returns what Kipoi needs to download them."""
        hosted = {file: hosting_of.remote_file(place / file, url) for file, url in self.urls.items()}
        if self.graph.packing is not None:
            self.graph.packing.host(place, hosted)
        if hosted:
            remote = {name: hosted[value] for name, value in examples.items() if str(value) in hosted}
            named = {name: {**known, "name": Path(examples[name]).name} for name, known in remote.items()}
            loader.write(place, {**examples, **named})
            (place / layout.GIT_IGNORES).write_text("".join(f"/{file}\n" for file in hosted), encoding="utf-8")
        return hosted


def write_model(model: keras.Model, path: Path) -> None:
    """Saves a model without its optimizer and loss, by the ending of the path; for ``.h5`` its architecture, too.

    Raises:
        SaveError: When Keras cannot write the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = keras.Model(model.inputs, model.output, name=model.name)
    try:
        write(bare, path)
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
    largest = max(4 * math.prod(size or 10_000 for size in port.row) for port in ports)  # bytes
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
