"""What a user gets from the wheel, the source distribution and `pip install -e`, each in an environment of its own."""

import configparser
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.pyc", "*.egg-info", "build", "dist", "demo_output"
)

LIST_TEMPLATES = """
import importlib.resources, json

def names(folder, prefix=""):
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from names(entry, prefix + entry.name + "/")
        else:
            yield prefix + entry.name

templates = importlib.resources.files("keras_stitch.model_templates")
print(json.dumps({"folder": str(templates.joinpath("")), "names": list(names(templates))}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed, without this process' Python settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def source_files(root: Path) -> list[str] | None:
    """The files that belong to the project according to git, or None where `root` is not a checkout."""
    git = ["git", "-C", str(root)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], text=True, capture_output=True)
    except FileNotFoundError:
        return None
    if top.returncode != 0 or Path(top.stdout.strip()).resolve() != root:
        return None
    listing = [*git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, text=True, capture_output=True, check=True).stdout
    return [name for name in names.split("\0") if name]


def below(folder: str, names: Iterable[str]) -> set[str]:
    """The names of the files under `folder`, relative to it, less what Python compiled."""
    paths = [PurePosixPath(name) for name in names if not name.endswith("/")]
    inside = [path.relative_to(folder) for path in paths if path.is_relative_to(folder)]
    return {str(path) for path in inside if "__pycache__" not in path.parts}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    names = source_files(ROOT)
    if names is None:
        shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    else:
        for name in names:
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def tree_files(tree: Path) -> set[str]:
    """The files of the copy, listed before anything is built in it."""
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def distributions(tree: Path, tree_files: set[str]) -> dict[str, Path]:
    """The source distribution and the wheel, both built from the tree with the setuptools that is installed."""
    built = tree.parent / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", built, tree, cwd=tree.parent)
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.fixture(scope="session", params=["wheel", "sdist", "editable"])
def installed(request: pytest.FixtureRequest, tree: Path, distributions: dict[str, Path]) -> tuple[str, Path]:
    """How the package was installed, and into which new environment; dependencies are borrowed from this one."""
    folder = tree.parent / f"venv-{request.param}"
    venv.create(folder, symlinks=True)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    source = ["--editable", tree] if request.param == "editable" else [distributions[request.param]]
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    run(*pip, "install", *options, *source, cwd=tree.parent)
    return request.param, folder


def test_an_installed_package_finds_the_templates_of_the_source_tree(
    installed: tuple[str, Path], tree: Path, tree_files: set[str]
) -> None:
    how, environment = installed
    found = json.loads(run(environment / "bin" / "python", "-I", "-c", LIST_TEMPLATES, cwd=environment))
    expected = tree / "model_templates" if how == "editable" else environment
    assert Path(found["folder"]).is_relative_to(expected)
    assert below(".", found["names"]) == below("model_templates", tree_files)


def test_an_installed_package_has_its_command(installed: tuple[str, Path]) -> None:
    _, environment = installed
    assert "usage" in run(environment / "bin" / "keras-stitch", "--help", cwd=environment).lower()


def test_the_wheel_holds_the_package_and_nothing_else(distributions: dict[str, Path], tree_files: set[str]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = wheel.namelist()
    assert not [name for name in names if name.endswith(".pyc")]
    release = "-".join(distributions["wheel"].name.split("-")[:2])
    assert {name.split("/")[0] for name in names} == {"keras_stitch", f"{release}.dist-info"}
    templates = {f"model_templates/{name}" for name in below("model_templates", tree_files)}
    assert below("keras_stitch", names) == below("keras_stitch", tree_files) | templates
    assert "py.typed" in below("keras_stitch", names)


def test_the_source_distribution_can_be_developed_from(distributions: dict[str, Path], tree_files: set[str]) -> None:
    with tarfile.open(distributions["sdist"]) as sdist:
        members = below(distributions["sdist"].name.removesuffix(".tar.gz"), sdist.getnames())
    assert {"LICENSE", "Makefile", "README.md", "pyproject.toml", "setup.cfg"} <= members
    for folder in ("keras_stitch", "model_templates", "tests"):
        assert below(folder, tree_files) <= below(folder, members)


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_is_installed_without_what_is_for_gpus_and_tests(installer: ModuleType) -> None:
    said = configparser.ConfigParser()
    said.read(ROOT / "setup.cfg")
    core, extras = said["options"]["install_requires"].split(), said["options.extras_require"]
    own, *demo = extras["demo"].split()
    assert own == "keras_stitch[kipoi]"
    wanted = installer.light_requirements("demo")
    smaller = [line.replace("tensorflow-cpu", "tensorflow") for line in wanted]
    assert [line for line in [*core, *demo, *extras["kipoi"].split()] if not line.startswith("uv>")] == smaller
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    assert any(line.startswith("tensorflow-cpu>=") for line in wanted) == linux


def test_the_versions_of_this_repository_are_those_that_users_may_have(installer: ModuleType) -> None:
    """With a version of each package, pip has nothing to search for."""
    constraints = [Requirement(line) for line in (ROOT / ".ci/constraints.txt").read_text().splitlines()]
    here = {item.name: item.specifier for item in constraints if item.marker is None or item.marker.evaluate()}
    assert all(str(version).startswith("==") for version in here.values())
    asked = [Requirement(line) for line in installer.requirements("dev")]
    assert [str(item) for item in asked if not allows(item, here.get(canonicalize_name(item.name)))] == []


def allows(asked: Requirement, has: SpecifierSet | None) -> bool:
    return has is not None and asked.specifier.contains(str(has).removeprefix("=="))


@pytest.mark.parametrize("module", ["", ".graphs.read_stitch_yaml", ".graphs.wiring", ".placement.plan", ".cli"])
def test_importing_the_plain_data_modules_imports_no_framework(module: str) -> None:
    code = f"import keras_stitch{module}, sys; print(*sys.modules)"
    imported = set(run(sys.executable, "-c", code, cwd=ROOT).split())
    assert imported.isdisjoint({"keras", "tensorflow", "jax", "torch", "kipoi"})
