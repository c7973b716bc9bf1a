"""Custom objects of packages that are installed and that a file names.

A file must not choose which code of this machine runs. So a module that it names is imported only where its package
says in its own metadata that it builds on Keras, and only classes that Keras makes layers of come out of it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator

import keras
from packaging.requirements import InvalidRequirement, Requirement

from keras_stitch.errors import StitchError
from keras_stitch.models import custom_objects
from keras_stitch.models.custom_objects import CustomObjects
from keras_stitch.repairs.keras3_config import Missing
from keras_stitch.repairs.rule import Repair

_BUILDS_ON = {"keras", "keras-core", "keras-hub", "tensorflow", "tensorflow-cpu", "tf-keras"}
_CLASSES = (keras.Layer, keras.Initializer, keras.Regularizer, keras.constraints.Constraint)


def find(missing: Iterable[Missing]) -> CustomObjects:
    """Those of some objects that an installed package has which builds on Keras."""
    found = CustomObjects()
    trusted: dict[str, bool] = {}
    for one in missing:
        module, name = one.module or "", one.name.rpartition(">")[2]
        package = module.partition(".")[0]
        if package and package not in trusted:
            trusted[package] = _builds_on_keras(package)
        if not trusted.get(package) or not name.isidentifier():
            continue
        try:
            named = custom_objects.read(f"{module}:{name}", "what the file names")
        except StitchError:  # the package is of another version, or broken
            continue
        item = named.objects[name]
        if isinstance(item, type) and issubclass(item, _CLASSES):
            found |= named
    return found


def repair(found: CustomObjects) -> Repair:
    """What was taken, for tables."""
    return Repair("installed-objects", "it is of a package that the file names and that is installed here", found.said)


def _builds_on_keras(package: str) -> bool:
    names = importlib.metadata.packages_distributions().get(package, ())
    return any(not _BUILDS_ON.isdisjoint(_requirements(name)) for name in names)


def _requirements(distribution: str) -> Iterator[str]:
    for text in importlib.metadata.requires(distribution) or ():
        try:
            yield Requirement(text).name.lower().replace("_", "-")
        except InvalidRequirement:
            continue
