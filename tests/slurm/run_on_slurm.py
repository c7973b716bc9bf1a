"""A workflow on a Slurm cluster of one node, which is made here for it and taken down again.

The models are those of examples/four_models_workflow.py. Needs root and Slurm's programs, and says so where it is
skipped:

    apt-get install slurmctld slurmd slurm-client munge
    python tests/slurm/run_on_slurm.py

Slurm reads /etc/slurm/slurm.conf, which is written for this and removed; a file of somebody else stays as it is, and
nothing runs. All else lies in a temporary folder. The daemons listen on the loopback device only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "four_models_workflow.py"
CONFIGURATION = Path("/etc/slurm/slurm.conf")  # no other place: the jobs do not get SLURM_CONF
MARK = "# Written by keras_stitch, tests/slurm/run_on_slurm.py, and removed by it.\n"
SEARCHED = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue")

# What the profile leaves to the site: there is no accounting here, and 40 seconds are long until a first look at jobs.
OPTIONS = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3")
ROWS, CHUNKS = 256, 2
JOBS = 2 * (CHUNKS + 1)  # two models: their pieces, and what joins them
TOLERANCE = 1e-6

# What runs here and in the jobs needs no graphics card and says less.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SLURM_CONF = """\
ClusterName=keras_stitch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Failed(Exception):
    """What went wrong, for the user."""


# -- the cluster -----------------------------------------------------------------------------------------------------


def why_skipped() -> str | None:
    """Why a cluster cannot be made here; None where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        return f"Slurm's programs are not installed: no {', '.join(missing)}"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake's plugin for Slurm is not installed: no snakemake-executor-plugin-slurm"
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    if CONFIGURATION.exists() and not CONFIGURATION.read_text().startswith(MARK):
        return f"{CONFIGURATION} is there, and is not of this script"
    if any(name.startswith("SLURM_") for name in os.environ):
        return "variables of another Slurm are set: SLURM_..."
    if CONFIGURATION.exists() and "is UP" in said("scontrol", "ping"):
        return "another run of this script is going on"
    return None


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Slurm with this machine as its only node, as long as the block runs; its files are in a folder."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(CONFIGURATION.unlink, missing_ok=True)
        write_configuration(folder)
        munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        daemons = {
            "munged": ["--foreground", *(f"--{option}={folder}/{name}" for option, name in munge.items())],
            "slurmctld": ["-D", "-c"],
            "slurmd": ["-D"],
        }
        running: dict[str, subprocess.Popen[bytes]] = {}
        for name, arguments in daemons.items():
            running[name] = stack.enter_context(daemon(folder, name, arguments))
            if name == "munged":
                wait_for((folder / "munge.socket").exists, running, folder)
        stack.callback(cancel_all)
        wait_for(lambda: "idle" in said("sinfo", "--noheader", "--format=%T").split(), running, folder)
        yield


def write_configuration(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    found = dict(word.split("=", 1) for word in said("slurmd", "-C").split() if "=" in word)
    controller, node = free_ports(2)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(
        MARK
        + SLURM_CONF.format(
            host=socket.gethostname().partition(".")[0],
            controller=controller,
            node=node,
            folder=folder,
            cpus=found["CPUs"],
            memory=found["RealMemory"],
        )
    )


def free_ports(count: int) -> list[int]:
    """Ports of the loopback device that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def daemon(folder: Path, name: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended after the block, and not by Ctrl-C before."""
    program = str(shutil.which(name, path=SEARCHED))
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool], running: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + 60
    while not condition():
        ended = [name for name, process in running.items() if process.poll() is not None]
        if ended or time.monotonic() > end:
            logs = {name: (folder / f"{name}.log").read_text()[-1000:] for name in ended or running}
            raise Failed("\n".join([f"The cluster does not start: {ended or 'no idle node'}.", *logs.values()]))
        time.sleep(0.2)


def cancel_all() -> None:
    """Ends jobs that are left, so that no process of theirs outlives the daemons."""
    said("scancel", "--user=root")
    end = time.monotonic() + 20
    while said("squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.2)


def said(program: str, *arguments: str) -> str:
    """What one of Slurm's programs prints, whether or not it works."""
    command = [str(shutil.which(program, path=SEARCHED)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def jobs() -> list[list[str]]:
    """Number, state, time and rule of every job that Slurm has had."""
    lines = said("squeue", "--states=all", "--sort=i", "--noheader", "--format=%i|%T|%M|%k").splitlines()
    return [line.strip().split("|") for line in lines]


# -- the workflow ----------------------------------------------------------------------------------------------------


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("four_models_workflow", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keras_stitch(arguments: Sequence[str], log: Path, seconds: float = 600) -> str:
    """Runs a command in the log's folder to its end and returns what it said, which is added to the log."""
    command = [sys.executable, "-m", "keras_stitch", *arguments]
    start = log.stat().st_size if log.exists() else 0
    temporary = log.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    with log.open("ab") as file:
        place = {"cwd": log.parent, "env": {**os.environ, "TMPDIR": str(temporary)}, "start_new_session": True}
        process = subprocess.Popen(command, stdout=file, stderr=file, **place)
    try:
        status = process.wait(timeout=seconds)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # Snakemake too; the jobs are cancelled with the cluster
        process.wait()
        raise
    text = log.read_bytes()[start:].decode(errors="replace")
    if status:
        raise Failed(f"{text[-6000:]}\nkeras-stitch: exit status {status}")
    return text


def show(what: str, since: float) -> float:
    now = time.monotonic()
    print(f"{what} ({now - since:.0f} s)", flush=True)
    return now


def run_four_models(work: Path) -> None:
    """Makes the directory of the example, runs it on the cluster twice, and compares."""
    start = time.monotonic()
    example = load_example()
    graph = example.make_graph(work / "zoo")
    graph.save(work / "four_models")
    start = show("a directory in which model1 and model2 need environments of their own", start)

    generator = np.random.default_rng(2)
    data = {
        name: generator.normal(size=(ROWS, size)).astype("float32") for name, size in (("input1", 3), ("input2", 6))
    }
    asked = ["run", "--profile", "slurm", "-o", "results", "--cores", "4"]
    asked += ["--config", f"chunks={CHUNKS}", "--config", "memory_mb=1000"]
    for name, array in data.items():
        np.save(work / f"{name}.npy", array)
        asked += ["-a", f"{name}_file={name}.npy"]
    asked += ["four_models", "--", *OPTIONS]
    print(f"$ {shlex.join(['keras-stitch', *asked])}", flush=True)

    keras_stitch(asked, work / "run.log")
    start = show(f"  {ROWS} rows predicted", start)
    check_jobs()
    again = keras_stitch(asked, work / "run.log")
    if "Nothing to be done" not in again or len(jobs()) != JOBS:
        raise Failed(f"The same command ran jobs again.\n{again[-3000:]}")
    start = show("the same command again: nothing to be done for Slurm", start)
    difference = compare(work, example.by_hand(work / "zoo", graph.build(), data))
    show("the parts run one after another, without Slurm", start)
    print(f"  model2: the same bytes; model4: the largest difference is {difference:.1e}")


def check_jobs() -> None:
    """Shows the jobs that Slurm has had; they have to be all, and completed."""
    done = jobs()
    for number, state, took, what in done:
        print(f"  job {number} {state.lower()} after {took}: {what}")
    if len(done) != JOBS or any(state != "COMPLETED" for _, state, _, _ in done):
        raise Failed(f"Slurm did not run all jobs. Expected: {JOBS} that completed. Received: {len(done)}")


def compare(work: Path, expected: np.ndarray) -> float:
    """Returns the largest difference to what was expected, of shape (rows, 1)."""
    with h5py.File(work / "results" / "four_models.h5") as file:
        predicted = file["preds"][:]
    with h5py.File(work / "results" / "predictions" / "model2.h5") as file:
        from_file = file["preds/model2"][:]
    by_hand = np.load(work / "made.npy")  # of model2
    if from_file.dtype != by_hand.dtype or from_file.tobytes() != by_hand.tobytes():
        raise Failed("The predictions of model2 are not the same bytes as without Slurm.")
    difference = float(np.abs(predicted - expected).max())
    if predicted.shape != expected.shape or not difference <= TOLERANCE:
        raise Failed(f"The predictions differ from the parts run separately: by {difference:.1e}")
    return difference


def main(output: Path | None = None) -> int:
    """Runs all of it.

    Args:
        output: A new folder for the directory, its results and logs, which stays; by default none does.

    Returns:
        The exit status.
    """
    reason = why_skipped()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keras_stitch_slurm_") as temporary:
        place = Path(temporary)
        place.chmod(0o755)  # whoever asks munged has to get to its socket
        work = place / "work" if output is None else output.absolute()
        try:
            work.mkdir(parents=True)
            with cluster(place / "cluster"):
                show(f"{said('scontrol', '--version').strip()}: one node, idle", start)
                run_four_models(work)
            show("the cluster is gone; all that together", start)
        except (Failed, FileExistsError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="a new folder for what is made, which stays")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is taken down then, too
    sys.exit(main(parser.parse_args().output))
