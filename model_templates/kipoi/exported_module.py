"""A PyTorch module as torch.export saved it."""

import torch
from kipoi.model import PyTorchModel


class ExportedModule(PyTorchModel):
    """A program of torch.export, which needs no code of the module that it was made of.

    Args:
        weights: The file; its name may lack an ending, as that of Kipoi's downloads does.
    """

    MODEL_PACKAGE = "torch"

    def __init__(self, weights):
        # Opened here: by name, torch goes by the ending.
        with open(weights, "rb") as file:
            self.model = torch.export.load(file).module()
        self.use_cuda = False
        self.grad_hooks = []
