"""An architecture names layers and functions that compute: no code, no other file and no setting of Keras.

The cases are those of the advisories on Keras since 2024, and what reads or writes files in it besides.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import odd_files
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import SourceError

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small models in every form."""
    folder = tmp_path_factory.mktemp("saved")
    x, words = keras.Input((4,), name="x"), keras.Input((1,), dtype="string", name="words")
    model = keras.Model(x, layers.Dense(3, name="odd")(x))
    lookup = keras.Model(words, layers.StringLookup(vocabulary=["a", "b"], name="odd")(words))
    for name, one in {"m": model, "words": lookup}.items():
        one.save(folder / f"{name}.keras")
        one.save(folder / f"{name}.h5")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    return folder


def odd(config: dict[str, Any]) -> dict[str, Any]:
    return config["config"]["layers"][1]


def calls(module: str, name: str, *, inputs: Any = None, **arguments: Any) -> Change:
    """A Lambda that calls a function of a module on what the file says."""

    def change(config: dict[str, Any]) -> None:
        function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
        layer = odd(config)
        layer |= {"class_name": "Lambda", "module": "keras.layers"}
        layer["config"] = {"name": "odd", "function": function, "arguments": arguments}
        if inputs is not None:
            layer["inbound_nodes"] = [{"args": [], "kwargs": {"inputs": inputs}}]

    return change


def of_class(module: str, name: str, /, **config: Any) -> Change:
    return lambda whole: odd(whole).update(module=module, class_name=name, config={"name": "odd", **config})


def with_argument(name: str, value: Any) -> Change:
    return lambda config: odd(config)["config"].update({name: value})


CODE = "holds a Lambda layer, that is Python code, and loading it would run whatever its author wrote."
NAMED = {  # CVE-2024-3660, 2025-1550, 2025-8747, 2025-9905, 2025-9906, 2025-49655, 2026-1462, and others
    "keras.utils.get_file": calls("keras.utils", "get_file", inputs="f", origin="file:///etc/passwd"),
    "keras.config.enable_unsafe_deserialization": calls("keras.config", "enable_unsafe_deserialization"),
    "keras.models.load_model": calls("keras.models", "load_model", inputs="elsewhere/m.keras", safe_mode=False),
    "keras.src.backend.common.global_state.set_global_attribute": calls(
        "keras.src.backend.common.global_state", "set_global_attribute", inputs="safe_mode_saving", value=False
    ),
    "keras.config.set_floatx": calls("keras.config", "set_floatx", inputs="float64"),
    "keras.utils.plot_model": calls("keras.utils", "plot_model", to_file="elsewhere/x.png"),
    "keras.applications.VGG16": calls("keras.applications", "VGG16", inputs=False, weights="elsewhere/m.h5"),
    "keras.layers.deserialize": calls("keras.layers", "deserialize", inputs={}),
    "keras.losses.deserialize": calls("keras.losses", "deserialize", inputs={}),
    "keras.saving.KerasFileEditor": of_class("keras.saving", "KerasFileEditor", filepath="elsewhere/m.keras"),
    "keras.layers.TFSMLayer": of_class("keras.layers", "TFSMLayer", filepath="elsewhere/m"),
    "keras.layers.TorchModuleWrapper": of_class("keras.layers", "TorchModuleWrapper", module="gASV"),
    "keras.layers.add": of_class("keras.layers", "add"),
    "keras.callbacks.CSVLogger": with_argument(
        "kernel_initializer",
        {"module": "keras.callbacks", "class_name": "CSVLogger", "config": {"filename": "elsewhere/x"}},
    ),
}


def forms(saved: Path, folder: Path, source: str, change: Change) -> list[tuple[Path, dict[str, Path]]]:
    """The changed model as an archive, in HDF5, and as JSON beside its weights."""
    made = [
        (odd_files.with_config(saved / f"{source}{end}", folder / f"c{end}", change), {}) for end in (".keras", ".h5")
    ]
    if source == "m":
        config = json.loads((saved / "m.json").read_text())
        change(config)
        (folder / "c.json").write_text(json.dumps(config))
        made.append((saved / "m.weights.h5", {"arch": folder / "c.json"}))
    return made


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_part_of_a_model(saved: Path, tmp_path: Path, name: str) -> None:
    floatx = keras.config.floatx()
    for path, options in forms(saved, tmp_path, "m", NAMED[name]):
        with pytest.raises(SourceError) as caught:
            ks.Graph("g").add("m", path, **options)
        message = str(caught.value)
        assert message.startswith(f"'{options.get('arch', path)}' names '") and "which is no part of a model" in message
        assert name.rpartition(".")[2] in message
    assert keras.config.floatx() == floatx


@pytest.mark.parametrize(
    "change",
    [
        with_argument("activation", {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}}),
        of_class("keras.layers", "Lambda", function=["4wAA", None, None], function_type="lambda"),
        with_argument("kernel_initializer", {"class_name": "Lambda", "config": {"function": ["4wAA", None, None]}}),
    ],
)
def test_code(saved: Path, tmp_path: Path, change: Change) -> None:
    for path, options in forms(saved, tmp_path, "m", change):
        with pytest.raises(SourceError) as caught:
            ks.Graph("g").add("m", path, **options)
        assert str(caught.value).startswith(f"'{options.get('arch', path)}' {CODE}")


@pytest.mark.parametrize("argument", ["vocabulary", "idf_weights"])
def test_vocabularies_in_other_files(saved: Path, tmp_path: Path, argument: str) -> None:
    for path, _ in forms(saved, tmp_path, "words", with_argument(argument, "/etc/hosts")):  # CVE-2025-12058
        with pytest.raises(SourceError) as caught:
            ks.Graph("g").add("m", path)
        assert str(caught.value) == (
            f"'{path}' does not hold the {argument} of layer 'odd': it is in another file.\n"
            "  Expected: the words themselves\n"
            "  Received: '/etc/hosts'\n"
            f"  Fix: Make the layer with {argument}=[...] in place of a file name, and save the model again."
        )


def test_healthy_names(saved: Path, tmp_path: Path) -> None:
    x = keras.Input((4,), name="x")
    y = layers.Dense(3, activation=keras.ops.tanh, kernel_regularizer="l2", dtype="mixed_bfloat16")(x)
    y = layers.Lambda(keras.ops.relu)(keras.ops.expand_dims(layers.Dropout(0.1)(y), 1)[:, 0])
    model = keras.Model(x, y)
    model.compile("adam", keras.losses.BinaryCrossentropy(), metrics=[keras.metrics.AUC()])
    model.save(tmp_path / "h.keras")
    for path in (tmp_path / "h.keras", saved / "words.keras"):
        assert ks.Graph("g").add("m", path).build().get_layer("m").layers


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("marking", "evil>system"), ("keras_stitch_marking.layers", "system")]
)
def test_no_module_of_a_config_is_imported(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    """Whatever module, class and registered name a file has: ``marking`` writes a file when it is imported."""
    monkeypatch.syspath_prepend(tmp_path)
    marker = tmp_path / "marker"
    for place in (tmp_path / "marking.py", tmp_path / "keras_stitch_marking" / "layers.py"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"open({str(marker)!r}, 'w').close()\ndef system(*given): return given\n")

    def change(config: dict[str, Any]) -> None:
        odd(config).update(module=module, class_name="system", registered_name=name)

    for path, options in forms(saved, tmp_path, "m", change):
        with pytest.raises(SourceError, match="needs a custom object that is not known here"):
            ks.Graph("g").add("m", path, **options)
    assert not marker.exists()


class Marks:
    """What writes a file where somebody unpickles it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("place", ["layer", "weights"])
def test_no_pickle_is_opened(saved: Path, tmp_path: Path, place: str) -> None:
    """A layer of Keras that holds a pickled module, and weights that are pickled objects, which NumPy could read."""
    marker = tmp_path / "marker"
    packed = base64.b64encode(pickle.dumps(Marks(marker))).decode()
    pickle.loads(base64.b64decode(packed)).close()
    marker.unlink()  # so the pickle does what it should not
    if place == "layer":
        change = of_class("keras.layers", "TorchModuleWrapper", module=packed)
        files = forms(saved, tmp_path, "m", change)
    else:
        weights = io.BytesIO()
        np.savez(weights, **{"layers/dense": np.array({"0": Marks(marker)}, dtype=object)})
        path = tmp_path / "m.keras"
        with zipfile.ZipFile(saved / "m.keras") as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                if name != "model.weights.h5":
                    new.writestr(name, old.read(name))
            new.writestr("model.weights.npz", weights.getvalue())
        files = [(path, {})]
    for path, options in files:
        with pytest.raises(SourceError):
            ks.Graph("g").add("m", path, **options)
    assert not marker.exists()
