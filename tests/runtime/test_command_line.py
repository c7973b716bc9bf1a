"""The program of a directory: ``predict.py``, its options and its messages."""

import importlib
import io
import sys
import textwrap

import h5py
import numpy as np
import pytest
import yaml

from keras_stitch.kipoi.templates import template_module, template_text

PROGRAM = template_module("kipoi.merging.command_line")
PROGRESS = template_module("kipoi.merging.progress")

LOADER = """
    import numpy as np

    def rows(count, offsets=(0, 0), workers="none", name_file=None):
        if count < 0:
            raise ValueError("count is\\nnegative")
        x = np.arange(count, dtype="float32")[:, None] + np.asarray(offsets, "float32")
        ids = np.array([f"{workers} {name_file} {row}" for row in range(count)])
        return {"inputs": x, "targets": x[:, 0], "metadata": {"id": ids}}
"""
MODEL = """
    from kipoi.model import BaseModel

    class Twice(BaseModel):
        def predict_on_batch(self, x):
            return 2 * x
"""
ARGUMENTS = {
    "count": {"doc": "How many rows; 50% of all.", "type": "int", "example": 5},
    "offsets": {"doc": "Two numbers.", "optional": True},
    "workers": {"doc": "Who works.", "type": "str", "optional": True},
    "name_file": {"doc": "A file.", "type": "str", "optional": True},
}


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory with a model and a dataloader, neither of which is ours."""
    folder = tmp_path / "composed"
    folder.mkdir()
    (folder / "dataloader.py").write_text(textwrap.dedent(LOADER))
    (folder / "model.py").write_text(textwrap.dedent(MODEL))
    described = {"defined_as": "dataloader.py::rows", "type": "PreloadedDataset", "args": ARGUMENTS}
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(described))
    (folder / "model.yaml").write_text(yaml.safe_dump({"defined_as": "model.Twice"}))
    monkeypatch.setattr(sys, "argv", ["predict.py"])
    monkeypatch.chdir(tmp_path)
    return folder


def written(name="predictions.h5"):
    with h5py.File(name) as file:
        ids = [text.decode() for text in file["metadata/id"][:]]
        return file["preds"][:].tolist(), ids, sorted(file)


def refused(directory, *arguments):
    """The message of a call that ends with an error."""
    with pytest.raises(SystemExit) as ended:
        PROGRAM.main(directory, arguments)
    return ended.value.code


def test_without_data_the_examples_are_predicted(directory, capsys):
    assert PROGRAM.main(directory, []) == 0
    said = capsys.readouterr()
    assert said.out == "5 rows in predictions.h5\n"
    assert said.err == "No data are named: these are the examples of the directory.\n"
    predictions, ids, parts = written()
    assert predictions == [[2.0 * row] * 2 for row in range(5)] and ids[4] == "none None 4"
    assert parts == ["metadata", "preds"]


def test_values_are_read_by_their_types(directory, tmp_path, capsys):
    (tmp_path / "here.tsv").touch()
    arguments = ["--count", "3", "--offsets", "[1, 2.5]", "--data-workers", "7", "--name_file", "here.tsv"]
    # The program's own options of these names are others.
    assert PROGRAM.main(directory, [*arguments, "--batch-size=2", "--workers=0", "-o", "x.h5", "--keep-inputs"]) == 0
    predictions, ids, parts = written("x.h5")
    assert predictions == [[2.0, 5.0], [4.0, 7.0], [6.0, 9.0]]
    assert ids[0] == f"7 {tmp_path / 'here.tsv'} 0"
    assert parts == ["inputs", "metadata", "preds", "targets"]
    assert capsys.readouterr() == ("3 rows in x.h5\n", "")
    # What JSON does not read may be YAML; a text that looks like a number stays one.
    assert PROGRAM.main(directory, ["--count=1", "--offsets", "[.5, -.5]", "--data-workers=1e3", "-o", "y.h5"]) == 0
    assert written("y.h5")[:2] == ([[1.0, -1.0]], ["1e3 None 0"])


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(directory, tmp_path, capsys):
    (tmp_path / "predictions.h5").write_text("mine")
    assert refused(directory) == 1
    error = "predict.py: error: 'predictions.h5' exists already. Fix: Name another file, or add --overwrite.\n"
    assert capsys.readouterr().err == error
    assert (tmp_path / "predictions.h5").read_text() == "mine"
    assert PROGRAM.main(directory, ["--overwrite"]) == 0
    assert len(written()[1]) == 5


def test_errors_are_one_line_and_leave_nothing(directory, tmp_path, capsys):
    before = set(tmp_path.rglob("*"))
    assert refused(directory, "--count=-1") == 1
    assert capsys.readouterr().err == "predict.py: error: ValueError: count is negative\n"
    assert refused(directory, "--count=0") == 1
    assert capsys.readouterr().err.startswith("predict.py: error: ")
    with pytest.raises(ValueError, match="count is\nnegative"):
        PROGRAM.main(directory, ["--count=-1", "--traceback"])
    (directory / "model.py").write_text(textwrap.dedent(MODEL).replace("return 2 * x", "raise SyntaxError('no')"))
    assert refused(directory, "--count=2") == 1
    assert capsys.readouterr().err == "predict.py: error: SyntaxError: no\n"
    assert {path for path in set(tmp_path.rglob("*")) - before if "__pycache__" not in path.parts} == set()


def test_ctrl_c_leaves_nothing(directory, tmp_path, capsys):
    code = textwrap.dedent(MODEL).replace("return 2 * x", "raise KeyboardInterrupt")
    (directory / "model.py").write_text(code)
    assert PROGRAM.main(directory, []) == 130
    assert capsys.readouterr().err.endswith("interrupted: nothing was written\n")
    assert not list(tmp_path.glob("*.h5*")) and not list(tmp_path.glob(".*h5*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--offsets=1"], "these are missing: count. Without any, the examples are predicted."),
        (["--batch-size=0"], "argument --batch-size: it is a whole number, 1 or more, not '0'"),
        (["--workers=-1"], "argument --workers: it is a whole number, 0 or more, not '-1'"),
        (["--flank=3"], "unrecognized arguments: --flank=3"),
    ],
)
def test_arguments_that_have_no_meaning(directory, capsys, arguments, message):
    assert refused(directory, *arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"predict.py: error: {message}"


def test_the_help_has_the_words_of_the_dataloader(directory, capsys):
    assert refused(directory, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--count VALUE How many rows; 50% of all. (needed)" in said
    assert "--data-workers VALUE Who works." in said and "--workers N" in said


def test_progress_is_for_terminals_and_for_what_takes_long(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def said(stream, soonest, total):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(PROGRESS, "SOONEST", soonest)
        assert list(PROGRESS.shown([[1, 2], [3]], "reading", len, total)) == [[1, 2], [3]]
        return stream.getvalue()

    assert said(Terminal(), -1, 1200) == "\rreading: 2 of 1,200 rows\rreading: 3 of 1,200 rows\r" + " " * 24 + "\r"
    assert "\rreading: 3 rows\r" in said(Terminal(), -1, None)
    assert said(Terminal(), 1000, None) == said(io.StringIO(), -1, None) == ""


def test_the_package_has_the_documented_names(directory, monkeypatch):
    """As it is written into a directory; ``merging`` is this repository's own."""
    (directory / "__init__.py").write_text(template_text("kipoi/directory_package.py"))
    monkeypatch.setitem(sys.modules, "composed.merging.directory", template_module("kipoi.merging.directory"))
    monkeypatch.setitem(sys.modules, "composed.merging", template_module("kipoi.merging"))
    monkeypatch.syspath_prepend(directory.parent)
    composed = importlib.import_module("composed")
    try:
        assert composed.__all__ == ["dataloader", "model", "predict", "training_data"]
        assert len(composed.dataloader()) == 5 and len(composed.dataloader(count=3)) == 3
        assert composed.model().predict_on_batch(np.ones(2)).tolist() == [2.0, 2.0]
        (batch,) = composed.predict()
        assert batch.keys() == {"inputs", "targets", "metadata", "preds"} and len(batch["preds"]) == 5
        assert [len(batch["preds"]) for batch in composed.predict({"count": 7}, batch_size=3)] == [3, 3, 1]
    finally:
        del sys.modules["composed"]


@pytest.mark.parametrize(("name", "made"), [("out.txt", False), ("folder.h5", True)])
def test_the_output_is_an_hdf5_file(directory, tmp_path, name, made):
    if made:
        (tmp_path / name).mkdir()
    assert refused(directory, "-o", name, "--overwrite") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["composed", *([name] if made else [])])


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("50", None, 50),
        ("50", "int", 50),
        ("50", "str", "50"),
        ("[1, 2]", None, [1, 2]),
        ("A" * 5000, None, "A" * 5000),
        ("there", "str", "/there"),
        ("there", None, "/there"),
    ],
)
def test_a_file_named_like_a_number_is_no_number(directory, tmp_path, text, kind, value):
    """Texts that name files become whole paths; numbers stay numbers where that is the type."""
    (tmp_path / "there").touch()
    if kind != "str":
        (tmp_path / "50").touch()
    found = PROGRAM._value(text, {"type": kind})
    assert found == (str(tmp_path / value[1:]) if value == "/there" else value)


@pytest.mark.parametrize("arguments", [{}, {"nonsense": 1}, {"count": 3, "nonsense": 1}])
def test_other_arguments_are_named(directory, arguments):
    found = template_module("kipoi.merging.directory").Directory(directory)
    with pytest.raises(ValueError, match="The dataloader takes other arguments") as raised:
        list(found.predictions(arguments))
    assert "Expected: count (needed), name_file, offsets, workers" in str(raised.value)


@pytest.mark.parametrize("options", [{"workers": -1}, {"batch_size": 0}])
def test_training_data_has_rows_and_workers(directory, options):
    found = template_module("kipoi.merging.directory").Directory(directory)
    with pytest.raises(ValueError, match=r"A batch has at least one row|The number of workers is"):
        found.training_data(**options)
