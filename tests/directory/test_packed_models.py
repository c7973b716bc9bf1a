"""Directories whose dataloader runs models, and those whose model is no Keras model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import keras
import kipoi
import kipoi_runner
import numpy as np
import pytest
import torch
import yaml
import zoo_models
from kipoi_cases import load_objects, write_kind
from kipoi_utils import cd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from test_write_directory import style_problems
from toy_objects import write_layers
from zoo_models import array

import keras_stitch as ks
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.kipoi.packed_copy import load_packed

RANDOM = np.random.default_rng(3)


def dense(inputs: int, outputs: int, name: str = "x", seed: int = 0) -> keras.Model:
    x = keras.Input((inputs,), name=name)
    start = keras.initializers.GlorotUniform(seed)
    return keras.Model(x, keras.layers.Dense(outputs, activation="tanh", kernel_initializer=start)(x))


def regression(inputs: int) -> LinearRegression:
    x, y = zoo_models.training_rows(inputs)
    return LinearRegression().fit(x, y[:, 0])


class Words(torch.nn.Module):
    """Tokens and numbers in, a dict of two arrays out."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.dense = torch.nn.Embedding(4, 3), torch.nn.Linear(4, 2)

    def forward(self, tokens: Any, h: Any) -> Any:
        return {"p": self.dense(h), "q": self.embedding(tokens).mean(1)}


def with_times(folder: Path, make: Callable[[Any], keras.Model]) -> dict[str, Any]:
    """A saved model with a layer that Keras does not have, as ``add`` takes it."""
    objects = write_layers(folder / "layers.py")
    make(load_objects(objects)["Times"]).save(folder / "own.keras")
    return {"source": folder / "own.keras", "custom_objects": objects}


def close(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def in_process(directory: Path, workers: int = 0) -> dict[str, np.ndarray]:
    """The predictions for the example, without a warning; what Kipoi warns about only in ``kipoi test``, too."""
    model = kipoi.get_model(str(directory), source="dir")
    assert model._sufficient_deps(model.dependencies)
    return kipoi_runner.in_process(directory, workers)


def described(directory: Path) -> dict[str, Any]:
    return yaml.safe_load((directory / "model.yaml").read_text())


def data_error(function: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as error:
        function()
    assert type(error.value).__name__ == "DataError"
    return str(error.value)


# -- models of every framework -----------------------------------------------------------------------------------------


class Every:
    """One graph of all frameworks, its directory, and what each part gives when it runs alone."""

    def __init__(self, folder: Path):
        sources = folder / "sources"
        regressor = zoo_models.write_sklearn(sources / "regressor", name="seven", dataloader=True)
        saved = zoo_models.write_tensorflow(sources / "saved", inputs=5, outputs=2)
        self.front, self.words, self.line = dense(3, 4), Words().eval(), regression(1)
        a, b = keras.Input((2,), name="a"), keras.Input((5,), name="b")
        ones = keras.layers.Dense(1, kernel_initializer="ones")

        def make(times: Any) -> keras.Model:
            return keras.Model([a, b], ones(keras.layers.Concatenate()([a, times()(b)])))

        self.top = with_times(sources, make)
        self.regressor, self.saved = load_packed(regressor), load_packed(saved)
        graph = ks.Graph("every")
        graph.add("regressor", regressor)
        graph.add("front", self.front, placement="dataloader")
        graph.add("words", self.words, shapes={"tokens": ((5,), "int64"), "h": (4,)})
        graph.add("saved", saved)
        graph.share("again", of="saved")
        graph.add("line", self.line, shapes=(1,))
        graph.add("top", **self.top)
        graph.connect("front", "words.h")
        graph.connect(["words.p", "words.q"], "saved")
        graph.connect(["front", "regressor"], "again")
        graph.connect(["saved", "again"], "line", merge=keras.layers.Dot(1))
        graph.connect("saved", "top.a")
        graph.connect(["line", "front.x", "regressor.seven[2:3]"], "top.b")
        graph.add_output("line", "line")
        graph.add_output("score", "top")
        graph.add_output("words_p", "words.p")
        self.graph = graph
        written = graph.save(folder / "first" / "every", dataloaders={"regressor": regressor})
        assert not list(written.rglob("*.pyc"))
        self.yaml, self.code = described(written), (written / "dataloader.py").read_text()
        self.directory = folder / "moved" / "every"
        shutil.move(written, self.directory)
        shutil.rmtree(sources)

    def expected(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        front = np.asarray(self.front(inputs["x"]))
        with torch.no_grad():
            words = self.words(torch.from_numpy(inputs["tokens"]), torch.from_numpy(front))
        p, q = words["p"].numpy(), words["q"].numpy()
        first = self.regressor.predict_on_batch(inputs["seven"])[:, None]
        saved = self.saved.predict_on_batch(np.concatenate([p, q], axis=1))
        again = self.saved.predict_on_batch(np.concatenate([front, first], axis=1).astype("float32"))
        line = self.line.predict((saved * again).sum(1, keepdims=True))[:, None]
        b = np.concatenate([line, inputs["x"], inputs["seven"][:, 2:3]], axis=1)
        return {"line": line, "score": (saved.sum(1) + 3 * b.sum(1))[:, None], "words_p": p}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Every:
    return Every(tmp_path_factory.mktemp("every"))


@pytest.mark.slow
def test_every_framework_through_kipoi(every: Every, tmp_path: Path) -> None:
    files = {
        "rows_file": str(tmp_path / "seven.npy"),
        "x_file": str(tmp_path / "x.npy"),
        "tokens_file": str(tmp_path / "tokens.npy"),
    }
    inputs = {
        "seven": RANDOM.normal(size=(37, 7)).astype("float32"),
        "x": RANDOM.normal(size=(37, 3)).astype("float32"),
        "tokens": RANDOM.integers(0, 4, (37, 5)),
    }
    for name, values in inputs.items():
        np.save(tmp_path / f"{name}.npy", values)
    expected = every.expected(inputs)
    for found in kipoi_runner.kipoi_checks(every.directory, files, tmp_path, cwd=tmp_path):
        for name, array_of in expected.items():
            close(found[f"preds/{name}"], array_of)


def test_every_framework_in_this_process(every: Every) -> None:
    whole, (first, *_) = in_process(every.directory), [in_process(every.directory, workers=2)]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, first[name])
    assert style_problems(every.directory) == ""
    factory = kipoi.get_dataloader_factory(str(every.directory), source="dir")
    with cd(str(every.directory)):
        shuffled = list(factory.init_example().batch_iter(batch_size=4, shuffle=True, num_workers=2))
    assert [len(batch["inputs"]["saved"]) for batch in shuffled] == [4, 2]
    rows = np.concatenate([batch["metadata"]["regressor"]["row"] for batch in shuffled])
    assert sorted(rows.tolist()) == list("012345")


def test_what_lies_in_the_directory(every: Every) -> None:
    folders = sorted(path.parent.name for path in every.directory.glob("components/*/packed_model"))
    assert folders == ["front", "line", "line_input_merged", "regressor", "saved", "words"]
    assert every.code.count('HERE / "components/saved/packed_model"') == 2
    assert "front" not in every.yaml["schema"]["inputs"]
    pip = every.yaml["dependencies"]["pip"]
    assert [item for item in pip if item.startswith("torch")] == [f"torch=={torch.__version__.partition('+')[0]}"]
    packages = [item.partition("=")[0].partition("<")[0].partition(">")[0] for item in pip]
    assert sorted(packages) == sorted(set(packages)) and {"scikit-learn", "joblib", "tensorflow"} <= set(packages)
    parts = "regressor, front, words, saved, line, top"
    assert every.yaml["info"]["doc"] == f"every: {parts} stitched into one Kipoi model."
    assert every.yaml["info"]["authors"] == [{"name": "Ada"}]
    assert every.yaml["defined_as"] == "stitched_model.StitchedModel"


def test_who_changes_a_packed_model(every: Every, tmp_path: Path) -> None:
    # Kipoi stores what the final model takes, so that another model in the dataloader is no difference to it.
    directory = tmp_path / "every"
    shutil.copytree(every.directory, directory)
    joblib.dump(regression(1).fit([[0.0], [1.0]], [5.0, 9.0]), directory / "components/line/packed_model/model_files"
                / "model.joblib")  # fmt: skip
    before, after = in_process(every.directory), kipoi.get_model(str(directory), source="dir")
    changed = after.pipeline.predict_example(batch_size=4)
    assert np.abs(changed["score"] - before["score"]).max() > 1
    (directory / "components/line/packed_model/model_files/model.joblib").write_bytes(b"no")
    text = data_error(lambda: kipoi.get_model(str(directory), source="dir").pipeline.predict_example(batch_size=4))
    assert text.startswith("The model 'line' cannot be loaded.\n  Received: ")


@pytest.mark.slow
def test_a_packed_directory_as_a_source(every: Every, tmp_path: Path) -> None:
    graph = ks.Graph("outer").add("inner", every.directory).add("head", dense(1, 2))
    graph.connect("inner.score", "head")
    directory = graph.save(tmp_path / "outer")
    close(in_process(directory)["head"], dense(1, 2)(in_process(every.directory)["score"]))
    loader = kipoi.get_model(str(directory), source="dir").default_dataloader.init_example
    with cd(str(directory)):
        text = data_error(lambda: list(loader().batch_iter(batch_size=4, num_workers=2)))
    assert "would run in a process forked from the one that made the dataloader, where TensorFlow hangs" in text
    assert "Fix: Use num_workers=0; workers that this dataloader starts" in text


# -- more of the same in one process ---------------------------------------------------------------------------------


def head_on(graph: ks.Graph, source: Any, size: int) -> ks.Graph:
    return graph.add("head", dense(size, 1, "h")).connect(source, "head")


def test_saving_again_writes_the_same_packed_models(tmp_path: Path) -> None:
    graph = ks.Graph("g").add("a", dense(3, 4), placement="dataloader").add("b", dense(4, 1)).connect("a", "b")
    file = "components/a/packed_model/model_files/model.keras"
    first, again = (graph.save(tmp_path / name) / file for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()  # no time of saving, which would make stored features stale
    np.testing.assert_array_equal(keras.saving.load_model(first)(np.eye(3)), keras.saving.load_model(again)(np.eye(3)))


def test_targets_and_a_trained_model(tmp_path: Path) -> None:
    graph = ks.Graph("trained").add("line", regression(3), shapes=(3,))
    head_on(graph, "line", 1)
    np.save(tmp_path / "y.npy", np.arange(10.0, dtype="float32")[:, None])
    model = graph.build()
    model.get_layer("head").set_weights([np.full((1, 1), 0.01), np.ones(1)])
    directory = graph.save(tmp_path / "out", model=model, targets=tmp_path / "y.npy")
    in_process(directory)
    loader = kipoi.get_model(str(directory), source="dir").default_dataloader
    with cd(str(directory)):
        (inputs, targets), *_ = loader.init_example().batch_train_iter(batch_size=10, cycle=False)
    assert inputs["line"].shape == (10, 1)
    np.testing.assert_array_equal(np.ravel(targets), np.arange(10))
    assert style_problems(directory) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["BatchGenerator", "SampleIterator", "BatchDataset"])
def test_kinds_of_dataloaders(tmp_path: Path, kind: str) -> None:
    loader = write_kind(tmp_path / "rows", kind)
    line, front = regression(3), dense(3, 2)
    graph = ks.Graph("kinds").add("line", line, shapes=(3,)).add("front", front, placement="dataloader")
    graph.add_input("x", ["line", "front"], shape=(3,))
    head_on(graph, ["line", "front[1]"], 2)
    directory = graph.save(tmp_path / "out", dataloaders={"x": loader})
    one, two = in_process(directory), in_process(directory, workers=2)
    np.testing.assert_array_equal(one[""], two[""])
    x = (np.arange(10)[:, None] + np.arange(3) / 2).astype("float32")
    merged = np.concatenate([line.predict(x)[:, None], np.asarray(front(x))[:, 1:]], axis=1)
    head = graph.build().get_layer("head")
    close(one[""], head(merged.astype("float32")))
    assert style_problems(directory) == ""


def test_lists_of_outputs_and_h5(tmp_path: Path) -> None:
    code = """
        import numpy as np
        from kipoi.model import BaseModel


        class MyModel(BaseModel):
            def __init__(self, weights, factor):
                self.factor = factor

            def predict_on_batch(self, x):
                first, second = x
                return [first * self.factor, (first + second)[:, 0]]
    """
    schema = {"inputs": [array((3,), "first"), array((3,), "second")], "targets": [array((3,), "twice"), array((1,))]}
    own = zoo_models.write_custom(tmp_path / "own", code=code, schema=schema)
    times = with_times(tmp_path, lambda times: keras.Sequential([keras.Input((3,)), times()]))
    graph = ks.Graph("lists").add("own", own).add("scale", **times, placement="dataloader")
    graph.connect("own.twice", "scale")
    ports = [port.name for port in graph.spec.submodel("own").outputs]
    head_on(graph, ["scale", f"own.{ports[1]}"], 4)
    directory = graph.save(tmp_path / "out", format="h5")
    shutil.rmtree(own)
    (found,) = in_process(directory).values()
    first, second = (np.load(directory / "example_files" / f"{name}.npy") for name in ("first", "second"))
    close(found, graph.build()([(first + second)[:, :1], first * 6]))
    assert described(directory)["args"] == {"weights": "model_files/model.h5", "arch": "model_files/model.json"}
    assert (directory / "components/scale/packed_model/model_files/custom_objects.py").exists()
    assert "keys=" not in (directory / "dataloader.py").read_text()
    assert style_problems(directory) == ""


def test_open_dimensions(tmp_path: Path) -> None:
    class Mean(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean(1)

    graph = ks.Graph("open").add("mean", Mean(), shapes=(None, 4))
    head_on(graph, "mean", 4)
    directory = graph.save(tmp_path / "out")
    (found,) = in_process(directory).values()
    (file,) = (directory / "example_files").iterdir()
    rows = np.load(file)
    assert rows.ndim == 3 and rows.shape[2] == 4
    close(found, graph.build()([rows.mean(1)]))


def test_only_the_dataloader_has_models(tmp_path: Path) -> None:
    graph = ks.Graph("passes").add("line", regression(3), shapes=(3,)).add("net", torch.nn.Linear(3, 2), shapes=(3,))
    directory = graph.save(tmp_path / "out")
    found = in_process(directory)
    assert {name: values.shape for name, values in found.items()} == {"line": (10, 1), "net": (10, 2)}
    assert style_problems(directory) == ""


@pytest.mark.slow
def test_hosted_models_are_downloaded(tmp_path: Path) -> None:
    net = zoo_models.write_pytorch(tmp_path / "net", inputs=3, outputs=2)
    graph = ks.Graph("hosted").add("net", net).add("front", dense(3, 3), placement="dataloader")
    graph.connect("front", "net")
    top = zoo_models.write_sklearn(tmp_path / "top", inputs=2)
    for last in (dense(2, 1, "h"), top):
        name = "keras_top" if last is not top else "sklearn_top"
        whole = ks.Graph(name).add("net", net).add("front", dense(3, 3), placement="dataloader").add("last", last)
        whole.connect("front", "net").connect("net", "last")
        base = tmp_path / "server" / name
        directory = whole.save(base, hosting=base.as_uri())
        clone = tmp_path / "clone" / name
        hosted = (directory / ".gitignore").read_text().split()
        shutil.copytree(directory, clone)
        for file in hosted:
            (clone / file.lstrip("/")).unlink()
        packed = {"/components/net/packed_model/weights.pth", "/components/front/packed_model/model_files/model.keras"}
        assert packed <= set(hosted)
        one, two = in_process(directory), in_process(clone)
        np.testing.assert_array_equal(one[""], two[""])
        assert (clone / "components/net/packed_model/downloaded").is_dir()
        assert style_problems(clone) == ""
    assert described(clone)["defined_as"] == "kipoi.model.SklearnModel"
    assert described(clone)["args"]["pkl_file"]["url"].endswith("/components/last/packed_model/model_files/model.pkl")


# -- the last submodel is the directory's model ------------------------------------------------------------------------


def last(tmp_path: Path, source: Any, size: int = 4, **options: Any) -> tuple[Path, np.ndarray, np.ndarray]:
    """A graph with a submodel that is no Keras model at its end; its directory, what that predicts and is fed."""
    graph = ks.Graph("ends").add("front", dense(3, size)).add("top", source, **options)
    graph.connect("front", "top")
    directory = graph.save(tmp_path / "ends")
    if isinstance(source, Path):
        shutil.rmtree(source)
    moved = shutil.move(directory, tmp_path / "elsewhere")
    x = np.load(moved / "example_files" / f"{graph.spec.submodel('front').inputs[0].name}.npy")
    (found,) = in_process(moved).values()
    assert described(moved)["info"]["doc"] == "ends: front, top stitched into one Kipoi model."
    assert style_problems(moved) == ""
    return moved, found, np.asarray(dense(3, size)(x))


@pytest.mark.slow
def test_estimators_at_the_end(tmp_path: Path) -> None:
    line = regression(4)
    directory, found, features = last(tmp_path / "line", line, shapes=(4,))
    close(found, line.predict(features))
    assert described(directory)["defined_as"] == "kipoi.model.SklearnModel"
    forest = RandomForestClassifier(5, random_state=0).fit(RANDOM.normal(size=(50, 4)), RANDOM.integers(0, 3, 50))
    directory, found, features = last(tmp_path / "forest", forest, shapes=(4,))
    close(found, forest.predict_proba(features))
    assert described(directory)["args"]["predict_method"] == "predict_proba"
    source = zoo_models.write_sklearn(tmp_path / "zoo", inputs=4, dependencies={"pip": ["joblib"]}, dataloader=True)
    directory, _, _ = last(tmp_path / "directory", source)
    assert described(directory)["defined_as"] == "kipoi.model.SklearnModel"
    assert "scikit-learn" in described(directory)["dependencies"]["pip"]
    assert not (directory / "model.py").exists()


def test_a_pickle_of_a_class_beside_it(tmp_path: Path) -> None:
    source = tmp_path / "zoo"
    source.mkdir()
    (source / "steps.py").write_text("class Doubled:\n    def predict(self, x):\n        return x[:, 0] * 2\n")
    sys.path.insert(0, str(source))
    try:
        import steps

        zoo_models.write_sklearn(tmp_path / "zoo", inputs=4, estimator=steps.Doubled())
    finally:
        sys.path.remove(str(source))
        del sys.modules["steps"]
    directory, found, features = last(tmp_path, source)
    close(found, features[:, 0] * 2)
    assert described(directory)["args"] == {
        "python_folder": "components/top/packed_model",
        "python_class": "kipoi.model.SklearnModel",
        "pkl_file": "components/top/packed_model/model_files/model.pkl",
        "predict_method": "predict",
    }


def test_modules_at_the_end(tmp_path: Path) -> None:
    net = torch.nn.Linear(4, 2)
    directory, found, features = last(tmp_path / "memory", net, shapes=(4,))
    close(found, net(torch.from_numpy(features)).detach())
    assert "conda" in described(directory)["dependencies"]
    assert not [item for item in described(directory)["dependencies"]["conda"] if "torch" in item]


FACTORY = """
    import torch


    class Net(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.last = torch.nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.last(x)


    net = Net(4, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["module_class", "module_file", "module_obj", "neighbour", "old type"])
def test_modules_of_directories_at_the_end(tmp_path: Path, spelling: str) -> None:
    source = zoo_models.write_pytorch(tmp_path / "zoo", inputs=4, outputs=2, code=FACTORY)
    said = described(source)
    if spelling == "module_file":
        said["args"] |= {"module_class": "Net", "module_file": "net.py"}
    if spelling == "module_obj":
        said["args"] = {"weights": "weights.pth", "module_obj": "net.net"}
    if spelling == "neighbour":
        (source / "net.py").rename(source / "layers.py")
        (source / "net.py").write_text("from layers import Net\n\n__all__ = ['Net']\n")
    if spelling == "old type":
        del said["defined_as"]
        said["type"] = "pytorch"
    (source / "model.yaml").write_text(yaml.safe_dump(said))
    model = load_packed(source)
    directory, found, features = last(tmp_path, source)
    close(found, model.predict_on_batch(features))
    args, folder = described(directory)["args"], "components/top/packed_model"
    assert described(directory)["dependencies"]["conda"][1:] == ["pytorch"]
    if spelling == "neighbour":
        assert described(directory)["defined_as"] == "model.PackedModel"
        assert (args["python_folder"], args["module_class"]) == (folder, "net.Net")
    else:
        assert described(directory)["defined_as"] == "kipoi.model.PyTorchModel"
        assert args["module_file"] == f"{folder}/net.py" and args["weights"] == f"{folder}/weights.pth"
    if spelling == "module_class":
        kipoi_runner.kipoi_test(directory)


@pytest.mark.slow
def test_a_saved_model_at_the_end(tmp_path: Path) -> None:
    source = zoo_models.write_tensorflow(tmp_path / "zoo", inputs=4, outputs=2)
    model = load_packed(source)
    directory, found, features = last(tmp_path, source)
    close(found, model.predict_on_batch(features))
    assert described(directory)["defined_as"] == "kipoi.model.TensorFlow2Model"
    assert described(directory)["args"] == {"savedmodel_path": "components/top/packed_model/saved"}


@pytest.mark.slow
def test_classes_of_their_own_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With '' on the path, as in Jupyter, Kipoi may take one model.py for another.
    monkeypatch.syspath_prepend("")
    monkeypatch.delitem(sys.modules, "model", raising=False)
    directories = []
    for shift in (0.5, 1.5):
        source = zoo_models.write_custom(tmp_path / f"zoo{shift}", inputs=4, outputs=2, shift=shift)
        model = load_packed(source)
        directory, found, features = last(tmp_path / f"at{shift}", source)
        close(found, model.predict_on_batch(features))
        directories.append(directory)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    first, second = (in_process(directory)[""] for directory in directories)
    assert np.abs(first - second).max() > 0.9
    folder = "components/top/packed_model"
    assert described(directories[0])["defined_as"] == "model.PackedModel"
    assert described(directories[0])["args"] == {
        "python_folder": folder,
        "python_class": "model.MyModel",
        "weights": f"{folder}/weights.npy",
        "factor": 2.0,
    }
    kipoi_runner.kipoi_test(directories[1])


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_several_inputs_at_the_end(tmp_path: Path, structure: str) -> None:
    keys = ("0", "1") if structure == "list" else ("'a'", "'b'")
    code = f"""
        from kipoi.model import BaseModel


        class MyModel(BaseModel):
            def predict_on_batch(self, x):
                return x[{keys[0]}] - x[{keys[1]}]
    """
    fields = {name: array((3,), name if structure == "list" else None) for name in ("a", "b")}
    inputs = list(fields.values()) if structure == "list" else fields
    source = zoo_models.write_custom(
        tmp_path / "zoo",
        code=code,
        schema={"inputs": inputs, "targets": array((3,))},
        type="custom",
        defined_as=None,
        args={"file": "model.py", "object": "MyModel"},
    )
    graph = ks.Graph("several").add("front", dense(3, 3)).add("top", source).connect("front", "top.a")
    directory = graph.save(tmp_path / "out")
    (found,) = in_process(directory, workers=2).values()
    x, b = (np.load(directory / "example_files" / f"{name}.npy") for name in ("x", "b"))
    close(found, np.asarray(dense(3, 3)(x)) - b)
    assert described(directory)["args"] == {
        "python_folder": "components/top/packed_model",
        "python_class": "model.MyModel",
    }
    assert isinstance(described(directory)["schema"]["inputs"], dict if structure == "dict" else list)
    assert style_problems(directory) == ""


def test_a_model_that_fails_on_the_examples(tmp_path: Path) -> None:
    code = zoo_models.CUSTOM.replace("return helper", "assert len(x) != 10, 'ten'\n            return helper")
    source = zoo_models.write_custom(tmp_path / "zoo", code=code)
    graph = ks.Graph("fails").add("own", source)
    head_on(graph, "own", 1)
    with pytest.raises((SaveError, StitchError)) as error:
        graph.save(tmp_path / "out")
    assert "The model 'own' fails on rows 0 to 9." in str(error.value)
    assert "AssertionError: ten" in str(error.value)
    assert not (tmp_path / "out").exists()
