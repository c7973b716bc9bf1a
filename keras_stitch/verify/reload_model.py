"""A saved model loaded again by Keras alone, in a fresh process, to predict the same inputs once more."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_stitch.errors import SaveError, reason
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.custom_objects import Origin, importable, in_registry
from keras_stitch.verify import predict_program
from keras_stitch.verify.fresh_process import Arrays, Job

FRESH, HERE = "a fresh process", "this process"


@dataclass(frozen=True)
class Reloaded:
    """What a model predicted after it was loaded again.

    Attributes:
        where: ``FRESH`` or ``HERE``.
        predictions: Kind of inputs -> output name -> array of shape ``(rows, ...)``; a single output is called "".
        errors: Kind of inputs -> what Keras said where it could not predict them.
        note: Why not in a fresh process.
    """

    where: str
    predictions: Mapping[str, Arrays] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


class Reloading(Job):
    """A reload that is under way; use it in a ``with`` block, which ends its process.

    The process starts at once, so that other work can be done while it imports Keras.

    Args:
        model: The saved model.
        sets: Kind of inputs -> graph input -> array of shape ``(rows, ...)``, in the model's order.
        custom_objects: What the model is loaded with.
        origins: Where another process finds some of them; the others it can only import.
        objects_file: A Python file with a dict ``OBJECTS`` that holds custom objects.
    """

    def __init__(
        self,
        model: Path,
        sets: Mapping[str, Arrays],
        custom_objects: Mapping[str, Any],
        origins: Mapping[str, Origin],
        objects_file: Path | None = None,
    ):
        self._model, self._objects = model, custom_objects
        # What the file holds is taken from there: a fresh process cannot have the objects of this one.
        places: dict[str, Origin] = {}
        if objects_file is None:
            found = {name: origins.get(name) or importable(item) for name, item in custom_objects.items()}
            places = {name: origin for name, origin in found.items() if origin is not None}
        self._unplaced = [] if objects_file else sorted(custom_objects.keys() - places.keys())
        super().__init__(
            model,
            sets,
            objects={name: asdict(origin) for name, origin in places.items()},
            objects_file=str(objects_file.absolute()) if objects_file else None,
            path=[str(Path(place).absolute()) for place in sys.path] if places else [],
        )
        if not self._unplaced:
            self.start(Path(predict_program.__file__))

    def result(self) -> Reloaded:
        """Wait for the predictions.

        Raises:
            SaveError: If the saved model cannot be loaded, neither there nor here.
        """
        if self._unplaced:
            many = "s" if len(self._unplaced) > 1 else ""
            listed = ", ".join(f"'{name}'" for name in self._unplaced)
            return self._here(f"A fresh process cannot import the custom object{many} {listed}.")
        status, said = self.wait()
        report = self.report()
        if report is None:
            raise SaveError(
                "The process that should load the saved model again ended before it had.",
                expected="predictions",
                received=f"status {status}: {said}",
                fix="Look for a lack of memory, and try again.",
            )
        if not report["loaded"]:
            # What only this process knows, such as a class registered with Keras, may be all that is missing.
            said = report["error"].replace(str(self._model.absolute()), self._model.name)
            sentence = reason(ValueError(said)).split(". ")[0]
            return self._here(f"A fresh process cannot load the saved model: {sentence}.")
        return self._reloaded(report, FRESH)

    def _here(self, note: str) -> Reloaded:
        try:
            with quiet_keras(), in_registry(self._objects):
                model = keras.saving.load_model(self._model, custom_objects=dict(self._objects), compile=False)
        except Exception as error:
            raise SaveError(
                f"The saved model cannot be loaded again: {reason(error)}.", expected="what Keras can load"
            ) from error
        with in_registry(self._objects):
            predict_program.main(self.folder, model)
        report = self.report()
        assert report is not None
        return self._reloaded(report, HERE, note)

    def _reloaded(self, report: dict[str, Any], where: str, note: str | None = None) -> Reloaded:
        errors = {kind: reason(ValueError(text)) for kind, text in report["errors"].items()}
        return Reloaded(where, self.predictions(), errors, note)
