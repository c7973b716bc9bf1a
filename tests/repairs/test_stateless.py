"""Stateful layers of old files, stateless by request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import old_keras
import pytest
from backends import assert_allclose
from repairs_files import floats, gru, layer, per_gate, sequential, side_by_side, sigmoid, write_h5

import keras_stitch as ks
from keras_stitch.errors import StitchError


def stateful_file(path: Path, gates: dict[str, Any], stateful: bool = True) -> Path:
    """A GRU of Keras 2 that takes two rows at a time."""
    config = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": False}
    said = layer("GRU", "gru_1", units=3, stateful=stateful, batch_input_shape=[2, 5, 4], **config)
    return write_h5(path / "old.h5", sequential(said), {"gru_1": side_by_side(gates, "zrh")})


def test_by_request(tmp_path: Path) -> None:
    gates, x = per_gate(4, 3, "zrh"), floats(7, 5, 4)
    path = stateful_file(tmp_path, gates)
    graph = ks.Graph("g").add("rnn", path, stateless=True)
    model = graph.build()
    assert_allclose(model(x), gru(x, gates, gate=sigmoid), atol=1e-5)
    assert_allclose(model(x), gru(x, gates, gate=sigmoid), atol=1e-5)
    assert "stateless (gru_1)" in str(graph.summary())
    graph.to_yaml(tmp_path / "stitch.yaml")
    assert "stateless: true" in (tmp_path / "stitch.yaml").read_text()
    assert_allclose(ks.Graph.from_yaml(tmp_path / "stitch.yaml").build()(x), model(x))


def test_mistakes(tmp_path: Path) -> None:
    path = stateful_file(tmp_path, per_gate(4, 3, "zrh"))
    with pytest.raises(StitchError, match=r"graph\.add\(name, source, stateless=True\)"):
        ks.Graph("g").add("rnn", path)
    with pytest.raises(StitchError, match="stateless= of submodel 'rnn' is neither on nor off"):
        ks.Graph("g").add("rnn", path, stateless=1)  # type: ignore[arg-type]
    stateful_file(tmp_path, per_gate(4, 3, "zrh"), stateful=False)
    with pytest.raises(StitchError, match="has no stateful layer, so stateless= is not needed"):
        ks.Graph("g").add("rnn", path, stateless=True)
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.GRU(2)])
    with pytest.raises(StitchError, match="stateless= of submodel 'rnn' is for files, and this is a model in memory"):
        ks.Graph("g").add("rnn", model, stateless=True)
    model.save(tmp_path / "new.keras")
    with pytest.raises(StitchError, match="is of Keras 3, and stateless= is for files of Keras 1 and 2"):
        ks.Graph("g").add("rnn", tmp_path / "new.keras", stateless=True)


@pytest.mark.slow
def test_real_files(tmp_path: Path) -> None:
    """What Keras predicted for the first batch."""
    place = old_keras.unpack(tmp_path)
    files = [file for folder in sorted(place.iterdir()) for file in old_keras.files(folder) if "stateful" in file.case]
    verdicts = [old_keras.judge(file, stateless=True) for file in files]
    assert len(verdicts) > 30
    assert not [str(verdict.file) for verdict in verdicts if verdict.kind != "equal"]
    np.testing.assert_array_less([verdict.difference for verdict in verdicts], 1e-5)
