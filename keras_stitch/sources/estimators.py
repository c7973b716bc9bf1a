"""Estimators of scikit-learn and modules of PyTorch in memory: each becomes a Kipoi directory, and goes on as one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import pickle
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.errors import SourceError, reason
from keras_stitch.graphs.spec import Port, Source, shape_text
from keras_stitch.kipoi.model_directory import KipoiPart, read_directory
from keras_stitch.kipoi.packed_copy import flattened, load_packed, nested
from keras_stitch.models.sample_rows import SIZES, random_rows
from keras_stitch.sources.probing import ROWS, quiet
from keras_stitch.sources.snapshots import METHODS, Shapes, Written, describe, rows_for, tried
from keras_stitch.sources.torch_modules import DIRECTORY, write_module
from keras_stitch.verify.equality import compare


class Folder:
    """A temporary folder that lives as long as this object.

    Attributes:
        path: Where it is.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="keras-stitch-")).resolve()
        # Unlike tempfile.TemporaryDirectory, this says nothing when it goes.
        self._end = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Snapshot:
    """An estimator or a module as a Kipoi directory.

    Attributes:
        part: What the directory says.
        source: What it was.
        dtypes: Of the inputs of a module; ``None`` for an estimator, which takes any.
        folder: The directory, which goes with this object.
    """

    part: KipoiPart
    source: Source
    dtypes: tuple[str, ...] | None
    folder: Folder


def snapshot(name: str, source: Any, shapes: Shapes, method: str | None) -> Snapshot:
    """Write what the user has in memory to a Kipoi directory, and see that it predicts the same there.

    Args:
        name: The submodel.
        source: An estimator or a ``torch.nn.Module``, which is left as it is.
        shapes: What it takes.
        method: What an estimator is asked; ``None`` for the default.

    Raises:
        SourceError: If it is not fitted, does not take the shapes, or cannot be written.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
        >>> snapshot("line", fitted, Shapes("array", (None,), ((1,),), (None,)), None).source.label
        'LinearRegression, predict'
    """
    folder = Folder()
    directory = folder.path / type(source).__name__
    (directory / "model_files").mkdir(parents=True)
    base = getattr(sys.modules.get("torch.nn"), "Module", None)
    if base is not None and isinstance(source, base):
        written = write_module(name, source, shapes, directory)
    else:
        written = _write_estimator(name, source, shapes, method, directory)
    part = read_directory(directory)
    _check_same(name, part, directory, written)
    kind = "estimator" if written.dtypes is None else "module"
    return Snapshot(part, Source(kind, written.label), written.dtypes, folder)


def _check_same(name: str, part: KipoiPart, directory: Path, written: Written) -> None:
    try:
        model = load_packed(directory)
    except Exception as error:  # whatever the object's own code does when it is loaded
        raise SourceError(
            f"Submodel '{name}' ({written.label}) was written, and cannot be loaded again.",
            received=f"{type(error).__name__}: {reason(error)}",
        ) from error
    for count in (ROWS, 1, 7):
        rows = rows_for(written.ports, count, written.bound)
        try:
            with quiet():
                # Copies, as both may change what they are given.
                expected = flattened(name, part, written.predict([row.copy() for row in rows]))
                found = flattened(name, part, model.predict_on_batch(nested(part, [row.copy() for row in rows])))
        except SourceError:
            raise
        except Exception as error:  # the framework's
            raise SourceError(
                f"Submodel '{name}' ({written.label}) does not take a batch of {count}.",
                received=f"{type(error).__name__}: {reason(error)}",
                fix=DIRECTORY if written.dtypes else None,
            ) from error
        for field, one, other in zip(part.outputs, found, expected, strict=True):
            if other.dtype.kind not in "biuf":
                continue  # text, which is refused later
            result = compare(one, other)
            if not result.equal:
                raise SourceError(
                    f"Submodel '{name}' ({written.label}) predicts something else once it was written.",
                    expected=result.expected or f"differences of '{field.name}' up to {result.allowed:.3g}",
                    received=result.problem or f"{result.largest:.3g}",
                    fix="Make its predictions the same for the same rows, in inference.",
                )


# -- scikit-learn -------------------------------------------------------------------------------------------------
def _write_estimator(name: str, estimator: Any, shapes: Shapes, method: str | None, directory: Path) -> Written:
    import joblib

    what = type(estimator).__name__
    method = _method(name, estimator, method)
    _check_fitted(name, estimator)
    if len(shapes.shapes) != 1 or shapes.structure == "list" or None in shapes.shapes[0] or shapes.dtypes[0]:
        raise SourceError(
            f"Submodel '{name}' ({what}) takes one array, of any dtype.",
            expected="one shape without open sizes and without a dtype, such as shapes=(7,)",
            received=", ".join(
                shape_text(shape) + (f" {dtype}" if dtype else "")
                for shape, dtype in zip(shapes.shapes, shapes.dtypes, strict=True)
            ),
        )
    shapes = replace(shapes, structure="array")
    label = f"{what}, {method}"
    port = Port("x", shapes.shapes[0])
    try:
        copied = pickle.loads(pickle.dumps(estimator))
    except Exception as error:  # the estimator's own code
        raise SourceError(
            f"Submodel '{name}' ({what}) cannot be written to a file.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Use functions and classes that a module has, and no lambdas.",
        ) from error
    copied = _nameless(copied, method, port)
    bound, predicted = tried(name, label, (port,), lambda rows: getattr(estimator, method)(*rows))
    joblib.dump(copied, directory / "model_files" / "model.joblib")
    describe(
        directory,
        label,
        shapes,
        predicted,
        predicted,
        defined_as="kipoi.model.SklearnModel",
        args={"pkl_file": "model_files/model.joblib", "predict_method": method},
        pip=_requirements(name, what, estimator),
    )
    return Written(label, (port,), bound, None, lambda rows: getattr(estimator, method)(*rows))


def _method(name: str, estimator: Any, given: str | None) -> str:
    from sklearn.base import is_classifier

    what = type(estimator).__name__
    has = [method for method in METHODS if hasattr(estimator, method)]
    if not has:
        raise SourceError(
            f"Submodel '{name}' ({what}) predicts nothing.",
            expected="an estimator with " + ", ".join(METHODS[:2]) + " or " + METHODS[2],
            fix="Put a transformer into a sklearn.pipeline.Pipeline in front of what predicts.",
        )
    if given is not None and given not in has:
        raise SourceError(f"Submodel '{name}' ({what}) has no {given}.", expected=f"method= {' or '.join(has)}")
    return given or ("predict_proba" if is_classifier(estimator) and "predict_proba" in has else has[0])


def _check_fitted(name: str, estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise SourceError(
            f"Submodel '{name}' ({type(estimator).__name__}) is not fitted yet.",
            expected="an estimator that was trained",
            fix="Call its fit before it is added: a stitched model does not train it.",
        ) from None


def _nameless(estimator: Any, method: str, port: Port) -> Any:
    """The same estimator, without the names of columns if it would warn that arrays have none."""
    with warnings.catch_warnings(record=True) as seen, contextlib.suppress(Exception):
        warnings.simplefilter("always")
        getattr(estimator, method)(random_rows(port, ROWS, SIZES[0], 0))
    if not any("feature names" in str(warning.message) for warning in seen):
        return estimator
    done: set[int] = set()

    def strip(found: Any) -> None:
        if id(found) in done or isinstance(found, str | np.ndarray):
            return
        done.add(id(found))
        if isinstance(found, Mapping):
            for item in found.values():
                strip(item)
        elif isinstance(found, list | tuple):
            for item in found:
                strip(item)
        elif hasattr(found, "get_params") and hasattr(found, "__dict__"):
            vars(found).pop("feature_names_in_", None)
            strip(vars(found))

    strip(estimator)
    return estimator


class _Modules(pickle.Unpickler):
    """Notes which modules the classes and functions in a pickle come from."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content))
        self.found: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        self.found.setdefault(module.partition(".")[0], f"{module}.{name}")
        return super().find_class(module, name)


def _requirements(name: str, what: str, estimator: Any) -> list[str]:
    """What a pickle of an estimator needs, pinned: pickles are for one version."""
    modules = _Modules(pickle.dumps(estimator))
    modules.load()
    known = importlib.metadata.packages_distributions()
    needed = {"scikit-learn"}
    for top, first in modules.found.items():
        if top in ("numpy", "sklearn", *sys.stdlib_module_names) and top != "__main__":
            continue
        if top not in known:
            raise SourceError(
                f"Submodel '{name}' ({what}) needs {first}, which nobody else has.",
                expected="classes and functions of installed packages",
                fix="Write a Kipoi directory with kipoi.model.SklearnModel and the module beside it, and add that.",
            )
        needed.add(known[top][0])
    versions = {package: importlib.metadata.version(package).partition("+")[0] for package in sorted(needed)}
    return [*(f"{package}=={version}" for package, version in versions.items()), "joblib"]
