"""Writes the demo's data: a made-up genome, intervals on it, and a table of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from keras_stitch import directory_layout as layout

LENGTH = 50
ROWS = 64
MEASUREMENTS = tuple(f"m{number}" for number in range(1, 7))


@dataclass(frozen=True)
class DemoData:
    """Where the data lies.

    Attributes:
        intervals: BED, one interval of ``LENGTH`` bases for each of ``ROWS`` rows; its name is the id of the
            measurements.
        measurements: TSV with an id and six numbers for each interval.
        loader: A Kipoi directory whose dataloader reads such a TSV.
    """

    genome: Path
    intervals: Path
    measurements: Path
    loader: Path

    @property
    def arguments(self) -> dict[str, str]:
        """Those of the dataloader of the demo's directory."""
        files = {"intervals_file": self.intervals, "fasta_file": self.genome, "measurements_file": self.measurements}
        return {name: str(file) for name, file in files.items()}


def write_data(folder: Path) -> DemoData:
    """Write all of it below a folder, always the same."""
    rng = np.random.default_rng(0)
    data = folder / "data"
    data.mkdir(parents=True)
    found = DemoData(
        data / "genome.fa", data / "intervals.bed", data / "measurements.tsv", folder / "zoo" / "measurements"
    )
    size = ROWS * LENGTH + 400
    bases = "".join(rng.choice(list("ACGT"), size))
    lines = [bases[start : start + 60] for start in range(0, size, 60)]
    found.genome.write_text(">chr1\n" + "\n".join(lines) + "\n")
    # The index that `samtools faidx` makes. Without one, two workers would write it at the same time.
    Path(f"{found.genome}.fai").write_text(f"chr1\t{size}\t6\t60\t61\n")
    starts = rng.permutation(ROWS) * LENGTH + 100
    lines = [f"chr1\t{start}\t{start + LENGTH}\tsample{row}\n" for row, start in enumerate(starts)]
    found.intervals.write_text("".join(lines))
    numbers = rng.normal(size=(ROWS, len(MEASUREMENTS)))
    rows = ["\t".join((f"sample{row}", *(f"{value:.4f}" for value in line))) for row, line in enumerate(numbers)]
    found.measurements.write_text("\n".join(["\t".join(("id", *MEASUREMENTS)), *rows]) + "\n")
    _write_loader(found.loader)
    return found


def _write_loader(directory: Path) -> None:
    """A Kipoi directory with a dataloader only, such as a zoo holds beside every model."""
    directory.mkdir(parents=True)
    code = files("keras_stitch.model_templates").joinpath("demo", layout.DATALOADER_CODE).read_text(encoding="utf-8")
    (directory / layout.DATALOADER_CODE).write_text(code)
    description = {
        "defined_as": "dataloader.MeasurementsDl",
        "args": {"measurements_file": {"doc": "TSV with an id and six measurements", "type": "str"}},
        "info": {
            "authors": [{"name": "keras_stitch contributors"}],
            "doc": "Measurements from a table",
            "license": "MIT",
        },
        "output_schema": {
            "inputs": {"measurements": {"shape": f"({len(MEASUREMENTS)},)", "doc": "Six measurements of a sample"}},
            "metadata": {"id": {"type": "str", "doc": "The sample's id"}},
        },
    }
    (directory / layout.DATALOADER_YAML).write_text(yaml.safe_dump(description, sort_keys=False))
