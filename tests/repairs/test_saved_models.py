"""SavedModels of Keras 2: read without their graphs, plain Keras 3 predicts what ``tf_keras`` did.

``saved_model_files.py`` makes them. A few are in ``saved_models.tar.xz``, which ``UPDATE_GOLDEN=1`` writes anew; for
each there is ``NAME.old``, as TensorFlow 2.0 to 2.4 wrote it. The slow test makes others: of every third function, one
of each kind of layer, and some graphs; of all models with ``OLD_FILES=all``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import warm_python
from checkpoint_files import entry, read_metadata, rewrite_index, written_metadata
from kept_files import kept
from old_keras import ALL_FILES
from test_keras2_layers import HALF, HALF_TOLERANCE, REFUSED

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.files import read_files
from keras_stitch.files.crc32c import crc32c
from keras_stitch.files.tensor_bundle import TensorBundle
from keras_stitch.models.save_keras import save_model
from keras_stitch.repairs.read_saved_model import read_arrays

HELPERS = Path(__file__).parents[1] / "helpers"
ARCHIVE = Path(__file__).with_name("saved_models.tar.xz")
KEPT = (
    *("SpectralNormalization.dense", "Normalization.adapted", "Bidirectional.backward_layer", "Graph.nested_twice"),
    *("MultiHeadAttention.default", "Graph.siamese", "operators.graph.nested", "operators.graph.several", "nested.3"),
    *("Compiled", "Subclass"),
)
NESTED = "Graph.nested_twice"


def make(folder: Path, pattern: str, *options: str) -> dict[str, str | None]:
    """Have Keras 2 write the models whose names match; says for each why it could not."""
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    command = [sys.executable, HELPERS / "saved_model_files.py", folder, pattern, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "index.json").read_text())


def any_of(names: list[str] | tuple[str, ...]) -> str:
    return "|".join(map(re.escape, names))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what is kept."""
    return kept(tmp_path_factory.mktemp("saved_models"), ARCHIVE, lambda folder: make(folder, any_of(KEPT), "--old"))


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A SavedModel to be damaged."""
    return Path(shutil.copytree(place / NESTED, tmp_path / "damaged"))


def added(source: Path, **options: object) -> ks.Graph:
    graph = ks.Graph("stitched").add("part", source, **options)
    part = graph.spec.submodels[0]
    for number, port in enumerate(part.outputs):
        graph.add_output(f"output{number:02}", f"part.{port.name}")
    return graph


def difference(stored: Path, found: dict[str, np.ndarray]) -> float:
    """The largest difference from what Keras 2 predicted, as a share of the largest number."""
    with np.load(stored) as arrays:
        expected = [arrays[f"output{n}"] for n in range(sum(name.startswith("output") for name in arrays.files))]
    outputs = [found[name] for name in sorted(found)]
    assert [output.shape for output in outputs] == [output.shape for output in expected]
    apart = 0.0
    for one, other in zip(outputs, expected, strict=True):
        one, other = one.astype("float64"), other.astype("float64")
        scale = max(1.0, float(np.max(np.abs(other), initial=0)))
        apart = max(apart, float(np.max(np.abs(one - other), initial=0)) / scale)
    return apart


QUICK = {"Bidirectional.backward_layer.old", "nested.3"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for kept in KEPT[:-1]
        for name in (kept, f"{kept}.old")
    ],
)
def test_what_is_kept(name: str, place: Path) -> None:
    model = added(place / name).build()
    stored = place / f"{name.removesuffix('.old')}.npz"
    with np.load(stored) as arrays:
        given = [arrays[key] for key in arrays.files if key.startswith("input")]
    found = model(given, training=False)
    named = found if isinstance(found, dict) else {"output00": found}
    assert difference(stored, {name: keras.ops.convert_to_numpy(value) for name, value in named.items()}) <= 1e-5


@pytest.mark.slow
def test_all_kinds_of_layers_and_functions(tmp_path: Path) -> None:
    """Saved again here, and loaded by plain Keras in a fresh process."""
    folder, again = tmp_path / "made", tmp_path / "again"
    folder.mkdir(), again.mkdir()
    index = make(folder, ".*" if ALL_FILES else any_of(selection()), "--no-graphs")
    assert len(index) > 150
    problems, good = [], {}
    for name in (name for name, why_not in index.items() if why_not is None):
        # What can be refused of all kinds of files, and what nobody but the code of a subclass knows.
        expected = next((text for kind, text in REFUSED.items() if re.fullmatch(kind, f"{name}.h5")), None)
        expected = "whose code is not in it" if name == "Subclass" else expected
        try:
            save_model(added(folder / name).build(), again / f"{name}.keras")
            good[name] = again / f"{name}.keras"
        except SourceError as error:
            if expected is None or expected not in str(error):
                problems.append(f"{name}: {error}")
            continue
        if expected is not None:
            problems.append(f"{name}: loaded, though it should have been refused")
    jobs = [
        {"model": str(file), "inputs": str(folder / f"{name}.npz"), "arrays": str(again / f"{name}.npz")}
        for name, file in good.items()
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = warm_python.run([sys.executable, HELPERS / "plain_reloading.py", tmp_path / "jobs.json"], timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in good:
        with np.load(again / f"{name}.npz") as arrays:
            found = dict(arrays)
        if "error" in found:
            problems.append(f"{name}: {found['error']}")
        elif not (apart := difference(folder / f"{name}.npz", found)) <= (HALF_TOLERANCE if is_half(name) else 1e-5):
            problems.append(f"{name}: differs by {apart:.2g}")
    assert not problems, "\n".join(problems)


def is_half(name: str) -> bool:
    return re.fullmatch(f"{HALF}|Policy.mixed_.*", name) is not None


def selection() -> list[str]:
    """One of each kind of layer, every third function (others are tried as other files), and some of the graphs."""
    maker = "import saved_model_files, json; print(json.dumps([name for name, _ in saved_model_files.models()]))"
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": str(HELPERS)}
    done = subprocess.run([sys.executable, "-c", maker], env=environment, capture_output=True, text=True, check=True)
    seen = Counter[str]()
    chosen = []
    for name in json.loads(done.stdout):
        kind = "composed" if "composed" in name else name.partition(".")[0]
        seen[kind] += 1
        most = {"Graph": 10, "nested": 4, "composed": 2}.get(kind, 1)
        if seen[kind] % 3 == 1 if kind == "operators" else seen[kind] <= most:
            chosen.append(name)
    return chosen


def test_what_is_said_of_it(place: Path, tmp_path: Path) -> None:
    graph = added(place / NESTED)
    source = graph.spec.submodels[0].source
    assert source.label == f"{NESTED} (SavedModel of Keras)" and source.label in str(graph.summary())
    assert source.sha256 == read_files.sha256(place / NESTED)
    graph.to_yaml(tmp_path / "stitch.yaml")
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml").spec.submodels[0].source
    assert (again.label, again.sha256) == (source.label, source.sha256)


def test_the_sha256_is_that_of_all_files(place: Path, copy: Path) -> None:
    """As ``sha256sum`` says it; a file more, or another name, changes it."""
    command = "cd $0 && find -L . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", command, copy], capture_output=True, text=True, check=True).stdout.split()[0]
    assert read_files.sha256(copy) == said
    graph = added(copy)
    (copy / "more.txt").write_text("more")
    with pytest.raises(SourceError, match="has changed since it was added"):
        graph.build(), graph.build()


def test_a_subclass_says_nothing_of_its_layers(place: Path) -> None:
    with pytest.raises(SourceError) as error:
        added(place / "Subclass")
    assert str(error.value) == (
        f"'{place / 'Subclass'}' is a SavedModel of Keras that does not say of which layers its model consists: it is "
        "of the class 'Subclass', whose code is not in it.\n"
        "  Expected: a Sequential or functional model\n"
        '  Fix: Pack its graph of operations as it is, graph.add(name, directory, signature="serving_default"), or '
        "save the model as Keras layers where its code is."
    )


def test_a_layer_that_nobody_has(place: Path, copy: Path) -> None:
    """The graph of operations needs no code of it."""
    nodes = read_metadata((copy / FILES[1]).read_bytes())
    at, path, said = nodes[0]
    nodes[0] = at, path, said.replace('"class_name": "BatchNormalization"', '"class_name": "Own"')
    (copy / FILES[1]).write_bytes(written_metadata(nodes))
    with pytest.raises(SourceError) as error:
        added(copy)
    assert str(error.value) == (
        f"'{copy}' needs a custom object that is not known here: 'Own' (layer 'inner/norm').\n"
        "  Expected: layers and functions of Keras, or those in custom_objects\n"
        '  Fix: graph.add(name, source, custom_objects={"Own": ...}); or, as it is, graph.add(name, directory, '
        'signature="serving_default")'
    )


def test_options_that_go_with_other_files(place: Path, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(SourceError, match="is a whole model, so arch= is not needed"):
        added(place / NESTED, arch=tmp_path / "m.json")
    with pytest.raises(SourceError, match="has no stateful layer"):
        added(place / NESTED, stateless=True)


# -- damage ---------------------------------------------------------------------------------------------------------
FILES = ("saved_model.pb", "keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_cut_off(file: str, copy: Path) -> None:
    content = (copy / file).read_bytes()
    for share in (0.0, 0.4, 0.999):
        (copy / file).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(SourceError, match=re.escape(str(copy))):
            added(copy)


@pytest.mark.parametrize("file", [FILES[0], *FILES[2:]])
def test_a_file_that_is_gone(file: str, copy: Path) -> None:
    (copy / file).unlink()
    with pytest.raises(SourceError, match=re.escape(str(copy))):
        added(copy)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_noise(file: str, copy: Path) -> None:
    (copy / file).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SourceError, match=re.escape(str(copy))):
        added(copy)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_changed_bytes(file: str, copy: Path) -> None:
    """Each is one error of ours, or harmless."""
    content, random = (copy / file).read_bytes(), np.random.default_rng(1)
    for _ in range(20):
        changed = bytearray(content)
        for _ in range(random.integers(1, 4)):
            changed[random.integers(len(changed))] = random.integers(256)
        (copy / file).write_bytes(changed)
        try:
            added(copy)
        except SourceError as error:
            assert str(copy) in str(error) or "damaged" in str(error) or "fit" in str(error)


def test_a_changed_weight(copy: Path) -> None:
    """Each tensor has a checksum."""
    data = copy / FILES[3]
    content = bytearray(data.read_bytes())
    bundle = TensorBundle(copy / "variables/variables")
    key = next(key for key in bundle.keys if key.endswith("VARIABLE_VALUE"))
    content[bundle._entries[key].offset] ^= 1
    data.write_bytes(content)
    with pytest.raises(SourceError) as error:
        added(copy)
    assert str(error.value) == (
        f"'{copy / FILES[2]}' is a damaged checkpoint: the checksum of '{key}' is not that of its bytes.\n"
        "  Fix: Copy or download it again."
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (entry(1, (1 << 40,), 1 << 40, 1 << 42), "is cut off"),
        (entry(1, (0, 1 << 40), 1 << 63, 0), "the checksum of"),
        (entry(1, (1 << 40,), 0, 4), "shares its bytes with another tensor"),
        (entry(1, (2**64 - 1,), 0, 4), "a tensor has a shape that is none"),
        (entry(1, (1,) * 40, 0, 4), "a tensor has a shape that is none"),
        (entry(7, (3,), 0, 0), "something else than one array of real numbers"),
        (entry(8, (3,), 0, 0), "something else than one array of real numbers"),
        (entry(1, (3,), 0, 0) + b"\x3a\x00", "a tensor in slices"),
        (entry(1, (1 << 40,), 0, 0), "has 0 bytes"),
        (b"\xff\xff", "is damaged|is a damaged checkpoint"),
    ],
)
def test_a_description_that_lies(made: bytes, said: str, copy: Path) -> None:
    rewrite_index(copy / FILES[2], lambda key, value: made if key.startswith(b"variables/0/") else value)
    with pytest.raises(SourceError, match=said) as error:
        added(copy)
    assert str(copy) in str(error.value)


def test_a_weight_that_is_gone(copy: Path) -> None:
    """The objects name a tensor that the checkpoint does not have."""
    rewrite_index(copy / FILES[2], lambda key, value: value)
    added(copy)
    index = copy / FILES[2]
    content = index.read_bytes().replace(b"variables/0/.ATTRIBUTES", b"variables/0/.ATTRIBUTEX")
    index.write_bytes(content)
    with pytest.raises(SourceError, match="the checksum of a block is not that of its bytes"):
        added(copy)


def test_an_architecture_of_another_model(place: Path, copy: Path) -> None:
    shutil.copy(place / "Graph.siamese" / FILES[1], copy / FILES[1])
    with pytest.raises(SourceError, match=r"do not fit|does not hold|layers that its architecture does not have"):
        added(copy)


def test_more_than_the_file_holds(copy: Path) -> None:
    """An architecture that asks for gigabytes."""
    path = copy / FILES[1]
    content = path.read_bytes()
    changed = content.replace(b'"units": 3', b'"units": 3' + b"0" * 9)
    assert changed != content
    path.write_bytes(content)
    metadata = read_metadata(content)
    path.write_bytes(
        written_metadata([(n, place, said.replace('"units": 3', '"units": 3000000000')) for n, place, said in metadata])
    )
    with pytest.raises(SourceError, match="asks for far more weights than the file holds"):
        added(copy)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("[1]", "does not say of which layers"),
        ("{", "is damaged"),
        ('{"class_name": "Sequential", "config": ' + "[" * 300 + "]" * 300 + "}", "nested more than 200 levels deep"),
        ('{"class_name": "Functional", "config": {"layers": [{}]}}', "does not say of which layers"),
        ('{"class_name": "Functional", "config": {"name": "m", "layers": []}, "keras_version": [3]}', "damaged"),
    ],
)
def test_odd_metadata(said: str, error: str, copy: Path) -> None:
    nodes = read_metadata((copy / FILES[1]).read_bytes())
    (copy / FILES[1]).write_bytes(written_metadata([(0, "root", said), *nodes[1:]]))
    with pytest.raises(SourceError, match=error):
        added(copy)


def test_code_in_a_config_does_not_run(copy: Path, tmp_path: Path) -> None:
    """A Lambda, and a function of another module."""
    nodes = read_metadata((copy / FILES[1]).read_bytes())
    marker = tmp_path / "marker"
    for config in (
        {"name": "x", "function": {"class_name": "__lambda__", "config": {"code": "4wA=\\n"}}},
        {"name": "x", "function": "system", "module": "os", "arguments": {"command": f"touch {marker}"}},
    ):
        layer = {"class_name": "Lambda", "config": config, "name": "x", "inbound_nodes": []}
        model = {"class_name": "Functional", "keras_version": "2.15.0"}
        model["config"] = {
            "name": "m",
            "layers": [layer],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["x", 0, 0]],
        }
        (copy / FILES[1]).write_bytes(written_metadata([(0, "root", json.dumps(model)), *nodes[1:]]))
        with pytest.raises(SourceError):
            added(copy)
    assert not marker.exists()


# -- the parts -------------------------------------------------------------------------------------------------------
def test_the_checkpoint_is_what_tensorflow_reads(place: Path) -> None:
    import tensorflow as tf

    for name in ("Compiled", "MultiHeadAttention.default"):
        prefix = place / name / "variables/variables"
        bundle, reader = TensorBundle(prefix), tf.train.load_checkpoint(str(prefix))
        assert set(bundle.keys) == set(reader.get_variable_to_shape_map())
        for key in bundle.keys:
            if key == "_CHECKPOINTABLE_OBJECT_GRAPH":
                assert bundle.text(key) == reader.get_tensor(key)
            elif reader.get_variable_to_dtype_map()[key] != tf.string:
                np.testing.assert_array_equal(bundle.array(key), reader.get_tensor(key))


@pytest.mark.parametrize(("data", "expected"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)])
def test_checksums(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1023, 1024, 1025, 5000, (1 << 24) + 1])
def test_checksums_of_long_data(length: int) -> None:
    """One row after another, and the same byte by byte."""
    data = np.random.default_rng(length).bytes(length)
    split = length - 1000
    from keras_stitch.files import crc32c as module

    state = crc32c(data[:split]) ^ 0xFFFFFFFF
    for byte in data[split:]:
        state = int(module._table()[(state ^ byte) & 255]) ^ state >> 8
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_arrays_are_named_by_their_layers(place: Path) -> None:
    names = [array.name for array in read_arrays(place / "Bidirectional.backward_layer")["bidirectional"]]
    assert len(names) == 6 and len(set(names)) == 6
    assert names[0].startswith("bidirectional/forward_") and names[-1].startswith("bidirectional/")
