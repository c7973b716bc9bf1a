"""Kipoi models that cannot run in this environment: believed by their schemas, and copied as they are."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import old_keras
import pytest
import yaml
from zoo_models import array, described, write_dataloader

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.export.exportable import Exportable
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.model_directory import copied, read_directory
from keras_stitch.kipoi.packed_copy import load_packed, write_packed
from keras_stitch.placement.uv import Uv

CODE = """
import not_here
from kipoi.model import BaseModel


class Old(BaseModel):
    def __init__(self, weights):
        self.weights = weights

    def predict_on_batch(self, x):
        return not_here.predict(self.weights, x)
"""


def old(folder: Path, pip: list[str], **changes: Any) -> Path:
    """A model of a class that imports what is not installed."""
    inputs = [array((7,), "numbers"), array((None, 4), "dna")]
    targets = {"score": array((1,)), "label": array(())}
    described(folder, "model.Old", {"weights": "weights.txt"}, inputs, targets, pip, **changes)
    (folder / "model.py").write_text(CODE)
    (folder / "weights.txt").write_text("1 2 3")
    return folder


def test_its_ports_are_those_of_its_schema(tmp_path: Path) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", ["toolz==1.0.0", "numpy"]))
    submodel = graph.spec.submodel("old")
    assert submodel.inputs == (Port("numbers", (7,), None), Port("dna", (None, 4), None))
    assert submodel.outputs == (Port("label", (1,), "float32"), Port("score", (1,), "float32"))
    assert (submodel.framework, submodel.requires, submodel.unmet) == (
        "kipoi",
        ("toolz==1.0.0", "numpy"),
        ("toolz==1.0.0",),
    )
    why = "needs toolz==1.0.0 (here: ModuleNotFoundError: No module named 'not_here')"
    assert submodel.elsewhere == why
    assert (graph.plan()["old"].placement, graph.plan()["old"].reason) == ("workflow", why)
    assert graph.plan()["old"].environment == "old"


def test_what_this_environment_should_be_able_to_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StitchError) as caught:
        ks.Graph().add("old", old(tmp_path / "old", ["numpy"]))
    assert str(caught.value) == (
        f"The model class of '{tmp_path / 'old'}' cannot be loaded.\n"
        "  Received: ModuleNotFoundError: No module named 'not_here'\n"
        "  Fix: Install what 'not_here' is a part of."
    )


def test_unless_it_is_asked_to_run_elsewhere(tmp_path: Path) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", []), placement="workflow")
    assert graph.plan()["old"].reason == "cannot be loaded here: ModuleNotFoundError: No module named 'not_here'"


def test_it_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(StitchError, match=r"The model of 'old' cannot be loaded here, so it cannot be exported\."):
        Exportable(old(tmp_path / "old", ["toolz==1.0.0"]))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    args = {"pkl_file": "model.pkl"}
    described(tmp_path / "m", "kipoi.model.SklearnModel", args, array((7,)), array((1,)), ["toolz==1.0.0"])
    with pytest.raises(StitchError, match=r"model\.pkl"):
        ks.Graph().add("old", tmp_path / "m")


@pytest.mark.parametrize("option", [{"trainable": False}, {"outputs": ["layer"]}, {"arch": "a.json"}])
def test_options_that_need_keras(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(StitchError) as caught:
        ks.Graph().add("old", old(tmp_path / "old", ["toolz==1.0.0"]), **option)
    (name,) = option
    first, _, fix = str(caught.value).splitlines()
    assert first == f"{name}= of submodel 'old' is for Keras models, and this is a model that cannot be loaded here."
    assert fix == "  Fix: Leave it out: such a model runs as it is."


@pytest.mark.parametrize("placement", ["model", "dataloader"])
def test_it_cannot_run_where_it_was_asked_to(tmp_path: Path, placement: str) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", ["toolz==1.0.0"]), placement=placement)
    with pytest.raises(StitchError) as caught:
        graph.plan()
    stage = {"model": "the stitched model", "dataloader": "the dataloader"}[placement]
    assert str(caught.value).startswith(f"Submodel 'old' cannot run in {stage}: needs toolz==1.0.0 (here: ")


def test_it_is_verified_without_them(tmp_path: Path) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", ["toolz==1.0.0"]))
    graph.add("head", keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])).connect("old.score", "head")
    certificate = graph.verify()
    assert certificate.passed
    assert "Without 'old', which run in environments of their own." in certificate.notes


def test_a_model_that_changed_since_it_was_added(tmp_path: Path) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", ["toolz==1.0.0"]))
    examples = {"numbers_file": np.ones((2, 7)), "dna_file": np.ones((2, 5, 4))}
    for name, values in examples.items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "old" / "weights.txt").write_text("4")
    with pytest.raises(StitchError, match="has changed since it was added"):
        graph.save(tmp_path / "composed", examples={name: tmp_path / f"{name}.npy" for name in examples})
    assert not (tmp_path / "composed").exists()


def test_what_is_said_of_it_in_a_file(tmp_path: Path) -> None:
    graph = ks.Graph("g").add("old", old(tmp_path / "old", []), placement="workflow")
    graph.to_yaml(tmp_path / "stitch.yaml")
    assert yaml.safe_load((tmp_path / "stitch.yaml").read_text())["models"]["old"]["placement"] == "workflow"
    assert ks.Graph.from_yaml(tmp_path / "stitch.yaml").spec == graph.spec


def keras_part(folder: Path, pip: list[str]) -> tuple[Path, keras.Model]:
    inputs = keras.Input((7,), name="numbers")
    model = keras.Model(inputs, keras.layers.Dense(2, "tanh")(inputs))
    described(folder, "kipoi.model.KerasModel", {"weights": "weights.keras"}, array((7,), "numbers"), array((2,)), pip)
    model.save(folder / "weights.keras")
    return folder, model


def test_a_keras_model_is_copied_as_it_is(tmp_path: Path) -> None:
    """Its own Keras has to read it: nothing is saved anew."""
    folder, model = keras_part(tmp_path / "net", ["keras==2.15.0"])
    part = copied(read_directory(folder))
    assert part.framework == "keras" and set(part.files) == {"weights.keras"}
    assert part.args == {"weights": "weights.keras"}
    write_packed(part, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights.keras").read_bytes() == (folder / "weights.keras").read_bytes()
    x = np.random.default_rng(0).normal(size=(3, 7)).astype("float32")
    np.testing.assert_allclose(load_packed(tmp_path / "copy").predict_on_batch(x), model(x), atol=1e-6)


def test_what_it_takes_goes_by_name(tmp_path: Path) -> None:
    """The schema may have its inputs in another order than the file."""
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    model = keras.Model([first, second], keras.layers.Subtract()([first, second]))
    schema = {"second": array((3,)), "first": array((3,))}
    folder = described(
        tmp_path / "net", "kipoi.model.KerasModel", {"weights": "weights.keras"}, schema, array((3,)), ["keras==2.15.0"]
    )
    model.save(folder / "weights.keras")
    graph = ks.Graph().add("net", folder, placement="workflow")
    assembly = graph._assembly()
    ((job, packing),) = assembly.job_packings().items()
    packing.write(tmp_path / job)
    assert packing.models == {}
    data = {"first": np.full((2, 3), 5.0, "float32"), "second": np.ones((2, 3), "float32")}
    np.testing.assert_array_equal(packing.runner(tmp_path / job)(data)["net"], np.full((2, 3), 4.0))


@pytest.mark.slow
def test_an_example_at_a_url_is_brought_along(tmp_path: Path) -> None:
    folder, _ = keras_part(tmp_path / "net", [])
    write_dataloader(folder, array((7,), "numbers"))
    rows = (folder / "example_files" / "rows.npy").rename(tmp_path / "hosted.npy")
    said = yaml.safe_load((folder / "dataloader.yaml").read_text())
    md5 = hashlib.md5(rows.read_bytes()).hexdigest()
    said["args"]["rows_file"]["example"] = {"url": rows.as_uri(), "md5": md5, "name": "rows.npy"}
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(said))
    directory = ks.Graph("g").add("net", folder, placement="workflow").save(tmp_path / "composed")
    configured = yaml.safe_load((directory / "workflow" / "config.yaml").read_text())["models"]["net"]
    assert configured["dataloader_args"] == {"rows_file": "models/net/example_files/rows.npy"}
    assert (directory / "workflow" / "models/net/example_files/rows.npy").read_bytes() == rows.read_bytes()
    rows.unlink()
    with pytest.raises(StitchError, match=r"The example of 'rows_file' cannot be downloaded"):
        ks.Graph("g").add("net", folder, placement="workflow").save(tmp_path / "again")


def test_pins_of_a_keras_model_that_loads(tmp_path: Path) -> None:
    """It could be stitched, and says that it wants another Keras: that counts, unless the user says otherwise."""
    folder, _ = keras_part(tmp_path / "net", ["keras==2.15.0", "tensorflow-cpu==2.15.1"])
    graph = ks.Graph().add("net", folder)
    assert graph.spec.submodel("net").is_keras
    assert graph.spec.submodel("net").unmet == ("keras==2.15.0", "tensorflow-cpu==2.15.1")
    stays = ks.Graph().add("net", folder, placement="model")
    assert stays.plan()["net"].placement == "model" and stays.build().output_shape == (None, 2)


# -- Keras models that are here for want of an environment, and what can be in none ----------------------------------
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def old_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files of real old Keras are."""
    return old_keras.unpack(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def _index() -> None:
    if Uv().resolves(["scikit-learn==1.6.1"]) is None:
        pytest.skip("the package index cannot be reached")


def published(folder: Path, files: Path, case: str, pip: list[str], outputs: int = 1, **changes: Any) -> Path:
    """A Kipoi directory as they were made for old Keras: shapes have a batch axis, targets names of their own."""
    with np.load(files / f"{case}.npz") as arrays:
        inputs = {"seq": array((None, *arrays["x0"].shape[1:]))}
        targets = {f"task{number}": array((None, *arrays[f"y{number}"].shape[1:])) for number in range(outputs)}
    described(folder, "kipoi.model.KerasModel", {"weights": "weights.h5"}, inputs, targets, pip, **changes)
    shutil.copy(files / f"{case}.h5", folder / "weights.h5")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("_index")
@pytest.mark.parametrize(
    ("case", "pip"),
    [
        ("1.2.2-theano-th/bn_mode0", ["keras==1.2.2", "theano"]),
        ("1.2.2-tensorflow-tf/conv1d_same", ["keras==1.2.2", "tensorflow==1.4"]),
        ("2.2.4-tensorflow-channels_last/conv1d_same", ["keras==2.2.4", "h5py==2.8.0"]),
        ("2.3.1-tensorflow-channels_last/conv1d_same", ["keras==2.3.1", "tensorflow<2.2"]),
    ],
)
def test_what_loads_here_is_loaded_here(old_files: Path, case: str, pip: list[str], tmp_path: Path) -> None:
    folder = published(tmp_path / "old", old_files, case, pip, dependencies={"pip": pip, "conda": ["python=3.6"]})
    graph = ks.Graph("g").add("old", folder)
    plan = graph.plan()
    assert plan["old"].placement == "model"
    assert plan.remark == (
        f"'old' is loaded with the packages that are here: no environment for {PYTHON} has {', '.join(pip)}."
    )
    with np.load(old_files / f"{case}.npz") as arrays:
        x, y = arrays["x0"], arrays["y0"]
    assert old_keras.difference(np.asarray(graph.build()({"seq": x})), y) <= 1e-5
    assert [line for line in graph.spec.submodel("old").repairs if line.startswith("schema")] == [
        f"schema ({name}): {shape} has a batch axis"
        for name, shape in (("seq", (None, *x.shape[1:])), ("task0", (None, *y.shape[1:])))
    ]


@pytest.mark.slow
def test_targets_of_other_names_and_shapes_with_a_batch_axis(old_files: Path, tmp_path: Path) -> None:
    case = "2.0.8-tensorflow-channels_last/multi_out"
    graph = ks.Graph("g").add("old", published(tmp_path / "old", old_files, case, [], outputs=2))
    ports = graph.spec.submodel("old").outputs
    with np.load(old_files / f"{case}.npz") as arrays:
        shapes = [arrays[f"y{number}"].shape[1:] for number in range(2)]
        found = graph.build()({"seq": arrays["x0"]})
        for port, number in zip(ports, range(2), strict=True):
            assert old_keras.difference(np.asarray(found[f"old_{port.name}"]), arrays[f"y{number}"]) <= 1e-5
    assert [port.shape for port in ports] == shapes
    has = " and ".join(f"'task{number}' {(None, *shape)}" for number, shape in enumerate(shapes))
    assert f"names of outputs: the model's own, as model.yaml has others: {has}" in graph.spec.submodel("old").repairs


@pytest.mark.usefixtures("_index")
def test_what_can_neither_be_loaded_nor_have_an_environment(tmp_path: Path) -> None:
    graph = ks.Graph().add("old", old(tmp_path / "old", ["keras==1.2.2", "theano"]))
    with pytest.raises(StitchError) as caught:
        graph.plan()
    assert str(caught.value) == (
        "Submodel 'old' can neither be loaded here nor have an environment of its own.\n"
        f"  Expected: dependencies in its model.yaml that an environment for {PYTHON} can have\n"
        "  Received: needs keras==1.2.2, theano (here: ModuleNotFoundError: No module named 'not_here')\n"
        "  Fix: Correct the dependencies, or mend what keeps it from being loaded here."
    )


def test_a_schema_of_another_model_is_wrong_in_any_environment(tmp_path: Path) -> None:
    folder, _ = keras_part(tmp_path / "net", ["keras==1.2.2"])
    said = yaml.safe_load((folder / "model.yaml").read_text())
    said["schema"]["inputs"]["shape"] = "(None, 9)"
    (folder / "model.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(StitchError) as caught:
        ks.Graph().add("net", folder)
    assert "the input 'numbers' has another shape." in str(caught.value)
