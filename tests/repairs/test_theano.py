"""Files of Keras on Theano: how they are recognised, and what is done to their kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from backends import assert_allclose
from repairs_files import (
    Layer,
    called,
    convolve,
    correlate,
    floats,
    functional,
    given,
    layer,
    sequential,
    write_h5,
    write_weights,
)

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.models.keras_file import Opened, open_file
from keras_stitch.repairs import orderings, read_file, theano
from keras_stitch.repairs.architecture import Saved

KERNEL, BIAS = floats(3, 2, 4), floats(4)
# As Keras named them on Theano and on TensorFlow.
OF_THEANO = [("conv_W", KERNEL[:, None]), ("conv_b", BIAS)]
OF_TENSORFLOW = [(f"{name}:0", value) for name, value in OF_THEANO]


def convolution(**more: Any) -> Layer:
    config = {"nb_filter": 4, "filter_length": 3, "border_mode": "valid", "subsample_length": 1, "bias": True}
    return layer("Convolution1D", "conv", **{"batch_input_shape": [None, 8, 2], **config, **more})


def keras_1(*layers: Layer) -> Layer:
    return {"class_name": "Sequential", "config": list(layers)}


def turned(opened: Opened) -> list[tuple[str, ...]]:
    return [done.where for done in opened.repairs if done.rule == "theano-kernels"]


# -- which backend --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "backend", "want"),
    [
        (["a_W", "a_b"], None, "theano"),
        (["a_W:0", "a_b:0"], None, "tensorflow"),
        (["a_W"], "tensorflow", "tensorflow"),
        (["a_W:0"], "theano", "theano"),
        ([], None, None),
    ],
)
def test_the_backend_of_a_file_of_keras_1(
    tmp_path: Path, names: list[str], backend: str | None, want: str | None
) -> None:
    arrays = {"conv": [(name, floats(1)) for name in names], "last": []}
    path = write_h5(tmp_path / "m.h5", keras_1(convolution()), arrays, "1.2.2", backend)
    assert read_file.read_h5(path).backend == want
    arch, held = tmp_path / "m.json", tmp_path / "w.h5"
    with h5py.File(held, "w") as file:
        write_weights(file, arrays, None, backend)
    arch.write_text(json.dumps({**keras_1(convolution()), "keras_version": "1.2.2"}))
    assert read_file.read_json(arch, held).backend == want


@pytest.mark.parametrize(
    ("of_weights", "named", "said", "want"),
    [
        (("2.1.2", "theano"), "w", "tensorflow", "theano"),
        (("1.2.2", None), "w", "tensorflow", "theano"),
        (("1.2.2", None), "w:0", "theano", "tensorflow"),
        ((None, None), "w", "theano", "theano"),
        ((None, None), "w", None, None),
    ],
)
def test_the_weights_know_better_than_the_architecture(
    tmp_path: Path, of_weights: tuple[str | None, str | None], named: str, said: str | None, want: str | None
) -> None:
    arch, held = tmp_path / "m.json", tmp_path / "w.h5"
    with h5py.File(held, "w") as file:
        write_weights(file, {"d": [(named, floats(2))]}, *of_weights)
    dense = layer("Dense", "d", units=2, batch_input_shape=[None, 3])
    arch.write_text(json.dumps({**sequential(dense), "keras_version": "2.1.2", "backend": said}))
    assert read_file.read_json(arch, held).backend == want


def test_kernels_are_turned_where_the_names_are_those_of_theano(tmp_path: Path) -> None:
    x = floats(2, 8, 2)
    for arrays, formula, where in ((OF_THEANO, convolve, [("conv",)]), (OF_TENSORFLOW, correlate, [])):
        path = write_h5(tmp_path / "m.h5", keras_1(convolution()), {"conv": arrays}, "1.2.2", None)
        opened = open_file(path)
        assert_allclose(opened.model(x), formula(x, KERNEL, BIAS), atol=1e-5)
        assert turned(opened) == where


def test_kernels_within_other_layers_are_turned(tmp_path: Path) -> None:
    inner = convolution()
    inner["config"].pop("batch_input_shape")
    each = layer("TimeDistributed", "each", layer=inner, batch_input_shape=[None, 3, 8, 2])
    nested = {"class_name": "Sequential", "config": [convolution()], "name": "nested"}
    x = floats(2, 3, 8, 2)
    opened = open_file(write_h5(tmp_path / "t.h5", keras_1(each), {"each": OF_THEANO}, "1.2.2", None))
    want = convolve(x.reshape(6, 8, 2), KERNEL, BIAS).reshape(2, 3, 6, 4)
    assert_allclose(opened.model(x), want, atol=1e-5)
    assert turned(opened) == [("each/conv",)]
    opened = open_file(write_h5(tmp_path / "n.h5", keras_1(nested), {"nested": OF_THEANO}, "1.2.2", None))
    assert_allclose(opened.model(x[0]), convolve(x[0], KERNEL, BIAS), atol=1e-5)
    assert turned(opened) == [("nested/conv",)]


def transposed_3d(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """As TensorFlow means it: every entry adds the kernel (*size, out, in) at its place."""
    size = kernel.shape[:3]
    out = np.zeros((len(x), *(a + s - 1 for a, s in zip(x.shape[1:4], size, strict=True)), kernel.shape[3]))
    for i, j, k in np.ndindex(*x.shape[1:4]):
        places = tuple(slice(at, at + s) for at, s in zip((i, j, k), size, strict=True))
        out[(slice(None), *places)] += np.einsum("bc,xyzoc->bxyzo", x[:, i, j, k], kernel)
    return out


@pytest.mark.parametrize("backend", ("tensorflow", "theano"))
def test_transposed_convolutions_of_volumes(tmp_path: Path, backend: str) -> None:
    kernel, x = floats(2, 3, 2, 2, 3), floats(2, 3, 4, 3, 3)
    config = {"filters": 2, "kernel_size": [2, 3, 2], "strides": [1, 1, 1], "padding": "valid", "use_bias": False}
    said = layer("Conv3DTranspose", "conv", batch_input_shape=[None, 3, 4, 3, 3], **config)
    opened = open_file(write_h5(tmp_path / "m.h5", sequential(said), {"conv": [kernel]}, "2.0.8", backend))
    kernel = kernel[::-1, ::-1, ::-1] if backend == "theano" else kernel
    assert_allclose(opened.model(x), transposed_3d(x, kernel), atol=1e-5)
    assert turned(opened) == ([("conv",)] if backend == "theano" else [])


def test_kernels_that_keras_turned_itself_are_left() -> None:
    said = sequential(layer("SeparableConv2D", "s"), layer("DepthwiseConv2D", "d"), layer("Dense", "e"))
    assert theano.kernels.apply(Saved(said, (2, 2, 4), "theano")) == []


# -- nothing tells, or the user knows better -------------------------------------------------------


def test_a_file_that_does_not_say_its_backend_is_refused(tmp_path: Path) -> None:
    said = layer("Conv1D", "conv", filters=4, kernel_size=3, batch_input_shape=[None, 8, 2])
    path = write_h5(tmp_path / "m.h5", sequential(said), {"conv": [("k", KERNEL), ("b", BIAS)]}, "2.0.8", None)
    with pytest.raises(SourceError) as caught:
        open_file(path)
    assert str(caught.value) == (
        f"'{path}' cannot be loaded without changing what it predicts. The layer 'conv' (Conv1D) computed something "
        "else on Theano than on TensorFlow, and the file does not say on which backend Keras ran.\n"
        "  Expected: the attribute 'backend', or names of weights as Keras wrote them\n"
        '  Fix: Say it: graph.add(name, source, saved_backend="tensorflow") or "theano".'
    )
    x = floats(2, 8, 2)
    for backend, formula in (("tensorflow", correlate), ("theano", convolve)):
        opened = open_file(path, saved_backend=backend)
        assert_allclose(opened.model(x), formula(x, KERNEL, BIAS), atol=1e-5)


def test_layers_that_are_alike_on_both_backends_need_none(tmp_path: Path) -> None:
    dense = layer("Dense", "d", units=2, batch_input_shape=[None, 3])
    arrays = {"d": [("kernel", floats(3, 2)), ("bias", floats(2))]}
    assert open_file(write_h5(tmp_path / "m.h5", sequential(dense), arrays, "2.0.8", None)).repairs
    pool = layer("MaxPooling1D", "p", padding="valid")
    theano.backend.refuse(Saved(sequential(pool), (2,), None))
    with pytest.raises(SourceError, match="'p'"):
        theano.backend.refuse(Saved(sequential(layer("MaxPooling1D", "p", padding="same")), (2,), None))


def test_what_the_user_says_counts_more_than_the_file(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", keras_1(convolution()), {"conv": OF_THEANO}, "1.2.2", None)
    graph = ks.Graph("g").add("conv", path, saved_backend="tensorflow")
    x = floats(2, 8, 2)
    assert_allclose(graph.build()([x]), correlate(x, KERNEL, BIAS), atol=1e-5)
    assert "theano-kernels" not in str(graph.summary())
    graph.to_yaml(tmp_path / "stitch.yaml")
    assert "saved_backend: tensorflow" in (tmp_path / "stitch.yaml").read_text()
    assert_allclose(ks.Graph.from_yaml(tmp_path / "stitch.yaml").build()([x]), correlate(x, KERNEL, BIAS), atol=1e-5)
    graph.replace("conv", path)
    assert "theano-kernels (conv): Theano convolved" in str(graph.summary())


def test_inspect_is_told_the_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_h5(tmp_path / "m.h5", keras_1(convolution()), {"conv": OF_THEANO}, "1.2.2", None)
    for options, is_turned in (((), True), (("--saved-backend", "tensorflow"), False)):
        assert cli.main(["inspect", str(path), *options]) == 0
        assert ("theano-kernels (conv): Theano convolved" in capsys.readouterr().out) == is_turned


def test_backends_that_cannot_be(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", keras_1(convolution()), {"conv": OF_THEANO}, "1.2.2", None)
    with pytest.raises(StitchError) as caught:
        ks.Graph("g").add("conv", path, saved_backend="teano")
    assert str(caught.value) == (
        "saved_backend= of submodel 'conv' is none that files are of.\n"
        "  Expected: 'theano', the nearest name\n"
        "  Received: 'teano'"
    )
    model = open_file(path).model
    with pytest.raises(StitchError) as caught:
        ks.Graph("g").add("conv", model, saved_backend="theano")
    assert str(caught.value) == (
        "saved_backend= of submodel 'conv' is for files, and this is a model in memory.\n"
        "  Received: saved_backend='theano'\n"
        "  Fix: Leave it out."
    )
    model.save(tmp_path / "new.keras")
    with pytest.raises(StitchError) as caught:
        ks.Graph("g").add("conv", tmp_path / "new.keras", saved_backend="theano")
    assert str(caught.value) == (
        f"'{tmp_path / 'new.keras'}' is of Keras 3, which has no kernels of Theano, so saved_backend= is not needed.\n"
        "  Received: saved_backend='theano'\n"
        "  Fix: Leave it out."
    )


# -- where the channels are -----------------------------------------------------------------------

SILENT = ["UpSampling2D", "ZeroPadding2D", "Cropping2D", "UpSampling3D", "ZeroPadding3D", "Cropping3D"]


@pytest.mark.parametrize("kind", SILENT)
@pytest.mark.parametrize("ordering", ["channels_first", "channels_last"])
def test_layers_take_the_ordering_of_the_others(kind: str, ordering: str) -> None:
    said = sequential(given("x", 2, 8, 8), layer(kind, "it"), layer("Conv2D", "conv", data_format=ordering))
    where = orderings.orderings.apply(Saved(said, (1, 2, 2)))
    assert said["config"]["layers"][1]["config"]["data_format"] == ordering
    assert where == (["it"] if ordering == "channels_first" else [])


def test_where_layers_disagree_the_nearest_ones_tell() -> None:
    first, last = (layer("Conv2D", kind, data_format=f"channels_{kind}") for kind in ("first", "last"))
    up, pad = layer("UpSampling2D", "up"), layer("TimeDistributed", "each", layer=layer("ZeroPadding2D", "pad"))
    chain = sequential(first, layer("Activation", "relu"), up, layer("Permute", "p"), last, layer("Dropout", "d"), pad)
    assert orderings.orderings.apply(Saved(chain, (1, 2, 2))) == ["up"]
    assert pad["config"]["layer"]["config"]["data_format"] == "channels_last"
    up = layer("UpSampling2D", "up")
    graph = functional(
        [given("x", 2, 8, 8), called(last, "x"), called(first, "x"), called(layer("Flatten", "f"), "last"),
         called(up, "first")],
        ["x"],
        ["f", "up"],
    )  # fmt: skip
    assert orderings.orderings.apply(Saved(graph, (1, 2, 2))) == ["up"]


def test_an_ordering_that_nothing_tells_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        orderings.orderings.apply(Saved(sequential(layer("UpSampling2D", "up")), (1, 2, 2)))
    assert str(caught.value) == (
        "The layer 'up' (UpSampling2D) does not say which axis has the channels, and no other layer does.\n"
        "  Expected: the argument dim_ordering\n"
        '  Fix: Write "dim_ordering": "th" (channels first) or "tf" (last) into its config in the architecture.'
    )
    one, other = (layer("Conv2D", kind, data_format=f"channels_{kind}") for kind in ("first", "last"))
    with pytest.raises(SourceError, match="and the other layers disagree"):
        orderings.orderings.apply(Saved(sequential(one, layer("UpSampling2D", "up"), other), (1, 2, 2)))
    assert orderings.orderings.apply(Saved(sequential(layer("UpSampling2D", "up")), (2, 0, 8))) == []
