"""Loads dataloaders, and other objects, from Python files by their paths."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .dataloader_kinds import AVAILABLE_DATALOADERS, PreloadedDataset
from .kipoi_names import kipoi_names
from .neighbours import neighbours_first


def load_dataloader(path: str | Path, name: str, kind: str = "PreloadedDataset") -> Any:
    """Returns the dataloader class in a Python file.

    Args:
        path: The Python file.
        name: The class in it, or a function that returns the whole data set or generates it.
        kind: Kipoi's type of dataloader for a function: "PreloadedDataset", "SampleGenerator" or "BatchGenerator".
    """
    loader = load_object(path, name)
    return from_function(loader, kind) if inspect.isfunction(loader) else loader


def load_object(path: str | Path, name: str) -> Any:
    """Returns the object of some name in a Python file.

    The file is loaded by its path, so that one process can load several files of one name. It may import its
    neighbours by their plain names, and what Kipoi has, without Kipoi, too.

    Raises:
        DataError: If Kipoi is not installed and the file cannot do without it.
    """
    with neighbours_first(Path(path).resolve().parent), kipoi_names():
        # Every file has a module name of its own: pickle and inspect look modules up by name.
        module_name = "component" + re.sub(r"\W", "_", str(Path(path).resolve()))
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        found: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def from_function(function: Callable[..., Any], kind: str = "PreloadedDataset") -> Any:
    """Returns the class that Kipoi makes of a function, but a new one for each function."""
    base = AVAILABLE_DATALOADERS[kind]
    attribute = "data_fn" if base is PreloadedDataset else "generator_fn"
    return type(function.__name__, (base,), {attribute: staticmethod(function)})
