"""Models are loaded by the runtime itself, and by its own classes where Kipoi is not installed."""

from __future__ import annotations

import joblib
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from sklearn.linear_model import LinearRegression

from keras_stitch.kipoi.templates import template_module

model_kinds = template_module("kipoi.merging.model_kinds")
model_loading = template_module("kipoi.merging.model_loading")
DataError = template_module("kipoi.merging.data_errors").DataError

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def keras_model() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])


def described(folder, **said):
    (folder / "model.yaml").write_text(yaml.safe_dump(said))
    return folder


def both(name):
    """A class of Kipoi, which is installed here, and the runtime's own."""
    return getattr(model_kinds, name), getattr(model_kinds, f"Own{name}")


@pytest.mark.kipoi
def test_where_kipoi_is_installed_its_classes_are_the_ones():
    for name in model_kinds.KINDS:
        assert getattr(model_kinds, name).__module__ == "kipoi.model"


@pytest.mark.parametrize("kind", both("KerasModel"))
def test_keras_models(tmp_path, kind):
    model = keras_model()
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(model.to_json())
    expected = model.predict(X, verbose=0)
    for made in (kind(str(tmp_path / "m.keras")), kind(str(tmp_path / "m.weights.h5"), str(tmp_path / "m.json"))):
        np.testing.assert_allclose(made.predict_on_batch(X), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", both("SklearnModel"))
def test_estimators(tmp_path, kind):
    estimator = LinearRegression().fit(X, X[:, 0])
    joblib.dump(estimator, tmp_path / "m.pkl")
    np.testing.assert_array_equal(kind(str(tmp_path / "m.pkl")).predict_on_batch(X), estimator.predict(X))


@pytest.mark.parametrize("kind", both("PyTorchModel"))
def test_modules(tmp_path, kind):
    torch = pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, size):\n"
        "        super().__init__()\n"
        "        self.d = torch.nn.Linear(3, size)\n"
        "    def forward(self, x, y=None):\n"
        "        return self.d(x) if y is None else (self.d(x), self.d(y))\n"
    )
    net = torch.nn.Linear(3, 2)
    torch.save({f"d.{name}": value for name, value in net.state_dict().items()}, tmp_path / "w.pt")
    made = kind(str(tmp_path / "w.pt"), "Net", {"size": 2}, module_file=str(tmp_path / "net.py"))
    expected = net(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(made.predict_on_batch(X), expected, rtol=0, atol=1e-6)
    # A view that runs backwards, which PyTorch does not take; lists and dicts of arrays.
    np.testing.assert_allclose(made.predict_on_batch(X[::-1]), expected[::-1], rtol=0, atol=1e-6)
    for given in ([X, X], {"x": X, "y": X}):
        first, second = made.predict_on_batch(given)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", both("TensorFlow2Model"))
def test_saved_models(tmp_path, kind):
    class Doubled(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def __call__(self, x):
            return 2 * x

    tf.saved_model.save(Doubled(), str(tmp_path))
    np.testing.assert_array_equal(kind(str(tmp_path)).predict_on_batch(X), 2 * X)


def test_a_class_beside_the_description_reads_in_its_folder(tmp_path):
    (tmp_path / "factor.txt").write_text("3")
    (tmp_path / "helper.py").write_text("def factor():\n    return float(open('factor.txt').read())\n")
    (tmp_path / "model.py").write_text(
        "from kipoi.model import BaseModel\n"
        "from helper import factor\n"
        "class Times(BaseModel):\n"
        "    def __init__(self):\n"
        "        self.factor = factor()\n"
        "    def predict_on_batch(self, x):\n"
        "        return self.factor * x\n"
    )
    for said in ({"defined_as": "model.Times"}, {"type": "custom", "args": {"file": "model.py", "object": "Times"}}):
        np.testing.assert_array_equal(model_loading.load_model(described(tmp_path, **said)).predict_on_batch(X), 3 * X)


def test_weights_at_a_url_are_downloaded_once(tmp_path):
    keras_model().save(tmp_path / "hosted.keras")
    md5 = template_module("kipoi.merging.downloads").md5_of(tmp_path / "hosted.keras")
    folder = tmp_path / "m"
    folder.mkdir()
    remote = {"url": (tmp_path / "hosted.keras").as_uri(), "md5": md5}
    described(folder, defined_as="kipoi.model.TensorFlow2Model", args={"savedmodel_path": remote})
    with pytest.raises(OSError, match="SavedModel"):  # it is none, but it is there
        model_loading.load_model(folder)
    assert (folder / "downloaded/model_files/savedmodel_path" / md5).read_bytes() == (
        tmp_path / "hosted.keras"
    ).read_bytes()
    (folder / "downloaded/model_files/savedmodel_path" / md5).unlink()
    described(folder, defined_as="kipoi.model.KerasModel", args={"weights": {**remote, "md5": "0" * 32}})
    with pytest.raises(DataError, match="is not what it was") as error:
        model_loading.load_model(folder)
    assert f"Expected: md5 {'0' * 32}\n  Received: md5 {md5} from file://" in str(error.value)
    assert not list((folder / "downloaded/model_files/weights").iterdir())


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            {"defined_as": "kipoi.model.TensorFlowModel"},
            "The model is a kipoi.model.TensorFlowModel.\n  Expected: kipoi",
        ),
        ({"type": "mxnet"}, "The model is a kipoi.model.mxnet."),
    ],
)
def test_models_of_no_known_kind(tmp_path, said, text):
    with pytest.raises(DataError) as error:
        model_loading.load_model(described(tmp_path, **said))
    assert str(error.value).startswith(text)


def test_no_description(tmp_path):
    with pytest.raises(DataError) as error:
        model_loading.load_model(tmp_path)
    assert str(error.value) == f"There is no model.yaml in '{tmp_path}'."
