"""A Sequential in another, without a name or with several inputs, and a Merge anywhere in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import assert_allclose
from repairs_files import Layer, floats, layer, write_h5

from keras_stitch.models.keras_file import open_file


def chain(*layers: Layer) -> Layer:
    """A Sequential as Keras wrote it before version 2.2.3."""
    return {"class_name": "Sequential", "config": list(layers)}


def dense(name: str, units: int, inputs: int | None = None, **config: Any) -> Layer:
    shape = {} if inputs is None else {"batch_input_shape": [None, inputs]}
    return layer("Dense", name, output_dim=units, init="uniform", activation="linear", bias=True, **shape, **config)


def weights(inputs: int, units: int) -> list[np.ndarray]:
    return [floats(inputs, units), floats(units)]


def of(name: str, arrays: list[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return list(zip((f"{name}_W:0", f"{name}_b:0"), arrays, strict=True))


def test_several_without_names(tmp_path: Path) -> None:
    """Of the same shape, so that only the names of their groups tell them apart."""
    (a, b), (c, d), (e, f) = weights(4, 4), weights(4, 4), weights(4, 4)
    model = chain(chain(dense("dense_1", 4, 4)), chain(chain(dense("dense_2", 4, 4))), dense("dense_3", 4))
    groups = {
        "sequential_7": of("dense_1", [a, b]),
        "sequential_3": of("dense_2", [c, d]),
        "dense_3": of("dense_3", [e, f]),
    }
    opened = open_file(write_h5(tmp_path / "old.h5", model, groups, version=None))
    x = floats(3, 4)
    assert_allclose(opened.model(x), ((x @ a + b) @ c + d) @ e + f, atol=1e-5)
    (repair,) = [repair for repair in opened.repairs if repair.rule == "sequential-names"]
    assert repair.where == ("sequential_7", "sequential_3", "sequential_1")
    assert [inner.name for inner in opened.model.layers] == ["sequential_7", "sequential_3", "dense_3"]


@pytest.mark.parametrize("kind", ["sequential", "layer"])
def test_a_merge_in_a_sequential_in_a_sequential(tmp_path: Path, kind: str) -> None:
    (a, b), (c, d), (e, f), (g, h) = weights(4, 2), weights(3, 2), weights(4, 5), weights(5, 1)
    branches = [dense("dense_1", 2, 4), dense("dense_2", 2, 3)]
    # A branch that begins with a Sequential has its input's shape from there.
    branches = [chain(chain(branches[0])), chain(branches[1])] if kind == "sequential" else branches
    merge = layer("Merge", "merge_1", mode="concat", mode_type="raw", concat_axis=-1, layers=branches)
    model = chain(chain(merge, dense("dense_3", 5)), dense("dense_4", 1))
    inner = [*of("dense_1", [a, b]), *of("dense_2", [c, d]), *of("dense_3", [e, f])]
    groups = {"sequential_5": inner, "dense_4": of("dense_4", [g, h])}
    opened = open_file(write_h5(tmp_path / "old.h5", model, groups, version=None))
    x, y = floats(3, 4), floats(3, 3)
    merged = np.concatenate([x @ a + b, y @ c + d], -1)
    assert_allclose(opened.model([x, y]), (merged @ e + f) @ g + h, atol=1e-5)
    assert "several-inputs" in [repair.rule for repair in opened.repairs]


@pytest.mark.parametrize("version", [None, "2.1.6"])
@pytest.mark.parametrize("name", ["prelu_1_alphas", "prelu_1/prelu_1_alphas:0"])
def test_prelu_that_shares_weights(tmp_path: Path, name: str, version: str | None) -> None:
    """Along an axis of any size, too."""
    alpha, x = floats(1, 4), floats(2, 5, 4)
    said = layer("PReLU", "prelu_1", init="zero", batch_input_shape=[None, None, 4])
    path = write_h5(tmp_path / "old.h5", chain(said), {"prelu_1": [(name, alpha)]}, version=version)
    opened = open_file(path)
    assert_allclose(opened.model(x), np.where(x > 0, x, alpha * x), atol=1e-5)
    assert opened.model.get_layer("prelu_1").shared_axes == [1]
    assert "prelu-shared-axes" in [repair.rule for repair in opened.repairs]


def test_a_cosine_at_the_beginning(tmp_path: Path) -> None:
    (a, b), (c, d), (e, f) = weights(4, 5), weights(3, 5), weights(1, 2)
    branches = [chain(dense("dense_1", 5, 4)), chain(dense("dense_2", 5, 3))]
    merge = layer("Merge", "merge_1", mode="cos", mode_type="raw", dot_axes=[1, 1], layers=branches)
    groups = {name: of(name, each) for name, each in (("dense_1", [a, b]), ("dense_2", [c, d]), ("dense_3", [e, f]))}
    path = write_h5(tmp_path / "old.h5", chain(merge, dense("dense_3", 2)), groups, version=None)
    x, y = floats(3, 4), floats(3, 3)
    left, right = x @ a + b, y @ c + d
    cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    assert_allclose(open_file(path).model([x, y]), cosine[:, None, None] @ e + f, atol=1e-5)
