"""Graphs of a thousand submodels, chains of 300, 300 inputs, a submodel of 5,000 layers: how time and memory grow.

    python benchmarks/growth.py SHAPE FOLDER FIGURES.json

Each step is done at two sizes, one four times the other. Seconds are those of the processor, of processes that a step
starts as well. Each size has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from figures import MEMORY

import keras_stitch as ks
from keras_stitch.cli import main as command
from keras_stitch.models.save_keras import save_model

Connect = Callable[[ks.Graph, int], object]
_BRANCHES = 50


def side_by_side(graph: ks.Graph, count: int) -> None:
    """One input feeds all; one layer takes what they make."""
    names = [f"m{number}" for number in range(count)]
    graph.add("last", keras.layers.Dense(1)).connect(names, "last").add_input("x", names)


def chain(graph: ks.Graph, count: int) -> None:
    """Each feeds the next."""
    for number in range(1, count):
        graph.connect(f"m{number - 1}", f"m{number}")


def inputs(graph: ks.Graph, count: int) -> None:
    """Each has an input and an output of its own."""
    for number in range(count):
        graph.add_input(f"x{number}", f"m{number}")


def layers(graph: ks.Graph, count: int) -> None:
    """One submodel has all the layers; it is frozen, and feeds another."""
    del count
    graph.add("last", keras.layers.Dense(1)).connect("m0", "last").freeze("m0")


SHAPES: dict[str, tuple[Connect, tuple[int, ...]]] = {
    "submodels": (side_by_side, (250, 1000)),
    "chain": (chain, (75, 300)),
    "inputs": (inputs, (75, 300)),
    "layers": (layers, (1250, 5000)),
}

# By default. The others take half an hour for 5,000 layers.
STEPS = {
    "layers": (
        *("add", "connect", "plan", "build", "save .keras", "save .h5"),
        *("load .keras, by Keras", "load .h5, by Keras", "first prediction"),
    )
}


def part(count: int) -> keras.Model:
    """A model with so many Dense layers; if there are many, in branches, as Keras calls itself for layers in a row."""
    x = keras.Input((3,), name="x")
    branches = [x] * min(count, _BRANCHES)
    for number in range(count):
        branch = number % len(branches)
        branches[branch] = keras.layers.Dense(3, "tanh", name=f"dense_{number}")(branches[branch])
    return keras.Model(x, keras.layers.Add(name="add")(branches) if len(branches) > 1 else branches)


class Steps:
    """What is done with one graph, step by step; each step needs those before it."""

    def __init__(self, shape: str, count: int, folder: Path):
        self.shape, self.count, self.folder = shape, count, folder
        self.file = folder / "part.keras"
        self.submodels = 1 if shape == "layers" else count
        part(count // self.submodels).save(self.file)
        self.graph, self.saved = ks.Graph("large"), folder / "large.keras"

    def all(self) -> dict[str, Callable[[], object]]:
        """The steps by name, in their order."""
        h5, yaml, place = self.folder / "large.h5", self.folder / "stitch.yaml", self.folder / "large"
        predicted, onnx = self.folder / "predicted.h5", self.folder / "large.onnx"
        return {
            "add": self._add,
            "connect": lambda: SHAPES[self.shape][0](self.graph, self.count),
            "plan": lambda: str(self.graph.plan()),
            "summary": lambda: str(self.graph.summary()),
            "build": self._build,
            "save .keras": lambda: save_model(self.model, self.saved),
            "save .h5": lambda: save_model(self.model, h5),
            "load .keras, by Keras": self._load,
            "load .h5, by Keras": lambda: keras.saving.load_model(h5, compile=False),
            "first prediction": self._predict,
            "to_yaml": lambda: self.graph.to_yaml(yaml),
            "from_yaml": lambda: ks.Graph.from_yaml(yaml),
            "plot": lambda: self.graph.plot(self.folder / "large.svg"),
            "verify": self._verify,
            "save, directory": lambda: self.graph.save(place),
            "keras-stitch predict": lambda: command(["predict", str(place), "-o", str(predicted)]),
            "keras-stitch export, ONNX": lambda: command(["export", str(place), "-o", str(onnx)]),
        }

    def _add(self) -> None:
        for number in range(self.submodels):
            self.graph.add(f"m{number}", self.file)

    def _build(self) -> None:
        self.model = self.graph.build()

    def _load(self) -> None:
        self.loaded = keras.saving.load_model(self.saved, compile=False)

    def _predict(self) -> None:
        self.loaded.predict_on_batch([np.zeros((4, *tensor.shape[1:]), "float32") for tensor in self.loaded.inputs])

    def _verify(self) -> None:
        certificate = self.graph.verify(rows=4)
        assert certificate.passed, certificate


def processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(shape: str, count: int, folder: Path, steps: Collection[str]) -> dict[str, float]:
    """Seconds of every step, and the most memory that a process had, in MiB."""
    found = {}
    for step, run in Steps(shape, count, folder).all().items():
        if steps and step not in steps:
            continue
        before = processor_seconds()
        run()
        found[step] = processor_seconds() - before
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return found | {MEMORY: max(usage.ru_maxrss for usage in usages) / 1024}


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, help="by default two, one four times the other")
    parser.add_argument("--steps", nargs="+", default=(), help="only these; each needs some of those before")
    parser.add_argument("--here", action="store_true", help="one size, in this process")
    options = parser.parse_args()
    sizes = options.sizes or SHAPES[options.work][1]
    steps = options.steps or STEPS.get(options.work, ())
    given = ["--steps", *steps] if steps else []
    found: dict[str, Any] = {}
    if options.here:
        found = measured(options.work, sizes[0], options.folder, steps)
    else:
        for size in sizes:
            place = options.folder / str(size)
            place.mkdir()
            command_line = [sys.executable, __file__, options.work, str(place), str(options.figures)]
            subprocess.run([*command_line, f"--sizes={size}", "--here", *given], check=True)
            found[str(size)] = json.loads(options.figures.read_text(encoding="utf-8"))
    options.figures.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
