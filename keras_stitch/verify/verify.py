"""Holds a stitched model against its parts: random, example and given inputs, before and after a reload."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_stitch
from keras_stitch import directory_layout as layout
from keras_stitch.checks import whole_number
from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.files import overwriting
from keras_stitch.files.read_files import is_directory, is_file
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.mask_borders import stopped
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.spec import GraphSpec, Port, Wiring
from keras_stitch.models import mask_passage, merge_layers, sample_rows
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.sample_rows import given_inputs
from keras_stitch.models.save_keras import save_model
from keras_stitch.models.stored_weights import non_finite
from keras_stitch.placement.cut_into_stages import Stages, parts
from keras_stitch.placement.requirements import installed
from keras_stitch.verify.certificate import Certificate, Check, InputRange
from keras_stitch.verify.equality import compare
from keras_stitch.verify.fresh_process import Arrays
from keras_stitch.verify.predict_program import predict
from keras_stitch.verify.reference import Reference
from keras_stitch.verify.reload_model import HERE, Reloaded, Reloading
from keras_stitch.verify.run_stages import Packed, Whole
from keras_stitch.verify.submodel_sources import SubmodelSources

ROWS = 10
RANDOM, EXAMPLE, GIVEN = "random", "example", "given"


@dataclass(frozen=True)
class Subject:
    """A stitched model and the graph that it was built of.

    Attributes:
        spec: The graph.
        stages: The same, checked: where its submodels run.
        sources: What its submodels are made of.
        model: What is held against the parts: the Keras model that remains, ``None`` where none does. Its inputs are
            named like those of ``stages``, in that order.
        trained: Whether it was given, so that its weights may differ from those of the sources.
        packed: The models that run in the dataloader, if any do.
        remarks: What the certificate should note besides.
        progress: Called with a few words at every step.
    """

    spec: GraphSpec
    stages: Stages
    sources: SubmodelSources
    model: keras.Model | None
    trained: bool = False
    packed: Packed | None = None
    remarks: tuple[str, ...] = ()
    progress: Callable[[str], None] = field(default=lambda _: None)

    @property
    def wiring(self) -> Wiring:
        """All that is compared, in whatever stage it runs."""
        return self.stages.whole

    def verify(self, data: object = None, *, rows: int = ROWS, seed: int = 0, format: str = "keras") -> Certificate:
        """Save the model into a temporary folder, load it again and compare; see ``Graph.verify``."""
        given = None if data is None else given_inputs(data, self.wiring)
        with Scratch() as place:
            self.progress("saving it")
            if self.packed is not None:
                self.packed.write(place)
            file = None if self.model is None else save_model(self.model, place / f"model.{format}")
            return self.certify(file, {} if given is None else {GIVEN: given}, directory=place, rows=rows, seed=seed)

    def certify(
        self,
        file: Path | None,
        sets: Mapping[str, Arrays],
        *,
        directory: Path,
        objects_file: Path | None = None,
        rows: int = ROWS,
        seed: int = 0,
    ) -> Certificate:
        """Compare the parts, the model and what a file holds of it, on random inputs and on others.

        Args:
            file: The saved Keras model; ``None`` where there is none.
            sets: ``EXAMPLE`` or ``GIVEN`` -> graph input -> array of shape ``(rows, ...)``.
            directory: Where the packed models were written.
            objects_file: A Python file with the custom objects that the saved model needs.
            rows: How many random rows.
            seed: The seed of the random rows.

        Raises:
            StitchError: If nothing can be compared: no inputs can be made up, or the parts refuse those given.
            SaveError: If the saved model cannot be loaded again.
        """
        rows, seed = whole_number("rows", rows, 1), whole_number("seed", seed, 0)
        notes = [*self.remarks, *self._non_finite(), *stopped(self.wiring, parts(self.stages.steps))]
        whole = Whole(self.stages, self.model, self.packed, directory)
        bounds = whole.bounds()
        try:
            sets = {RANDOM: self._draw(whole, sets, bounds, rows, seed, notes), **sets}
        except StitchError as refused:
            if not sets:
                raise
            notes.append(f"No random inputs: {refused.message}")
        if self.packed is not None:
            self.progress("running the packed models")
        features = self._features(whole, sets, notes)
        sets = {kind: sets[kind] for kind in features}
        if file is None:
            expected, weights = self._expected(sets, notes)
            found, reloaded = self._last(whole, features, directory)
        else:
            expected, weights, found, reloaded = self._reloaded(file, objects_file, features, sets, notes)
        notes += [] if reloaded.note is None else [reloaded.note]
        return Certificate(
            graph=self.spec.name,
            checks=tuple(
                check
                for kind in expected
                for check in self._checks(kind, sets[kind], expected[kind], found[kind], reloaded)
            ),
            parts=tuple(self.sources.certified(submodel, weights) for submodel in self.spec.submodels),
            inputs=tuple(_range(port, kind, sets[kind], bounds) for kind in expected for port in self.wiring.inputs),
            seed=seed if RANDOM in expected else None,
            format="" if file is None else "keras" if file.suffix == ".keras" else "h5",
            reloaded_in=reloaded.where,
            versions=_versions(),
            notes=tuple(notes),
        )

    # -- what goes in ----------------------------------------------------------

    def _draw(
        self,
        whole: Whole,
        sets: Mapping[str, Arrays],
        bounds: Mapping[str, sample_rows.Bound],
        rows: int,
        seed: int,
        notes: list[str],
    ) -> Arrays:
        """Random inputs, as long as the others; a ``StitchError`` where none can be made up."""
        for port in self.wiring.inputs:
            try:
                sample_rows.table_dtype(port)
            except StitchError:
                raise StitchError(
                    f"The input '{port.name}' takes {port.dtype}, of which none is made up.",
                    fix=f"Pass data={{{port.name!r}: ...}} (--data on the command line).",
                ) from None
        like = next(iter(sets.values()), None)
        size: int | None = None
        if like is None:
            size, problem = sample_rows.find_size(self.wiring, whole, {}, bounds)
            if size is None:
                raise StitchError(
                    "No length was found for the open dimensions of the inputs.",
                    received=problem,
                    fix="Pass data= that fits (--data on the command line).",
                )
        drawn = {}
        for number, port in enumerate(self.wiring.inputs, 1):
            shaped = port if like is None else Port(port.name, sample_rows.shape_of(like[port.name]), port.dtype)
            drawn[port.name] = sample_rows.random_rows(shaped, rows, size or 1, (seed, number), bounds.get(port.name))
            if sample_rows.mask_ends(drawn[port.name], self._masked_values):
                notes.append(f"Random rows of {port.name} end in steps that are masked.")
        return drawn

    @cached_property
    def _masked_values(self) -> list[float]:
        """What is masked in a graph that passes masks on: random numbers alone would mask nothing."""
        if not any(feed.masks for feeds in self.wiring.feeds.values() for feed in feeds):
            return []
        owners = {submodel.owner for submodel in self.spec.submodels if submodel.is_keras}
        return mask_passage.masked_values(self.sources.blueprints[owner].peek() for owner in owners)

    def _non_finite(self) -> list[str]:
        models = [self.model, *(self.packed.models.values() if self.packed is not None else ())]
        found = [name for model in models if model is not None for name in non_finite(model)]
        return [f"NaN or infinite weights in: {', '.join(found)}."] if found else []

    # -- what comes out --------------------------------------------------------

    def _expected(self, sets: Mapping[str, Arrays], notes: list[str]) -> tuple[dict[str, Arrays], dict[str, str]]:
        """What the parts predict, run separately, for every kind of inputs that they take; and whose weights."""
        final = self.stages.final
        models = [self.model, *(self.packed.models.values() if self.packed is not None else ())]
        parts = Reference(
            self.spec,
            self.wiring,
            self.sources,
            [model for model in models if model is not None],
            merges=merge_layers.merge_names(final, Names(merge_layers.taken_names(final))) if final else {},
            trained=self.trained,
            foreign={
                submodel.name: functools.partial(self.packed.alone, submodel.name)
                for submodel in self.spec.submodels
                if self.packed is not None and not submodel.is_keras
            },
            progress=self.progress,
        )
        return self._each(sets, parts.predict, "Nothing can be compared", notes), parts.weights

    def _features(self, whole: Whole, sets: Mapping[str, Arrays], notes: list[str]) -> dict[str, Arrays]:
        """What the final model takes, for every kind of inputs that the packed models take."""
        return self._each(sets, whole.features, "The packed models cannot run", notes)

    def _each(
        self, sets: Mapping[str, Arrays], run: Callable[[Arrays], Arrays], failure: str, notes: list[str]
    ) -> dict[str, Arrays]:
        """What ``run`` makes of every kind of inputs; a note says so where it refuses the random ones of several."""
        found = {}
        for kind, inputs in sets.items():
            try:
                found[kind] = run(inputs)
            except ValueError as problem:  # ours, or what the models that are packed say about their data
                said = problem.message if isinstance(problem, StitchError) else problem
                if kind != RANDOM or len(sets) == 1:
                    fix = "Pass data= that the submodels take." if kind != EXAMPLE else None
                    raise StitchError(f"{failure} on {kind} inputs. {said}", fix=fix) from problem
                notes.append(f"No random inputs: {said}")
        return found

    def _last(
        self, whole: Whole, features: Mapping[str, Arrays], directory: Path
    ) -> tuple[dict[str, Arrays | str], Reloaded]:
        """What the last submodel, which is no Keras model, predicts as it was added and as it was written."""
        assert self.packed is not None
        found: dict[str, Arrays | str] = {}
        after, errors = {}, {}
        written = self.packed.last(directory)
        name = self.wiring.outputs[0].port.name
        for kind, arrays in features.items():
            try:
                found[kind] = {"": whole.predict_last(arrays)[name]}
                after[kind] = {"": whole.predict_last(arrays, written)[name]}
            except Exception as error:  # whatever the model does
                found.setdefault(kind, f"it cannot predict: {reason(error)}")
                errors[kind] = reason(error)
        return found, Reloaded(HERE, after, errors)

    def _reloaded(
        self,
        file: Path,
        objects_file: Path | None,
        features: Mapping[str, Arrays],
        sets: Mapping[str, Arrays],
        notes: list[str],
    ) -> tuple[dict[str, Arrays], dict[str, str], dict[str, Arrays | str], Reloaded]:
        """What the parts predict, whose weights they have, and what the model predicts before and after a reload."""
        self.progress("loading it again in a fresh process")
        custom_objects, origins = self.sources.custom_objects(), self.sources.origins()
        with Reloading(file, features, custom_objects, origins, objects_file) as reloading:
            expected, weights = self._expected(sets, notes)
            self.progress("running the stitched model")
            found = {kind: self._predicted(features[kind]) for kind in expected}
            self.progress("loading it again in a fresh process")
            return expected, weights, found, reloading.result()

    def _predicted(self, inputs: Arrays) -> Arrays | str:
        with in_registry(self.sources.custom_objects()):
            try:
                assert self.model is not None
                return predict(self.model, [inputs[port.name] for port in self.stages.inputs])
            except Exception as error:  # whatever Keras raises, the parts took these inputs
                return f"it cannot predict: {reason(error)}"

    def _checks(
        self, kind: str, inputs: Arrays, expected: Arrays, found: Arrays | str, reloaded: Reloaded
    ) -> list[Check]:
        rows = len(next(iter(inputs.values())))
        after: Arrays | str = reloaded.predictions.get(kind, {})
        if kind in reloaded.errors:
            after = f"it cannot predict: {reloaded.errors[kind]}"
        return [
            _check(output.port.name, kind, rows, expected[output.port.name], (found, after), len(self.wiring.outputs))
            for output in self.wiring.outputs
        ]


def _check(
    name: str, kind: str, rows: int, expected: np.ndarray[Any, Any], found: tuple[Arrays | str, Arrays | str], many: int
) -> Check:
    differences: list[float | None] = []
    problems: list[str] = []
    for when, predictions in zip(("before saving", "after loading"), found, strict=True):
        array = predictions if isinstance(predictions, str) else predictions.get(name if many > 1 else "")
        if array is None:
            array = "it has no such output"
        compared = None if isinstance(array, str) else compare(array, expected)
        differences.append(compared.largest if compared else None)
        problem = array if compared is None else compared.problem
        if problem is not None:
            problems.append(f"{when}: {problem}")
    own = compare(expected, expected)
    before, after = differences
    return Check(name, kind, rows, own.magnitude, before, after, own.finite, tuple(problems))


@contextlib.contextmanager
def check_recorded(path: Path) -> Iterator[None]:
    """Say so where the ``stitch.yaml`` to verify is the record of a generated directory, without its sources.

    Raises:
        StitchError: At once for a directory, else where a source is not found in the block.
    """
    folder = path if is_directory(path) else path.parent
    generated = overwriting.is_generated(folder)
    shown = f"'{folder}' is a generated directory: its stitch.yaml records what was stitched, and the sources are not "
    fix = f"Verify the stitch.yaml beside the sources. For the directory: cd {folder} && kipoi test ."
    if is_file(folder / layout.CERTIFICATE):
        fix += " What was compared when it was written is in its certificate.json."
    if generated and is_directory(path):
        raise StitchError(f"{shown}in it.", fix=fix)
    try:
        yield
    except SourceError as problem:
        if not generated:
            raise
        raise StitchError(f"{shown}in it.", received=problem.message, fix=fix) from problem


def _range(port: Port, kind: str, inputs: Arrays, bounds: Mapping[str, sample_rows.Bound]) -> InputRange:
    array = inputs[port.name]
    values = sample_rows.values_text(port, bounds.get(port.name)) if kind == RANDOM else ""
    dtype = "string" if array.dtype.kind in "SU" else str(array.dtype)
    return InputRange(port.name, kind, sample_rows.shape_of(array), dtype, values)


def _versions() -> dict[str, str]:
    own = {"keras_stitch": keras_stitch.__version__}
    # Keras' backends are called as the packages that they are, or one of them, as tensorflow-cpu.
    return {**{name: installed(name) or "of unknown version" for name in ("keras", keras.backend.backend())}, **own}
