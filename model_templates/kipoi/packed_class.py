"""The model of this directory, whose Python files lie in a folder of their own."""

import importlib
import importlib.util
from pathlib import Path

from kipoi.model import BaseModel


class PackedModel(BaseModel):
    """Makes the model of its own class, which may import what lies beside it.

    Args:
        python_folder: The folder of the Python files.
        python_class: The class, as Kipoi's ``defined_as`` has it in that folder.
        args: What the class takes.
    """

    def __new__(cls, python_folder, python_class, **args):
        # Kipoi makes models in the folder of their model.yaml.
        spec = importlib.util.spec_from_file_location("loading", Path("merging", "loading.py"))
        loading = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loading)
        with loading.neighbours_first(Path(python_folder).resolve()):
            module, _, name = python_class.rpartition(".")
            return getattr(importlib.import_module(module), name)(**args)
