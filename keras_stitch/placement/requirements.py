"""Requirements as text: what a Kipoi directory declares, what is installed here, and which pins exclude each other."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

# Each of them installs the same modules.
TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos")

_OLDEST_PYTHON = Version("3.10")  # of what is generated

# Packages that have another name on PyPI than in conda.
_PYPI_NAMES = {
    "keras-base": "keras",
    "keras-gpu": "keras",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "tensorflow-base": "tensorflow",
    "tensorflow-mkl": "tensorflow",
}

# Conda packages that are Python itself, its installer, or no Python packages at all.
_NOT_PYTHON = re.compile(
    r"""python|pip|_.*
    |r|r-.*|bioconductor-.*|perl|perl-.*|ucsc-.*|openjdk|java-jdk|nodejs
    |bcftools|bedops|bedtools|blast|bowtie2?|bwa|htslib|meme|minimap2|samtools|star|tabix
    |blas|libblas|mkl|openblas|gsl|hdf5|bzip2|curl|libcurl|openssl|ca-certificates|readline|ncurses|sqlite|tk|xz|zlib
    |binutils.*|clang|cmake|compilers|gcc.*|gxx.*|gfortran.*|git|graphviz|libgcc.*|libgfortran.*|libstdcxx.*|make|wget
    |cuda|cuda-.*|cudatoolkit|cudnn|nccl""",
    re.VERBOSE,
)


def declared(dependencies: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The packages that Kipoi's dependencies name, as pip writes them: each once, those of conda first.

    Left out are Python, conda packages that are no Python packages, and options of pip.

    Example:
        >>> declared({"conda": ["python=3.6", "pytorch::pytorch=1.0", "bedtools"], "pip": ["keras == 2.1"]})
        ('torch==1.0.*', 'keras==2.1')
    """
    conda = (_from_conda(item) for item in dependencies.get("conda", ()))
    pip = (_from_pip(item) for item in dependencies.get("pip", ()))
    return tuple(dict.fromkeys(item for item in (*conda, *pip) if item))


def python_of(dependencies: Mapping[str, Sequence[str]]) -> str | None:
    """The release of Python that conda is asked for, such as "3.11".

    ``None`` where it leaves a choice, and where it is too old to run what is generated.
    """
    for item in dependencies.get("conda", ()):
        found = re.fullmatch(r"(?:.*::)?python\s*(?:==?\s*|\s)(\d+\.\d+)(?:\.[\d.*]+)?(?:[=\s]\s*\S+)?", item.strip())
        if found:
            return found[1] if Version(found[1]) >= _OLDEST_PYTHON else None
    return None


def package(requirement: str) -> str:
    """The package of a requirement as PyPI spells it, any of TensorFlow's as ``tensorflow``; ``""`` for none."""
    parsed = _parsed(requirement)
    egg = re.search(r"#.*\begg=([\w.-]+)", requirement)
    if parsed is None and egg is None:
        return ""
    name = canonicalize_name(parsed.name if parsed else egg[1] if egg else "")
    return "tensorflow" if name in TENSORFLOWS else name


def packages(requirements: Iterable[str]) -> set[str]:
    """The packages of requirements, as ``package`` has them."""
    return {package(item) for item in requirements} - {""}


def as_tensorflow(requirement: str) -> str:
    """A requirement of any of TensorFlow's packages as one of ``tensorflow``; others as they are."""
    parsed = _parsed(requirement)
    if parsed is None or package(requirement) != "tensorflow":
        return requirement
    return re.sub(r"^\s*[\w.-]+", "tensorflow", requirement)


def installed(name: str) -> str | None:
    """The version of a package here; of TensorFlow, whichever of its packages there is."""
    return next(_versions(name), None)


def unmet(requirements: Iterable[str]) -> tuple[str, ...]:
    """Those requirements that the packages installed in this Python do not meet."""
    return tuple(item for item in requirements if not _met(item))


def exclude(one: str, other: str) -> bool:
    """Whether two requirements of one package certainly exclude each other, whatever versions there are."""
    first, second = _parsed(one), _parsed(other)
    if first is None or second is None or package(one) != package(other) or not (_applies(first) and _applies(second)):
        return False
    specifiers = [*first.specifier, *second.specifier]
    try:
        if _nothing_between(specifiers):
            return True
        exact = [item.version for item in specifiers if item.operator in ("==", "===") and not _is_prefix(item)]
        return bool(exact) and not any(
            all(item.contains(version, prereleases=True) for item in specifiers) for version in exact
        )
    except InvalidVersion:  # === takes any text
        return False


def is_early(requirement: str) -> bool:
    """Whether a requirement names a version before its release, such as ``keras==3.0rc1``."""
    parsed = _parsed(requirement)
    return parsed is not None and bool(parsed.specifier.prereleases)


def clash(requirements: Iterable[str]) -> tuple[str, str] | None:
    """The first two requirements that certainly exclude each other."""
    alike: dict[str, list[str]] = {}
    for item in requirements:
        alike.setdefault(package(item), []).append(item)
    pairs = (pair for items in alike.values() for pair in combinations(items, 2))
    return next((pair for pair in pairs if exclude(*pair)), None)


def joined(requirements: Iterable[str]) -> tuple[str, ...]:
    """Requirements each once, without those that only name a package of which another says more."""
    items = tuple(dict.fromkeys(requirements))
    said = packages(item for item in items if not _is_bare(item))
    bare = [item for item in items if _is_bare(item) and package(item) not in said]
    # Two bare names of TensorFlow are one package.
    kept = {package(item): item for item in reversed(bare)}
    return tuple(item for item in items if not _is_bare(item) or item in kept.values())


def _is_bare(requirement: str) -> bool:
    return re.fullmatch(r"[\w.-]+", requirement.strip()) is not None


def _parsed(requirement: str) -> Requirement | None:
    try:
        return Requirement(requirement)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _from_pip(item: str) -> str | None:
    item = re.sub(r"(^|\s+)#.*", "", item).strip()
    if item.startswith(("git+", "http")) and _parsed(item.partition(";")[0]) is None:
        return item
    parsed = _parsed(item)
    if parsed is None:
        return None
    return item if parsed.marker or parsed.url else re.sub(r"\s+", "", item)


def _from_conda(item: str) -> str | None:
    item = item.rpartition("::")[2].strip().lower()
    match = re.match(r"[\w.-]+", item)
    if match is None or _NOT_PYTHON.fullmatch(match[0]):
        return None
    name = _PYPI_NAMES.get(match[0], match[0])
    requirement = name + _from_conda_version(item[match.end() :])
    return requirement if _parsed(requirement) else name


def _from_conda_version(version: str) -> str:
    """``=1.2.3=build`` as ``==1.2.3.*``, ``1.2.3 build`` as ``==1.2.3``."""
    bracket = re.search(r"\[.*?version\s*=\s*['\"]?([^'\"\]]*)", version)
    version = bracket[1].strip() if bracket else version.partition("[")[0].strip()
    if re.match(r"[<>!~]|==", version):
        return re.sub(r"(?<=[\w*])=[^=,]*$", "", re.sub(r"\s+", "", version))
    words = re.split(r"[\s=]+", version.removeprefix("=").strip())
    if words[0] in ("", "*"):
        return ""
    fuzzy = version.startswith("=") and not words[0].endswith("*")
    return f"=={words[0]}{'.*' if fuzzy else ''}"


def _versions(name: str) -> Iterator[str]:
    """The version of a package here, if there is one; of TensorFlow, those of all its packages."""
    for known in TENSORFLOWS if package(name) == "tensorflow" else (name,):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield importlib.metadata.version(known)


def _met(requirement: str) -> bool:
    parsed = _parsed(requirement)
    if parsed is None:
        return installed(package(requirement) or "-") is not None
    if not _applies(parsed):
        return True
    return any(parsed.specifier.contains(version, prereleases=True) for version in _versions(parsed.name))


class _Bound(NamedTuple):
    """Where the versions of a specifier begin or end, and whether that one is among them."""

    version: Version
    included: bool


def _is_prefix(specifier: Specifier) -> bool:
    return specifier.version.endswith(".*")


def _span(prefix: str) -> tuple[_Bound, _Bound]:
    """All versions with a prefix: of ``1.2``, from 1.2.dev0 up to 1.3.dev0."""
    first = Version(prefix)
    after = ".".join(map(str, (*first.release[:-1], first.release[-1] + 1)))
    return _Bound(Version(f"{first}.dev0"), True), _Bound(Version(f"{first.epoch}!{after}.dev0"), False)


def _spans(specifiers: Iterable[Specifier]) -> Iterator[tuple[_Bound | None, _Bound | None]]:
    """The first and the last version that each specifier allows; exceptions in between are not looked at."""
    for item in specifiers:
        if _is_prefix(item):
            if item.operator == "==":
                yield _span(item.version.removesuffix(".*"))
            continue
        version = Version(Version(item.version).public)
        if item.operator in ("==", "==="):
            yield _Bound(version, True), _Bound(version, True)
        elif item.operator in (">", ">="):
            yield _Bound(version, item.operator == ">="), None
        elif item.operator == "<=":
            yield None, _Bound(version, True)
        elif item.operator == "<":  # has no pre-releases of its version either
            yield None, _Bound(version if version.is_prerelease else Version(f"{version}.dev0"), False)
        elif item.operator == "~=":
            prefix = ".".join(map(str, version.release[:-1]))
            yield _Bound(version, True), _span(f"{version.epoch}!{prefix}")[1]


def _nothing_between(specifiers: Sequence[Specifier]) -> bool:
    """Whether no version can meet all of them, as their bounds show."""
    spans = list(_spans(specifiers))
    lows, highs = [low for low, _ in spans if low], [high for _, high in spans if high]
    if not lows or not highs:
        return False
    low, high = max(lows, key=lambda bound: (bound.version, not bound.included)), min(highs)
    if low.version > high.version or (low.version == high.version and not (low.included and high.included)):
        return True
    without = [item for item in specifiers if item.operator == "!=" and _is_prefix(item)]
    left_out = [_span(item.version.removesuffix(".*")) for item in without]
    # Both ends in one gap; a span that ends where the gap does has no version beyond it.
    return any(first.version <= low.version and (high.version < end.version or high == end) for first, end in left_out)
