"""The kinds of models that Kipoi has: its own classes where Kipoi is installed, and classes like them where it is not.

Where Kipoi is installed they have to be its own, as it looks for subclasses of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

KINDS = ("BaseModel", "KerasModel", "PyTorchModel", "SklearnModel", "TensorFlow2Model")


class OwnModel:
    """A model of any kind."""

    MODEL_PACKAGE: str | None = None

    def predict_on_batch(self, x: Any) -> Any:
        """Returns predictions for arrays of shape (rows, ...): one, a list or a dict."""
        raise NotImplementedError


class OwnKerasModel(OwnModel):
    """A Keras model.

    Args:
        weights: The file with the whole model, or only its weights.
        arch: The file with its architecture as JSON, if ``weights`` has only weights.
        custom_objects: A Python file with a dict ``OBJECTS``.
        backend: The backend that it was made for; only said.
        image_dim_ordering: Where the channels of its images are; "tf" for last.
    """

    MODEL_PACKAGE = "keras"

    def __init__(
        self,
        weights: str,
        arch: str | None = None,
        custom_objects: str | None = None,
        backend: str | None = None,
        image_dim_ordering: str | None = None,
    ) -> None:
        from keras.models import load_model, model_from_json

        from .python_files import load_object

        if image_dim_ordering not in (None, "tf"):
            raise ValueError(f"image_dim_ordering is {image_dim_ordering!r}, and Keras has only 'tf'")
        self.weights, self.arch, self.backend = weights, arch, backend
        self.image_dim_ordering = image_dim_ordering
        known = custom_objects is not None and Path(custom_objects).exists()
        self.custom_objects: dict[str, Any] = load_object(str(custom_objects), "OBJECTS") if known else {}
        if arch is None:
            self.model = load_model(weights, custom_objects=self.custom_objects)
        else:
            self.model = model_from_json(Path(arch).read_text(encoding="utf-8"), custom_objects=self.custom_objects)
            self.model.load_weights(weights)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns what Keras predicts."""
        return self.model.predict_on_batch(x)


class OwnSklearnModel(OwnModel):
    """An estimator of scikit-learn, as joblib saved it."""

    MODEL_PACKAGE = "scikit-learn"

    def __init__(self, pkl_file: str, predict_method: str = "predict") -> None:
        import joblib

        if predict_method not in ("predict", "predict_proba", "predict_log_proba"):
            raise ValueError(f"predict_method is {predict_method!r}")
        self.pkl_file, self.predict_method = pkl_file, predict_method
        self.model = joblib.load(pkl_file)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns what the method of the estimator gives."""
        return getattr(self.model, self.predict_method)(x)


class OwnPyTorchModel(OwnModel):
    """A module of PyTorch with its weights.

    Args:
        weights: The file with its ``state_dict``.
        module_class: The class of the module, in ``module_file`` or as ``file.Class``.
        module_kwargs: What the class is made with; a text is YAML.
        module_obj: The module itself instead of a class.
        module_file: The Python file.
        auto_use_cuda: Whether a GPU is used if there is one.
    """

    MODEL_PACKAGE = "pytorch"

    def __init__(
        self,
        weights: str,
        module_class: str | None = None,
        module_kwargs: Mapping[str, Any] | str | None = None,
        module_obj: str | None = None,
        module_file: str | None = None,
        auto_use_cuda: bool = True,
    ) -> None:
        import torch
        import yaml

        from .python_files import load_object

        name = module_obj or module_class
        if name is None:
            raise ValueError("it names neither module_class nor module_obj")
        if module_file is None:
            stem, _, name = name.partition(".")
            module_file = f"{stem}.py"
        self.model = load_object(module_file, name)
        if module_class is not None:
            given = yaml.safe_load(module_kwargs) if isinstance(module_kwargs, str) else module_kwargs
            self.model = self.model(**(given or {}))
        self.model.load_state_dict(torch.load(weights))
        self.use_cuda = auto_use_cuda and torch.cuda.is_available()
        if self.use_cuda:
            self.model = self.model.cuda()
        self.model.eval()

    def predict_on_batch(self, x: Any) -> Any:
        """Returns arrays; the items of a dict go to the arguments of the module, those of a list in their order."""
        if isinstance(x, Mapping):
            found = self.model(**{name: self.tensor(array) for name, array in x.items()})
        else:
            found = self.model(*map(self.tensor, x if isinstance(x, list | tuple) else [x]))
        if isinstance(found, Mapping):
            return {name: array(tensor) for name, tensor in found.items()}
        return [array(tensor) for tensor in found] if isinstance(found, list | tuple) else array(found)

    def tensor(self, given: np.ndarray) -> Any:
        """Returns an array as a tensor, where the module is."""
        import torch

        made = torch.from_numpy(np.ascontiguousarray(given))
        return made.cuda() if self.use_cuda else made


class OwnTensorFlow2Model(OwnModel):
    """A SavedModel of TensorFlow 2 that can be called."""

    MODEL_PACKAGE = "tensorflow"

    def __init__(self, savedmodel_path: str) -> None:
        import tensorflow as tf

        self.reconstructed_model = tf.saved_model.load(savedmodel_path)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns what it gives, as an array if that is one tensor."""
        found = self.reconstructed_model(x)
        return found.numpy() if hasattr(found, "numpy") else found


def array(tensor: Any) -> np.ndarray:
    """Returns a tensor of PyTorch as an array."""
    made: np.ndarray = tensor.detach().cpu().numpy()
    return made


if TYPE_CHECKING:
    BaseModel: Any = OwnModel
    KerasModel, PyTorchModel, SklearnModel, TensorFlow2Model = (
        OwnKerasModel,
        OwnPyTorchModel,
        OwnSklearnModel,
        OwnTensorFlow2Model,
    )
else:
    try:
        from kipoi.model import BaseModel, KerasModel, PyTorchModel, SklearnModel, TensorFlow2Model
    except ModuleNotFoundError as missing:
        if missing.name not in ("kipoi", "kipoi.model"):  # a folder of that name is no package
            raise
        BaseModel, KerasModel, PyTorchModel = OwnModel, OwnKerasModel, OwnPyTorchModel
        SklearnModel, TensorFlow2Model = OwnSklearnModel, OwnTensorFlow2Model
