"""``stitch.yaml`` to plain data and back: every mistake with its line and its path in the file.

The file says what the verbs of ``Graph`` say::

    name: composed
    models:
      model1: m1.h5
      model2: {source: m2.h5, trainable: false}
      again: {share: model1}
      wide: {layer: {class_name: Reshape, config: {target_shape: [4, 1]}}}
    inputs:
      sequence: {targets: [model1, model2.seq], shape: [101, 4]}
    connections:
      model2: [model1, input1]
      model4: {sources: [model2, "model3[0]"], merge: concatenate, axis: -1}
    outputs: {score: model4}
    freeze: [model1, {model: "model[23]", layers: "conv*"}]

Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_stitch.errors import SpecFileError, nearest
from keras_stitch.spec import MERGES, Connection, FreezeRule, GraphSpec, InputSpec, Merge, OutputSpec, Submodel


@dataclass(frozen=True)
class ModelEntry:
    """One entry under ``models``: where it comes from, and the keyword arguments of ``Graph.add``."""

    name: str
    source: str | None = None
    layer: Mapping[str, Any] | None = None
    share: str | None = None
    sha256: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpecFile:
    """What a ``stitch.yaml`` says, before anything is loaded."""

    name: str
    models: tuple[ModelEntry, ...]
    connections: tuple[Connection, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    freezes: tuple[FreezeRule, ...] = ()


_TOP = ("name", "models", "inputs", "connections", "outputs", "freeze")
_MODEL = ("source", "layer", "share", "sha256", "trainable", "outputs", "arch", "placement")


def read(path: Path) -> SpecFile:
    """Read a ``stitch.yaml``.

    Raises:
        SpecFileError: With every mistake in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecFileError(f"There is no file '{path}'.", expected="a stitch.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecFileError(f"'{path}' cannot be read: {error}.", expected="a stitch.yaml") from error
    return parse(text, str(path))


def parse(text: str, where: str = "stitch.yaml") -> SpecFile:
    """Parse the text of a ``stitch.yaml``.

    Args:
        text: YAML.
        where: What errors call the file.

    Raises:
        SpecFileError: With every mistake in it.

    Example:
        >>> parse("models: {m: m.h5}").models[0].source
        'm.h5'
    """
    return _Parser(where).parse(text)


class _Parser:
    def __init__(self, where: str):
        self.where = where
        self.lines: dict[tuple[Any, ...], int] = {}
        self.mistakes: list[str] = []

    def parse(self, text: str) -> SpecFile:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            data = None if node is None else self._plain(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise SpecFileError(f"'{self.where}'{line} is not valid YAML: {error.problem or error.context}.") from error
        except yaml.YAMLError as error:
            raise SpecFileError(f"'{self.where}' is not valid YAML: {error}.") from error
        if not isinstance(data, dict):
            raise SpecFileError(f"'{self.where}' says nothing.", expected="a mapping with 'models' in it")
        self._known(data, _TOP, ())
        name = self._typed(data.get("name", "stitched"), str, ("name",), "a name")
        result = SpecFile(
            name if name is not None else "stitched",
            models=tuple(self._model(key, value) for key, value in self._mapping(data, "models", required=True)),
            connections=tuple(self._connection(key, value) for key, value in self._mapping(data, "connections")),
            inputs=tuple(self._input(key, value) for key, value in self._mapping(data, "inputs")),
            outputs=tuple(
                OutputSpec(key, self._typed(value, str, ("outputs", key), "the name of a tensor") or "")
                for key, value in self._mapping(data, "outputs")
            ),
            freezes=self._freezes(data.get("freeze", [])),
        )
        if self.mistakes:
            count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
            raise SpecFileError("\n".join([f"'{self.where}' has {count}:", *(f"  {m}" for m in self.mistakes)]))
        return result

    def _plain(self, node: yaml.Node, path: tuple[Any, ...]) -> Any:
        """A YAML node as Python data; remembers the line of every path, refuses repeated keys."""
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result = {}
            for key_node, value_node in node.value:
                key = self._plain(key_node, (*path, "key"))
                if not isinstance(key, str):
                    self._mistake((*path, "key"), f"the key {key!r} is not text; put it in quotes")
                    key = str(key)
                if key in result:
                    self.lines[(*path, key)] = key_node.start_mark.line + 1
                    self._mistake((*path, key), "stands here twice")
                result[key] = self._plain(value_node, (*path, key))
                self.lines[(*path, key)] = key_node.start_mark.line + 1
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        return loader.construct_object(node)

    def _mistake(self, path: tuple[Any, ...], text: str) -> None:
        known = path
        while known not in self.lines:
            known = known[:-1]
        shown = ""
        for step in path:
            shown += f"[{step}]" if isinstance(step, int) else f"{'.' if shown else ''}{step}"
        self.mistakes.append(f"line {self.lines[known]}, {shown or 'top level'}: {text}")

    def _known(self, data: Mapping[str, Any], known: tuple[str, ...], path: tuple[Any, ...]) -> None:
        for key in data:
            if key not in known:
                self._mistake((*path, key), f"unknown key; expected {nearest(key, known)}")

    def _typed(self, value: Any, kind: type | tuple[type, ...], path: tuple[Any, ...], expected: str) -> Any:
        wrong_bool = isinstance(value, bool) and kind is not bool
        if not isinstance(value, kind) or wrong_bool:
            self._mistake(path, f"expected {expected}, received {value!r}")
            return None
        return value

    def _mapping(self, data: Mapping[str, Any], key: str, *, required: bool = False) -> list[tuple[str, Any]]:
        if key not in data:
            if required:
                self._mistake((), f"'{key}' is missing")
            return []
        value = self._typed(data[key], dict, (key,), "a mapping from names")
        return list(value.items()) if value else []

    def _names(self, value: Any, path: tuple[Any, ...]) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not value:
            self._mistake(path, f"expected a name or a list of names, received {value!r}")
            return ()
        names = [self._typed(item, str, (*path, index), "a name") for index, item in enumerate(value)]
        return tuple(name for name in names if name is not None)

    def _model(self, name: str, value: Any) -> ModelEntry:
        path = ("models", name)
        if isinstance(value, str):
            return ModelEntry(name, source=value)
        if not isinstance(value, dict):
            self._mistake(path, f"expected a path or a mapping, received {value!r}")
            return ModelEntry(name)
        self._known(value, (*_MODEL, "memory"), path)
        if "memory" in value or sum(key in value for key in ("source", "layer", "share")) != 1:
            hint = " (this record is of a model in memory, which no file can bring back)" if "memory" in value else ""
            self._mistake(path, f"expected exactly one of source, layer and share{hint}")
        for key, kind, expected in (
            ("source", str, "a path"),
            ("layer", dict, "a mapping with class_name and config"),
            ("share", str, "the name of a submodel"),
            ("sha256", str, "64 hexadecimal digits"),
            ("trainable", bool, "true or false"),
            ("arch", str, "a path"),
            ("placement", str, "model, dataloader or workflow"),
        ):
            if key in value:
                self._typed(value[key], kind, (*path, key), expected)
        options = {key: value[key] for key in ("trainable", "arch", "placement") if key in value}
        if "outputs" in value:
            options["outputs"] = list(self._names(value["outputs"], (*path, "outputs")))
        layer = value.get("layer")
        if isinstance(layer, dict):
            self._layer(layer, (*path, "layer"))
        return ModelEntry(name, value.get("source"), layer, value.get("share"), value.get("sha256"), options)

    def _layer(self, layer: Mapping[str, Any], path: tuple[Any, ...]) -> None:
        self._known(layer, ("class_name", "config", "module", "registered_name"), path)
        if "class_name" not in layer:
            self._mistake(path, "'class_name' is missing, such as Reshape")
        if "config" in layer:
            self._typed(layer["config"], dict, (*path, "config"), "a mapping of the layer's arguments")

    def _connection(self, target: str, value: Any) -> Connection:
        path = ("connections", target)
        if not isinstance(value, dict):
            return Connection(target, self._names(value, path))
        self._known(value, ("sources", "merge", "axis"), path)
        sources = self._names(value.get("sources"), (*path, "sources"))
        axis = self._typed(value.get("axis", -1), int, (*path, "axis"), "a whole number")
        merge = value.get("merge", "concatenate")
        if isinstance(merge, dict) and isinstance(merge.get("layer"), dict):
            self._layer(merge["layer"], (*path, "merge", "layer"))
            return Connection(target, sources, Merge("layer", layer=merge["layer"]))
        if merge not in MERGES:
            self._mistake(
                (*path, "merge"), f"expected {nearest(str(merge), MERGES)}, or {{layer: ...}}; received {merge!r}"
            )
        return Connection(target, sources, Merge(str(merge), axis if axis is not None else -1))

    def _input(self, name: str, value: Any) -> InputSpec:
        path = ("inputs", name)
        if not isinstance(value, dict):
            return InputSpec(name, self._names(value, path))
        self._known(value, ("targets", "shape", "dtype"), path)
        targets = self._names(value["targets"], (*path, "targets")) if value.get("targets") else ()
        shape = value.get("shape")
        if shape is not None:
            shape = self._typed(shape, list, (*path, "shape"), "a list of sizes, null for a variable one") or []
            for index, size in enumerate(shape):
                if size is not None:
                    self._typed(size, int, (*path, "shape", index), "a whole number or null")
            shape = tuple(shape)
        dtype = value.get("dtype")
        if dtype is not None:
            self._typed(dtype, str, (*path, "dtype"), "a dtype such as float32")
        return InputSpec(name, targets, shape, dtype)

    def _freezes(self, value: Any) -> tuple[FreezeRule, ...]:
        if isinstance(value, str):
            value = [value]
        rules = []
        for index, item in enumerate(self._typed(value, list, ("freeze",), "a list of names or mappings") or []):
            path = ("freeze", index)
            if isinstance(item, str):
                rules.append(FreezeRule(item))
            elif self._typed(item, dict, path, "a name, or {model: ..., layers: ...}") is not None:
                self._known(item, ("model", "layers", "frozen"), path)
                model = self._typed(item.get("model"), str, (*path, "model"), "the name of a submodel")
                frozen = self._typed(item.get("frozen", True), bool, (*path, "frozen"), "true or false")
                layers = item.get("layers")
                if layers is not None:
                    self._typed(layers, str, (*path, "layers"), "the name of a layer, or a pattern")
                rules.append(FreezeRule(model or "", layers, bool(frozen)))
        return tuple(rules)


def dump(spec: GraphSpec, *, source: Mapping[str, str], record: bool = False) -> str:
    """The text of a ``stitch.yaml``.

    Args:
        spec: The graph.
        source: For every submodel from a file, the path to write.
        record: Also write what no file can bring back, models in memory, and the sha256 of every source.
    """
    data: dict[str, Any] = {"name": spec.name}
    data["models"] = {submodel.name: _model_data(submodel, source, record) for submodel in spec.submodels}
    if spec.inputs:
        data["inputs"] = {given.name: _input_data(given) for given in spec.inputs}
    if spec.connections:
        data["connections"] = {connection.target: _connection_data(connection) for connection in spec.connections}
    if spec.outputs:
        data["outputs"] = {output.name: output.source for output in spec.outputs}
    if spec.freezes:
        data["freeze"] = [_freeze_data(rule) for rule in spec.freezes]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _model_data(submodel: Submodel, source: Mapping[str, str], record: bool) -> Any:
    data: dict[str, Any] = {}
    if submodel.share:
        return {"share": submodel.share}
    if submodel.is_layer:
        data["layer"] = _plain(submodel.source.layer)
    elif submodel.name in source:
        data["source"] = source[submodel.name]
    if record and submodel.source.sha256:
        data["sha256"] = submodel.source.sha256
    if record and submodel.source.kind in ("model", "trained layer"):
        data["memory"] = submodel.source.label
    for key, value in (("trainable", submodel.trainable), ("placement", submodel.placement)):
        if value is not None:
            data[key] = value
    if submodel.inner_outputs is not None:
        data["outputs"] = list(submodel.inner_outputs)
    if submodel.source.arch:
        data["arch"] = submodel.source.arch
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


def _connection_data(connection: Connection) -> Any:
    sources, merge = list(connection.sources), connection.merge
    if len(sources) == 1 or merge == Merge():
        return sources[0] if len(sources) == 1 else sources
    if merge.kind == "layer":
        return {"sources": sources, "merge": {"layer": _plain(merge.layer)}}
    data: dict[str, Any] = {"sources": sources, "merge": merge.kind}
    return data | ({"axis": merge.axis} if merge.kind in ("concatenate", "stack") else {})


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
