"""Processes that are killed, disks that are full, and several writers: the old result or the new one, never a half."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import warm_python

from keras_stitch.files.new_files import new_file
from keras_stitch.files.overwriting import new_directory
from keras_stitch.models.save_keras import save_model

pytestmark = pytest.mark.slow

# What is done, and a hook that kills its process at a change of the file system that Python asks for.
PROGRAM = """
    import ctypes, os, signal, sys, traceback
    from pathlib import Path

    import numpy as np

    import keras_stitch as ks
    from keras_stitch import cli
    from keras_stitch.kipoi.kipoi_command import provide_pkg_resources
    from keras_stitch.workflow import predict_directory

    provide_pkg_resources()
    import kipoi.__main__

    place, last = Path(sys.argv[2]), int(sys.argv[3])
    os.chdir(place)
    sys.dont_write_bytecode = True  # the next run would find it, and make fewer changes
    changes = 0

    def kipoi_here(command, **options):
        pid = os.fork()
        if not pid:
            sys.argv = ["kipoi", *command[command.index("predict"):]]
            try:
                kipoi.__main__.main()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return type("Done", (), {"returncode": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})

    predict_directory.subprocess = type("", (), {"run": staticmethod(kipoi_here)})

    def follow(event, arguments):
        global changes
        is_change = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink")
        is_change |= event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not is_change or os.getpid() != own:
            return
        path = str(Path(str(arguments[0])).absolute())
        if str(place) not in path or "autograph" in path:
            return
        changes += 1
        if changes == last:
            os.kill(own, signal.SIGKILL)

    def graph():
        return ks.Graph.from_yaml("stitch.yaml")

    def limited(read_only):
        ctypes.CDLL(None).unshare(0x20000)  # CLONE_NEWNS: what is mounted is seen by this process alone
        libc, kind = ctypes.CDLL(None, use_errno=True), int(read_only)  # MS_RDONLY
        if libc.mount(b"none", b"/", None, 0x44000, None) or libc.mount(b"none", b"out", b"tmpfs", kind, b"size=16k"):
            print("cannot mount")
            sys.exit(77)

    data = (np.ones((40, 3), "float32"), np.ones((40, 1), "float32"))
    OPERATIONS = {
        "save": lambda: graph().save("out/made", overwrite=True),
        "precompute": lambda: graph().precompute(data, "out/made.h5"),
        "predict": lambda: cli.main(["predict", "given", "-o", "out/made.h5"]),
        "run": lambda: cli.main(["run", "given", "-o", "out/made"]),
        "export": lambda: cli.main(["export", "given", "-o", "out/made.onnx", "--overwrite"]),
        "build": lambda: cli.main(["build", "stitch.yaml", "-o", "out/made.keras", "--overwrite"]),
    }
    own = os.getpid()
    if last == -1:
        limited(sys.argv[1] == "read-only")
        for name, run in OPERATIONS.items():
            try:
                print(name, run())
            except ks.StitchError as error:
                print(name, "StitchError", str(error).splitlines()[0])
            print("left", sorted(path.name for path in Path("out").iterdir() if not path.name.endswith(".part")))
        sys.exit()
    sys.addaudithook(follow)
    OPERATIONS[sys.argv[1]]()
    print("changes", changes)
"""


def run(folder: Path, name: str, last: int = 0) -> Any:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), name, folder, last]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "TQDM_DISABLE": "1"}
    return warm_python.run(command, env=environment, certify_here=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a graph, what it is saved as, and folders for results and temporary files."""
    folder = tmp_path_factory.mktemp("faults")
    for name, sizes in {"trunk": (3, 2), "head": (2, 1)}.items():
        keras.Sequential([keras.Input(sizes[:1], name="x"), keras.layers.Dense(sizes[1])]).save(
            folder / f"{name}.keras"
        )
    text = "models: {trunk: trunk.keras, head: head.keras}\nconnections: {head: trunk}\nfreeze: [trunk]\n"
    (folder / "stitch.yaml").write_text(text)
    for name in ("tmp", "out"):
        (folder / name).mkdir()
    assert run(folder, "save").returncode == 0
    (folder / "out" / "made").rename(folder / "given")
    return folder


def contents(place: Path) -> dict[str, int]:
    """The files at a place and below it, without hidden ones, which nobody takes for a result."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {path.name: path.stat().st_ino for path in files if not path.name.startswith(".")}


@pytest.mark.parametrize("name", ["save", "precompute", "predict", "run", "export", "build"])
def test_a_process_is_killed_at_any_step(folder: Path, name: str) -> None:
    out = folder / "out"
    for path in out.iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
    assert run(folder, name).returncode == 0
    (made,) = out.iterdir()
    if name == "precompute":
        made.unlink()
    done = run(folder, name)  # replaces what is there, as the runs below do
    assert done.returncode == 0, done.stderr
    steps, whole, names = int(done.stdout.split()[-1]), contents(made), sorted(contents(made))
    assert steps >= 2
    for last in sorted({1, steps // 2, steps - 1, steps}):
        if name == "precompute":  # which does not replace what is finished
            made.unlink()
            whole = {}
        killed = run(folder, name, last)
        assert killed.returncode == -9, (last, killed.stderr)
        after = contents(made) if made.exists() else {}
        assert after == whole or sorted(after) == names, last
        done = run(folder, name)
        assert done.returncode == 0, (last, done.stderr)
        whole = contents(made)
        assert sorted(whole) == names and list(out.iterdir()) == [made], last
        assert not list(out.rglob(".*")), last
        # TensorFlow's own, which the command line puts into a folder of its own, and ONNX Runtime's session file.
        theirs = ("__autograph_generated_file", ".ses")
        left = [path.name for path in (folder / "tmp").iterdir() if not path.name.startswith(theirs)]
        assert left == [], last


@pytest.mark.parametrize(
    ("disk", "reason"),
    {"full": "No space left on device", "read-only": "Read-only file system"}.items(),
)
def test_no_room(folder: Path, disk: str, reason: str) -> None:
    for path in (folder / "out").iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
    done = run(folder, disk, -1)
    if done.returncode == 77:
        pytest.skip("a disk cannot be mounted here")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    results = [line for line in said if not line.startswith("left")]
    for name in ("save", "precompute"):
        (line,) = (line for line in results if line.startswith(f"{name} "))
        assert f"{name} StitchError '" in line and f"cannot be written: {reason}" in line
    for name in ("predict", "run", "build"):
        assert f"{name} 2" in results, done.stdout + done.stderr
    assert reason in done.stderr
    left = {line for line in said if line.startswith("left")}
    assert left <= {"left []", "left ['made']", "left ['made', 'made.onnx']"}


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("kind", ["made.txt", "made.keras", "directory"])
def test_several_writers(tmp_path: Path, kind: str, overwrite: bool) -> None:
    target, children = tmp_path / kind, []
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    reader, writer = os.pipe()
    for number in range(5):
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        try:
            os.close(writer)
            os.read(reader, 1)  # till all are there
            for _ in range(20 if overwrite else 1):
                write(target, model, number, overwrite)
            os._exit(0)
        except BaseException as error:
            (tmp_path.parent / f"{kind}-{number}.error").write_text(str(error))
            os._exit(3)
    os.close(writer)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(ends) == ([0] * 5 if overwrite else [0, 3, 3, 3, 3])
    for number in (number for number, end in enumerate(ends) if end):
        assert (tmp_path.parent / f"{kind}-{number}.error").read_text().startswith(f"'{target}' exists.\n  Fix: ")
    files = list(target.iterdir()) if kind == "directory" else [target]
    assert len({content(file) for file in files}) == 1 and len(files) == (11 if kind == "directory" else 1)
    assert list(tmp_path.iterdir()) == [target]


def content(file: Path) -> object:
    return keras.saving.load_model(file).get_weights()[0].tobytes() if file.suffix == ".keras" else file.read_text()


def write(target: Path, model: keras.Model, number: int, overwrite: bool) -> None:
    if target.suffix == ".keras":
        model.set_weights([np.full((3, 2), number), np.zeros(2)])
        save_model(model, target, overwrite=overwrite)
    elif target.suffix:
        with new_file(target, overwrite=overwrite) as place:
            place.write_text(str(number) * 10_000)
    else:
        with new_directory(target, overwrite=overwrite, generated=("stitch.yaml", *"abcdefghij")) as place:
            (place / "stitch.yaml").write_text(str(number))
            for name in "abcdefghij":
                (place / f"{name}").write_text(str(number))
