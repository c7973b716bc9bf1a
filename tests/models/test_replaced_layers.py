"""Files with Lambda layers, or with layers that nobody has: what a user gives in their place predicts the same.

``lambda_models.py`` made the files, with ``tf_keras``; they are in ``lambdas.tar.xz``, which ``UPDATE_GOLDEN=1`` writes
anew. ``test_past_a_lambda`` follows the error's lines to the letter.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import warm_python
from keras import layers, ops
from repairs_files import called, floats, functional, given, layer, write_h5

import keras_stitch as ks
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.models.save_keras import save_model
from keras_stitch.verify.equality import compare

ARCHIVE = Path(__file__).with_name("lambdas.tar.xz")
MAKER = Path(__file__).parents[1] / "helpers" / "lambda_models.py"
Made = dict[str, keras.layers.Layer]

if "UPDATE_GOLDEN" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
    with tempfile.TemporaryDirectory() as place:
        environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
        subprocess.run([sys.executable, MAKER, place], env=environment, check=True)
        (Path(place) / "made_by.sha256").write_text(hashlib.sha256(MAKER.read_bytes()).hexdigest())
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for path in sorted(Path(place).iterdir()):
                archive.add(path, path.name)


def function(compute: Callable[[Any], Any], *shapes: tuple[int, ...]) -> keras.Model:
    """A functional model that computes something."""
    given = [keras.Input(shape) for shape in shapes]
    x = given if len(given) > 1 else given[0]
    return keras.Model(x, compute(x))


def scale() -> keras.layers.Layer:
    """What ``Scale`` of the maker computes, by a layer of Keras with its own weights."""
    layer = layers.BatchNormalization(epsilon=0.0, center=False, name="any")
    layer.build((None, 3))
    factors = np.random.default_rng(2).normal(0, 0.3, 3)  # as the maker set the third array
    layer.set_weights([factors, np.zeros(3), np.ones(3)])
    return layer


REPLACED: dict[str, Callable[[], Made]] = {
    "sequential": lambda: {"twice": layers.Rescaling(2.0)},
    "first": lambda: {"first": layers.Reshape((4, 1))},
    "steps": lambda: {"squared": function(lambda x: x**2, (3,))},
    "nested": lambda: {"inner/plus": layers.Rescaling(1.0, offset=1.0), "three": layers.Rescaling(3.0)},
    "pair": lambda: {"product": layers.Multiply()},
    "shared": lambda: {"minus": layers.Rescaling(1.0, offset=-1.0)},
    "parts": lambda: {"split": function(lambda x: ops.split(x, 3, axis=-1), (3,))},
    "custom": lambda: {"scale": scale()},
    "subclass": dict,
    "mask": lambda: {"doubled": layers.Rescaling(2.0)},
    "mask_sequential": lambda: {"mean": layers.GlobalAveragePooling1D()},
    "mask_nested": lambda: {"inner/d": layers.Rescaling(2.0)},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lambdas")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def predictions(files: Path, name: str, letter: str = "y") -> list[np.ndarray]:
    with np.load(files / f"{name}.npz") as arrays:
        return [arrays[key] for key in sorted(arrays) if key.startswith(letter)]


def listed(outputs: Any) -> list[np.ndarray]:
    found = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list) else [outputs]
    return [np.asarray(one) for one in found]


def check(model: keras.Model, files: Path, name: str, letter: str = "y") -> None:
    wanted = predictions(files, name, letter)
    found = listed(model(predictions(files, name, "x")[0], training=False))
    assert len(found) == len(wanted)
    assert all(compare(one, other).equal for one, other in zip(found, wanted, strict=True))


def test_the_files_are_those_of_their_maker(files: Path) -> None:
    assert (files / "made_by.sha256").read_text() == hashlib.sha256(MAKER.read_bytes()).hexdigest()


ENDINGS = ["h5", pytest.param("keras", marks=pytest.mark.slow)]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", REPLACED)
def test_layers_of_a_user_in_place_of_those_of_a_file(files: Path, name: str, ending: str) -> None:
    given = REPLACED[name]()
    graph = ks.Graph("g").add("m", files / f"{name}.{ending}", replace=given or None)
    check(graph.build(), files, name)
    rules = [repair.split(":")[0] for repair in graph.spec.submodel("m").repairs]
    paths = {"squared": "steps/squared"}
    expected = f"replaced ({', '.join(paths.get(key, key) for key in given)})" if given else "subclass-of-model"
    assert expected in rules
    check(graph.build(), files, name)  # a second build loads the file anew


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_they_are_there_after_a_reload_by_plain_keras(files: Path, tmp_path: Path, ending: str) -> None:
    """All models of one ending in one process, which knows nothing of this package."""
    names = [name for name in REPLACED if name != "parts"]  # of which .h5 cannot hold the operation
    for name in names:
        graph = ks.Graph("g").add("m", files / f"{name}.{ending}", replace=REPLACED[name]() or None)
        assert graph.verify(rows=3).passed
        save_model(graph.build(), tmp_path / f"{name}.keras")
    code = (
        "import json, sys, keras, numpy as np\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    model = keras.saving.load_model(f'{name}.keras', compile=False)\n"
        "    x = np.load(f'{sys.argv[2]}/{name}.npz')['x0']\n"
        "    y = model(x, training=False)\n"
        "    np.savez(f'{name}.npz', *(y.values() if isinstance(y, dict) else [y]))\n"
    )
    done = warm_python.run([sys.executable, "-c", code, json.dumps(names), files], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in names:
        with np.load(tmp_path / f"{name}.npz") as found:
            for key, wanted in zip(found, predictions(files, name), strict=True):
                assert compare(found[key], wanted).equal


@pytest.mark.parametrize("ending", [*ENDINGS, pytest.param("saved_model", marks=pytest.mark.slow)])
def test_past_a_lambda(files: Path, ending: str) -> None:
    """ChromBPNet in its own form, with the lines of the error as they are; ``f`` is all that a user has to know."""
    path = files / f"chrombpnet.{ending}"
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", path)
    assert str(caught.value) == (
        f"'{path}' holds a Lambda layer, that is Python code, and loading it would run whatever its author wrote.\n"
        "  Expected: a model without Python lambdas\n"
        "  Received: 'logcount_predictions' takes (None, 2) from 'concatenate' and is an output of the model (names in "
        "its code: axis, keepdims, tf, math, reduce_logsumexp)\n"
        "  Fix: Give layers or functional models that compute the same (with f in keras.ops), or take what does "
        "without:\n"
        '    x = keras.Input((2,)); graph.add(name, source, replace={"logcount_predictions": keras.Model(x, f(x))})\n'
        '    graph.add(name, source, outputs=["logits_profile_predictions"])\n'
        '    graph.add(name, source, part="model_wo_bias")  # or "model_bias"'
    )
    lines = [line.strip() for line in str(caught.value).splitlines()[-3:]]
    built = []
    for number, line in enumerate(lines):
        graph = ks.Graph("g")
        known = {"keras": keras, "graph": graph, "name": f"m{number}", "source": path}
        exec(line, known | {"f": lambda x: ops.logsumexp(x, axis=-1, keepdims=True)})
        built.append(graph.build())
    whole, profile, main = built
    check(whole, files, "chrombpnet")
    check(main, files, "chrombpnet", "main")
    x, y = predictions(files, "chrombpnet", "x")[0], predictions(files, "chrombpnet")[0]
    assert compare(np.asarray(profile(x)), y).equal
    assert not whole.get_layer("m0").get_layer("model_bias").trainable_weights


def test_what_is_left_out_is_said(files: Path) -> None:
    graph = ks.Graph("g").add("m", files / "chrombpnet.h5", outputs=["logits_profile_predictions"])
    assert graph.spec.submodel("m").repairs[0] == (
        "left-out (concatenate, logcount_predictions): the outputs that were asked for need nothing of it, and the "
        "whole model could not be loaded"
    )
    assert "left-out" in str(graph.summary())


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_an_edited_architecture_beside_a_whole_file(files: Path, tmp_path: Path, ending: str) -> None:
    with h5py.File(files / "sequential.h5") as file:
        said = json.loads(file.attrs["model_config"])
    for one in said["config"]["layers"]:
        if one["class_name"] == "Lambda":
            one |= {"class_name": "Rescaling", "config": {"name": "twice", "scale": 2.0, "offset": 0.0}}
    (tmp_path / "edited.json").write_text(json.dumps(said))
    options = {"arch": tmp_path / "edited.json"}
    if ending == "h5":
        check(ks.Graph("g").add("m", files / "sequential.h5", **options).build(), files, "sequential")
        return
    with pytest.raises(SourceError, match=r"is a whole model, so arch= is not needed\.\n(.*\n)+.*or give an \.h5 file"):
        ks.Graph("g").add("m", files / "sequential.keras", **options)


def test_a_stitch_yaml_brings_them_back(files: Path, tmp_path: Path) -> None:
    graph = ks.Graph("g").add("m", files / "nested.h5", replace=REPLACED["nested"]())
    graph.add("n", files / "chrombpnet.keras", part="model_wo_bias")
    graph.add("o", files / "steps.h5", replace=REPLACED["steps"]())
    again = ks.Graph.from_yaml(graph.to_yaml(tmp_path / "stitch.yaml"))
    assert [submodel.repairs for submodel in again.spec.submodels] == [it.repairs for it in graph.spec.submodels]
    for name, of_file in (("m", "nested"), ("o", "steps")):
        check(again.build().get_layer(name), files, of_file)
    with pytest.raises(StitchError, match=r"'c', what replaces 'scale' has weights, so a stitch\.yaml could not bring"):
        ks.Graph("g").add("c", files / "custom.h5", replace={"scale": scale()}).to_yaml(tmp_path / "c.yaml")


class Twice(keras.layers.Layer):
    """A layer of the user's."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2.0


def test_a_layer_of_the_users_class(files: Path) -> None:
    graph = ks.Graph("g").add("m", files / "sequential.h5", replace={"twice": Twice()})
    check(graph.build(), files, "sequential")
    assert graph.verify(rows=3).passed


def test_what_was_given_is_copied(files: Path) -> None:
    given = scale()
    graph = ks.Graph("g").add("m", files / "custom.h5", replace={"scale": given})
    given.set_weights([weight * 7 for weight in given.get_weights()])
    check(graph.build(), files, "custom")


REFUSED = {
    "no layer": ({"twise": layers.Rescaling(2.0)}, r"has no layer 'twise' to replace\.\n  Expected: 'twice', the near"),
    "no dict": (
        layers.Rescaling(2.0),
        r"^replace= of submodel 'm' is no dict of layers\.\n  Expected: layers by the n",
    ),
    "no value": ({"twice": "Rescaling"}, r"^replace= of submodel 'm' has something that is no layer\.\n(.*\n)*.*twice"),
    "shapes": ({"twice": layers.Conv1D(2, 2)}, r"^With 'twice' by Conv1D: .*expected min_ndim=3, found ndim=2"),
    "behind": (
        {"twice": layers.RepeatVector(3)},
        r"^With 'twice' by RepeatVector: Submodel|^With 'twice' by RepeatVector: ",
    ),
    "no weights": ({"twice": layers.Dense(3)}, r"that replaces 'twice' has weights that nobody has set\.\n  Expected"),
    "no inputs": ({"twice": keras.Sequential([layers.Dense(3)])}, "layer for 'twice' .* does not say what its inputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_take_the_place(files: Path, case: str) -> None:
    given, text = REFUSED[case]
    if case == "behind":  # the Dense behind it takes three features, whatever is before them
        given = {"twice": layers.Dense(5, kernel_initializer="ones")}
        given["twice"].build((None, 3))
        text = r"^With 'twice' by Dense: "
    with pytest.raises(StitchError) as caught:
        ks.Graph("g").add("m", files / "sequential.h5", replace=given)
    assert re.search(text, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("repeated", [False, True])
def test_weights_beside_those_of_what_was_replaced(tmp_path: Path, repeated: bool) -> None:
    """Within a nested model, an .h5 file lists the weights of all layers one after another."""
    first, last = (floats(4, 4), floats(4)), (floats(4, 4), floats(4))
    own = [called(layer("Own", "own"), "d")]
    inner = functional(
        [given("i", 4), called(layer("Dense", "d", units=4), "i"), *own, called(layer("Dense", "e", units=4), "own")],
        ["i"],
        ["e"],
        name="inner",
    )
    outer = layer("TimeDistributed", "steps", layer=inner) if repeated else inner | {"name": "inner"}
    said = functional([given("x", 3, 4) if repeated else given("x", 4), called(outer, "x")], ["x"], [outer_name(outer)])
    arrays = {"d": first, "own": (floats(4),), "e": last}
    named = [(f"{name}/{which}:0", one) for name in arrays for which, one in zip("kb", arrays[name], strict=False)]
    path = write_h5(tmp_path / "m.h5", said, {outer_name(outer): named}, version="2.15.0")
    model = ks.Graph("g").add("m", path, replace={"own": layers.Rescaling(2.0)}).build()
    x = floats(5, 3, 4) if repeated else floats(5, 4)
    wanted = 2 * (x @ first[0] + first[1]) @ last[0] + last[1]
    assert compare(np.asarray(model(x)), wanted).equal


def outer_name(outer: dict[str, Any]) -> str:
    return str(outer["config"]["name"])


def test_the_outputs_of_an_archive_that_is_cut(files: Path) -> None:
    """What is left out has weights where Keras looks for those of others."""
    model = ks.Graph("g").add("m", files / "custom.keras", outputs=["o2"]).build()
    x, wanted = predictions(files, "custom", "x")[0], predictions(files, "custom")[1]
    assert compare(np.asarray(model(x)), wanted).equal


@pytest.mark.parametrize("own_mask", [False, True])
def test_the_mask_of_a_lambda(tmp_path: Path, own_mask: bool) -> None:
    """It ends there, unless the Lambda says what its mask is; the Lambda takes tensors of two shapes."""
    table = floats(5, 3)
    said = layer("Lambda", "twice", function=["4w==", None, None], function_type="lambda")
    said["config"] |= {"mask": ["4w==", None, None], "mask_type": "lambda"} if own_mask else {}
    embedding = called(layer("Embedding", "e", input_dim=5, output_dim=3, mask_zero=True), "x")
    ends = [called(layer("GlobalAveragePooling1D", f"g{number}"), [["twice", number, 0, {}]]) for number in range(2)]
    model = functional([given("x", 4), given("y", 2, 3), embedding, called(said, "e", "y"), *ends], "xy", ["g0", "g1"])
    path = write_h5(tmp_path / "m.h5", model, {"e": [("e/embeddings:0", table)]}, version="2.15.0")
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", path)
    assert ("and gives a mask of its own" in str(caught.value)) == own_mask
    found = ks.Graph("g").add("m", path, replace={"twice": layers.Rescaling(2.0)}).build()
    x, y = np.array([[1, 2, 0, 0], [4, 0, 3, 1]]), floats(2, 2, 3)
    kept = (x != 0 if own_mask else np.ones((2, 4)))[..., None]
    wanted = [(2 * table[x] * kept).sum(1) / kept.sum(1), 2 * y.mean(1)]
    for one, other in zip(listed(found([x, y])), wanted, strict=True):
        assert compare(one, other).equal


class Trained(keras.Model):
    """A functional model that is trained in its author's way."""


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_files_of_keras_3(tmp_path: Path, ending: str) -> None:
    x = keras.Input((4,), dtype="int32", name="x")
    embedded = layers.Embedding(5, 3, mask_zero=True, name="e")(x)
    odd = layers.Lambda(lambda t: t * 2, lambda s: s, mask=lambda t, m: m, name="odd")
    ends = [layers.GlobalAveragePooling1D(name=f"g{number}")(y) for number, y in enumerate((odd(embedded), embedded))]
    ends[1] = layers.Dense(2, name="d")(ends[1])
    model = Trained(x, ends)
    rows = np.array([[1, 2, 0, 0], [4, 0, 3, 1]])
    wanted = listed(model(rows))
    model.save(tmp_path / f"m.{ending}")
    path = tmp_path / f"m.{ending}"
    with pytest.raises(SourceError, match="holds a Lambda layer"):
        ks.Graph("g").add("m", path)
    cut = ks.Graph("g").add("m", path, outputs=["d"])
    assert compare(np.asarray(cut.build()(rows)), wanted[1]).equal
    whole = ks.Graph("g").add("m", path, replace={"odd": layers.Rescaling(2.0)})
    for one, other in zip(listed(whole.build()(rows)), wanted, strict=True):
        assert compare(one, other).equal


def ninth(x: Any) -> Any:
    """A function of the user's."""
    return x / 9.0


def test_what_is_left_out_need_not_be_replaced(tmp_path: Path) -> None:
    """Lambdas with a function that their file names need that function."""
    x = keras.Input((4,))
    y = layers.Lambda(ops.relu, name="of_keras")(x)
    ends = [layers.Lambda(ninth, name=name)(y) for name in ("odd", "even")]
    keras.Model(x, [*ends, layers.Dense(2, name="d")(x)]).save(tmp_path / "m.keras")
    with pytest.raises(SourceError, match=r"needs a custom object that is not known here: 'ninth' \(layer 'odd'\)\."):
        ks.Graph("g").add("m", tmp_path / "m.keras")
    graph = ks.Graph("g").add("m", tmp_path / "m.keras", outputs=["d"], replace={"odd": layers.Identity()})
    assert graph.spec.submodel("m").repairs[0].startswith("left-out (of_keras, odd, even): ")
    given = graph.add("n", tmp_path / "m.keras", custom_objects={"ninth": ninth}, outputs=["odd"]).build()
    rows = floats(3, 4)
    assert compare(np.asarray(given.get_layer("n")(rows)), np.maximum(rows, 0) / 9).equal


def test_outputs_of_a_part(tmp_path: Path) -> None:
    """The lines to paste keep the part, and what its outputs do not need has weights in the file."""
    said = called(layer("Lambda", "odd", function=["4w==", None, None], function_type="lambda"), "d")
    held = [given("i", 4), called(layer("Dense", "d", units=2), "i"), said, called(layer("Dense", "e", units=2), "odd")]
    inner = functional(held, ["i"], ["e"], name="inner")
    whole = functional([given("x", 4), called(inner, "x")], ["x"], ["inner"])
    arrays = [("d/k:0", floats(4, 2)), ("d/b:0", floats(2)), ("e/k:0", floats(2, 2)), ("e/b:0", floats(2))]
    path = write_h5(tmp_path / "m.h5", whole, {"inner": arrays}, version="2.15.0")
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", path, part="inner")
    assert str(caught.value).endswith('graph.add(name, source, part="inner", outputs=["d"])')
    x = floats(3, 4)
    found = np.asarray(ks.Graph("g").add("m", path, part="inner", outputs=["d"]).build()(x))
    assert compare(found, x @ arrays[0][1] + arrays[1][1]).equal


def test_a_sequential_in_place_of_a_layer(files: Path) -> None:
    given = keras.Sequential([keras.Input((3,)), layers.Rescaling(4.0), layers.Rescaling(0.5)])
    check(ks.Graph("g").add("m", files / "sequential.h5", replace={"twice": given}).build(), files, "sequential")


def test_the_line_to_paste_has_the_dtype(tmp_path: Path) -> None:
    said = called(layer("Lambda", "hot", function=["4w==", None, None], function_type="lambda"), "x")
    path = write_h5(tmp_path / "m.h5", functional([given("x", 4, dtype="int32"), said], "x", ["hot"]), {})
    with pytest.raises(SourceError, match=r'x = keras\.Input\(\(4,\), dtype="int32"\); graph\.add'):
        ks.Graph("g").add("m", path)


def test_a_layer_within_a_wrapper(tmp_path: Path) -> None:
    """The cells and directions of wrappers are no layers of a model."""
    model = keras.Sequential([keras.Input((3, 2)), layers.Bidirectional(layers.LSTM(2, name="cell"), name="both")])
    model.save(tmp_path / "m.keras")
    with pytest.raises(
        SourceError, match=r"has no layer 'both/forward_cell' to replace\.\n  Expected: .*'both'|one of both"
    ):
        ks.Graph("g").add("m", tmp_path / "m.keras", replace={"both/forward_cell": layers.LSTM(2)})


@pytest.mark.parametrize("option", [{"part": "inner"}, {"replace": {"a": layers.Flatten()}}])
def test_they_are_for_files(option: dict[str, Any]) -> None:
    name = next(iter(option))
    with pytest.raises(StitchError, match=f"^{name}= of submodel 'm' is for files, and this is a model in memory"):
        ks.Graph("g").add("m", keras.Sequential([keras.Input((3,)), layers.Dense(2)]), **option)


def test_a_part_that_is_not_there(files: Path) -> None:
    with pytest.raises(
        SourceError, match=r"no model 'model_wo' within its model\.\n  Expected: 'model_wo_bias' or 'model_bias'"
    ):
        ks.Graph("g").add("m", files / "chrombpnet.h5", part="model_wo")
    with pytest.raises(SourceError, match=r"'model_bias/inner' within its model"):
        ks.Graph("g").add("m", files / "chrombpnet.h5", part="model_bias/inner")
    with pytest.raises(SourceError, match="a file with nested models; this one has none"):
        ks.Graph("g").add("m", files / "sequential.h5", part="model_wo")
