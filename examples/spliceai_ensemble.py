"""SpliceAI's five published networks as one Keras model and one Kipoi directory.

SpliceAI (Jaganathan et al., Cell 2019, https://doi.org/10.1016/j.cell.2018.12.015) predicts splice sites
with the mean of five networks. Their files share the model name and every layer name, so plain Keras
cannot put them into one model. Here they get one input and one output, the mean, and a directory that
reads FASTA and BED:

    pip install "keras_stitch[examples,spliceai]"
    python examples/spliceai_ensemble.py spliceai_ensemble

The networks read 5,000 bases on either side of each predicted base, so an interval of 10,000 + n bases
gives n predictions. kipoiseq encodes ``N`` as 0.25 of each base, SpliceAI as zeros: leave out intervals
with N. The models are SpliceAI's (CC BY-NC 4.0), the genome of the example is made up.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

import keras
import numpy as np

import keras_stitch as ks

CONTEXT = 10_000
PREDICTED = 100
ROWS = 2


def stitch() -> ks.Graph:
    """The five networks on one input; their mean is the output ``splicing``: neither, acceptor, donor."""
    models = files("spliceai").joinpath("models")
    networks = {f"spliceai{number}": models.joinpath(f"spliceai{number}.h5") for number in range(1, 6)}
    return ks.ensemble(networks, input="sequence", output="splicing", name="spliceai_ensemble")


def write_example(folder: Path) -> dict[str, str]:
    """A made-up genome, and intervals on it."""
    folder.mkdir(parents=True, exist_ok=True)
    length = CONTEXT + PREDICTED
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), ROWS * length))
    lines = "\n".join(bases[start : start + 60] for start in range(0, len(bases), 60))
    genome, intervals = folder / "genome.fa", folder / "intervals.bed"
    genome.write_text(f">chr1\n{lines}\n")
    intervals.write_text("".join(f"chr1\t{row * length}\t{(row + 1) * length}\n" for row in range(ROWS)))
    return {"fasta_file": str(genome), "intervals_file": str(intervals)}


def mean_of_the_five(sequence: np.ndarray) -> np.ndarray:
    """The five networks loaded and run one after another.

    Args:
        sequence: One-hot DNA, shape (rows, CONTEXT + n, 4), float32.

    Returns:
        Shape (rows, n, 3), float32.
    """
    models = files("spliceai").joinpath("models")
    results = []
    for number in range(1, 6):
        network = keras.saving.load_model(str(models.joinpath(f"spliceai{number}.h5")), compile=False)
        result = network([sequence])
        results.append(np.asarray(result[0] if isinstance(result, list) else result))
    return np.mean(results, axis=0)


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Stitch, compare with the five run separately, and write the Kipoi directory."""
    print("stitching the five networks ...")
    graph = stitch()
    model = graph.build()
    print(graph.summary())

    print("\ncomparing with the five run one after another ...")
    bases = np.random.default_rng(1).integers(4, size=(1, CONTEXT + PREDICTED))
    sequence = np.eye(4, dtype="float32")[bases]
    difference = float(np.abs(np.asarray(model([sequence])) - mean_of_the_five(sequence)).max())
    print(f"largest difference: {difference:.1e}")
    if difference > 1e-5:
        raise SystemExit("The stitched model does not predict the mean of its parts.")

    print("\nwriting the Kipoi directory ...")
    directory = graph.save(
        output,
        model=model,
        dataloaders={"sequence": "kipoiseq.dataloaders.SeqIntervalDl"},
        examples=write_example(output.parent / f"{output.name}_example"),
        info={
            "authors": [{"name": "Kishore Jaganathan"}, {"name": "Kyle Kai-How Farh"}],
            "doc": "Splice sites: the mean of the five networks of SpliceAI.",
            "license": "CC BY-NC 4.0",
            "cite_as": "https://doi.org/10.1016/j.cell.2018.12.015",
            "tags": ["RNA splicing"],
        },
        overwrite=overwrite,
        progress=lambda text: print(f"  {text}"),
    )
    print(f"\nwritten: {directory}\ntry it: cd {directory} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="SpliceAI's five networks as one Kipoi directory.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("spliceai_ensemble"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
