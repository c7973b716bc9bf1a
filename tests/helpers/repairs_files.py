"""Files of old Keras made by hand, and what a NumPy of ours says that they predict: nothing of Keras here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Layer = dict[str, Any]
RNG = np.random.default_rng(0)


def floats(*shape: int, scale: float = 1.0) -> np.ndarray:
    return RNG.normal(0, scale, shape).astype("float32")


def layer(class_name: str, name: str | None = None, **config: Any) -> Layer:
    """A layer as a Sequential has it."""
    return {"class_name": class_name, "config": {"name": name or class_name.lower(), **config}}


def called(said: Layer, *nodes: Any) -> Layer:
    """A layer as a functional model has it; each node is a name, a list of names or a node in full."""
    full = [[[node, 0, 0, {}]] if isinstance(node, str) else [_reference(item) for item in node] for node in nodes]
    return {**said, "name": said["config"]["name"], "inbound_nodes": full}


def _reference(item: Any) -> Any:
    return [item, 0, 0, {}] if isinstance(item, str) else item


def given(name: str, *shape: int | None, **config: Any) -> Layer:
    """An InputLayer as Keras 2 wrote it."""
    config = {"name": name, "batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, **config}
    return {"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []}


def sequential(*layers: Layer, name: str = "sequential_1") -> Layer:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def functional(
    layers: Sequence[Layer], inputs: Iterable[Any], outputs: Iterable[Any], name: str = "model_1", kind: str = "Model"
) -> Layer:
    ends = [[[end, 0, 0] if isinstance(end, str) else end for end in side] for side in (inputs, outputs)]
    config = {"name": name, "layers": list(layers), "input_layers": ends[0], "output_layers": ends[1]}
    return {"class_name": kind, "config": config, "name": name}


def write_h5(
    path: Path,
    model: Layer | str,
    arrays: dict[str, Any],
    version: str | None = "2.1.6",
    backend: str | None = "tensorflow",
    pieces: int = 0,
) -> Path:
    """A whole model as Keras 1 and 2 wrote it.

    Args:
        path: The file to write.
        model: Its architecture, or the text of one.
        arrays: For each outer layer, in the order of the file, its arrays, or pairs of their names and them.
        version: Left out of the file as Keras 1 did, if None.
        backend: Likewise.
        pieces: Into how many attributes every list of names is split.
    """
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = (model if isinstance(model, str) else json.dumps(model)).encode()
        write_weights(file.create_group("model_weights"), arrays, version, backend, pieces)
    return path


def write_weights(
    group: h5py.Group,
    arrays: dict[str, Any],
    version: str | None = "2.1.6",
    backend: str | None = "tensorflow",
    pieces: int = 0,
) -> None:
    for key, value in (("keras_version", version), ("backend", backend)):
        if value is not None:
            group.attrs[key] = value.encode()
    _names(group, "layer_names", list(arrays), pieces)
    for name, values in arrays.items():
        pairs = [item if isinstance(item, tuple) else (f"{name}_{i}", item) for i, item in enumerate(values)]
        inner = group.create_group(name)
        _names(inner, "weight_names", [weight for weight, _ in pairs], pieces)
        for weight, value in pairs:
            inner[weight] = value


def _names(group: h5py.Group, key: str, names: list[str], pieces: int) -> None:
    encoded = np.array([name.encode() for name in names], dtype="S") if names else np.zeros(0, "S1")
    if not pieces:
        group.attrs[key] = encoded
        return
    for number, piece in enumerate(np.array_split(encoded, pieces)):
        group.attrs[f"{key}{number}"] = piece


# -- what Keras 1 and 2 computed ------------------------------------------------------------------


def old_hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * x + 0.5, 0, 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def lstm(x, gates, gate=old_hard_sigmoid, activation=np.tanh, sequences=False, backwards=False) -> np.ndarray:
    """An LSTM; ``gates`` has (kernel, recurrent kernel, bias) of i, f, c and o."""
    x = np.asarray(x, "float64")[:, ::-1] if backwards else np.asarray(x, "float64")
    h = c = np.zeros((len(x), gates["i"][1].shape[0]))
    steps = []
    for step in range(x.shape[1]):
        z = {key: x[:, step] @ w + h @ u + b for key, (w, u, b) in gates.items()}
        c = gate(z["f"]) * c + gate(z["i"]) * activation(z["c"])
        h = gate(z["o"]) * activation(c)
        steps.append(h)
    return np.stack(steps, 1) if sequences else h


def gru(x, gates, gate=old_hard_sigmoid, activation=np.tanh, recurrent_bias=None) -> np.ndarray:
    """A GRU with the reset before the product, or after it where there is a recurrent bias; gates z, r, h."""
    x = np.asarray(x, "float64")
    h = np.zeros((len(x), gates["z"][1].shape[0]))
    for step in range(x.shape[1]):
        fed = {key: x[:, step] @ w + b for key, (w, _, b) in gates.items()}
        if recurrent_bias is None:
            z, r = (gate(fed[key] + h @ gates[key][1]) for key in "zr")
            candidate = activation(fed["h"] + (r * h) @ gates["h"][1])
        else:
            back = {key: h @ gates[key][1] + recurrent_bias[key] for key in "zrh"}
            z, r = (gate(fed[key] + back[key]) for key in "zr")
            candidate = activation(fed["h"] + r * back["h"])
        h = z * h + (1 - z) * candidate
    return h


def correlate(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, strides: int = 1) -> np.ndarray:
    """A convolution as TensorFlow means it, over one or two axes, channels last, kernels (*size, in, out)."""
    x, size = np.asarray(x, "float64"), kernel.shape[:-2]
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=tuple(range(1, 1 + len(size))))
    windows = windows[(slice(None), *[slice(None, None, strides)] * len(size))]
    letters = "xyz"[: len(size)]
    return np.einsum(f"b{letters.upper()}c{letters},{letters}co->b{letters.upper()}o", windows, kernel) + bias


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution as mathematics means it: every entry written out."""
    size = kernel.shape[:-2]
    shape = (len(x), *[x.shape[1 + axis] - size[axis] + 1 for axis in range(len(size))], kernel.shape[-1])
    out = np.zeros(shape)
    for at in np.ndindex(*shape[1:-1]):
        for offset in np.ndindex(*size):
            place = tuple(a + s - 1 - o for a, s, o in zip(at, size, offset, strict=True))
            out[(slice(None), *at)] += np.asarray(x, "float64")[(slice(None), *place)] @ kernel[offset]
    return out + bias


def per_gate(inputs: int, units: int, names: str) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Random (kernel, recurrent kernel, bias) of every gate."""
    return {key: (floats(inputs, units), floats(units, units), floats(units)) for key in names}


def side_by_side(gates: dict[str, Any], order: str) -> list[np.ndarray]:
    """The three arrays of Keras 2."""
    return [np.concatenate([gates[key][part] for key in order], axis=-1) for part in range(3)]
