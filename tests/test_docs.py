"""The documentation is complete, and what it tells people to type works."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import warm_python
from test_structure import LEVEL

import keras_stitch
from keras_stitch.cli.parser import make_parser
from keras_stitch.repairs import RULES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What the README takes for granted before a block: data and a graph that reads it.
FIXTURES = {
    "sequences": """
from pathlib import Path
from keras_stitch.demo.demo_data import write_data
import shutil

data = write_data(Path("made"))
for path in (data.genome, data.measurements):
    shutil.copy(path, path.name)
with data.intervals.open() as bed:  # without the names
    Path("intervals.bed").write_text("".join("\\t".join(line.split()[:3]) + "\\n" for line in bed))
shutil.copytree(data.loader, "zoo/measurements")
graph = ks.Graph("composed")
graph.add("pool", keras.layers.GlobalAveragePooling1D()).add_input("sequence", "pool", shape=(50, 4))
graph.add("model1", "m1.h5").add("model2", "m2.h5").add("model3", "m3.h5").add("model4", "m4.h5")
graph.connect("pool[0:3]", "model1").connect(["model1", "pool[0:3]"], "model2").connect(["model2", "model3"], "model4")
graph.freeze("model1", "model3")
with open("intervals.bed") as bed, open("labels.tsv", "w") as labels:
    print("chr", "start", "end", "bound", sep=chr(9), file=labels)
    for number, line in enumerate(bed):
        print(*line.split()[:3], number % 2, sep=chr(9), file=labels)
""",
    "exported": """
from keras_stitch.export.export_model import export_model

seed = ks.Graph("composed").add("model1", "m1.h5").add("model2", "m2.h5").add("model3", "m3.h5").add("model4", "m4.h5")
seed.connect(["model1", "input1"], "model2").connect(["model2", "model3"], "model4").save("seed")
export_model("seed", "composed.onnx")
""",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """The README's code blocks in a language, with what stands behind it."""
    return re.findall(rf"```{language}([^\n]*)\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which the README's Python was run from top to bottom, in a fresh process."""
    folder = tmp_path_factory.mktemp("readme")
    code = ""
    for words, block in blocks("python"):
        for fixture in re.findall(r"fixture:(\w+)", words):
            code += FIXTURES[fixture]
        code += block
    (folder / "readme.py").write_text(code)
    done = run([sys.executable, "readme.py"], folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return warm_python.run(command, folder, environment, certify_here=True)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(workplace):
    folder, printed = workplace
    assert {"composed", "composed.svg", "composed.keras"} <= {path.name for path in folder.iterdir()}
    summary = next(block for _, block in blocks("text") if block.startswith("Graph 'composed'\n"))
    assert summary.strip() in printed
    certificate = next(block for _, block in blocks("text") if block.startswith("Certificate of graph"))
    # The weights are new each time, so that the row of numbers differs.
    *table, row = certificate.strip().splitlines()
    assert "\n".join(table) in printed
    shown = [line.split() for line in printed.splitlines() if line.startswith("model4 ")]
    assert [row.split()[:3], row.split()[-1:]] in [[cells[:3], cells[-1:]] for cells in shown]


@pytest.mark.slow
def test_the_commands_of_the_readme_run(workplace):
    folder, _ = workplace
    spec = next(block for _, block in blocks("yaml"))
    (folder / "stitch.yaml").write_text(spec)
    (folder / "composed.onnx").unlink()  # what the Python in the README reads; a command writes it
    lines = [line for _, block in blocks("sh") for line in block.splitlines() if line.startswith("keras-stitch ")]
    assert len(lines) >= 5
    for line in lines:
        done = run([sys.executable, "-m", "keras_stitch", *shlex.split(line)[1:]], folder)
        assert (done.returncode, done.stderr) == (0, ""), line
    for name in (
        "composed.png",
        "composed.onnx",
        "composed_tf/saved_model.pb",
        "stitched.keras",
        "from_yaml/model.yaml",
    ):
        assert (folder / name).is_file()


def test_the_error_in_the_readme_is_a_real_one():
    def dense(size: int, units: int, name: str) -> keras.Model:
        return keras.Sequential([keras.Input((size,), name=name), keras.layers.Dense(units)])

    graph = keras_stitch.Graph("composed").add("model1", dense(3, 4, "input1"))
    sequence = keras.Sequential([keras.Input((4, 1), name="sequence"), keras.layers.LSTM(2)])
    graph.add("model2", sequence).add("model3", dense(6, 4, "input2")).add("model4", dense(6, 1, "x"))
    graph.connect("model1", "model2").connect(["model2", "modle3"], "model4")
    with pytest.raises(keras_stitch.StitchError) as error:
        graph.build()
    shown = next(block for _, block in blocks("text") if "cannot be built" in block)
    assert shown.split() == str(error.value).split()


@pytest.mark.slow
def test_the_misaligned_rows_in_the_readme_are_real_ones(workplace):
    folder, _ = workplace
    header, *rows = (folder / "labels.tsv").read_text().splitlines()
    rows[3], rows[4] = rows[4], rows[3]
    (folder / "swapped.tsv").write_text("\n".join([header, *rows]))
    arguments = {
        "intervals_file": folder / "intervals.bed",
        "fasta_file": folder / "genome.fa",
        "measurements_file": folder / "measurements.tsv",
        "targets_file": folder / "swapped.tsv",
    }
    data = keras_stitch.training_data(folder / "composed", arguments, batch_size=16, shuffle=False)
    with pytest.raises(ValueError, match="Row 3") as error:
        data[0]
    shown = next(block for _, block in blocks("text") if block.startswith("Row 3"))
    said = str(error.value).replace(str(folder / "swapped.tsv"), "/data/labels.tsv")
    assert shown.split() == said.split()


def test_every_public_name_is_in_the_readme():
    for name in keras_stitch.__all__:
        assert f"ks.{name}" in README


def test_every_command_is_in_the_readme():
    commands = make_parser()._subparsers._group_actions[0].choices
    for name in commands:
        assert f"keras-stitch {name}" in README or f"make {name}" in README


def test_every_rule_is_documented():
    text = (ROOT / "docs" / "loading.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert listed == {rule.name: rule.why for rule in RULES}


def test_the_architecture_has_every_package_in_the_order_of_imports():
    """The order is that of ``test_structure``; a package or module of the root has one line."""
    rows = [
        line.split("|")[1] for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| `")
    ]
    found = [re.findall(r"`(\w+)(?:\.py|/)`", row) for row in rows]
    named = [name for names in found for name in names]
    known = {
        path.stem
        for path in (ROOT / "keras_stitch").iterdir()
        if not path.name.startswith(("__init__", "__pyc", "py."))
    }
    assert sorted(named) == sorted(known)
    levels = [LEVEL[name] for names in found for name in names]
    assert levels == sorted(levels)


def test_every_verb_of_a_graph_is_documented():
    classes = [
        node
        for module in ("description", "graph")
        for node in ast.parse((ROOT / "keras_stitch" / f"{module}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    nodes = [node for item in classes for node in item.body if isinstance(node, ast.FunctionDef)]
    verbs = [node.name for node in nodes if not node.name.startswith("_")]
    assert {"add", "connect", "build", "save"} <= set(verbs)
    for verb in verbs:
        if verb not in ("name", "spec"):
            assert f".{verb}(" in README or f"`{verb}`" in README, verb


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (ROOT / target).exists(), f"{name}: {target}"
