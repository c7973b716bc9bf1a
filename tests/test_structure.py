"""The shape of the package: which way imports point, how large modules and functions are, where private names are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_stitch"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MOST_AT_THE_ROOT, MOST_LINES, MOST_OF_A_FUNCTION = 12, 350, 60  # the last without its docstring
# A package or module imports only from the lines above its own.
ORDER = (
    ("errors", "terminal", "directory_layout", "keras_private", "start_keras"),
    ("checks", "files"),
    ("addresses",),
    ("graphs",),
    ("repairs",),
    ("placement", "plotting"),
    ("models",),
    ("verify",),
    ("kipoi",),
    ("sources",),
    ("directory",),
    ("training",),
    ("workflow",),
    ("export",),
    ("assembly",),
    ("description",),
    ("graph",),
    ("recipes",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
# What Keras has no public name for: names of its modules, and attributes with a leading underscore.
PRIVATE = re.compile(
    r"keras\.src\b|\._(?:functional|nodes_by_depth|flatten_layers|keras_history|lookup_layer|layers|trainable_variables"
    r"|non_trainable_variables|inbound_nodes|operations)\b"
)
# Where files are opened for reading that could read other files, or fill the memory.
TEMPLATES = sorted((ROOT / "model_templates").rglob("*.py"))
OPENED_IN = {"h5py.File": {"hdf5_files.py", "hdf5_contents.py"}, "zipfile.ZipFile": {"zip_files.py"}}


def place(path: Path) -> str:
    """The package or module right below keras_stitch that a file is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The packages and modules right below keras_stitch that a file imports, inside functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_stitch":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_stitch."):
            found.add(node.module.split(".")[1])
    return found - {"model_templates"}


def test_everything_has_its_place_in_the_order():
    known = {place(path) for path in SOURCES} - {"__init__"}
    assert known <= LEVEL.keys()
    # Without these, the tests below would look at nothing.
    assert {"graphs", "models", "directory", "graph"} <= known


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = place(path)
    if own == "__init__":  # the public names, imported when they are asked for
        return
    for other in imported(path) & LEVEL.keys():
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {other}"


def test_the_root_is_short():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_ROOT


def test_no_two_modules_share_a_name():
    names = [path.stem for path in SOURCES if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            described = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if described else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            assert length <= MOST_OF_A_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_of_keras_are_in_one_module(path):
    if path.name != "keras_private.py":
        assert not PRIVATE.findall(path.read_text(encoding="utf-8"))


def opened_for_reading(path: Path) -> set[str]:
    """Those of ``OPENED_IN`` that a module calls with no other mode than reading."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in OPENED_IN:
            mode = next((one.value for one in node.keywords if one.arg == "mode"), [*node.args, None, None][1])
            if mode is None or ast.literal_eval(mode) == "r":
                found.add(name)
    return found


@pytest.mark.parametrize("path", [*SOURCES, *TEMPLATES], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_opened_for_reading_in_one_place(path):
    assert {name for name in opened_for_reading(path) if path.name not in OPENED_IN[name]} == set()


def test_the_places_where_files_are_opened_exist():
    found = {path.name: opened_for_reading(path) for path in [*SOURCES, *TEMPLATES]}
    for name, places in OPENED_IN.items():
        assert places == {place for place, opened in found.items() if name in opened}


def test_the_module_of_private_names_uses_some():
    assert PRIVATE.findall((PACKAGE / "keras_private.py").read_text(encoding="utf-8"))
