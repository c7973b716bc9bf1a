"""The model of this directory, whose Python files lie in a folder of their own."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from kipoi.model import BaseModel


class PackedModel(BaseModel):
    """Makes the model of its own class, which may import what lies beside it.

    Args:
        python_folder: The folder of the Python files.
        python_class: The class, as Kipoi's ``defined_as`` has it in that folder.
        **args: What the class takes.
    """

    def __new__(cls, python_folder: str, python_class: str, **args: Any) -> Any:
        """Returns the model of the class."""
        # Kipoi makes models in the folder of their model.yaml.
        spec = importlib.util.spec_from_file_location("neighbours", Path("merging", "neighbours.py"))
        assert spec is not None and spec.loader is not None
        neighbours = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(neighbours)
        with neighbours.neighbours_first(Path(python_folder).resolve()):
            module, _, name = python_class.rpartition(".")
            return getattr(importlib.import_module(module), name)(**args)
