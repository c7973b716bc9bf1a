"""Two published models, made for other tasks, become one model that is trained on a new task.

One network finds a short motif in 101 bases of DNA, the other finds another motif in 201 bases. The new task is to
predict enhancers, which needs both. The two networks are stitched without their last layers, frozen, and get a new
head. Their dataloaders are merged, and a file of labels is added. Keras trains on the data that the merged
dataloader reads from FASTA, BED and TSV:

    pip install "keras_stitch[examples]"
    python examples/train_on_new_task.py enhancers

Chromosome 1 is for training, chromosome 2 for validation. The genomic range of every row of labels is compared with
its interval. Models, genome and labels are made up, and all of them are files, like real ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import kipoi
import numpy as np
from keras import layers
from pyfaidx import Faidx

import keras_stitch as ks

MOTIFS = {"gata": "AGATAAGC", "ctcf": "CACCAGGT"}
LENGTHS = {"gata": 101, "ctcf": 201}
WINDOW = 250  # an interval of 201 bases, and its surroundings
WORKERS = 2


def publish(folder: Path, name: str) -> Path:
    """A model as others would have published it: does a protein bind this DNA, on either strand?"""
    motif = np.eye(4)[["ACGT".index(base) for base in MOTIFS[name]]]
    model = keras.Sequential(
        [
            keras.Input((LENGTHS[name], 4), name="sequence"),
            layers.Conv1D(2, len(motif), name="scan"),
            layers.GlobalMaxPooling1D(name="best"),
            layers.Dense(1, activation="sigmoid", name="binding"),
        ]
    )
    model.get_layer("scan").set_weights([np.stack([motif, motif[::-1, ::-1]], axis=-1), np.zeros(2)])
    model.get_layer("binding").set_weights([np.ones((2, 1)), np.array([-12.0])])
    path = folder / f"{name}.keras"
    model.save(path)
    return path


def write_data(folder: Path, rows: dict[str, int]) -> dict[str, dict[str, str]]:
    """A made-up genome; returns the arguments of a dataloader that reads it, by chromosome.

    Args:
        folder: The folder to write to.
        rows: The number of regions of each chromosome. Half of the regions have one motif in the middle, half have the
            other one near the start, and those with both are enhancers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator, genome, arguments = np.random.default_rng(1), "", {}
    for chromosome, count in rows.items():
        intervals, labels, sequence = "", "chr\tstart\tend\tenhancer\n", ""
        for row in range(count):
            bases, (gata, ctcf) = generator.choice(list("ACGT"), WINDOW), generator.integers(2, size=2)
            if gata:
                place = generator.integers(100, 140)
                bases[place : place + 8] = list(MOTIFS["gata"])
            if ctcf:
                place = generator.integers(30, 60)
                bases[place : place + 8] = list(MOTIFS["ctcf"])
            region = f"{chromosome}\t{row * WINDOW + 25}\t{row * WINDOW + 226}"
            intervals, labels = f"{intervals}{region}\n", f"{labels}{region}\t{gata * ctcf}\n"
            sequence += "".join(bases)
        genome += f">{chromosome}\n" + "".join(f"{sequence[at : at + 60]}\n" for at in range(0, len(sequence), 60))
        (folder / f"{chromosome}.bed").write_text(intervals)
        (folder / f"{chromosome}.tsv").write_text(labels)
        arguments[chromosome] = {
            "fasta_file": str(folder / "genome.fa"),
            "intervals_file": str(folder / f"{chromosome}.bed"),
            "targets_file": str(folder / f"{chromosome}.tsv"),
        }
    (folder / "genome.fa").write_text(genome)
    Faidx(str(folder / "genome.fa"))  # writes the index; otherwise several workers would write it at the same time
    return arguments


def stitch(published: dict[str, Path]) -> ks.Graph:
    """Both models without their last layers, frozen, and a new head on their outputs."""
    graph = ks.Graph("enhancers")
    for name, path in published.items():
        graph.add(name, path, outputs=["best"])
        graph.add_input(f"dna{LENGTHS[name]}", name)
    head = [
        keras.Input((4,), name="matches"),
        layers.Rescaling(1.0, offset=-6.0),  # 5 or 6 of the 8 bases match somewhere by chance
        layers.Dense(16, activation="relu"),
        layers.Dense(1, activation="sigmoid", name="enhancer"),
    ]
    graph.add("head", keras.Sequential(head, name="new_head"))
    graph.connect(list(published), "head")
    graph.add_output("enhancer", "head")
    return graph.freeze(*published)


def save(graph: ks.Graph, output: Path, example: dict[str, str], **options: Any) -> Path:
    """Writes the Kipoi directory: both inputs are read around the same intervals, and labels from a table."""
    loader = "kipoiseq.dataloaders.SeqIntervalDl"
    targets = example["targets_file"]
    return graph.save(
        output,
        dataloaders={f"dna{size}": ks.Dataloader(loader, args={"auto_resize_len": size}) for size in LENGTHS.values()},
        targets=targets,
        examples={name: path for name, path in example.items() if path != targets},
        info={"authors": [{"name": "You"}], "doc": "Which regions are enhancers.", "license": "MIT"},
        **options,
    )


def train(model: keras.Model, directory: Path, arguments: dict[str, dict[str, str]]) -> None:
    """Train on chromosome 1, validate on chromosome 2."""
    training = ks.training_data(directory, arguments["chr1"], batch_size=32, seed=1, workers=WORKERS)
    validation = ks.training_data(directory, arguments["chr2"], batch_size=100, shuffle=False, workers=WORKERS)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(training, validation_data=validation, epochs=5).history
    for name, losses in (("training", history["loss"]), ("validation", history["val_loss"])):
        print(f"{name} loss: {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last")


def check_frozen(model: keras.Model, published: dict[str, Path]) -> None:
    """Compares the weights of both submodels with those in their files, bit for bit."""
    for name, path in published.items():
        original = keras.saving.load_model(path, compile=False).get_layer("scan").get_weights()
        now = model.get_layer(name).get_weights()
        same = all(np.array_equal(a, b) for a, b in zip(now, original, strict=True))
        print(f"weights of {name}: {'unchanged' if same else 'CHANGED'}")


def train_with_labels_in_another_order(directory: Path, arguments: dict[str, str]) -> None:
    """Tries the same labels in reverse order: their number and shape are right."""
    header, *rows = Path(arguments["targets_file"]).read_text().splitlines(keepends=True)
    other = Path(arguments["targets_file"]).with_name("another_order.tsv")
    other.write_text("".join([header, *reversed(rows)]))
    try:
        ks.training_data(directory, {**arguments, "targets_file": other})
    except ValueError as error:
        print(error)


def compare(model: keras.Model, directory: Path, arguments: dict[str, str]) -> None:
    """Compares the directory, run by Kipoi alone, with the trained model."""
    ours = model.predict(ks.training_data(directory, arguments, batch_size=100, shuffle=False), verbose=0)
    theirs = kipoi.get_model(str(directory), source="dir").pipeline.predict(arguments, batch_size=100)
    print(f"largest difference to Kipoi's predictions: {np.abs(ours - theirs).max():.1e}")


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Stitch, write the Kipoi directory, train with its dataloader, and write the trained model."""
    keras.utils.set_random_seed(1)
    folder = output.resolve().with_name(f"{output.name}_data")
    arguments = write_data(folder, {"chr1": 800, "chr2": 300})
    example = write_data(folder / "example", {"chr1": 10})["chr1"]
    published = {name: publish(folder, name) for name in MOTIFS}

    print("stitching two published models and a new head ...")
    graph = stitch(published)
    print(graph.summary())

    print("\nwriting the Kipoi directory ...")
    directory = save(graph, output, example, overwrite=overwrite, progress=lambda text: print(f"  {text}"))

    print("\ntraining for the new task ...")
    model = graph.build()
    train(model, directory, arguments)
    check_frozen(model, published)

    print("\nif the labels were in another order:")
    train_with_labels_in_another_order(directory, arguments["chr1"])

    print("\nwriting the trained model ...")
    save(graph, output, example, model=model, overwrite=True, progress=lambda text: print(f"  {text}"))
    compare(model, directory, arguments["chr2"])
    print(f"\nwritten: {directory}\ntry it: cd {directory} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two published models, stitched and trained on a new task.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("enhancers"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
