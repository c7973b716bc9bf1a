"""The packages that download and upload, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from keras_stitch.errors import StitchError

# The least versions, as in setup.cfg, and a name that came with them.
LEAST = {"huggingface_hub": ("1.33", "resolve_revision"), "pooch": ("1.8", "retrieve")}


def needed(package: str) -> Any:
    """Import a package of the extra ``hub``, or a module of one.

    Raises:
        StitchError: If it is not installed, or too old; says how to install it.
    """
    name = package.partition(".")[0]
    version, brought = LEAST[name]
    try:
        module = importlib.import_module(package)
        getattr(importlib.import_module(name), brought)
    except (ImportError, AttributeError) as error:
        raise StitchError(
            f"Addresses need the package {name}.",
            expected=f"{name}>={version}",
            received=str(error),
            fix="pip install --upgrade 'keras_stitch[hub]'",
        ) from error
    return module
