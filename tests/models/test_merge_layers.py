"""Every merge and every part against NumPy, in eager mode and after a round trip through ``.h5``."""

from __future__ import annotations

from functools import reduce

import keras
import numpy as np
import pytest
from backends import FLOAT64, allclose, as_array, only_on

import keras_stitch as ks
from keras_stitch.keras_private import quiet_keras

pytestmark = pytest.mark.backends

NUMPY = {
    "add": sum,
    "average": lambda values: sum(values) / len(values),
    "maximum": lambda values: reduce(np.maximum, values),
    "minimum": lambda values: reduce(np.minimum, values),
    "multiply": lambda values: values[0] * values[1],
    "subtract": lambda values: values[0] - values[1],
    "abs_difference": lambda values: np.abs(values[0] - values[1]),
}


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype("float32")


def merged(shapes, *, dtype="float32", **options) -> keras.Model:
    """A graph that only merges graph inputs of these shapes."""
    graph = ks.Graph().add("end", keras.layers.Activation("linear", dtype="float32"))
    for number, shape in enumerate(shapes):
        graph.add_input(f"in{number}", shape=shape, dtype=dtype)
    return graph.connect([f"in{number}" for number in range(len(shapes))], "end", **options).build()


def check(model: keras.Model, given, want, tmp_path) -> None:
    for name in ("m.keras", "m.h5"):
        with quiet_keras():
            model.save(tmp_path / name)
        again = keras.saving.load_model(tmp_path / name)
        for one in (model, again):
            got = as_array(one(list(given), training=False))
            assert got.shape == want.shape
            assert allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("merge", NUMPY)
@pytest.mark.parametrize("shapes", [[(3,), (3,)], [(2, 3), (1, 3)], [(None, 3), (None, 1)], [(2, 3, 2), (2, 1, 2)]])
def test_elementwise(merge, shapes, tmp_path):
    given = [floats(4, *(5 if d is None else d for d in shape), seed=n) for n, shape in enumerate(shapes)]
    check(merged(shapes, merge=merge), given, np.asarray(NUMPY[merge](given)), tmp_path)


@pytest.mark.parametrize("merge", sorted(set(NUMPY) - {"subtract", "abs_difference", "multiply"}))
def test_more_than_two(merge, tmp_path):
    given = [floats(4, 3, seed=n) for n in range(4)]
    check(merged([(3,)] * 4, merge=merge), given, np.asarray(NUMPY[merge](given)), tmp_path)


@pytest.mark.parametrize("merge", sorted(NUMPY))
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "shapes", [[(3,), (1,)], [(2, 3), (1, 1)], [(1, 3), (2, 1)], [(3, 3), (3, 1)], [(4, 3), (1, 3)]]
)
def test_the_batch_is_never_taken_for_another_axis(merge, rows, shapes):
    # Keras 3.15 adds (3, 1) to (3, 3) along the wrong axis.
    given = [floats(rows, *shape, seed=n) for n, shape in enumerate(shapes)]
    want = np.asarray(NUMPY[merge](given))
    assert allclose(merged(shapes, merge=merge)(given), want, atol=1e-6)
    assert allclose(merged(shapes[::-1], merge=merge)(given[::-1]), np.asarray(NUMPY[merge](given[::-1])), atol=1e-6)


def test_three_broadcast_integers(tmp_path):
    graph = ks.Graph().add("end", keras.layers.Identity())
    for name, size in (("a", 3), ("b", 1), ("c", 3)):
        graph.add_input(name, shape=(size,), dtype="int32")
    model = graph.connect(["a", "b", "c"], "end", merge="add").build()
    given = [np.full((3, 3), 16777217, "int32"), np.array([[1], [2], [3]], "int32"), np.eye(3, dtype="int32")]
    got = as_array(model(given))
    assert got.dtype.kind == "i" and np.array_equal(got, sum(given))


def test_subtract_keeps_its_order():
    one, other = floats(2, 3), floats(2, 3, seed=1)
    model = merged([(3,), (3,)], merge="subtract")
    assert allclose(model({"in1": other, "in0": one}), one - other)


@pytest.mark.parametrize(
    ("shapes", "axis"),
    [([(3,), (2,)], -1), ([(3,), (2,)], 1), ([(2, 3), (4, 3)], 1), ([(2, 3), (4, 3)], -2), ([(2, 2, 1), (2, 2, 3)], 3)],
)
def test_concatenate(shapes, axis, tmp_path):
    given = [floats(3, *shape, seed=n) for n, shape in enumerate(shapes)]
    check(merged(shapes, axis=axis), given, np.concatenate(given, axis), tmp_path)


@pytest.mark.parametrize(
    ("shape", "axis"), [((3,), 1), ((3,), -1), ((3,), 2), ((2, 3), 1), ((2, 3), 2), ((2, 3), -1), ((None, 3), 1)]
)
def test_stack(shape, axis, tmp_path):
    given = [floats(3, *(5 if d is None else d for d in shape), seed=n) for n in range(3)]
    check(merged([shape] * 3, merge="stack", axis=axis), given, np.stack(given, axis), tmp_path)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "axes", "formula"),
    [
        ((4,), (4,), 1, "ri,ri->r"),
        ((4,), (4,), -1, "ri,ri->r"),
        ((3, 4), (4,), (2, 1), "rai,ri->ra"),
        ((3, 4), (4,), -1, "rai,ri->ra"),
        ((3, 4), (4, 5), (2, 1), "rai,rib->rab"),
        ((3, 4), (3, 5), 1, "ria,rib->rab"),
        ((None, 4), (4, 5), (-1, -2), "rai,rib->rab"),
        ((None, 4), (None, 5), 1, "ria,rib->rab"),
        ((None, 4), (None, 4), 2, "rai,rbi->rab"),
        ((2, 3, 4), (4, 5), (3, 1), "rabi,ric->rabc"),
        ((2, 3, 4), (5, 3), 2, "raib,rci->rabc"),
    ],
)
def test_dot(one, other, axes, formula, normalize, tmp_path):
    given = [floats(3, *(5 if d is None else d for d in shape), seed=n) for n, shape in enumerate((one, other))]
    values = given
    if normalize:
        pair = axes if isinstance(axes, tuple) else (axes, axes)
        values = [v / np.linalg.norm(v, axis=axis, keepdims=True) for v, axis in zip(given, pair, strict=True)]
    want = np.einsum(formula, *values)
    model = merged([one, other], merge="dot", axes=axes, normalize=normalize)
    check(model, given, want if want.ndim > 1 else want[:, None], tmp_path)


def test_dot_of_zeros_is_zero(tmp_path):
    graph = ks.Graph().add("end", keras.layers.Identity()).add_input("a", shape=(3,)).add_input("b", shape=(3,))
    graph.connect(["a", "b"], "end", merge="dot", axes=1, normalize=True)
    assert graph.verify([np.zeros((2, 3)), np.ones((2, 3))]).passed


@pytest.mark.parametrize("layer", [keras.layers.Dot(axes=1), keras.layers.Dot(axes=-1, normalize=False)])
def test_a_keras_layer_merges(layer, tmp_path):
    given = [floats(3, 4), floats(3, 4, seed=1)]
    check(merged([(4,), (4,)], merge=layer), given, np.sum(given[0] * given[1], 1, keepdims=True), tmp_path)
    assert layer.name not in [inner.name for inner in merged([(4,), (4,)], merge=layer).layers]


@pytest.mark.parametrize("merge", ["add", "maximum", "multiply", "concatenate", "stack"])
def test_integers_stay_integers(merge, tmp_path):
    given = [np.array([[1, 2], [3, 4]], "int32"), np.array([[5, -6], [16777217, 8]], "int32")]
    graph = ks.Graph().add("end", keras.layers.Identity())
    graph.add_input("a", shape=(2,), dtype="int32").add_input("b", shape=(2,), dtype="int32")
    function = {"concatenate": np.concatenate, "stack": np.stack}.get(merge)
    model = graph.connect(["a", "b"], "end", merge=merge, axis=1 if function else -1).build()
    want = function(given, 1) if function else np.asarray(NUMPY[merge](given))
    got = as_array(model(given))
    assert got.dtype.kind == "i" and np.array_equal(got, want)


def test_average_of_integers_is_a_fraction():
    graph = ks.Graph().add("end", keras.layers.Identity())
    graph.add_input("a", shape=(1,), dtype="int32").add_input("b", shape=(1,), dtype="int32")
    model = graph.connect(["a", "b"], "end", merge="average").build()
    assert float(as_array(model([np.array([[1]]), np.array([[2]])]))[0, 0]) == 1.5


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((4, 3), "0:2, :"),
        ((4, 3), "-1, 1:"),
        ((4, None), "1:3, :"),
        ((None, 4), ":, 1:3"),
        ((4, 3, 2), ":, 1, :"),
        ((4, None, 2), "2:, :, 0"),
        ((4, 3, 2, 5), "1:3, :2, -1, 2:4"),
        ((4, 3, 2, 5), ":, :, 0, :"),
        ((None, 3, 2, None), ":, 0:2, 1, :"),
    ],
)
def test_parts_of_several_axes(shape, part, dtype, tmp_path):
    graph = ks.Graph().add("end", keras.layers.Identity()).add_input("a", shape=shape, dtype=dtype)
    model = graph.connect(f"a[{part}]", "end").build()
    given = (floats(2, *(6 if d is None else d for d in shape)) * 9).astype(dtype)
    index = [slice(None)]
    for one in part.split(", "):
        start, colon, stop = one.partition(":")
        first = int(start or 0)
        last = (int(stop) if stop else None) if colon else (first + 1 or None)
        index.append(slice(first, last))
    check(model, [given], given[tuple(index)], tmp_path)
    assert graph.verify([given]).passed if dtype == "float32" else True


@pytest.mark.parametrize("shape", [(4,), (3, 4), (None, 4), (2, 3, 4), (2, None, 2, 4)])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[0]", slice(0, 1)),
        ("[3]", slice(3, 4)),
        ("[-1]", slice(3, 4)),
        ("[1:3]", slice(1, 3)),
        ("[:2]", slice(0, 2)),
        ("[-3:]", slice(1, 4)),
        ("[-3:-1]", slice(1, 3)),
        ("[0:4]", slice(0, 4)),
    ],
)
def test_parts(shape, text, part, tmp_path):
    graph = ks.Graph().add("end", keras.layers.Identity()).add_input("x", shape=shape)
    model = graph.connect(f"x{text}", "end").build()
    x = floats(2, *(3 if d is None else d for d in shape))
    check(model, [x], x[..., part], tmp_path)


@pytest.mark.parametrize(
    "dtype", ["int32", "float16", pytest.param("float64", marks=only_on("tensorflow", "torch", why=FLOAT64))]
)
def test_parts_of_other_dtypes(dtype):
    graph = ks.Graph().add("end", keras.layers.Identity(dtype="float64" if dtype == "float64" else "float32"))
    graph.add_input("x", shape=(2, 3), dtype=dtype).connect("x[1]", "end").add_output("part", "x[1]")
    model = graph.add_output("rest", "end").build()
    x = (np.arange(6).reshape(1, 2, 3) * 16777217 % 1000).astype(dtype)
    got = as_array(model([x])["part"])
    assert got.dtype == dtype and np.array_equal(got, x[..., 1:2])


def test_a_part_is_taken_once():
    graph = ks.Graph().add("a", keras.layers.Dense(1)).add("b", keras.layers.Dense(1)).add_input("x", shape=(3,))
    model = graph.connect("x[0:2]", "a").connect("x[:2]", "b").build()
    assert sum(isinstance(layer, keras.layers.Cropping1D) for layer in model.layers) == 1


def test_one_source_makes_no_merge_layer():
    graph = ks.Graph().add("a", keras.layers.Dense(1)).add_input("x", shape=(3,)).connect(["x"], "a", merge="add")
    assert [layer.name for layer in graph.build().layers] == ["x", "a"]


def test_merge_names_do_not_collide_with_submodels():
    graph = ks.Graph().add("m", keras.layers.Dense(1)).add("m_add", keras.layers.Dense(2))
    graph.add_input("x", "m_add", shape=(3,)).add_input("m_add_1", shape=(2,))
    model = graph.connect(["m_add", "m_add_1"], "m", merge="add").build()
    assert len({layer.name for layer in model.layers}) == len(model.layers)
    assert {"m", "m_add", "m_add_1", "x"} <= {layer.name for layer in model.layers}
