"""Pipes, devices, sockets and endless files where a user names a file: refused before they are opened."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import zoo_models

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import StitchError
from keras_stitch.export import export_model
from keras_stitch.files import new_files, overwriting
from keras_stitch.graphs import read_stitch_yaml
from keras_stitch.kipoi import component, model_directory
from keras_stitch.models import save_keras, stored_weights
from keras_stitch.plotting import painting
from keras_stitch.training import dataloading
from keras_stitch.verify import verify
from keras_stitch.workflow import predict_directory

SECONDS = 20


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def sparse(path: Path) -> None:
    with h5py.File(path, "w") as file:  # of which the end is nothing but zeros
        file.attrs["model_config"] = "{}"
    os.truncate(path, 4 << 40)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS = {kind.__name__: kind for kind in (pipe, device, listening, sparse, loop)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its weights and its architecture."""
    folder = tmp_path_factory.mktemp("special")
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2)])
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    (folder / "stitch.yaml").write_text("models: {m: m.keras}\n")
    return folder


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Whoever opens a pipe waits until somebody writes into it."""

    def too_late(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)


def graph(folder: Path) -> ks.Graph:
    return ks.Graph().add("m", folder / "m.keras")


def precomputed(folder: Path, path: Path) -> None:
    two = graph(folder).add("n", keras.layers.Dense(1)).connect("m", "n").freeze("m")
    two.precompute((np.ones((2, 3)), np.ones((2, 1))), path)


READ: dict[str, Callable[[Path, Path], object]] = {
    "a model": lambda it, path: ks.Graph().add("m", path),
    "an architecture": lambda it, path: ks.Graph().add("m", it / "m.weights.h5", arch=path),
    "custom objects": lambda it, path: ks.Graph().add("m", it / "m.keras", custom_objects=path.rename(f"{path}.py")),
    "a graph": lambda it, path: ks.Graph.from_yaml(path),
    "targets": lambda it, path: graph(it).save(it / "made", targets=path),
    "examples": lambda it, path: graph(it).save(it / "made", examples={"x_file": path}),
    "precomputed rows": lambda it, path: ks.training_data(path),
}
WRITTEN: dict[str, Callable[[Path, Path], object]] = {
    "a picture": lambda it, path: graph(it).plot(path),
    "a graph": lambda it, path: graph(it).to_yaml(path),
    "a directory": lambda it, path: graph(it).save(path, overwrite=True),
    "rows": precomputed,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", READ)
def test_what_is_read_is_a_file(folder: Path, tmp_path: Path, what: str, kind: str) -> None:
    KINDS[kind](tmp_path / "x")
    with pytest.raises(StitchError, match=r"/x"):
        READ[what](folder, tmp_path / "x")
    assert not (folder / "made").exists()


@pytest.mark.parametrize("kind", ["pipe", "device", "listening", "loop"])
@pytest.mark.parametrize("what", WRITTEN)
def test_what_is_written_does_not_take_the_place_of_something_else(
    folder: Path, tmp_path: Path, what: str, kind: str
) -> None:
    KINDS[kind](tmp_path / "x.svg")
    before = (tmp_path / "x.svg").lstat().st_ino
    with pytest.raises(StitchError, match=r"/x\.svg"):
        WRITTEN[what](folder, tmp_path / "x.svg")
    (there,) = tmp_path.iterdir()
    assert there.lstat().st_ino == before


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
def test_a_kipoi_directory_holds_plain_files(tmp_path: Path, kind: str) -> None:
    folder = zoo_models.write_sklearn(tmp_path / "zoo", dataloader=True)
    (folder / "dataloader.py").unlink()
    KINDS[kind](folder / "dataloader.py")
    for use in (ks.Graph().add, lambda name, path: ks.training_data(path, {})):
        with pytest.raises(StitchError, match=r"dataloader\.py' cannot be read: It (is a|has 4,398)"):
            use("m", folder)


@pytest.mark.parametrize("kind", ["pipe", "device", "sparse"])
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "{x}"],
        ["plan", "{x}"],
        ["save", "{it}/stitch.yaml", "-o", "made", "--info", "{x}"],
        ["verify", "{it}/stitch.yaml", "--data", "{x}"],
    ],
    ids=lambda command: command[0],
)
def test_commands(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind](tmp_path / "x")
    assert cli.main([part.format(it=folder, x=tmp_path / "x") for part in command]) == 2
    said = capsys.readouterr().err
    assert "keras-stitch: " in said and f"{tmp_path}/x" in said
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("command", ["predict", "run"])
def test_a_directory_that_is_a_link_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    loop(tmp_path / "x")
    assert cli.main([command, str(tmp_path / "x"), "-o", str(tmp_path / "out.h5")]) == 2
    assert capsys.readouterr().err.startswith("keras-stitch: 'x' is no directory to predict with.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_to_a_file_stays_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("old")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    graph(folder).to_yaml(tmp_path / "link.yaml")
    assert (tmp_path / "link.yaml").is_symlink()
    assert "m.keras" in (tmp_path / "real.yaml").read_text()


@pytest.mark.parametrize("name", ["state.json", "0.numbers", "state.json.new", "joined.h5"])
def test_a_pipe_among_unfinished_rows(folder: Path, tmp_path: Path, name: str) -> None:
    part = tmp_path / "rows.h5.part"
    part.mkdir()
    pipe(part / name)
    if name in ("state.json.new", "joined.h5"):  # what is left there is made anew
        precomputed(folder, tmp_path / "rows.h5")
        assert [path.name for path in tmp_path.iterdir()] == ["rows.h5"]
        return
    with pytest.raises(StitchError, match=r"rows\.h5\.part"):
        precomputed(folder, tmp_path / "rows.h5")


# -- places that nobody may look into ---------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file, closed to all but root, who is somebody else for a test; so is "unreadable" beside it."""
    for parent in (tmp_path, *tmp_path.parents[:3]):  # three, where pytest runs in several processes
        if "pytest" in parent.name or parent == tmp_path or parent.name.startswith("popen"):
            parent.chmod(0o755)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").touch()
    (tmp_path / "closed").chmod(0)
    (tmp_path / "unreadable").touch(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield tmp_path / "closed"
    if is_root:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("predict {} -o {}/x.h5", "is no directory to predict with"),
        ("export {}/x -o {}/x.onnx", r"^keras-stitch: No permission (to look at|for) '.*/x"),
        ("run {} -o {}/x", "is no directory to predict with"),
    ],
)
def test_commands_on_closed_places(closed: Path, capsys: pytest.CaptureFixture[str], command: str, said: str) -> None:
    assert cli.main(command.format(closed, closed).split()) == 2
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    "use",
    [
        lambda path: ks.training_data(path),
        lambda path: ks.training_data(path, directory=path),
        lambda path: export_model.export_model(path.parent.parent / "m.keras", path.with_suffix(".onnx")),
        lambda path: predict_directory._write(path, {}, path.with_suffix(".h5"), 1, 0),
        lambda path: ks.precompute(path, {}, path.with_suffix(".h5")),
        lambda path: new_files.write_text(path / "x.yaml", ""),
        lambda path: painting.save_plot(path / "x.svg", None, None),
        lambda path: save_keras.save_model(keras.Sequential([keras.Input((1,))]), path / "x.keras"),
        lambda path: component.resolve(ks.Dataloader(path)),
        lambda path: dataloading._loader(path),
        lambda path: verify.check_recorded(path)(read_stitch_yaml.read)(path),
        lambda path: stored_weights.check_copied(path.parent.parent / "unreadable"),
        lambda path: model_directory._is_whole(path.parent.parent / "unreadable"),
    ],
)
def test_closed_places(closed: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(StitchError):
        use(closed / "x")


def test_folders_that_nobody_may_change_go(closed: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for _ in range(2):
            with overwriting.new_directory(Path(folder, "made"), overwrite=True) as place:
                (place / "stitch.yaml").touch()
                (place / "model_files").mkdir()
                (place / "model_files" / "x").touch()
                (place / "model_files").chmod(0o500)
        assert [path.name for path in Path(folder).iterdir()] == ["made"]
        (Path(folder) / "made" / "model_files").chmod(0o700)
