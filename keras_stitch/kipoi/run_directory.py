"""Runs a written directory on its examples, in this process, and compares every number."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError, reason
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.graphs.spec import Wiring
from keras_stitch.keras_private import quiet_about_masks
from keras_stitch.kipoi.templates import template_module
from keras_stitch.models.sample_rows import as_text
from keras_stitch.verify.equality import TOLERANCE, compare

BATCH = 32
_FIX = "Pass examples={argument: file or value} with data that fit together."


def run_examples(directory: Path, expected: Path) -> None:
    """Predict the examples of a complete directory, and store inputs and predictions in an HDF5 file.

    Raises:
        SaveError: When something in the directory fails.
    """
    with quiet():
        try:
            made = opened(directory)
            with template_module("kipoi.merging.prediction_file").PredictionFile(expected) as file:
                for batch in made.predictions(made.example_arguments(), batch_size=BATCH):
                    file.write({key: batch[key] for key in ("inputs", "targets", "preds") if key in batch})
        except Exception as error:  # whatever a component does
            raise cannot_run("The directory cannot be run on its examples", error, directory) from error


def cannot_run(problem: str, error: Exception, directory: Path) -> SaveError:
    """The error for what fails while a directory runs on its examples."""
    return SaveError(
        f"{problem}{_component(error, directory)}.",
        received=readable(error, directory),
        fix=late_import(error, directory) or (_FIX if may_be_data(error) else None),
    )


def check_predictions(model: Any, inputs: Sequence[str], wiring: Wiring, expected: Path) -> float:
    """Compare what the directory predicted to what the model in memory predicts, in every output.

    Args:
        model: The model that was saved, or a function with the same arguments.
        inputs: The names of its inputs, in their order; one that is not called by its name is ``""``.
        wiring: The graph: the names of the outputs.
        expected: The file that ``run_examples`` wrote.

    Returns:
        The largest magnitude among the predictions.

    Raises:
        SaveError: When an output differs, see ``verify.equality``.
    """
    with open_hdf5(expected) as file:
        given = {name: (file["inputs"][name] if name else file["inputs"])[:] for name in inputs}
        names = [output.port.name for output in wiring.outputs]
        stored = {name: (file["preds"] if len(names) == 1 else file["preds"][name])[:] for name in names}
    batches = []
    rows = len(next(iter(given.values())))
    with quiet_about_masks():
        for start in range(0, rows, BATCH):
            batch = [array[start : start + BATCH] for array in given.values()]
            # Eager: predict() would compile the model, and TensorFlow warns where that happens often.
            batches.append(model(batch, training=False))
    largest = 0.0
    for name in names:
        own = np.concatenate([np.asarray(batch[name] if len(names) > 1 else batch) for batch in batches])
        # A model that is no Keras model may give a number for each row, which counts as a row with one number.
        compared = compare(stored[name].reshape(own.shape) if stored[name].ndim == 1 else stored[name], own)
        largest = max(largest, compared.magnitude)
        if compared.equal:
            continue
        if compared.nan_moved and any(array.dtype.kind == "f" and np.isnan(array).any() for array in given.values()):
            raise SaveError(
                f"The examples hold NaN, on which the output '{name}' is not the same each time.",
                expected=compared.expected,
                received=compared.problem,
                fix="Pass examples= without NaN.",
            )
        raise SaveError(
            f"Saved and loaded again, the model predicts something else in its output '{name}'.",
            expected=compared.expected or f"at most {compared.allowed:.3g}",
            received=compared.problem or f"a difference of {compared.largest:.3g}",
        )
    return largest


def stored_inputs(expected: Path, wiring: Wiring, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """The first rows of the inputs that ``run_examples`` stored, by graph input."""
    with open_hdf5(expected) as file:
        return {port.name: as_text(file["inputs"][port.name][:rows]) for port in wiring.inputs}


def read_inputs(directory: Path, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """The first rows of the graph inputs that the examples have, before the models in the dataloader run.

    Raises:
        SaveError: When the dataloader fails.
    """
    with _example_dataloader(directory) as made:
        made.packed = None
        batch = next(iter(made.batch_iter(batch_size=rows)))["inputs"]
        return {name: as_text(array) for name, array in batch.items()}


def rows_in_step(directory: Path) -> list[list[str]]:
    """The parts of the merged dataloader in groups, whose rows ids or genomic ranges keep in step on the examples.

    Raises:
        SaveError: When the dataloader fails.
    """
    with _example_dataloader(directory) as made:
        return [list(names) for names in made.in_step()]


@contextlib.contextmanager
def _example_dataloader(directory: Path) -> Iterator[Any]:
    """The merged dataloader with its examples; whatever fails within the block is its error."""
    with quiet():
        try:
            made = opened(directory)
            yield made.dataloader(**made.example_arguments())
        except Exception as error:  # whatever a component does
            raise SaveError(
                "The merged dataloader cannot read its examples once more.", received=readable(error, directory)
            ) from error


def needs_neighbours(directory: Path, kind: str, args: Mapping[str, Any], files: Collection[str]) -> bool:
    """Whether a model of one of Kipoi's own classes imports Python files that lie beside it, as pickles may do.

    ``kind`` is the class, and ``files`` are those of the model in the directory.
    """
    names = {place.partition("/")[0].removesuffix(".py") for place in files if place.endswith(".py")}
    if not names:
        return False
    known: dict[str, Any] = sys.modules
    before = {name: known.get(name) for name in names}
    known.update(dict.fromkeys(names))  # imports of them fail
    try:
        with contextlib.chdir(directory), quiet():
            template_module("kipoi.merging.model_loading").model_class({"defined_as": kind})(**args)
    except (ImportError, AttributeError):
        return True
    finally:
        for name, module in before.items():
            del known[name]
            if module is not None:
                known[name] = module
    return False


def write_predictions(
    directory: str, arguments: Mapping[str, Any], output: str, batch_size: int, num_workers: int
) -> None:
    """Predict with a directory, and write predictions and metadata into a new HDF5 file as Kipoi does.

    Raises:
        Exception: Whatever the directory's code raises.
    """
    made = opened(Path(directory))
    with template_module("kipoi.merging.prediction_file").PredictionFile(output) as file:
        for batch in made.predictions(arguments, batch_size, num_workers):
            file.write({key: batch[key] for key in ("metadata", "preds") if key in batch})


def opened(directory: Path) -> Any:
    """A directory with a dataloader: the ``Directory`` of the runtime."""
    return template_module("kipoi.merging.directory").Directory(directory)


def precision_decimal(largest: float) -> int:
    """Decimals to which Kipoi compares, for the largest magnitude among the predictions.

    float32 promises a part of the magnitude, Kipoi's check is absolute.

    Example:
        >>> precision_decimal(1.0), precision_decimal(5000.0)
        (5, 1)
    """
    return math.floor(-math.log10(TOLERANCE * max(1.0, largest) / 1.5))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars and prints of models and dataloaders off the screen during the block."""
    # Each save has a model of its own.
    without_remarks = template_module("kipoi.merging.run_packed").without_remarks
    with without_remarks(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def readable(error: BaseException, directory: Path) -> str:
    """An error in a directory that is being written, in a few words and without its temporary name."""
    text = reason(error) if not is_data_error(error) else " ".join(str(error).split())
    for folder in (directory.resolve(), directory):
        text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return text if is_data_error(error) else f"{type(error).__name__}: {text}"


def late_import(error: BaseException, directory: Path) -> str | None:
    """The fix where a component imports a file beside it only when it runs."""
    error = _origin(error)
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or not any(path.stem == name for path in directory.glob(f"{layout.COMPONENTS}/**/*")):
        return None
    return f"Import {name} at the top of the part's dataloader.py: files beside it are found only while it is loaded."


def _component(error: BaseException, directory: Path) -> str:
    """The component whose code raised an error, as its traceback shows, for a message."""
    if is_data_error(error):
        return ""  # it says so itself
    folder = directory.resolve() / layout.COMPONENTS
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(folder) and file.parent != folder:
            return f": the dataloader of {file.relative_to(folder).parts[0]} fails"
    return ""


def may_be_data(error: BaseException) -> bool:
    """Whether other examples could help: not where code is missing or wrong."""
    return not isinstance(_origin(error), ImportError | NameError | SyntaxError | AttributeError | NotImplementedError)


def is_data_error(error: BaseException) -> bool:
    """Whether an error is what the merged dataloader says about the data."""
    return type(error).__name__ == "DataError"


def _origin(error: BaseException) -> BaseException:
    """The error of a component; the merged dataloader wraps it to say in which row it occurred."""
    return error.__cause__ if is_data_error(error) and error.__cause__ is not None else error
