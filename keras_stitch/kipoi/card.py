"""The model card: README.md of a generated directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from keras_stitch.freezing import frozen_states, resolve_flags
from keras_stitch.kipoi.literals import WIDTH, literal
from keras_stitch.kipoi.merging import Merged
from keras_stitch.kipoi.metadata import UNSPECIFIED, Statement, citations, licences
from keras_stitch.kipoi.rendering import render
from keras_stitch.spec import GraphSpec, Wiring


def write_card(
    directory: Path,
    spec: GraphSpec,
    wiring: Wiring,
    merged: Merged,
    said: Sequence[Statement],
    description: Mapping[str, Any],
    examples: Mapping[str, Any],
    urls: Mapping[str, str],
) -> None:
    """Writes ``README.md``.

    Args:
        directory: Where to.
        spec: The graph.
        wiring: The same, checked.
        merged: The merged dataloader.
        said: What the parts say about themselves.
        description: What ``model.yaml`` says.
        examples: The example of every argument, as a path in the directory, a value or ``{"url", ...}``.
        urls: The URL of every file that is hosted.
    """
    values = dict(examples)
    for name, value in values.items():
        if isinstance(value, Mapping) and "url" in value:
            # Where `kipoi test` has put it.
            values[name] = f"downloaded/example_files/{value.get('name') or name}"
    targets = description["schema"]["targets"]
    info = description["info"]
    frozen = _frozen(spec)
    stated = licences(said)
    text = render(
        "kipoi/README.md.jinja",
        {
            "graph": spec.name,
            "info": info,
            "command": _command(values),
            "example": _call(values),
            "submodels": [(submodel, frozen[submodel.name]) for submodel in spec.submodels],
            "inputs": list(description["schema"]["inputs"].items()),
            "outputs": [(targets["name"], targets)] if len(wiring.outputs) == 1 else list(targets.items()),
            "arguments": merged.arguments,
            "owners": {name: ", ".join(feeder.name for feeder in who) for name, who in merged.owners.items()},
            "examples": examples,
            "licences": stated,
            "differ": len({licence for _, licence in stated} - {UNSPECIFIED}) > 1,
            "unspecified": UNSPECIFIED,
            "citations": citations(said),
            "dependencies": description["dependencies"],
            "urls": urls,
            "dtypes": {port.name: port.dtype or "float32" for port in wiring.inputs},
        },
    )
    (directory / "README.md").write_text(text, encoding="utf-8")


def _command(values: Mapping[str, Any]) -> str:
    """The examples for the command line, in one JSON-like argument."""
    flow = yaml.safe_dump(dict(values), default_flow_style=True, width=float("inf"), sort_keys=False).strip()
    return shlex.quote(flow)


def _call(values: Mapping[str, Any]) -> str:
    line = f"predictions = model.pipeline.predict({literal(dict(values), used=-WIDTH * WIDTH)})"
    if len(line) <= WIDTH:
        return line
    return f"predictions = model.pipeline.predict(\n    {literal(dict(values), indent=4)}\n)"


def _frozen(spec: GraphSpec) -> dict[str, str]:
    words = {"all": "yes", "part": "partly", "none": "no"}
    return {name: words[state] for name, state in frozen_states(spec, resolve_flags(spec, [])).items()}
