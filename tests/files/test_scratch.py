from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import warm_python

from keras_stitch.errors import SaveError
from keras_stitch.files import new_files, temporary_names
from keras_stitch.files.scratch import Scratch, folders_of_keras

STOPPED = """
import os, signal, sys, time
from keras_stitch import cli
from keras_stitch.files.scratch import Scratch

number, where = int(sys.argv.pop()), sys.argv.pop()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it

class Last:
    def __del__(self):  # Python only shows what is raised here, as in callbacks of its imports
        os.kill(os.getpid(), number)

def stopped(options):
    with Scratch() as folder:
        (folder / "half").write_text("")
        if where == "ignored":
            Last()
        else:
            os.kill(os.getpid(), number)
        time.sleep(5)

cli.COMMANDS["plan"] = stopped
sys.exit(cli.main())
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def of_killed(folder: Path, start: str, end: str = "") -> Path:
    """The name of something that a process left that has ended."""
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    return folder / temporary_names.new_name(start, end).replace(f"-{os.getpid()}-", f"-{process}-")


def test_a_folder_goes_with_its_block_and_what_was_left_before(place: Path) -> None:
    of_killed(place, "keras-stitch").mkdir()
    (place / "keras-stitch-somebody").mkdir()
    with Scratch() as mine, Scratch() as other:
        (mine / "file").write_text("")
        assert {path.name for path in place.iterdir()} == {mine.name, other.name, "keras-stitch-somebody"}
    assert [path.name for path in place.iterdir()] == ["keras-stitch-somebody"]


def test_no_room_for_temporary_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(SaveError) as error, Scratch():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(error.value) == (
        f"'{place}' cannot be written: No space left on device.\n"
        "  Fix: Free some space there, or name another folder in the environment variable TMPDIR."
    )
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    with pytest.raises(SaveError, match="cannot be written: No such file or directory"):
        Scratch()


def test_an_error_that_is_about_something_else_stays_what_it_is(place: Path) -> None:
    with pytest.raises(OSError, match="elsewhere"), Scratch():
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere")


def test_folders_that_keras_leaves(place: Path) -> None:
    from keras.src.saving import saving_lib

    with pytest.raises(RuntimeError), folders_of_keras():
        assert Path(saving_lib.get_temp_dir()).name.startswith("keras-stitch-")
        raise RuntimeError
    assert list(place.iterdir()) == []


def test_files_of_killed_processes_go_when_the_next_one_writes(tmp_path: Path) -> None:
    of_killed(tmp_path, ".made.stitch", ".keras").write_text("half")
    of_killed(tmp_path, ".made.stitch", ".keras.shared").write_text("half")
    other = of_killed(tmp_path, ".made.stitch", ".h5")
    other.write_text("of another file")
    with new_files.new_file(tmp_path / "made.keras") as place:
        place.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"made.keras", other.name}


def test_a_file_that_somebody_wrote_meanwhile_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(SaveError, match="made' exists"),
        new_files.new_file(tmp_path / "made", overwrite=False) as place,
    ):
        place.write_text("mine")
        (tmp_path / "made").write_text("theirs")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("where", ["anywhere", "ignored"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_stopped_cleans_up(tmp_path: Path, number: signal.Signals, where: str) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = [sys.executable, "-c", STOPPED, "plan", "stitch.yaml", where, int(number)]
    done = warm_python.run(program, env=environment, timeout=30)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr == "keras-stitch: stopped; nothing is left half-written.\n"
    assert list(tmp_path.iterdir()) == []
