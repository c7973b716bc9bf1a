"""An ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from kipoi.model import BaseModel

ERRORS_ONLY_RAISED = 4
DTYPES = {"float": "float32", "double": "float64"}  # all others have the same names in NumPy


class OnnxModel(BaseModel):
    """A session of ONNX Runtime on the CPU. It opens no file by itself, and loads no libraries of operators.

    Args:
        weights: The ONNX file; its name may lack an ending, as that of Kipoi's downloads does.
        outputs: The positions of what is predicted among the file's outputs.
        batch_size: The only number of rows that the file takes; None where it takes any.
        data: The files that hold its weights, by the names that the ONNX file has for them.
    """

    MODEL_PACKAGE = "onnxruntime"

    def __init__(
        self,
        weights: str,
        outputs: Sequence[int],
        batch_size: int | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY_RAISED
        if data:
            contents = [np.memmap(file, mode="r") for file in data.values()]
            options.add_external_initializers_from_files_in_memory(list(data), contents, list(map(len, contents)))
        content = Path(weights).read_bytes()
        # Without its second try after an error, which prints.
        session: dict[str, Any] = {"providers": ["CPUExecutionProvider"], "enable_fallback": False}
        self.model = onnxruntime.InferenceSession(content, options, **session)
        names = [output.name for output in self.model.get_outputs()]
        self.outputs, self.batch_size = [names[number] for number in outputs], batch_size

    def predict_on_batch(self, x: Any) -> Any:
        """Predict a batch.

        Args:
            x: Arrays of shape (rows, ...): one, or a list in the order of the file's inputs.

        Returns:
            Arrays of shape (rows, ...): one, or a list in the order of the outputs.
        """
        arrays = [np.asarray(array) for array in (x if isinstance(x, list | tuple) else [x])]
        rows, size = len(arrays[0]), self.batch_size or len(arrays[0])
        pieces = [self.predicted([array[start : start + size] for array in arrays]) for start in range(0, rows, size)]
        found = pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        return found if len(found) > 1 else found[0]

    def predicted(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs for one piece of a batch; the last row fills it up to a fixed size."""
        rows = len(arrays[0])
        missing = (self.batch_size or rows) - rows
        given = {}
        for array, taken in zip(arrays, self.model.get_inputs(), strict=True):
            whole = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
            if len(taken.shape) == 1:  # a number for each row, which comes as a row of one number
                whole = whole.reshape(len(whole))
            dtype = taken.type.removeprefix("tensor(").removesuffix(")")
            given[taken.name] = whole.astype(DTYPES.get(dtype, dtype), casting="same_kind", copy=False)
        found = [numbers(one) for one in self.model.run(self.outputs, given)]
        return [array[:rows] for array in found] if missing else found


def numbers(found: Any) -> np.ndarray:
    """Returns an output as an array; what ZipMap made a dict for each row has its columns in the order of the keys."""
    if isinstance(found, list):
        return np.array([[row[key] for key in sorted(row)] for row in found], dtype="float32")
    return np.asarray(found)
