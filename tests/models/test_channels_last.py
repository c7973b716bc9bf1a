"""Models with channels first: what is built computes the same with channels last, on every CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import assert_close
from hypothesis import given
from hypothesis import strategies as st

import keras_stitch as ks
from keras_stitch import keras_private
from keras_stitch.errors import SourceError
from keras_stitch.models import channel_axes, channels_last, load_keras
from keras_stitch.repairs import CHANNELS_FIRST

L = keras.layers
FIRST, LAST = "channels_first", "channels_last"
ROWS = 3


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else _normal(random, weight))
    return model


def _normal(random: np.random.Generator, weight: keras.Variable) -> np.ndarray:
    return random.normal(size=weight.shape) * (np.prod(weight.shape[:-1]) or 1) ** -0.5


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def turned(model: keras.Model, **options: Any) -> keras.Model:
    """The new model of a copy."""
    _, blueprint = load_keras.load_model("m", model, **options)
    found = blueprint.take()
    assert isinstance(found, keras.Model)
    left = [layer for layer in keras_private.layers_within(found) if getattr(layer, "data_format", LAST) == FIRST]
    assert not left
    return found


def numbers(model: keras.Model, *given: np.ndarray) -> list[np.ndarray]:
    made = model(list(given) if len(given) > 1 else given[0], training=False)
    return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(made)]


def assert_equal(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


# -- random nets: one recipe makes a net in either order ------------------------------------------------------------
@dataclass
class Ordered:
    """A tensor of a net, and which of its axes are the channels; 0 where there are none."""

    tensor: Any
    axis: int


@dataclass
class Recipe:
    """The steps of a net; each makes a tensor of those before. ``last`` says in which order it is made."""

    shape: tuple[int, ...]
    steps: list[Callable[[list[Any], bool], Any]] = field(default_factory=list)

    def model(self, *, last: bool) -> keras.Model:
        """The net, which takes ``shape`` with its channels first or last and gives all that was made."""
        order = (*self.shape[1:], self.shape[0]) if last else self.shape
        made = [keras.Input(order, name="x")]
        for step in self.steps:
            made.append(step(made, last))
        return keras.Model(made[0], made[1:], name="net")


def along(last: bool, first_axis: int = 1) -> int:
    return -1 if last else first_axis


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    size = 5
    recipe = Recipe((draw(st.integers(1, 3)), *[size] * rank))
    channels = [recipe.shape[0]]  # of each tensor, all of which have the same size in the other axes
    for number in range(draw(st.integers(1, 6))):
        kinds = ["conv", "conv", "norm", "act", "dropout", "softmax", "add", "concat", "pool", "prelu", "dilated"]
        kind = "conv" if number == 0 else draw(st.sampled_from(kinds))
        source = draw(st.integers(0, len(channels) - 1))
        alike = [index for index, count in enumerate(channels) if count == channels[source]]
        other = draw(st.sampled_from(alike))
        any_other = draw(st.integers(0, len(channels) - 1))
        options: dict[str, Any] = {"name": f"{kind}_{number}"}
        step, made = _step(draw, kind, rank, (source, other, any_other), channels, options)
        recipe.steps.append(step)
        channels.append(made)
    end = draw(st.sampled_from(["flatten", "mean", "max", "none"]))
    recipe.steps.append(_end(end, rank, len(channels) - 1))
    return recipe


def _step(
    draw: st.DrawFn, kind: str, rank: int, sources: tuple[int, int, int], channels: list[int], options: dict[str, Any]
) -> tuple[Callable[[list[Any], bool], Any], int]:
    source, other, any_other = sources
    count = channels[source]

    def order(last: bool) -> dict[str, Any]:
        return {"data_format": LAST if last else FIRST, **options}

    if kind in ("conv", "dilated"):
        filters = draw(st.integers(1, 3))
        options |= {"padding": "same", "activation": draw(st.sampled_from(["linear", "relu", "tanh"]))}
        options |= {"dilation_rate": 2} if kind == "dilated" else {}
        size = draw(st.integers(1, 3))
        return lambda made, last: getattr(L, f"Conv{rank}D")(filters, size, **order(last))(made[source]), filters
    if kind == "pool":
        which = draw(st.sampled_from(["Max", "Average"]))
        options |= {"padding": "same", "strides": 1}
        return lambda made, last: getattr(L, f"{which}Pooling{rank}D")(2, **order(last))(made[source]), count
    if kind == "norm":
        return lambda made, last: L.BatchNormalization(axis=along(last), **options)(made[source]), count
    if kind == "softmax":
        return lambda made, last: L.Softmax(axis=along(last), **options)(made[source]), count
    if kind == "prelu":
        shared = range(1, rank + 1)
        return (
            lambda made, last: L.PReLU(shared_axes=[axis + (not last) for axis in shared], **options)(made[source]),
            count,
        )
    if kind == "add":
        return lambda made, last: L.Add(**options)([made[source], made[other]]), count
    if kind == "concat":
        made_channels = count + channels[any_other]
        return (
            lambda made, last: L.Concatenate(axis=along(last), **options)([made[source], made[any_other]]),
            made_channels,
        )
    layer = {"act": lambda: L.Activation("sigmoid", **options), "dropout": lambda: L.Dropout(0.5, **options)}[kind]
    return lambda made, last: layer()(made[source]), count


def _end(kind: str, rank: int, source: int) -> Callable[[list[Any], bool], Any]:
    def step(made: list[Any], last: bool) -> Any:
        order = LAST if last else FIRST
        if kind == "flatten":
            return L.Flatten(data_format=order, name="end")(made[source])
        if kind == "none":
            return L.Identity(name="end")(made[source])
        which = "Max" if kind == "max" else "Average"
        return getattr(L, f"Global{which}Pooling{rank}D")(data_format=order, name="end")(made[source])

    return step


@pytest.mark.slow
@given(recipes())
def test_any_net_computes_what_the_same_net_with_channels_last_does(recipe: Recipe) -> None:
    original, same = recipe.model(last=False), recipe.model(last=True)
    randomized(original)
    for layer in same.layers:
        values = original.get_layer(layer.name).get_weights()
        layer.set_weights([value.reshape(weight.shape) for value, weight in zip(values, layer.weights, strict=True)])
    x = floats(ROWS, *recipe.shape)
    expected = numbers(same, np.moveaxis(x, 1, -1))
    expected = [np.moveaxis(array, -1, 1) if array.ndim > 2 else array for array in expected]
    for one_by_one in (False, True):
        _, blueprint = load_keras.load_model("m", original)
        model = blueprint.take_reference() if one_by_one else blueprint.take()
        assert_equal(numbers(model, x), expected)
        assert [tensor.shape for tensor in model.outputs] == [tensor.shape for tensor in original.outputs]
    names = [keras_private.maker(tensor).name for tensor in original.outputs]
    assert_equal(numbers(turned(original, outputs=names[-2:]), x), expected[-2:])


# -- every layer, beside the same one with channels last ------------------------------------------------------------
LAYERS: dict[str, Callable[[str], keras.Layer]] = {
    **{f"conv_{rank}": lambda order, rank=rank: getattr(L, f"Conv{rank}D")(
        4, 3, strides=2, padding="same", data_format=order) for rank in (1, 2, 3)},
    "conv_1_causal": lambda order: L.Conv1D(2, 3, dilation_rate=2, padding="causal", data_format=order),
    "conv_2_groups": lambda order: L.Conv2D(4, (2, 3), groups=2, activation="elu", data_format=order),
    "conv_2_layer": lambda order: L.Conv2D(4, 2, activation=L.LeakyReLU(0.2), use_bias=False, data_format=order),
    **{f"transpose_{rank}": lambda order, rank=rank: getattr(L, f"Conv{rank}DTranspose")(
        3, 3, strides=2, padding="same", data_format=order) for rank in (1, 2, 3)},
    **{f"depthwise_{rank}": lambda order, rank=rank: getattr(L, f"DepthwiseConv{rank}D")(
        3, strides=2, depth_multiplier=2, data_format=order) for rank in (1, 2)},
    **{f"separable_{rank}": lambda order, rank=rank: getattr(L, f"SeparableConv{rank}D")(
        3, 2, padding="same", depth_multiplier=2, data_format=order) for rank in (1, 2)},
    **{f"{kind}_{rank}": lambda order, kind=kind, rank=rank: getattr(L, f"{kind}Pooling{rank}D")(
        2, padding="same", data_format=order) for kind in ("Max", "Average") for rank in (1, 2, 3)},
    **{f"{kind}_{rank}": lambda order, kind=kind, rank=rank: getattr(L, f"{kind}Pooling{rank}D")(
        data_format=order, keepdims=kind == "GlobalMax") for kind in ("GlobalMax", "GlobalAverage")
        for rank in (1, 2, 3)},
    "adaptive_2": lambda order: L.AdaptiveAveragePooling2D((2, 3), data_format=order),
    "up_2": lambda order: L.UpSampling2D((2, 3), interpolation="bilinear", data_format=order),
    "up_3": lambda order: L.UpSampling3D((1, 2, 3), data_format=order),
    "zeros_1": lambda order: L.ZeroPadding1D((1, 2), data_format=order),
    "zeros_2": lambda order: L.ZeroPadding2D(((1, 2), (0, 3)), data_format=order),
    "zeros_3": lambda order: L.ZeroPadding3D((0, 1, 2), data_format=order),
    "crop_2": lambda order: L.Cropping2D(((1, 2), (0, 3)), data_format=order),
    "crop_3": lambda order: L.Cropping3D((0, 1, 2), data_format=order),
    "spatial_2": lambda order: L.SpatialDropout2D(0.5, data_format=order),
    "spatial_3": lambda order: L.SpatialDropout3D(0.5, data_format=order),
    "flatten_2": lambda order: L.Flatten(data_format=order),
    "normed_2": lambda order: L.SpectralNormalization(L.Conv2D(2, 3, data_format=order)),
}  # fmt: skip


def with_layers(rank: int, order: str) -> keras.Model:
    shape = (6,) * rank
    inputs = keras.Input((4, *shape) if order == FIRST else (*shape, 4), name="x")
    # What makes the others be turned, too.
    start = getattr(L, f"Conv{rank}D")(4, 1, name="start", data_format=order)(inputs)
    made = []
    for name, layer in LAYERS.items():
        if f"_{rank}" in name:
            new = layer(order)
            new.name = name
            made.append(new(start))
    return keras.Model(inputs, made, name="net")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_layer_computes_what_it_does_with_channels_last(rank: int) -> None:
    original, same = randomized(with_layers(rank, FIRST)), with_layers(rank, LAST)
    for layer in same.layers:
        layer.set_weights(original.get_layer(layer.name).get_weights())
    x = floats(ROWS, 4, *[6] * rank)
    expected = numbers(same, np.moveaxis(x, 1, -1))
    model = turned(original)
    assert {layer.name for layer in same.layers} <= {layer.name for layer in model.layers}
    assert sum(isinstance(layer, L.Permute) for layer in model.layers) == 1 + sum(a.ndim > 2 for a in expected)
    assert_equal(numbers(model, x), [np.moveaxis(array, -1, 1) if array.ndim > 2 else array for array in expected])


def test_a_net_has_permutes_at_its_ends_only() -> None:
    inputs = keras.Input((3, 8, 8), name="x")
    x = L.Conv2D(4, 3, padding="same", data_format=FIRST, name="conv")(inputs)
    x = L.BatchNormalization(axis=1, name="norm")(x)
    x = shortcut = L.Activation("relu", name="relu")(x)
    x = L.Conv2D(4, 3, padding="same", data_format=FIRST, name="conv_2")(x)
    x = L.Dropout(0.5, name="drop")(L.Add(name="add")([x, shortcut]))
    x = L.Concatenate(axis=1, name="both")([x, shortcut])
    x = L.Flatten(name="flat")(L.MaxPooling2D(data_format=FIRST, name="pool")(x))
    model = turned(keras.Model(inputs, L.Dense(2, name="dense")(x)))
    found = [(layer.name, layer.dims) for layer in model.layers if isinstance(layer, L.Permute)]
    assert found == [("x_channels_last", (2, 3, 1)), ("pool_channels_first", (3, 1, 2))]
    assert (model.get_layer("norm").axis, model.get_layer("both").axis) == (3, 3)


def test_a_name_that_keras_made_up_names_nothing_else() -> None:
    """It would be another one each time."""
    model = turned(keras.Sequential([keras.Input((2, 5, 5)), L.Conv2D(1, 3, data_format=FIRST, name="conv")]))
    assert [layer.name for layer in model.layers[1:]] == ["input_channels_last", "conv", "conv_channels_first"]


# -- what holds convolutions ------------------------------------------------------------------------------------------
def assert_same_with(make: Callable[[str], keras.Model], *given: np.ndarray) -> keras.Model:
    """The new model, once it computes what the model made with channels last computes; channels are the third axis."""
    original, same = randomized(make(FIRST)), make(LAST)
    same.set_weights(original.get_weights())
    found = turned(original)
    expected = numbers(same, *(np.moveaxis(array, -3, -1) for array in given))
    assert_equal(
        numbers(found, *given), [np.moveaxis(array, -1, -3) if array.ndim > 3 else array for array in expected]
    )
    return found


def images(order: str, *before: int) -> keras.KerasTensor:
    return keras.Input((*before, 2, 6, 5) if order == FIRST else (*before, 6, 5, 2), name="x")


def test_layers_that_are_called_step_by_step() -> None:
    def make(order: str) -> keras.Model:
        inputs = images(order, 3)
        x = L.TimeDistributed(L.Conv2D(4, 2, strides=2, padding="same", data_format=order), name="conv")(inputs)
        x = L.TimeDistributed(L.Activation("tanh"), name="act")(x)
        x = L.TimeDistributed(L.MaxPooling2D(2, data_format=order), name="pool")(x)
        return keras.Model(inputs, [x, L.TimeDistributed(L.Flatten(data_format=order), name="flat")(x)])

    model = assert_same_with(make, floats(ROWS, 3, 2, 6, 5))
    assert sum("channels" in layer.name for layer in model.layers) == 2


def test_recurrent_convolutions_and_their_states() -> None:
    def make(order: str) -> keras.Model:
        inputs = images(order, 3)
        options = {"padding": "same", "data_format": order}
        of_cells = keras.Sequential([keras.Input((None,) * 3), L.Rescaling(1.2), L.Activation("hard_sigmoid")])
        all_steps = {"activation": of_cells, "return_sequences": True, "return_state": True}
        x, *states = L.ConvLSTM2D(3, 2, name="all", **all_steps, **options)(inputs)
        last = L.ConvLSTM2D(3, 2, name="last", **options)(inputs, initial_state=states)
        both = L.Bidirectional(L.ConvLSTM2D(2, 2, **options), merge_mode="sum", name="both")(x)
        return keras.Model(inputs, [x, *states, last, both])

    assert_same_with(make, floats(ROWS, 3, 2, 6, 5))


def nested(order: str) -> keras.Model:
    inputs = images(order)
    layers = [L.Conv2D(2, 3, padding="same", data_format=order, name="conv"), L.ReLU(name="relu")]
    norm = L.BatchNormalization(axis=along(order == LAST), name="norm")
    inner = keras.Sequential([keras.Input(inputs.shape[1:]), *layers, norm], name="inner")
    conv = L.Conv2D(2, 1, data_format=order, name="shared")
    x = inner(inner(inputs))
    return keras.Model(inputs, L.Add(name="sum")([norm(conv(x)), norm(conv(inputs))]))


@pytest.mark.backends
def test_nested_models_and_layers_that_are_called_more_than_once() -> None:
    model = assert_same_with(nested, floats(ROWS, 2, 6, 5))
    assert model.get_layer("norm") is model.get_layer("inner").get_layer("norm")


def test_models_that_are_called_step_by_step() -> None:
    def make(order: str) -> keras.Model:
        inputs, one = images(order, 3), images(order)
        x = L.Conv2D(2, 3, data_format=order, name="conv")(one)
        inner = keras.Model(one, L.BatchNormalization(axis=along(order == LAST), name="norm")(x), name="inner")
        return keras.Model(inputs, L.TimeDistributed(inner, name="steps")(inputs))

    assert_same_with(make, floats(ROWS, 3, 2, 6, 5))


@pytest.mark.parametrize("adapted", [False, True])
def test_trained_models_that_are_called_step_by_step_are_verified(adapted: bool) -> None:
    """The parts run with other permutations than the stitched model."""
    first, second = L.Conv2D(3, 1, data_format=FIRST, name="first"), L.Conv2D(2, 1, data_format=FIRST, name="second")
    inner = keras.Sequential([keras.Input((2, 4, 5)), first, L.ReLU(), second, L.Flatten(data_format=FIRST)])
    graph = ks.Graph("g").add("m", keras.Sequential([keras.Input((3, 2, 4, 5)), L.TimeDistributed(inner)]))
    model = graph.build()
    if adapted:
        for layer in keras_private.layers_within(model):
            if layer.name in ("first", "second"):
                layer.enable_lora(2)
    for number, weight in enumerate(model.trainable_weights):
        weight.assign(weight + number / 7)
    assert graph.verify(model=model).passed


def test_what_trains_and_what_is_frozen_stays_so() -> None:
    model = nested(FIRST)
    model.get_layer("inner").get_layer("conv").trainable = False
    model.get_layer("norm").trainable = False
    submodel, blueprint = load_keras.load_model("m", model)
    flags = {info.path: info.trainable for info in submodel.layers}
    assert {path for path, trains in flags.items() if not trains} == {"inner/conv", "inner/norm", "norm"}
    found = blueprint.take()
    assert [weight.path.split("/")[-2] for weight in found.trainable_weights] == ["shared", "shared"]
    stitched = ks.Graph("g").add("m", model).build()
    assert len(stitched.trainable_weights) == 2


def test_a_softmax_goes_along_the_axis_that_it_had() -> None:
    """Keras' activation softmax takes the last axis, the width, where channels are first."""
    x = floats(ROWS, 2, 6, 5)
    model = keras.Sequential([keras.Input((2, 6, 5)), L.Conv2D(4, 1, activation="softmax", data_format=FIRST)])
    kernel, bias = randomized(model).get_weights()
    linear = np.einsum("nchw,cd->ndhw", x, kernel[0, 0]) + bias[:, None, None]
    powers = np.exp(linear)
    found = turned(model)
    assert_equal(numbers(found, x), [powers / powers.sum(-1, keepdims=True)])
    assert found.layers[-1].name == f"{model.layers[0].name}_activation"


def test_layers_of_nested_models_without_convolutions_stay_shared() -> None:
    """A copy of such a layer would train apart from it."""
    norm, joined = L.BatchNormalization(axis=1, name="norm"), L.Concatenate(axis=1)
    inner = keras.Sequential([keras.Input((3, 4, 5)), norm], name="inner")
    x = keras.Input((2, 4, 5))
    convolved = L.Conv2D(3, 1, data_format=FIRST)(x)
    direct, steps = norm(convolved), L.TimeDistributed(norm)(L.Reshape((1, 3, 4, 5))(convolved))
    model = randomized(keras.Model(x, [joined([direct, inner(convolved)]), steps], name="net"))
    found = turned(model)
    assert len(found.weights) == len(model.weights) == 6
    assert_equal(numbers(found, floats(ROWS, 2, 4, 5)), numbers(model, floats(ROWS, 2, 4, 5)))


def test_a_convolution_that_a_wrapper_holds_too_is_refused() -> None:
    x, convolution = keras.Input((1, 2, 4, 5)), L.Conv2D(2, 1, data_format=FIRST, name="both")
    ends = [convolution(L.Reshape((2, 4, 5))(x)), L.TimeDistributed(convolution)(x)]
    with pytest.raises(SourceError, match=r"cannot be made channels_last: another layer has its weights, too"):
        ks.Graph("g").add("m", keras.Model(x, ends, name="net"))


@keras.saving.register_keras_serializable("channels_last")
class AlongRows(keras.Regularizer):
    """A penalty that depends on where the channels are."""

    def __call__(self, x: Any) -> Any:
        return keras.ops.max(keras.ops.sum(x, axis=1))

    def get_config(self) -> dict[str, Any]:
        return {}


ROWS_PENALISED: dict[str, Any] = {"data_format": FIRST, "activity_regularizer": AlongRows()}
PENALISED: dict[str, Callable[[], list[keras.Layer]]] = {
    "softmax": lambda: [L.Conv2D(3, 1, data_format=FIRST, activation="softmax", activity_regularizer="l2")],
    "elements": lambda: [L.Conv2D(3, 1, data_format=FIRST, activation="tanh", activity_regularizer="l1")],
    "rows": lambda: [L.Conv2D(3, 1, activation="tanh", **ROWS_PENALISED)],
    "softmax of rows": lambda: [L.Conv2D(3, 1, activation="softmax", **ROWS_PENALISED)],
    "pooling": lambda: [L.Conv2D(3, 1, data_format=FIRST), L.MaxPooling2D(**ROWS_PENALISED)],
    "flattened": lambda: [L.Conv2D(3, 1, data_format=FIRST), L.Flatten(**ROWS_PENALISED)],
    "norm": lambda: [L.Conv2D(3, 1, data_format=FIRST), L.BatchNormalization(axis=1, activity_regularizer=AlongRows())],
    "act": lambda: [L.Conv2D(3, 1, data_format=FIRST), L.Activation("relu", activity_regularizer=AlongRows())],
}  # fmt: skip


@pytest.mark.parametrize("kind", PENALISED)
def test_penalties_on_what_layers_make_are_what_they_were(kind: str) -> None:
    model = randomized(keras.Sequential([keras.Input((2, 4, 5)), *PENALISED[kind]()]))
    found, penalties = turned(model), []
    for made in (model, found):
        made(floats(ROWS, 2, 4, 5), training=False)
        penalties.append(np.array([np.asarray(keras.ops.convert_to_numpy(loss)) for loss in made.losses]))
    assert len(penalties[0]) == 1
    assert_equal(penalties[1:], penalties[:1])
    assert_equal(numbers(found, floats(ROWS, 2, 4, 5)), numbers(model, floats(ROWS, 2, 4, 5)))


def test_an_activation_that_is_put_in_gets_a_name_of_its_own() -> None:
    softmax = L.Conv2D(3, 1, data_format=FIRST, activation="softmax", name="c")
    model = randomized(keras.Sequential([keras.Input((2, 4, 5)), softmax, L.ReLU(name="c_activation")]))
    assert_equal(numbers(turned(model), floats(ROWS, 2, 4, 5)), numbers(model, floats(ROWS, 2, 4, 5)))


def test_a_mask_of_steps_goes_with_what_is_permuted() -> None:
    inputs = keras.Input((3, 4))
    x = L.TimeDistributed(L.Reshape((1, 2, 2)))(L.Masking()(inputs))
    steps = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv2D(2, 1, data_format=FIRST), name="conv")(x))
    model = randomized(keras.Model(inputs, [L.LSTM(3, name="lstm")(steps), steps]))
    given = floats(2, 3, 4)
    given[0, 1:] = 0
    lstm = model.get_layer("lstm")
    found = numbers(turned(model), given)
    assert_equal([found[0][:1]], [keras.ops.convert_to_numpy(lstm(found[1][:1, :1]))])


# -- what users see --------------------------------------------------------------------------------------------------
def small() -> keras.Model:
    inputs = keras.Input((2, 7, 6), name="x")
    conv = L.Conv2D(3, 3, strides=2, padding="same", data_format=FIRST, name="conv")(inputs)
    pool = L.MaxPooling2D(2, data_format=FIRST, name="pool")(L.ReLU(name="relu")(conv))
    return randomized(keras.Model(inputs, [L.Dense(2, name="dense")(L.Flatten(name="flat")(pool)), pool], name="net"))


def same_strided(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, strides: int) -> np.ndarray:
    """A convolution of ``(rows, channels, height, width)`` with ``same`` borders as TensorFlow has them, by NumPy."""
    height, width = (-(-size // strides) for size in x.shape[2:])
    padding = []
    for size, taken, made in zip(x.shape[2:], kernel.shape, (height, width), strict=False):
        missing = max((made - 1) * strides + taken - size, 0)
        padding.append((missing // 2, missing - missing // 2))
    x = np.pad(x.astype("float64"), ((0, 0), (0, 0), *padding))
    found = np.zeros((len(x), kernel.shape[-1], height, width))
    for (row, column), _ in np.ndenumerate(kernel[:, :, 0, 0]):
        seen = x[:, :, row:, column:][
            :, :, : (height - 1) * strides + 1 : strides, : (width - 1) * strides + 1 : strides
        ]
        found += np.einsum("nchw,cd->ndhw", seen, kernel[row, column])
    return found + bias[:, None, None]


def by_formula(model: keras.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """What every layer of ``small`` makes, by NumPy."""
    conv = same_strided(x, *model.get_layer("conv").get_weights(), strides=2)
    relu = np.maximum(conv, 0)
    pool = relu[:, :, :4, :2].reshape(len(x), 3, 2, 2, 1, 2).max((3, 5))
    kernel, bias = model.get_layer("dense").get_weights()
    return {"conv": conv, "relu": relu, "pool": pool, "dense": pool.reshape(len(x), -1) @ kernel + bias}


def test_ports_and_reports_are_those_of_the_file(tmp_path: Path) -> None:
    model, x = small(), floats(ROWS, 2, 7, 6)
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        submodel = ks.Graph("g").add("m", source).spec.submodels[0]
        assert [(port.name, port.shape) for port in submodel.outputs] == [("dense", (2,)), ("pool", (3, 2, 1))]
        assert [info.path for info in submodel.layers] == [layer.name for layer in model.layers]
        assert submodel.repairs == (f"{CHANNELS_FIRST.name} (conv, pool): {CHANNELS_FIRST.why}",)
    stitched = ks.Graph("g").add("m", tmp_path / "net.keras", outputs=["relu", "conv"]).build()
    expected = by_formula(model, x)
    assert_equal([keras.ops.convert_to_numpy(stitched(x)[f"m_{name}"]) for name in ("relu", "conv")],
          [expected["relu"], expected["conv"]])  # fmt: skip


def test_a_model_without_convolutions_is_left_as_it_is() -> None:
    model = keras.Sequential([keras.Input((2, 6, 5)), L.MaxPooling2D(data_format=FIRST)])
    assert channels_last.repairs_of(model) == ()
    assert channels_last.with_channels_last(model) is model


def test_verify_sees_a_mistake_in_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference has every layer by itself, so that what is wrong in one that is not permuted cannot hide."""
    graph = ks.Graph("g").add("m", small())
    assert graph.verify().passed
    monkeypatch.setattr("keras_stitch.models.channel_axes._ELEMENTWISE", (L.ReLU, L.Flatten))
    assert not ks.Graph("g").add("m", small()).verify().passed


class Holding(L.Layer):
    """A layer that convolves by another one."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.conv = L.Conv2D(2, 1, data_format=FIRST, name="held")

    def build(self, shape: tuple[int, ...]) -> None:
        self.conv.build(shape)

    def call(self, x: Any) -> Any:
        return self.conv(x)


class OwnConv2D(L.Conv2D):
    """A class of a user's."""


REFUSED = {
    "a layer that holds one": (lambda: Holding(), "'held' (Conv2D)", "only its author can change"),
    "a class of one's own": (lambda: OwnConv2D(2, 1, data_format=FIRST, name="own"), "'own' (OwnConv2D)", "its author"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_turned_is_refused(kind: str) -> None:
    make, layer, why = REFUSED[kind]
    model = keras.Sequential([keras.Input((2, 6, 5)), make()])
    if keras.backend.backend() != "tensorflow":
        ks.Graph("g").add("m", model)
        return
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", model)
    assert layer in str(caught.value) and why in str(caught.value) and "Fix: " in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (L.Bidirectional(L.ConvLSTM2D(2, 1, data_format=FIRST), name="both"), "joins both directions"),
        (L.ConvLSTM2D(2, 1, data_format=FIRST, activation="softmax", name="both"), "may work along an axis"),
        (
            L.ConvLSTM2D(2, 1, data_format=FIRST, activity_regularizer=AlongRows(), name="both"),
            "penalty on its outputs",
        ),
    ],
)
def test_recurrent_convolutions_along_another_axis_are_refused(layer: keras.Layer, why: str) -> None:
    model = keras.Sequential([keras.Input((3, 2, 6, 5)), layer])
    with pytest.raises(SourceError, match=rf"'both' .*{why}"):
        ks.Graph("g").add("m", model)


def test_dilated_transposed_convolutions_are_refused_where_nothing_computes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As without oneDNN, see below; Keras would say so of the first prediction."""
    layers = (
        L.Conv2DTranspose(2, 2, data_format=FIRST, name="plain"),
        L.Conv2D(2, 2, dilation_rate=2, data_format=FIRST),
    )
    dilated = L.Conv2DTranspose(2, 2, dilation_rate=2, data_format=FIRST, name="both")
    ks.Graph("g").add("m", keras.Sequential([keras.Input((3, 6, 5)), *layers, dilated]))
    monkeypatch.setattr(channel_axes, "_dilates_transposed", lambda rank: False)
    ks.Graph("g").add("m", keras.Sequential([keras.Input((3, 6, 5)), *layers]))
    with pytest.raises(SourceError, match=r"'both' .*it is transposed and has a dilation") as caught:
        ks.Graph("g").add("m", keras.Sequential([keras.Input((3, 6, 5)), *layers, dilated]))
    assert "TF_ENABLE_ONEDNN_OPTS=1" in str(caught.value)


def test_one_concatenation_of_different_ranks_is_refused() -> None:
    x, concatenate = keras.Input((3, 4, 4)), L.Concatenate(axis=-1, name="joined")
    images = [L.Conv2D(3, 1, data_format=FIRST)(x) for _ in range(2)]
    rows = [L.Reshape((3, 16))(image) for image in images]
    model = keras.Model(x, [concatenate(images), concatenate([L.Conv1D(2, 1, data_format=FIRST)(row) for row in rows])])
    with pytest.raises(SourceError, match=r"'joined' .*it is called on tensors of different ranks"):
        ks.Graph("g").add("m", model)


def test_what_keras_says_is_part_of_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(layer: keras.Layer, names: Any) -> None:
        raise ValueError("no such layer")

    monkeypatch.setattr(channels_last, "_turned", fails)
    with pytest.raises(SourceError, match=r"'net' has layers that are channels_first.*: no such layer"):
        ks.Graph("g").add("m", small())


def test_a_bare_layer_has_no_place_for_permutes() -> None:
    layer = L.Conv2D(2, 1, data_format=FIRST, name="bare")
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(SourceError, match=r"'bare' .*cannot be made channels_last") as caught:
            ks.Graph("g").add("m", layer)
        assert "keras.Sequential([keras.Input(shape=...), layer])" in str(caught.value)
    ks.Graph("g").add("m", keras.Sequential([keras.Input((2, 6, 5)), layer]))


PROGRAM = """
import sys
import keras, numpy as np
import keras_stitch as ks
folder = sys.argv[1]
x = np.load(f"{folder}/x.npy")
models = {"saved": keras.saving.load_model(f"{folder}/saved.keras"),
          "saved_h5": keras.saving.load_model(f"{folder}/saved.h5", compile=False),
          "built": ks.Graph("g").add("m", f"{folder}/net.keras").build()}
found = {}
for name, model in models.items():
    for way, made in (("predicted", model.predict(x, verbose=0)), ("called", model(x, training=False))):
        found |= {f"{name} {way} {key}": np.asarray(value) for key, value in made.items()}
for rank in (1, 2, 3):
    layer = getattr(keras.layers, f"Conv{rank}DTranspose")(2, 2, dilation_rate=2, data_format="channels_first")
    try:
        ks.Graph("g").add("m", keras.Sequential([keras.Input((2, *[4] * rank)), layer])).build().predict(
            [np.ones((1, 2, *[4] * rank), "float32")], verbose=0)
    except ks.StitchError as error:
        assert "TF_ENABLE_ONEDNN_OPTS=1" in str(error)
np.savez(f"{folder}/found.npz", **found)
"""


@pytest.mark.slow
@pytest.mark.parametrize("onednn", [None, "0", "1"])
def test_strided_same_borders_on_every_cpu(onednn: str | None, tmp_path: Path) -> None:
    """TensorFlow reads the variable when it starts, so each is a process of its own."""
    model, x = small(), floats(ROWS, 2, 7, 6)
    model.save(tmp_path / "net.keras")
    np.save(tmp_path / "x.npy", x)
    stitched = ks.Graph("g").add("m", model).build()
    for ending in ("keras", "h5"):
        stitched.save(tmp_path / f"saved.{ending}")
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if onednn is None else {"TF_ENABLE_ONEDNN_OPTS": onednn}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = by_formula(model, x)
    with np.load(tmp_path / "found.npz") as found:
        assert len(found.files) == 3 * 2 * 2
        for name in found.files:
            assert_equal([found[name]], [expected[name.rpartition("m_")[2]]])
