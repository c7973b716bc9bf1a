"""Where Kipoi is not installed, our classes have its names while files are loaded that were written for it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from . import dataloader_kinds as kinds
from . import model_kinds
from .data_errors import problem


def kipoi_dataloader(override: Mapping[str, Any] | None = None) -> Callable[[Any], Any]:
    """Kipoi's decorator of classes whose docstrings describe them, for which nobody asks here."""
    return lambda described: described


# By module.
CLASSES: dict[str, dict[str, Any]] = {
    "kipoi.data": {
        **kinds.AVAILABLE_DATALOADERS,
        "AVAILABLE_DATALOADERS": kinds.AVAILABLE_DATALOADERS,
        "BaseDataLoader": kinds.BaseDataLoader,
        "kipoi_dataloader": kipoi_dataloader,
    },
    "kipoi.model": {name: getattr(model_kinds, name) for name in model_kinds.KINDS},
    "kipoi.metadata": {"GenomicRanges": kinds.GenomicRanges},
    "kipoi.specs": {"Author": SimpleNamespace, "Dependencies": SimpleNamespace},
    "kipoi_utils.data_utils": {"numpy_collate": kinds.numpy_collate},
}


def _is_missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except ValueError:  # it is one of ours: a directory is loaded by another
        return True


# kipoi_utils is a package of its own, which kipoiseq needs: with it, kipoiseq runs without Kipoi.
PACKAGES = ["kipoi", *(["kipoi_utils"] if _is_missing("kipoi_utils") else [])]


@contextlib.contextmanager
def kipoi_names() -> Iterator[None]:
    """Lets ``from kipoi.data import Dataset`` find our class where there is no Kipoi; leaves no trace of it.

    Raises:
        DataError: If a file needs more of Kipoi than that.
    """
    if kinds.HAS_KIPOI:
        yield
        return
    before = _taken_out()
    sys.modules.update(_modules())
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if not package.startswith("kipoi"):
            raise
        needed = "kipoi" if package == "kipoi_utils" else package
        raise problem(
            "A dataloader or a model needs Kipoi, which is not installed.",
            received=str(error),
            fix="pip install " + " ".join(dict.fromkeys(["kipoi", needed])),
        ) from error
    finally:
        _taken_out()
        sys.modules.update(before)


def _taken_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in PACKAGES}


def _modules() -> dict[str, ModuleType]:
    found: dict[str, ModuleType] = {}
    for name, classes in CLASSES.items():
        package, _, last = name.partition(".")
        if package not in PACKAGES:
            continue
        parent = found.setdefault(package, ModuleType(package))
        vars(parent)["__path__"] = []  # so that other modules are looked for, and missed by their names
        found[name] = ModuleType(name)
        vars(found[name]).update(classes)
        setattr(parent, last, found[name])
    return found
