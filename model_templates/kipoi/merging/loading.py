"""Loads the dataloaders of the parts."""

import contextlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path

from kipoi.data import AVAILABLE_DATALOADERS, PreloadedDataset


def load_dataloader(path, name, kind="PreloadedDataset"):
    """Returns the dataloader class in a Python file.

    Args:
        path: The Python file.
        name: The class in it, or a function that returns the whole data set or generates it.
        kind: What Kipoi calls what a function does: "PreloadedDataset", "SampleGenerator" or "BatchGenerator".
    """
    loader = load_object(path, name)
    return from_function(loader, kind) if inspect.isfunction(loader) else loader


def load_object(path, name):
    """Returns what has a name in a Python file.

    The file is loaded by its path, so that several files of one name live in one process. It may import its
    neighbours by their plain names.
    """
    with neighbours_first(Path(path).resolve().parent):
        # A name of its own for every file: pickle and inspect look modules up by name.
        module_name = "component" + re.sub(r"\W", "_", str(Path(path).resolve()))
        spec = importlib.util.spec_from_file_location(module_name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    for part in name.split("."):
        module = getattr(module, part)
    return module


def from_function(function, kind="PreloadedDataset"):
    """Returns the class for a function, as Kipoi makes it, but one for each function."""
    base = AVAILABLE_DATALOADERS[kind]
    attribute = "data_fn" if base is PreloadedDataset else "generator_fn"
    return type(function.__name__, (base,), {attribute: staticmethod(function)})


@contextlib.contextmanager
def neighbours_first(folder):
    """Lets ``import helper`` find helper.py of the folder, and leaves no trace of that for the next dataloader."""
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}

    def take_out():
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}

    before = take_out()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        take_out()
        sys.modules.update(before)
