"""Model files that people published on PyPI, in the years of Keras 2: fetched when a test needs them, never committed.

Each wheel is downloaded by pip, checked against its sha256, and gives its model files only; it is not installed, as
its requirements contradict each other's. ``python tests/helpers/real_files.py`` fetches all that is missing, as
``make test`` does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "real_files"


class NotFetchedError(Exception):
    """The files are not here, and could not be had."""


@dataclass(frozen=True)
class Wheel:
    """One release on PyPI.

    Attributes:
        sha256: Of the wheel.
        models: The names of its model files, without the ending ``.h5``.
        length: What stands for open dimensions of inputs, in numbers.
    """

    package: str
    version: str
    sha256: str
    models: tuple[str, ...]
    length: int = 256

    @property
    def folder(self) -> Path:
        """Where its model files lie once they are fetched."""
        return CACHE / f"{self.package}-{self.version}"

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class RealFile:
    """One model file of a wheel."""

    wheel: Wheel
    model: str

    def __str__(self) -> str:
        return f"{self.wheel.package}-{self.wheel.version}/{self.model}"

    @property
    def path(self) -> Path:
        """Where it lies once it is fetched."""
        return self.wheel.folder / f"{self.model}.h5"


WHEELS = (
    Wheel(
        "spliceai",
        "1.3.1",
        "63c633b8de6803d4ffb613e6ef62f1a896fec9fc13245c0f000ff7adea279776",
        tuple(f"spliceai{number}" for number in range(1, 6)),
        # The networks cut off 5,000 positions on both sides.
        length=10_100,
    ),
    Wheel(
        "ethnicolr",
        "0.9.6",
        "aad1cae80d5cab5853ec9e8141d7cc9ce0b681aa51705184bbf78a71faa00615",
        (
            "census2000_ln_lstm",
            "census2010_ln_lstm",
            "fl_all_fullname_lstm_5_cat",
            "fl_all_fullname_lstm_5_cat_2022",
            "fl_all_ln_lstm",
            "fl_all_ln_lstm_5_cat",
            "fl_all_ln_lstm_5_cat_2022",
            "fl_all_name_lstm",
            "nc_voter_name_hispanic_lstm",
            "nc_voter_name_lstm",
            "nc_voter_name_lstm_oversample",
            "nc_voter_name_race_lstm",
            "nc_voter_name_race_lstm_oversample",
            "wiki_ln_lstm",
            "wiki_name_lstm",
        ),
    ),
    Wheel(
        "seeker",
        "1.0.3",
        "b5825bc6a64f6b292192db5d8001dec8720b25d2cab4f9c6359cddad5ea7ce05",
        ("MatModel0", "MatModelPRO", "model"),
    ),
    Wheel(
        "shakkala",
        "1.7",
        "9162cd3271c94b87676181c348cec8ee8d4d8be5631c1d5f682da95804972326",
        ("middle_model", "second_model6", "simple_model"),
    ),
    Wheel(
        "tempocnn",
        "0.0.8",
        "73ef63eecf1c783789c222882aeb286302083f2ef8dc2aeb37588156afc059b5",
        (
            "cnn",
            *(f"deepsquare_k{size}" for size in (1, 2, 4, 8)),
            *(f"deeptemp_k{size}" for size in (2, 4, 8)),
            *(f"dt_maz_m_fold{fold}" for fold in range(5)),
            *(f"dt_maz_v_fold{fold}" for fold in range(5)),
            "fcn",
            "ismir2018",
            *(f"shallowtemp_k{size}" for size in (1, 2, 4, 6)),
        ),
    ),
)
FILES = tuple(RealFile(wheel, model) for wheel in WHEELS for model in wheel.models)
# A small one, from a small wheel, that needs a repair: the one of `make test`.
QUICK = next(file for file in FILES if file.model == "MatModel0")


def fetch(files: Iterable[RealFile] = FILES) -> None:
    """Downloads the wheels of files that are missing.

    Raises:
        NotFetchedError: If one cannot be downloaded, with how to get it.
    """
    for wheel in dict.fromkeys(file.wheel for file in files):
        if not wheel.folder.is_dir():
            _fetch_wheel(wheel)


def _fetch_wheel(wheel: Wheel) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f".{wheel.package}-") as name:
        place = Path(name)
        (place / "requirements.txt").write_text(wheel.requirement, encoding="utf-8")
        options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--no-deps", "--only-binary", ":all:"]
        # It is only unpacked, so what it requires of Python does not matter.
        options += ["--ignore-requires-python", "--dest", str(place), "--requirement", str(place / "requirements.txt")]
        command = [sys.executable, "-m", "pip", "download", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotFetchedError(
                f"The model files of {wheel.package} {wheel.version}, which the tests of real files need, are not in "
                f"{wheel.folder} and could not be downloaded. With a network, `python tests/helpers/real_files.py` "
                "downloads all of them, once; .cache/real_files can also be copied from another checkout.\n"
                f"pip said: {done.stderr.strip()[-1000:]}"
            )
        (found,) = place.glob("*.whl")
        (place / "models").mkdir()
        with zipfile.ZipFile(found) as archive:
            # Some wheels hold their models a second time, as data to install elsewhere.
            members = {Path(name).name: name for name in archive.namelist() if ".data/" not in name}
            for model in wheel.models:
                (place / "models" / f"{model}.h5").write_bytes(archive.read(members[f"{model}.h5"]))
        # Whole or not at all; where another process was faster, its folder stays.
        try:
            (place / "models").rename(wheel.folder)
        except OSError:
            if not wheel.folder.is_dir():
                raise


if __name__ == "__main__":
    try:
        fetch()
    except NotFetchedError as error:
        sys.exit(str(error))
