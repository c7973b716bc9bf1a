"""What a directory is made of: the graph with its models, and what the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_stitch.directory.packed_models import Packing
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.models.custom_objects import CustomObjects
from keras_stitch.placement.cut_into_stages import Stages
from keras_stitch.placement.jobs import Flow
from keras_stitch.verify.certificate import Certificate

CARDS = ("kipoi", "huggingface")


@dataclass(frozen=True)
class SaveOptions:
    """What the user asks for.

    Attributes:
        dataloaders: Graph input or submodel -> ``Dataloader``, Kipoi directory, import path or class. Inputs that
            nobody covers are read from files with tables.
        targets: An example of a file with targets, as a path or a ``Dataloader``.
        info: ``authors``, ``license``, ``doc``, ``cite_as`` and so on; adds to what the parts say and overrides it.
        examples: Files or values for arguments of the merged dataloader, for ``kipoi test``.
        hosting: Where weights, expected predictions and examples will be found: a base URL, or
            ``{path in the directory: URL}``.
        format: ``"keras"`` or ``"h5"``.
        overwrite: Whether a Kipoi directory that is there is replaced.
        require_ids: Whether it is an error that only the number of a row says where it belongs.
        card: One of ``CARDS``: who reads the model card.
    """

    dataloaders: Mapping[str, Any] | None = None
    targets: Any = None
    info: Mapping[str, Any] | None = None
    examples: Mapping[str, Any] | None = None
    hosting: str | Mapping[str, str] | None = None
    format: str = "keras"
    overwrite: bool = False
    require_ids: bool = False
    card: str = "kipoi"


@dataclass(frozen=True)
class SavedGraph:
    """The graph and its models.

    Attributes:
        flow: The graph, checked and cut into what runs.
        model: The Keras model; ``None`` where none remains. Its inputs are named like those of the final stage, in
            that order; one output is a tensor, several are a dict by name. It is not changed, and its optimizer is not
            saved.
        picture: The graph as SVG.
        record: The text of ``stitch.yaml``.
        workflow: Makes the ``WorkflowWriter`` of the models that run in environments of their own, if any do.
        parts: For submodels that came from Kipoi directories, what was read there.
        custom_objects: For submodels that need custom objects, what was given, or what their directories bring.
        trained: Whether the model was trained after it was built, so that its weights are not those of the sources.
        certify: ``Subject.certify`` of the model: compares the file that was written with the parts, on the examples.
    """

    spec: GraphSpec
    flow: Flow
    model: keras.Model | None
    picture: str
    record: str
    packing: Packing | None = None
    workflow: Callable[..., Any] | None = None
    parts: Mapping[str, KipoiPart] = field(default_factory=dict)
    custom_objects: Mapping[str, CustomObjects] = field(default_factory=dict)
    trained: bool = False
    certify: Callable[..., Certificate] | None = None

    @property
    def stages(self) -> Stages:
        """What remains after the jobs of the workflow."""
        return self.flow.stages
