"""LocallyConnected1D and 2D: croppings make the patches, an EinsumDense has a kernel for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_stitch.repairs.rebuilt_layer import Inside


@dataclass(frozen=True)
class _Window:
    """What a locally connected layer sees at each of its places, channels last.

    Attributes:
        size: The size of a patch.
        strides: From a patch to the next.
        given: The spatial shape of what it takes.
        before: How many zeros there are before that, along each axis.
        places: The spatial shape of what it makes.
        channels: Of what it takes.
        filters: Of what it makes.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    given: tuple[int, ...]
    before: tuple[int, ...]
    places: tuple[int, ...]
    channels: int
    filters: int

    @property
    def after(self) -> list[int]:
        """How many zeros there are after it."""
        axes = zip(self.places, self.strides, self.before, self.size, self.given, strict=True)
        return [max(0, (places - 1) * stride - before + size - given) for places, stride, before, size, given in axes]

    def seen(self) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """Every place, every place in its patch, and what that is of what the layer takes; zeros left out."""
        found = []
        for place in np.ndindex(*self.places):
            for inner in np.ndindex(*self.size):
                axes = zip(place, self.strides, inner, self.before, strict=True)
                source = tuple(at * stride + step - before for at, stride, step, before in axes)
                if all(0 <= at < size for at, size in zip(source, self.given, strict=True)):
                    found.append((place, inner, source))
        return found


def locally_connected(inside: Inside) -> str:
    """The patches of what comes in, and what each place makes of its own."""
    first = inside.config.get("data_format") == "channels_first"
    window = _window(inside, first)
    rank = len(window.size)
    (x,) = inside.inputs
    if first:
        x = inside.add("Permute", "channels_last", x, dims=[*range(2, rank + 2), 1])
    padding = [list(pair) for pair in zip(window.before, window.after, strict=True)]
    if any(map(any, padding)):
        x = inside.add(f"ZeroPadding{rank}D", "padding", x, padding=padding if rank > 1 else padding[0])
    x = _patches(inside, x, window)
    use_bias = inside.config.get("use_bias", True)
    axes = "bcd"[:rank]
    implementation = inside.config.get("implementation") or 1
    x = inside.add(
        "EinsumDense",
        "local",
        x,
        fill=lambda arrays: _weights(arrays, window, first, implementation),
        equation=f"a{axes}x,{axes}xy->a{axes}y",
        output_shape=[*window.places, window.filters],
        bias_axes=f"{axes}y" if use_bias else None,
        activation=inside.config.get("activation") or "linear",
        activity_regularizer=inside.config.get("activity_regularizer"),
        **inside.penalties,
    )
    return inside.add("Permute", "channels_first", x, dims=[rank + 1, *range(1, rank + 1)]) if first else x


def _patches(inside: Inside, x: str, window: _Window) -> str:
    """The patch of every place as its channels, from what has its zeros around it; no weights are needed for that."""
    rank = len(window.size)
    # The last axis comes first, so that a patch has the order of a kernel.
    for axis in reversed(range(rank)):
        seen = (window.places[axis] - 1) * window.strides[axis] + 1
        size = window.before[axis] + window.given[axis] + window.after[axis]
        steps = []
        for step in range(window.size[axis]):
            cropping = [[0, 0]] * rank
            cropping[axis] = [step, size - seen - step]
            suffix = f"axis{axis}_step{step}"
            steps.append(inside.add(f"Cropping{rank}D", suffix, x, cropping=cropping if rank > 1 else cropping[0]))
        x = inside.add("Concatenate", f"axis{axis}_patches", *steps, axis=-1) if len(steps) > 1 else steps[0]
    if max(window.strides) == 1:
        return x
    return inside.add(
        f"MaxPooling{rank}D", "places", x, pool_size=[1] * rank, strides=list(window.strides), padding="valid"
    )


def _window(inside: Inside, first: bool) -> _Window:
    config, shape = inside.config, inside.shapes[0][1:]
    rank = len(shape) - 1
    size, strides = (_each_axis(config.get(key, 1), rank) for key in ("kernel_size", "strides"))
    channels, given = (shape[0], shape[1:]) if first else (shape[-1], shape[:-1])
    channels, *known = inside.known((channels, *given))
    same = config.get("padding") == "same"
    axes = list(zip(known, size, strides, strict=True))
    return _Window(
        size,
        strides,
        tuple(known),
        tuple(axis // 2 if same else 0 for axis in size),
        tuple(-(-(axis if same else axis - window + 1) // stride) for axis, window, stride in axes),
        channels,
        int(config["filters"]),
    )


def _each_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    each = tuple(value) if isinstance(value, list | tuple) else (value,)
    return each if len(each) == rank else each * rank


def _weights(arrays: Sequence[np.ndarray], window: _Window, first: bool, implementation: int) -> list[np.ndarray]:
    """The kernel of every place by its patch, channels last, and the bias."""
    kernel, *biases = arrays
    rank = len(window.size)
    end = (window.channels, window.filters)
    if implementation == 1:
        if first:
            by_channel = kernel.reshape(*window.places, window.channels, *window.size, window.filters)
            kernel = np.moveaxis(by_channel, rank, -2)
        kernel = kernel.reshape(*window.places, *window.size, *end)
    else:
        dense = _of_matrix(kernel, window, first) if implementation == 2 else _of_list(kernel, window, first)
        kernel = np.zeros((*window.places, *window.size, *end), "float32")
        for place, inner, source in window.seen():
            kernel[place + inner] = np.moveaxis(dense[source], 0, -2)[place]
    kernel = kernel.reshape(*window.places, -1, window.filters)
    if first:
        # Old Keras gave the numbers of a bias that has its channels last another shape, not another order.
        biases = [np.moveaxis(bias.reshape(window.filters, *window.places), 0, -1) for bias in biases]
    return [kernel, *biases]


def _of_matrix(kernel: np.ndarray, window: _Window, first: bool) -> np.ndarray:
    """From every element to every element, ``(*given, channels, *places, filters)``: implementation 2 of tf.keras."""
    if not first:
        return kernel
    rank = len(window.size)
    return np.moveaxis(np.moveaxis(kernel, rank + 1, -1), 0, rank)


def _of_list(kernel: np.ndarray, window: _Window, first: bool) -> np.ndarray:
    """The same of implementation 3: the numbers that are not zero, by what they make and then by what they take."""

    def flat(place: tuple[int, ...], channel: int, shape: tuple[int, ...], channels: int) -> int:
        index, whole = ((channel, *place), (channels, *shape)) if first else ((*place, channel), (*shape, channels))
        return int(np.ravel_multi_index(index, whole))

    entries = sorted(
        (flat(place, of, window.places, window.filters), flat(source, by, window.given, window.channels), place, of,
         source, by)
        for place, _, source in window.seen()
        for of, by in itertools.product(range(window.filters), range(window.channels))
    )  # fmt: skip
    dense = np.zeros((*window.given, window.channels, *window.places, window.filters), "float32")
    for value, (_, _, place, of, source, by) in zip(kernel, entries, strict=True):
        dense[(*source, by, *place, of)] = value
    return dense
