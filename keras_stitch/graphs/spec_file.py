"""What a ``stitch.yaml`` says, as plain data; ``read_stitch_yaml`` makes it of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.graphs.spec import Connection, FreezeRule, InputSpec, OutputSpec


@dataclass(frozen=True)
class ModelEntry:
    """One entry under ``models``: where it comes from, its record, and the keyword arguments of ``Graph.add``."""

    name: str
    source: str | None = None
    layer: Mapping[str, Any] | None = None
    share: str | None = None
    sha256: str | None = None
    commit: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def check_recorded(self, sha256: str | None) -> None:
        """Raise where the source is not the one whose sha256 was recorded."""
        if self.sha256 is None or self.layer is not None:
            return
        if sha256 != self.sha256.lower().removeprefix("sha256:"):
            raise SourceError(
                f"The file of submodel '{self.name}', '{self.source}', is not the one that was recorded.",
                expected=f"sha256 {self.sha256}",
                received=f"sha256 {sha256}",
                fix=f"Bring the recorded file back, or remove 'sha256' from models.{self.name}.",
            )


@dataclass(frozen=True)
class SpecFile:
    """What a ``stitch.yaml`` says, before anything is loaded; ``merge_objects`` by the target of the connection."""

    name: str
    models: tuple[ModelEntry, ...]
    connections: tuple[Connection, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    freezes: tuple[FreezeRule, ...] = ()
    merge_objects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
