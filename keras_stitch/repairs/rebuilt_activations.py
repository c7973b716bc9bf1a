"""Activations of Keras 1 with weights of their own that are gone: ParametricSoftplus and SReLU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    minus_one = inside.add("Rescaling", "minus_one", x, scale=0.0, offset=-1.0)
    # What a PReLU makes of -1 is its weight, times -1.
    to_left = _prelu(inside, "t_left", minus_one, 0)
    to_right = _prelu(inside, "t_right", minus_one, 2)
    from_right = inside.add("Rescaling", "from_right", to_right, scale=-1.0, offset=0.0)
    length = inside.add("Maximum", "length", to_right, from_right)
    middle = inside.add("Add", "middle", x, to_left)
    left = _prelu(inside, "left", middle, 1)
    end = _over(inside, "end", middle, length)
    right = _scale(inside, "right", end, lambda arrays: arrays[3])
    over = _over(inside, "over", left, length) if inside.on_theano else end
    sum_ = inside.add("Add", "sum", inside.add("Subtract", "cut", left, over), right)
    return inside.add("Subtract", "lines", sum_, to_left)


def _over(inside: Inside, suffix: str, x: str, length: str) -> str:
    """What is above a length."""
    return inside.add("ReLU", suffix, inside.add("Subtract", f"{suffix}_from", x, length))


def _prelu(inside: Inside, suffix: str, x: str, which: int) -> str:
    """A PReLU with one of the arrays of the file; axes along which it was shared have the size 1 there."""
    shared = [axis for axis, size in enumerate(inside.shapes[0]) if axis and size is None]
    config = {"shared_axes": shared} if shared else {}
    return inside.add("PReLU", suffix, x, fill=lambda arrays: [_spread(inside, arrays[which])], **config)


def _scale(inside: Inside, suffix: str, x: str, kernel: _Make, **config: Any) -> str:
    """Multiply every element by its own number, or by one along axes of an unknown size."""
    sizes = inside.shapes[0][1:]
    every = "bcdefgh"[: len(sizes)]
    known = "".join(letter for letter, size in zip(every, sizes, strict=True) if size is not None)
    return inside.add(
        "EinsumDense",
        suffix,
        x,
        fill=lambda arrays: [_known(inside, kernel(arrays))],
        equation=f"a{every},{known}->a{every}",
        output_shape=list(sizes),
        **config,
    )


def _spread(inside: Inside, array: np.ndarray) -> np.ndarray:
    """An array for every element."""
    return np.broadcast_to(array, [size or 1 for size in inside.shapes[0][1:]])


def _known(inside: Inside, array: np.ndarray) -> np.ndarray:
    return _spread(inside, array).reshape([size for size in inside.shapes[0][1:] if size is not None])
