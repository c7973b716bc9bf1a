"""Running workflows and predicting: what a user can get wrong, and what is handed to Snakemake and to Kipoi.

That the real ones do it is shown in ``test_workflow_files`` and ``test_examples_workflow``.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from keras_stitch.model_templates.kipoi.merging import records

from keras_stitch.cli import main
from keras_stitch.errors import StitchError
from keras_stitch.files.read_files import sha256
from keras_stitch.workflow import predict_directory
from keras_stitch.workflow import snakemake as running
from keras_stitch.workflow.predict_directory import predict, read_arguments

PROFILES = Path(records.__file__).parents[2] / "workflow" / "profiles"


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What matters of a directory with two jobs, of which the second reads what the first wrote."""
    place = tmp_path / "composed"
    args = {
        "a_file": {"example": "example_files/a.npy"},
        "model1_file": {},
        "model2_file": {},
        "flank": {"optional": True},
    }
    write_yaml(place / "model.yaml", {})
    write_yaml(place / "dataloader.yaml", {"args": args})
    write_yaml(
        place / "workflow" / "models" / "model1" / "dataloader.yaml",
        {"args": {"b_file": {}, "flank": {"optional": True}}},
    )
    write_yaml(
        place / "workflow" / "models" / "model2" / "dataloader.yaml", {"args": {"a_file": {}, "model1_file": {}}}
    )
    models = {
        "model1": {"dataloader_args": {"b_file": "models/model1/b.npy"}, "files": ["b_file"], "predictions": {}},
        "model2": {
            "dataloader_args": {"a_file": "a.npy"},
            "files": ["a_file"],
            "predictions": {"model1_file": "model1"},
        },
    }
    write_yaml(place / "workflow" / "config.yaml", {"batch_size": 32, "workers": 0, "chunks": 1, "models": models})
    (place / "workflow" / "Snakefile").touch()
    for name in ("example_files/a.npy", "workflow/models/model1/b.npy"):
        (place / name).parent.mkdir(exist_ok=True)
        np.save(place / name, np.ones(3))
    for name in models:
        merging = place / "workflow" / "models" / name / "merging"
        merging.mkdir()
        shutil.copy(records.__file__, merging)
        (place / "workflow" / "models" / name / "sha256.json").write_text("{}")
    shutil.copytree(PROFILES, place / "workflow" / "profiles")
    return place


def make_predictions(results: Path) -> None:
    """Writes what a workflow would write, as far as it is looked at."""
    (results / "predictions").mkdir(exist_ok=True)

    def recorded(value: Any) -> Any:
        file = Path(str(value))
        return {"sha256": sha256(file), "bytes": file.stat().st_size} if file.is_file() else value

    for name, model in configured(results)["models"].items():
        with h5py.File(results / "predictions" / f"{name}.h5", "w") as file:
            file["rows/digest"] = np.zeros(1, "uint64")
            given = {key: recorded(value) for key, value in model["dataloader_args"].items()}
            directory = hashlib.sha256(b"{}").hexdigest()
            records.write_record(file, {"model": name, "directory": directory, "arguments": given, "predictions": {}})


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been run; a file appears where they say that one would."""
    found: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        found.append([str(item) for item in command])
        if "-o" in command:
            Path(command[command.index("-o") + 1]).write_bytes(b"made")
        elif "--directory" in command and "--unlock" not in command:
            make_predictions(Path(after(found[-1], "--directory")))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def configured(results: Path) -> dict[str, Any]:
    return yaml.safe_load((results / "config.yaml").read_text())


def handed_to_kipoi(command: list[str]) -> dict[str, Any]:
    (text,) = [item for item in command if item.startswith("--dataloader_args=")]
    return json.loads(text.partition("=")[2])


def test_the_examples_are_predicted_where_nothing_else_is_said(
    directory: Path, commands: list[list[str]], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert predict(directory, results / "composed.h5", results=results) == results / "composed.h5"
    snakemake, kipoi = commands
    assert after(snakemake, "--directory") == str(results) and "--replace-workflow-config" in snakemake
    assert after(snakemake, "--workflow-profile").endswith("workflow/profiles/local")
    assert after(snakemake, "--cores") == "all" and "--rerun-incomplete" in snakemake
    models = configured(results)["models"]
    assert models["model1"]["dataloader_args"] == {"b_file": str(directory / "workflow/models/model1/b.npy")}
    predicted = {f"{name}_file": str(results / "predictions" / f"{name}.h5") for name in ("model1", "model2")}
    assert handed_to_kipoi(kipoi) == {"a_file": str(directory / "example_files/a.npy"), **predicted}
    assert (results / "composed.h5").read_bytes() == b"made"
    assert sorted(path.name for path in results.iterdir()) == [".running", "composed.h5", "config.yaml", "predictions"]


def test_every_stage_gets_the_arguments_that_it_has(
    directory: Path, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        np.save(f"{name}.npy", np.ones(2))
    given = {"a_file": "a.npy", "b_file": "b.npy", "flank": 3}
    predict(directory, Path("out.h5"), arguments=given, workflow={"settings": {"chunks": 4}, "cores": 3})
    results = Path("out_results")
    whole = configured(results)
    assert (whole["chunks"], whole["batch_size"]) == (4, 32)
    a, b = (str(tmp_path / f"{name}.npy") for name in ("a", "b"))
    assert whole["models"]["model1"]["dataloader_args"] == {"b_file": b, "flank": 3}
    assert whole["models"]["model2"]["dataloader_args"] == {"a_file": a}
    assert whole["models"]["model1"]["files"] == ["b_file"]
    assert handed_to_kipoi(commands[1])["a_file"] == a and handed_to_kipoi(commands[1])["flank"] == 3
    assert after(commands[0], "--cores") == "3"


def test_options_of_snakemake_for_a_command_that_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "x.h5", "--", "--quiet"])
    assert "only run and predict pass options on to Snakemake: --quiet" in capsys.readouterr().err


def test_a_cluster(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    options = {"profile": "slurm", "cores": 20, "options": ["--slurm-status-command", "squeue"]}
    predict(directory, tmp_path / "out.h5", workflow=options)
    assert after(commands[0], "--workflow-profile").endswith("workflow/profiles/slurm")
    predict(directory, tmp_path / "out.h5", workflow={"profile": "slurm"})
    assert not {"--jobs", "--cores"} & set(commands[2])  # the profile says how many
    assert after(commands[0], "--jobs") == "20" and commands[0][-2:] == ["--slurm-status-command", "squeue"]


def test_a_profile_of_ones_own(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    """Whether a profile says how many jobs run is asked of the profile, and not of its name."""
    cluster, machine = tmp_path / "my_site", tmp_path / "my_machine"
    shutil.copytree(directory / "workflow" / "profiles" / "slurm", cluster)
    machine.mkdir()
    for profile in (cluster, machine):
        predict(directory, tmp_path / "out.h5", workflow={"profile": str(profile)})
    assert after(commands[0], "--workflow-profile") == str(cluster) and "--cores" not in commands[0]
    assert after(commands[2], "--workflow-profile") == str(machine) and after(commands[2], "--cores") == "all"


def test_a_profile_that_the_directory_has(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    write_yaml(directory / "workflow" / "profiles" / "moon" / "config.yaml", {"executor": "moon", "jobs": 3})
    predict(directory, tmp_path / "out.h5", workflow={"profile": "moon"})
    assert after(commands[0], "--workflow-profile").endswith("workflow/profiles/moon")


def test_a_directory_without_a_workflow(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    (directory / "workflow" / "Snakefile").unlink()
    args = {"a_file": {"example": "example_files/a.npy"}, "size": {"example": 3, "optional": True}}
    write_yaml(directory / "dataloader.yaml", {"args": args})
    predict(directory, tmp_path / "out.tsv", batch_size=8, workers=2)
    ((*_, written),) = commands
    place = Path(written)
    assert (place.parent, place.suffix, place.name != "out.tsv") == (tmp_path, ".tsv", True)
    assert (tmp_path / "out.tsv").read_bytes() == b"made" and not place.exists()
    assert {"--batch_size=8", "--num_workers=2", "--source=dir"} <= set(commands[0])
    assert handed_to_kipoi(commands[0]) == {"a_file": str(directory / "example_files/a.npy"), "size": 3}


def test_a_lock_of_one_that_was_killed_is_taken_away(
    directory: Path, commands: list[list[str]], tmp_path: Path
) -> None:
    locks = tmp_path / "results" / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    with running.run_workflow(directory, tmp_path / "results") as files:
        assert sorted(files) == ["model1", "model2"]
    assert ["--unlock" in command for command in commands] == [True, False]


def test_a_lock_of_one_that_runs_is_not(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    with (results / ".running").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StitchError) as caught, running.run_workflow(directory, results):
            pass
    assert str(caught.value) == (
        f"The workflow is running already, with its results in '{results}'.\n"
        "  Fix: Wait for it, or choose another folder with -o."
    )
    assert not commands


def test_what_fails_stops_it(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(
        StitchError, match=r"The workflow stopped\.\n  Received: exit status 1 of Snakemake; its messages"
    ):
        predict(directory, tmp_path / "out.h5")
    (directory / "workflow" / "Snakefile").unlink()
    (tmp_path / "out.h5").write_bytes(b"before")
    with pytest.raises(StitchError, match=r"Kipoi cannot predict with 'composed'\.\n  Received: exit status 1; its"):
        predict(directory, tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == b"before"  # what was there stays
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("options", [["-n"], ["--touch"], ["--until", "environment"]])
def test_options_that_keep_snakemake_from_making_files(
    directory: Path, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """What is there from another run is not taken for what was asked for."""
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.ones(2))
    given = {"a_file": str(tmp_path / "a.npy"), "b_file": str(tmp_path / "b.npy")}
    results = tmp_path / "results"
    predict(directory, tmp_path / "out.h5", arguments=given, results=results)
    np.save(tmp_path / "b.npy", np.zeros(2))
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    with pytest.raises(StitchError) as caught:
        predict(directory, tmp_path / "out.h5", arguments=given, results=results, workflow={"options": options})
    assert str(caught.value) == (
        f"The file '{results / 'predictions' / 'model1.h5'}' is an older one, and the workflow did not make it anew.\n"
        "  Expected: one of the present model and arguments\n"
        "  Received: one made with another b_file\n"
        "  Fix: Leave out options of Snakemake's that keep it from doing so, or remove the file."
    )
    with pytest.raises(StitchError, match=r"The workflow did not make 'model1\.h5'"):
        predict(directory, tmp_path / "out.h5", arguments=given, workflow={"options": options})


def test_nobody_else_runs_until_all_is_predicted(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    with running.run_workflow(directory, tmp_path), pytest.raises(StitchError, match="is running already"):
        predict(directory, tmp_path / "out.h5", results=tmp_path)


def test_files_in_lists(
    directory: Path, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.ones(2))
    predict(directory, Path("out.h5"), arguments={"a_file": "a.npy", "b_file": ["a.npy", {"x": "a.npy"}, "no file"]})
    there = str(tmp_path / "a.npy")
    given = configured(Path("out_results"))["models"]["model1"]["dataloader_args"]
    assert given == {"b_file": [there, {"x": there}, "no file"]}


def test_batches_are_as_large_as_the_settings_say(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    predict(directory, tmp_path / "out.h5", workflow={"settings": {"batch_size": "64", "workers": "1"}})
    assert {"--batch_size=64", "--num_workers=1"} <= set(commands[-1])
    said = yaml.safe_load((directory / "workflow" / "config.yaml").read_text())
    write_yaml(directory / "workflow" / "config.yaml", {**said, "batch_size": 16, "python": {"model1": "3.11"}})
    predict(directory, tmp_path / "out.h5", workflow={"settings": {"python": "3.10"}})
    assert "--batch_size=16" in commands[-1]
    assert configured(tmp_path / "out_results")["python"] == "3.10"


def test_snakemake_is_not_there(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StitchError) as caught:
        predict(directory, tmp_path / "out.h5")
    assert str(caught.value) == (
        "'composed' has a workflow, and Snakemake, which runs it, is not installed.\n"
        "  Fix: pip install 'keras_stitch[workflow]'"
    )


MISTAKES = [
    (
        {"arguments": {"a_file": "a.npy"}},
        "'composed' lacks the dataloader argument 'b_file'.\n  Expected: all of them, or none for the examples\n"
        "  Received: a_file",
    ),
    (
        {"arguments": {"a_file": "a.npy", "b_file": "b.npy", "c_file": "c"}},
        "'composed' has no dataloader argument 'c_file'.\n  Expected: 'b_file' or 'a_file', the nearest names",
    ),
    (
        {"arguments": {"model1_file": "x.h5"}},
        "'composed' has no dataloader argument 'model1_file'.\n  Expected: one of a_file, b_file, flank",
    ),
    (
        {"workflow": {"settings": {"chunk": 4}}},
        "The workflow has no setting 'chunk'.\n  Expected: one of batch_size, chunks, workers",
    ),
    *[
        (
            {"workflow": {"settings": {name: value}}},
            f"The setting '{name}' of the workflow is no such number.\n  Expected: a whole number, {least} or more\n"
            f"  Received: {value!r}",
        )
        for name, value, least in (
            ("chunks", "abc", 1),
            ("chunks", "2.5", 1),
            ("chunks", 0, 1),
            ("batch_size", 1.5, 1),
            ("workers", "-1", 0),
            ("workers", True, 0),
        )
    ],
    (
        {"arguments": {"a_file": "nosuch.npy", "b_file": "b"}},
        f"The file for 'a_file' is not there.\n  Expected: a file, as seen from '{Path.cwd()}'\n"
        "  Received: 'nosuch.npy'",
    ),
    ({"workflow": {"profile": "moon"}}, "There is no profile 'moon'.\n  Expected: local, slurm, or the folder of one"),
]


@pytest.mark.parametrize(("options", "text"), MISTAKES)
def test_mistakes(
    directory: Path, commands: list[list[str]], tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(StitchError) as caught:
        predict(directory, tmp_path / "out.h5", **options)
    assert str(caught.value) == text
    assert not commands and not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", ["out.csv", "out", "folder.h5"])
def test_an_output_that_kipoi_cannot_write(
    directory: Path, commands: list[list[str]], tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(StitchError) as caught:
        predict(directory, tmp_path / name)
    assert str(caught.value) == (
        f"Kipoi cannot write '{name}'.\n  Expected: a file that ends in .h5, .hdf5, .tsv, .bed, .parquet, .pq, .pqt"
    )
    assert not commands


def test_results_where_a_file_is(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(StitchError, match="results' cannot be a folder of results: File exists"):
        predict(directory, tmp_path / "out.h5", results=tmp_path / "results")


@pytest.mark.parametrize("there", [True, False])
def test_no_generated_directory(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "somewhere"
    if there:
        place.mkdir()
    with pytest.raises(StitchError) as caught:
        predict(place, tmp_path / "out.h5")
    assert str(caught.value) == (
        "'somewhere' is no directory to predict with.\n"
        "  Expected: one that graph.save(...) or keras-stitch save wrote, with model.yaml and dataloader.yaml\n"
        f"  Received: {'a directory without them' if there else 'no such directory'}"
    )


def test_an_example_at_a_url(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    (directory / "workflow" / "Snakefile").unlink()
    write_yaml(directory / "dataloader.yaml", {"args": {"a_file": {"example": {"url": "https://x.org/a", "md5": "1"}}}})
    with pytest.raises(StitchError) as caught:
        predict(directory, tmp_path / "out.h5")
    assert str(caught.value) == (
        "The example of 'a_file' lies at a URL.\n  Fix: Download https://x.org/a and pass it: -a a_file=FILE."
    )


def test_running_and_predicting_start_at_once() -> None:
    """Neither TensorFlow nor Kipoi is imported here: both are in the processes that are started."""
    code = "import sys, keras_stitch.workflow.predict_directory"
    code += "; sys.exit(len({'tensorflow', 'keras', 'kipoi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_arguments_on_the_command_line(tmp_path: Path) -> None:
    assert read_arguments([], None) is None
    assert read_arguments(["a=1", "b=x=y", "c=null"], '{"d": [1]}') == {"d": [1], "a": 1, "b": "x=y", "c": None}
    (tmp_path / "args.json").write_text('{"a": 2}')
    assert read_arguments([], str(tmp_path / "args.json")) == {"a": 2}


@pytest.mark.parametrize(
    ("pairs", "whole", "text"),
    [
        (["a"], None, "Cannot read -a 'a'.\n  Expected: NAME=VALUE"),
        (["a=1"], '{"a": 1}', "The argument 'a' is given twice."),
        ([], "[1]", "--dataloader_args is no JSON object.\n  Received: [1]"),
        ([], "{a", "--dataloader_args is no JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
    ],
)
def test_arguments_that_cannot_be_read(pairs: list[str], whole: str | None, text: str) -> None:
    with pytest.raises(StitchError) as caught:
        read_arguments(pairs, whole)
    assert str(caught.value).startswith(text)


def test_the_commands(directory: Path, commands: list[list[str]], tmp_path: Path) -> None:
    out = str(tmp_path / "all")
    assert main(["run", str(directory), "-o", out, "--cores", "2", "--config", "chunks=4"]) == 0
    assert (tmp_path / "all" / "composed.h5").exists() and configured(tmp_path / "all")["chunks"] == 4
    assert main(["predict", str(directory), "-o", f"{out}.h5", "--dry-run", "--", "--quiet"]) == 0
    assert commands[-1][-2:] == ["--quiet", "--dry-run"] and not (tmp_path / "all.h5").exists()


def test_kipoi_ends_with_the_process_that_asked_for_it() -> None:
    kipoi = "from kipoi.__main__ import main"
    waiting = predict_directory._KIPOI.replace(kipoi, "import time; main = lambda: time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 1
