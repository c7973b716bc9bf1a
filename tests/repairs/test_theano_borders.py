"""Borders that were the "same" on Theano, and other places where convolutions and images were cut off otherwise.

The formulas are those of ``keras/backend/theano_backend.py``, with the sizes of borders that Theano took.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import warm_python
from backends import assert_allclose
from repairs_files import Layer, called, correlate, floats, functional, given, layer, old_hard_sigmoid, sequential
from repairs_files import write_h5 as write

from keras_stitch.errors import SourceError
from keras_stitch.models.keras_file import Opened, open_file

LETTERS = "xyz"


def opened(path: Path, model: Layer, arrays: dict[str, Any], version: str = "2.1.6", backend: str = "theano") -> Opened:
    return open_file(write(path / "m.h5", model, arrays, version, backend))


def rules(found: Opened) -> list[str]:
    return [done.rule for done in found.repairs]


def around(x: np.ndarray, sides: list[tuple[int, int]], value: float = 0.0) -> np.ndarray:
    return np.pad(x, [(0, 0), *sides, (0, 0)], constant_values=value)


def dilated(kernel: np.ndarray, dilation: int) -> np.ndarray:
    size = kernel.shape[:-2]
    out = np.zeros((*[(n - 1) * dilation + 1 for n in size], *kernel.shape[-2:]))
    out[tuple(slice(None, None, dilation) for _ in size)] = kernel
    return out


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int = 1, dilation: int = 1, turn: bool = True) -> np.ndarray:
    """Theano's convolution with half borders, of which Keras took as many places as it had announced."""
    rank = x.ndim - 2
    spread = dilated(kernel[(slice(None, None, -1),) * rank] if turn else kernel, dilation)
    size = spread.shape[:rank]
    out = correlate(around(x, [(n // 2, n // 2) for n in size]), spread, np.zeros(kernel.shape[-1]), strides=stride)
    # Only where the kernel was even.
    cut = [
        slice(-(-n // stride)) if k % 2 == 0 else slice(None) for n, k in zip(x.shape[1:-1], kernel.shape, strict=False)
    ]
    return out[(slice(None), *cut)]


# -- convolutions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride", "dilation"), [*itertools.product((1, 2, 3, 4), (1, 2, 3), (1,)),
                                                          *itertools.product((2, 3), (1,), (2, 3))])  # fmt: skip
def test_convolutions_of_sequences(tmp_path: Path, size: int, stride: int, dilation: int) -> None:
    config = {"filters": 2, "kernel_size": [size], "strides": [stride], "dilation_rate": [dilation], "use_bias": False}
    said = layer("Conv1D", "conv", **config, padding="same", batch_input_shape=[None, None, 3])
    kernel = floats(size, 3, 2)
    found = opened(tmp_path, sequential(said), {"conv": [kernel]})
    for length in (7, 8):
        x = floats(2, length, 3)
        assert_allclose(found.model(x), convolved(x, kernel, stride, dilation), atol=1e-5)
    span = (size - 1) * dilation + 1
    assert ("theano-borders" in rules(found)) == (span > 1 and not (span % 2 and stride == 1))
    assert not any(kind == "ZeroPadding1D" for kind in classes(opened(tmp_path, sequential(said), {"conv": [kernel]},
                                                                       backend="tensorflow")))  # fmt: skip


def classes(found: Opened) -> list[str]:
    return [type(held).__name__ for held in found.model.layers]


@pytest.mark.parametrize("version", ["1.2.2", "2.0.8"])
def test_convolutions_of_images(tmp_path: Path, version: str) -> None:
    kernel, bias = floats(2, 4, 3, 2), floats(2)
    old = {"nb_filter": 2, "nb_row": 2, "nb_col": 4, "subsample": [2, 2], "border_mode": "same", "dim_ordering": "tf"}
    new = {"filters": 2, "kernel_size": [2, 4], "strides": [2, 2], "padding": "same", "data_format": "channels_last"}
    kind, config = ("Convolution2D", old) if version < "2" else ("Conv2D", new)
    first = layer(kind, "conv", batch_input_shape=[None, 5, 6, 3], activation="relu", **config)
    found = opened(tmp_path, sequential(first), {"conv": [kernel, bias]}, version)
    x = floats(2, 5, 6, 3)
    assert_allclose(found.model(x), np.maximum(convolved(x, kernel, 2) + bias, 0), atol=1e-5)


@pytest.mark.parametrize(("version", "is_old"), [("1.1.0", True), ("1.2.2", False), ("2.0.8", False)])
def test_convolutions_of_volumes(tmp_path: Path, version: str, is_old: bool) -> None:
    """Before Keras 1.1.1, it put the zeros around them itself, more of them at the end."""
    config: dict[str, Any] = {"filters": 2, "kernel_size": [2, 1, 3], "strides": [1, 1, 1], "padding": "same"}
    if version < "2":
        config = {"nb_filter": 2, "kernel_dim1": 2, "kernel_dim2": 1, "kernel_dim3": 3, "border_mode": "same"}
        config["dim_ordering"] = "tf"
    config["bias" if version < "2" else "use_bias"] = False
    said = layer("Convolution3D" if version < "2" else "Conv3D", "conv", **config, batch_input_shape=[None, 4, 3, 5, 1])
    kernel, x = floats(2, 1, 3, 1, 2), floats(2, 4, 3, 5, 1)
    found = opened(tmp_path, sequential(said), {"conv": [kernel]}, version)
    padded = around(x, [(0, 1) if is_old else (1, 0), (0, 0), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 1, 3), axis=(1, 2, 3))
    want = np.einsum("bijkcxyz,xyzco->bijko", windows, kernel[::-1, ::-1, ::-1])
    assert_allclose(found.model(x), want, atol=1e-5)


def test_full_borders(tmp_path: Path) -> None:
    """Only Theano had them."""
    said = layer("Convolution1D", "conv", nb_filter=2, filter_length=3, border_mode="full", bias=False)
    said["config"]["batch_input_shape"] = [None, 5, 1]
    kernel, x = floats(3, 1, 2), floats(2, 5, 1)
    found = opened(tmp_path, sequential(said), {"conv": [kernel[:, None]]}, "1.2.2")
    want = correlate(around(x, [(2, 2)]), kernel[::-1], np.zeros(2))
    assert_allclose(found.model(x), want, atol=1e-5)


def test_kernels_of_channels_alone(tmp_path: Path) -> None:
    """Keras turned those before Theano did, and forgot to cut what separable ones of even size have too many."""
    x, depth = floats(2, 5, 6, 2), floats(2, 4, 2, 1)
    each = np.zeros((2, 4, 2, 2), "float32")
    each[:, :, (0, 1), (0, 1)] = depth[..., 0]
    config = {"kernel_size": [2, 4], "strides": [1, 1], "padding": "same", "use_bias": False}
    said = layer("DepthwiseConv2D", "conv", **config, depth_multiplier=1, batch_input_shape=[None, 5, 6, 2])
    found = opened(tmp_path, sequential(said), {"conv": [depth]}, "2.2.4")
    assert_allclose(found.model(x), convolved(x, each, turn=False), atol=1e-5)
    said = layer("SeparableConv2D", "conv", **config, filters=2, depth_multiplier=1, batch_input_shape=[None, 5, 6, 2])
    found = opened(tmp_path, sequential(said), {"conv": [depth, np.eye(2, dtype="float32")[None, None]]}, "2.2.4")
    want = correlate(around(x, [(1, 1), (2, 2)]), each, np.zeros(2))
    assert_allclose(found.model(x), want, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "dilation"), [([3, 3], 1), ([2, 3], 1), ([2, 3], 2)])
def test_recurrent_convolutions(tmp_path: Path, size: list[int], dilation: int, padding: str) -> None:
    """Only what they do to their input is dilated."""
    rows = 2 if padding == "same" and dilation == 1 else 1
    config = {"filters": 2, "kernel_size": size, "strides": [rows, 1], "padding": padding, "dilation_rate": dilation}
    config |= {"recurrent_activation": "hard_sigmoid", "activation": "tanh", "return_sequences": False}
    said = layer("ConvLSTM2D", "conv", **config, batch_input_shape=[None, 3, 4, 5, 1])
    kernel, recurrent, bias = floats(*size, 1, 8), floats(*size, 2, 8), floats(8)
    x = floats(2, 3, 4, 5, 1)
    found = opened(tmp_path, sequential(said), {"conv": [kernel, recurrent, bias]})
    h = c = None
    for step in range(3):
        if padding == "same":
            fed = convolved(x[:, step], kernel, dilation=dilation)[:, ::rows] + bias
        else:
            fed = correlate(x[:, step], dilated(kernel[::-1, ::-1], dilation), bias)
        h = np.zeros((*fed.shape[:3], 2)) if h is None else h
        c = np.zeros_like(h) if c is None else c
        i, f, g, o = np.split(fed + convolved(h, recurrent), 4, axis=-1)
        c = old_hard_sigmoid(f) * c + old_hard_sigmoid(i) * np.tanh(g)
        h = old_hard_sigmoid(o) * np.tanh(c)
    assert_allclose(found.model(x), h, atol=1e-5)


def test_layers_in_other_layers(tmp_path: Path) -> None:
    config = {"filters": 2, "kernel_size": [2], "strides": [1], "padding": "same", "use_bias": False}
    each = layer("TimeDistributed", "each", layer=layer("Conv1D", "conv", **config), batch_input_shape=[None, 3, 6, 1])
    kernel, x = floats(2, 1, 2), floats(2, 3, 6, 1)
    found = opened(tmp_path, sequential(each), {"each": [kernel]})
    want = convolved(x.reshape(6, 6, 1), kernel).reshape(2, 3, 6, 2)
    assert_allclose(found.model(x), want, atol=1e-5)
    assert [done.where for done in found.repairs if done.rule == "theano-borders"] == [("each/conv",)]
    pool = layer("MaxPooling1D", "pool", pool_size=2, strides=2, padding="same")
    each = layer("TimeDistributed", "each", layer=pool, batch_input_shape=[None, 3, 6, 1])
    found = opened(tmp_path, sequential(each), {"each": []})
    assert_allclose(found.model(x), pooled(x.reshape(6, 6, 1), [2], [2], np.max).reshape(2, 3, 3, 1), atol=1e-5)


def test_a_layer_that_is_called_twice(tmp_path: Path) -> None:
    config = {"filters": 1, "kernel_size": [2], "strides": [1], "padding": "same", "use_bias": False}
    conv = called(layer("Conv1D", "conv", **config), "x", "y")
    pool = called(
        layer("AveragePooling1D", "pool", pool_size=2, strides=1, padding="same"), "conv", [["conv", 1, 0, {}]]
    )
    add = called(layer("Add", "add"), ["pool", ["pool", 1, 0, {}]])
    model = functional([given("x", 6, 1), given("y", 6, 1), conv, pool, add], ["x", "y"], ["add"])
    kernel, x, y = floats(2, 1, 1), floats(2, 6, 1), floats(2, 6, 1)
    found = opened(tmp_path, model, {"x": [], "y": [], "conv": [kernel], "pool": [], "add": []})
    one, other = (pooled(convolved(array, kernel), [2], [1], np.mean) for array in (x, y))
    assert_allclose(found.model([x, y]), one + other, atol=1e-5)


# -- pooling --------------------------------------------------------------------------------------


def pooled(x: np.ndarray, sizes: list[int], strides: list[int], what: Any, zeros: bool = False) -> np.ndarray:
    """Pooling as Theano did it: of what is in the window, or with the zeros around it."""
    more = [size - 2 if size > 2 and size % 2 else size - 1 for size in sizes]
    padded = around(x, [(side, side) for side in more], 0.0 if zeros else np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, sizes, axis=tuple(range(1, 1 + len(sizes))))
    windows = windows[(slice(None), *(slice(None, None, stride) for stride in strides))]
    windows = windows[
        (slice(None), *(slice(-(-n // stride)) for n, stride in zip(x.shape[1:-1], strides, strict=True)))
    ]
    axes = tuple(range(-len(sizes), 0))
    return {np.max: np.nanmax, np.mean: np.nanmean}[what](windows, axis=axes)


@pytest.mark.parametrize(
    ("kind", "version"), [("Max", "1.2.2"), ("Max", "2.0.8"), ("Average", "1.2.2"), ("Average", "2.0.8")]
)
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1), (4, 2), (7, 1), (1, 2)])
def test_pooling_of_sequences(tmp_path: Path, kind: str, version: str, size: int, stride: int) -> None:
    old = {"pool_length": size, "stride": stride, "border_mode": "same"}
    new = {"pool_size": [size], "strides": [stride], "padding": "same"}
    config = old if version < "2" else new
    said = layer(f"{kind}Pooling1D", "pool", **config, batch_input_shape=[None, None, 2])
    found = opened(tmp_path, sequential(said), {"pool": []}, version)
    zeros = kind == "Average" and version == "2.0.8"
    for length in (8, 9):
        x = floats(2, length, 2) - 3
        want = pooled(x, [size], [stride], np.max if kind == "Max" else np.mean, zeros)
        assert_allclose(found.model(x), want, atol=1e-5)


@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.parametrize("first", [False, True])
def test_pooling_of_images_and_volumes(tmp_path: Path, kind: str, first: bool) -> None:
    for sizes, strides, shape in (([2, 5], [2, 3], (6, 7, 2)), ([2, 3, 4], [1, 2, 3], (4, 5, 6, 2))):
        x = floats(2, *shape) + 1
        want = pooled(x, sizes, strides, np.max if kind == "Max" else np.mean)
        config = {"pool_size": sizes, "strides": strides, "padding": "same"}
        if first:
            x, want = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1)
            config["data_format"] = "channels_first"
        said = layer(f"{kind}Pooling{len(sizes)}D", "pool", **config, batch_input_shape=[None, *x.shape[1:]])
        found = opened(tmp_path, sequential(said), {"pool": []}, "2.2.4")
        assert_allclose(found.model(x), want, atol=1e-5)


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling_of_volumes_was_not_cut_off(tmp_path: Path, kind: str) -> None:
    """Keras 2.0.0 to 2.1.5 forgot it."""
    sizes, strides, shape = [2, 3, 5], [1, 2, 2], (4, 5, 6, 2)
    x = floats(2, *shape) + 1
    padded = around(x, [(1, 1), (1, 1), (3, 3)], np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, sizes, axis=(1, 2, 3))[:, :: strides[0], ::2, ::2]
    want = {"Max": np.nanmax, "Average": np.nanmean}[kind](windows, axis=(-3, -2, -1))
    config = {"pool_size": sizes, "strides": strides, "padding": "same", "data_format": "channels_last"}
    said = layer(f"{kind}Pooling3D", "pool", **config, batch_input_shape=[None, *shape])
    assert_allclose(opened(tmp_path, sequential(said), {"pool": []}, "2.0.8").model(x), want, atol=1e-5)
    with pytest.raises(SourceError, match=r"The layer 'pool' makes more places(.|\n)*does not say its version"):
        opened(tmp_path, sequential(said), {"pool": []}, None)  # type: ignore[arg-type]


# -- transposed convolutions ----------------------------------------------------------------------


def test_averages_of_a_file_without_a_version_are_refused(tmp_path: Path) -> None:
    same = {"padding": "same", "data_format": "channels_last"}
    said = layer(
        "AveragePooling2D", "mean", pool_size=[2, 2], strides=[1, 1], batch_input_shape=[None, 3, 4, 2], **same
    )
    with pytest.raises(SourceError, match=r"The layer 'mean' averages(.|\n)*does not say its version"):
        opened(tmp_path, sequential(said), {"mean": []}, None)  # type: ignore[arg-type]


def uncut(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """All that a transposed convolution makes of images, and zeros behind it."""
    out = np.zeros((len(x), *((n - 1) * stride + k + 9 for n, k in zip(x.shape[1:3], kernel.shape, strict=False)),
                    kernel.shape[2]))  # fmt: skip
    for i, j in np.ndindex(*x.shape[1:3]):
        added = np.einsum("bc,xyoc->bxyo", x[:, i, j], kernel)
        out[:, i * stride : i * stride + kernel.shape[0], j * stride : j * stride + kernel.shape[1]] += added
    return out


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (3, 3), (5, 2), (1, 2), (5, 4)])
def test_transposed_convolutions_on_theano(tmp_path: Path, size: int, stride: int) -> None:
    config = {"filters": 2, "kernel_size": [size, size], "strides": [stride, stride], "padding": "same"}
    config |= {"activation": "sigmoid", "data_format": "channels_last"}
    said = layer("Conv2DTranspose", "conv", **config, batch_input_shape=[None, 3, 4, 1])
    last = layer("Flatten", "flat")
    kernel, bias, x = floats(size, size, 2, 1), floats(2), floats(2, 3, 4, 1)
    found = opened(tmp_path, sequential(said, last), {"conv": [kernel, bias], "flat": []})
    start = size // 2
    want = uncut(x, kernel[::-1, ::-1], stride)[:, start : start + 3 * stride, start : start + 4 * stride] + bias
    assert_allclose(found.model(x), (1 / (1 + np.exp(-want))).reshape(2, -1), atol=1e-5)
    assert ("transposed-borders" in rules(found)) == (size > 1 and stride > 1)


def test_a_transposed_convolution_in_a_graph_keeps_its_name(tmp_path: Path) -> None:
    config = {"filters": 1, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "use_bias": False}
    conv = called(layer("Conv2DTranspose", "conv", **config), "x", "y")
    add = called(layer("Add", "add"), ["conv", ["conv", 1, 0, {}]])
    model = functional([given("x", 3, 4, 1), given("y", 3, 4, 1), conv, add], ["x", "y"], ["add"])
    kernel, x, y = floats(3, 3, 1, 1), floats(2, 3, 4, 1), floats(2, 3, 4, 1)
    found = opened(tmp_path, model, {"x": [], "y": [], "conv": [kernel], "add": []})
    assert_allclose(found.model([x, y]), uncut(x + y, kernel[::-1, ::-1], 2)[:, 1:7, 1:9], atol=1e-5)
    assert type(found.model.get_layer("conv")).__name__ == "Cropping2D"


def test_a_transposed_convolution_of_even_size_is_refused(tmp_path: Path) -> None:
    config = {"filters": 1, "kernel_size": [3, 2], "strides": [2, 2], "padding": "same"}
    said = layer("Conv2DTranspose", "conv", **config, batch_input_shape=[None, 3, 4, 1])
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, sequential(said), {})
    assert str(caught.value) == (
        f"'{tmp_path / 'm.h5'}' cannot be loaded without changing what it predicts. The layer 'conv' is a transposed "
        "convolution whose kernel has an even size, with borders that are the same, which Theano did not compute.\n"
        "  Expected: kernels of odd size\n"
        "  Received: kernel_size=[3, 2]"
    )


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
@pytest.mark.parametrize(
    ("border", "stride", "length", "before"),
    [
        ("valid", 2, 7, (0, 0)),
        ("valid", 2, 8, (0, 0)),
        ("same", 2, 6, (0, 1)),
        ("same", 2, 5, (1, 1)),
        ("same", 1, 3, (1, 1)),
    ],
)
def test_the_shape_that_keras_1_was_told(
    tmp_path: Path, backend: str, border: str, stride: int, length: int, before: tuple[int, int]
) -> None:
    config = {"nb_filter": 2, "nb_row": 3, "nb_col": 3, "subsample": [stride, stride], "border_mode": border}
    config |= {"dim_ordering": "tf", "output_shape": [None, length, length, 2], "bias": False}
    said = layer("Deconvolution2D", "conv", **config, batch_input_shape=[None, 3, 3, 1])
    kernel, x = floats(3, 3, 2, 1), floats(2, 3, 3, 1)
    saved = kernel.transpose(0, 1, 3, 2)
    found = opened(tmp_path, sequential(said), {"conv": [saved]}, "1.2.2", backend)
    start = before[backend == "theano"]
    turned = kernel[::-1, ::-1] if backend == "theano" else kernel
    want = uncut(x, turned, stride)[:, start : start + length, start : start + length]
    assert_allclose(found.model(x), want, atol=1e-5)


# -- images made larger ---------------------------------------------------------------------------


def interpolated(x: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """As TensorFlow 1 did: from the corners of pixels, and the last pixel to the end."""
    places = np.arange(x.shape[axis] * factor) / factor
    low = places.astype(int)
    part = (places - low).reshape([-1 if at == axis else 1 for at in range(4)])
    high = np.minimum(low + 1, x.shape[axis] - 1)
    return np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part


@pytest.mark.parametrize("size", [[2, 2], [2, 3], [1, 4], [5, 1]])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_bilinear_upsampling(tmp_path: Path, size: list[int], data_format: str) -> None:
    x = floats(2, 3, 4, 2)
    want = interpolated(interpolated(x, size[0], 1), size[1], 2)
    config = {"size": size, "interpolation": "bilinear", "data_format": data_format}
    shape = [None, None, None, 2]
    if data_format == "channels_first":
        x, want, shape = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1), [None, 2, None, None]
    said = layer("UpSampling2D", "up", **config, batch_input_shape=shape)
    for version in ("2.2.4", "2.3.1"):
        found = opened(tmp_path, sequential(said), {"up": []}, version, "tensorflow")
        assert_allclose(found.model(x), want, atol=1e-5)
        assert "bilinear-upsampling" in rules(found)
    for version in ("2.3.0-tf", "2.4.0", "2.12.0"):
        found = opened(tmp_path, sequential(said), {"up": []}, version, "tensorflow")
        assert "bilinear-upsampling" not in rules(found)


def test_bilinear_upsampling_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    said = layer("UpSampling2D", "up", size=[2, 2], interpolation="bilinear", batch_input_shape=[None, 3, 4, 2])
    said["config"]["data_format"] = "channels_last"
    for version, backend, received in (
        ("2.2.4", "theano", "Keras 2.2.4 on theano"),
        (None, "tensorflow", "Keras 2 on"),
    ):
        with pytest.raises(SourceError, match=f"The layer 'up' interpolates(.|\n)*Received: {received}"):
            opened(tmp_path, sequential(said), {"up": []}, version, backend)  # type: ignore[arg-type]


# -- saved again ----------------------------------------------------------------------------------

RELOAD = """
import sys, keras, numpy as np
x = np.load(sys.argv[1])
for path in sys.argv[2:]:
    np.save(path + ".npy", keras.saving.load_model(path, compile=False).predict(x, verbose=0))
"""


def test_plain_keras_loads_what_stands_in_for_layers(tmp_path: Path) -> None:
    same = {"padding": "same", "data_format": "channels_last"}
    model = sequential(
        layer("Conv2D", "conv", filters=2, kernel_size=[2, 2], strides=[2, 2], **same,
              batch_input_shape=[None, 9, 8, 1]),
        layer("MaxPooling2D", "largest", pool_size=[2, 2], strides=[1, 1], **same),
        layer("AveragePooling2D", "mean", pool_size=[2, 2], strides=[1, 1], **same),
        layer("Conv2DTranspose", "back", filters=2, kernel_size=[3, 3], strides=[2, 2], **same),
        layer("GlobalMaxPooling2D", "global", data_format="channels_last"),
    )  # fmt: skip
    arrays = {
        "conv": [floats(2, 2, 1, 2), floats(2)],
        "largest": [],
        "mean": [],
        "back": [floats(3, 3, 2, 2), floats(2)],
    }
    found = opened(tmp_path, model, {**arrays, "global": []}, "2.2.4")
    x = floats(2, 9, 8, 1)
    want = keras.ops.convert_to_numpy(found.model(x))
    # TensorFlow reorders what predict computes.
    assert_allclose(found.model.predict(x, verbose=0), want, atol=1e-6)
    np.save(tmp_path / "x.npy", x)
    paths = [tmp_path / "new.keras", tmp_path / "new.h5"]
    for path in paths:
        found.model.save(path)
    done = warm_python.run([sys.executable, "-c", RELOAD, tmp_path / "x.npy", *paths])
    assert done.returncode == 0, done.stderr
    for path in paths:
        assert_allclose(np.load(f"{path}.npy"), want, atol=1e-6)
