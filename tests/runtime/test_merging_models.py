"""Models that run in a dataloader: what they are given, how often they run, and what is said when they fail."""

from __future__ import annotations

import gc
import multiprocessing
import os
import textwrap
import warnings
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo_models
from hypothesis import given
from hypothesis import strategies as st

from keras_stitch.graphs.merges import merged_dtype
from keras_stitch.graphs.spec import Merge
from keras_stitch.kipoi.templates import template_module

M = template_module("kipoi.merging")

ROWS = 10
X = np.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3)

# -- merges -----------------------------------------------------------------------------------------------------------

LAYERS = {kind: getattr(keras.layers, kind.capitalize()) for kind in ("add", "average", "maximum", "minimum",
                                                                     "multiply", "subtract")}  # fmt: skip
TWO = ("subtract", "abs_difference")


@st.composite
def merges(draw: st.DrawFn) -> tuple[str, list[np.ndarray], int]:
    """A kind, arrays that it takes, and an axis."""
    kind = draw(st.sampled_from([*LAYERS, "abs_difference", "concatenate", "stack"]))
    count = 2 if kind in TWO else draw(st.integers(2, 4))
    rows, shape = draw(st.integers(1, 4)), draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = draw(st.integers(1, len(shape) + (kind == "stack")))
    arrays = []
    for number in range(count):
        own = list(shape)
        if kind == "concatenate":
            own[axis - 1] = draw(st.integers(1, 4))
        elif kind != "stack":
            own = [size if number == 0 or draw(st.booleans()) else 1 for size in own]
        dtype = draw(st.sampled_from(["float32", "float32", "int32", "int64", "float16", "float64"]))
        values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(rows, *own)) * 9
        arrays.append(values.astype(dtype))
    if draw(st.booleans()) and kind in ("concatenate", "stack"):
        axis -= len(shape) + 1 + (kind == "stack")
    return kind, arrays, axis


@given(merges())
def test_merges_are_those_of_keras(merge: tuple[str, list[np.ndarray], int]) -> None:
    kind, arrays, axis = merge
    dtype = merged_dtype(Merge(kind), [array.dtype.name for array in arrays])
    tensors = {f"t{number}": array for number, array in enumerate(arrays)}
    before = {name: array.copy() for name, array in tensors.items()}
    found = M.Merge(kind, list(tensors), dtype, axis=axis)(tensors)
    cast = [keras.ops.cast(array, dtype) for array in arrays]
    if kind == "stack":
        expected = keras.ops.stack(cast, axis)
    elif kind == "concatenate":
        expected = keras.layers.Concatenate(axis=axis, dtype=dtype)(cast)
    elif kind == "abs_difference":
        expected = keras.ops.abs(keras.ops.subtract(*cast))
    else:
        # Keras' own sums go along the wrong axis where the batch is as long as an axis: these shapes are equal.
        whole = np.broadcast_shapes(*(array.shape for array in arrays))
        wide = [keras.ops.broadcast_to(array, whole) for array in cast]
        expected = LAYERS[kind](dtype=dtype if dtype.startswith("float") else "float32")(wide)
    expected = np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    allowed = (1e-5 if found.dtype != np.float16 else 2e-3) * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    for name, array in before.items():
        np.testing.assert_array_equal(tensors[name], array)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "axes"),
    [((4,), (4,), 1), ((3, 4), (4,), (2, 1)), ((3, 4), (5, 4), -1), ((2, 3, 4), (3, 5), (2, 1)),
     ((4,), (2, 4, 3), (1, 2))],
)  # fmt: skip
def test_dot_is_that_of_keras(one: tuple[int, ...], other: tuple[int, ...], axes: Any, normalize: bool) -> None:
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=(5, *shape)).astype("float32") for name, shape in (("a", one), ("b", other))}
    found = M.Merge("dot", ["a", "b"], "float32", axes=axes, normalize=normalize)(tensors)
    expected = keras.layers.Dot(axes, normalize)([keras.ops.convert_to_tensor(array) for array in tensors.values()])
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=0, atol=1e-5 * max(1.0, np.abs(found).max()))


def test_parts_of_any_axis() -> None:
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = M.Take(M.Take("x", 0, 2, axis=-3), 1, 4, axis=-1)({"x": array})
    np.testing.assert_array_equal(found, array[:, 0:2, :, 1:4])


def test_text_is_concatenated() -> None:
    tensors = {"a": np.array([["x"]]), "b": np.array([["yes"]])}
    assert M.Merge("concatenate", ["a", "b"], "string")(tensors).tolist() == [["x", "yes"]]


def test_parts_and_other_dtypes_of_connections() -> None:
    tensors = {"a": X, "b": X.astype("int32")}
    nested = M.Cast(M.Merge("add", [M.Take("a", 0, 2), M.Take(M.Cast("b", "float64"), 1, 3)], "float64"), "int64")
    found = nested(tensors)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, X[:, :2] + X[:, 1:])
    assert list(M.numpy_merges.names_in(nested)) == ["a", "b"]


# -- models as they are given to Kipoi -------------------------------------------------------------------------------

CODE = '''
    """A model of its own that notes where it is loaded and run."""

    import os
    import time

    import numpy as np
    from kipoi.model import BaseModel

    def note(text):
        with open(LOG, "a") as file:
            file.write(f"{{text}} {{os.getpid()}}\\n")

    LOG = {log!r}


    class MyModel(BaseModel):
        def __init__(self, weights, factor):
            note("loaded")

        def predict_on_batch(self, x):
            note("run")
            {body}
'''


class Zoo:
    """Writes models of their own, and merged dataloaders that run them."""

    def __init__(self, folder: Path):
        self.folder, self.log, self.count = folder, folder / "log.txt", 0

    def model(
        self, body: str, takes: Any = "x", gives: Any = None, keys: Any = None, folder: Path | None = None
    ) -> Any:
        self.count += 1
        place = folder or self.folder / f"m{self.count}"
        if folder is None:
            body = textwrap.indent(textwrap.dedent(body), " " * 8).strip()
            zoo_models.write_custom(place, code=textwrap.dedent(CODE).format(log=str(self.log), body=body))
        return M.Model(f"m{self.count}", place, takes, gives or {f"m{self.count}": (3,)}, keys)

    @property
    def noted(self) -> list[tuple[str, int]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path)


def read_only(rows: np.ndarray) -> np.ndarray:
    rows.flags.writeable = False
    return rows


def loader(*models: Any, inputs: Any = "m1", values: np.ndarray = X, stream: bool = False, targets: Any = None) -> Any:
    """A merged dataloader of one part, ``x``, that runs models."""
    packed = M.Packed(*models, inputs=inputs)
    given = values
    if stream:

        def generate() -> Any:
            for start in range(0, len(given), 3):
                yield {"inputs": given[start : start + 3]}

        part = M.Part("x", M.from_function(generate, "BatchGenerator"), {}, {"x": ()})
    else:
        part = M.Part("x", M.from_function(lambda: {"inputs": given}), {}, {"x": ()})
    parts = [part] if targets is None else [part, M.Targets(targets, {"y": ((1,), "float32")})]
    return (M.MergedIterator if stream else M.MergedDataset)(*parts, packed=packed)


def batches(made: Any, **options: Any) -> list[Any]:
    return [batch["inputs"] for batch in made.batch_iter(**{"batch_size": 4} | options)]


WAYS = [
    {"stream": stream, "num_workers": workers, "shuffle": shuffle}
    for stream in (False, True)
    for workers in (0, 2)
    for shuffle in ((False,) if stream else (False, True))
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_to_read(zoo: Zoo, way: dict[str, Any]) -> None:
    options = {key: value for key, value in way.items() if key != "stream"}
    made = loader(zoo.model("return x * 2"), stream=way["stream"])
    found = batches(made, **options)
    assert [len(array) for array in found] == [4, 4, 2]
    together = np.concatenate(found)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together[np.argsort(together[:, 0])], X * 2)
    assert {pid for _, pid in zoo.noted} == {os.getpid()}  # never in a worker
    assert [what for what, _ in zoo.noted] == ["loaded", "run", "run", "run"]
    assert [len(array) for array in batches(made, drop_last=True, **options)] == [4, 4]
    assert [what for what, _ in zoo.noted].count("loaded") == 1


FAULTS = {
    "raises": (
        "if x[0, 0] > 20:\n    raise KeyError('motif')\nreturn x",
        "The model 'm1' fails on rows 8 to 9.\n"
        "  Expected: predictions for (2, 3) float32\n"
        "  Received: KeyError: 'motif'",
        1,
    ),
    "stops": (
        "raise StopIteration",
        "The model 'm1' fails on rows 0 to 3.\n"
        "  Expected: predictions for (4, 3) float32\n"
        "  Received: StopIteration",
        1,
    ),
    "no memory": (
        "raise MemoryError('Unable to\\n  allocate')",
        "The model 'm1' fails on rows 0 to 3.\n"
        "  Expected: predictions for (4, 3) float32\n"
        "  Received: MemoryError: Unable to allocate",
        1,
    ),
    "exits": (
        "raise SystemExit(0)",
        "The model 'm1' fails on rows 0 to 3.\n"
        "  Expected: predictions for (4, 3) float32\n"
        "  Received: SystemExit: 0",
        1,
    ),
    "NaN in one row": (
        "y = x.copy()\ny[x[:, 0] == 15] = np.nan\nreturn y",
        "The model 'm1' gives NaN as 'm1' for row 5, 1 of the 4 in rows 4 to 7.\n"
        "  Expected: numbers\n"
        "  Received: NaN, of inputs without NaN",
        1,
    ),
    "NaN in some rows": (
        "y = x.copy()\ny[x[:, 0] > 26, 1] = np.nan\nreturn y[:, None] if len(x) == 4 and 0 else y",
        "The model 'm1' gives NaN as 'm1' for row 9, 1 of the 2 in rows 8 to 9.\n"
        "  Expected: numbers\n"
        "  Received: NaN, of inputs without NaN",
        1,
    ),
    "rows": (
        "return x[:2] if len(x) == 4 else x[:1]",
        "The model 'm1' gives 2 rows as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: (2, 3)",
        1,
    ),
    "a row in the last batch": (
        "return x[:1] if len(x) == 2 else x",
        "The model 'm1' gives 1 row as 'm1' for rows 8 to 9.\n"
        "  Expected: an array of shape (2, 3)\n"
        "  Received: (1, 3)",
        1,
    ),
    "one value": (
        "return x.sum()",
        "The model 'm1' gives one value as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: ()",
        1,
    ),
    "shape": (
        "return x[:, :2]",
        "The model 'm1' gives another shape as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: (4, 2)",
        1,
    ),
    "axes": (
        "return x[:, :, None]",
        "The model 'm1' gives another shape as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: (4, 3, 1)",
        1,
    ),
    "nothing": (
        "return None",
        "The model 'm1' gives no numbers as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: None",
        1,
    ),
    "a dict": (
        "return {'p': x}",
        "The model 'm1' gives no 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: a dict of 'p'",
        1,
    ),
    "uneven": (
        "return [[1.0], [2.0, 3.0]]",
        "The model 'm1' gives no 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: a list of 2",
        1,
    ),
    "text": (
        "return np.full((len(x), 3), 'yes')",
        "The model 'm1' gives no numbers as 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: (4, 3) <U3",
        1,
    ),
    "a list that is too short": (
        "return [x]",
        "The model 'm1' gives no 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: a list of 1",
        2,
    ),
    "a list that is too long": (
        "return [x, x, x]",
        "The model 'm1' gives no 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: a list of 3",
        2,
    ),
    "an array for a list": (
        "return np.stack([x, x])",
        "The model 'm1' gives no 'm1' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: (2, 4, 3) float32",
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(zoo: Zoo, fault: str) -> None:
    body, text, outputs = FAULTS[fault]
    gives = {"m1": (3,), "more": (3,)} if outputs == 2 else None
    for stream, workers in ((False, 0), (True, 0), *(((False, 2), (True, 2)) if fault == "raises" else ())):
        made = loader(zoo.model(body, gives=gives), stream=stream)
        made.packed.models[0].name = "m1"
        if gives is None:
            made.packed.models[0].gives = {"m1": (3,)}
        with pytest.raises(M.DataError) as error:
            batches(made, num_workers=workers)
        assert str(error.value) == text


def test_a_fault_in_a_shuffled_batch_names_its_rows(zoo: Zoo) -> None:
    made = loader(zoo.model("raise ValueError('no')"))
    with pytest.raises(M.DataError) as error:
        batches(made, shuffle=True, num_workers=2, batch_size=10)
    assert str(error.value).startswith("The model 'm1' fails on rows 0 to 9.\n")


def test_a_key_that_is_missing(zoo: Zoo) -> None:
    model = zoo.model("return {'p': x}", gives={"m1_p": (3,), "m1_q": (3,)}, keys=[("p",), ("q",)])
    with pytest.raises(M.DataError) as error:
        batches(loader(model, inputs="m1_q"))
    assert str(error.value) == (
        "The model 'm1' gives no 'm1_q' for rows 0 to 3.\n"
        "  Expected: an array of shape (4, 3)\n"
        "  Received: a dict of 'p'"
    )


def test_fractions_where_whole_numbers_were(zoo: Zoo) -> None:
    model = zoo.model("return x if x[0, 0] > 5 else x.astype(int)")
    model.whole = {"m1": "int64"}
    with pytest.raises(M.DataError) as error:
        batches(loader(model))
    assert str(error.value).startswith("The model 'm1' gives no whole numbers as 'm1' for rows ")
    assert "\n  Expected: int64, as it gave when it was added\n  Received: float32\n  Fix: " in str(error.value)
    model.whole = {}
    assert len(batches(loader(model))) > 1


def test_nan_of_inputs_with_nan(zoo: Zoo) -> None:
    values = X.copy()
    values[4:6, 0] = np.nan
    with pytest.raises(M.DataError) as error:
        batches(loader(zoo.model("return x"), values=values))
    assert str(error.value) == (
        "The model 'm1' gives NaN as 'm1' for rows 4 to 5, 2 of the 4 in rows 4 to 7.\n"
        "  Expected: numbers\n"
        "  Received: NaN, of inputs with NaN"
    )
    with pytest.raises(M.DataError) as error:
        loader(zoo.model("return x", gives={"m1": (3,)}), values=values)[4]
    assert str(error.value) == (
        "The model 'm2' gives NaN as 'm1' for row 4.\n  Expected: numbers\n  Received: NaN, of inputs with NaN"
    )


def test_a_model_that_cannot_be_loaded(zoo: Zoo) -> None:
    model = zoo.model("return x")
    (model.folder / "weights.npy").unlink()
    (model.folder / "model.py").write_text("import no_such_module\n")
    made = loader(model)
    with pytest.raises(M.DataError) as error:
        batches(made)
    assert str(error.value) == (
        "The model 'm1' cannot be loaded.\n  Received: ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_what_cannot_be_merged(zoo: Zoo) -> None:
    model = zoo.model("return x", takes=M.Merge("concatenate", ["x", M.Cast("x", "float32")], "float32", axis=3))
    with pytest.raises(M.DataError) as error:
        batches(loader(model))
    assert str(error.value) == (
        "What feeds the model 'm1' cannot be merged, in rows 0 to 3.\n"
        "  Received: AxisError: axis 3 is out of bounds for array of dimension 2; of x (4, 3) float32"
    )
    model = zoo.model("return x[:, :2]", gives={"m2": (None,)})
    with pytest.raises(M.DataError) as error:
        batches(loader(model, inputs={"a": M.Merge("add", ["x", "m2"], "float32")}))
    assert str(error.value) == (
        "The inputs cannot be merged, in rows 0 to 3.\n"
        "  Received: ValueError: operands could not be broadcast together with shapes (4,3) (4,2); of "
        "x (4, 3) float32, m2 (4, 2) float32"
    )


# -- what models get and give -----------------------------------------------------------------------------------------


def test_an_output_that_is_used_twice_is_computed_once(zoo: Zoo) -> None:
    first = zoo.model("return x * 2")
    second = zoo.model("return x + 1", takes=M.Merge("concatenate", ["m1", "x"], "float32"), gives={"m2": (6,)})
    made = loader(first, second, inputs={"a": "m1", "b": "m2"})
    (found,) = batches(made, batch_size=10)
    np.testing.assert_array_equal(found["a"], X * 2)
    np.testing.assert_array_equal(found["b"], np.concatenate([X * 2, X], axis=1) + 1)
    assert [what for what, _ in zoo.noted].count("run") == 2


def test_one_folder_is_loaded_once(zoo: Zoo) -> None:
    first = zoo.model("return x * 2")
    second = zoo.model("", takes="m1", folder=first.folder)
    (found,) = batches(loader(first, second, inputs="m2"), batch_size=10)
    np.testing.assert_array_equal(found, X * 4)
    assert [what for what, _ in zoo.noted] == ["loaded", "run", "run"]


def test_a_model_that_changes_what_it_gets(zoo: Zoo) -> None:
    spoils = "x *= 0\nreturn x"
    values = X.copy()
    first = zoo.model(spoils)
    second = zoo.model(spoils, takes=M.Take("x", 0, 3))
    third = zoo.model("return x + 1")
    made = loader(first, second, third, inputs=["m1", "m2", "m3", "x"], values=values)
    (found,) = batches(made, batch_size=10)
    for array, expected in zip(found, (X * 0, X * 0, X + 1, X), strict=True):
        np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(values, X)
    # What the final model gets twice, it gets as two arrays.
    (found,) = batches(loader(zoo.model("return x", gives={"y": (3,)}), inputs={"a": "y", "b": "y"}), batch_size=10)
    found["a"] += 1
    np.testing.assert_array_equal(found["b"], X)


def test_a_model_that_fills_the_same_array_again(zoo: Zoo) -> None:
    body = """
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((4, 3), "float32")
        self.buffer[: len(x)] = x * 2
        return self.buffer[: len(x)]
    """
    model = zoo.model(body)
    twin = zoo.model("", takes="m1", folder=model.folder)
    found = batches(loader(model, twin, inputs=["m1", "m2"]))
    np.testing.assert_array_equal(np.concatenate([one for one, _ in found]), X * 2)
    np.testing.assert_array_equal(np.concatenate([two for _, two in found]), X * 4)


def test_arrays_that_cannot_be_written_to(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    zoo_models.write_pytorch(tmp_path / "net", inputs=3, outputs=2)
    packed = M.Packed(M.Model("net", tmp_path / "net", "x", {"net": (2,)}), inputs="net")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = packed.run({"x": read_only(X.copy())}, range(ROWS))
    assert found.shape == (ROWS, 2)


@pytest.mark.parametrize(
    ("takes", "body"),
    [
        ({"a": "x", "b": M.Take("x", 0, 1)}, "return x['a'] + x['b']"),
        (["x", M.Take("x", 0, 1)], "return x[0] + x[1]"),
        ([{"a": "x"}, [M.Take("x", 0, 1)]], "return x[0]['a'] + x[1][0]"),
    ],
)
def test_dicts_and_lists_of_inputs(zoo: Zoo, takes: Any, body: str) -> None:
    (found,) = batches(loader(zoo.model(body, takes=takes)), batch_size=10)
    np.testing.assert_array_equal(found, X + X[:, :1])


def test_nested_outputs_and_open_sizes(zoo: Zoo) -> None:
    model = zoo.model(
        "return {'p': [x, x[:, 0]], 'q': x[:, :, None].repeat(2, 2)}",
        gives={"a": (3,), "b": (1,), "c": (3, None)},
        keys=[("p", 0), ("p", 1), ("q",)],
    )
    (found,) = batches(loader(model, inputs={"a": "a", "b": "b", "c": "c"}), batch_size=10)
    assert {name: array.shape for name, array in found.items()} == {"a": (10, 3), "b": (10, 1), "c": (10, 3, 2)}


@pytest.mark.parametrize(("body", "dtype"), [("return x[:, 0]", "float32"), ("return list(x[:, 0])", "float32"),
                                             ("return x[:, 0] > 9", "bool"),
                                             ("return x[:, 0].astype('int64')", "int64")])  # fmt: skip
def test_a_number_for_each_row_is_a_row_of_one_number(zoo: Zoo, body: str, dtype: str) -> None:
    (found,) = batches(loader(zoo.model(body, gives={"m1": (1,)})), batch_size=10)
    assert (found.shape, found.dtype) == ((10, 1), dtype)


def test_all_of_kipois_ways(zoo: Zoo) -> None:
    model = zoo.model("return x * 2")
    made = loader(model, inputs={"a": "m1", "b": ["x", "m1"]}, targets=None)
    whole = made.load_all(batch_size=4)
    np.testing.assert_array_equal(whole["inputs"]["a"], X * 2)
    np.testing.assert_array_equal(whole["inputs"]["b"][0], X)
    row = made[-1]
    assert set(row) == {"inputs", "metadata"} and len(made) == ROWS
    np.testing.assert_array_equal(row["inputs"]["b"][1], X[-1] * 2)
    np.testing.assert_array_equal(made.read([3, 1])["inputs"]["a"], X[[3, 1]] * 2)
    stream = loader(zoo.model("return x * 2"), inputs=["m2"], stream=True)
    rows = list(iter(stream))
    assert len(rows) == ROWS
    np.testing.assert_array_equal(rows[4]["inputs"][0], X[4] * 2)


def test_training(zoo: Zoo, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(ROWS, dtype="float32")[:, None])
    made = loader(zoo.model("return x * 2"), targets=str(tmp_path / "y.npy"))
    endless = made.batch_train_iter(batch_size=4, shuffle=True)
    for inputs, targets in (next(endless) for _ in range(7)):
        np.testing.assert_array_equal(
            inputs[:, :1], np.asarray(targets["y"] if isinstance(targets, dict) else targets) * 6
        )
    assert len(list(made.batch_train_iter(cycle=False, batch_size=4))) == 3
    assert [what for what, _ in zoo.noted].count("loaded") == 1


def in_a_fork(made: Any, queue: Any) -> None:
    try:
        queue.put(made[0])
    except Exception as error:
        queue.put((type(error).__name__, str(error)))


def test_a_forked_process(zoo: Zoo) -> None:
    made = loader(zoo.model("return x"))
    batches(made)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of every fork in a process with threads
        process = context.Process(target=in_a_fork, args=(made, queue))
        process.start()
    assert queue.get(timeout=60) == (
        "DataError",
        "The model 'm1' would run in a process forked from the one that made the dataloader, where TensorFlow hangs "
        "for ever.\n"
        "  Fix: Use num_workers=0; workers that this dataloader starts, batch_iter(num_workers=...), only read.",
    )
    process.join(60)


def test_nothing_is_kept_from_batch_to_batch(zoo: Zoo) -> None:
    made = loader(zoo.model("return x * 2"), inputs={"a": "m1", "b": "x"})
    seen = []
    for batch in made.batch_iter(batch_size=1):
        seen += [weakref.ref(array) for array in batch["inputs"].values()]
    del batch
    gc.collect()
    assert [reference for reference in seen if reference() is not None] == []
