"""Custom objects in every form in which they are given, and the message of every mistake."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from backends import as_array
from toy_objects import write_layers, write_package

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import StitchError
from keras_stitch.models.custom_objects import CustomObjects, Origin, importable, read, read_file


def write_model(path: Path, layers: list[keras.layers.Layer]) -> Path:
    keras.Sequential([keras.Input((2,), name="x"), *layers]).save(path)
    return path


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    monkeypatch.syspath_prepend(tmp_path / "site")
    return write_package(tmp_path / "site", f"zoo_{abs(hash(request.node.name))}")


def predicted(graph: ks.Graph) -> np.ndarray:
    return as_array(graph.build()([np.ones((1, 2), "float32")]))


# -- the forms ------------------------------------------------------------------------------------


def test_a_file_by_text_or_path(tmp_path, monkeypatch):
    file = write_layers(tmp_path / "layers.py")
    made = read_file(file, "it").objects
    model = write_model(tmp_path / "m.keras", [made["Times"](), keras.layers.Activation(made["twice"])])
    monkeypatch.chdir(tmp_path)
    for given in ("layers.py", file, Path("layers.py"), ["layers.py"]):
        assert predicted(ks.Graph("g").add("m", model, custom_objects=given)).tolist() == [[6, 6]]
    assert not (tmp_path / "__pycache__").exists()


def test_the_same_file_gives_the_same_classes(tmp_path):
    file = write_layers(tmp_path / "layers.py")
    first = read(str(file), "it").objects["Times"]
    assert read(file, "it").objects["Times"] is first
    write_layers(file, factor=4)
    assert read(file, "it").objects["Times"] is not first


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
def test_a_file_runs_as_it_would_by_itself(tmp_path, first):
    """Data classes look their module up, and annotations are what the file says."""
    file = tmp_path / "own.py"
    kinds = "@dataclasses.dataclass\nclass Config:\n    by: float = 2.0\n"
    file.write_text(f"{first}import dataclasses\n{kinds}OBJECTS = {{'Config': Config}}\n")
    config = read(str(file), "it").objects["Config"]
    assert config().by == 2.0 and config.__annotations__ == {"by": "float" if first else float}
    assert "custom_objects" not in sys.modules


def test_a_module_offers_what_is_its_own(package):
    found = read(package, "it")
    assert sorted(found.objects) == ["Plus", "Times", "twice"]
    assert found.origins["Times"] == Origin(package, "Times")
    assert found.said == (package,) and found.live == ()


def test_a_package_offers_what_its_modules_define(package, tmp_path):
    name = package.partition(".")[0]
    (tmp_path / "site" / name / "__init__.py").write_text(f"import keras\nfrom {package} import *\n")
    assert sorted(read(name, "it").objects) == ["Plus", "Times", "twice"]


def test_a_module_with_objects(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path, "zoo_with_objects", listed='OBJECTS = {"Other": Times}\n')
    found = read("zoo_with_objects.layers", "it")
    assert list(found.objects) == ["Other"]
    assert found.origins["Other"] == Origin("zoo_with_objects.layers", "Other", listed=True)


def test_names_in_modules(package):
    found = read([f"{package}:Times", "keras.activations:relu"], "it")
    assert list(found.objects) == ["Times", "relu"]
    assert found.said == (f"{package}:Times", "keras.activations:relu")


def test_a_dict_knows_what_can_be_imported(package):
    made = read(package, "it").objects
    found = read({"Times": made["Times"], "Other": made["Plus"], "own": lambda x: x}, "it")
    assert found.origins == {"Times": Origin(package, "Times"), "Other": Origin(package, "Plus")}
    assert found.said == (f"{package}:Times",) and found.live == ("Other", "own")


def test_what_a_file_defines_cannot_be_imported(tmp_path):
    assert importable(read(write_layers(tmp_path / "layers.py"), "it").objects["Times"]) is None


def test_the_right_side_wins():
    def one(x):
        return x

    left = read({"relu": keras.activations.relu, "own": one}, "it")
    both = left | read({"relu": one}, "it")
    assert both.objects == {"relu": one, "own": one} and both.origins == {} and both.live == ("own", "relu")
    assert left | CustomObjects() == left


def test_two_files_that_register_one_name(tmp_path):
    """Keras has one registry: each submodel gets the class of its own file, and the two cannot be stitched."""
    graph = ks.Graph("g")
    for name, factor in (("a", 3), ("b", 5)):
        file = write_layers(tmp_path / f"{name}.py", factor)
        plus = read(file, "it").objects["Plus"]
        wrapped = keras.layers.TimeDistributed(plus(name="plus"))
        model = keras.Sequential([keras.Input((2, 1), name="x"), wrapped])
        model.save(tmp_path / f"{name}.keras")
    for name in ("b", "a"):
        graph.add(name, tmp_path / f"{name}.keras", custom_objects=tmp_path / f"{name}.py")
    graph.add_input("x", ["a", "b"])
    with pytest.raises(StitchError, match="'a' and 'b' need two different custom objects called 'zoo>Plus'"):
        graph.build()
    for name, want in (("a", [4, 4]), ("b", [6, 6])):
        alone = ks.Graph("g").add(name, tmp_path / f"{name}.keras", custom_objects=tmp_path / f"{name}.py")
        assert as_array(alone.build()(np.ones((1, 2, 1), "float32"))).ravel().tolist() == want


# -- stitch.yaml ----------------------------------------------------------------------------------


def test_a_file_round_trips(tmp_path, monkeypatch, package):
    (tmp_path / "models").mkdir()
    (tmp_path / "other").mkdir()
    file = write_layers(tmp_path / "models" / "layers.py")
    made = read(file, "it").objects
    write_model(tmp_path / "models" / "m.keras", [made["Times"]()])
    (tmp_path / "stitch.yaml").write_text(
        textwrap.dedent(f"""\
        models:
          m: {{source: models/m.keras, custom_objects: models/layers.py}}
          n: {{source: models/m.keras, custom_objects: ["{package}:Times", "{package}:twice"]}}
          o: {{layer: {{class_name: Times, registered_name: Times, module: null}}, custom_objects: models/layers.py}}
        connections: {{n: m, o: n}}
        """)
    )
    monkeypatch.chdir(tmp_path / "other")
    graph = ks.Graph.from_yaml("../stitch.yaml")
    assert predicted(graph).tolist() == [[27, 27]]
    said = yaml.safe_load(graph.to_yaml("again.yaml").read_text())["models"]
    assert said["m"] == {"source": "../models/m.keras", "custom_objects": "../models/layers.py"}
    assert said["n"]["custom_objects"] == [f"{package}:Times", f"{package}:twice"]
    assert said["o"]["custom_objects"] == "../models/layers.py"
    assert predicted(ks.Graph.from_yaml("again.yaml")).tolist() == [[27, 27]]


def test_what_is_given_in_memory_has_to_be_given_again(tmp_path):
    made = read(write_layers(tmp_path / "layers.py"), "it").objects
    write_model(tmp_path / "m.keras", [made["Times"]()])
    graph = ks.Graph("g").add("m", tmp_path / "m.keras", custom_objects={"Times": made["Times"]})
    text = graph.share("n", of="m").to_yaml(tmp_path / "stitch.yaml").read_text()
    assert text.splitlines()[0] == (
        "# Given in memory, so to give again, Graph.from_yaml(..., custom_objects=...): 'Times' of m"
    )
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml", custom_objects={"Times": made["Times"]})
    assert again.spec.submodel("m") == graph.spec.submodel("m")


def test_the_command_line(tmp_path, monkeypatch, capsys):
    file = write_layers(tmp_path / "layers.py")
    write_model(tmp_path / "m.keras", [read(file, "it").objects["Times"](name="times")])
    (tmp_path / "stitch.yaml").write_text("models: {m: m.keras}\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", "m.keras", "--custom-objects", "layers.py"]) == 0
    assert "times   Times" in capsys.readouterr().out
    assert cli.main(["plan", "stitch.yaml", "--custom-objects", "layers.py"]) == 0
    assert cli.main(["inspect", "m.keras"]) == 2
    assert "Times" in capsys.readouterr().err


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "x = 1\n",
            "custom_objects= of submodel 'm': 'own.py' has no OBJECTS.\n"
            '  Expected: OBJECTS = {"Name": Name}, classes and functions by name',
        ),
        (
            "OBJECTS = [1]\n",
            "custom_objects= of submodel 'm': OBJECTS of 'own.py' is not a dict.\n"
            '  Expected: OBJECTS = {"Name": Name}, classes and functions by name\n'
            "  Received: [1]",
        ),
        (
            'OBJECTS = {"a": 1}\n',
            "custom_objects= of submodel 'm': OBJECTS of 'own.py': 'a' is neither a class nor a function.\n"
            "  Expected: a class such as a keras.Layer, or a function\n"
            "  Received: 1",
        ),
        (
            "OBJECTS = {1: print}\n",
            "custom_objects= of submodel 'm': OBJECTS of 'own.py': 1 is not a name.\n  Expected: text",
        ),
        (
            "import helper\n",
            "custom_objects= of submodel 'm': 'own.py' cannot be loaded.\n"
            "  Received: ModuleNotFoundError: No module named 'helper'\n"
            "  Fix: Put both into one file: it is loaded alone, as Kipoi loads it.",
        ),
        (
            "1 / 0\n",
            "custom_objects= of submodel 'm': 'own.py' cannot be loaded.\n"
            "  Received: ZeroDivisionError: division by zero",
        ),
        ("def\n", "custom_objects= of submodel 'm': 'own.py' cannot be loaded.\n  Received: SyntaxError: "),
    ],
)
def test_files_that_are_none(tmp_path, monkeypatch, content, text):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(content)
    Path("helper.py").write_text("")
    with pytest.raises(ks.StitchError) as error:
        ks.Graph("g").add("m", keras.layers.Dense(1), custom_objects="own.py")
    assert str(error.value) == text or (text.endswith(": ") and str(error.value).startswith(text))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            "layesr.py",
            "it: there is no file 'layesr.py'.\n  Expected: 'layers.py' or 'folder.py', the nearest names",
        ),
        (
            Path("gone/layers.py"),
            "it: there is no file 'gone/layers.py'.\n"
            '  Expected: a Python file with OBJECTS = {"Name": Name}, classes and functions by name',
        ),
        (Path("layers"), "it: 'layers' is not a Python file.\n  Expected: a name that ends in .py"),
        (Path("folder.py"), "it: 'folder.py' cannot be read: Is a directory."),
        (
            "layers",
            "it: the module 'layers' cannot be imported.\n"
            "  Received: ModuleNotFoundError: No module named 'layers'\n"
            "  Fix: Give the file: custom_objects='layers.py'.",
        ),
        (
            "no_such_package.layers",
            "it: the module 'no_such_package.layers' cannot be imported.\n"
            "  Received: ModuleNotFoundError: No module named 'no_such_package'\n"
            "  Fix: Install its package.",
        ),
        (
            "keras.layers:Dens",
            "it: the module 'keras.layers' has no 'Dens'.\n  Expected: 'Dense', the nearest name",
        ),
        (
            "this is none",
            "it: 'this is none' is neither a Python file nor the name of a module.\n  Expected: a dict of classes and "
            "functions by name, the path of a Python file with a dict OBJECTS, the name of a module, "
            "'package.module:Name', or a list of those",
        ),
        (
            3,
            "it takes no int.\n  Expected: a dict of classes and functions by name, the path of a Python file "
            "with a dict OBJECTS, the name of a module, 'package.module:Name', or a list of those\n  Received: 3",
        ),
        (
            {"a": "layers.py"},
            "it: 'a' is neither a class nor a function.\n"
            "  Expected: a class such as a keras.Layer, or a function\n"
            "  Received: 'layers.py'",
        ),
        (
            "keras.version",
            "it: the module 'keras.version' cannot be imported.\n"
            "  Received: ModuleNotFoundError: No module named 'keras.version'\n"
            "  Fix: Install its package.",
        ),
        (
            "this",
            "it: the module 'this' has no custom objects.\n"
            '  Expected: classes or functions, or OBJECTS = {"Name": Name}, classes and functions by name',
        ),
        (
            ["layers.py", "other.py"],
            "it: two are called 'Times'.\n"
            "  Received: one of 'layers.py', one of 'other.py'\n"
            "  Fix: Name only the ones that the model needs, such as 'package.module:Name'.",
        ),
    ],
)
def test_what_names_nothing(tmp_path, monkeypatch, capsys, given, text):
    monkeypatch.chdir(tmp_path)
    write_layers(Path("layers.py"))
    write_layers(Path("other.py"), factor=5)
    Path("folder.py").mkdir()
    with pytest.raises(ks.StitchError) as error:
        read(given, "it")
    assert str(error.value) == text


def test_mistakes_in_a_stitch_yaml(tmp_path):
    (tmp_path / "stitch.yaml").write_text("models: {m: {source: m.h5, custom_objects: 3}}\n")
    with pytest.raises(ks.StitchError) as error:
        ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert "models.m.custom_objects: expected a name or a list of names, received 3" in str(error.value)
    (tmp_path / "stitch.yaml").write_text("models: {m: {source: m.h5, custom_objects: own.py}}\n")
    with pytest.raises(ks.StitchError) as error:
        ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert str(error.value).startswith(f"custom_objects of models.m: there is no file '{tmp_path}/own.py'.")
