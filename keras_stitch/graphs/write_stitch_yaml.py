"""A ``GraphSpec`` as the text of a ``stitch.yaml``; ``read_stitch_yaml`` reads it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from keras_stitch.errors import StitchError
from keras_stitch.graphs import merges
from keras_stitch.graphs.names import names_file
from keras_stitch.graphs.spec import Connection, FreezeRule, GraphSpec, InputSpec, Merge, Submodel


class _Dumper(yaml.SafeDumper):
    """Escapes the line breaks of Unicode, which PyYAML writes as they are and reads back as spaces."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if set(data) & {"\x85", "\u2028", "\u2029"} else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def record(spec: GraphSpec, *, trained: bool) -> str:
    """The ``stitch.yaml`` of a generated directory: file names and hashes, no path of this machine.

    ``trained``: the weights beside it are no longer those of the sources.
    """
    remark = "# The weights beside this file were given by a model trained after stitching.\n" if trained else ""
    return remark + dump(spec, place=lambda path: Path(path).name, record=True)


def dump(spec: GraphSpec, *, place: Callable[[str], str] = str, record: bool = False) -> str:
    """The text of a ``stitch.yaml``.

    Custom objects that were given in memory cannot be written: a remark at the top says which have to be given again.

    Args:
        spec: The graph.
        place: From the absolute path of a source to the path to write.
        record: Also write what no file can bring back, models in memory, and the sha256 of every source.

    Raises:
        StitchError: If the file could not say the same as the graph.
    """
    for submodel in spec.submodels:
        if not record and submodel.source.in_memory and submodel.share is None:
            keras = f'Save it, model.save("{submodel.name}.keras"), and add that path.'
            raise StitchError(
                f"Submodel '{submodel.name}' is in memory, so a stitch.yaml could not bring it back.",
                fix=keras if submodel.is_keras else "Write a Kipoi directory for it, and add that path.",
            )
        if not record and submodel.source.replaced_in_memory and submodel.share is None:
            raise StitchError(
                f"In submodel '{submodel.name}', what replaces '{submodel.source.replaced_in_memory[0]}' has weights, "
                "so a stitch.yaml could not bring it back.",
                fix=f'Save the model, graph.build().get_layer("{submodel.name}").save(...), and add that path.',
            )
    targets = [connection.target for connection in spec.connections]
    for target in targets:
        if targets.count(target) > 1:
            raise StitchError(
                f"There are {targets.count(target)} connections to '{target}', of which a stitch.yaml holds one.",
                fix=f'Take them back, graph.disconnect("{target}"), and connect it once.',
            )
    models = {submodel.name: _model_data(submodel, place, record) for submodel in spec.submodels}
    more = {
        "inputs": {given.name: _input_data(given) for given in spec.inputs},
        "connections": {connection.target: _connection_data(connection, place) for connection in spec.connections},
        "outputs": {output.name: output.source for output in spec.outputs},
        "freeze": [_freeze_data(rule) for rule in spec.freezes],
    }
    data = {"name": spec.name, "models": models, **{key: value for key, value in more.items() if value}}
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return _remark(spec) + text


def _remark(spec: GraphSpec) -> str:
    owners = [submodel for submodel in spec.submodels if submodel.share is None]
    live = [f"{name!a} of {submodel.name}" for submodel in owners for name in submodel.source.live_objects]
    merged = [connection for connection in spec.connections if connection.merge.objects]
    live += [f"{name!a} of {connection.target}" for connection in merged for name in connection.merge.objects.live]
    if not live:
        return ""
    return f"# Given in memory, so to give again, Graph.from_yaml(..., custom_objects=...): {', '.join(live)}\n"


def _model_data(submodel: Submodel, place: Callable[[str], str], record: bool) -> Any:
    data: dict[str, Any] = {}
    if submodel.share:
        return {"share": submodel.share}
    if submodel.is_layer:
        data["layer"] = _plain(submodel.source.layer)
    elif submodel.source.path is not None:
        data["source"] = submodel.source.address or submodel.source.zoo or place(submodel.source.path)
    if submodel.source.commit and submodel.source.commit not in data["source"]:
        data["commit"] = submodel.source.commit
    if (record or submodel.source.address) and submodel.source.sha256:
        data["sha256"] = submodel.source.sha256
    if record and submodel.source.in_memory:
        data["memory"] = submodel.source.label
    for key, value in (("trainable", submodel.trainable), ("placement", submodel.placement)):
        if value is not None:
            data[key] = value
    if submodel.inner_outputs is not None:
        data["outputs"] = list(submodel.inner_outputs)
    if submodel.source.arch:
        data["arch"] = submodel.source.arch_address or place(submodel.source.arch)
    if submodel.source.saved_backend:
        data["saved_backend"] = submodel.source.saved_backend
    if submodel.source.stateless:
        data["stateless"] = True
    if submodel.source.signature:
        data["signature"] = submodel.source.signature
    if submodel.source.part:
        data["part"] = submodel.source.part
    if submodel.source.replaced:
        data["replace"] = _plain(submodel.source.replaced)
    data |= _given_objects(submodel.source.custom_objects, place)
    return data["source"] if list(data) == ["source"] else data


def _input_data(given: InputSpec) -> Any:
    if given.shape is None and given.dtype is None and given.targets:
        return list(given.targets)
    data: dict[str, Any] = {"targets": list(given.targets)} if given.targets else {}
    if given.shape is not None:
        data["shape"] = list(given.shape)
    if given.dtype is not None:
        data["dtype"] = given.dtype
    return data


def _given_objects(said: Sequence[str], place: Callable[[str], str]) -> dict[str, Any]:
    given = [place(text) if names_file(text) else text for text in said]
    return {"custom_objects": given[0] if len(given) == 1 else given} if given else {}


def _connection_data(connection: Connection, place: Callable[[str], str]) -> Any:
    sources, merge = list(connection.sources), connection.merge
    mask = {} if connection.mask is None else {"mask": connection.mask}
    if merge == Merge():
        said = sources[0] if len(sources) == 1 else sources
        return {"sources": said, **mask} if mask else said
    if merge.kind == "layer":
        return {
            "sources": sources,
            "merge": {"layer": _plain(merge.layer)},
            **_given_objects(merge.objects.said if merge.objects else (), place),
            **mask,
        }
    return {"sources": sources, "merge": merge.kind, **_plain(merges.options_of(merge)), **mask}


def _freeze_data(rule: FreezeRule) -> Any:
    if rule.layers is None and rule.frozen:
        return rule.pattern
    data: dict[str, Any] = {"model": rule.pattern}
    if rule.layers is not None:
        data["layers"] = rule.layers
    return data if rule.frozen else data | {"frozen": False}


def _plain(value: Any) -> Any:
    """Configs of layers as YAML can hold them: tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
