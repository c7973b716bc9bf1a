"""The four models of the README, where two of them need old packages: a workflow, and the same numbers as by hand.

model1 and model2 are scikit-learn models that were stored by two versions, which cannot read each other's files. model2
takes the predictions and the input of model1; model3 and model4 are Keras models. So model1 runs in an environment of
its own, model2 reads its predictions in another, and model3 and model4 form the final model:

    pip install "keras_stitch[examples,workflow]"
    python examples/four_models_workflow.py four_models

The plan finds the models that need environments of their own. uv makes the environments, and Snakemake runs the models.
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

import keras_stitch as ks

VERSIONS = {"model1": "1.3.2", "model2": "1.5.2"}
INPUTS = {"model1": {"input1": 3}, "model2": {"input1_model1": 4}}

# Run in the environment with a model's version of scikit-learn.
FIT = """
    import sys
    import joblib
    import numpy as np
    from sklearn.ensemble import GradientBoostingRegressor

    x = np.random.default_rng(1).normal(size=(100, int(sys.argv[2])))
    joblib.dump(GradientBoostingRegressor(n_estimators=20).fit(x, np.sin(x).sum(axis=1)), sys.argv[1])
"""
PREDICT = """
    import sys
    import joblib
    import numpy as np

    np.save(sys.argv[3], joblib.load(sys.argv[1]).predict(np.load(sys.argv[2]))[:, None])
"""


def run_in(environment: Path, code: str, *arguments: object) -> None:
    command = [environment / "bin" / "python", "-c", textwrap.dedent(code), *map(str, arguments)]
    subprocess.run(command, check=True, env={"PATH": ""})


def publish(zoo: Path, name: str) -> Path:
    """A Kipoi directory with a model that another version of scikit-learn fits and stores."""
    directory, environment = zoo / name, zoo / f"{name}_environment"
    directory.mkdir(parents=True)
    pin = f"scikit-learn=={VERSIONS[name]}"
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
    subprocess.run([program, "pip", "install", "--quiet", "--python", environment, pin], check=True)
    ((port, size),) = INPUTS[name].items()
    run_in(environment, FIT, directory / "model.pkl", size)
    described = {
        "defined_as": "kipoi.model.SklearnModel",
        "args": {"pkl_file": "model.pkl"},
        "info": {"authors": [{"name": "keras_stitch contributors"}], "doc": f"A regression, {name}", "license": "MIT"},
        "dependencies": {"pip": [pin]},
        "schema": {
            "inputs": {"name": port, "shape": f"({size},)", "doc": "Numbers"},
            "targets": {"name": "prediction", "shape": "(1,)", "doc": "A number"},
        },
    }
    (directory / "model.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return directory


def dense(size: int, units: int, port: str) -> keras.Model:
    inputs = keras.Input((size,), name=port)
    return keras.Model(inputs, layers.Dense(units)(inputs))


def make_graph(zoo: Path) -> ks.Graph:
    """model1 -> model2 -> model4 <- model3."""
    keras.utils.set_random_seed(1)
    graph = ks.Graph("four_models")
    graph.add("model1", publish(zoo, "model1"))
    graph.add("model2", publish(zoo, "model2"))
    graph.add("model3", dense(6, 4, "input2"))
    graph.add("model4", dense(5, 1, "model2_model3"))
    graph.connect(["model1", "model1.input1"], "model2")
    return graph.connect(["model2", "model3"], "model4")


def by_hand(zoo: Path, model: keras.Model, data: dict[str, np.ndarray]) -> np.ndarray:
    """The predictions of the models one after another, each in an environment where it can run."""
    work = zoo.parent
    arriving = data["input1"]
    for name in ("model1", "model2"):
        np.save(work / "given.npy", arriving)
        environment, file = zoo / f"{name}_environment", zoo / name / "model.pkl"
        run_in(environment, PREDICT, file, work / "given.npy", work / "made.npy")
        made = np.load(work / "made.npy")
        arriving = np.concatenate([made, data["input1"]], axis=1)
    predicted3 = model.get_layer("model3")(data["input2"])
    return np.asarray(model.get_layer("model4")(np.concatenate([made, predicted3], axis=1)))


def main(output: Path) -> None:
    work = output.with_name(f"{output.name}_work")
    work.mkdir(parents=True)
    graph = make_graph(work / "zoo")
    print(graph.plan(), end="\n\n")
    graph.save(output)

    generator = np.random.default_rng(2)
    data = {"input1": generator.normal(size=(300, 3)), "input2": generator.normal(size=(300, 6))}
    files = {}
    for name, array in data.items():
        np.save(work / f"{name}.npy", array.astype("float32"))
        files[f"{name}_file"] = str(work / f"{name}.npy")
    keras_stitch = [sys.executable, "-m", "keras_stitch"]
    asked = ["--dataloader_args", json.dumps(files), "--cores", "2", "--config", "chunks=2"]
    with (work / "workflow.log").open("w") as log:
        command = [*keras_stitch, "run", str(output), "-o", str(work / "results"), *asked]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    with h5py.File(work / "results" / f"{output.name}.h5") as file:
        predicted = file["preds"][:]
    expected = by_hand(work / "zoo", graph.build(), {name: array.astype("float32") for name, array in data.items()})
    environments = list((work / "results" / "environments").glob("*.txt"))
    print(f"predicted: {len(predicted)} rows, with {len(environments)} environments beside this one")
    print(f"largest difference from the models run one after another: {np.abs(predicted - expected).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the directory to write")
    main(parser.parse_args().output)
