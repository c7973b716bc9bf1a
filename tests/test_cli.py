"""The command line: a user's mistake is one message and exit status 2, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import assert_allclose

import keras_stitch
from keras_stitch import cli
from keras_stitch.cli.parser import make_parser
from keras_stitch.cli.quiet import LogFilter
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
        "'out.keras' exists.\n  Fix: Pass overwrite=True (--overwrite on the command line) to replace it, or choose "
        "another name."
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


@pytest.mark.parametrize("option", ["-o", "--output="])
def test_an_option_whose_value_is_two_hyphens(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["build", "stitch.yaml", f"{option}--"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"keras-stitch: error: argument {option}: expected one argument\n")


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


# -- the program itself, in processes of its own ----------------------------------------------------


def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python without what the tests set of TensorFlow, as a user would."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "CUDA_"))}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**environment, **variables}, check=False
    )


def test_the_program_itself(folder: Path) -> None:
    """Status, streams, and nothing on them that is not ours."""
    before = listing(folder)
    done = start("-m", "keras_stitch", "build", "stitch.yaml", "-o", "out.onnx")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "keras-stitch: 'out.onnx' does not end in a format of Keras.\n  Expected: .keras or .h5 or .hdf5\n",
    )
    assert listing(folder) == before


PRINTS = """\
import sys
from keras_stitch import cli

cli.COMMANDS["plan"] = lambda options: print("\\u2500\\udcff" * int(options.spec))
sys.argv[1:] = ["plan", sys.argv[1]]
sys.exit(cli.main())
"""


@pytest.mark.parametrize(("length", "unbuffered"), [(1, ""), (100_000, "1")])
def test_a_standard_output_that_takes_nothing(length: int, unbuffered: str) -> None:
    command = [sys.executable, "-c", PRINTS, str(length)]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    options = {"stderr": subprocess.PIPE, "env": {**environment, "PYTHONUNBUFFERED": unbuffered}}
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run(command, stdout=writing, check=False, **options)
    os.close(writing)
    shown = subprocess.run(command, stdout=subprocess.PIPE, check=False, **options)
    assert (closed.returncode, closed.stderr) == (128 + signal.SIGPIPE, b"")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, rb"\u2500\udcff" * length + b"\n", b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, check=False, **options)
    assert done.returncode == 2 and b"cannot be written: No space left on device." in done.stderr
    assert b"Traceback" not in done.stderr


SEVERAL = """\
import sys
from keras_stitch.cli import main

for command in (["inspect", "model1.h5"], ["plan", "stitch.yaml"], ["build", "stitch.yaml", "-o", "out.keras"]):
    sys.argv[1:] = command
    assert main() == 0
imported = {name.partition(".")[0] for name in sys.modules}
print(*imported & {"keras", "kipoi", "matplotlib", "onnx", "pandas", "sklearn", "snakemake", "torch"})
import matplotlib.pyplot, pandas, sklearn.base
sys.argv[1:] = ["plot", "stitch.yaml", "-o", "out.png"]
assert main() == 0
"""


@pytest.mark.slow
def test_no_banner_and_nothing_imported_in_vain(folder: Path) -> None:
    done = start("-c", SEVERAL)
    assert (done.returncode, done.stderr) == (0, "")
    *_, written, imported, drawn = done.stdout.splitlines()
    assert (written, imported, drawn) == ("written: out.keras", "keras", "written: out.png")


WITHOUT_KERAS = """\
import contextlib, io, os, sys
import keras_stitch
from keras_stitch.cli import main

before = dict(os.environ), os.fstat(2).st_ino, sys.stderr
for command in (["--help"], ["inspect"], ["inspect", "--help"], ["plan", "no.yaml"], ["verify", "--rows"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(command)
print(*{"keras", "tensorflow", "kipoi", "pandas", "matplotlib"} & set(sys.modules))
print(before == (dict(os.environ), os.fstat(2).st_ino, sys.stderr))
"""


def test_mistakes_need_no_keras_and_a_call_from_python_changes_nothing(tmp_path: Path) -> None:
    done = start("-c", WITHOUT_KERAS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\nTrue\n", "")


INFO = b"I0000 00:00:1795967404.264828    7504 port.cc:153] oneDNN custom operations are on.\n"
WARNING = b"W0000 00:00:1795967404.265399    7504 gpu_device.cc:2430] Cannot dlopen some GPU libraries.\n"
ERROR = b"E0000 00:00:1795967404.265399    7504 file.cc:7] No space left.\n"
NO_GPU = b"E0000 00:00:1795967430.512706    7504 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\n"
TWICE = b"E0000 00:00:1795967430.512706 7504 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to\n"
OLDER = b"2024-01-01 10:00:00.123456: I tensorflow/core/util/port.cc:113] oneDNN custom operations are on.\n"
PREAMBLE = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
FATAL = b"F0000 00:00:1795967430.512706 7504 cpu_feature_guard.cc:1] This library needs AVX.\n"
OURS = b"WARNING: mine\nIt is 5.\n2024-01-01\n\n"
ALL = PREAMBLE + INFO + OURS + WARNING + ERROR + NO_GPU + TWICE + OLDER + FATAL


@pytest.mark.parametrize(
    ("level", "has_gpu", "left"),
    [
        (0, False, ALL),
        (1, True, OURS + WARNING + ERROR + NO_GPU + FATAL),
        (2, False, OURS + ERROR + FATAL),
        (2, True, OURS + ERROR + NO_GPU + FATAL),
        (3, True, OURS + FATAL),
    ],
)
def test_what_is_left_of_a_log(level: int, has_gpu: bool, left: bytes) -> None:
    assert LogFilter(level, has_gpu=has_gpu).feed(ALL) == left
    for size in (1, 7, 50):  # however it arrives
        log_filter = LogFilter(level, has_gpu=has_gpu)
        pieces = [log_filter.feed(ALL[start : start + size]) for start in range(0, len(ALL), size)]
        assert b"".join(pieces) + log_filter.end() == left


def test_what_is_no_log_does_not_wait() -> None:
    log_filter = LogFilter(2, has_gpu=False)
    for text in (b"Password: ", b"secret\n", b"\r 2%|", b"\r12%|", b"\n", b"In ", b"1795 it/s"):
        assert log_filter.feed(text) == text
    assert log_filter.feed(b"\n" + INFO[:30]) == b"\n"
    assert log_filter.feed(INFO[30:]) == b""
    assert (log_filter.feed(ERROR[:-1]), log_filter.end(), log_filter.end()) == (b"", ERROR[:-1], b"")


# Writes as TensorFlow does, itself and from a process that it starts, and is ended by the system.
ABORTED = f"""\
import os, subprocess, sys
from keras_stitch.cli.quiet import quiet

with quiet():
    os.write(2, {INFO!r} + {ERROR!r})
    writes = "import os, sys; os.write(2, sys.argv[1].encode())"
    subprocess.run([sys.executable, "-c", writes, {(INFO + b"child" + OURS[-1:]).decode()!r}])
    print("ours", file=sys.stderr)
    print(os.environ["TF_CPP_MIN_LOG_LEVEL"], flush=True)
print("after", file=sys.stderr)
with quiet():
    os.write(2, {INFO!r} + {FATAL!r})
    os.abort()
"""


@pytest.mark.parametrize("level", ["", "0"])
def test_errors_are_shown_to_the_end(level: str) -> None:
    done = start("-c", ABORTED, **({"TF_CPP_MIN_LOG_LEVEL": level} if level else {}))
    assert done.returncode == -signal.SIGABRT
    said = sorted(done.stderr.splitlines(keepends=True))
    expected = [ERROR.decode(), "child\n", "ours\n", "after\n", FATAL.decode()]
    assert said == sorted([*expected, *[INFO.decode()] * (3 if level else 0)])
    assert done.stdout.strip() in ([level] if level else ["1", "2"])


def test_save_takes_require_ids() -> None:
    command = ["save", "stitch.yaml", "-o", "out"]
    assert not make_parser().parse_args(command).require_ids
    assert make_parser().parse_args([*command, "--require-ids"]).require_ids
