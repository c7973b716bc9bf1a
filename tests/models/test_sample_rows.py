"""Random rows: in the dtype and range of their input, and of a length that the model takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Port
from keras_stitch.models.sample_rows import find_size, random_rows, table_dtype, values_text


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


def test_text_is_not_made_up() -> None:
    with pytest.raises(StitchError, match="No table holds what the input 'x' takes, string"):
        table_dtype(Port("x", (3,), "string"))


def test_a_length_is_tried_out_or_there_is_none() -> None:
    sequence = keras.Input((None, 2), name="sequence")
    graph = ks.Graph().add("m", keras.Model(sequence, layers.Conv1D(1, 20)(sequence)))
    wiring, model = graph._check()[0], graph.build()
    assert find_size(wiring, model, {}) == (32, "")
    assert find_size(wiring, model, {"sequence": np.ones((21, 2))})[0] is not None
    fixed = ks.chain(keras.Model(sequence, layers.Conv1D(1, 40000)(sequence)))
    size, problem = find_size(fixed._check()[0], fixed.build(), {})
    assert size is None and problem
