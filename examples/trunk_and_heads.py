"""One trunk and three heads: as one Keras model, and with the trunk in the dataloader, so that it runs only once.

A convolutional network, trained elsewhere, turns DNA into features. Three small networks predict from these in which
tissues an enhancer is active. These heads read their features as a sequence with one channel, so a layer in between
adds an axis. The trunk is frozen, and takes most of the time. So the heads are trained on features that are computed
once and stored. Then trunk and trained heads are stitched into one Keras model:

    pip install "keras_stitch[examples]"
    python examples/trunk_and_heads.py enhancer_tissues

Both graphs are the same except for ``placement="dataloader"``, and predict the same. TREDNet (Hudaiberdiev et al.,
PNAS 2023) has this structure; the models, genome and labels here are made up.
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

TISSUES = {"islet": "AGATAAGC", "liver": "CACCAGGT", "blood": "TGACTCAT"}  # a motif for each
LENGTH, FEATURES = 200, 24


def publish_trunk(folder: Path) -> Path:
    """The network that makes features of DNA: some match the three motifs, and most are not used here."""
    trunk = keras.Sequential(
        [
            keras.Input((LENGTH, 4), name="sequence"),
            layers.Conv1D(FEATURES, 8, name="scan"),
            layers.GlobalMaxPooling1D(name="best"),
            layers.Rescaling(1.0, offset=-6.0, name="features"),
        ]
    )
    kernel, bias = trunk.get_layer("scan").get_weights()
    for number, motif in enumerate(TISSUES.values()):
        kernel[:, :, 5 * number + 2] = np.eye(4)[["ACGT".index(base) for base in motif]]
    trunk.get_layer("scan").set_weights([kernel, bias])
    trunk.save(folder / "trunk.keras")
    return folder / "trunk.keras"


def make_head(folder: Path, tissue: str) -> Path:
    """An untrained network that reads features as a sequence with one channel."""
    head = keras.Sequential(
        [
            keras.Input((FEATURES, 1), name="features"),
            layers.Conv1D(4, 3, activation="relu", padding="same"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    head.save(folder / f"{tissue}.keras")
    return folder / f"{tissue}.keras"


def write_data(folder: Path, rows: int, seed: int) -> dict[str, str]:
    """A made-up genome, regions and labels; returns the arguments of a dataloader that reads them.

    Args:
        folder: The folder to write to.
        rows: The number of regions. In each tissue, half of them have its motif, and these are active.
        seed: The seed of the random genome.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator, bed, sequences = np.random.default_rng(seed), "", []
    labels = "\t".join(["chr", "start", "end", *TISSUES]) + "\n"
    for row in range(rows):
        bases, active = generator.choice(list("ACGT"), LENGTH), generator.integers(2, size=len(TISSUES))
        for number in np.flatnonzero(active):
            start = 60 * number + generator.integers(50)
            bases[start : start + 8] = list(list(TISSUES.values())[number])
        place = f"chr1\t{row * LENGTH}\t{(row + 1) * LENGTH}"
        bed, labels = f"{bed}{place}\n", "\t".join([f"{labels}{place}", *map(str, active)]) + "\n"
        sequences.append("".join(bases))
    files = {"fasta_file": "genome.fa", "intervals_file": "regions.bed", "targets_file": "labels.tsv"}
    contents = ("\n".join([">chr1", *sequences, ""]), bed, labels)
    for name, content in zip(files.values(), contents, strict=True):
        (folder / name).write_text(content)
    Faidx(str(folder / "genome.fa"))
    return {argument: str(folder / name) for argument, name in files.items()}


def stitch(name: str, trunk: Path, heads: dict[str, Path], placement: str | None = None) -> ks.Graph:
    """The trunk, a layer that adds an axis, and three heads."""
    graph = ks.Graph(name)
    graph.add("trunk", trunk, trainable=False, placement=placement)
    graph.add("channel", layers.Reshape((FEATURES, 1)))
    graph.connect("trunk", "channel")
    for tissue, head in heads.items():
        graph.add(tissue, head)
        graph.connect("channel", tissue)
    return graph


def save(graph: ks.Graph, output: Path, example: dict[str, str], **options: Any) -> Path:
    """Writes the Kipoi directory."""
    return graph.save(
        output,
        dataloaders={"sequence": "kipoiseq.dataloaders.SeqIntervalDl"},
        targets=example["targets_file"],
        examples={name: path for name, path in example.items() if name != "targets_file"},
        info={"authors": [{"name": "You"}], "doc": "Where enhancers are active.", "license": "MIT"},
        progress=lambda text: print(f"  {text}"),
        **options,
    )


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Write a directory with a packed trunk, train the heads on stored features, and write one with the whole model."""
    keras.utils.set_random_seed(1)
    folder = output.resolve().with_name(f"{output.name}_data")
    arguments = write_data(folder / "training", 960, seed=1)
    held_out = write_data(folder / "held_out", 300, seed=2)
    example = write_data(folder / "example", 10, seed=3)
    trunk = publish_trunk(folder)
    heads = {tissue: make_head(folder, tissue) for tissue in TISSUES}

    print("the trunk in the dataloader:")
    packed = stitch("packed_trunk", trunk, heads, placement="dataloader")
    print(packed.plan())
    packed_directory = save(packed, output.with_name(f"{output.name}_packed"), example, overwrite=overwrite)

    print("\ntraining the heads on stored features ...")
    (folder / "features.h5").unlink(missing_ok=True)  # features of an earlier run would be refused
    features = ks.precompute(packed_directory, arguments, folder / "features.h5", batch_size=96)
    model = packed.build()
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    data = ks.training_data(features, batch_size=32, seed=1)
    losses = model.fit(data, epochs=10, verbose=0).history["loss"]
    print(f"inputs: {', '.join(f'{tensor.name} {tensor.shape[1:]}' for tensor in model.inputs)}")
    print(f"loss: {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last")
    assert losses[-1] < losses[0] / 3

    print("\nthe whole graph in one Keras model:")
    graph = stitch("whole", trunk, heads)
    print(graph.plan())
    whole = graph.build()
    for tissue in TISSUES:
        whole.get_layer(tissue).set_weights(model.get_layer(tissue).get_weights())
    directory = save(graph, output, example, model=whole, overwrite=overwrite)

    print("\nregions that were not trained on:")
    one = kipoi.get_model(str(directory), source="dir").pipeline.predict(held_out, batch_size=100)
    other = model.predict(ks.training_data(packed_directory, held_out, batch_size=100, shuffle=False), verbose=0)
    difference = max(np.abs(one[tissue] - other[tissue]).max() for tissue in TISSUES)
    print(f"largest difference between the trunk in the model and in the dataloader: {difference:.1e}")
    assert difference <= 1e-5
    labels = np.loadtxt(held_out["targets_file"], skiprows=1, usecols=(3, 4, 5))
    for number, tissue in enumerate(TISSUES):
        right = ((one[tissue][:, 0] > 0.5) == labels[:, number]).mean()
        print(f"{tissue}: {right:.2f} of {len(labels)} right")
        assert right > 0.9
    print(f"\nwritten: {directory} and {packed_directory}\ntry it: cd {directory} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One trunk, three heads: whole, and with the trunk packed.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("enhancer_tissues"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
