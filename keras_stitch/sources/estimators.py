"""An estimator of scikit-learn in memory, written to a Kipoi directory as a pickle."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import pickle
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.graphs.spec import Port, shape_text
from keras_stitch.models.sample_rows import SIZES, random_rows
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import ROWS
from keras_stitch.sources.shapes_argument import Shapes, shapes_of
from keras_stitch.sources.snapshots import Array, Written, describe, load_snapshot, tried

_FILE = f"{layout.MODEL_FILES}/model.joblib"
METHODS = ("predict", "predict_proba", "predict_log_proba")


def load_estimator(request: Request) -> Added:
    """Load a fitted estimator of scikit-learn, which is copied.

    Raises:
        SourceError: If it is not fitted, does not take the shapes, or cannot be written.
        StitchError: If ``shapes=`` or ``method=`` are not valid.
    """
    name, estimator = request.name, request.source
    shapes = shapes_of(name, request.shapes, "estimator")
    method = _method(name, estimator, request.method)
    return load_snapshot(request, "estimator", lambda folder: _write_estimator(name, estimator, shapes, method, folder))


def _write_estimator(name: str, estimator: Any, shapes: Shapes, method: str, directory: Path) -> Written:
    import joblib

    what = type(estimator).__name__
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
    label, port = f"{what}, {method}", Port("x", shapes.shapes[0])

    def predict(rows: Sequence[Array]) -> Any:
        return getattr(estimator, method)(*rows)

    try:
        copied = pickle.loads(pickle.dumps(estimator))
    except Exception as error:  # the estimator's own code
        raise SourceError(
            f"Submodel '{name}' ({what}) cannot be written to a file.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Use functions and classes that a module has, and no lambdas.",
        ) from error
    copied = _nameless(copied, method, port)
    bound, predicted = tried(name, label, (port,), predict)
    joblib.dump(copied, directory / _FILE)
    describe(
        directory,
        label,
        replace(shapes, structure="array"),
        predicted,
        predicted,
        defined_as="kipoi.model.SklearnModel",
        args={"pkl_file": _FILE, "predict_method": method},
        pip=_requirements(name, what, estimator),
    )
    return Written(label, (port,), bound, None, predict)


def _method(name: str, estimator: Any, given: object) -> str:
    """The method of an estimator that predicts: the one that was given, or the default."""
    from sklearn.base import is_classifier

    if given is not None and given not in METHODS:
        raise StitchError(
            f"method= of submodel '{name}' is none that Kipoi calls.",
            expected=" or ".join(map(repr, METHODS)),
            received=repr(given)[:200],
        )
    what = type(estimator).__name__
    has = [method for method in METHODS if hasattr(estimator, method)]
    if not has:
        raise SourceError(
            f"Submodel '{name}' ({what}) predicts nothing.",
            expected="an estimator with " + ", ".join(METHODS[:2]) + " or " + METHODS[2],
            fix="Put a transformer into a sklearn.pipeline.Pipeline in front of what predicts.",
        )
    if given is None:
        return "predict_proba" if is_classifier(estimator) and "predict_proba" in has else has[0]
    if given not in has:
        raise SourceError(f"Submodel '{name}' ({what}) has no {given}.", expected=f"method= {' or '.join(has)}")
    return str(given)


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
    """The same estimator without names of columns, if it would warn that arrays have none."""
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
