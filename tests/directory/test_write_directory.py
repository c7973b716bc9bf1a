from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import kipoi
import kipoi_runner
import numpy as np
import pytest
import yaml
from kipoi_cases import make_case, write_function_loader, write_loader

import keras_stitch as ks
from keras_stitch.directory import write_directory
from keras_stitch.errors import SaveError, SourceError, StitchError
from keras_stitch.kipoi.dataloader import Dataloader
from keras_stitch.kipoi.model_directory import read_directory

# What tables need of the runtime, and no other part.
TABLES = [
    *("array_files", "blocks", "column_tables", "command_line", "data_errors", "dataloader_kinds", "directory"),
    *("downloads", "file_contents", "hdf5_contents", "keys", "kipoi_names", "kipoi_on_numpy2", "merged"),
    *("model_kinds", "model_loading", "neighbours", "own_dataloaders", "part_base", "prediction_file", "progress"),
    *("python_files", "row_groups", "row_ids", "row_lookup", "row_names", "stored_arrays", "table_formats", "tables"),
    *("training_rows", "workers"),
]


def style_problems(directory: Path) -> str:
    # Files of the parts are copied as they are.
    ours = [*directory.glob("*.py"), *directory.glob("merging/*.py"), directory / "README.md"]
    options = ["--isolated", "--line-length", "120", "--target-version", "py311", *map(str, ours)]
    rules = ["--select", "E,W,F,I,B,C4,RUF,SIM,UP"]
    ruff = [sys.executable, "-m", "ruff"]
    done = [
        subprocess.run([*ruff, "format", "--check", "--diff", *options], capture_output=True, text=True, check=False),
        subprocess.run([*ruff, "check", "--no-cache", *rules, *options], capture_output=True, text=True, check=False),
    ]
    return "".join(item.stdout + item.stderr for item in done if item.returncode)


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_tables_only_passes_the_documented_commands(tmp_path):
    case = make_case()
    steps = []
    directory = case.write(tmp_path / "composed", progress=steps.append)
    assert steps[1:5] == [
        "saving the model",
        "making examples",
        "running the examples",
        "running Kipoi on the examples",
    ]
    assert files(directory) == [
        "README.md",
        "__init__.py",
        "dataloader.py",
        "dataloader.yaml",
        "example_files/input1.npy",
        "example_files/input2.npy",
        "graph.svg",
        *(f"merging/{name}.py" for name in ("__init__", *TABLES)),
        "model.yaml",
        "model_files/expected.h5",
        "model_files/model.keras",
        "predict.py",
        "stitch.yaml",
        "stitched_model.py",
    ]
    assert style_problems(directory) == ""
    kipoi_runner.run_documented(directory)


@pytest.mark.slow
def test_components_workers_and_every_output(tmp_path):
    case = make_case(outputs=("score", "other"), inputs={"input1": ((3,), "float32"), "input2": ((6,), "float32")})
    loaders = {
        "model1": write_loader(tmp_path / "zoo" / "numbers"),
        "input2": Dataloader(str(write_function_loader(tmp_path / "zoo" / "ones")), outputs={"a": "input2"}),
    }
    directory = case.write(tmp_path / "composed", dataloaders=loaders)
    shutil.rmtree(tmp_path / "zoo")
    assert style_problems(directory) == ""
    assert "components/model1/offsets.txt" in files(directory)
    assert not [name for name in files(directory) if name.endswith(("big.h5", ".pyc"))]
    args = {"numbers_file": str(directory / "example_files/example.tsv"), "count": 5, "model1_factor": 2}
    found = kipoi_runner.kipoi_checks(directory, args, tmp_path, cwd=tmp_path)
    assert found[0].keys() == found[1].keys() >= {"preds/score", "preds/other"}
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])
    rows = np.loadtxt(directory / "example_files/example.tsv", dtype="float32") * 2 + len("numbers")
    own = case.model.predict([rows, np.ones((5, 6), "float32")], verbose=0)
    for name in ("score", "other"):
        np.testing.assert_allclose(found[0][f"preds/{name}"], own[name], rtol=0, atol=1e-4)


def test_a_tampered_second_output_is_caught(tmp_path, monkeypatch):
    case = make_case(outputs=("score", "other"))
    tampered = make_case(outputs=("score", "other")).model
    dense = tampered.get_layer("other_dense")
    dense.set_weights([dense.get_weights()[0], dense.get_weights()[1] + 5])
    save = write_directory.write_model
    monkeypatch.setattr(write_directory, "write_model", lambda _, path: save(tampered, path))
    with pytest.raises(SaveError, match="predicts something else in its output 'other'") as error:
        case.write(tmp_path / "composed")
    assert "Received: a difference of 5" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("format", ["keras", "h5"])
def test_the_optimizer_is_not_saved(tmp_path, format, recwarn):
    case = make_case(with_model=True)
    case.model.compile("adam", "mse")
    case.model.fit([np.ones((4, 3)), np.ones((4, 6))], np.ones(4), verbose=0)
    directory = case.write(tmp_path / "composed", format=format)
    assert not [warning for warning in recwarn if "HDF5" in str(warning.message)]
    loaded = keras.models.load_model(directory / f"model_files/model.{format}")
    assert getattr(loaded, "optimizer", None) is None
    assert case.model.optimizer is not None
    kipoi_runner.kipoi_test(directory)


@pytest.mark.slow
def test_two_directories_and_one_as_source_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    first = make_case().write(tmp_path / "first", dataloaders={"model1": write_loader(tmp_path / "a")})
    second = make_case(name="other").write(tmp_path / "second", dataloaders={"input1": write_loader(tmp_path / "long")})
    part = read_directory(first)
    assert [field.name for field in part.inputs] == ["input1", "input2"]
    third = make_case(
        name="third",
        feeds={"first": {"input1": "input1", "input2": "input2"}, "again": {"x": "x"}},
        inputs={"input1": ((3,), "float32"), "input2": ((6,), "float32"), "x": ((6,), "float32")},
    ).write(tmp_path / "third", parts={"first": part})
    shutil.rmtree(tmp_path / "a")
    before = list(sys.path)
    for directory in (first, second, third):
        for workers in (0, 2):
            kipoi_runner.in_process(directory, workers)
    assert sys.path == before
    assert "helper" not in sys.modules
    row = kipoi.get_model(str(third), source="dir").default_dataloader.init_example()[1]
    assert set(row["metadata"]) == {"first", "x"}
    assert row["metadata"]["first"]["model1"] == {"row": "1"}
    np.testing.assert_allclose(row["inputs"]["input1"], np.array([1, 0.5, 1]) + len("a"))
    assert style_problems(third) == ""


@pytest.mark.slow
def test_fasta_and_bed(tmp_path):
    pytest.importorskip("pybedtools")
    (tmp_path / "genome.fa").write_text(">chr1\n" + "ACGTTGCA" * 20 + "\n")
    (tmp_path / "regions.bed").write_text("".join(f"chr1\t{start}\t{start + 11}\n" for start in range(4)))
    case = make_case(feeds={"seq": {"dna": "dna"}, "m": {"x": "x"}},
                     inputs={"dna": ((None, 4), "float32"), "x": ((2,), "float32")})  # fmt: skip
    directory = case.write(
        tmp_path / "composed",
        dataloaders={"dna": Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": 11})},
        examples={"intervals_file": tmp_path / "regions.bed", "fasta_file": str(tmp_path / "genome.fa")},
    )
    described = yaml.safe_load((directory / "dataloader.yaml").read_text())
    assert described["output_schema"]["inputs"]["dna"] == {
        "shape": "(11, 4)",
        "doc": "One-hot encoded DNA sequence",
        "special_type": "DNASeq",
    }
    assert "kipoiseq" in described["dependencies"]["pip"]
    assert not [name for name in files(directory) if name.endswith(".fai")]
    assert np.load(directory / "example_files/x.npy").shape == (4, 2)
    assert style_problems(directory) == ""
    kipoi_runner.kipoi_test(directory)


@pytest.mark.slow
def test_hosted_files_are_downloaded(tmp_path):
    base = (tmp_path / "hosted").as_uri()
    directory = make_case().write(tmp_path / "hosted", hosting=base)
    ignored = (directory / ".gitignore").read_text().split()
    assert ignored == ["/model_files/model.keras", "/model_files/expected.h5", "/example_files/input1.npy",
                       "/example_files/input2.npy"]  # fmt: skip
    assert style_problems(directory) == ""
    clone = tmp_path / "clone"
    shutil.copytree(directory, clone, ignore=shutil.ignore_patterns("*.keras", "*.h5", "*.npy"))
    assert f"| model_files/model.keras | {base}/model_files/model.keras |" in (clone / "README.md").read_text()
    kipoi_runner.kipoi_test(clone)
    part = read_directory(clone)
    assert part.weights.name == yaml.safe_load((clone / "model.yaml").read_text())["args"]["weights"]["md5"]


@pytest.mark.slow
def test_missing_downloads_say_what_to_pass(tmp_path):
    folder = write_loader(tmp_path / "numbers")
    described = yaml.safe_load((folder / "dataloader.yaml").read_text())
    described["args"]["numbers_file"]["example"] = {"url": (tmp_path / "gone").as_uri(), "md5": "0" * 32}
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(StitchError) as error:
        make_case().write(tmp_path / "composed", dataloaders={"input1": folder})
    assert "The example of 'numbers_file' cannot be downloaded." in str(error.value)
    assert "Fix: Pass examples={" in str(error.value)
    assert not (tmp_path / "composed").exists()


def test_integers_and_open_dimensions(tmp_path):
    inputs = {"tokens": ((None,), "int32"), "rows": ((None, 5), "float32")}
    case = make_case(feeds={"m": {"tokens": "tokens", "rows": "rows"}}, inputs=inputs)
    directory = case.write(tmp_path / "composed")
    tokens = np.load(directory / "example_files/tokens.npy")
    assert tokens.dtype == np.int32 and tokens.shape == (10, 8) and set(np.unique(tokens)) == {0, 1}
    assert np.load(directory / "example_files/rows.npy").shape == (10, 8, 5)
    kipoi_runner.in_process(directory)


def test_the_precision_follows_the_magnitude(tmp_path):
    directory = make_case(scale=1e4).write(tmp_path / "composed")
    assert yaml.safe_load((directory / "model.yaml").read_text())["test"]["precision_decimal"] <= 1
    kipoi_runner.in_process(directory)


def test_parts_are_merged_into_the_info(tmp_path):
    case = make_case()
    loaders = {"input1": write_loader(tmp_path / "n"), "input2": write_function_loader(tmp_path / "o")}
    with pytest.raises(StitchError, match="It is not clear which field of the dataloader"):
        case.write(tmp_path / "composed", dataloaders=loaders)
    loaders["input2"] = Dataloader(loaders["input2"], outputs={"a": "input2"})
    info = {"authors": "Eve", "doc": "All of it.", "cite_as": "doi:1"}
    directory = case.write(tmp_path / "composed", dataloaders=loaders, info=info)
    model = yaml.safe_load((directory / "model.yaml").read_text())
    assert model["info"] == {
        "authors": [{"name": "Eve"}, {"name": "Ada", "github": "ada"}, {"name": "Bob"}],
        "doc": "All of it.",
        "version": "0.1",
        "license": "unspecified",
        "cite_as": "doi:1",
    }
    assert "tqdm" in model["dependencies"]["pip"] and "keras==2.0" not in model["dependencies"]["pip"]
    assert model["dependencies"]["conda"] == [
        f"python={sys.version_info.major}.{sys.version_info.minor}", "bioconda::samtools", "numpy"]  # fmt: skip
    assert "**There are different licences: Apache-2.0, MIT.**" in (directory / "README.md").read_text()
    assert "- dataloader of model1: Numbers.\n" in (directory / "README.md").read_text()


def test_the_users_licence_is_one_of_those_that_differ(tmp_path):
    directory = make_case().write(
        tmp_path / "composed", dataloaders={"input1": write_loader(tmp_path / "n")}, info={"license": "GPL-3.0"}
    )
    assert "**There are different licences: GPL-3.0, MIT.**" in (directory / "README.md").read_text()


def test_a_mask_that_goes_on_is_no_warning(tmp_path, recwarn):
    """Keras warns of every model within a model that takes a mask, heeded there or not."""
    tokens, words = keras.Input((6,), name="tokens"), keras.Input((6, 8))
    encoder = keras.Model(tokens, keras.layers.Embedding(20, 8, mask_zero=True)(tokens))
    reader = keras.Model(words, keras.layers.LSTM(4)(words))
    graph = ks.Graph("masked").add("encoder", encoder).add("reader", reader).connect("encoder", "reader", mask=True)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 20, (4, 6)))
    directory = graph.save(tmp_path / "masked", examples={"tokens_file": str(tmp_path / "x.npy")})
    assert graph.verify().passed
    kipoi_runner.in_process(directory)
    assert not [str(warning.message) for warning in recwarn if "mask" in str(warning.message)]


def test_existing_targets(tmp_path):
    case = make_case()
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="is a file"):
        case.write(tmp_path / "file", overwrite=True)
    (tmp_path / "home").mkdir()
    with pytest.raises(SaveError, match="exists"):
        case.write(tmp_path / "home")
    (tmp_path / "home" / "letter.txt").write_text("")
    with pytest.raises(SaveError, match=r"it holds what was not generated"):
        case.write(tmp_path / "home", overwrite=True)
    directory = case.write(tmp_path / "new")
    (directory / "mine.txt").write_text("")
    with pytest.raises(SaveError, match="it holds what was not generated"):
        case.write(directory, overwrite=True)
    (directory / "mine.txt").unlink()
    (directory / "graph.svg").unlink()
    case.write(directory, overwrite=True)
    assert (directory / "graph.svg").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"format": "tf"}, "There is no format 'tf'.\n  Expected: keras or h5"),
        ({"examples": {"input1_fil": 1}}, "examples= names 'input1_fil', which is no argument of the merged"),
        ({"info": {"licence": "MIT"}}, "info= has no entry 'licence'.\n  Expected: 'license', the nearest name"),
        ({"info": {"authors": [3]}}, "info['authors'] names somebody in a way that Kipoi does not know."),
        ({"info": [1]}, "info= is not a mapping from names.\n  Expected: {'authors': ..., 'license': ..., 'doc': ...}"),
        ({"info": {"authors": 3}}, "info['authors'] is not a list.\n  Received: 3"),
        ({"info": {"tags": [3]}}, "info['tags'] is not a list of texts.\n  Received: [3]"),
        ({"examples": "a.csv"}, "examples= is not a mapping from names.\n  Expected: {argument: file or value}\n"
         "  Received: 'a.csv'"),
        ({"dataloaders": ["a"]}, "dataloaders= is not a mapping from names."),
        ({"dataloaders": {"input1": 3}}, "dataloaders={'input1': ...} is no dataloader.\n  Expected: a ks.Dataloader"),
        ({"hosting": "my server"}, "hosting= needs URLs.\n  Expected: https://..., http://..., ftp://... or file:///..."),
        ({"hosting": "https://x.org/my files"}, "hosting= has a URL with ' ' in it, which no URL may have.\n"
         "  Received: 'https://x.org/my files'\n  Fix: Write it as a URL has it: %20."),
        ({"hosting": "https://x.org/?a=1"}, "hosting= needs a base URL that paths can be appended to."),
        ({"hosting": "http://["}, "hosting= needs URLs."),
        ({"hosting": "https://"}, "hosting= needs URLs."),
        ({"hosting": 3}, "hosting= is not a mapping from names.\n  Expected: a base URL, or {path"),
        ({"hosting": {"model_files/model.keras": 3}}, "hosting= needs URLs."),
        ({"hosting": {"example_files/input3.npy": "https://x.org/a"}}, "hosting= names 'example_files/input3.npy'"),
        ({"hosting": {"model_files/model.h5": "https://x.org/a"}}, "hosting= names 'model_files/model.h5', which"),
        ({"examples": {"input1_file": Path("nowhere.npy")}}, "The file for examples['input1_file'] is not there.\n"
         "  Expected: an NPY, TSV, CSV, HDF5 or Parquet file\n  Received: 'nowhere.npy'\n  Fix: Give the whole path"),
        ({"examples": {"input1_file": "nothere.csv"}}, "The file for examples['input1_file'] is not there.\n"
         "  Expected: an NPY, TSV, CSV, HDF5 or Parquet file\n  Received: 'nothere.csv'\n"),
        ({"examples": {"input1_file": None}}, "examples['input1_file'] is not a file.\n"
         "  Expected: an NPY, TSV, CSV, HDF5 or Parquet file\n  Received: None"),
        ({"examples": {"input1_file": "/"}}, "The file for examples['input1_file'] is a folder.\n"),
    ],
)  # fmt: skip
def test_bad_options(tmp_path, monkeypatch, options, text):
    monkeypatch.setattr(write_directory, "write_model", None)  # all of it is seen before anything is written
    with pytest.raises(StitchError) as error:
        make_case().write(tmp_path / "composed", **options)
    assert text in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_examples_that_do_not_fit_together(tmp_path):
    np.save(tmp_path / "three.npy", np.ones((3, 3), "float32"))
    np.save(tmp_path / "four.npy", np.ones((4, 6), "float32"))
    with pytest.raises(SaveError) as error:
        make_case().write(
            tmp_path / "composed",
            examples={"input1_file": tmp_path / "three.npy", "input2_file": tmp_path / "four.npy"},
        )
    assert str(error.value) == (
        "The directory cannot be run on its examples.\n"
        "  Received: The parts do not have the same number of rows. Expected: one number Received: 3 in 'input1', 4 in "
        "'input2' File: 'example_files/three.npy' for 'input1' File: 'example_files/four.npy' for 'input2' Fix: Give "
        "all of them the same rows, or make the directory again with align_on= and missing='inner' "
        "for those that lack some.\n"
        "  Fix: Pass examples={argument: file or value} with data that fit together."
    )


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (None, "is not a Kipoi directory.\n  Expected: a directory with a model.yaml"),
        ("a: [", "cannot be read."),
        ("- a", "does not describe anything."),
        ({"schema": {}}, "is not valid."),
        ({"args": {}}, "names no weights."),
        ({"defined_as": "kipoi.model.TensorFlowModel"}, "is a graph of TensorFlow 1, for which"),
        ({"defined_as": "kipoi.model.PyTorchModel"}, "names a file that is not there."),
        ({"args": {"weights": "gone.h5"}}, "names a file that is not there."),
        ({"args": {"weights": {"url": "file:///gone", "md5": "0" * 32}}}, "cannot be downloaded."),
    ],
)
def test_directories_that_cannot_be_read(tmp_path, description, text):
    array = {"name": "x", "shape": "(3,)", "doc": "x"}
    whole = {
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": "w.h5"},
        "info": {"doc": "x"},
        "schema": {"inputs": dict(array), "targets": dict(array)},
    }
    if isinstance(description, dict):
        description = json.dumps({**whole, **description})
    if description is not None:
        (tmp_path / "model.yaml").write_text(description)
    with pytest.raises(SourceError) as error:
        read_directory(tmp_path)
    assert text in str(error.value)


def test_large_rows_are_stored_a_few_at_a_time(tmp_path):
    inputs = {"x": ((20_000, 4), "float32")}
    directory = make_case(feeds={"m": {"x": "x"}}, inputs=inputs).write(tmp_path / "composed")
    assert yaml.safe_load((directory / "model.yaml").read_text())["writers"] == {"hdf5_chunk_size": 50}
    with h5py.File(directory / "model_files/expected.h5") as file:
        assert file["inputs/x"].chunks == (3, 20_000, 4)
    kipoi_runner.in_process(directory)


def test_defaults_that_kipoi_downloads(tmp_path):
    (tmp_path / "hosted.txt").write_text("7")
    remote = {
        "url": (tmp_path / "hosted.txt").as_uri(),
        "md5": hashlib.md5(b"7").hexdigest(),
    }
    folder = write_loader(tmp_path / "numbers")
    described = yaml.safe_load((folder / "dataloader.yaml").read_text())
    described["args"]["offsets"]["default"] = remote
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(described))
    directory = make_case().write(tmp_path / "composed", dataloaders={"input1": folder})
    assert yaml.safe_load((directory / "dataloader.yaml").read_text())["args"]["model1_offsets"]["default"] == remote
    assert not (directory / "downloaded").exists() and not (folder / "downloaded").exists()
    row = kipoi.get_model(str(directory), source="dir").default_dataloader.init_example()[0]
    np.testing.assert_array_equal(row["inputs"]["input1"], [7, 7, 7])


def test_files_given_as_arguments_are_copied(tmp_path):
    (tmp_path / "mine.txt").write_text("9")
    folder = write_loader(tmp_path / "numbers")
    loader = Dataloader(folder, args={"offsets": str(tmp_path / "mine.txt")})
    directory = make_case().write(tmp_path / "composed", dataloaders={"input1": loader})
    (tmp_path / "mine.txt").unlink()
    assert (directory / "components/model1/dataloader_files/mine.txt").read_text() == "9"
    row = kipoi.get_model(str(directory), source="dir").default_dataloader.init_example()[0]
    np.testing.assert_array_equal(row["inputs"]["input1"], [9, 9, 9])


def test_a_loader_without_metadata(tmp_path):
    inputs = {"a": ((6,), "float32"), "b": ((1,), "float32")}
    case = make_case(feeds={"m": {"a": "a", "b": "b"}}, inputs=inputs)
    directory = case.write(tmp_path / "composed", dataloaders={"m": write_function_loader(tmp_path / "f")})
    assert "metadata" not in yaml.safe_load((directory / "dataloader.yaml").read_text())["output_schema"]
    assert style_problems(directory) == ""
    kipoi_runner.in_process(directory, workers=2)
