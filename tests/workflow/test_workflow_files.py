"""The files of ``model_templates/workflow``, run by Snakemake itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import workflow_cases
from workflow_cases import ROWS, TEMPLATES, VARIABLES, Workflow, content, is_alive, wait_for

from keras_stitch.errors import StitchError
from keras_stitch.workflow.snakemake import run_workflow

ALL = ["combine first", "combine second", "predict first", "predict second"]
pytestmark = pytest.mark.environments
FIRST = "predictions/first.h5"
TABLE = '{"table_file": "../workflow/table.tsv"}'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A workflow that has run once, with an environment that uv made. Tests that change it copy it."""
    folder = tmp_path_factory.mktemp("finished")
    workflow = workflow_cases.make(folder / "workflow", folder / "environment")
    (workflow.results / "environments").mkdir(parents=True)
    workflow.environment.mkdir()
    (workflow.results / "environments" / "tiny").symlink_to(workflow.environment)
    workflow.local()
    return workflow


@pytest.fixture
def copied(finished: Workflow, tmp_path: Path) -> Workflow:
    return finished.copy(tmp_path / "copy")


@pytest.fixture
def fresh(copied: Workflow) -> Workflow:
    """One that has its environment and no results."""
    shutil.rmtree(copied.results / "predictions")
    return copied


@pytest.fixture(scope="module")
def pieces(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A workflow with two pieces of "first": a.h5 and b.h5."""
    workflow = finished.copy(tmp_path_factory.mktemp("pieces") / "copy")
    for name, piece in (("a", "1-of-2"), ("b", "2-of-2")):
        predict(workflow, "first", "--piece", piece, "--arguments", TABLE, "--output", f"{name}.h5")
    return workflow


def predict(workflow: Workflow, model: str, *options: str, works: bool = True) -> str:
    size = ["--batch-size", str(workflow_cases.BATCH_SIZE)]
    return workflow.script("predict", "--model", f"../workflow/models/{model}", *size, *options, works=works)


def combine(workflow: Workflow, *options: str, model: str = "first", works: bool = True) -> str:
    place = ["--model", f"../workflow/models/{model}", "--output", "joined.h5"]
    return workflow.script("combine", *place, *options, works=works)


def parts_left(workflow: Workflow) -> list[Path]:
    return list(workflow.results.rglob("*.part"))


# Linting and dry runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "options"), [("uv", []), ("conda", []), ("container", ["--software-deployment-method", "apptainer"])]
)
def test_lint_finds_nothing(finished: Workflow, backend: str, options: list[str]) -> None:
    said = finished.run("--lint", *options, "--config", f"backend={backend}")
    assert "your workflow is in a good condition" in said


@pytest.mark.parametrize(("backend", "profile"), [("uv", "slurm"), ("conda", "local")])
def test_every_backend_and_profile_has_a_dry_run(finished: Workflow, backend: str, profile: str) -> None:
    # "finished" has run with uv and the profile for one machine, the next test has conda and that for Slurm.
    options = ["--forceall", "--workflow-profile", f"workflow/profiles/{profile}", "--printshellcmds"]
    said = finished.run("--dry-run", *options, "--config", f"backend={backend}")

    commands = {"uv": "uv pip install", "conda": "kipoi env create ../workflow/models/first --source=dir -e kipoi-tiny"}
    starts = {"uv": "environments/tiny/bin/python", "conda": "conda run --no-capture-output -n kipoi-tiny python"}
    assert commands[backend] in said
    assert f"{starts[backend]} ../workflow/scripts/predict.py --model ../workflow/models/first" in said


@pytest.mark.slow
def test_conda_environments_of_rules_have_a_dry_run(finished: Workflow, tmp_path: Path) -> None:
    env = workflow_cases.stand_in_for_conda(tmp_path / "bin")

    profile = ["--workflow-profile", "workflow/profiles/slurm", "--config", "backend=conda"]
    said = finished.run("--dry-run", "--forceall", "--sdm", "conda", *profile, env=env)

    assert "workflow/envs/tiny/environment.yaml will be created" in said


def test_containers_have_a_dry_run(finished: Workflow, tmp_path: Path) -> None:
    env, _ = workflow_cases.stand_in_for_apptainer(tmp_path / "bin", finished.environment)
    options = ["--dry-run", "--forceall", "--printshellcmds", "--software-deployment-method", "apptainer", "--config"]
    said = finished.run(*options, "backend=container", env=env)
    assert "| sort > environments/tiny.txt" in said
    assert "python ../workflow/scripts/predict.py --model ../workflow/models/first" in said
    said = finished.run(*options, "backend=container", "images=docker://example.org/tiny:1", env=env)
    assert "Singularity image docker://example.org/tiny:1 will be pulled." in said


def test_containers_that_cannot_be_had(copied: Workflow) -> None:
    said = copied.run("--dry-run", "--config", "backend=container", works=False)
    assert "backend: container needs the option --software-deployment-method apptainer." in said
    (copied.folder / "workflow" / "envs" / "tiny" / "image.sif").unlink()
    options = ["--dry-run", "--software-deployment-method", "apptainer"]
    said = copied.run(*options, "--config", "backend=container", works=False)
    assert "envs/tiny/image.sif, the image of 'tiny', which apptainer build makes in envs/tiny" in said


@pytest.mark.slow
def test_what_runs_in_containers(
    finished: Workflow, copied: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the container itself, which cannot be had here."""
    shutil.rmtree(copied.results)
    env, calls = workflow_cases.stand_in_for_apptainer(tmp_path / "bin", finished.environment)
    monkeypatch.setenv("PATH", env["PATH"])
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    with run_workflow(copied.folder, copied.results, settings={"backend": "container"}, cores=2) as files:
        for name, file in files.items():
            with h5py.File(file) as opened:
                np.testing.assert_allclose(opened["preds/score"][:], copied.expected(name), rtol=1e-6)
    asked = calls.read_text()
    assert len(re.findall("^exec ", asked, re.MULTILINE)) == 5 and "../workflow/envs/tiny/image.sif" in asked
    seen = sorted(map(str, (copied.results.resolve(), (copied.folder / "workflow").resolve())))
    assert f"--bind {seen[0]} --bind {seen[1]}" in asked
    assert not (copied.results / "environments" / "tiny").exists()


def test_nothing_of_the_files_is_python_that_ruff_complains_about() -> None:
    pytest.importorskip("ruff")
    ruff = [sys.executable, "-m", "ruff"]
    scripts = [str(path) for path in sorted((TEMPLATES / "workflow" / "scripts").glob("*.py"))]
    options = ["--isolated", "--no-cache", "--line-length", "120"]

    subprocess.run([*ruff, "check", *options, "--select", "E,W,F,I,B,C4,RUF,SIM,UP", *scripts], check=True)
    subprocess.run([*ruff, "format", *options, "--check", *scripts], check=True)


# Results


def test_second_model_reads_the_predictions_of_the_first(finished: Workflow) -> None:
    for name, tensor in (("first", "score"), ("second", "score")):
        with h5py.File(finished.predictions(name)) as file:
            np.testing.assert_allclose(file["preds"][tensor][:], finished.expected(name), rtol=1e-6)
            np.testing.assert_array_equal(file["rows/number"][:], np.arange(ROWS))
            assert file["rows/id"][19] == b"xxxxrow19"
            assert file["rows/id"].dtype == "S9" and file["metadata/name"].dtype == "S9"
            assert file["metadata/ranges/start"].shape == (ROWS,)
    with h5py.File(finished.predictions("first")) as file:
        np.testing.assert_allclose(file["preds/nested/sum"][:], finished.expected("first").sum(1), rtol=1e-5)


def test_record_says_what_a_file_was_made_from(finished: Workflow) -> None:
    made = {}
    for name in ("first", "second"):
        with h5py.File(finished.predictions(name)) as file:
            made[name] = json.loads(file.attrs["made_from"])

    table = finished.folder / "workflow" / "table.tsv"
    records = _records()
    known = {"sha256": records.sha256_of(table), "bytes": table.stat().st_size}
    assert made["first"]["arguments"] == {"table_file": known, "factor": 2.0}
    assert made["first"]["model"] == "first" and made["first"]["rows"] == ROWS
    assert made["first"]["directory"] == records.sha256_of(finished.model("first") / "sha256.json")
    assert made["first"]["predictions"] == {}
    assert made["second"]["predictions"] == {"first_file": made["first"]["key"]}
    assert made["second"]["key"] == records.key_of(made["second"])


def test_digests_are_those_of_the_rows(finished: Workflow) -> None:
    records = _records()
    with h5py.File(finished.predictions("second")) as file:
        np.testing.assert_array_equal(file["rows/digest"][:], records.digests(records.covered(file)))


def _records():
    sys.path.insert(0, str(TEMPLATES / "workflow" / "scripts"))
    try:
        import results
    finally:
        sys.path.pop(0)
    return results.load_records(TEMPLATES / "kipoi")


def test_results_are_where_they_are_said_to_be(finished: Workflow) -> None:
    folder = finished.results
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {path for path in written if not path.startswith(".snakemake") and "tiny/" not in path} == {
        "environments/tiny.txt",
        "logs/environment/tiny.log",
        "benchmarks/environment/tiny.txt",
        *(f"predictions/{name}.h5" for name in ("first", "second")),
        *(f"logs/predict/{name}/1-of-1.log" for name in ("first", "second")),
        *(f"logs/combine/{name}.log" for name in ("first", "second")),
        *(f"benchmarks/predict/{name}/1-of-1.txt" for name in ("first", "second")),
        *(f"benchmarks/combine/{name}.txt" for name in ("first", "second")),
    }
    assert "kipoi==" in (folder / "environments" / "tiny.txt").read_text()
    assert "3/3" in (folder / "logs" / "predict" / "first" / "1-of-1.log").read_text()


@pytest.mark.slow
def test_chunks_give_the_same_bits(finished: Workflow, fresh: Workflow) -> None:
    fresh.change(chunks=4)  # of three batches: one piece is empty

    fresh.local()

    for name in ("first", "second"):
        assert content(fresh.predictions(name)) == content(finished.predictions(name))
    assert not list((fresh.results / "pieces").rglob("*.h5"))
    assert fresh.jobs() == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_pieces_of_any_number_give_the_same_bits(finished: Workflow, copied: Workflow, count: int) -> None:
    given = '{"factor": 2.0, "table_file": "../workflow/table.tsv"}'
    paths = [f"{number}.h5" for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        predict(copied, "first", "--piece", f"{number}-of-{count}", "--arguments", given, "--output", path)

    combine(copied, "--pieces", *paths, "--arguments", given)

    assert content(copied.results / "joined.h5") == content(finished.predictions("first"))


# Running again


@pytest.mark.slow
def test_nothing_is_done_twice(finished: Workflow, copied: Workflow) -> None:
    assert finished.jobs() == []
    # Workflow and results can be moved together, and paths may be absolute.
    copied.change(first__table_file=str(copied.folder.resolve() / "workflow" / "table.tsv"))
    assert copied.jobs() == []


@pytest.mark.slow
def test_changed_arguments_rerun_what_depends_on_them(copied: Workflow) -> None:
    copied.change(second__rows=ROWS)
    assert copied.jobs() == ["combine second", "predict second"]
    copied.change(first__factor=3.0)
    assert copied.jobs() == ALL

    copied.local()

    with h5py.File(copied.predictions("second")) as file:
        np.testing.assert_allclose(file["preds/score"][:], copied.expected("second", factor=3), rtol=1e-6)


@pytest.mark.slow
def test_changed_files_rerun_what_depends_on_them(copied: Workflow) -> None:
    def change(path: Path, text: str) -> list[str]:
        before = path.read_text()
        path.write_text(text)
        jobs = copied.jobs()
        path.write_text(before)  # the same text, with another time
        return jobs

    assert change(copied.folder / "workflow" / "table.tsv", "id\ta\tb\none\t1\t2\n") == ALL
    assert change(copied.model("second") / "sha256.json", "{}") == ["combine second", "predict second"]
    requirements = copied.folder / "workflow" / "envs" / "tiny" / "requirements.txt"
    assert change(requirements, requirements.read_text() + "six\n") == sorted([*ALL, "environment tiny"])
    assert copied.jobs() == []


@pytest.mark.slow
def test_changed_batch_size_reruns_all(finished: Workflow) -> None:
    assert finished.jobs("--config", "batch_size=9") == ALL


@pytest.mark.slow
def test_a_file_of_the_same_name_and_an_earlier_time_is_another(copied: Workflow) -> None:
    """As ``cp -p`` and ``mv`` leave it."""
    table = copied.folder / "workflow" / "table.tsv"
    before = table.stat()
    assert copied.jobs() == []
    table.write_text("\n".join(table.read_text().splitlines()[:-2]) + "\n")
    os.utime(table, ns=(before.st_atime_ns - 10**12, before.st_mtime_ns - 10**12))
    assert copied.jobs() == ALL


@pytest.mark.slow
def test_files_in_lists_are_watched_and_recorded(copied: Workflow) -> None:
    """The model takes any text, so that the first of two is what it reads."""
    others = copied.folder / "other.tsv"
    others.write_text("a\tb\n")
    copied.change(second__rows=None, second__others=["table.tsv", str(others), "no file"])
    assert copied.jobs() == ["combine second", "predict second"]
    said = copied.local(works=False)  # the dataloader has no such argument
    assert "second" in said


@pytest.mark.slow
def test_one_argument_has_one_value(copied: Workflow) -> None:
    """Else nobody could say what a file that was made from another was made from."""
    copied.change(second__factor=1.0)
    said = copied.local(works=False)
    assert (
        "Error: first_file was made with another factor. Expected: 1.0. Received: 2.0. Run all of the workflow with "
        "the same arguments."
    ) in said


def test_a_result_says_what_those_that_it_was_made_from_were_made_from(finished: Workflow) -> None:
    with h5py.File(finished.predictions("second")) as file:
        second = json.loads(file.attrs["made_from"])
    with h5py.File(finished.predictions("first")) as file:
        first = json.loads(file.attrs["made_from"])
    assert first["arguments"]["factor"] == 2.0 and second["arguments"]["factor"] == 2.0
    assert second["arguments"]["table_file"] == first["arguments"]["table_file"]


# What is killed


@pytest.mark.slow
def test_killed_job_is_tried_again(fresh: Workflow) -> None:
    held = hold(fresh, "first")
    snakemake = fresh.start("--retries", "1", FIRST)
    os.kill(wait_for(held), signal.SIGKILL)
    wait_for(lambda: not is_alive(held()))
    release(fresh, "first")

    assert snakemake.wait(120) == 0
    assert_right(fresh)


@pytest.mark.slow
def test_killed_snakemake_leaves_nothing_that_is_taken_for_a_result(fresh: Workflow) -> None:
    held = hold(fresh, "first")
    snakemake = fresh.start(FIRST)
    orphan = wait_for(held)
    snakemake.kill()
    snakemake.wait()
    assert "cannot be locked" in fresh.local(FIRST, works=False)
    fresh.run("--unlock")
    assert is_alive(orphan) and len(parts_left(fresh)) == 1

    snakemake = fresh.start(FIRST)
    wait_for(lambda: held() not in (None, orphan))
    assert len(parts_left(fresh)) == 1  # that of the orphan is gone
    release(fresh, "first")  # both go on

    assert snakemake.wait(120) == 0
    wait_for(lambda: not is_alive(orphan))
    assert_right(fresh)
    assert fresh.jobs(FIRST) == []


RUN = """
import sys
from pathlib import Path
from keras_stitch.workflow.snakemake import run_workflow

with run_workflow(Path(sys.argv[1]), Path(sys.argv[2]), cores=2) as files:
    print(*files)
"""


@pytest.mark.slow
def test_the_same_command_goes_on_where_all_was_killed(fresh: Workflow) -> None:
    """What ``keras-stitch run`` does: no lock has to be taken away by hand, and none of one that lives is."""
    command = [sys.executable, "-c", RUN, str(fresh.folder), str(fresh.results)]
    options = {"env": VARIABLES, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    held = hold(fresh, "first")
    first = subprocess.Popen(command, **options)
    orphan = wait_for(held)
    (snakemake,) = [child for child in psutil.Process(first.pid).children() if "snakemake" in child.cmdline()]
    first.kill()
    first.wait()

    with pytest.raises(StitchError, match="The workflow is running already"):  # Snakemake lives
        run_workflow(fresh.folder, fresh.results).__enter__()
    snakemake.kill()
    wait_for(lambda: not is_alive(snakemake.pid))

    again = subprocess.Popen(command, **options)
    wait_for(lambda: held() not in (None, orphan))
    release(fresh, "first")
    assert again.wait(120) == 0
    wait_for(lambda: not is_alive(orphan))
    assert_right(fresh)


def hold(workflow: Workflow, model: str):
    """Lets a model wait in its second batch; the function returned gives its process once it does."""
    folder = workflow.model(model)
    (folder / "hold").touch()
    said = folder / "held"
    return lambda: int(said.read_text()) if said.exists() else None


def release(workflow: Workflow, model: str) -> None:
    (workflow.model(model) / "hold").unlink()


def assert_right(workflow: Workflow) -> None:
    with h5py.File(workflow.predictions("first")) as file:
        np.testing.assert_allclose(file["preds/score"][:], workflow.expected("first"), rtol=1e-6)
        assert "made_from" in file.attrs
    assert parts_left(workflow) == []


# Messages of predict.py


@pytest.mark.slow
def test_altered_model_is_refused(copied: Workflow) -> None:
    with (copied.model("second") / "model.py").open("a") as file:
        file.write("\n# changed\n")
    (copied.model("second") / "dataloader.py").unlink()
    (copied.results / "predictions" / "second.h5").unlink()

    said = copied.local(works=False)

    assert (
        f"Error: The model in '{copied.model('second')}' is not as it was made. Expected: the files in sha256.json. "
        "Received: changed: model.py; missing: dataloader.py. Restore them, or make the directory again."
    ) in said
    assert not copied.predictions("second").exists() and parts_left(copied) == []


def test_missing_input_files_are_named(copied: Workflow) -> None:
    copied.change(second__table_file="nowhere.tsv", first__table_file="/nowhere/table.tsv")

    said = copied.run("--dry-run", works=False)

    assert (
        f"Files are missing, as seen from {copied.folder / 'workflow'}: /nowhere/table.tsv, which is table_file of "
        "'first'; nowhere.tsv, which is table_file of 'second'."
    ) in said


def test_missing_predictions_are_named(pieces: Workflow) -> None:
    given = ["--arguments", TABLE, "--predictions", '{"first_file": "nowhere.h5"}', "--output", "out.h5"]
    said = predict(pieces, "second", *given, works=False)
    assert "Error: The file 'nowhere.h5' for first_file cannot be read: " in said


def test_predictions_without_a_record_are_refused(pieces: Workflow) -> None:
    given = ["--arguments", TABLE, "--predictions", '{"first_file": "a.h5"}', "--output", "out.h5"]
    said = predict(pieces, "second", *given, works=False)
    assert "Error: The file 'a.h5' for first_file has no record, as it was not finished by this workflow." in said


@pytest.mark.slow
def test_wrong_number_of_rows_is_refused(copied: Workflow) -> None:
    (copied.model("first") / "short").touch()
    said = predict(copied, "first", "--arguments", TABLE, "--output", "out.h5", works=False)
    assert "Error: A batch of 'first' has another number of rows in preds/score. Expected: 8. Received: 7" in said
    assert not (copied.results / "out.h5").exists() and parts_left(copied) == []


@pytest.mark.slow
def test_dataloader_without_random_access_has_one_piece(copied: Workflow) -> None:
    path = copied.model("first") / "dataloader.py"
    path.write_text(path.read_text().replace("Dataset", "SampleIterator").replace("len(self)", "len(self.table)"))
    path.write_text(path.read_text().replace("__len__", "count").replace("__getitem__", "__next__"))
    workflow_cases.seal(copied.model("first"))
    given = ["--arguments", TABLE, "--output", "out.h5"]

    said = predict(copied, "first", "--piece", "1-of-2", *given, works=False)
    assert (
        "Error: The dataloader of 'first' can only be read from the first row to the last. Expected: chunks: 1 in "
        "config.yaml. Received: 2"
    ) in said

    predict(copied, "first", *given)
    combine(copied, "--pieces", "out.h5", "--arguments", TABLE)
    with h5py.File(copied.results / "joined.h5") as file:
        assert len(file["rows/number"]) == ROWS


# Messages of combine.py


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["b"], "The pieces are not in their order, or one is missing. Expected: one that starts at row 0. "),
        (["b", "a"], "Received: 'b.h5', which starts at row 8"),
        (["a"], "The pieces are not all rows. Expected: 20. Received: 8"),
        (["a", "b", "b"], "Expected: one that starts at row 20. Received: 'b.h5', which starts at row 8"),
        (["nowhere"], "The piece 'nowhere.h5' cannot be read: "),
        (["predictions/first"], "The piece 'predictions/first.h5' does not say what it was made from"),
    ],
)
def test_pieces_that_do_not_belong_together_are_refused(pieces: Workflow, names: list[str], message: str) -> None:
    said = combine(pieces, "--arguments", TABLE, "--pieces", *(f"{name}.h5" for name in names), works=False)
    assert message in said and "Traceback" not in said
    assert not (pieces.results / "joined.h5").exists() and parts_left(pieces) == []


@pytest.mark.slow
def test_pieces_of_something_else_are_refused(pieces: Workflow, copied: Workflow) -> None:
    both = ["--pieces", "a.h5", "b.h5"]
    said = combine(pieces, *both, "--arguments", '{"factor": 1.0}', works=False)
    assert "Error: The piece 'a.h5' was made with other arguments of the dataloader. Expected: " in said
    said = combine(pieces, *both, "--arguments", TABLE, model="second", works=False)
    assert """Error: The piece 'a.h5' was made by another model. Expected: "second". Received: "first".""" in said
    given = ["--arguments", TABLE, "--predictions", '{"first_file": "predictions/first.h5"}']
    assert "Error: The piece 'a.h5' was made from other predictions." in combine(pieces, *both, *given, works=False)

    for name in ("a.h5", "b.h5"):
        shutil.copy(pieces.results / name, copied.results)
    table = copied.folder / "workflow" / "table.tsv"
    os.utime(table, ns=(0, 0))
    said = combine(copied, *both, "--arguments", TABLE, works=False)
    assert "Error: The piece 'a.h5' was made before a file among the arguments was changed. Expected: " in said
    (copied.model("first") / "sha256.json").write_text("{}")
    said = combine(copied, *both, "--arguments", TABLE, works=False)
    assert "Error: The piece 'a.h5' was made by another version of the model's directory." in said


def test_altered_pieces_are_refused(pieces: Workflow) -> None:
    def changed(change) -> str:
        shutil.copy(pieces.results / "b.h5", pieces.results / "c.h5")
        with h5py.File(pieces.results / "c.h5", "a") as file:
            change(file)
        return combine(pieces, "--pieces", "a.h5", "c.h5", "--arguments", TABLE, works=False)

    def other_dtype(file: h5py.File) -> None:
        scores = file["preds/score"][:]
        del file["preds/score"]
        file["preds/score"] = scores.astype("float64")

    said = changed(lambda file: file["preds/score"].resize(10, axis=0))
    assert "Error: The piece 'c.h5' was changed. Expected: 12 rows in preds/score. Received: 10" in said
    said = changed(lambda file: file.pop("preds/score"))
    assert "Error: The piece 'c.h5' lacks preds/score, which others have." in said
    assert "Error: The piece 'a.h5' differs from others in preds/score. Expected: rows of" in changed(other_dtype)

    def swap(file: h5py.File) -> None:
        for name in ("rows/number", "rows/id", "preds/score", "preds/nested/sum"):
            file[name][:2] = file[name][:2][::-1]

    said = changed(swap)
    assert "Error: The piece 'c.h5' was changed. Expected: rows 8 to 19 in their order. Received: others" in said
    said = changed(lambda file: file.attrs.__setitem__("piece", "{"))
    assert "Error: The piece 'c.h5' cannot be read: Expecting property name" in said

    whole = (pieces.results / "b.h5").read_bytes()
    (pieces.results / "c.h5").write_bytes(whole[: len(whole) // 2])
    said = combine(pieces, "--pieces", "a.h5", "c.h5", "--arguments", TABLE, works=False)
    assert "Error: The piece 'c.h5' cannot be read: " in said
    assert not (pieces.results / "joined.h5").exists() and parts_left(pieces) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "cannot be read: "),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "cannot be read: "),
        (lambda path: h5py.File(path, "a").attrs.clear(), "has no record, as it was not finished by this workflow."),
    ],
)
def test_predictions_that_were_altered_are_refused(copied: Workflow, change, message: str) -> None:
    change(copied.results / FIRST)
    given = ["--arguments", TABLE, "--predictions", json.dumps({"first_file": FIRST})]
    said = combine(copied, "--pieces", "a.h5", *given, model="second", works=False)
    assert f"Error: The file '{FIRST}' for first_file {message}" in said and "Traceback" not in said


def test_no_rows_are_refused(pieces: Workflow) -> None:
    given = ["--arguments", '{"table_file": "../workflow/table.tsv", "rows": 0}']
    for number in (1, 2):
        predict(pieces, "first", "--piece", f"{number}-of-2", *given, "--output", f"none{number}.h5")
    said = combine(pieces, "--pieces", "none1.h5", "none2.h5", *given, works=False)
    assert "Error: There are no rows to predict for 'first'." in said
