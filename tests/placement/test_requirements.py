"""Requirements as text: what is declared, what is met here, what excludes what."""

from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from plain_graphs import MANY

from keras_stitch.placement import requirements
from keras_stitch.placement.requirements import (
    as_tensorflow,
    clash,
    declared,
    exclude,
    installed,
    joined,
    package,
    packages,
    python_of,
    unmet,
)

# -- what Kipoi's dependencies ask for --------------------------------------------------


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("keras=2.1", "keras==2.1.*"),
        ("keras==2.1", "keras==2.1"),
        ("keras>=1,<2", "keras>=1,<2"),
        ("keras=2.1.3=py36_0", "keras==2.1.3.*"),
        ("keras==2.1.3=py36_0", "keras==2.1.3"),
        ("keras=2.1.*", "keras==2.1.*"),
        ("keras >=1", "keras>=1"),
        ("keras >= 1 , < 2", "keras>=1,<2"),
        ("keras = 2.1", "keras==2.1.*"),
        ("keras 2.1.3", "keras==2.1.3"),
        ("keras 2.1.3 py36_0", "keras==2.1.3"),
        ("keras=*", "keras"),
        ("keras", "keras"),
        ("bioconda::pysam=0.15", "pysam==0.15.*"),
        ("conda-forge/label/old::h5py", "h5py"),
        ("keras[version='>=1,<2', build=py36]", "keras>=1,<2"),
        ("keras[build=py36]", "keras"),
        ("keras=2.1|2.2", "keras"),
        ("Keras=2.1", "keras==2.1.*"),
        ("pytorch=1.0", "torch==1.0.*"),
        ("pytorch::pytorch-cpu>=0.2.0", "torch>=0.2.0"),
        ("keras-gpu=2.0", "keras==2.0.*"),
    ],
)
def test_conda_specs_as_pip_has_them(conda: str, pip: str) -> None:
    assert declared({"conda": [conda]}) == (pip,)


@pytest.mark.parametrize(
    "spec",
    [
        "python=3.6",
        "pip",
        "bioconda::bedtools=2.26",
        "r-base",
        "r-dplyr=1",
        "bioconductor-biobase",
        "perl-dbi",
        "zlib",
        "libgcc-ng",
        "cudatoolkit=9.0",
        "openjdk",
        "samtools",
        "_libgcc_mutex=0.1",
        "=2",
        "",
    ],
)
def test_conda_specs_that_are_no_python_packages(spec: str) -> None:
    assert declared({"conda": [spec]}) == ()


@pytest.mark.parametrize("name", ["rpy2", "librosa", "pipdeptree", "cudaq", "makefun", "starlette"])
def test_names_that_only_begin_like_those(name: str) -> None:
    assert declared({"conda": [name]}) == (name,)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("keras == 2.1 , != 2.1.3  # the old one", "keras==2.1,!=2.1.3"),
        ("concise>=0.6; python_version < '4'", "concise>=0.6; python_version < '4'"),
        ("foo[bar] >= 1", "foo[bar]>=1"),
        ("foo @ https://example.org/foo.zip", "foo @ https://example.org/foo.zip"),
        ("git+https://example.org/foo.git#egg=foo", "git+https://example.org/foo.git#egg=foo"),
        ("https://example.org/foo.whl", "https://example.org/foo.whl"),
        ("httpx>=0.2", "httpx>=0.2"),
    ],
)
def test_lines_of_pip(line: str, kept: str) -> None:
    assert declared({"pip": [line]}) == (kept,)


@pytest.mark.parametrize("line", ["-r other.txt", "--no-deps", "./foo.whl", "# nothing", "", "keras=2.1"])
def test_lines_that_nobody_can_read_are_left_out(line: str) -> None:
    assert declared({"pip": [line]}) == ()


def test_each_once_and_those_of_conda_first() -> None:
    asked = {"pip": ["keras==2.1", "h5py"], "conda": ["python=3.6", "numpy", "h5py"], "conda_channels": ["bioconda"]}
    assert declared(asked) == ("numpy", "h5py", "keras==2.1")
    assert declared({}) == ()


@pytest.mark.parametrize(
    ("spec", "release"),
    [
        ("python=3.11", "3.11"),
        ("python==3.11.*", "3.11"),
        ("python=3.10.5=hc3d631a_2", "3.10"),
        ("python=2.7", None),
        ("conda-forge::python 3.7", None),
        ("conda-forge::python 3.10", "3.10"),
        ("python =3.11", "3.11"),
        ("python>=3.6", None),
        ("python>=3.6,<3.7", None),
        ("python=3", None),
        ("python", None),
        ("python-dateutil=2.8", None),
    ],
)
def test_the_python_that_is_asked_for(spec: str, release: str | None) -> None:
    assert python_of({"conda": ["numpy=1.19", spec]}) == release


# -- names ----------------------------------------------------------------------------


def test_packages_under_one_name() -> None:
    assert package("Scikit_Learn[all]>=1") == "scikit-learn"
    assert package("git+https://example.org/x.git@v1#subdirectory=a&egg=My_Pack") == "my-pack"
    assert package("git+https://example.org/x.git") == ""
    assert packages(("tensorflow-cpu==2", "tensorflow", "https://example.org/x.whl", "h5py")) == {"tensorflow", "h5py"}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("tensorflow-gpu >=1, <2", "tensorflow >=1, <2"),
        ("tensorflow_cpu==2.15.1", "tensorflow==2.15.1"),
        ("tensorflow", "tensorflow"),
        ("tensorflow-io==1", "tensorflow-io==1"),
        ("git+https://example.org/x.git", "git+https://example.org/x.git"),
    ],
)
def test_tensorflow_stands_for_its_family(given: str, asked: str) -> None:
    assert as_tensorflow(given) == asked


def test_bare_names_say_nothing_where_another_says_more() -> None:
    assert joined(("h5py", "keras", "keras>=2", "h5py", "tensorflow-cpu", "kipoi[all]", "kipoi")) == (
        "h5py",
        "keras>=2",
        "tensorflow-cpu",
        "kipoi[all]",
    )
    assert joined(("tensorflow", "tensorflow-gpu")) == ("tensorflow",)


# -- what is installed ------------------------------------------------------------------


@pytest.fixture
def packages_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"keras": "3.10.0", "tensorflow-cpu": "2.18.1+x", "torch": "2.6.0+cpu", "dev": "2.0.0rc1", "my-pack": "1"}

    def version(name: str) -> str:
        if name not in here:
            raise importlib.metadata.PackageNotFoundError(name)
        return here[name]

    monkeypatch.setattr(requirements.importlib.metadata, "version", version)


@pytest.mark.usefixtures("packages_here")
@pytest.mark.parametrize(
    "met",
    [
        "keras",
        "keras>=3",
        "keras[all]==3.10.*",
        "tensorflow==2.18.1",
        "tensorflow-gpu>=2",
        "torch==2.6.0",
        "dev>=2.0rc1",
        "dev>1",
        "absent; python_version < '3'",
        "keras<1; extra == 'old'",
        "git+https://example.org/x#egg=my_pack",
        "keras @ https://example.org/keras.zip",
    ],
)
def test_what_is_met(met: str) -> None:
    assert unmet((met,)) == ()


@pytest.mark.usefixtures("packages_here")
@pytest.mark.parametrize(
    "asked",
    [
        "absent",
        "keras<3",
        "tensorflow==2.15.1",
        "tensorflow-gpu<2",
        "dev>=2",
        "keras<3; python_version > '3'",
        "git+https://example.org/x",
        "git+https://example.org/x#egg=absent",
        "https://example.org/x.whl",
    ],
)
def test_what_is_unmet(asked: str) -> None:
    assert unmet(("keras", asked)) == (asked,)


@pytest.mark.usefixtures("packages_here")
def test_versions_here() -> None:
    assert (installed("keras"), installed("tensorflow"), installed("absent")) == ("3.10.0", "2.18.1+x", None)


# -- what excludes what -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("k==2.15.0", "k>=3"),
        ("k==2.15.0", "K == 2.15.1"),
        ("k===2.15.0", "k<2"),
        ("k==1.2.*", "k==1.3.*"),
        ("k==1.2.*", "k>=1.3"),
        ("k==1.2.*", "k<1.2"),
        ("k==1.2.*", "k!=1.2.*"),
        ("k==1.2.3", "k!=1.2.*"),
        ("k==1.2.3", "k!=1.2.3"),
        ("k==1.0+cpu", "k==1.0+gpu"),
        ("k==1!1.0", "k==1.0"),
        ("k<2", "k>=2"),
        ("k<=2", "k>2"),
        ("k~=1.4.5", "k>=1.5"),
        ("k>=1.2,<1.3", "k!=1.2.*"),
        ("k>2,<1", "k"),
        ("tensorflow-cpu==2.15.1", "tensorflow>=2.16"),
    ],
)
def test_pins_that_exclude_each_other(one: str, other: str) -> None:
    assert exclude(one, other)
    assert exclude(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("k==2.15.0", "k>=2"),
        ("k==2.15", "k==2.15.0"),
        ("k==1.2.3", "k==1.2.*"),
        ("k==1.2.*", "k>=1.2.9"),
        ("k==1.0", "k==1.0+cpu"),
        ("k<=2", "k>=2"),
        ("k~=1.4", "k>=1.5"),
        ("k==2.0rc1", "k>=1"),
        ("k===old", "k==1"),
        ("k==1", "j==2"),
        ("k", "k==1"),
        ("k==1; python_version < '3'", "k==2"),
        ("k @ https://example.org/k.zip", "k==2"),
        ("git+https://example.org/k#egg=k", "k==2"),
        ("git+https://example.org/k", "git+https://example.org/j"),
    ],
)
def test_pins_that_need_not(one: str, other: str) -> None:
    assert not exclude(one, other)
    assert not exclude(other, one)


PARTS = st.sampled_from([f"{mark}{end}" for mark in ("1", "1.1", "1.2", "1.2.1", "2") for end in ("", "rc1", ".post1")])
PREFIXES = st.sampled_from(["1", "1.1", "1.2", "2"])
SPECIFIERS = (
    st.builds("{}{}".format, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), PARTS)
    | st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), PREFIXES)
    | st.builds("~={}".format, st.sampled_from(["1.1", "1.2.1", "1.2rc1"]))
)
VERSIONS = [
    Version(f"{mark}{end}")
    for mark in ("0", "0.9", "1", "1.0.1", "1.1", "1.1.1", "1.2", "1.2.1", "1.2.2", "1.3", "1.9", "2", "2.1", "3")
    for end in ("", ".dev0", "a1", "rc1", "rc2", ".post0", ".post1", ".post2", "+x")
]


@given(st.lists(SPECIFIERS, max_size=2), st.lists(SPECIFIERS, max_size=2))
@MANY
def test_no_version_is_in_both_where_they_exclude_each_other(one: list[str], other: list[str]) -> None:
    first, second = SpecifierSet(",".join(one)), SpecifierSet(",".join(other))
    common = [v for v in VERSIONS if first.contains(v, prereleases=True) and second.contains(v, prereleases=True)]
    said = exclude(f"k{first}", f"k{second}")
    assert not (said and common)
    if any(item.startswith("==") and not item.endswith("*") for item in (*one, *other)):
        assert said == (not common)


def test_the_first_clash() -> None:
    assert clash(("a==1", "b>=2", "tensorflow==2", "b<2", "tensorflow-gpu<2")) == ("b>=2", "b<2")
    assert clash(("a==1", "b>=2", "git+https://example.org/x", "a")) is None
