"""Random rows: in the dtype and range of their input, and of a length that the model takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Port
from keras_stitch.models.sample_rows import TEXTS, find_size, given_inputs, random_rows, table_dtype, values_text


@pytest.mark.parametrize(
    ("dtype", "bound", "text"),
    [
        ("float32", None, "normal"),
        ("float16", 5, "0 to 4"),
        ("int32", None, "0 to 1"),
        ("uint8", 1000, "0 to 254"),
        ("bool", 9, "0 to 1"),
        ("bfloat16", None, "normal"),
    ],
)
def test_dtypes_and_ranges(dtype: str, bound: int | None, text: str) -> None:
    port = Port("x", (None, 3), dtype)
    rows = random_rows(port, 200, 4, seed=0, bound=bound)
    assert rows.shape == (200, 4, 3) and rows.dtype == table_dtype(port)
    assert values_text(port, bound) == text
    if text != "normal":
        assert f"{int(rows.min())} to {int(rows.max())}" == text
    np.testing.assert_array_equal(rows, random_rows(port, 200, 4, seed=0, bound=bound))


def test_text() -> None:
    port = Port("x", (None,), "string")
    rows = random_rows(port, 200, 3, seed=0, bound=("a", "bcd"))
    assert rows.shape == (200, 3) and set(rows.flat) == {"a", "bcd"} and values_text(port, ("a", "bcd")) == "2 texts"
    assert set(random_rows(port, 200, 3, seed=0).flat) == set(TEXTS)


def test_what_is_neither_a_number_nor_text() -> None:
    with pytest.raises(StitchError, match="No table holds what the input 'x' takes, complex64"):
        table_dtype(Port("x", (3,), "complex64"))


@pytest.mark.parametrize("given", [["a", "b"], [b"a", b"b"], ["a", b"b"]])
def test_texts_and_bytes_among_objects(given: list) -> None:
    x = keras.Input((), dtype="string", name="x")
    wiring = ks.Graph().add("m", keras.Model(x, layers.StringLookup(vocabulary=["a"])(x)))._check()[0]
    for array in (given, np.array(given, dtype="O")):
        assert given_inputs({"x": array}, wiring)["x"].astype("U").tolist() == ["a", "b"]
    with pytest.raises(StitchError, match=r"data\['x'\] does not fit(.|\n)*Received: dtype object"):
        given_inputs({"x": np.array(["a", None], dtype="O")}, wiring)


def test_a_length_is_tried_out_or_there_is_none() -> None:
    sequence = keras.Input((None, 2), name="sequence")
    graph = ks.Graph().add("m", keras.Model(sequence, layers.Conv1D(1, 20)(sequence)))
    wiring, model = graph._check()[0], graph.build()
    assert find_size(wiring, model, {}) == (32, "")
    assert find_size(wiring, model, {"sequence": np.ones((21, 2))})[0] is not None
    fixed = ks.chain(keras.Model(sequence, layers.Conv1D(1, 40000)(sequence)))
    size, problem = find_size(fixed._check()[0], fixed.build(), {})
    assert size is None and problem
