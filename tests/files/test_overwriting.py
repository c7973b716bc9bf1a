from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import kipoi_cases
import pytest

from keras_stitch.errors import SaveError
from keras_stitch.files import new_files, overwriting, temporary_names

WRITER = """
    import sys
    from pathlib import Path
    from keras_stitch.files import new_files, overwriting

    target, version = Path(sys.argv[1]), int(sys.argv[2])
    while True:
        version += 1
        with overwriting.new_directory(target, overwrite=True) as place:
            (place / "stitch.yaml").write_text(str(version))
            (place / "model_files").mkdir()
            for number in range(20):
                (place / "model_files" / f"{number}.txt").write_text(str(version))
        print(version, flush=True)
"""

FULL_DISK = """
    import resource, sys
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    from kipoi_cases import make_case
    from keras_stitch.errors import SaveError

    case = make_case()
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    for format in ("keras", "h5"):
        try:
            case.write(Path(sys.argv[1]), format=format, overwrite=True)
        except SaveError as error:
            print("SaveError:", str(error).splitlines()[0])
"""


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_killed_process_leaves_one_whole_directory(tmp_path):
    target = tmp_path / "made"
    chance = random.Random(0)
    version = 0
    for _ in range(15):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(target), str(version)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        texts = [path.read_text() for path in target.rglob("*") if path.is_file()]
        assert len(set(texts)) == 1 and len(texts) == 21
        assert int(texts.copy().pop()) > version
        version = int(texts.pop())
        assert len(hidden(tmp_path)) <= 2
    with overwriting.new_directory(target, overwrite=True) as place:
        (place / "stitch.yaml").write_text("last")
    assert hidden(tmp_path) == []


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_directory(tmp_path):
    target = tmp_path / "made"
    target.mkdir()
    (target / "stitch.yaml").write_text("old")
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(target), str(Path(kipoi_cases.__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SaveError")]
    assert len(lines) == 2, done.stdout + done.stderr
    assert all("made' cannot be written" in line or "Keras cannot save the model" in line for line in lines), lines
    assert [path.read_text() for path in target.iterdir()] == ["old"]
    assert hidden(tmp_path) == []


def test_an_error_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), overwriting.new_directory(tmp_path / "a" / "b") as place:
        (place / "x").write_text("")
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []


def test_somebody_elses_directory_stays(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(SaveError, match="exists"), overwriting.new_directory(target) as place:
        (place / "mine").write_text("")
        target.mkdir()
        (target / "theirs").write_text("")
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert hidden(tmp_path) == []


def test_without_the_system_call(tmp_path, monkeypatch):
    monkeypatch.setattr(overwriting, "_exchange", lambda first, second: False)
    target = tmp_path / "made"
    for text in ("old", "new"):
        with overwriting.new_directory(target, overwrite=True) as place:
            (place / "stitch.yaml").write_text(text)
    assert (target / "stitch.yaml").read_text() == "new"
    assert hidden(tmp_path) == []


def test_what_two_renames_left_comes_back(tmp_path):
    target = tmp_path / "made"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    old = tmp_path / f"{overwriting._start(target)}-{temporary_names._machine()}-{process.pid}-0123abcd-old"
    old.mkdir()
    (old / "stitch.yaml").write_text("old")
    with pytest.raises(RuntimeError), overwriting.new_directory(target, overwrite=True):
        raise RuntimeError
    assert (target / "stitch.yaml").read_text() == "old"


@pytest.mark.parametrize("foreign", ["thesis.tex", ".git", "model.keras"])
def test_what_was_not_generated_is_not_replaced(tmp_path, foreign):
    target = tmp_path / "made"
    with overwriting.new_directory(target) as place:
        (place / "stitch.yaml").write_text("old")
    (target / foreign).write_text("precious")
    with pytest.raises(SaveError) as error, overwriting.new_directory(target, overwrite=True):
        pass
    assert str(error.value) == (
        f"'{target}' is not replaced: it holds what was not generated, and that would be lost.\n"
        "  Expected: a new directory, an empty one, or one that was generated\n"
        f"  Received: {foreign}\n"
        "  Fix: Choose another place, or move these away."
    )
    assert (target / foreign).read_text() == "precious"


def test_a_kipoi_directory_that_was_not_generated_is_not_replaced(tmp_path):
    target = tmp_path / "zoo"
    target.mkdir()
    (target / "model.yaml").write_text("by hand")
    with pytest.raises(SaveError, match=r"Received: model\.yaml"):
        overwriting.check_target(target, overwrite=True)


def test_the_current_directory_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "made" / "model_files").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "made" / "model_files")
    for target in (".", "..", tmp_path / "made"):
        with pytest.raises(SaveError) as error:
            overwriting.check_target(target, overwrite=True)
        assert str(error.value) == (
            f"'{target}' is not replaced: the current directory is in it.\n"
            "  Fix: Go to another directory first, or choose another place."
        )


def test_a_link_to_a_directory_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with overwriting.new_directory(tmp_path / "link", overwrite=True) as place:
        (place / "stitch.yaml").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "stitch.yaml").read_text() == "new"


def test_no_permission(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # root may write everywhere, so somebody else tries
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            with overwriting.new_directory(folder / "made"):
                pass
            said = "written"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    assert said.startswith(f"SaveError: '{folder / 'made'}' cannot be written: Permission denied.")


def test_a_file_on_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SaveError, match=r"cannot be (written|read)"),
        overwriting.new_directory(tmp_path / "file" / "made"),
    ):
        pass


def test_a_new_file_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model.keras"
    target.write_text("old")
    with new_files.new_file(target) as place:
        # The ending stays: Keras chooses a format by it.
        assert place.parent == tmp_path and place.suffix == ".keras" and place.name.startswith(".")
        place.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    with pytest.raises(RuntimeError), new_files.new_file(target) as place:
        place.write_text("half")
        raise RuntimeError
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_errors_of_the_disk_are_those_of_saving(tmp_path):
    with pytest.raises(SaveError) as error, new_files.disk_errors("x"):
        (tmp_path / "nowhere" / "x").write_text("")
    assert str(error.value) == "'x' cannot be written: No such file or directory."
    with pytest.raises(SaveError) as error, new_files.disk_errors("x", "Choose another place."):
        (tmp_path / "nowhere" / "x").write_text("")
    assert str(error.value) == (
        "'x' cannot be written: No such file or directory.\n"
        f"  Received: FileNotFoundError on '{tmp_path / 'nowhere' / 'x'}'\n"
        "  Fix: Choose another place."
    )
