"""Where a submodel comes from, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SAVED_BACKENDS = ("tensorflow", "theano")


@dataclass(frozen=True)
class Source:
    """Where a submodel comes from.

    Attributes:
        kind: "file", "kipoi", "saved model" (a SavedModel that is packed as it is); in memory "model", "layer",
            "trained layer" (with weights), "estimator", "module".
        path: The absolute path, where it was not given in memory.
        layer: ``{"class_name": ..., "config": ...}`` for ``layer``.
        arch: The absolute path of the architecture JSON, for a weights-only file.
        saved_backend: One of ``SAVED_BACKENDS``: that of the Keras that saved it, where the user said it.
        stateless: Whether its stateful layers were to become stateless.
        signature: The function of a SavedModel that was asked for.
        part: The nested model that alone is taken of the file: ``"model_wo_bias"``.
        replaced: The layers that the user gave in place of layers of the file, as ``layer`` has one, by their names.
        replaced_in_memory: Those of them that have weights, which no config could bring back.
        sha256: The sha256 of the file with the weights, where there is one.
        label: What tables and pictures show: a file name, ``Dense``.
        zoo: Its name in a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``; ``path`` is where that lies here.
        address: Its address, ``"hf://user/repo/model.keras@main"``; ``path`` is where that lies here.
        commit: The commit of the repository at that address, of the Hub.
        arch_address: The address of the architecture JSON, with its commit; ``arch`` is where that lies here.
        custom_objects: The files (absolute paths) and modules that were given for its custom objects.
        live_objects: The names of custom objects that were given in memory and that no module has.
    """

    kind: str
    label: str
    path: str | None = None
    arch: str | None = None
    layer: Mapping[str, Any] | None = None
    sha256: str | None = None
    zoo: str | None = None
    address: str | None = None
    commit: str | None = None
    arch_address: str | None = None
    custom_objects: tuple[str, ...] = ()
    live_objects: tuple[str, ...] = ()
    saved_backend: str | None = None
    stateless: bool = False
    signature: str | None = None
    part: str | None = None
    replaced: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    replaced_in_memory: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """What records say: a file name, never a path; the address with its commit, where it came by one."""
        if self.address is None:
            return self.label
        return self.address if self.commit is None else f"{self.address} (commit {self.commit})"

    @property
    def in_memory(self) -> bool:
        """Whether it was given in memory and has what no path and no config could bring back."""
        return self.kind not in ("file", "kipoi", "saved model", "layer")

    @property
    def draws_weights(self) -> bool:
        """Whether it is a layer that has no weights of its own: every build draws new ones."""
        return self.kind == "layer"
