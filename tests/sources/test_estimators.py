"""Estimators of scikit-learn and modules of PyTorch in memory as submodels."""

from __future__ import annotations

import gc
import hashlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import yaml
import zoo_models
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import CategoricalNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.kipoi.packed_copy import flattened, load_packed, nested
from keras_stitch.sources import load_source
from keras_stitch.sources.added import Added
from keras_stitch.verify.equality import compare

X, Y = zoo_models.training_rows(7, 2)
NEW = np.random.default_rng(9).standard_normal((5, 7))
CLASSES = (Y[:, 0] > 0).astype(int) + (Y[:, 0] > 3)


def added(source: Any, **options: Any) -> Added:
    return load_source.load("m", source, **options)


def problem(source: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as error:
        added(source, **options)
    return str(error.value)


def predicted(found: Added, *arrays: np.ndarray) -> list[np.ndarray]:
    """What the snapshot predicts, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_packed(found.part.path)
        return flattened("m", found.part, model.predict_on_batch(nested(found.part, arrays)))


def ports(found: Added) -> list[tuple[Any, ...]]:
    return [(port.name, port.shape, port.dtype) for port in (*found.submodel.inputs, *found.submodel.outputs)]


# -- scikit-learn ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "target", "method", "outputs"),
    [
        (LogisticRegression(), CLASSES, "predict_proba", 3),
        (RandomForestClassifier(5, random_state=0), CLASSES > 0, "predict_proba", 2),
        (RandomForestRegressor(5, random_state=0), Y[:, 0], "predict", 1),
        (LinearRegression(), Y, "predict", 2),
        (make_pipeline(StandardScaler(), LogisticRegression()), CLASSES, "predict_proba", 3),
        (LinearSVC(), CLASSES, "predict", 1),
    ],
)
def test_estimators(estimator, target, method, outputs):
    estimator.fit(X, target)
    found = added(estimator, shapes=(7,), placement="dataloader")
    (given,) = predicted(found, NEW)
    np.testing.assert_allclose(given, getattr(estimator, method)(NEW), rtol=1e-12)
    assert [port[:2] for port in ports(found)] == [("input", (7,)), ("output", (outputs,))]
    submodel = found.submodel
    assert (submodel.framework, submodel.placement) == ("scikit-learn", "dataloader")
    assert submodel.source.kind == "estimator" and submodel.source.label == f"{type(estimator).__name__}, {method}"
    assert submodel.source.path is None and len(submodel.source.sha256) == 64
    assert found.part.info["authors"] == [] and found.part.info["license"] is None


def test_a_method_of_choice():
    estimator = LogisticRegression().fit(X, CLASSES)
    found = added(estimator, shapes={"x": [7]}, method="predict")
    assert ports(found) == [("x", (7,), None), ("output", (1,), "int64")]
    np.testing.assert_array_equal(predicted(found, NEW)[0], estimator.predict(NEW))
    (given,) = predicted(added(estimator, shapes=(7,), method="predict_log_proba"), NEW)
    np.testing.assert_allclose(given, estimator.predict_log_proba(NEW))


def test_several_outputs_in_a_list():
    estimator = MultiOutputClassifier(LogisticRegression()).fit(X, Y > 0)
    found = added(estimator, shapes=(7,), method="predict_proba")
    assert [port[:2] for port in ports(found)][1:] == [("output1", (2,)), ("output2", (2,))]
    for one, other in zip(predicted(found, NEW), estimator.predict_proba(NEW), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_takes_whole_numbers_alone():
    estimator = CategoricalNB(min_categories=4).fit(np.abs(X).astype(int) % 4, CLASSES)
    assert ports(added(estimator, shapes=(7,)))[1][:2] == ("output", (3,))


def test_columns_with_names_bring_no_warnings():
    import pandas as pd

    table, new = (pd.DataFrame(rows, columns=list("abcdefg")) for rows in (X, NEW))
    for estimator in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        estimator.fit(table, CLASSES)
        found = added(estimator, shapes=(7,))
        np.testing.assert_allclose(predicted(found, NEW)[0], estimator.predict_proba(new))
        assert estimator.feature_names_in_[0] == "a"


def test_a_snapshot_stays_what_it_was():
    estimator = LinearRegression().fit(X, Y)
    found, before = added(estimator, shapes=(7,)), estimator.predict(NEW)
    estimator.coef_ += 1
    np.testing.assert_array_equal(predicted(found, NEW)[0], before)
    folder = found.part.path
    assert folder.is_dir()
    del found
    gc.collect()
    assert not folder.exists()


def test_what_has_to_be_installed():
    import sklearn

    found = added(LinearRegression().fit(X, Y), shapes=(7,))
    description = yaml.safe_load((found.part.path / "model.yaml").read_text())
    assert description["dependencies"] == {"pip": [f"scikit-learn=={sklearn.__version__}", "joblib"]}
    assert description["args"] == {"pkl_file": "model_files/model.joblib", "predict_method": "predict"}


class Loose(LinearRegression):
    pass


def double(x: np.ndarray) -> np.ndarray:
    return 2 * x


class Random(LinearRegression):
    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.random.default_rng().standard_normal(len(x))


@pytest.mark.parametrize(
    ("estimator", "options", "text"),
    [
        (
            LinearRegression(),
            {"shapes": (7,)},
            "Submodel 'm' (LinearRegression) is not fitted yet.\n"
            "  Expected: an estimator that was trained\n"
            "  Fix: Call its fit before it is added: a stitched model does not train it.",
        ),
        (
            StandardScaler().fit(X),
            {"shapes": (7,)},
            "Submodel 'm' (StandardScaler) predicts nothing.\n"
            "  Expected: an estimator with predict, predict_proba or predict_log_proba\n"
            "  Fix: Put a transformer into a sklearn.pipeline.Pipeline in front of what predicts.",
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": (7,), "method": "predict_proba"},
            "Submodel 'm' (LinearRegression) has no predict_proba.\n  Expected: method= predict",
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": (7,), "method": "score"},
            "method= of submodel 'm' is none that Kipoi calls.\n"
            "  Expected: 'predict' or 'predict_proba' or 'predict_log_proba'\n"
            "  Received: 'score'",
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": [(7,), (3,)]},
            "Submodel 'm' (LinearRegression) takes one array, of any dtype.\n"
            "  Expected: one shape without open sizes and without a dtype, such as shapes=(7,)\n"
            "  Received: (7,), (3,)",
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": ((7,), "float32")},
            "Submodel 'm' (LinearRegression) takes one array, of any dtype.\n"
            "  Expected: one shape without open sizes and without a dtype, such as shapes=(7,)\n"
            "  Received: (7,) float32",
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": (5,)},
            "Submodel 'm' (LinearRegression, predict) does not take rows of shapes=(5,) float32.\n"
            "  Expected: the shapes that it was trained on, without the batch axis\n"
            "  Received: ValueError: X has 5 features, but LinearRegression is expecting 7 features as input\n"
            "  Fix: Correct shapes=.",
        ),
        (
            LogisticRegression().fit(X, np.where(CLASSES, "yes", "no")),
            {"shapes": (7,), "method": "predict"},
            "Submodel 'm' (LogisticRegression) predicts no numbers, but class labels or other objects.\n"
            "  Expected: numbers\n"
            "  Received: <U3 for 'output'\n"
            '  Fix: Take the probabilities, method="predict_proba".',
        ),
        (
            Loose().fit(X, Y),
            {"shapes": (7,)},
            "Submodel 'm' (Loose) needs test_estimators.Loose, which nobody else has.\n"
            "  Expected: classes and functions of installed packages\n"
            "  Fix: Write a Kipoi directory with kipoi.model.SklearnModel and the module beside it, and add that.",
        ),
        (
            make_pipeline(FunctionTransformer(double), LinearRegression()).fit(X, Y),
            {"shapes": (7,)},
            "Submodel 'm' (Pipeline) needs test_estimators.double, which nobody else has.\n"
            "  Expected: classes and functions of installed packages\n"
            "  Fix: Write a Kipoi directory with kipoi.model.SklearnModel and the module beside it, and add that.",
        ),
        (
            make_pipeline(FunctionTransformer(lambda x: x), LinearRegression()).fit(X, Y),
            {"shapes": (7,)},
            "Submodel 'm' (Pipeline) cannot be written to a file.\n  Received: PicklingError: ",
        ),
        (
            LinearRegression().fit(X, Y),
            {},
            "Nothing says what submodel 'm' takes: its shapes= are missing.\n"
            "  Expected: a shape such as (7,), a list or a dict by name of them, or (shape, dtype) in place of a "
            "shape\n"
            '  Fix: graph.add("m", estimator, shapes=(7,)), without the batch axis.',
        ),
        (
            LinearRegression().fit(X, Y),
            {"shapes": (7,), "trainable": True},
            "trainable= of submodel 'm' is for Keras models, and this is a model of another framework.\n"
            "  Received: trainable=True\n"
            "  Fix: Leave it out: such a model runs in the dataloader as it is.",
        ),
    ],
)
def test_estimators_that_cannot_be(estimator, options, text):
    found = problem(estimator, **options)
    assert found == text if not text.endswith(": ") else found.startswith(text)


def test_predictions_that_are_not_the_same(monkeypatch):
    monkeypatch.setattr("keras_stitch.sources.estimators._requirements", lambda *given: ["scikit-learn"])
    text = problem(Random().fit(X, Y), shapes=(7,))
    assert text.startswith("Submodel 'm' (Random, predict) predicts something else once it was written.\n")
    assert "  Expected: differences of 'inputs' up to " in text
    assert text.endswith("\n  Fix: Make its predictions the same for the same rows, in inference.")


@pytest.mark.parametrize("shapes", ["7", 7, (0,), (), [], {}, (7, "x"), (True,), ((4,), (5,))])
def test_shapes_that_are_none(shapes):
    text = problem(LinearRegression().fit(X, Y), shapes=shapes)
    if shapes == ((4,), (5,)):
        assert text.startswith(
            "shapes= of submodel 'm' has a dtype that is none.\n  Expected: a dtype of Keras, such as"
        )
    elif shapes == ():
        assert text.startswith("Submodel 'm' (LinearRegression, predict) does not take rows of shapes=() float32.")
    else:
        assert text.startswith("shapes= of submodel 'm' are no shapes.\n  Expected: a shape such as (7,), a list or a")


def test_names_that_no_input_can_have():
    for key in ("shape", "a b", 3):
        assert problem(LinearRegression().fit(X, Y), shapes={key: (7,)}) == (
            f"shapes= of submodel 'm' has a name that no input can have.\n  Received: {key!r}"
        )


# -- PyTorch --------------------------------------------------------------------------------------


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv1d(4, 6, 3), torch.nn.BatchNorm1d(6)
        self.drop, self.last = torch.nn.Dropout(), torch.nn.Linear(6, 2)

    def forward(self, seq: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.norm(torch.relu(self.conv(seq))).mean(-1)))


class Pair(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return {"total": a.sum(-1), "left": a[:, :1] - b}


class Tokens(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 3)

    def forward(self, tokens: torch.Tensor, scale: torch.Tensor) -> Any:
        return self.embedding(tokens).mean(1) * scale, scale


class Deciding(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(3, -1)


def seeded(module: type[torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return module()


def same(found: np.ndarray, expected: torch.Tensor) -> bool:
    return compare(found, expected.detach().numpy()).equal


def test_a_name_for_the_only_input_of_a_module_is_that_of_its_port() -> None:
    module = torch.nn.Linear(3, 2)  # whose forward calls it something else
    graph = ks.Graph("g").add("net", module, shapes={"rows": (3,)})
    assert graph.spec.submodel("net").inputs[0].name == "rows"


def test_a_row_that_depends_on_those_beside_it() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(0))
    when = "when it is asked for one of them alone"
    with pytest.raises(StitchError) as error:
        ks.Graph("g").add("net", module, shapes=(3,))
    said = str(error.value)
    assert said.startswith(f"Submodel 'net' (Sequential) predicts something else for the same rows {when}.\n")
    assert said.endswith("\n  Fix: Make what it predicts for a row depend on that row alone.")


def test_a_module_that_changes_what_it_is_given(tmp_path: Path) -> None:
    inputs = keras.Input((3,), name="x")
    graph = ks.Graph("g").add("net", torch.nn.ReLU(inplace=True), shapes={"x": (3,)})
    graph.add("same", keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs)), placement="dataloader")
    graph.add_input("x", ["net", "same"]).add("sum", keras.layers.Identity())
    assert graph.connect(["net", "same"], "sum").verify().passed


def test_a_module_in_training_stays_in_training(capfd, caplog):
    module = seeded(Convolutions)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = added(module, shapes={"seq": (4, 30)})
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if "torch" in record.name and record.levelno > 20]
    assert module.training and module.drop.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert ports(found) == [("seq", (4, 30), "float32"), ("output", (2,), "float32")]
    assert (found.submodel.framework, found.submodel.source.label) == ("pytorch", "Convolutions of PyTorch")
    assert found.submodel.source.kind == "module"
    x = np.random.default_rng(0).standard_normal((5, 4, 30)).astype("float32")
    (given,) = predicted(found, x)
    assert same(given, module.eval()(torch.from_numpy(x)))
    with torch.no_grad():
        module.last.weight.add_(1.0)
    np.testing.assert_array_equal(predicted(found, x)[0], given)


def test_open_sizes():
    found = added(seeded(Convolutions), shapes=(4, None))
    assert [port[:2] for port in ports(found)] == [("input", (4, None)), ("output", (2,))]
    x = np.zeros((1, 4, 77), "float32")
    assert predicted(found, x)[0].shape == (1, 2)
    found = added(torch.nn.Conv1d(4, 2, 3), shapes=(4, None))
    assert [port[1] for port in ports(found)] == [(4, None), (2, None)]


def test_two_inputs():
    a = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    b = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
    expected = Pair()(torch.from_numpy(a), torch.from_numpy(b))
    for shapes in ([(4,), (3,)], {"b": (3,), "a": (4,)}):
        found = added(Pair(), shapes=shapes)
        arrays = (a, b) if isinstance(shapes, list) else (b, a)
        assert [port[0] for port in ports(found)][-2:] == ["total", "left"]
        assert [port[1] for port in ports(found)][-2:] == [(1,), (3,)]
        for one, other in zip(predicted(found, *arrays), expected.values(), strict=True):
            assert same(one, other)


def test_whole_numbers():
    module = seeded(Tokens)
    found = added(module, shapes={"tokens": ((6,), "int64"), "scale": (1,)})
    assert ports(found) == [
        ("tokens", (6,), "int64"),
        ("scale", (1,), "float32"),
        ("output1", (3,), "float32"),
        ("output2", (1,), "float32"),
    ]
    tokens, scale = np.random.default_rng(0).integers(0, 20, (4, 6)), np.ones((4, 1), "float32")
    for one, other in zip(
        predicted(found, tokens, scale), module(torch.from_numpy(tokens), torch.from_numpy(scale)), strict=True
    ):
        assert same(one, other)


def test_modules_of_other_floats():
    module = torch.nn.Linear(7, 2).double()
    found = added(module, shapes=(7,))
    assert ports(found) == [("input", (7,), "float64"), ("output", (2,), "float64")]
    assert module.weight.dtype == torch.float64


def test_weights_without_an_ending(tmp_path):
    """As Kipoi names what it has downloaded."""
    found = added(torch.nn.Linear(7, 2), shapes=(7,))
    folder = Path(shutil.copytree(found.part.path, tmp_path / "hosted"))
    weights = folder / "model_files" / "module.pt2"
    url = (tmp_path / "module").as_uri()
    weights.rename(tmp_path / "module")
    md5 = hashlib.md5((tmp_path / "module").read_bytes()).hexdigest()
    said = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump({**said, "args": {"weights": {"url": url, "md5": md5}}}))
    x = NEW.astype("float32")
    np.testing.assert_array_equal(load_packed(folder).predict_on_batch(x), predicted(found, x)[0])
    assert list(added(folder).part.files) == ["model.py", "model_files/weights"]


@pytest.mark.parametrize(
    ("module", "options", "text", "fix"),
    [
        (
            Deciding(),
            {"shapes": (3,)},
            "Submodel 'm' (Deciding) cannot be exported by torch.export.\n"
            "  Received: GuardOnDataDependentSymNode: Could not guard on data-dependent expression",
            "\n  Fix: Write a Kipoi directory with kipoi.model.PyTorchModel, and add that.",
        ),
        (
            Fixed(),
            {"shapes": (3,)},
            "Submodel 'm' (Fixed) cannot be exported by torch.export.\n  Received: UserError: Constraints violated",
            "\n  Fix: Write a Kipoi directory with kipoi.model.PyTorchModel, and add that.",
        ),
        (
            torch.nn.Linear(7, 2),
            {"shapes": ((5,), "float32")},
            "Submodel 'm' (Linear) does not take rows of shapes=(5,) float32.\n"
            "  Expected: the shapes that it was trained on, without the batch axis\n"
            "  Received: RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x5 and 7x2)",
            "\n  Fix: Correct shapes=.",
        ),
        (
            torch.nn.Linear(7, 2),
            {},
            "Nothing says what submodel 'm' takes: its shapes= are missing.",
            '\n  Fix: graph.add("m", module, shapes=(7,)), without the batch axis.',
        ),
        (
            torch.nn.Linear(7, 2),
            {"shapes": (7,), "method": "predict"},
            "method= of submodel 'm' is for estimators of scikit-learn alone.",
            "\n  Fix: Leave it out.",
        ),
        (
            torch.nn.Linear(7, 2),
            {"shapes": ((7,), "floaty")},
            "shapes= of submodel 'm' has a dtype that is none.\n"
            "  Expected: a dtype of Keras, such as 'float32' or 'int64'\n",
            "  Received: 'floaty'",
        ),
    ],
)
def test_modules_that_cannot_be(capfd, module, options, text, fix):
    found = problem(module, **options)
    assert found.startswith(text) and found.endswith(fix)
    assert capfd.readouterr() == ("", "")


# -- graphs ---------------------------------------------------------------------------------------


def test_a_graph():
    graph = ks.Graph("g").add("forest", RandomForestRegressor(3).fit(X, Y[:, 0]), shapes=(7,))
    graph.add("net", torch.nn.Linear(7, 2), shapes={"input": (7,)})
    assert [submodel.framework for submodel in graph.spec.submodels] == ["scikit-learn", "pytorch"]
    with pytest.raises(StitchError) as error:
        graph.to_yaml("stitch.yaml")
    assert str(error.value) == (
        "Submodel 'forest' is in memory, so a stitch.yaml could not bring it back.\n"
        "  Fix: Write a Kipoi directory for it, and add that path."
    )
    from keras_stitch.graphs.write_stitch_yaml import record

    said = yaml.safe_load(record(graph.spec, trained=False))["models"]["forest"]
    assert said["memory"] == "RandomForestRegressor, predict" and len(said["sha256"]) == 64


def test_keras_layers_have_no_shapes():
    text = problem(keras.layers.Dense(1), shapes=(7,))
    assert text.startswith("shapes= of submodel 'm' is for estimators of scikit-learn and modules of PyTorch alone.")


def test_frameworks_are_not_imported():
    code = "import sys, keras_stitch; print([name for name in ('torch', 'sklearn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
