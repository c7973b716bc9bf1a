"""The table of the kinds of sources."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import pytest
import zoo_models
from sklearn.linear_model import LinearRegression

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.sources import load_source
from keras_stitch.sources.load_source import KINDS, Kind, is_in_zoo, load


def kinds_of(source: Any) -> list[str]:
    """Every kind that recognises a source; the first counts."""
    return [kind.what for kind in KINDS if kind.recognises(source)]


def test_every_kind_is_recognised(tmp_path):
    torch = pytest.importorskip("torch")
    directory = zoo_models.write_custom(tmp_path / "zoo")
    layer = keras.layers.Dense(1)
    graph = tmp_path / "graph"
    graph.mkdir()
    (graph / "saved_model.pb").write_bytes(b"")
    paths, held = ["kipoi:a/b", directory, "m.onnx", graph, "m.h5"], [keras.Sequential([layer]), layer]
    sources = [*paths, *held, LinearRegression(), torch.nn.ReLU()]
    assert [kinds_of(source)[0] for source in sources] == [kind.what for kind in KINDS]
    assert not any(map(kinds_of, (3, None, keras.layers.Dense, [1], b"m.h5")))


def test_nothing_is_imported_to_recognise_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn.base")
    assert kinds_of(LinearRegression()) == []
    assert "sklearn.base" not in sys.modules


@pytest.mark.parametrize(("option", "value"), [("shapes", (7,)), ("method", "predict")])
def test_options_that_only_some_kinds_take(option: str, value: Any):
    owners = {"shapes": "estimators of scikit-learn and modules of PyTorch", "method": "estimators of scikit-learn"}
    with pytest.raises(StitchError) as error:
        load("m", keras.layers.Dense(1), **{option: value})
    assert error.value.message == f"{option}= of submodel 'm' is for {owners[option]} alone."


def test_a_new_kind_is_one_entry(monkeypatch):
    class Table:
        """Something that a new kind of source is for."""

    table = Kind(
        "a Table",
        lambda source: isinstance(source, Table),
        lambda request: load(request.name, keras.layers.Dense(3)),
        options=("method",),
        several="Tables",
    )
    monkeypatch.setattr(load_source, "KINDS", (*KINDS, table))
    assert ks.Graph().add("m", Table(), method="sum").spec.submodel("m").source.label == "Dense"
    with pytest.raises(StitchError, match=r"a torch\.nn\.Module or a Table\n"):
        load("m", 3)
    with pytest.raises(StitchError, match="is for estimators of scikit-learn and Tables alone"):
        load("m", keras.layers.Dense(1), method="sum")


def test_paths_that_are_none():
    for source in ("", "m\0.h5", Path("m\0.h5")):
        with pytest.raises(StitchError, match=r"The source of submodel 'm' takes a path\."):
            load("m", source)


def test_what_is_a_name_in_a_source(tmp_path):
    (tmp_path / "zoo:m").mkdir()
    assert is_in_zoo("zoo:m") and not is_in_zoo("zoo:m", tmp_path)
    assert not any(map(is_in_zoo, ("m.h5", "C:/m.h5", "https://zoo.org/m.h5", "a:b:c")))
