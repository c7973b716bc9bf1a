"""Reads the measurements of one sample at a time from a TSV."""

from typing import Any

import numpy as np
import pandas as pd
from kipoi.data import Dataset


class MeasurementsDl(Dataset):
    """Rows of a table whose first column is an id and whose other columns are float32 numbers."""

    def __init__(self, measurements_file: str) -> None:
        self.table = pd.read_csv(measurements_file, sep="\t", index_col=0)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table.iloc[index]
        return {
            "inputs": {"measurements": row.to_numpy(dtype=np.float32)},
            "metadata": {"id": str(row.name)},
        }
