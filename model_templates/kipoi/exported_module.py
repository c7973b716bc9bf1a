"""A PyTorch module as torch.export saved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from kipoi.model import PyTorchModel


class ExportedModule(PyTorchModel):
    """A program of torch.export, which needs no code of the module that it was made from.

    Args:
        weights: The file; its name may lack an ending, as that of Kipoi's downloads does.
    """

    MODEL_PACKAGE = "torch"

    def __init__(self, weights: str) -> None:
        # Opened here, as torch would go by the ending of the name.
        with Path(weights).open("rb") as file:
            self.model = torch.export.load(file).module()
        self.use_cuda = False
        self.grad_hooks: list[Any] = []
