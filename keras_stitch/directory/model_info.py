"""The info and dependencies of ``model.yaml``: what the parts and the user say."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_stitch.checks import mapping_of
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.templates import is_plain
from keras_stitch.placement.environments import final_base

UNSPECIFIED = "unspecified"

_TEXTS = ("doc", "name", "version", "license", "cite_as", "trained_on", "training_procedure")
_PEOPLE = ("authors", "contributors")
INFO_KEYS = (*_PEOPLE, *_TEXTS, "tags")


@dataclass(frozen=True)
class Statement:
    """What one part, a submodel or the dataloader of one, says about itself in its Kipoi directory."""

    part: str
    info: Mapping[str, Any]
    dependencies: Mapping[str, Sequence[str]]
    is_model: bool  # its framework is replaced by that of the stitched model


def statements(spec: GraphSpec, merged: Merged, parts: Mapping[str, KipoiPart]) -> list[Statement]:
    """What every part says: submodels in their order, then component dataloaders.

    Bare layers are no parts, and submodels that share the weights of another say nothing new.
    """
    found = []
    for submodel in spec.submodels:
        if submodel.share is not None:
            continue
        if (part := parts.get(submodel.name)) is not None:
            found.append(Statement(submodel.name, part.info, part.dependencies, True))
        elif not submodel.is_layer:
            found.append(Statement(submodel.name, {}, {}, True))
    for feeder in merged.components:
        name = f"dataloader of {feeder.name}"
        found.append(Statement(name, feeder.component.info, feeder.component.dependencies, False))
    return found


def info_section(
    graph: str, said: Sequence[Statement], given: Mapping[str, Any] | None, kind: str = "Keras model"
) -> dict[str, Any]:
    """The ``info`` section of ``model.yaml``.

    What the user gives overrides what the parts say; its authors and tags are added to those of the parts. ``kind`` is
    what the parts are stitched into.

    Raises:
        StitchError: When ``given`` has an unknown key or a value of another kind.
    """
    given = mapping_of(given, "info=", "{'authors': ..., 'license': ..., 'doc': ...}")
    for key, value in given.items():
        if key not in INFO_KEYS:
            raise StitchError(f"info= has no entry '{key}'.", expected=nearest(key, INFO_KEYS))
        if key in _TEXTS and not isinstance(value, str | int | float):
            raise StitchError(f"info['{key}'] is not a text.", received=repr(value))
        if key not in _TEXTS and not isinstance(value, str | Mapping | list | tuple):
            raise StitchError(f"info['{key}'] is not a list.", received=repr(value))
    authors = _unique([*_people("authors", given.get("authors")), *_stated(said, "authors")])
    licences = {statement.info.get("license") for statement in said}
    agreed = licences.pop() if len(licences) == 1 else None
    models = ", ".join(statement.part for statement in said if statement.is_model)
    tags = given.get("tags", [])
    if not isinstance(tags, str) and not (isinstance(tags, list | tuple) and all(isinstance(t, str) for t in tags)):
        raise StitchError("info['tags'] is not a list of texts.", received=repr(tags))
    section = {
        "authors": authors,
        "contributors": _people("contributors", given.get("contributors")),
        "doc": given.get("doc") or f"{graph}: {models or 'layers'} stitched into one {kind}.",
        "name": given.get("name"),
        "version": str(given.get("version", "0.1")),
        "license": given.get("license") or agreed or UNSPECIFIED,
        "tags": _unique([*([tags] if isinstance(tags, str) else tags), *_stated(said, "tags")]),
        "cite_as": given.get("cite_as") or "; ".join(citations(said)),
        "trained_on": given.get("trained_on"),
        "training_procedure": given.get("training_procedure"),
    }
    if not is_plain(section):
        raise StitchError("info= has a value that YAML cannot hold.", received=repr(given))
    return {key: value for key, value in section.items() if value or key == "authors"}


def citations(said: Iterable[Statement]) -> list[str]:
    """What the parts ask to be cited as, each once."""
    return _unique(str(statement.info["cite_as"]) for statement in said if statement.info.get("cite_as"))


def licences(said: Iterable[Statement]) -> list[tuple[str, str]]:
    """The licence of every part, ``unspecified`` where it states none."""
    return [(statement.part, statement.info.get("license") or UNSPECIFIED) for statement in said]


def dependencies_section(
    said: Sequence[Statement], more: Iterable[str] = (), framework: str = "keras"
) -> dict[str, list[str]]:
    """The ``dependencies`` section: what the stitched model needs, and what its parts add.

    What the stitched model pins wins: parts made for an older Keras run in the present one.

    Args:
        said: What the parts say.
        more: Requirements that are added where nobody else names their package.
        framework: One of ``spec.FRAMEWORKS``: Kipoi warns where the package of the model's framework is not listed.
    """
    pip = list(final_base())
    conda = [f"python={sys.version_info.major}.{sys.version_info.minor}"]
    pinned = {_package(item) for item in [*pip, *conda]} | {"tensorflow-gpu", "tensorflow-cpu", "theano"}
    channels: list[str] = []
    for statement in said:
        pip += [item for item in statement.dependencies.get("pip", ()) if _package(item) not in pinned]
        conda += [item for item in statement.dependencies.get("conda", ()) if _package(item) not in pinned]
        channels += statement.dependencies.get("conda_channels", ())
    named = {_package(item) for item in [*pip, *conda]} | pinned
    pip += [item for item in more if _package(item) not in named]
    if framework == "scikit-learn" and "scikit-learn" not in named:
        pip.append("scikit-learn")
    if framework == "pytorch" and "pytorch" not in named:
        # Kipoi looks for conda's name of it.
        conda += [f"py{item}" for item in pip if re.fullmatch(r"torch\b[^\[;@]*", item)][:1] or ["pytorch"]
    pip, conda = _without_bare(pip), _without_bare(conda)
    channels = [channel for channel in _unique(channels) if channel != "defaults"]
    return {"conda": _unique(conda), "pip": _unique(pip), "conda_channels": [*channels, "defaults"]}


def _without_bare(items: Sequence[str]) -> list[str]:
    """Requirements without those that only name a package of which another says the version."""
    versions = {_package(item) for item in items if _package(item) != item.strip().lower().replace("_", "-")}
    return [item for item in items if _package(item) not in versions or re.search(r"[^\w.-]", item.strip())]


def _package(requirement: str) -> str:
    name = re.match(r"[\w.-]*", requirement.rpartition("::")[2].strip())
    return name[0].lower().replace("_", "-") if name else ""


def _people(key: str, given: Any) -> list[dict[str, str]]:
    people = []
    for person in [given] if isinstance(given, str | Mapping) else given or []:
        person = {"name": person} if isinstance(person, str) else person
        known = isinstance(person, Mapping) and "name" in person and set(person) <= {"name", "github", "email"}
        if not known or not all(isinstance(text, str) for text in person.values()):
            raise StitchError(
                f"info['{key}'] names somebody in a way that Kipoi does not know.",
                expected="a name, or {'name': ..., 'github': ..., 'email': ...}",
                received=repr(person),
            )
        people.append(dict(person))
    return people


def _stated(said: Iterable[Statement], key: str) -> list[Any]:
    return [item for statement in said for item in statement.info.get(key) or ()]


def _unique(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
