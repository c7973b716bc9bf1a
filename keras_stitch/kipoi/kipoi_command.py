"""The command ``kipoi`` in a process of its own, beside any NumPy and setuptools.

    python -m keras_stitch.kipoi.kipoi_command test .

It does what ``kipoi`` does. The script of that name needs ``pkg_resources``, which setuptools 82 removed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import importlib.util
import sys
import types
import warnings
from typing import Any

import packaging.version

from keras_stitch.kipoi.templates import template_module


def main() -> Any:
    """Run the command; returns the status that the process ends with."""
    provide_pkg_resources()
    template_module("kipoi.merging.kipoi_on_numpy2")
    from kipoi.__main__ import main as kipoi

    return kipoi()


def provide_pkg_resources() -> None:
    """Import ``pkg_resources`` without its warning; where setuptools has none, put what Kipoi uses in its place."""
    if importlib.util.find_spec("pkg_resources") is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pkg_resources is deprecated")
            importlib.import_module("pkg_resources")
        return
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.resource_filename = _resource_filename
    stand_in.get_distribution = importlib.metadata.distribution
    stand_in.DistributionNotFound = importlib.metadata.PackageNotFoundError
    stand_in.parse_version = packaging.version.parse
    sys.modules["pkg_resources"] = stand_in


def _resource_filename(module: str, name: str) -> str:
    """The path of a file beside a module."""
    return str(importlib.resources.files(module.rpartition(".")[0]).joinpath(name))


if __name__ == "__main__":
    sys.exit(main())
