"""What the submodels of a graph are made of, for whatever runs them one by one or loads them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch.files import read_files
from keras_stitch.graphs.spec import Submodel
from keras_stitch.models.custom_objects import CustomObjects, Origin, registered_name
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.verify.certificate import CertifiedPart


@dataclass(frozen=True)
class SubmodelSources:
    """The sources of submodels, by name.

    Attributes:
        blueprints: The blueprints of the submodels that own their weights; they make what runs separately.
        customs: The custom objects that were given for submodels, with the places where a fresh process finds them.
        archs: The architecture JSON of submodels that are Kipoi directories, where they have one.
        merges: The custom objects of merges.
    """

    blueprints: Mapping[str, Blueprint]
    customs: Mapping[str, CustomObjects] = field(default_factory=dict)
    archs: Mapping[str, Path] = field(default_factory=dict)
    merges: CustomObjects = field(default_factory=CustomObjects)

    def custom_objects(self) -> dict[str, Any]:
        """All custom objects by the names that submodels are loaded with, and by those that the stitched model has."""
        given = [*(blueprint.custom_objects for blueprint in self.blueprints.values()), self.merges.for_keras()]
        items = [pair for objects in given for pair in objects.items()]
        return dict(items) | {registered_name(item, name): item for name, item in items}

    def origins(self) -> dict[str, Origin]:
        """Where each of them can be had again, also by the name under which it is registered."""
        places = {
            id(item): given.origins.get(key)
            for given in (*self.customs.values(), self.merges)
            for key, item in given.objects.items()
        }
        return {name: origin for name, item in self.custom_objects().items() if (origin := places.get(id(item)))}

    def certified(self, submodel: Submodel, weights: Mapping[str, str]) -> CertifiedPart:
        """A submodel as the certificate names it; ``weights`` says for each owner of weights which these are."""
        owner, source = submodel.share or submodel.name, submodel.source
        given = self.customs.get(owner, CustomObjects())
        beside = [*([Path(source.arch)] if source.arch else []), *([self.archs[owner]] if owner in self.archs else [])]
        beside += [Path(place) for place in dict.fromkeys(it.place for it in given.origins.values() if it.is_file)]
        return CertifiedPart(
            submodel.name,
            f"shares {submodel.share}" if submodel.share else source.origin,
            source.sha256,
            tuple((path.name, read_files.sha256(path)) for path in beside),
            weights.get(owner, "of the source"),
            tuple(str(repair) for repair in submodel.repairs),
        )
