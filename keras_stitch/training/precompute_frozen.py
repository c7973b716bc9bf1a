"""A graph after its frozen part: that part runs once, what crosses the cut is stored, and the rest is trained on it."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_stitch.checks import whole_number
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Feed, GraphSpec, Tap, Wiring
from keras_stitch.models import build, ports
from keras_stitch.terminal import Step
from keras_stitch.training import frozen_part
from keras_stitch.training.batches import Array
from keras_stitch.training.epochs import checked_options, for_fit
from keras_stitch.training.frozen_part import Halves
from keras_stitch.training.provenance import Key, differences, first_names, refusal
from keras_stitch.training.stored_rows import Features, is_finished, write_features
from keras_stitch.training.user_data import rows_of

_NAMED = 4


class Rest:
    """The part of a graph that is trained after its frozen part has run; ``Graph.precompute`` makes it.

    Attributes:
        whole: The stitched model, with the same layers and weights: what trains the rest trains it.
        model: The rest, a ``keras.Model`` that takes what crosses the cut, a list or a dict by name, and has the
            outputs of the whole; not compiled.
        path: The file with the rows.
        rows: How many.
        frozen: The submodels that ran, in order.
        left: Those that are in ``model``.

    Example:
        >>> import keras, keras_stitch as ks
        >>> def dense(n, units): return keras.Sequential([keras.Input((n,), name="x"), keras.layers.Dense(units)])
        >>> graph = ks.chain({"trunk": dense(5, 4), "head": dense(4, 1)}).freeze("trunk")
        >>> rest = graph.precompute((np.ones((6, 5)), np.ones((6, 1))), "features.h5")
        >>> rest
        <Rest of 'chain': 'trunk' ran on 6 rows, 'head' is left; 'trunk' (4,) crosses in 'features.h5'>
        >>> inputs, targets = rest.data(batch_size=4)[0]
        >>> inputs["trunk"].shape, targets.shape
        ((4, 4), (4, 1))
    """

    def __init__(self, whole: keras.Model, halves: Halves, spec: GraphSpec, path: Path, key: Key):
        self.whole, self.path = whole, path
        self.frozen, self.left = halves.frozen.order, halves.rest.order
        self._spec, self._halves, self._key = spec, halves, key
        self.model = _built(spec, halves.rest, whole)
        self.rows = 0

    def data(
        self, *, batch_size: int = 32, shuffle: bool = True, seed: int | None = None, workers: int = 0
    ) -> RestData:
        """The stored rows, for ``rest.model.fit``.

        Args:
            batch_size: The rows in a batch; the last one of an epoch has the remaining rows.
            shuffle: Whether each epoch has its own order of rows; ``fit`` also shuffles batches, unless told not to.
            seed: The seed of the order; by default another one each time.
            workers: Threads that read ahead.

        Returns:
            A ``keras.utils.PyDataset`` of ``(inputs, targets)``: inputs by name; with sample weights as third, where
            there are some.

        Raises:
            StitchError: If the file is gone, or the frozen part changed since it ran.
        """
        options = checked_options(batch_size=batch_size, shuffle=shuffle, seed=seed, workers=workers)
        now = _key_of(self._spec, self._halves, self.whole)
        if found := differences(Key({name: self._key.files[name] for name in now}), Key(now)):
            fix = f"Delete '{self.path}', and call graph.precompute(..., model=...) again."
            raise refusal(f"'{self.path}' is stale; these changed since they ran", found, fix)
        if not is_finished(self.path, self._key):
            raise StitchError(f"There is no file '{self.path}' any more.", fix="Call graph.precompute(...) again.")
        return RestData(self.path, **options)

    def __repr__(self) -> str:
        crossing = [f"'{port.name}' {port.shape}" for port in self._halves.rest.inputs]
        verb = "cross" if len(crossing) > 1 else "crosses"
        return (
            f"<Rest of '{self._spec.name}': {_listed(self.frozen)} ran on {self.rows:,} rows, {_listed(self.left)} "
            f"{'is' if len(self.left) == 1 else 'are'} left; {', '.join(crossing)} {verb} in '{self.path.name}'>"
        )


class RestData(Features):
    """Precomputed rows with their sample weights; ``Rest.data`` makes it."""

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        parts = self.read(self.rows_of(index))
        return for_fit((parts["inputs"], parts["targets"], *dict(parts["metadata"]).values()))


def precompute(
    spec: GraphSpec,
    wiring: Wiring,
    whole: keras.Model,
    data: Any,
    path: Path,
    *,
    batch_size: int,
    progress: Step | None,
) -> Rest:
    """Run the frozen part of a graph once; see ``Graph.precompute``.

    With stages, the wiring is that of the Keras model, ``whole``.
    """
    batch_size = whole_number("batch_size", batch_size, 1)
    halves = frozen_part.halves(spec, wiring, whole)
    first = _built(spec, halves.frozen, whole)
    rows = rows_of(data, wiring)
    given = rows.key
    key = Key({**_key_of(spec, halves, whole), **given.files}, given.arguments, given.data)
    rest = Rest(whole, halves, spec, path, key)
    _warn_of_random(spec, halves, whole)
    size = batch_size if rows.rows is None else min(batch_size, max(1, rows.rows))
    runs = _Runs(first, halves, size)

    def batches(start: int) -> Iterator[Mapping[str, Any]]:
        for inputs, targets, weights in rows.batches(start, size):
            metadata = {} if weights is None else {"sample_weight": weights}
            yield {"inputs": runs(inputs), "targets": targets, "metadata": metadata}

    write_features(path, batches, rows=rows.rows, key=key, progress=progress)
    rest.rows = RestData(path).rows
    return rest


class _Runs:
    """The frozen part as a function from graph inputs to what crosses; always on as many rows, so compiled once."""

    def __init__(self, model: keras.Model, halves: Halves, size: int):
        self._model, self._size = model, size
        self._takes = [port.name for port in halves.frozen.inputs]
        self._gives = [output.port.name for output in halves.frozen.outputs]
        self._passed = {name: tap.port for name, tap in halves.crossing.items() if tap.node is None}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(inputs.values())))
        pieces = [self._run(inputs, start) for start in range(0, count, self._size)]
        made = {name: np.concatenate([piece[name] for piece in pieces])[:count] for name in self._gives}
        return {**{name: inputs[source] for name, source in self._passed.items()}, **made}

    def _run(self, inputs: Mapping[str, Array], start: int) -> dict[str, Array]:
        taken = [_filled(inputs[name][start : start + self._size], self._size) for name in self._takes]
        made = self._model.predict_on_batch(taken)
        named = made if isinstance(made, dict) else {self._gives[0]: made}
        return {name: _storable(array) for name, array in named.items()}


def _filled(array: Array, size: int) -> Array:
    """As many rows as there should be, the last one again and again."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _storable(array: Any) -> Array:
    """The same values in a dtype that files have: bfloat16 is none of NumPy's own."""
    array = np.asarray(array)
    return array if np.dtype(array.dtype.str) == array.dtype else array.astype("float32")


def _built(spec: GraphSpec, wiring: Wiring, whole: keras.Model) -> keras.Model:
    """A half as a model over the layers of the whole."""
    layers = {owner: whole.get_layer(owner) for owner in frozen_part.owners(spec, wiring.order)}
    half = build.build_over(spec, wiring, layers, name=wiring.name)
    known = {id(weight) for weight in whole.weights}
    for layer in half.layers:
        if any(id(weight) not in known for weight in layer.weights):
            raise StitchError(
                f"The merge '{layer.name}' has weights of its own, so graph '{spec.name}' cannot be cut there.",
                expected="merges without weights",
                fix="Wrap it in a keras.Model with several inputs and add that as a submodel.",
            )
    return half


def _warn_of_random(spec: GraphSpec, halves: Halves, whole: keras.Model) -> None:
    found = []
    for owner in frozen_part.owners(spec, halves.frozen.order):
        layer = whole.get_layer(owner)
        is_model = isinstance(layer, keras.Model)
        found += [f"'{owner}/{path}'" if is_model else f"'{owner}'" for path in frozen_part.acting(layer)]
    if found:
        warnings.warn(
            f"{first_names(found)} would be random in training, although frozen; what is precomputed is "
            "what the model predicts. To train as the whole model does, train the whole model.",
            stacklevel=4,
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


# -- what the frozen part is ---------------------------------------------------
def _key_of(spec: GraphSpec, halves: Halves, whole: keras.Model) -> dict[str, str]:
    """Checksums of the frozen part as it is in a model, by a name that messages use."""
    found = {
        f"submodel '{owner}'": _sum_of_layer(whole.get_layer(owner))
        for owner in frozen_part.owners(spec, halves.frozen.order)
    }
    half = halves.frozen
    plain = {
        "order": [[node, spec.submodel(node).share] for node in half.order],
        "inputs": [port.name for port in half.inputs],
        "outputs": [[output.port.name, _place(half, output.tap)] for output in half.outputs],
        "feeds": [
            [
                node,
                _merge_of(feed) if len(feed.taps) > 1 else None,
                [_place(half, tap) for tap in feed.taps],
                *([feed.masks] if feed.masks else []),
            ]
            for node, feeds in half.feeds.items()
            for feed in feeds
        ],
        "passed on": sorted(name for name, tap in halves.crossing.items() if tap.node is None),
    }
    return {**found, "connections": hashlib.sha256(_text(_without_names(plain))).hexdigest()}


def _merge_of(feed: Feed) -> dict[str, Any]:
    """A merge as plain data, without where the classes of its layer were found."""
    said = asdict(replace(feed.merge, objects=None))
    del said["objects"]
    return said


def _place(wiring: Wiring, tap: Tap) -> list[Any]:
    """A tap as plain data, with the number of the port: its name may be one that Keras made."""
    if tap.node is None:
        return [None, tap.port, tap.part, False]
    known = [feed.port for feed in wiring.feeds[tap.node]] if tap.merged else wiring.node_outputs[tap.node]
    return [tap.node, [port.name for port in known].index(tap.port), tap.part, tap.merged]


def _sum_of_layer(layer: keras.Layer) -> str:
    """The sha256 of a layer's configuration and weights, whatever layers in it are called and whether they train."""
    config = keras.saving.serialize_keras_object(layer)
    found = hashlib.sha256(_text(_without_names(config)))
    for _, leaf in ports.leaves(layer) if isinstance(layer, keras.Model) else [("", layer)]:
        if ports.learnt_vocabulary(leaf):  # neither in the configuration nor a weight
            found.update(_text([str(word) for word in leaf.get_vocabulary()]))
    for weight in layer.weights:
        array = np.asarray(weight)
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _without_names(config: Any, numbers: dict[str, int] | None = None) -> Any:
    """Keras counts up the names that it makes, and so they differ between processes; the order of layers stays."""
    numbers = {} if numbers is None else numbers
    if isinstance(config, Mapping):
        if str(config.get("class_name")).endswith("DTypePolicy"):  # whose name says what it does
            return config
        return {
            key: numbers.setdefault(value, len(numbers))
            if key == "name" and isinstance(value, str)
            else _without_names(value, numbers)
            for key, value in config.items()
            if key not in ("trainable", "build_config", "compile_config", "shared_object_id")
        }
    if isinstance(config, list | tuple):
        is_history = len(config) == 3 and isinstance(config[0], str) and all(isinstance(one, int) for one in config[1:])
        if is_history:
            return [numbers.setdefault(config[0], len(numbers)), *config[1:]]
        return [_without_names(value, numbers) for value in config]
    return config


def _text(plain: Any) -> bytes:
    text = json.dumps(plain, sort_keys=True, default=repr)
    return re.sub(r" at 0x[0-9a-f]+", "", text).encode()
