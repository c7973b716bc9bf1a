"""What ``Graph.add`` was asked for, and what was loaded for it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import keras

from keras_stitch import keras_private
from keras_stitch.checks import path_of
from keras_stitch.errors import StitchError
from keras_stitch.files.checksums import Checksum, checksums
from keras_stitch.graphs.spec import Submodel
from keras_stitch.models import custom_objects, replaced_layers
from keras_stitch.models.custom_objects import CustomObjects, Given
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.models.replaced_layers import Replacements
from keras_stitch.repairs.rule import Repair

if TYPE_CHECKING:
    from keras_stitch.kipoi.model_directory import KipoiPart

# The options that go with Keras models alone.
OF_KERAS = ("custom_objects", "arch", "trainable", "outputs", "saved_backend", "stateless", "part", "replace")


@dataclass(frozen=True)
class Request:
    """A name, a source and the options of ``Graph.add``; an option that was left out is ``None``."""

    name: str
    source: Any
    custom_objects: Given = None
    arch: Any = None
    saved_backend: str | None = None
    stateless: bool | None = None
    part: str | None = None
    replace: Any = None
    trainable: bool | None = None
    outputs: Sequence[str] | None = None
    placement: str | None = None
    shapes: Any = None
    method: Any = None
    signature: str | None = None
    sha256: Any = None
    md5: Any = None

    def checksums(self) -> tuple[Checksum, ...]:
        """The hashes that were given for the file."""
        return checksums(self.sha256, self.md5, f"submodel '{self.name}'")

    def objects(self) -> CustomObjects:
        """The custom objects that were given."""
        return custom_objects.read(self.custom_objects, f"custom_objects= of submodel '{self.name}'")

    def replacements(self) -> Replacements:
        """The layers that were given in the place of layers of the file."""
        where = f"replace= of submodel '{self.name}'"
        return {} if self.replace is None else replaced_layers.read(self.replace, where)

    def options_of_file(self) -> dict[str, Any]:
        """What ``load_keras.load_file`` is asked of a file, beside custom objects and the architecture."""
        return {
            "outputs": self.outputs,
            "saved_backend": self.saved_backend,
            "stateless": bool(self.stateless),
            "part": self.part,
        }

    def arch_file(self) -> Path | None:
        """The absolute path of the architecture JSON that was given."""
        return None if self.arch is None else path_of(self.arch, f"arch= of submodel '{self.name}'").absolute()

    def refuse_keras_options(
        self, what: str = "of another framework", where: str = "in the dataloader ", *, but: Sequence[str] = ()
    ) -> None:
        """Raise where an option for Keras models alone was given, ``but`` some; the others are for the message."""
        for option in OF_KERAS:
            value = getattr(self, option)
            if (
                option not in but and value is not None and not isinstance(value, CustomObjects)
            ):  # those of a stitch.yaml are for all
                raise StitchError(
                    f"{option}= of submodel '{self.name}' is for Keras models, and this is a model {what}.",
                    received=f"{option}={value!r}"[:200],
                    fix=f"Leave it out: such a model runs {where}as it is.",
                )


@dataclass(frozen=True)
class Added:
    """A submodel with all that was read for it.

    Attributes:
        blueprint: Makes the Keras object; ``None`` for a model of another framework.
        customs: The custom objects that were given for it, and those that its Kipoi directory brings along.
        part: What its Kipoi directory says, with the fields of its schema in the order of the ports.
        arch: The architecture JSON of its Kipoi directory, where the weights alone are in a file.
        kept: Whatever has to live as long as this, such as a temporary folder.
        layers: The layers with weights in a model in memory, of which this has copies.
        files: The sha256 of the files that it was read from, by their paths.
    """

    submodel: Submodel
    blueprint: Blueprint | None = None
    customs: CustomObjects = field(default_factory=CustomObjects)
    part: KipoiPart | None = None
    arch: Path | None = None
    kept: object = None
    layers: WeakSet[keras.Layer] = field(default_factory=WeakSet)
    files: Mapping[Path, str] = field(default_factory=dict)

    @classmethod
    def of_keras(cls, request: Request, submodel: Submodel, blueprint: Blueprint, given: CustomObjects) -> Added:
        """A Keras model with what was asked for it; its source says which custom objects were given."""
        source = replace(
            submodel.source,
            custom_objects=given.said,
            live_objects=given.live,
            saved_backend=request.saved_backend,
            stateless=bool(request.stateless),
            part=request.part,
        )
        asked = replace(submodel, source=source, trainable=request.trainable, placement=request.placement)
        inner = keras_private.layers_within(request.source) if isinstance(request.source, keras.Model) else ()
        return cls(asked, blueprint, given, layers=WeakSet(layer for layer in inner if layer.weights))

    def with_repair(self, repair: Repair) -> Added:
        """The same with one more line on what was done to load it."""
        return replace(self, submodel=replace(self.submodel, repairs=(str(repair), *self.submodel.repairs)))

    def warn_of_shared(self, name: str, known: Mapping[str, Added]) -> None:
        """Say where other submodels hold a layer of this one: of each, the stitched model has a copy."""
        for other, added in known.items() if self.layers else ():
            both = self.layers & added.layers
            if other == name or not both or self.layers == added.layers:
                continue
            shown = ", ".join(sorted(f"'{layer.name}'" for layer in both)[:3])
            warnings.warn(
                f"Submodels '{other}' and '{name}' hold the same layers in memory ({shown}). The stitched model has a "
                "copy for each, and training would change them apart. To train them as one, put both models into one "
                "keras.Model and add that.",
                stacklevel=4,
            )
