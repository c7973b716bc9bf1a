"""A stitched model for programs without Keras: an ONNX file or a SavedModel, compared with Keras before it is there."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError, SourceError, StitchError, reason
from keras_stitch.export import onnx_files, saved_model
from keras_stitch.export.export_report import FORMATS, ONNX, SAVED_MODEL, Exported, checked_output, rows_text
from keras_stitch.export.exportable import Exportable
from keras_stitch.files import new_files, onnx_contents, overwriting
from keras_stitch.models.custom_objects import Given, in_registry
from keras_stitch.verify.fresh_process import Arrays
from keras_stitch.workflow.snakemake import has_workflow, workflow_config

_KERAS_ENDINGS = (".keras", ".h5", ".hdf5")
# By what a folder is known as a SavedModel, which may be replaced.
_FOLDER: dict[str, Any] = {"generated": saved_model.PARTS, "mark": saved_model.FILE}


def export_model(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    custom_objects: Given = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Export the Keras model of a generated directory, or a saved model, for programs without Keras.

    What was written is run without Keras, on the directory's examples and on random rows, and compared with the Keras
    model, before it is put in place.

    Args:
        source: A directory that ``graph.save`` wrote, or a file that ``keras-stitch build`` wrote.
        output: The file or folder; by default the name of the source, with ``.onnx`` or ``_saved_model``, in the
            current directory.
        format: ``"onnx"`` or ``"saved_model"``; by default what the output's ending says.
        custom_objects: What a file needs and Keras does not have; a directory has its own.
        overwrite: Whether a file, or a folder that is a SavedModel, is replaced.
        progress: Called with a few words at every step.

    Returns:
        What was written, and by how much it differs; ``print`` shows a table. Inputs and outputs have the names and the
        order of the graph; every one has shape ``(rows, ...)`` for any number of rows.

    Raises:
        StitchError: If there is no Keras model, a package is missing, or the exported model does not predict the same.
        SaveError: If it cannot be written: the output exists, or the format has no word for what the model does.

    Example:
        >>> x = keras.Input((3,), name="x")
        >>> keras.Model(x, keras.layers.Dense(2, name="y")(x), name="m").save("m.keras")
        >>> exported = export_model("m.keras", "m.onnx")
        >>> [(port.name, port.shape) for port in exported.inputs], exported.outputs[0].shape
        ([('x', (3,))], (None, 2))
    """
    step = progress or (lambda _: None)
    _check_source(source)
    target, format = _target(Path(source), None if output is None else Path(output), format)
    _check_target(target, format, overwrite)
    _check_installed(format)
    step(f"loading {source}")
    loaded = Exportable(source, custom_objects)
    (onnx_files if format == ONNX else saved_model).check_possible(loaded.model)
    step("predicting with Keras")
    sets, expected = loaded.predicted()
    with _written_to(target, format, overwrite) as place:
        step(f"exporting to {target.name}")
        _write(loaded, place, format)
        step(f"running {target.name} without Keras")
        found = _run(place, format, sets)
        made = loaded.model.output.items()
        outputs = tuple(checked_output(name, tensor, found, expected, sets) for name, tensor in made)
        size = sum(path.stat().st_size for path in [place, *place.rglob("*")] if path.is_file())
    compared = tuple(rows_text(kind, inputs) for kind, inputs in sets.items())
    return Exported(target, format, size, loaded.inputs, outputs, compared, _run_before(Path(source)))


def _check_source(source: object) -> None:
    if not isinstance(source, str | os.PathLike):
        raise SourceError(
            "Only what is saved can be exported.",
            expected="the path of a directory or file",
            received=type(source).__name__,
            fix='Save it first: model.save("model.keras"), or graph.save(directory, model=model).',
        )


def _check_installed(format: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise StitchError(
            "Models are exported by Keras' backend TensorFlow.",
            received=f"the backend {keras.backend.backend()}",
            fix="Set the environment variable KERAS_BACKEND=tensorflow.",
        )
    if format == ONNX:
        onnx_contents.check_installed(onnx_files.PACKAGES)


def _write(loaded: Exportable, place: Path, format: str) -> None:
    """Write the model by Keras; one message says why where that cannot be done."""
    try:
        with in_registry(loaded.custom_objects), _quiet():
            if format == ONNX:
                onnx_files.write(loaded.model, place, loaded.about())
            else:
                saved_model.write(loaded.model, place)
    except (StitchError, OSError):
        raise
    except Exception as error:  # Keras, TensorFlow and tf2onnx raise many kinds
        other = next(it for it in FORMATS if it != format)
        raise SaveError(
            f"Keras cannot export '{loaded.name}' as {FORMATS[format]}.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix=f"Nothing was written. The other format may be able to: --format {other}.",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and log lines of Keras, TensorFlow and tf2onnx."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


# -- where it goes ---------------------------------------------------------------
def _target(source: Path, output: Path | None, format: str | None) -> tuple[Path, str]:
    """The path to write, and the format."""
    if format is not None and format not in FORMATS:
        raise StitchError(f"There is no format {format!r}.", expected=" or ".join(FORMATS))
    if output is None:
        name = source.resolve().name if source.is_dir() else source.stem
        format = format or ONNX
        return Path(f"{name}.onnx" if format == ONNX else f"{name}_saved_model"), format
    if output.name in ("", ".onnx"):
        raise SaveError(f"'{output}' has no name to write to.", expected="a file or a folder, such as model.onnx")
    if format is None:
        if output.suffix not in ("", ".onnx"):
            raise SaveError(
                f"'{output.name}' does not say what to export.",
                expected="a name that ends in .onnx, or one without an ending for a SavedModel",
                fix="Say it: --format onnx or --format saved_model.",
            )
        return output, ONNX if output.suffix else SAVED_MODEL
    if (output.suffix == ".onnx") != (format == ONNX) or output.suffix in _KERAS_ENDINGS:
        raise SaveError(
            f"'{output.name}' is no name for {FORMATS[format]}.",
            expected="a name that ends in .onnx" if format == ONNX else "a folder, its name without such an ending",
        )
    return output, format


def _check_target(target: Path, format: str, overwrite: bool) -> None:
    for folder in Path(os.path.realpath(target)).parents:
        if overwriting.is_generated(folder):
            raise SaveError(
                f"'{target}' would be in '{folder.name}', which is a generated directory.",
                expected="a place outside it: a directory that holds anything else is not replaced any more",
                fix=f"Choose another place: -o {os.path.relpath(folder.parent / target.name)}.",
            )
    if format == SAVED_MODEL:
        overwriting.check_target(target, overwrite=overwrite, **_FOLDER)
    else:
        new_files.check_target(target, overwrite=overwrite)


@contextlib.contextmanager
def _written_to(target: Path, format: str, overwrite: bool) -> Iterator[Path]:
    """A place beside the target, which takes its place when the block ends without an error; makes folders above."""
    if format == SAVED_MODEL:
        with overwriting.new_directory(target, overwrite=overwrite, **_FOLDER) as place:
            yield place
        return
    with new_files.disk_errors(target):
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with new_files.new_file(target, overwrite=overwrite) as place:
            yield place


# -- what it predicts ------------------------------------------------------------
def _run(place: Path, format: str, sets: Mapping[str, Arrays]) -> dict[str, Arrays]:
    if format == SAVED_MODEL:
        return saved_model.run(place, sets)
    found = {}
    for kind, inputs in sets.items():
        try:
            found[kind] = onnx_files.run(place, inputs)
        except Exception as error:  # of ONNX Runtime, which has no class of its own for them
            raise SaveError(
                f"ONNX Runtime cannot run the exported model on {rows_text(kind, inputs)}.",
                received=reason(error),
                fix="Nothing was written. Export it as a SavedModel: --format saved_model.",
            ) from error
    return found


# -- what is not in it -----------------------------------------------------------
def _run_before(source: Path) -> tuple[str, ...]:
    """The models of a directory that run in its workflow or in its dataloader."""
    if not source.is_dir():
        return ()
    apart = list(workflow_config(source)["models"]) if has_workflow(source) else []
    packed = sorted(folder.parent.name for folder in source.glob(layout.packed_folder("*")))
    return (*apart, *packed)
