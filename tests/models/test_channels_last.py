"""Models with channels first: what is built computes the same with channels last, on every CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from keras_stitch import keras_private
from keras_stitch.models import load_keras

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


def equal(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-5 * max(1, float(np.abs(other).max(initial=0))))


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
        equal(numbers(model, x), expected)
        assert [tensor.shape for tensor in model.outputs] == [tensor.shape for tensor in original.outputs]
    names = [keras_private.maker(tensor).name for tensor in original.outputs]
    equal(numbers(turned(original, outputs=names[-2:]), x), expected[-2:])


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
    equal(numbers(model, x), [np.moveaxis(array, -1, 1) if array.ndim > 2 else array for array in expected])


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
