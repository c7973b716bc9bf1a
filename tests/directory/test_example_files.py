from __future__ import annotations

import logging

import h5py
import keras
import kipoi_runner
import numpy as np
import pandas as pd
import pytest
import yaml
from kipoi_cases import make_case, write_loader

import keras_stitch as ks
from keras_stitch.directory.save_request import SavedGraph
from keras_stitch.directory.write_directory import write_directory
from keras_stitch.errors import SaveError
from keras_stitch.kipoi import run_directory
from keras_stitch.kipoi.dataloader import Dataloader


@pytest.mark.parametrize(
    ("name", "content", "received"),
    [
        ("a.csv", "a,b\n1,2\n", "has a wrong number of columns for rows of shape (3,): 'example_files/a.csv'. "
         "Expected: 3. Got: 2"),
        ("a.npz", None, "is an archive: 'example_files/a.npz'. Expected: an NPY, TSV, CSV, HDF5 or Parquet file. "
         "Got: a zip file, such as NPZ"),
    ],
)  # fmt: skip
def test_examples_that_cannot_be_read(tmp_path, name, content, received):
    if content is None:
        np.savez(tmp_path / name, np.ones((2, 3)))
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(SaveError) as error:
        make_case().write(tmp_path / "composed", examples={"input1_file": tmp_path / name})
    assert str(error.value) == (
        "The dataloader of input1 cannot read its examples.\n"
        f"  Received: The file for 'input1' {received}.\n"
        "  Fix: Pass examples={argument: file or value} with data that they read."
    )


def test_rows_of_another_shape_than_said(tmp_path):
    loader = write_loader(tmp_path / "n", inputs="self.rows[index, :2]")
    with pytest.raises(SaveError) as error:
        make_case().write(tmp_path / "composed", dataloaders={"input1": loader})
    assert str(error.value) == (
        "The dataloader of model1 gave shape (2,), the graph input 'input1' takes (3,).\n"
        "  Fix: Set the arguments of the dataloader with ks.Dataloader(..., args=...), or pass examples= that fit."
    )


def test_errors_that_no_example_mends(tmp_path):
    loader = write_loader(tmp_path / "n", inputs="(self.rows[index] if index < 2 else nothing)")
    with pytest.raises(SaveError) as error:
        make_case().write(tmp_path / "composed", dataloaders={"input1": loader})
    assert str(error.value) == (
        "The directory cannot be run on its examples.\n"
        "  Received: The dataloader of 'model1' fails at row 2. Received: NameError: name 'nothing' is not defined"
    )


def write_expected(path, stored, rows):
    with h5py.File(path, "w") as file:
        for name, array in rows.items():
            file[f"inputs/{name}"] = array
        file["preds"] = stored
    return path


def test_predictions_that_are_not_numbers(tmp_path, recwarn):
    case = make_case()
    rows = {"input1": np.ones((3, 3), "float32"), "input2": np.ones((3, 6), "float32")}
    rows["input1"][1, 0] = np.nan
    own = np.array(case.model([rows["input1"], rows["input2"]]))
    run_directory.check_predictions(
        case.model,
        [port.name for port in case.wiring.inputs],
        case.wiring,
        write_expected(tmp_path / "a.h5", own, rows),
    )
    own[2] = np.nan
    with pytest.raises(SaveError) as error:
        run_directory.check_predictions(
            case.model,
            [port.name for port in case.wiring.inputs],
            case.wiring,
            write_expected(tmp_path / "b.h5", own, rows),
        )
    assert str(error.value) == (
        "The examples hold NaN, on which the output 'score' is not the same each time.\n"
        "  Expected: NaN in the same places\n"
        "  Received: NaN in other places: 1 of 3 differ\n"
        "  Fix: Pass examples= without NaN."
    )
    rows["input1"][:] = 1
    with pytest.raises(SaveError, match="NaN in other places: 2 of 3 differ"):
        run_directory.check_predictions(
            case.model,
            [port.name for port in case.wiring.inputs],
            case.wiring,
            write_expected(tmp_path / "c.h5", own[[1, 2, 0]], rows),
        )
    own[:] = np.inf
    with pytest.raises(SaveError, match="infinity in other places"):
        run_directory.check_predictions(
            case.model,
            [port.name for port in case.wiring.inputs],
            case.wiring,
            write_expected(tmp_path / "d.h5", own, rows),
        )
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_tensorflows_remark_on_retracing_is_kept_back(caplog):
    logger = logging.getLogger("tensorflow")
    with run_directory.quiet():
        logger.warning("5 out of the last %d calls to f triggered tf.function retracing.", 5)
        logger.warning("something else")
    logger.warning("6 out of the last 6 calls to f triggered tf.function retracing.")
    assert [record.getMessage()[:5] for record in caplog.records if record.name == "tensorflow"] == ["somet", "6 out"]


def test_a_trained_model_has_flags_and_weights_of_its_own(tmp_path):
    x = keras.Input((3,), name="x")
    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Dense(1)]
    graph = ks.Graph("composed")
    for name in ("whole", "half", "none"):
        y = x
        for layer in layers:
            y = type(layer).from_config(layer.get_config())(y)
        graph.add(name, keras.Model(x, y, name=name))
    graph.add("relu", keras.layers.ReLU())
    graph.add_input("x", [f"{name}.x" for name in ("whole", "half", "none")])
    graph.connect(["whole", "half", "none"], "relu")
    model = graph.build()
    model.get_layer("whole").trainable = False
    model.get_layer("half").layers[1].trainable = False
    for trained in (False, True):
        saved = SavedGraph(graph.spec, graph._flow(), model, "<svg/>", "name: composed\n", trained=trained)
        directory = write_directory(tmp_path / str(trained), saved)
        text = (directory / "README.md").read_text()
        rows = [line.split(" | ") for line in text.splitlines() if " | - | " in line]
        assert {row[0].lstrip("| "): row[3] for row in rows if len(row) == 5} == {
            "whole": "yes", "half": "partly", "none": "no", "relu": "no"}  # fmt: skip
        assert ("The weights are those of a model that was trained after stitching" in text) == trained


def test_labels_of_columns_are_kept(tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2)]).save(part / "model.keras")
    targets = {"name": "y", "shape": "(2,)", "doc": "Two numbers.", "column_labels": ["one", "two"]}
    (part / "model.yaml").write_text(yaml.safe_dump({
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": "model.keras"},
        "info": {"doc": "A part with labels."},
        "schema": {"inputs": {"name": "x", "shape": "(3,)", "doc": "x"}, "targets": targets},
    }))  # fmt: skip
    graph = ks.Graph("composed")
    graph.add("m", part)
    directory = graph.save(tmp_path / "composed")
    described = yaml.safe_load((directory / "model.yaml").read_text())["schema"]["targets"]
    assert (described["shape"], described["column_labels"]) == ("(2,)", ["one", "two"])
    assert "- m: A part with labels.\n" in (directory / "README.md").read_text()
    kipoi_runner.in_process(directory)


def test_helpers_that_are_imported_too_late(tmp_path):
    loader = write_loader(tmp_path / "n")
    text = (loader / "dataloader.py").read_text().replace("import helper\n", "")
    text = text.replace("        self.offset =", "        import helper\n\n        self.offset =")
    (loader / "dataloader.py").write_text(text)
    with pytest.raises(SaveError) as error:
        make_case().write(tmp_path / "composed", dataloaders={"input1": loader})
    assert str(error.value) == (
        "The dataloader of model1 cannot read its examples.\n"
        "  Received: The dataloader of 'model1' cannot be made. Received: ModuleNotFoundError: No module named "
        "'helper'\n"
        "  Fix: Import helper at the top of the part's dataloader.py: files beside it are found only while "
        "it is loaded."
    )


def test_given_arguments_win_over_the_parts_examples(tmp_path):
    folder = write_loader(tmp_path / "numbers")
    described = yaml.safe_load((folder / "dataloader.yaml").read_text())
    described["args"]["factor"]["example"] = 2
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(described))
    (tmp_path / "mine.tsv").write_text("1\t2\t3")
    loader = Dataloader(folder, args={"factor": 5, "numbers_file": tmp_path / "mine.tsv"})
    directory = make_case().write(tmp_path / "composed", dataloaders={"input1": loader})
    args = yaml.safe_load((directory / "dataloader.yaml").read_text())["args"]
    assert not [name for name in args if "example" in args[name] and name != "input2_file"]
    with h5py.File(directory / "model_files/expected.h5") as file:
        np.testing.assert_array_equal(file["inputs/input1"], np.array([[5, 10, 15]]) + len("numbers"))
    kipoi_runner.in_process(directory)
    directory = make_case().write(
        tmp_path / "again", dataloaders={"input1": loader}, examples={"model1_factor": 3}
    )  # fmt: skip
    assert yaml.safe_load((directory / "dataloader.yaml").read_text())["args"]["model1_factor"]["example"] == 3


def test_random_tables_have_as_many_rows_as_the_targets(tmp_path):
    np.save(tmp_path / "t.npy", np.ones((7, 1), "float32"))
    directory = make_case().write(tmp_path / "composed", targets=tmp_path / "t.npy")
    assert len(np.load(directory / "example_files" / "input1.npy")) == 7


def test_parquet_among_the_examples_is_said_to_need_its_package(tmp_path):
    pd.DataFrame({"id": ["p", "q"], "a": [1.0, 2], "b": [3.0, 4], "c": [5.0, 6]}).to_parquet(tmp_path / "x.parquet")
    pd.DataFrame({"id": ["q", "p"], "score": [0.0, 1]}).to_parquet(tmp_path / "t.parquet")
    np.save(tmp_path / "y.npy", np.ones((2, 6), "float32"))
    files = {"input1": tmp_path / "x.parquet", "input2": tmp_path / "y.npy"}
    targets = Dataloader(tmp_path / "t.parquet", align_on="id")
    for name, options in (("inputs", {"dataloaders": files}), ("targets", {"dataloaders": files, "targets": targets})):
        directory = make_case().write(tmp_path / name, **options)
        for file in ("model.yaml", "dataloader.yaml"):
            assert "pyarrow>=15" in yaml.safe_load((directory / file).read_text())["dependencies"]["pip"]
        kipoi_runner.in_process(directory)
    with h5py.File(directory / "model_files/expected.h5") as file:
        np.testing.assert_array_equal(file["inputs/input1"], [[1, 3, 5], [2, 4, 6]])
    plain = make_case().write(tmp_path / "plain", dataloaders={"input2": tmp_path / "y.npy"})
    assert "pyarrow" not in (plain / "model.yaml").read_text()
