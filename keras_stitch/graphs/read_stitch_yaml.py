"""``stitch.yaml`` to plain data and back: every mistake with its line and its path in the file.

The file says what the verbs of ``Graph`` say::

    name: composed
    models:
      model1: m1.h5
      model2: {source: m2.h5, trainable: false}
      again: {share: model1}
      wide: {layer: {class_name: Reshape, config: {target_shape: [4, 1]}}}
      own: {source: own.keras, custom_objects: layers.py}
      published: kipoi:DeepSEA/predict
      hub: {source: hf://user/repo/model.keras@main, commit: 0a1b..., sha256: 2c3d...}
    inputs:
      sequence: {targets: [model1, model2.seq], shape: [101, 4]}
    connections:
      model2: [model1, input1]
      model4: {sources: [model2, "model3[0]"], merge: concatenate, axis: -1}
      model5: {sources: words, mask: true}
    outputs: {score: model4}
    freeze: [model1, {model: "model[23]", layers: "conv*"}]

Paths are relative to the file. Custom objects are a Python file with a dict ``OBJECTS``, a module, a name in a
module (``package.module:Name``) or a list of those; ``kipoi:...`` is a model of a source that Kipoi knows. Addresses
are ``hf://...``, ``https://...`` and ``doi:...``, as ``Graph.add`` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from keras_stitch import directory_layout as layout
from keras_stitch.addresses.parse_address import is_commit
from keras_stitch.errors import SpecFileError, nearest, reason
from keras_stitch.files import read_files
from keras_stitch.files.parse_text import BadText, yaml_node, yaml_scalar
from keras_stitch.graphs import merge_options, merges
from keras_stitch.graphs.source import SAVED_BACKENDS
from keras_stitch.graphs.spec import PLACEMENTS, Connection, FreezeRule, InputSpec, Merge, OutputSpec
from keras_stitch.graphs.spec_file import ModelEntry, SpecFile

# How many mistakes a message names.
_LISTED = 100
_TOP = ("name", "models", "inputs", "connections", "outputs", "freeze")
_MODEL = ("source", "layer", "share", "sha256", "md5", "commit", "trainable", "outputs", "arch", "custom_objects",
          "placement", "saved_backend", "stateless", "signature", "part", "replace")  # fmt: skip


def read(path: Path) -> SpecFile:
    """Read a ``stitch.yaml``.

    Raises:
        SpecFileError: With every mistake in it.
    """
    try:
        text = read_files.read_text(path)
    except FileNotFoundError:
        beside = sorted(file.name for file in path.absolute().parent.glob("*") if file.suffix in (".yaml", ".yml"))
        known = nearest(path.name, beside) if beside else "a stitch.yaml"
        raise SpecFileError(f"There is no file '{path}'.", expected=known) from None
    except OSError as error:
        raise SpecFileError(f"'{path}' cannot be read: {error.strerror}.", expected="a stitch.yaml") from error
    except ValueError as error:
        raise SpecFileError(f"'{path}' is not text: {reason(error)}.", expected="a stitch.yaml") from error
    return parse(text, str(path))


def parse(text: str, where: str = layout.RECORD) -> SpecFile:
    """Parse the text of a ``stitch.yaml``, which errors call ``where``.

    Raises:
        SpecFileError: With every mistake in it.
    """
    return _Parser(where).parse(text)


class _Parser:
    def __init__(self, where: str):
        self.where = where
        self.lines: dict[tuple[Any, ...], int] = {}
        self.mistakes: list[tuple[int, str]] = []
        self.merge_objects: dict[str, tuple[str, ...]] = {}

    def parse(self, text: str) -> SpecFile:
        try:
            node = yaml_node(text)
        except BadText as error:
            line = "" if error.line is None else f", line {error.line}"
            raise SpecFileError(
                f"'{self.where}' is not valid YAML{line}: {error.reason}.",
                fix='Put names with brackets in quotes, such as "model3[0]".'
                if error.reason.endswith("got '['")
                else None,
            ) from error
        data = None if node is None else self._plain(node, ())
        if data is None:
            raise SpecFileError(f"'{self.where}' is empty.", expected="a mapping with 'models' in it")
        if not isinstance(data, dict):
            raise SpecFileError(
                f"'{self.where}' is not a mapping.", expected="a mapping with 'models' in it", received=_shown(data)
            )
        self._known(data, _TOP, ())
        # What is mistyped is ``None`` in the result, which is then not returned.
        result = SpecFile(
            self._typed(data.get("name", "stitched"), str, ("name",), "a name"),
            models=tuple(self._model(key, value) for key, value in self._mapping(data, "models", required=True)),
            connections=tuple(self._connection(key, value) for key, value in self._mapping(data, "connections")),
            inputs=tuple(self._input(key, value) for key, value in self._mapping(data, "inputs")),
            outputs=tuple(
                OutputSpec(key, self._typed(value, str, ("outputs", key), "the name of a tensor"))
                for key, value in self._mapping(data, "outputs")
            ),
            freezes=self._freezes(data.get("freeze") or []),
            merge_objects=self.merge_objects,
        )
        if self.mistakes:
            count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
            first = sorted(self.mistakes, key=lambda mistake: mistake[0])[:_LISTED]
            listed = [f"  line {line}, {text}" for line, text in first]
            listed += [f"  and {len(self.mistakes) - _LISTED} more"] if len(self.mistakes) > _LISTED else []
            raise SpecFileError("\n".join([f"'{self.where}' has {count}:", *listed]))
        return result

    def _plain(self, node: yaml.Node, path: tuple[Any, ...]) -> Any:
        """A YAML node as Python data; remembers the line of every path, refuses repeated keys."""
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                line = key_node.start_mark.line + 1
                written = key_node.value if isinstance(key_node, yaml.ScalarNode) else "(a list or mapping)"
                here = (*path, written)
                if here in self.lines:
                    self._mistake(here, f"stands here twice, again in line {line}")
                self.lines[here] = line
                if key_node.tag != "tag:yaml.org,2002:str":
                    self._mistake(here, f"the key {written} is not text; put it in quotes")
                result[written] = self._plain(value_node, here)
                self.lines[here] = line
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return yaml_scalar(node)
        except BadText as error:
            self._mistake(path, f"cannot be read: {error.reason}")
            return ""

    def _mistake(self, path: tuple[Any, ...], text: str) -> None:
        known = path
        while known not in self.lines:
            known = known[:-1]
        shown = ""
        for step in path:
            shown += f"[{step}]" if isinstance(step, int) else f"{'.' if shown else ''}{step}"
        self.mistakes.append((self.lines[known], f"{shown[:200] or 'top level'}: {text[:1000]}"))

    def _known(self, data: Mapping[str, Any], known: tuple[str, ...], path: tuple[Any, ...]) -> None:
        for key in data:
            if key not in known:
                self._mistake((*path, key), f"unknown key; expected {nearest(key, known)}")

    def _typed(self, value: Any, kind: type, path: tuple[Any, ...], expected: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._mistake(path, f"expected {expected}, received {_shown(value)}")
            return None
        return value

    def _optional(self, data: Mapping[str, Any], key: str, kind: type, path: tuple[Any, ...], expected: str) -> Any:
        return None if data.get(key) is None else self._typed(data[key], kind, (*path, key), expected)

    def _mapping(self, data: Mapping[str, Any], key: str, *, required: bool = False) -> list[tuple[str, Any]]:
        if data.get(key) is None and not required:
            return []
        if key not in data:
            self._mistake((), f"'{key}' is missing")
            return []
        return list((self._typed(data[key], dict, (key,), "a mapping from names") or {}).items())

    def _names(self, value: Any, path: tuple[Any, ...]) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not value:
            self._mistake(path, f"expected a name or a list of names, received {_shown(value)}")
            return ()
        return tuple(self._typed(item, str, (*path, index), "a name") for index, item in enumerate(value))

    def _model(self, name: str, value: Any) -> ModelEntry:
        path = ("models", name)
        if isinstance(value, str):
            return ModelEntry(name, source=value)
        if not isinstance(value, dict):
            self._mistake(path, f"expected a path or a mapping, received {_shown(value)}")
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
            ("md5", str, "32 hexadecimal digits"),
            ("commit", str, "40 hexadecimal digits"),
            ("trainable", bool, "true or false"),
            ("arch", str, "a path"),
            ("placement", str, "model, dataloader or workflow"),
            ("saved_backend", str, "tensorflow or theano"),
            ("stateless", bool, "true or false"),
            ("signature", str, "the name of a signature"),
            ("part", str, "the name of a model within the model"),
            ("replace", dict, "layers by the names of those they replace"),
        ):
            if key in value:
                self._typed(value[key], kind, (*path, key), expected)
        for key, known in (("placement", PLACEMENTS), ("saved_backend", SAVED_BACKENDS)):
            text = value.get(key, known[0])
            if isinstance(text, str) and text not in known:
                self._mistake((*path, key), f"expected {nearest(text, known)}, received {_shown(text)}")
        commit = value.get("commit")
        if isinstance(commit, str) and not (is_commit(commit) and str(value.get("source")).startswith("hf://")):
            self._mistake((*path, "commit"), f"expected 40 hexadecimal digits for an hf:// source, received {commit!r}")
        plain = ("md5", "trainable", "arch", "placement", "saved_backend", "stateless", "signature", "part", "replace")
        options = {key: value[key] for key in plain if key in value}
        for key in ("outputs", "custom_objects"):
            if key in value:
                options[key] = list(self._names(value[key], (*path, key)))
        layer = value.get("layer")
        if isinstance(layer, dict):
            self._layer(layer, (*path, "layer"))
        replaced = value.get("replace")
        for key, layer_of in replaced.items() if isinstance(replaced, dict) else ():
            if self._typed(layer_of, dict, (*path, "replace", key), "a mapping with class_name and config"):
                self._layer(layer_of, (*path, "replace", key))
        return ModelEntry(name, value.get("source"), layer, value.get("share"), value.get("sha256"), commit, options)

    def _layer(self, layer: Mapping[str, Any], path: tuple[Any, ...]) -> None:
        self._known(layer, ("class_name", "config", "module", "registered_name"), path)
        if "class_name" not in layer:
            self._mistake(path, "'class_name' is missing, such as Reshape")
        else:
            self._typed(layer["class_name"], str, (*path, "class_name"), "a layer of keras.layers, such as Reshape")
        if "config" in layer:
            self._typed(layer["config"], dict, (*path, "config"), "a mapping of the layer's arguments")

    def _connection(self, target: str, value: Any) -> Connection:
        path = ("connections", target)
        if not isinstance(value, dict):
            return Connection(target, self._names(value, path))
        self._known(value, ("sources", "merge", "mask", "custom_objects", *merge_options.OPTIONS), path)
        sources = self._names(value.get("sources"), (*path, "sources"))
        mask = self._typed(value["mask"], bool, (*path, "mask"), "true or false") if "mask" in value else None
        return Connection(target, sources, self._merge(target, value, path), mask)

    def _merge(self, target: str, value: Mapping[str, Any], path: tuple[Any, ...]) -> Merge:
        kind, options = (
            value.get("merge", "concatenate"),
            {key: value[key] for key in merge_options.OPTIONS if key in value},
        )
        if isinstance(kind, dict) and isinstance(kind.get("layer"), dict):
            self._layer(kind["layer"], (*path, "merge", "layer"))
            for key in merge_options.misplaced("layer", options):
                self._mistake((*path, key), "has no meaning for a merge that is a Keras layer")
            if "custom_objects" in value:
                self.merge_objects[target] = self._names(value["custom_objects"], (*path, "custom_objects"))
            return Merge("layer", layer=kind["layer"])
        if "custom_objects" in value:
            self._mistake((*path, "custom_objects"), "is for a merge that is a Keras layer")
        for key in merge_options.invalid(options):
            self._mistake((*path, key), f"expected {merge_options.OPTIONS[key].what}, received {_shown(options[key])}")
        if not isinstance(kind, str) or kind not in merges.MERGES:
            expected = f"{nearest(str(kind), merges.MERGES)}, or {{layer: ...}}"
            self._mistake((*path, "merge"), f"expected {expected}, received {_shown(kind)}")
            return Merge()
        for key in merge_options.misplaced(kind, options):
            self._mistake((*path, key), f"has no meaning for merge: {kind}")
        for key in merge_options.missing(kind, options):
            self._mistake(path, f"'{key}' is missing, which merge: {kind} needs")
        return merge_options.made(kind, options)

    def _input(self, name: str, value: Any) -> InputSpec:
        path = ("inputs", name)
        if not isinstance(value, dict):
            return InputSpec(name, self._names(value, path))
        self._known(value, ("targets", "shape", "dtype"), path)
        targets = self._names(value["targets"], (*path, "targets")) if value.get("targets") else ()
        shape = self._optional(value, "shape", list, path, "a list of sizes, null for a variable one")
        for index, size in enumerate(shape or ()):
            if size is not None:
                given = self._typed(size, int, (*path, "shape", index), "a size, or null for a variable one")
                if given is not None and given < 1:
                    self._mistake((*path, "shape", index), f"expected a size of at least 1, received {size}")
        dtype = self._optional(value, "dtype", str, path, "a dtype such as float32")
        return InputSpec(name, targets, None if shape is None else tuple(shape), dtype)

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
                layers = self._optional(item, "layers", str, path, "the name of a layer, or a pattern")
                rules.append(FreezeRule(model, layers, frozen))
        return tuple(rules)


def _shown(value: Any) -> str:
    """A value as the file has it."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)[:200]
