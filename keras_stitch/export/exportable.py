"""A saved model ready for export: named inputs and outputs, inputs to try it on, and what Keras predicts for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import h5py
import keras
import numpy as np

import keras_stitch
from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.graphs.names import clean, unique_names
from keras_stitch.graphs.spec import FRAMEWORKS, Port, Shape
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models import ports, sample_rows
from keras_stitch.models.custom_objects import Given, in_registry
from keras_stitch.sources import load_source
from keras_stitch.verify.fresh_process import Arrays
from keras_stitch.verify.predict_program import plain

EXAMPLE = "example"

# How many random rows: one row shows what holds for one row only, and several what holds for this number only.
BATCHES = (1, 7)
_EXAMPLES = 10


class Exportable:
    """A Keras model whose inputs and outputs are dicts by name, in the graph's order; see ``export_model``.

    Attributes:
        name: The graph's name.
        model: The model; every tensor has shape ``(rows, ...)``.
        inputs: Its inputs, shapes without the rows.
        custom_objects: What it is made with.

    Raises:
        SourceError: If there is no Keras model, or it cannot be loaded.
    """

    def __init__(self, source: str | os.PathLike[str], custom_objects: Given = None):
        added = load_source.load("model", source, custom_objects=custom_objects)
        self._part = added.part
        if added.blueprint is None:
            elsewhere = added.submodel.elsewhere
            why = "cannot be loaded here" if elsewhere else "is no Keras model"
            raise SourceError(
                f"The model of '{added.submodel.source.label}' {why}, so it cannot be exported.",
                expected="a directory whose final model is a Keras model, or a saved Keras model",
                received=elsewhere or FRAMEWORKS[added.submodel.framework],
            )
        self.custom_objects = added.customs.for_keras()
        with in_registry(self.custom_objects), quiet_keras():
            model = added.blueprint.take()
            assert isinstance(model, keras.Model)
            self.name = clean(model.name)
            self.inputs = tuple(
                Port(name, tuple(tensor.shape[1:]), str(tensor.dtype))
                for name, tensor in zip(_names(added.submodel.inputs), model.inputs, strict=True)
            )
            inputs = {port.name: keras.Input(port.shape, dtype=port.dtype, name=port.name) for port in self.inputs}
            listed = keras.Model(list(model.inputs), list(model.outputs))
            made = listed(list(inputs.values()))
            outputs = dict(zip(_names(added.submodel.outputs), keras.tree.flatten(made), strict=True))
            # Keras keeps the order of a dict, and lists its tensors in another.
            given = getattr(model, "output", None)  # a Sequential does not always have it
            order = given if isinstance(given, dict) and given.keys() == outputs.keys() else outputs
            self.model = keras.Model(inputs, {name: outputs[name] for name in order}, name=self.name)

    def about(self) -> dict[str, str]:
        """What a file says about it: ``doc`` and more."""
        info = {} if self._part is None else self._part.info
        said = {"doc": str(info.get("doc") or f"The stitched model {self.name}."), "name": self.name}
        if info.get("license"):
            said["license"] = str(info["license"])
        return {**said, "exported_by": f"keras_stitch {keras_stitch.__version__}, Keras {keras.__version__}"}

    def predicted(self) -> tuple[dict[str, Arrays], dict[str, Arrays]]:
        """Inputs of every kind, and what Keras predicts for them; an error if the model takes none of them."""
        sets, problem = self._sets()
        expected = {}
        for kind, inputs in list(sets.items()):
            try:
                expected[kind] = self._predict(inputs)
            except Exception as error:  # whatever Keras or a custom object raises
                problem = reason(error)
                del sets[kind]
        if not sets:
            raise StitchError(
                f"There are no inputs to compare '{self.name}' on, so it is not exported.",
                received=problem,
                fix="Export a directory that graph.save(..., examples=) wrote: it has examples.",
            )
        return sets, expected

    def _predict(self, inputs: Arrays) -> Arrays:
        with in_registry(self.custom_objects):
            found = self.model({name: keras.ops.convert_to_tensor(it) for name, it in inputs.items()}, training=False)
        return {name: plain(np.asarray(value)) for name, value in found.items()}

    def _sets(self) -> tuple[dict[str, Arrays], str]:
        """The directory's examples, then random rows: of every number of rows and, where it is open, every length."""
        sets = self._examples()
        for port in self.inputs:
            if port.dtype == "string":
                return sets, f"The input '{port.name}' takes {port.dtype}, of which none is made up."
        bounds = ports.embedding_bounds(self.model)
        shapes, problem = self._shapes(sets, bounds)
        for number, count in enumerate(BATCHES if shapes else ()):
            sets[f"{count} random"] = self._drawn(count, shapes[number % len(shapes)], bounds)
        return sets, problem

    def _shapes(self, examples: Mapping[str, Arrays], bounds: Mapping[str, int]) -> tuple[list[dict[str, Shape]], str]:
        """Shapes of rows that the model takes, of two lengths where lengths are open; or what was wrong with others."""
        if not any(port.is_open for port in self.inputs):
            return [{port.name: port.row for port in self.inputs}], ""
        found = [{name: sample_rows.shape_of(array) for name, array in one.items()} for one in examples.values()]

        def shapes(size: int) -> dict[str, Shape]:
            return {port.name: sample_rows.row_shape(port, size) for port in self.inputs}

        sizes, problem = sample_rows.fitting_sizes(
            lambda size: self._predict(self._drawn(1, shapes(size), bounds)).values(),
            (size for size in sample_rows.SIZES if shapes(size) not in found),
            most=len(BATCHES) - len(found),
        )
        return [*found, *map(shapes, sizes)], problem

    def _drawn(self, rows: int, shapes: Mapping[str, Shape], bounds: Mapping[str, int]) -> Arrays:
        return {
            port.name: sample_rows.random_rows(
                Port(port.name, shapes[port.name], port.dtype), rows, 1, (rows, place), bounds.get(port.name)
            )
            for place, port in enumerate(self.inputs)
        }

    def _examples(self) -> dict[str, Arrays]:
        """The first inputs that a directory keeps with its expected predictions."""
        if self._part is None or not (self._part.path / layout.EXPECTED).is_file():
            return {}
        with open_hdf5(self._part.path / layout.EXPECTED) as stored:
            group = stored.get("inputs")
            if not isinstance(group, h5py.Group) or not all(port.name in group for port in self.inputs):
                return {}
            dtypes = {it.name: "S" if it.dtype == "string" else sample_rows.table_dtype(it) for it in self.inputs}
            return {EXAMPLE: {name: group[name][:_EXAMPLES].astype(dtype) for name, dtype in dtypes.items()}}


def _names(ports: Sequence[Port]) -> tuple[str, ...]:
    return unique_names(clean(port.name) for port in ports)
