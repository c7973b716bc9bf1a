from __future__ import annotations

import threading

import keras
import numpy as np

from keras_stitch.kipoi.rendering import template_module

module = template_module("kipoi.model")


def test_a_file_without_an_ending_loads(tmp_path):
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    (tmp_path / "m.keras").rename(tmp_path / "0123abcd")
    loaded = module.SuffixedKerasModel(str(tmp_path / "0123abcd"))
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0123abcd", "0123abcd.keras"]


def test_several_at_once(tmp_path):
    path = tmp_path / "0123abcd"
    path.write_bytes(b"PK and so on")
    found = []
    threads = [threading.Thread(target=lambda: found.append(module.with_suffix(str(path)))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [f"{path}.keras"] * 20
    assert sorted(item.name for item in tmp_path.iterdir()) == ["0123abcd", "0123abcd.keras"]


def test_endings_that_keras_knows_stay(tmp_path):
    for name, content in (("a.keras", b"PK"), ("a.h5", b"\x89HDF"), ("a.hdf5", b"\x89HDF")):
        (tmp_path / name).write_bytes(content)
        assert module.with_suffix(str(tmp_path / name)) == str(tmp_path / name)


def test_without_symbolic_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(module.os, "symlink", refuse)
    (tmp_path / "a").write_bytes(b"PK")
    made = module.with_suffix(str(tmp_path / "a"))
    assert made == str(tmp_path / "a.keras") and not (tmp_path / "a.keras").is_symlink()
