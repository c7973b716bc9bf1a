"""Activations of Keras 1 with weights of their own that are gone: ParametricSoftplus and SReLU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_stitch.repairs.architecture import Fill
from keras_stitch.repairs.rebuilt_layer import Inside

_Make = Callable[[Sequence[np.ndarray]], np.ndarray]


def parametric_softplus(inside: Inside) -> str:
    """``alpha softplus(beta x)``."""
    (x,) = inside.inputs
    scaled = _scale(inside, "beta", x, lambda arrays: arrays[1], activation="softplus")
    return _scale(inside, "alpha", scaled, lambda arrays: arrays[0])


def srelu(inside: Inside) -> str:
    """Three lines, of the slopes ``a_left``, 1 and ``a_right``, that meet at ``t_left`` and ``t_left + |t_right|``.

    Theano cut the left line, too, where it falls: it took the minimum of it and of the length of the middle one.
    """
    (x,) = inside.inputs
    middle = _shift(inside, "from_left", x, lambda arrays: -arrays[0])
    left = inside.add("PReLU", "left", middle, fill=lambda arrays: [_spread(inside, arrays[1])], **_shared(inside))
    end = _shift(inside, "from_right", middle, _length, activation="relu")
    right = _scale(inside, "right", end, lambda arrays: arrays[3])
    over = _shift(inside, "over", left, _length, activation="relu") if inside.on_theano else end
    sum_ = inside.add("Add", "sum", inside.add("Subtract", "cut", left, over), right)
    return _shift(inside, "to_left", sum_, lambda arrays: arrays[0])


def _length(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return -np.abs(arrays[2])


def _scale(inside: Inside, suffix: str, x: str, kernel: _Make, **config: Any) -> str:
    """Multiply every element by its own number."""
    return _each(inside, suffix, x, lambda arrays: [_known(inside, kernel(arrays))], **config)


def _shift(inside: Inside, suffix: str, x: str, bias: _Make, **config: Any) -> str:
    """Add its own number to every element."""

    def fill(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        added = _known(inside, bias(arrays))
        return [np.ones_like(added), added]

    return _each(inside, suffix, x, fill, bias_axes=_axes(inside)[1], **config)


def _each(inside: Inside, suffix: str, x: str, fill: Fill, **config: Any) -> str:
    every, known = _axes(inside)
    shape = list(inside.shapes[0][1:])
    return inside.add(
        "EinsumDense", suffix, x, fill=fill, equation=f"a{every},{known}->a{every}", output_shape=shape, **config
    )


def _axes(inside: Inside) -> tuple[str, str]:
    """A letter for every axis, and those of axes with a size; along the others the weights are shared."""
    sizes = inside.shapes[0][1:]
    every = "bcdefgh"[: len(sizes)]
    return every, "".join(letter for letter, size in zip(every, sizes, strict=True) if size is not None)


def _shared(inside: Inside) -> dict[str, Any]:
    shared = [axis for axis, size in enumerate(inside.shapes[0]) if axis and size is None]
    return {"shared_axes": shared} if shared else {}


def _spread(inside: Inside, array: np.ndarray) -> np.ndarray:
    """An array for every element; axes along which it was shared have the size 1 in the file."""
    return np.broadcast_to(array, [size or 1 for size in inside.shapes[0][1:]])


def _known(inside: Inside, array: np.ndarray) -> np.ndarray:
    return _spread(inside, array).reshape([size for size in inside.shapes[0][1:] if size is not None])
