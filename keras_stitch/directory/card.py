"""The model card: README.md of a generated directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import yaml

from keras_stitch.directory.dataloader_code import shown_default
from keras_stitch.directory.dataloader_plan import Feeder, Merged
from keras_stitch.directory.model_yaml import UNSPECIFIED, Statement, citations, licences
from keras_stitch.graphs.spec import GraphSpec
from keras_stitch.keras_private import layers_within, own_trainable_weights
from keras_stitch.kipoi.templates import WIDTH, literal, render
from keras_stitch.placement.plan import Plan
from keras_stitch.placement.stages import Stages
from keras_stitch.verify.certificate import CHECK_HEADERS, Certificate

_STAGES = {
    "workflow": "an environment of its own",
    "dataloader": "the dataloader",
    "model": "the model",
}


_KINDS = {
    "Dataset": "Row i of the inputs is row i of every part. Rows can be shuffled, and read by several workers.",
    "SampleIterator": "Row i of the inputs is row i of every part. Rows come from the first to the last and cannot be "
    "shuffled, as some parts can only do that.",
}


def write_card(
    directory: Path,
    spec: GraphSpec,
    plan: Plan,
    stages: Stages,
    inputs: Mapping[str, Any],
    merged: Merged,
    said: Sequence[Statement],
    description: Mapping[str, Any],
    examples: Mapping[str, Any],
    urls: Mapping[str, str],
    model: keras.Model | None,
    trained: bool,
    certificate: Certificate | None = None,
) -> None:
    """Writes ``README.md``.

    Args:
        directory: Where to.
        spec: The whole graph.
        plan: Where its submodels run.
        stages: What remains of it beside the workflow, checked.
        inputs: The schema of every input of the model.
        merged: The merged dataloader.
        said: What the parts say about themselves.
        description: What ``model.yaml`` says.
        examples: The example of every argument, as a path in the directory, a value or ``{"url", ...}``.
        urls: The URL of every file that is hosted.
        model: The Keras model that is saved, if there is one.
        trained: Whether its weights are no longer those of the sources.
        certificate: What the model was compared to, and by how much it differs.
    """
    values = dict(examples)
    for name, value in values.items():
        if isinstance(value, Mapping) and "url" in value:
            # Where `kipoi test` has put it.
            values[name] = f"downloaded/example_files/{value.get('name') or name}"
    targets = description["schema"]["targets"]
    info = description["info"]
    frozen = _frozen(spec, plan, stages, model)
    stated = licences(said)
    different = sorted({*(licence for _, licence in stated), str(info["license"])} - {UNSPECIFIED})
    text = render(
        "kipoi/README.md.jinja",
        {
            "graph": spec.name,
            "info": info,
            "command": _command(values),
            "example": _call(values),
            "submodels": [(submodel, frozen[submodel.name]) for submodel in spec.submodels],
            "inputs": list(inputs.items()),
            "outputs": [(targets["name"], targets)] if len(stages.whole.outputs) == 1 else list(targets.items()),
            "plan": plan if stages.packs or plan.at("workflow") else None,
            "stages": _STAGES,
            "kind_text": _KINDS[merged.kind],
            "rows": [_alignment(feeder) for feeder in merged.feeders],
            "arguments": merged.arguments,
            "owners": {name: ", ".join(feeder.name for feeder in who) for name, who in merged.owners.items()},
            "examples": examples,
            "licences": stated,
            "different": different if len(different) > 1 else [],
            "defaults": {argument.name: shown_default(argument, merged) for argument in merged.arguments},
            "docs": [(item.part, item.info["doc"]) for item in said if item.info.get("doc")],
            "trained": trained,
            "certificate": certificate,
            "check_headers": CHECK_HEADERS,
            "unspecified": UNSPECIFIED,
            "citations": citations(said),
            "dependencies": description["dependencies"],
            "urls": urls,
            "dtypes": {port.name: port.dtype or "float32" for port in stages.inputs},
        },
    )
    (directory / "README.md").write_text(text, encoding="utf-8")


def _alignment(feeder: Feeder) -> list[str]:
    """How the rows of a part are kept together with those of the others, for the card's table."""
    alignment = feeder.alignment
    found = "their number"
    if alignment.align_on is not None:
        found = f"their {alignment.align_on}"
        found += ", or left out" if alignment.missing == "inner" else ""
    feeds = ", ".join(feeder.feeds) or "targets"
    return [feeder.name, feeder.kind, feeds, alignment.compared_by, found]


def _command(values: Mapping[str, Any]) -> str:
    """The examples for the command line, in one JSON-like argument."""
    flow = yaml.safe_dump(dict(values), default_flow_style=True, width=float("inf"), sort_keys=False).strip()
    return shlex.quote(flow)


def _call(values: Mapping[str, Any]) -> str:
    line = f"predictions = model.pipeline.predict({literal(dict(values), used=-WIDTH * WIDTH)})"
    if len(line) <= WIDTH:
        return line
    return f"predictions = model.pipeline.predict(\n    {literal(dict(values), indent=4)}\n)"


def _frozen(spec: GraphSpec, plan: Plan, stages: Stages, model: keras.Model | None) -> dict[str, str]:
    """Whether each submodel is frozen: "yes", "partly" or "no"; also "no" where there is nothing to train."""
    layers = {layer.name: layer for layer in model.layers} if model is not None else {}
    states = {}
    for submodel in spec.submodels:
        if submodel.name in (*plan.at("workflow"), *stages.outside):
            states[submodel.name] = "yes"
            continue
        layer = layers.get(submodel.share or submodel.name)
        training = {id(weight) for weight in layer.trainable_weights} if layer else set()
        # Moving averages, which no flag lets train, do not count.
        inner = layers_within(layer) if layer else ()
        trains = [id(weight) in training for part in inner for weight in own_trainable_weights(part)]
        states[submodel.name] = "no" if all(trains) else "partly" if any(trains) else "yes"
    return states
