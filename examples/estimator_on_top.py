"""Four models of four kinds in the dataloader, and a logistic regression of scikit-learn on top of them.

Does a variant break splicing? A Keras network scores the acceptor, a PyTorch network the donor, a custom class scores
the branch point, and a random forest scores the conservation. A logistic regression is fitted on the four scores. No
Keras model remains, so the regression is the model of the Kipoi directory, and its dataloader runs the four models:

    pip install "keras_stitch[examples,torch]"
    python examples/estimator_on_top.py splicing_variants

KipoiSplice/4 of the Kipoi zoo has this structure; the models and data here are made up.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import h5py
import keras
import kipoi
import numpy as np
import torch
import yaml
from keras import layers
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import keras_stitch as ks

SITE, BRANCH, TRACKS = 20, 30, 6  # bases around the splice site, bases of the branch point region, conservation tracks
PARTS = ["acceptor", "donor", "branch_point", "conservation"]
INFO = {"authors": [{"name": "You"}], "doc": "Does a variant break splicing?", "license": "MIT"}


# -- the four models, as others would have published them ------------------------------------------------------------


def make_acceptor(folder: Path) -> Path:
    """A Keras file: is ``CAGG`` at the splice site?"""
    model = keras.Sequential(
        [
            keras.Input((SITE, 4), name="site"),
            layers.Conv1D(1, 4, name="match"),
            layers.GlobalMaxPooling1D(),
            layers.Rescaling(2.0, offset=-7.0),
            layers.Activation("sigmoid"),
        ]
    )
    model.get_layer("match").set_weights([one_hot("CAGG")[:, :, None], np.zeros(1)])
    model.save(folder / "acceptor.keras")
    return folder / "acceptor.keras"


class Donor(torch.nn.Module):
    """A PyTorch module: is ``GTAAG`` at the splice site?"""

    def __init__(self) -> None:
        super().__init__()
        self.match = torch.nn.Conv1d(4, 1, 5)
        self.match.weight.data = torch.from_numpy(one_hot("GTAAG").T[None].astype("float32"))
        self.match.bias.data.zero_()

    def forward(self, site: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2 * self.match(site.transpose(1, 2)).amax(dim=2) - 9)


BRANCH_POINT = '''
    """Branch points, scored by the base at each position."""

    import numpy as np
    from kipoi.model import BaseModel


    class BranchPoint(BaseModel):
        """The best sum of log-odds over a region."""

        def __init__(self, matrix):
            self.matrix = np.loadtxt(matrix)

        def predict_on_batch(self, x):
            size = len(self.matrix)
            windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=1)
            return np.einsum("nwbs,sb->nw", windows, self.matrix).max(axis=1, keepdims=True)
'''


def publish_branch_point(folder: Path) -> Path:
    """A Kipoi directory with a custom model class."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(textwrap.dedent(BRANCH_POINT).lstrip())
    np.savetxt(folder / "matrix.txt", 2 * one_hot("CTAAC") - 1.5)
    description = {
        "defined_as": "model.BranchPoint",
        "args": {"matrix": "matrix.txt"},
        "info": {"doc": "Is there a branch point?", "authors": [{"name": "Ada"}], "license": "MIT"},
        "dependencies": {"pip": ["numpy"]},
        "schema": {
            "inputs": {"name": "upstream", "shape": f"({BRANCH}, 4)", "doc": "One-hot DNA before the splice site."},
            "targets": {"name": "score", "shape": "(1,)", "doc": "The best sum of log-odds."},
        },
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    return folder


def fit_conservation() -> RandomForestClassifier:
    """A scikit-learn estimator: is the site conserved?"""
    generator = np.random.default_rng(5)
    conserved = generator.integers(2, size=400)
    tracks = generator.normal(size=(400, TRACKS)) + conserved[:, None]
    return RandomForestClassifier(10, max_depth=4, random_state=1).fit(tracks, conserved)


# -- data ------------------------------------------------------------------------------------------------------------


def one_hot(bases: str) -> np.ndarray:
    return np.eye(4)[["ACGT".index(base) for base in bases]]


def make_variants(rows: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made-up variants, by graph input; and whether each breaks splicing: at least two of four features are missing."""
    generator = np.random.default_rng(seed)
    intact = generator.integers(2, size=(rows, 4))
    site, upstream = generator.integers(4, size=(rows, SITE)), generator.integers(4, size=(rows, BRANCH))
    for column, sequence, motif, start in ((0, site, "CAGG", 2), (1, site, "GTAAG", 12), (2, upstream, "CTAAC", 9)):
        place = slice(start, start + len(motif))
        sequence[intact[:, column] == 1, place] = ["ACGT".index(base) for base in motif]
    tracks = generator.normal(size=(rows, TRACKS)) + intact[:, 3:]
    inputs = {"site": np.eye(4)[site], "upstream": np.eye(4)[upstream], "tracks": tracks}
    return {name: array.astype("float32") for name, array in inputs.items()}, (intact.sum(axis=1) <= 2).astype(int)


def write_files(folder: Path, inputs: dict[str, np.ndarray]) -> dict[str, str]:
    """An NPY file for each input; returns the arguments of the dataloader."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
    return {f"{name}_file": str(folder / f"{name}.npy") for name in inputs}


# -- the graph -------------------------------------------------------------------------------------------------------


def stitch(name: str, models: dict[str, Any], top: LogisticRegression | None = None) -> ks.Graph:
    """The four models, each with its own output; or with an estimator on top, fitted on these four outputs.

    Without the estimator, the final model is the Keras model, which also passes on the scores of the others. With it,
    the Keras model runs in the dataloader, like the others.
    """
    graph = ks.Graph(name)
    graph.add("acceptor", models["acceptor"])
    graph.add("donor", models["donor"], shapes=(SITE, 4))
    graph.add("branch_point", models["branch_point"])
    graph.add("conservation", models["conservation"], shapes=(TRACKS,), method="predict_proba")
    graph.add_input("site", ["acceptor", "donor"])
    graph.add_input("upstream", "branch_point")
    graph.add_input("tracks", "conservation")
    scores = ["acceptor", "donor", "branch_point", "conservation[1]"]  # conservation[1]: its second class
    if top is None:
        for part, score in zip(PARTS, scores, strict=True):
            graph.add_output(f"{part}_score", score)
    else:
        graph.add("splicing", top, shapes=(4,), method="predict_proba")
        graph.connect(scores, "splicing")
    return graph


def one_after_another(models: dict[str, Any], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The four scores, without a graph; shape (rows, 4)."""
    acceptor = keras.saving.load_model(models["acceptor"])(inputs["site"])
    with torch.no_grad():
        donor = models["donor"](torch.from_numpy(inputs["site"]))
    branch_point = kipoi.get_model(str(models["branch_point"]), source="dir", with_dataloader=False)
    conserved = models["conservation"].predict_proba(inputs["tracks"])[:, 1:]
    return np.concatenate([acceptor, donor, branch_point.predict_on_batch(inputs["upstream"]), conserved], axis=1)


def run_kipoi(directory: Path, arguments: dict[str, str], folder: Path) -> np.ndarray:
    """Runs ``kipoi test`` and ``kipoi predict``, with their output in a file. Returns the predictions."""

    def run(*command: Any) -> None:
        print(f"kipoi {command[0]} ...", flush=True)
        with (folder / "kipoi.log").open("a") as log:
            program = Path(sys.executable).with_name("kipoi")
            subprocess.run([program, *command], cwd=directory, stdout=log, stderr=log, check=True)

    for name in ("kipoi.log", "predictions.h5"):
        (folder / name).unlink(missing_ok=True)
    text = yaml.safe_dump(arguments, default_flow_style=True, width=10_000).strip()
    run("test", ".")
    run("predict", ".", "--source", "dir", "--dataloader_args", text, "-o", folder / "predictions.h5")
    with h5py.File(folder / "predictions.h5") as file:
        return file["preds"][()]


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Save the four models, fit a regression on their predictions, and save all five."""
    keras.utils.set_random_seed(1)
    folder = output.resolve().with_name(f"{output.name}_data")
    inputs, breaks = make_variants(600, seed=1)
    held_out, held_out_breaks = make_variants(200, seed=2)
    arguments = {
        "training": write_files(folder / "training", inputs),
        "held_out": write_files(folder / "new", held_out),
    }
    example = write_files(folder / "example", make_variants(10, seed=3)[0])
    models = {
        "acceptor": make_acceptor(folder),
        "donor": Donor(),
        "branch_point": publish_branch_point(folder / "branch_point"),
        "conservation": fit_conservation(),
    }
    options = {"examples": example, "info": INFO, "progress": lambda text: print(f"  {text}"), "overwrite": overwrite}

    print("the four models:")
    scores_graph = stitch("splicing_scores", models)
    print(scores_graph.plan())
    scores_directory = scores_graph.save(output.with_name(f"{output.name}_scores"), **options)

    print("\nfitting a regression on their scores ...")
    scores = kipoi.get_model(str(scores_directory), source="dir").pipeline.predict(arguments["training"])
    top = LogisticRegression().fit(np.concatenate([scores[f"{part}_score"] for part in PARTS], axis=1), breaks)
    print(f"weights: {', '.join(f'{part} {weight:.2f}' for part, weight in zip(PARTS, top.coef_[0], strict=True))}")

    print("\nthe four models and the regression:")
    graph = stitch("splicing_variants", models, top)
    print(graph.plan())
    directory = graph.save(output, **options)

    predicted = run_kipoi(directory.resolve(), arguments["held_out"], folder)
    expected = top.predict_proba(one_after_another(models, held_out))
    difference = np.abs(predicted - expected).max()
    print(f"largest difference from the models run one after another: {difference:.1e}")
    assert predicted.shape == (200, 2) and difference <= 1e-5
    right = (predicted.argmax(axis=1) == held_out_breaks).mean()
    print(f"correct for {right:.2f} of {len(predicted)} variants")
    assert right > 0.8
    print(f"\nwritten: {directory} and {scores_directory}\ntry it: cd {directory} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Four models in the dataloader, an estimator on top.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("splicing_variants"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
