"""Kipoi directories of models of all frameworks, with small seeded weights, for the tests."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import yaml

Sizes = tuple[int | None, ...]


def array(shape: Sizes = (7,), name: str | None = None, **more: Any) -> dict[str, Any]:
    """An array in a schema."""
    return {**({"name": name} if name else {}), "shape": str(shape), "doc": "Some numbers.", **more}


def described(
    folder: Path,
    defined_as: str,
    args: dict[str, Any],
    inputs: Any,
    targets: Any,
    pip: list[str],
    dataloader: bool = False,
    /,
    **changes: Any,
) -> Path:
    """Writes ``model.yaml``; with a dataloader for one array beside it, if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "defined_as": defined_as,
        "args": args,
        "info": {"doc": f"A model in {folder.name}.", "authors": [{"name": "Ada"}], "license": "MIT"},
        "dependencies": {"pip": pip},
        "schema": {"inputs": inputs, "targets": targets},
        **changes,
    }
    (folder / "model.yaml").write_text(yaml.safe_dump({key: value for key, value in content.items() if value}))
    if dataloader:
        write_dataloader(folder, inputs)
    return folder


def write_dataloader(folder: Path, schema: dict[str, Any], rows: int = 6) -> None:
    """Writes a ``Dataset`` that reads an NPY file, with a small example of it."""
    shape = tuple(5 if size is None else size for size in yaml.safe_load(f"[{schema['shape'].strip('(,)')}]"))
    (folder / "example_files").mkdir(exist_ok=True)
    values = np.random.default_rng(1).standard_normal((rows, *shape)).astype("float32")
    np.save(folder / "example_files" / "rows.npy", values)
    (folder / "dataloader.py").write_text(
        textwrap.dedent(
            '''
            """Rows of an NPY file."""

            import numpy as np
            from kipoi.data import Dataset


            class Rows(Dataset):
                def __init__(self, rows_file):
                    self.rows = np.load(rows_file)

                def __len__(self):
                    return len(self.rows)

                def __getitem__(self, index):
                    return {"inputs": self.rows[index], "metadata": {"row": str(index)}}
            '''
        ).lstrip()
    )
    description = {
        "type": "Dataset",
        "defined_as": "dataloader.Rows",
        "args": {"rows_file": {"doc": "An NPY file.", "example": "example_files/rows.npy"}},
        "info": {"doc": "Rows.", "authors": [{"name": "Ada"}], "license": "MIT"},
        "dependencies": {"pip": ["numpy"]},
        "output_schema": {"inputs": dict(schema), "metadata": {"row": {"doc": "The row.", "type": "str"}}},
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(description))


def write_sklearn(
    folder: Path,
    inputs: int = 7,
    outputs: int = 1,
    estimator: Any = None,
    method: str = "predict",
    name: str | None = None,
    dataloader: bool = False,
    **changes: Any,
) -> Path:
    """A ``SklearnModel``: a linear regression, or a fitted estimator.

    Args:
        folder: Where to.
        inputs: Numbers in a row.
        outputs: Numbers that it predicts for a row; with one, it predicts an array of one axis.
        estimator: In place of the regression.
        method: What it is asked.
        name: Of the input.
        dataloader: Whether it has one.
        changes: Other entries of ``model.yaml``.
    """
    if estimator is None:
        from sklearn.linear_model import LinearRegression

        x, y = training_rows(inputs, outputs)
        estimator = LinearRegression().fit(x, y[:, 0] if outputs == 1 else y)
    (folder / "model_files").mkdir(parents=True)
    joblib.dump(estimator, folder / "model_files" / "model.pkl")
    args = {"pkl_file": "model_files/model.pkl", "predict_method": method}
    schemas = (array((inputs,), name), array((outputs,)))
    return described(folder, "kipoi.model.SklearnModel", args, *schemas, ["scikit-learn"], dataloader, **changes)


def training_rows(inputs: int, outputs: int = 1, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows and what depends on them."""
    x = np.random.default_rng(0).standard_normal((rows, inputs))
    return x, np.stack([x @ np.arange(1.0, inputs + 1) + 0.3 * np.sin(x[:, 0] + k) for k in range(outputs)], axis=1)


PYTORCH = '''
    """A module of PyTorch."""

    import torch


    class Net(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.hidden = torch.nn.Linear(inputs, 5)
            self.last = torch.nn.Linear(5, outputs)

        def forward(self, x):
            return self.last(torch.relu(self.hidden(x)))
'''


def write_pytorch(
    folder: Path,
    inputs: int = 7,
    outputs: int = 1,
    name: str | None = None,
    dataloader: bool = False,
    code: str = PYTORCH,
    **changes: Any,
) -> Path:
    """A ``PyTorchModel`` of a class ``Net(inputs, outputs)`` in ``net.py``; the weights are drawn with a seed."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(textwrap.dedent(code).lstrip())
    namespace: dict[str, Any] = {"__name__": "net"}
    exec((folder / "net.py").read_text(), namespace)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = namespace["Net"](inputs, outputs)
    torch.save(module.state_dict(), folder / "weights.pth")
    args = {
        "weights": "weights.pth",
        "module_class": "net.Net",
        "module_kwargs": {"inputs": inputs, "outputs": outputs},
    }
    schemas = {"inputs": array((inputs,), name), "targets": array((outputs,)), **changes.pop("schema", {})}
    return described(folder, "kipoi.model.PyTorchModel", args, *schemas.values(), ["torch"], dataloader, **changes)


def write_tensorflow(
    folder: Path,
    inputs: int = 7,
    outputs: int = 1,
    dtype: str = "float32",
    name: str | None = None,
    dataloader: bool = False,
    **changes: Any,
) -> Path:
    """A ``TensorFlow2Model``: a SavedModel of one matrix and a tanh, with no Keras in it."""
    import tensorflow as tf

    class Layer(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            weights = np.random.default_rng(0).standard_normal((inputs, outputs))
            self.weights = tf.Variable(weights.astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((None, inputs), dtype)])
        def __call__(self, x: Any) -> Any:
            return tf.tanh(tf.matmul(tf.cast(x, "float32"), self.weights))

    folder.mkdir(parents=True, exist_ok=True)
    tf.saved_model.save(Layer(), str(folder / "saved"))
    args = {"savedmodel_path": "saved"}
    schemas = (array((inputs,), name), array((outputs,)))
    return described(folder, "kipoi.model.TensorFlow2Model", args, *schemas, ["tensorflow"], dataloader, **changes)


CUSTOM = '''
    """A model of its own."""

    import numpy as np
    from kipoi.model import BaseModel

    import helper


    class MyModel(BaseModel):
        def __init__(self, weights, factor=1.0):
            self.weights = np.load(weights)
            self.factor = factor

        def predict_on_batch(self, x):
            return helper.shifted(x @ self.weights * self.factor)
'''
HELPER = "def shifted(x):\n    return x + {shift}\n"


def write_custom(
    folder: Path,
    inputs: int = 7,
    outputs: int = 1,
    code: str = CUSTOM,
    shift: float = 0.5,
    name: str | None = None,
    dataloader: bool = False,
    **changes: Any,
) -> Path:
    """A class ``MyModel`` of its own in ``model.py``, with a ``helper.py`` beside it.

    Args:
        folder: Where to.
        inputs: Numbers in a row.
        outputs: Numbers that it predicts for a row.
        code: Of ``model.py``.
        shift: What the helper adds.
        name: Of the input.
        dataloader: Whether it has one.
        changes: Other entries of ``model.yaml``; ``schema`` may have one or both of ``inputs`` and ``targets``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(textwrap.dedent(code).lstrip())
    (folder / "helper.py").write_text(HELPER.format(shift=shift))
    np.save(folder / "weights.npy", np.random.default_rng(2).standard_normal((inputs, outputs)).astype("float32"))
    args = {"weights": "weights.npy", "factor": 2.0}
    schemas = {"inputs": array((inputs,), name), "targets": array((outputs,)), **changes.pop("schema", {})}
    return described(folder, "model.MyModel", args, *schemas.values(), ["numpy"], dataloader, **changes)
