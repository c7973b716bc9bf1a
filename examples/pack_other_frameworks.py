"""Models of four frameworks in one directory: they run in the dataloader, and a Keras model on top is trained.

Which regions of a genome are active? Four published models are combined: a Keras model that scans DNA for a motif, a
random forest (scikit-learn) on the scan, a PyTorch network for another motif, and a Kipoi directory of a TensorFlow
model, which reads measurements with its own dataloader. All of them are packed into the dataloader; the Keras model
too, as it feeds the forest. A small Keras model on top is trained on their predictions:

    pip install "keras_stitch[examples,torch]"
    python examples/pack_other_frameworks.py active_regions

The packed models never change. Their predictions are stored once, and then read in every epoch. Models, genome,
measurements and labels are made up, and all of them are files, like real ones.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import kipoi
import numpy as np
import tensorflow as tf
import torch
import yaml
from keras import layers
from kipoiseq.dataloaders import SeqIntervalDl
from pyfaidx import Faidx
from sklearn.ensemble import RandomForestClassifier

import keras_stitch as ks

MOTIFS = {"gata": "AGATAAGC", "ctcf": "CACCAGGT"}
LENGTH, SIGNALS = 50, 5
PROFILE = np.linspace(0.5, 2.5, SIGNALS)


# -- data ------------------------------------------------------------------------------------------------------------


@dataclass
class Regions:
    """Regions of a genome, with measurements and labels.

    Attributes:
        dna: One-hot, shape (rows, LENGTH, 4), float32.
        signals: Measurements, shape (rows, SIGNALS), float32.
        facts: Whether each region has the motifs ``gata`` and ``ctcf`` and is ``open``: shape (rows,), 0 or 1.
    """

    dna: np.ndarray
    signals: np.ndarray
    facts: dict[str, np.ndarray]

    @property
    def active(self) -> np.ndarray:
        """Whether each region is active: open, and bound by at least one of the proteins."""
        return self.facts["open"] & (self.facts["gata"] | self.facts["ctcf"])


def make_regions(rows: int, seed: int) -> Regions:
    """Random DNA: each motif is in half of the regions, and half of the regions are open."""
    generator = np.random.default_rng(seed)
    facts = {name: generator.integers(2, size=rows) for name in ("gata", "ctcf", "open")}
    bases = generator.integers(4, size=(rows, LENGTH))
    for name, first, last in (("gata", 0, 17), ("ctcf", 25, 42)):
        for row in np.flatnonzero(facts[name]):
            start = generator.integers(first, last)
            bases[row, start : start + 8] = ["ACGT".index(base) for base in MOTIFS[name]]
    signals = generator.normal(size=(rows, SIGNALS)) + facts["open"][:, None] * PROFILE
    return Regions(np.eye(4, dtype="float32")[bases], signals.astype("float32"), facts)


def write_regions(folder: Path, regions: Regions) -> dict[str, str]:
    """FASTA, BED and TSV files of the regions; returns the arguments of a dataloader that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"chr1\t{row * LENGTH}\t{(row + 1) * LENGTH}" for row in range(len(regions.dna))]
    sequences = ["".join("ACGT"[base] for base in row.argmax(axis=1)) for row in regions.dna]
    numbers = ["\t".join(f"{signal:.6f}" for signal in row) for row in regions.signals]
    header = "\t".join(f"signal{number}" for number in range(SIGNALS))
    tables = {
        "intervals.bed": places,
        "signals.tsv": [f"chr\tstart\tend\t{header}", *map("\t".join, zip(places, numbers, strict=True))],
        "labels.tsv": ["chr\tstart\tend\tactive", *map("\t".join, zip(places, map(str, regions.active), strict=True))],
        "genome.fa": [">chr1", *sequences],
    }
    for name, lines in tables.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    Faidx(str(folder / "genome.fa"))  # writes the index; otherwise several workers would write it at the same time
    names = {
        "intervals_file": "intervals.bed",
        "fasta_file": "genome.fa",
        "signals_file": "signals.tsv",
        "targets_file": "labels.tsv",
    }
    return {argument: str(folder / name) for argument, name in names.items()}


# -- models, as others would have published them ---------------------------------------------------------------------


def make_scan(folder: Path) -> Path:
    """Keras: the score of the best match of a motif on each strand."""
    motif = np.eye(4)[["ACGT".index(base) for base in MOTIFS["gata"]]]
    model = keras.Sequential(
        [keras.Input((LENGTH, 4), name="sequence"), layers.Conv1D(2, 8, name="matches"), layers.GlobalMaxPooling1D()]
    )
    model.get_layer("matches").set_weights([np.stack([motif, motif[::-1, ::-1]], axis=-1), np.zeros(2)])
    model.save(folder / "scan.keras")
    return folder / "scan.keras"


def fit_forest(scan: Path, regions: Regions) -> RandomForestClassifier:
    """scikit-learn: does the protein bind, given the two scores?"""
    matches = np.asarray(keras.saving.load_model(scan)(regions.dna))
    return RandomForestClassifier(10, max_depth=4, random_state=1).fit(matches, regions.facts["gata"])


def train_network(regions: Regions) -> torch.nn.Module:
    """PyTorch: the same for another protein, from DNA of shape (4, LENGTH)."""
    torch.manual_seed(1)
    convolution, pooling = torch.nn.Conv1d(4, 8, 8), torch.nn.AdaptiveMaxPool1d(1)
    network = torch.nn.Sequential(
        convolution, pooling, torch.nn.Flatten(), torch.nn.ReLU(), torch.nn.Linear(8, 1), torch.nn.Sigmoid()
    )
    x = torch.from_numpy(regions.dna).transpose(1, 2)
    y = torch.from_numpy(regions.facts["ctcf"]).float()[:, None]
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(50):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(network(x), y).backward()
        optimizer.step()
    return network


class Openness(tf.Module):
    """TensorFlow: is the region open, given the measurements?"""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.zeros((SIGNALS, 1)))
        self.bias = tf.Variable(tf.zeros(1))

    @tf.function(input_signature=[tf.TensorSpec((None, SIGNALS), "float32")])
    def __call__(self, signals: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.matmul(signals, self.weights) + self.bias)


LOADER = '''
    """Measurements of regions."""

    import pandas as pd
    from kipoi.data import Dataset
    from kipoi.metadata import GenomicRanges


    class Signals(Dataset):
        """The rows of a TSV file with the columns chr, start, end and one for each signal."""

        def __init__(self, signals_file):
            self.table = pd.read_csv(signals_file, sep="\\t")
            self.signals = self.table.iloc[:, 3:].to_numpy("float32")

        def __len__(self):
            return len(self.table)

        def __getitem__(self, index):
            row = self.table.iloc[index]
            ranges = GenomicRanges(row["chr"], row["start"], row["end"], str(index))
            return {"inputs": self.signals[index], "metadata": {"ranges": ranges}}
'''


def publish_openness(folder: Path, regions: Regions) -> Path:
    """A Kipoi directory with a SavedModel and a dataloader."""
    model, open_ = Openness(), regions.facts["open"][:, None].astype("float32")
    for _ in range(40):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(open_, model(regions.signals)))
        for variable, gradient in zip(model.variables, tape.gradient(loss, model.variables), strict=True):
            variable.assign_sub(2.0 * gradient)
    tf.saved_model.save(model, str(folder / "saved"))
    example = write_regions(folder / "example_files", make_regions(4, seed=9))["signals_file"]
    (folder / "dataloader.py").write_text(textwrap.dedent(LOADER).lstrip())
    info = {"doc": "Is a region open?", "authors": [{"name": "Ada"}], "license": "MIT"}
    signals = {"name": "signals", "shape": f"({SIGNALS},)", "doc": "What was measured."}
    model_yaml = {
        "defined_as": "kipoi.model.TensorFlow2Model",
        "args": {"savedmodel_path": "saved"},
        "default_dataloader": ".",
        "info": info,
        "dependencies": {"pip": ["tensorflow"]},
        "schema": {"inputs": signals, "targets": {"name": "open", "shape": "(1,)", "doc": "Its probability."}},
    }
    dataloader_yaml = {
        "type": "Dataset",
        "defined_as": "dataloader.Signals",
        "args": {"signals_file": {"doc": "Measurements, TSV.", "example": str(Path(example).relative_to(folder))}},
        "info": info,
        "dependencies": {"pip": ["pandas"]},
        "output_schema": {
            "inputs": signals,
            "metadata": {"ranges": {"type": "GenomicRanges", "doc": "Where the region is."}},
        },
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(model_yaml))
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(dataloader_yaml))
    return folder


# -- the graph -------------------------------------------------------------------------------------------------------


def stitch(published: dict[str, Any]) -> ks.Graph:
    """The four published models, and a new one on their predictions."""
    graph = ks.Graph("active_regions")
    graph.add("scan", published["scan"])
    graph.add("gata", published["gata"], shapes=(2,), method="predict_proba")
    graph.add("channels_first", layers.Permute((2, 1)))
    graph.add("ctcf", published["ctcf"], shapes=(4, LENGTH))
    graph.add("openness", published["openness"])
    head = [keras.Input((3,)), layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")]
    graph.add("activity", keras.Sequential(head))
    graph.add_input("dna", ["scan", "channels_first"])
    graph.connect("scan", "gata")
    graph.connect("channels_first", "ctcf")
    graph.connect(["gata[1]", "ctcf", "openness"], "activity")  # gata[1]: its second class
    return graph


def save(graph: ks.Graph, output: Path, example: dict[str, str], **options: Any) -> Path:
    """Writes the Kipoi directory; the published dataloader of the TensorFlow model reads the measurements."""
    return graph.save(
        output,
        dataloaders={"dna": SeqIntervalDl},
        targets=example["targets_file"],
        examples={name: path for name, path in example.items() if name != "targets_file"},
        info={"authors": [{"name": "You"}], "doc": "Which regions are active.", "license": "MIT"},
        progress=lambda text: print(f"  {text}"),
        **options,
    )


# -- checks with Kipoi, and training ---------------------------------------------------------------------------------


def run_kipoi(directory: Path, arguments: dict[str, str], folder: Path) -> None:
    """Runs ``kipoi test``, and ``kipoi predict`` with zero and two workers, with their output in a file."""

    def run(*command: Any) -> None:
        print(f"kipoi {command[0]} ...", flush=True)
        with (folder / "kipoi.log").open("a") as log:
            program = Path(sys.executable).with_name("kipoi")
            subprocess.run([program, *command], cwd=directory, stdout=log, stderr=log, check=True)

    (folder / "kipoi.log").unlink(missing_ok=True)
    run("test", ".")
    predictions = []
    for workers in (0, 2):
        file = folder / f"predictions_{workers}.h5"
        file.unlink(missing_ok=True)  # Kipoi would append to it
        text = yaml.safe_dump(arguments, default_flow_style=True, width=10_000).strip()
        run("predict", ".", "--source", "dir", "--dataloader_args", text, "-n", str(workers), "-o", file)
        with h5py.File(file) as stored:
            predictions.append(stored["preds"][()])
    print(f"{len(predictions[0])} rows predicted; with two workers: {equal(*predictions)}")
    assert np.array_equal(*predictions)


def equal(one: np.ndarray, other: np.ndarray) -> str:
    return f"largest difference {np.abs(one - other).max():.1e}"


def train(model: keras.Model, data: Any) -> list[float]:
    """The losses of five epochs."""
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    return model.fit(data, epochs=5, shuffle=False, verbose=0).history["loss"]  # the data shuffle their own rows


def evaluate(model: keras.Model, data: Any) -> tuple[float, float]:
    """Loss and accuracy."""
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(data, verbose=0)
    return loss, accuracy


def by_hand(published: dict[str, Any], regions: Regions) -> dict[str, np.ndarray]:
    """The predictions of the published models, run one after another, by submodel."""
    matches = np.asarray(keras.saving.load_model(published["scan"])(regions.dna))
    with torch.no_grad():
        ctcf = published["ctcf"](torch.from_numpy(regions.dna).transpose(1, 2)).numpy()
    openness = tf.saved_model.load(str(published["openness"] / "saved"))(regions.signals).numpy()
    return {"gata": published["gata"].predict_proba(matches), "ctcf": ctcf, "openness": openness}


def same_batches(one: Any, other: Any) -> None:
    """Checks that two epochs of training data are equal, bit for bit."""
    for index in range(len(one)):
        (inputs, targets), (others, other_targets) = one[index], other[index]
        assert all(np.array_equal(inputs[name], others[name]) for name in inputs)
        assert np.array_equal(targets, other_targets)
    print(f"{len(one)} batches: equal")


def packed_files(directory: Path) -> dict[str, str]:
    """The sha256 of each file of the packed models; for ``.keras`` files, which have a date in them, of the weights."""
    found = {}
    for path in sorted(directory.glob("components/*/packed_model/**/*")):
        if path.is_file() and path.suffix != ".pyc":
            keras_file = path.suffix == ".keras"
            content = zipfile.ZipFile(path).read("model.weights.h5") if keras_file else path.read_bytes()
            found[str(path.relative_to(directory))] = hashlib.sha256(content).hexdigest()
    return found


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Stitch, write the Kipoi directory, run it, train the model on top, and write the trained model."""
    keras.utils.set_random_seed(1)
    folder = output.resolve().with_name(f"{output.name}_data")
    regions = {"training": make_regions(640, seed=1), "held_out": make_regions(192, seed=2)}
    arguments = {name: write_regions(folder / name, some) for name, some in regions.items()}
    example = write_regions(folder / "example", make_regions(10, seed=3))

    print("making the published models ...")
    others = make_regions(600, seed=4)
    scan = make_scan(folder)
    published = {
        "scan": scan,
        "gata": fit_forest(scan, others),
        "ctcf": train_network(others),
        "openness": publish_openness(folder / "openness", others),
    }
    graph = stitch(published)
    print(graph.plan())
    print(f"drawn: {graph.plot(folder / 'active_regions.svg').name}")

    print("\nwriting the Kipoi directory ...")
    directory = save(graph, output, example, overwrite=overwrite)
    run_kipoi(directory.resolve(), {k: v for k, v in arguments["held_out"].items() if k != "targets_file"}, folder)

    print("\ntraining the model on top ...")
    model = graph.build()
    print(f"its inputs: {', '.join(f'{tensor.name} {tensor.shape[1:]}' for tensor in model.inputs)}")
    held_out = ks.training_data(directory, arguments["held_out"], shuffle=False)
    before = evaluate(model, held_out)
    losses = train(model, ks.training_data(directory, arguments["training"], seed=1))
    after = evaluate(model, held_out)
    print(f"held-out loss: {before[0]:.3f} before, {after[0]:.3f} after; accuracy: {before[1]:.2f} and {after[1]:.2f}")
    assert after[0] < before[0] / 2

    print("\nwriting the trained model ...")
    trained = save(graph, output.with_name(f"{output.name}_trained"), example, model=model, overwrite=overwrite)
    theirs = kipoi.get_model(str(trained), source="dir").pipeline.predict(arguments["held_out"])
    ours = np.asarray(model(by_hand(published, regions["held_out"])))
    print(f"Kipoi's predictions and the models run one after another: {equal(theirs, ours)}")
    assert np.abs(theirs - ours).max() <= 1e-5
    assert packed_files(trained) == packed_files(directory)
    print(f"packed models: {len(packed_files(trained))} files, unchanged")

    print("\ntraining on stored predictions of the packed models ...")
    (folder / "features.h5").unlink(missing_ok=True)  # features of an earlier run would be refused
    features = ks.precompute(directory, arguments["training"], folder / "features.h5")
    same_batches(ks.training_data(directory, arguments["training"], seed=1), ks.training_data(features, seed=1))
    again = train(graph.build(), ks.training_data(features, seed=1))
    print(f"loss in the last epoch: {losses[-1]:.4f} from the dataloader, {again[-1]:.4f} from the file")
    assert np.allclose(losses, again, rtol=1e-3)
    print(f"\nwritten: {directory} and {trained}\ntry it: cd {trained} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Models of four frameworks, and a Keras model trained on them.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("active_regions"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
