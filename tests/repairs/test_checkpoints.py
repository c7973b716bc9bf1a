"""Checkpoints of Keras 2 beside an architecture: plain Keras 3 predicts what ``tf_keras`` did.

``saved_model_files.py --checkpoints`` makes them. A few are in ``checkpoints.tar.xz``, which ``UPDATE_GOLDEN=1`` writes
anew; the slow test makes others, of all models with ``OLD_FILES=all``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoint_files import entry, rewrite_index
from kept_files import kept
from old_keras import ALL_FILES
from test_keras2_layers import REFUSED
from test_saved_models import added, any_of, difference, make

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files import read_files
from keras_stitch.models.file_formats import located
from keras_stitch.repairs import read_checkpoint, weights
from keras_stitch.repairs.read_file import opened_hdf5
from keras_stitch.repairs.saved_objects import StoredObject

ARCHIVE = Path(__file__).with_name("checkpoints.tar.xz")
KEPT = (
    *("Graph.partly_frozen", "Graph.nested_twice", "Graph.shared", "Graph.frozen_sequential"),
    *("Bidirectional.backward_layer", "BatchNormalization.frozen", "Compiled", "Subclass"),
)
NESTED = "Graph.nested_twice"
MOST = r"Graph\..*|nested\..*|(TimeDistributed|SpectralNormalization)\..*"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what is kept."""
    return kept(
        tmp_path_factory.mktemp("checkpoints"), ARCHIVE, lambda folder: make(folder, any_of(KEPT), "--checkpoints")
    )


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """The prefix of a checkpoint to be damaged; ``m.json`` is beside it."""
    for path in place.glob(f"{NESTED}.ckpt.*"):
        shutil.copy(path, tmp_path / path.name.replace(NESTED, "m"))
    shutil.copy(place / f"{NESTED}.json", tmp_path / "m.json")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m.ckpt"\nall_model_checkpoint_paths: "m.ckpt"\n')
    return tmp_path / "m.ckpt"


def apart(folder: Path, name: str) -> float:
    """How far a loaded checkpoint predicts from what Keras 2 did."""
    model = added(folder / f"{name}.ckpt", arch=folder / f"{name}.json").build()
    with np.load(folder / f"{name}.npz") as arrays:
        given = [arrays[key] for key in arrays.files if key.startswith("input")]
    found = model(given, training=False)
    named = found if isinstance(found, dict) else {"output00": found}
    outputs = {name: keras.ops.convert_to_numpy(value) for name, value in named.items()}
    return difference(folder / f"{name}.npz", outputs)


def check_arrays(folder: Path, name: str) -> None:
    """The arrays are those of the file of weights, under the same names and in the same order.

    An architecture does not say whether a Sequential was frozen as a whole: the order in it follows from what is said.
    """
    with opened_hdf5(folder / f"{name}.weights.h5") as file:
        expected = weights.read_arrays(file)
    found = read_checkpoint.read_arrays(folder / f"{name}.json", folder / f"{name}.ckpt")
    assert [layer for layer in found if found[layer]] == [layer for layer in expected if expected[layer]]
    for layer, held in expected.items():
        arrays, others = held, found.get(layer, [])
        if name.startswith("nested."):
            arrays, others = (sorted(each, key=lambda array: array.name) for each in (arrays, others))
        assert [array.name for array in arrays] == [array.name for array in others]
        for one, other in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == NESTED else pytest.mark.slow) for name in KEPT[:-1]]
)
def test_what_is_kept(name: str, place: Path) -> None:
    check_arrays(place, name)
    assert apart(place, name) <= 1e-5


@pytest.mark.slow
def test_all_kinds_of_models(tmp_path: Path) -> None:
    index = make(tmp_path, ".*" if ALL_FILES else MOST, "--checkpoints")
    problems, good = [], 0
    for name in (name for name, why_not in index.items() if why_not is None and name != "Subclass"):
        expected = next((text for kind, text in REFUSED.items() if re.fullmatch(kind, f"{name}.h5")), None)
        try:
            check_arrays(tmp_path, name)
            difference = apart(tmp_path, name)
        except SourceError as error:
            if expected is None or expected not in str(error):
                problems.append(f"{name}: {error}")
            continue
        if not difference <= 1e-5:
            problems.append(f"{name}: differs by {difference:.2g}")
        good += 1
    assert not problems and good > 70, "\n".join(problems)


# -- how it is named -------------------------------------------------------------------------------------------------
def test_every_way_to_name_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = sorted(copy.parent.glob("m.ckpt.*"))
    lines = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}\n" for path in listed)
    expected = hashlib.sha256(lines.encode()).hexdigest()
    monkeypatch.chdir(copy.parent)
    for named in ("m.ckpt", "m.ckpt.index", "m.ckpt.data-00000-of-00001", "."):
        assert located(Path(named)) == Path("m.ckpt")
    for named in (".", "m.ckpt.index"):
        source = added(named, arch="m.json", sha256=expected).spec.submodels[0].source
        assert (source.path, source.label, source.sha256) == (str(copy), "m.ckpt", expected)
    # The folder was moved since, and TensorFlow had written where it was.
    (copy.parent / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/m.ckpt"\n')
    assert located(copy.parent) == copy
    for text in ('model_checkpoint_path: "/elsewhere/n.ckpt"\n', "", 'model_checkpoint_path: "/"\n'):
        (copy.parent / "checkpoint").write_text(text)
        assert located(copy.parent) == copy.parent
    # What is a file is that file.
    copy.write_bytes(b"x")
    assert located(copy) == copy and read_files.sha256(copy) == hashlib.sha256(b"x").hexdigest()


def test_stitch_yaml_and_changed_files(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = added(copy, arch=copy.with_name("m.json"))
    said = graph.to_yaml(tmp_path / "stitch.yaml")
    assert "{source: m.ckpt, arch: m.json}" in said.read_text()
    assert cli.main(["inspect", str(copy), "--arch", str(copy.with_name("m.json"))]) == 0
    assert capsys.readouterr().out.startswith(f"{copy}\nsha256 {read_files.sha256(copy)}\n")
    said.write_text(said.read_text().replace("arch: m.json", f"arch: m.json, sha256: {read_files.sha256(copy)}"))
    assert ks.Graph.from_yaml(said).spec == graph.spec
    data = copy.with_name("m.ckpt.data-00000-of-00001")
    data.write_bytes(data.read_bytes() + b"more")
    with pytest.raises(SourceError, match=f"'{copy}' has changed since it was added"):
        graph.build(), graph.build()
    with pytest.raises(SourceError, match="is not the one that was recorded"):
        ks.Graph.from_yaml(said)


def test_without_an_architecture(copy: Path) -> None:
    with pytest.raises(SourceError) as error:
        added(copy)
    assert str(error.value) == (
        f"'{copy}' holds weights only, not the architecture they belong to.\n"
        "  Expected: a whole model, or weights with the architecture beside them\n"
        '  Fix: Give the architecture, graph.add(name, "m.ckpt", arch="model.json"), or save the whole model: '
        "model.save(...) instead of model.save_weights(...)."
    )


def test_hashes(copy: Path) -> None:
    arch = copy.with_name("m.json")
    with pytest.raises(StitchError, match="md5= of submodel 'part' is for files, and this is"):
        added(copy, arch=arch, md5="0" * 32)
    with pytest.raises(SourceError, match="its sha256 differs"):
        added(copy, arch=arch, sha256="0" * 64)


# -- other checkpoints ---------------------------------------------------------------------------------------------
def test_a_checkpoint_of_tensorflow_1(copy: Path) -> None:
    rewrite_index(copy.with_name("m.ckpt.index"), lambda key, value: None if key.startswith(b"_CHECK") else value)
    with pytest.raises(SourceError) as error:
        added(copy, arch=copy.with_name("m.json"))
    assert str(error.value).startswith(
        f"'{copy}' is a checkpoint that does not say which layers its weights belong to, as those of TensorFlow 1.\n"
        '  Expected: what model.save_weights("weights.ckpt") of Keras 2 writes\n'
        "  Received: variables by their names alone: "
    )
    assert str(error.value).endswith(
        '  Fix: In the Keras that made it, model.load_weights("m.ckpt") and model.save_weights("weights.h5"); then add '
        "that."
    )


def test_a_checkpoint_of_a_subclass(place: Path, copy: Path) -> None:
    with pytest.raises(SourceError) as error:
        added(place / "Subclass.ckpt", arch=copy.with_name("m.json"))
    assert str(error.value).startswith(
        f"'{place / 'Subclass.ckpt'}' is no checkpoint of one Sequential or functional model.\n"
        '  Expected: the objects layer-0, layer-1 ..., as model.save_weights("weights.ckpt") of Keras 2 writes them\n'
        "  Received: objects: dense"
    )


def test_the_model_in_a_checkpoint_of_several_objects() -> None:
    """As ``tf.train.Checkpoint(model=model, optimizer=optimizer)`` has it."""
    model = [StoredObject({"layer-0": 2}), StoredObject({})]
    reader = read_checkpoint._Reader(Path("m"), [StoredObject({"optimizer": 2, "model": 1}), *model])
    assert reader.model() == 1
    two = read_checkpoint._Reader(Path("m"), [StoredObject({"a": 1, "b": 3}), *model, StoredObject({"layer-0": 2})])
    with pytest.raises(SourceError, match="Received: 2 models, among the objects a, b\n"):
        two.model()


def _fewer(said: dict) -> None:
    said["config"]["layers"].pop()


def _swapped(said: dict) -> None:
    layers = said["config"]["layers"]
    layers[1], layers[2] = layers[2], layers[1]


def _swapped_inside(said: dict) -> None:
    layers = said["config"]["layers"][1]["config"]["layers"]
    layers[1], layers[3] = layers[3], layers[1]


def _of_keras_3(said: dict) -> None:
    said["module"] = "keras"


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (NESTED, _fewer, "layers in 'model"),
        ("Compiled", _fewer, "is a checkpoint of another model than the architecture"),
        ("Graph.partly_frozen", _swapped, "is a checkpoint of another model than the architecture"),
        (
            "Graph.partly_frozen",
            _swapped_inside,
            "Expected: the layers of 'inner' in this order: dense_1, norm, dense\n  Received: dense, norm, dense_1\n",
        ),
        (NESTED, _of_keras_3, "is a checkpoint of Keras 2, and '.*' is an architecture of Keras 3"),
    ],
)
def test_an_architecture_of_another_model(
    name: str, change: Callable[[dict], None], text: str, place: Path, tmp_path: Path
) -> None:
    said = json.loads((place / f"{name}.json").read_text())
    change(said)
    (tmp_path / "m.json").write_text(json.dumps(said))
    with pytest.raises(SourceError, match=text):
        added(place / f"{name}.ckpt", arch=tmp_path / "m.json")


class Own(keras.layers.Layer):
    """A layer with four weights that all train, one of which has the name of one that never does."""

    def build(self, shape: tuple[int, ...]) -> None:
        for name in ("gamma", "beta", "moving_mean", "other"):
            self.add_weight(shape=(shape[-1],), name=name)

    def call(self, inputs: object) -> object:
        return inputs


def test_the_order_in_a_custom_layer(place: Path, tmp_path: Path) -> None:
    name = "BatchNormalization.frozen"
    text = (place / f"{name}.json").read_text()
    assert '"class_name": "BatchNormalization"' in text
    said = json.loads(text.replace('"class_name": "BatchNormalization"', '"class_name": "Own"'))
    for layer in said["config"]["layers"]:
        layer["config"] = {
            key: layer["config"][key] for key in layer["config"] if layer["class_name"] != "Own" or key == "name"
        }
    (tmp_path / "m.json").write_text(json.dumps(said))
    with pytest.raises(SourceError) as error:
        added(place / f"{name}.ckpt", arch=tmp_path / "m.json", custom_objects={"Own": Own})
    assert str(error.value).startswith(
        f"'{place / name}.ckpt' does not say which weights of the custom layer 'batch_normalization' never train, and "
        "so not in which order Keras lists them.\n  Expected: 0 by the names count, mean, moving_mean, "
    )


# -- damage ---------------------------------------------------------------------------------------------------------
FILES = ("m.ckpt.index", "m.ckpt.data-00000-of-00001")


@pytest.mark.parametrize("file", FILES)
def test_files_that_are_damaged(file: str, copy: Path) -> None:
    content, random = (copy.parent / file).read_bytes(), np.random.default_rng(0)
    for damaged in (b"", content[: len(content) // 2], content[:-1], random.bytes(5000)):
        (copy.parent / file).write_bytes(damaged)
        with pytest.raises(SourceError, match=re.escape(str(copy))):
            added(copy, arch=copy.with_name("m.json"))
    (copy.parent / file).unlink()
    named = copy.parent / (FILES[1] if file == FILES[0] else FILES[0])
    with pytest.raises(SourceError, match=re.escape(str(copy))):
        added(named, arch=copy.with_name("m.json"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_changed_bytes(file: str, copy: Path) -> None:
    """Each is one error of ours, or harmless."""
    content, random = (copy.parent / file).read_bytes(), np.random.default_rng(1)
    for _ in range(20):
        changed = bytearray(content)
        for _ in range(random.integers(1, 4)):
            changed[random.integers(len(changed))] = random.integers(256)
        (copy.parent / file).write_bytes(changed)
        try:
            added(copy, arch=copy.with_name("m.json"))
        except SourceError as error:
            assert str(copy) in str(error)


def test_a_tensor_that_is_none(copy: Path) -> None:
    lies = entry(7, (3,), 0, 0)
    rewrite_index(copy.with_name("m.ckpt.index"), lambda key, value: lies if key.endswith(b"VALUE") else value)
    with pytest.raises(SourceError, match="something else than one array of real numbers"):
        added(copy, arch=copy.with_name("m.json"))
