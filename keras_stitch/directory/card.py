"""The model card: README.md of a generated directory."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import yaml

from keras_stitch import directory_layout as layout
from keras_stitch.directory.dataloader_code import shown_default
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import Feeder
from keras_stitch.directory.model_info import UNSPECIFIED, Statement, citations, licences
from keras_stitch.directory.save_request import SavedGraph
from keras_stitch.graphs.freezing import FROZEN, frozen_state
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.keras_private import layers_within, own_trainable_weights
from keras_stitch.kipoi.templates import WIDTH, literal, render, template_module
from keras_stitch.placement.jobs import Flow
from keras_stitch.verify.certificate import CHECK_HEADERS, Certificate

_PROGRAM = template_module("kipoi.merging.command_line")
_STAGES = {"workflow": "an environment of its own", "dataloader": "the dataloader", "model": "the model"}

_KINDS = {
    "Dataset": "Row i of the inputs is row i of every part. Rows can be shuffled, and read by several workers.",
    "SampleIterator": "Row i of the inputs is row i of every part. Rows come from the first to the last and cannot be "
    "shuffled, as some parts can only do that.",
}


@dataclass(frozen=True)
class ModelCard:
    """What ``README.md`` says: ``description`` is ``model.yaml``, ``examples`` are those of ``dataloader.yaml``."""

    graph: SavedGraph
    merged: Merged
    inputs: Mapping[str, Any]
    said: Sequence[Statement]
    description: Mapping[str, Any]
    examples: Mapping[str, Any]
    urls: Mapping[str, str]
    certificate: Certificate | None = None

    def write(self, directory: Path, groups: Sequence[Sequence[str]], *, front_matter: str = "") -> None:
        """Writes ``README.md``, with what stands before it.

        Only the number of a row connects the parts in one of the groups with those in another.
        """
        values = {**self._about_graph(), **self._about_dataloader(), **self._about_parts()}
        file = self.description["args"]["weights"] if self.graph.model is not None else None
        values |= {"hub": bool(front_matter), "model_file": None if file in self.urls else file}
        values["by_number"] = [
            (one, later)
            for number, own in enumerate(groups)
            for one in own
            if (later := [name for names in groups[number + 1 :] for name in names])
        ]
        text = front_matter + render("kipoi/README.md.jinja", values)
        (directory / layout.CARD).write_text(text, encoding="utf-8")

    def _about_graph(self) -> dict[str, Any]:
        spec, flow, stages = self.graph.spec, self.graph.flow, self.graph.stages
        targets = self.description["schema"]["targets"]
        frozen = _frozen(spec, flow, self.graph.model)
        return {
            "graph": spec.name,
            "info": self.description["info"],
            "dependencies": self.description["dependencies"],
            "submodels": [(submodel, frozen[submodel.name]) for submodel in spec.submodels],
            "inputs": list(self.inputs.items()),
            "outputs": [(targets["name"], targets)] if len(stages.whole.outputs) == 1 else list(targets.items()),
            "dtypes": {port.name: port.dtype or "float32" for port in stages.inputs},
            "plan": flow.plan if stages.packs or flow.jobs else None,
            "stages": _STAGES,
            "environments": [environment.name for environment in flow.environments],
            "trained": self.graph.trained,
            "certificate": self.certificate,
            "check_headers": CHECK_HEADERS,
            "urls": self.urls,
        }

    def _about_dataloader(self) -> dict[str, Any]:
        values = dict(self.examples)
        for name, value in values.items():
            if isinstance(value, Mapping) and "url" in value:
                # Where `kipoi test` has put it.
                values[name] = f"{layout.DOWNLOADS}/{layout.EXAMPLES}/{value.get('name') or name}"
        merged = self.merged
        return {
            "options": _options(values),
            "command": _command(values),
            "example": _call(values),
            "kind_text": _KINDS[merged.kind],
            "require_ids": merged.require_ids,
            "rows": [_alignment(feeder) for feeder in merged.feeders],
            "arguments": merged.arguments,
            "owners": {name: ", ".join(feeder.name for feeder in who) for name, who in merged.owners.items()},
            "examples": self.examples,
            "defaults": {argument.name: shown_default(argument, merged) for argument in merged.arguments},
        }

    def _about_parts(self) -> dict[str, Any]:
        stated = licences(self.said)
        own = str(self.description["info"]["license"])
        different = sorted({*(licence for _, licence in stated), own} - {UNSPECIFIED})
        return {
            "licences": stated,
            "different": different if len(different) > 1 else [],
            "docs": [(item.part, item.info["doc"]) for item in self.said if item.info.get("doc")],
            "unspecified": UNSPECIFIED,
            "citations": citations(self.said),
        }


def _alignment(feeder: Feeder) -> list[str]:
    """How the rows of a part are kept together with those of the others, for the card's table."""
    alignment = feeder.alignment
    found = "their number"
    if alignment.align_on is not None:
        found = f"their {alignment.align_on}"
        found += ", or left out" if alignment.missing == "inner" else ""
    feeds = ", ".join(feeder.feeds) or "targets"
    return [feeder.name, feeder.kind, feeds, alignment.compared_by, found]


def _options(values: Mapping[str, Any]) -> str:
    """The examples as options of the directory's own program."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return " ".join(f"{_PROGRAM.flag(name)} {shlex.quote(text)}" for name, text in texts.items())


def _command(values: Mapping[str, Any]) -> str:
    """The examples for the command line, in one JSON-like argument."""
    flow = yaml.safe_dump(dict(values), default_flow_style=True, width=float("inf"), sort_keys=False).strip()
    return shlex.quote(flow)


def _call(values: Mapping[str, Any]) -> str:
    line = f"predictions = model.pipeline.predict({literal(dict(values), used=-WIDTH * WIDTH)})"
    if len(line) <= WIDTH:
        return line
    return f"predictions = model.pipeline.predict(\n    {literal(dict(values), indent=4)}\n)"


def _frozen(spec: GraphSpec, flow: Flow, model: keras.Model | None) -> dict[str, str]:
    """Whether each submodel is frozen: "yes", "partly" or "no"; also "no" where there is nothing to train."""
    layers = {layer.name: layer for layer in model.layers} if model is not None else {}
    states = {}
    for submodel in spec.submodels:
        if submodel.name in flow.outside:
            states[submodel.name] = "yes"
            continue
        layer = layers.get(submodel.share or submodel.name)
        training = {id(weight) for weight in layer.trainable_weights} if layer else set()
        # Moving averages, which no flag lets train, do not count.
        inner = layers_within(layer) if layer else ()
        trains = [id(weight) in training for part in inner for weight in own_trainable_weights(part)]
        states[submodel.name] = FROZEN[frozen_state(trains)]
    return states
