"""The command line: a user's mistake is one message and exit status 2, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import assert_allclose

import keras_stitch
from keras_stitch import cli
from keras_stitch.keras_private import quiet_keras

SPEC = """\
name: composed
models:
  model1: model1.h5
  model2: {source: model2.keras, trainable: false}
connections:
  model2: model1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two saved models and the stitch.yaml that chains them, in the working directory."""
    monkeypatch.chdir(tmp_path)
    with quiet_keras():
        for name, size in (("model1.h5", 3), ("model2.keras", 2)):
            layers = [keras.Input((size,), name="x"), keras.layers.Dense(2, name="dense")]
            keras.Sequential(layers, name="sequential").save(tmp_path / name)
    (tmp_path / "stitch.yaml").write_text(SPEC)
    return tmp_path


def listing(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that is refused, writes nothing and says nothing else."""
    before = listing(folder)
    capsys.readouterr()
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert listing(folder) == before
    assert said.err.startswith("keras-stitch: ")
    assert said.err.count("keras-stitch: ") == 1
    assert "Traceback" not in said.err
    return said.err.removeprefix("keras-stitch: ").removesuffix("\n")


# -- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["composed.keras", "composed.h5", "composed.hdf5"])
def test_build(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main(["build", "stitch.yaml", "-o", name]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Graph 'composed'\n\nsubmodel")
    assert said.out.endswith(f"\n\nwritten: {name}\n")
    with quiet_keras():
        composed, one, two = (keras.saving.load_model(path) for path in (name, "model1.h5", "model2.keras"))
    data = np.arange(6, dtype="float32").reshape(2, 3)
    assert_allclose(composed([data]), two(one(data)), atol=1e-5)
    assert {path.name for path in folder.iterdir()} == {"model1.h5", "model2.keras", "stitch.yaml", name}


def test_an_existing_file_is_replaced_where_asked(folder: Path) -> None:
    (folder / "composed.keras").write_text("old")
    assert cli.main(["build", "stitch.yaml", "-o", "composed.keras", "--overwrite"]) == 0
    assert keras.saving.load_model("composed.keras").name == "composed"


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "model1.h5", "model2.keras"]) == 0
    first, second = capsys.readouterr().out.split("model2.keras\n")
    assert first.startswith("model1.h5\nsha256 ")
    for text in (first, second):
        assert "parameters\nrepaired: nothing\n\nport " in text
        assert "\ndense   Dense   " in text


def test_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "stitch.yaml"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["model2", "model2.keras", "model", "yes", "6", "x", "(2,)", "dense", "(2,)"] in rows
    assert ["model1", "model", "a", "saved", "Keras", "model"] in rows


@pytest.mark.parametrize("name", ["graph.svg", "graph.png"])
def test_plot(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main(["plot", "stitch.yaml", "-o", name]) == 0
    assert capsys.readouterr().out == f"written: {name}\n"
    assert (folder / name).read_bytes()[:5] == (b"<?xml" if name.endswith("svg") else b"\x89PNG\r")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"keras-stitch {keras_stitch.__version__}\n"


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "stich.yaml", "-o", "out.keras"],
        ["save", "stich.yaml", "-o", "out"],
        ["plot", "stich.yaml", "-o", "out.svg"],
        ["plan", "stich.yaml"],
    ],
)
def test_a_spec_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert refused(folder, capsys, *arguments) == (
        "There is no file 'stich.yaml'.\n  Expected: 'stitch.yaml', the nearest name"
    )


def test_a_model_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "There is no file 'model.h5'.\n  Expected: 'model1.h5' or 'model2.keras', the nearest names"
    assert refused(folder, capsys, "inspect", "model.h5") == expected
    (folder / "stitch.yaml").write_text(SPEC.replace("model1.h5", "model.h5"))
    assert refused(folder, capsys, "build", "stitch.yaml", "-o", "out.keras") == expected


def test_mistakes_in_the_spec_have_their_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stitch.yaml").write_text(SPEC.replace("connections", "conections"))
    assert refused(folder, capsys, "plan", "stitch.yaml") == (
        "'stitch.yaml' has 1 mistake:\n  line 5, conections: unknown key; expected 'connections', the nearest name"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "stitch.yaml", "-o", "out.h5"],
        ["plan", "stitch.yaml"],
        ["plot", "stitch.yaml", "-o", "out.svg"],
        ["save", "stitch.yaml", "-o", "out"],
    ],
)
def test_wrong_wires(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (folder / "stitch.yaml").write_text(SPEC.replace("model2: model1", "model2: modle1"))
    assert refused(folder, capsys, *arguments) == (
        "Graph 'composed' cannot be built, 1 problem:\n"
        "1. In the connection to 'model2.x': There is no submodel or graph input 'modle1'.\n"
        "     Expected: 'model1' or 'model2', the nearest names"
    )


def test_an_output_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.keras").write_text("mine")
    assert refused(folder, capsys, "build", "stitch.yaml", "-o", "out.keras") == (
        "'out.keras' exists.\n  Fix: Give another name, or --overwrite."
    )
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").touch()
    assert refused(folder, capsys, "save", "stitch.yaml", "-o", "out").startswith("'out' exists.\n  Fix: ")


def test_an_ending_that_is_no_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(folder, capsys, "build", "stitch.yaml", "-o", "out.onnx") == (
        "'out.onnx' does not end in a format of Keras.\n  Expected: .keras or .h5 or .hdf5"
    )
    assert ".svg" in refused(folder, capsys, "plot", "stitch.yaml", "-o", "out.gif")
    assert "onnx" in refused(folder, capsys, "save", "stitch.yaml", "-o", "out", "--format", "onnx")


def test_a_folder_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(folder, capsys, "build", "stitch.yaml", "-o", "no/out.keras") == (
        f"There is no folder '{folder / 'no'}'.\n  Fix: Make it first."
    )


@pytest.mark.parametrize("command", [["build", "-o", "out.h5"], ["save", "--format", "h5", "-o", "out"]])
def test_what_h5_cannot_hold(folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    given = keras.Input((2,), name="x")
    keras.Model(given, keras.ops.sigmoid(given)).save(folder / "model2.keras")
    text = refused(folder, capsys, command[0], "stitch.yaml", *command[1:])
    assert text.startswith("An .h5 file cannot hold submodel 'model2': it has the operation Sigmoid")
    assert text.endswith('\n  Fix: Save as .keras: graph.save(..., format="keras").')


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["-d", "x"], "Cannot read -d 'x'.\n  Expected: NAME=VALUE"),
        (["-d", "=x"], "Cannot read -d '=x'.\n  Expected: NAME=VALUE"),
        (["-e", "x=1", "-e", "x=2"], "-e 'x' is given twice."),
        (["--info", "no.yaml"], "--info 'no.yaml' cannot be read: No such file or directory."),
        (
            ["--info", "seq.yaml"],
            "--info 'seq.yaml' is no mapping.\n  Expected: authors: ..., doc: ..., license: ...",
        ),
        (["--info", "bad.yaml"], "--info 'bad.yaml' is not valid YAML: "),
        (["--info", "model1.h5"], "--info 'model1.h5' is not valid YAML: "),
    ],
)
def test_options_of_save(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str) -> None:
    (folder / "seq.yaml").write_text("- a")
    (folder / "bad.yaml").write_text("a: [")
    said = refused(folder, capsys, "save", "stitch.yaml", "-o", "out", *options)
    assert said.startswith(text)
    assert said == text or text.endswith(": ")


def test_a_command_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["stitch"], ["build"], ["build", "stitch.yaml"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith("usage: keras-stitch")


# -- tracebacks -----------------------------------------------------------------------------------


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "no.yaml", "--debug"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert "SpecFileError: There is no file 'no.yaml'." in said


def test_what_is_no_mistake_of_the_users_is_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(keras_stitch.Graph, "from_yaml", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["plan", "stitch.yaml"])


def test_the_program_itself(folder: Path) -> None:
    """In a process of its own: status, streams, and nothing on them that is not ours."""
    before = listing(folder)
    command = [sys.executable, "-m", "keras_stitch.cli", "build", "stitch.yaml", "-o", "out.onnx"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "\nkeras-stitch: 'out.onnx' does not end in a format of Keras.\n  Expected: .keras or .h5 or .hdf5\n" in (
        f"\n{done.stderr}"
    )
    assert "Traceback" not in done.stderr
    assert listing(folder) == before
