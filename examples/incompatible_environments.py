"""Models that cannot share an environment: each runs in its own, and a Keras model is trained on their predictions.

Which regions of a genome bind a pair of proteins? Two published models predict the binding of one protein each, with a
dataloader that reads FASTA and BED files. The older one was made with Keras 2.15 and TensorFlow 2.15, the newer one
with Keras 3: no environment can have both. So each runs in an environment of its own. uv makes the environments, and
Snakemake runs the models. Their predictions go into HDF5 files, which the generated dataloader joins:

    pip install "keras_stitch[examples,workflow]"
    python examples/incompatible_environments.py pair_binding

TensorFlow 2.15 needs Python 3.11 or older. Models, genome and labels are made up, and all of them are files, like real
ones. Keras 2.15 really makes the older model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import keras
import numpy as np
import uv
import yaml
from keras import layers
from pyfaidx import Faidx

import keras_stitch as ks

MOTIFS = {"gata": "AGATAAGC", "ctcf": "CACCAGGT"}
LENGTH = 50
OLD_PINS = ["tensorflow-cpu==2.15.1", "keras==2.15.0"]

# Runs in the environment with Keras 2.15.
MAKE_OLD = """
    import sys
    import numpy as np
    import tensorflow as tf
    from tensorflow import keras

    tf.get_logger().setLevel("ERROR")
    motif = np.eye(4)[["ACGT".index(base) for base in sys.argv[2]]]
    model = keras.Sequential([
        keras.layers.Conv1D(1, 8, input_shape=(50, 4), name="matches"),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(1, "hard_sigmoid", name="binds"),
    ])
    model.get_layer("matches").set_weights([motif[:, :, None], np.zeros(1)])
    model.get_layer("binds").set_weights([np.full((1, 1), 2.0), np.full(1, -12.5)])
    model.save(sys.argv[1])
"""
PREDICT_OLD = """
    import sys
    import numpy as np
    from tensorflow import keras

    np.save(sys.argv[3], keras.models.load_model(sys.argv[1], compile=False).predict(np.load(sys.argv[2]), verbose=0))
"""


# -- data ------------------------------------------------------------------------------------------------------------


def make_regions(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random DNA, one-hot of shape (rows, LENGTH, 4), and whether it has both motifs: shape (rows, 1), 0 or 1."""
    generator = np.random.default_rng(seed)
    facts = generator.integers(2, size=(rows, len(MOTIFS)))
    bases = generator.integers(4, size=(rows, LENGTH))
    for motif, has, first in zip(MOTIFS.values(), facts.T, (0, 25), strict=True):
        for row in np.flatnonzero(has):
            start = first + generator.integers(17)
            bases[row, start : start + len(motif)] = ["ACGT".index(base) for base in motif]
    return np.eye(4, dtype="float32")[bases], facts.all(axis=1, keepdims=True).astype("float32")


def write_regions(folder: Path, dna: np.ndarray, binds: np.ndarray) -> dict[str, str]:
    """FASTA, BED and TSV files of the regions; returns the arguments of a dataloader that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"chr1\t{row * LENGTH}\t{(row + 1) * LENGTH}" for row in range(len(dna))]
    (folder / "intervals.bed").write_text("".join(f"{place}\n" for place in places))
    sequences = "".join("ACGT"[base] for row in dna for base in row.argmax(axis=1))
    (folder / "genome.fa").write_text(f">chr1\n{sequences}\n")
    Faidx(str(folder / "genome.fa"))  # writes the index; otherwise several models would write it at the same time
    labels = [f"{place}\t{int(label)}" for place, label in zip(places, binds[:, 0], strict=True)]
    (folder / "labels.tsv").write_text("\n".join(["chr\tstart\tend\tbinds", *labels]) + "\n")
    names = {"intervals_file": "intervals.bed", "fasta_file": "genome.fa", "targets_file": "labels.tsv"}
    return {argument: str(folder / name) for argument, name in names.items()}


# -- models, as others would have published them ---------------------------------------------------------------------


def publish(zoo: Path, name: str, weights: str, pip: list[str]) -> Path:
    """A Kipoi directory for a model that reads sequences from FASTA and BED."""
    directory = zoo / name
    (directory / "model_files").mkdir(parents=True)
    loader = {
        "defined_as": "kipoiseq.dataloaders.SeqIntervalDl",
        "default_args": {"auto_resize_len": LENGTH, "dtype": "np.float32"},
    }
    inputs = {"name": "dna", "shape": f"({LENGTH}, 4)", "doc": "One-hot DNA", "special_type": "DNASeq"}
    described = {
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": f"model_files/{weights}"},
        "default_dataloader": loader,
        "info": {"authors": [{"name": "keras_stitch contributors"}], "doc": f"Does {name} bind?", "license": "MIT"},
        "dependencies": {"pip": pip},
        "schema": {"inputs": inputs, "targets": {"name": name, "shape": "(1,)", "doc": "Probability"}},
    }
    (directory / "model.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return directory


def make_old(zoo: Path, environment: Path) -> Path:
    """The older model, made in an environment with Keras 2.15."""
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
    subprocess.run([program, "pip", "install", "--quiet", "--python", environment, *OLD_PINS], check=True)
    directory = publish(zoo, "gata", "model.h5", OLD_PINS)
    run_old(environment, MAKE_OLD, directory / "model_files" / "model.h5", MOTIFS["gata"])
    return directory


def run_old(environment: Path, code: str, *arguments: object) -> None:
    command = [environment / "bin" / "python", "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    subprocess.run(command, check=True, env={"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""})


def make_new(zoo: Path) -> Path:
    """The newer model, made by Keras 3."""
    directory = publish(zoo, "ctcf", "model.keras", [f"keras=={keras.__version__}", "tensorflow"])
    motif = np.eye(4)[["ACGT".index(base) for base in MOTIFS["ctcf"]]]
    model = keras.Sequential(
        [
            keras.Input((LENGTH, 4), name="dna"),
            layers.Conv1D(1, 8, name="matches"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1, "sigmoid", name="binds"),
        ]
    )
    model.get_layer("matches").set_weights([motif[:, :, None], np.zeros(1)])
    model.get_layer("binds").set_weights([np.full((1, 1), 4.0), np.full(1, -26.0)])
    model.save(directory / "model_files" / "model.keras")
    return directory


# -- the graph -------------------------------------------------------------------------------------------------------


def make_graph(old: Path, new: Path) -> ks.Graph:
    """Both models in environments of their own, and a new Keras model on top."""
    keras.utils.set_random_seed(1)
    top = keras.Sequential(
        [keras.Input((2,), name="binding"), layers.Dense(8, "relu"), layers.Dense(1, "sigmoid", name="both")]
    )
    graph = ks.Graph("pair_binding")
    graph.add("gata", old)  # its pins conflict with those of the stitched model; the plan finds this
    graph.add("ctcf", new, placement="workflow")  # would be compatible, but runs in the workflow, too
    graph.add("both", top)
    graph.add_input("dna", ["gata.dna", "ctcf.dna"])
    return graph.connect(["gata", "ctcf"], "both")


def command(log: Path, *arguments: object) -> None:
    """Runs a command as a user would, in a separate process with its output in a log."""
    print("keras-stitch", arguments[0], Path(str(arguments[1])).name)
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "keras_stitch", *map(str, arguments)], check=True, stdout=file, stderr=file
        )


def main(output: Path) -> None:
    work = output.with_name(f"{output.name}_work")
    work.mkdir(parents=True)
    log = work / "workflow.log"
    old, new = make_old(work / "zoo", work / "keras2"), make_new(work / "zoo")

    graph = make_graph(old, new)
    print(graph.plan(), end="\n\n")
    train, test = make_regions(256, seed=1), make_regions(64, seed=2)
    small = write_regions(work / "example", *make_regions(8, seed=3))
    files = {name: path for name, path in small.items() if name != "targets_file"}
    graph.save(output, examples=files, targets=small["targets_file"])
    graph.plot(work / "pair_binding.svg")

    known = write_regions(work / "train", *train)
    asked = json.dumps({name: path for name, path in known.items() if name != "targets_file"})
    command(log, "run", output, "--cores", 2, "-o", work / "results", "--dataloader_args", asked)
    joined = {f"{name}_file": str(work / "results" / "predictions" / f"{name}.h5") for name in ("gata", "ctcf")}
    data = ks.training_data(output, {**joined, "targets_file": known["targets_file"]}, batch_size=32)
    model = graph.build()
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    history = model.fit(data, epochs=30, verbose=0).history["loss"]
    print(f"loss: {history[0]:.4f} in the first epoch, {history[-1]:.4f} in the last")
    graph.save(output, model=model, examples=files, targets=small["targets_file"], overwrite=True)

    unknown = write_regions(work / "test", *test)
    asked = json.dumps({name: path for name, path in unknown.items() if name != "targets_file"})
    options = ["-o", work / "test.h5", "--results", work / "results", "--cores", 2]
    command(log, "predict", output, *options, "--dataloader_args", asked)
    with h5py.File(work / "test.h5") as file:
        predicted = file["preds"][:]
    print(f"right in {np.mean((predicted > 0.5) == test[1]):.0%} of {len(predicted)} regions that were not trained on")

    np.save(work / "dna.npy", test[0])
    run_old(work / "keras2", PREDICT_OLD, old / "model_files" / "model.h5", work / "dna.npy", work / "gata.npy")
    parts = [np.load(work / "gata.npy"), keras.saving.load_model(new / "model_files" / "model.keras")(test[0])]
    expected = np.asarray(model([np.asarray(part) for part in parts]))
    print(f"largest difference from the models run one after another: {np.abs(predicted - expected).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the directory to write")
    main(parser.parse_args().output)
