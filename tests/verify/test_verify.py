"""The certificate: a stitched model is held against its parts, and whatever is wrong with it is found."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import warm_python
from backends import as_array, assert_allclose, only_on
from hypothesis import given, settings
from keras import layers
from reference import World
from strategies import Case, cases

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.graphs.slices import Span
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models import build as building
from keras_stitch.models import mask_passage, merge_layers, save_keras
from keras_stitch.verify import predict_program, reference, verify
from keras_stitch.verify.certificate import Certificate, Check
from keras_stitch.verify.submodel_sources import SubmodelSources


def dense(size: int, units: int, name: str = "x") -> keras.Model:
    return keras.Sequential([keras.Input((size,), name=name), layers.Dense(units, name="dense")], name="model")


def two_outputs() -> ks.Graph:
    graph = ks.Graph("composed").add("a", dense(3, 4)).add("b", dense(4, 2, "y"))
    graph.connect("a", "b").add_input("x", "a")
    return graph.add_output("first", "a[0:2]").add_output("second", "b")


def language(mask: bool = True) -> ks.Graph:
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding = keras.Model(tokens, layers.Embedding(20, 3, mask_zero=mask)(tokens))
    steps = keras.Input((5, 3), name="steps")
    return ks.chain(embedding, keras.Model(steps, layers.LSTM(2)(steps)), name="language")


def failing(certificate: Certificate) -> list[tuple[str, str]]:
    assert not certificate.passed
    return [(check.output, check.inputs) for check in certificate.checks if not check.passed]


# -- what passes ----------------------------------------------------------------------------------


@settings(max_examples=12)
@given(cases())
def test_every_graph_passes(case: Case) -> None:
    """Merges, parts, masks, shared submodels, inner outputs, layers with and without weights."""
    world = World(case)
    graph = world.graph()
    data = world.data()
    certificate = graph.verify(data)
    assert certificate.passed, certificate
    assert [check.inputs for check in certificate.checks].count("given") == len(graph._check()[0].outputs)
    # The oracle of the tests, which knows neither wiring nor specs, agrees with the reference.
    model = graph.build()
    sources = SubmodelSources(graph._assembly()._blueprints)
    own = reference.Reference(graph.spec, graph._check()[0], sources, [model]).predict(data)
    for name, value in world.expected(data, model).items():
        assert_allclose(own[name], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max(initial=0)))


@pytest.mark.fresh_process
def test_the_certificate(tmp_path: Path) -> None:
    files = {}
    for name, size, units in (("a", 3, 4), ("b", 4, 2)):
        files[name] = tmp_path / f"{name}.keras"
        dense(size, units).save(files[name])
    graph = ks.Graph("chained").add("a", files["a"]).add("b", files["b"]).add("c", layers.Dense(1))
    graph.connect("a", "b").connect("b", "c")
    steps: list[str] = []
    certificate = graph.verify({"x": np.ones((4, 3))}, rows=6, seed=3, progress=steps.append)
    assert steps == [
        "checking the graph",
        "building the stitched model",
        "saving it",
        "loading it again in a fresh process",
        *[f"running '{name}' by itself" for _ in range(2) for name in "abc"],
        "running the stitched model",
        "loading it again in a fresh process",
    ]
    assert certificate.passed and certificate.reloaded_in == "a fresh process" and certificate.notes == ()
    assert [(check.output, check.inputs, check.rows) for check in certificate.checks] == [
        ("c", "random", 6),
        ("c", "given", 4),
    ]
    sha256 = [submodel.source.sha256 for submodel in graph.spec.submodels]
    assert [part.sha256 for part in certificate.parts] == sha256 == [*sha256[:2], None]
    assert [part.weights for part in certificate.parts] == ["of the source", "of the source", "new"]
    text = str(certificate)
    assert text.startswith("Certificate of graph 'chained': passed\n\noutput   inputs   rows   largest value")
    assert f"\na          a.keras   {sha256[0]}   of the source\n" in text
    assert "Random inputs of seed 3: x (3,) float32 normal.\n" in text
    assert str(tmp_path) not in certificate.to_json()
    assert json.loads(certificate.to_json()) == certificate.to_dict()
    assert certificate.to_dict()["passed"] is True
    assert graph.verify({"x": np.ones((4, 3))}, rows=6, seed=3, progress=steps.append).to_json().splitlines()[1:9] != []


def test_the_same_seed_gives_the_same_certificate() -> None:
    graph = two_outputs()
    first, again, other = (graph.verify(seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.checks != other.checks


@pytest.mark.filterwarnings("ignore:Layer 'model2' .* was passed an input with a mask")
def test_a_mask_that_crosses_a_border_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert language().verify().passed
    monkeypatch.setattr(mask_passage, "makes_mask", lambda layer: False)
    assert failing(language().verify()) == [("model2", "random")]
    assert language(mask=False).verify().passed


def test_whole_numbers_stay_below_what_an_embedding_knows() -> None:
    certificate = language().verify(rows=50)
    assert [(item.name, item.shape, item.dtype, item.values) for item in certificate.inputs] == [
        ("tokens", (5,), "int32", "0 to 19")
    ]
    assert "Random inputs of seed 0: tokens (5,) int32 0 to 19." in str(certificate)
    # As Keras 2 saved them: tokens that are floats.
    tokens = keras.Input((5,), name="tokens")
    floats = ks.chain(keras.Model(tokens, layers.Embedding(9, 3)(tokens)), layers.Flatten())
    assert floats.verify().inputs[0].values == "0 to 8"


def text(split: bool = False) -> ks.Graph:
    """Words to numbers, by a lookup that knows no others."""
    words = keras.Input((4,) if not split else (), dtype="string", name="words")
    if split:
        numbers = layers.TextVectorization(vocabulary=list("acgt"), split="character", output_sequence_length=6)(words)
    else:
        numbers = layers.StringLookup(vocabulary=["a", "b", "c"], num_oov_indices=0)(words)
    return ks.Graph("text").add("m", keras.Model(words, layers.Dense(2)(layers.Embedding(9, 3)(numbers))))


@pytest.mark.parametrize("split", [False, True])
@only_on("tensorflow", why="other backends have no text")
def test_text_is_drawn_from_what_a_lookup_knows(split: bool) -> None:
    certificate = text(split).verify()
    assert certificate.passed
    (drawn,) = certificate.inputs
    assert drawn.values == ("8 texts" if split else "3 texts") and drawn.dtype == "string"
    words = np.array(["acg", "t"] if split else [["a", "b", "c", "a"], ["b"] * 4], dtype="O")
    given = text(split).verify({"words": words}, format="h5")
    assert given.passed and {check.inputs for check in given.checks} == {"random", "given"}


def test_an_output_of_bfloat16() -> None:
    x = keras.Input((3,), name="x")
    graph = ks.Graph("half").add("m", keras.Model(x, layers.Dense(2, dtype="bfloat16")(x)))
    assert graph.verify().passed


def test_open_dimensions_get_a_length_that_works() -> None:
    sequence = keras.Input((None, 4), name="sequence")
    graph = ks.chain(keras.Model(sequence, layers.Conv1D(2, 11)(sequence)), layers.GlobalMaxPooling1D())
    certificate = graph.verify()
    assert certificate.passed and certificate.inputs[0].shape == (16, 4)
    certificate = graph.verify([np.ones((2, 13, 4))])
    assert [item.shape for item in certificate.inputs] == [(13, 4), (13, 4)]


@pytest.mark.parametrize("format", ["keras", "h5"])
def test_formats(format: str) -> None:
    certificate = two_outputs().verify(format=format)
    assert certificate.passed and certificate.format == format
    assert f"Saved as .{format} and loaded again" in str(certificate)


# -- trained models -------------------------------------------------------------------------------


def trained(graph: ks.Graph) -> keras.Model:
    model = graph.build()
    model.compile("sgd", "mse")
    model.fit({"x": np.ones((4, 3))}, {"first": np.ones((4, 2)), "second": np.ones((4, 2))}, verbose=0)
    return model


def test_a_trained_model_lends_its_weights_and_the_certificate_says_so() -> None:
    graph = two_outputs().freeze("a")
    certificate = graph.verify(model=trained(graph))
    assert certificate.passed and certificate.trained
    assert {part.submodel: part.weights for part in certificate.parts} == {"a": "of the source", "b": "trained"}
    assert "for these, the wiring was compared, not the source." in str(certificate)
    assert not graph.verify(model=graph.build()).trained


def test_a_model_of_another_graph_is_refused() -> None:
    with pytest.raises(SaveError, match="model= is not a model of graph 'composed': its inputs differ"):
        two_outputs().verify(model=language().build())


# -- what is wrong --------------------------------------------------------------------------------


def tampered(model: keras.Model, layer: str) -> keras.Model:
    """The model with other weights in one of its layers."""
    kernel, bias = model.get_layer(layer).get_weights()
    model.get_layer(layer).set_weights([kernel, bias + 5])
    return model


@pytest.mark.parametrize(("layer", "outputs"), [("a", ["first", "second"]), ("b", ["second"])])
def test_other_weights_are_found(monkeypatch: pytest.MonkeyPatch, layer: str, outputs: list[str]) -> None:
    build = building.build
    monkeypatch.setattr(building, "build", lambda *args: tampered(build(*args), layer))
    certificate = two_outputs().verify({"x": np.ones((2, 3))})
    assert failing(certificate) == [(output, kind) for kind in ("random", "given") for output in outputs]
    assert all(check.before == pytest.approx(check.after) for check in certificate.checks)
    assert "differs" in str(certificate) and str(certificate).startswith("Certificate of graph 'composed': FAILED\n")


def test_a_difference_below_the_tolerance_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    build = building.build

    def moved(amount: float) -> Certificate:
        def changed(*args: Any) -> keras.Model:
            model = build(*args)
            kernel, bias = model.get_layer("b").get_weights()
            model.get_layer("b").set_weights([kernel, bias + amount])
            return model

        monkeypatch.setattr(building, "build", changed)
        return two_outputs().verify()

    assert moved(3e-6).passed
    assert failing(moved(1e-3)) == [("second", "random")]


@pytest.mark.parametrize("output", ["first", "second"])
def test_a_file_that_holds_something_else_is_found(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    save = save_keras.save_model

    def other(model: keras.Model, path: Path) -> Path:
        copied = keras.models.clone_model(model)
        copied.set_weights(model.get_weights())
        if output == "second":
            return save(tampered(copied, "b"), path)
        wrong = layers.Rescaling(2.0)(copied.output["first"])
        return save(keras.Model(copied.inputs, {"first": wrong, "second": copied.output["second"]}), path)

    monkeypatch.setattr(verify, "save_model", other)
    certificate = two_outputs().verify()
    assert failing(certificate) == [(output, "random")]
    assert all(check.before == 0 for check in certificate.checks)


@pytest.mark.parametrize(
    "merge", ["concatenate", "add", "average", "maximum", "minimum", "multiply", "subtract", "abs_difference"]
)
def test_a_wrong_merge_is_found(monkeypatch: pytest.MonkeyPatch, merge: str) -> None:
    def graph() -> ks.Graph:
        made = ks.Graph().add("a", dense(3, 4)).add("b", dense(3, 4, "y"))
        made.add("c", dense(8 if merge == "concatenate" else 4, 2, "z"))
        return made.connect(["a", "b"], "c", merge=merge)

    assert graph().verify().passed
    right = merge_layers.merge

    def wrong(feed: Any, tensors: Any, names: Any, base: str) -> Any:
        made = right(
            feed, tensors[::-1] if merge in ("concatenate", "subtract") else [tensors[0], tensors[0]], names, base
        )
        return made

    monkeypatch.setattr(merge_layers, "merge", wrong)
    assert failing(graph().verify()) == [("c", "random")]


def test_a_wrong_part_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = merge_layers.take_part

    def shifted(tensor: Any, part: tuple[Span, ...], *rest: Any) -> Any:
        return right(tensor, [Span(span.start + 1, span.stop + 1) for span in part], *rest)

    monkeypatch.setattr(merge_layers, "take_part", shifted)
    assert failing(two_outputs().verify()) == [("first", "random")]


def test_swapped_inputs_of_a_shared_submodel_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def graph() -> ks.Graph:
        made = ks.Graph().add("left", dense(3, 2)).share("right", of="left")
        made.add_input("one", "left").add_input("two", "right")
        return made.add_output("first", "left").add_output("second", "right")

    certificate = graph().verify()
    assert certificate.passed
    assert [part.source for part in certificate.parts] == ["Sequential 'model'", "shares left"]
    wire = building.build
    monkeypatch.setattr(
        building,
        "build",
        lambda spec, wiring, *rest: wire(spec, dataclasses.replace(wiring, outputs=_swapped(wiring.outputs)), *rest),
    )
    assert failing(graph().verify()) == [("first", "random"), ("second", "random")]


def _swapped(outputs: tuple) -> tuple:
    first, second = outputs
    return dataclasses.replace(first, tap=second.tap), dataclasses.replace(second, tap=first.tap)


def test_nan_everywhere_certifies_nothing() -> None:
    x = keras.Input((2,), name="x")
    graph = ks.Graph("logs").add("log", keras.Model(x, keras.ops.log(x - 100.0)))
    certificate = graph.verify()
    assert not certificate.passed and certificate.unsaid == ("log",)
    assert "Not one finite number to compare in: log." in str(certificate)
    # Where another kind of input has numbers, NaN in the same places is as good as equal.
    certificate = graph.verify({"x": np.full((3, 2), 200.0)})
    assert certificate.passed
    assert [check.verdict for check in certificate.checks] == ["nothing finite", "equal"]
    with pytest.raises(SaveError) as error:
        graph.verify().require()
    assert str(error.value) == (
        "The output 'log' of graph 'logs' has not one finite number to compare.\n"
        "  Received: NaN or infinity, or nothing, for all inputs\n"
        "  Fix: Give inputs on which it is finite: examples= of save, data= of verify."
    )


def test_infinity_in_other_places_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    predict = predict_program.predict

    def wrong(model: keras.Model, inputs: list) -> dict:
        found = predict(model, inputs)
        found["second"][0, 0] = np.inf
        return found

    monkeypatch.setattr(verify, "predict", wrong)
    certificate = two_outputs().verify()
    assert failing(certificate) == [("second", "random")]
    assert certificate.checks[1].problems == ("before saving: infinity in other places",)
    assert json.loads(certificate.to_json())["checks"][1]["before"] is None


def test_random_inputs_that_the_parts_refuse_are_left_out() -> None:
    @keras.saving.register_keras_serializable("tests")
    class Positive(layers.Layer):
        def call(self, x: Any) -> Any:
            try:
                least = as_array(x).min()
            except Exception:  # of every backend another, while Keras asks for shapes: there are no numbers yet
                return x
            if least < 0:
                raise ValueError("a negative number")
            return x

    graph = ks.Graph("g").add("head", Positive()).add_input("x", "head", shape=(3,))
    certificate = graph.verify({"x": np.ones((2, 3))})
    assert certificate.passed and [check.inputs for check in certificate.checks] == ["given"]
    assert certificate.notes[0].startswith(
        "No random inputs: Submodel 'head', run by itself, cannot take (10, 3) float32"
    )
    with pytest.raises(StitchError, match=r"Nothing can be compared on random inputs\. Submodel 'head'") as error:
        graph.verify()
    assert "Fix: Pass data= that the submodels take." in str(error.value)


@pytest.mark.slow
@pytest.mark.fresh_process
def test_custom_objects_of_this_process_are_loaded_here(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("tests")
    class Twice(layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    graph = ks.Graph("g").add("a", keras.Sequential([keras.Input((3,), name="x"), Twice()]))
    certificate = graph.verify()
    assert certificate.passed and certificate.reloaded_in == "this process"
    assert certificate.notes == ("A fresh process cannot import the custom object 'tests>Twice'.",)
    assert "loaded again in this process.\n" in str(certificate)


OBJECTS = """
import keras


@keras.saving.register_keras_serializable("own")
class Thrice(keras.layers.Layer):
    def call(self, x):
        return 3 * x


OBJECTS = {"Thrice": Thrice}
"""


@pytest.mark.slow
@pytest.mark.fresh_process
def test_custom_objects_of_a_file_are_loaded_in_the_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "thrice.py").write_text(OBJECTS)
    save = (
        "import keras, runpy; Thrice = runpy.run_path('thrice.py')['Thrice']\n"
        "keras.Sequential([keras.Input((3,), name='x'), Thrice(), keras.layers.Dense(2)]).save('m.keras')"
    )
    assert warm_python.run([sys.executable, "-c", save], tmp_path).returncode == 0
    graph = ks.Graph("g").add("a", tmp_path / "m.keras", custom_objects=str(tmp_path / "thrice.py"))
    certificate = graph.verify()
    assert certificate.passed and certificate.reloaded_in == "a fresh process", certificate
    ((name, sha256),) = certificate.parts[0].beside
    assert name == "thrice.py" and len(sha256) == 64 and f"\n           thrice.py   {sha256}\n" in str(certificate)
    directory = graph.save(tmp_path / "made")
    said = json.loads((directory / "certificate.json").read_text())
    assert said["passed"] and said["reloaded_in"] == "a fresh process"
    assert f"  - thrice.py: sha256 {sha256}\n" in (directory / "README.md").read_text()


# -- inputs that are given ------------------------------------------------------------------------

DATA = {"tokens": np.ones((2, 5), "int32")}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"token": DATA["tokens"]}, "data= names 'token', which is no input.\n  Expected: 'tokens', the nearest name"),
        ({}, "data= lacks the input 'tokens'.\n  Expected: tokens\n  Received: nothing"),
        (
            np.ones((2, 5)),
            "data= is not one array for each input.\n  Expected: a dict by input, or a list of 1: tokens\n"
            "  Received: ndarray",
        ),
        (
            [1, 2],
            "data= is not one array for each input.\n  Expected: a dict by input, or a list of 1: tokens\n"
            "  Received: a list of 2",
        ),
        (
            [np.ones((2, 4), "int32")],
            "data['tokens'] does not fit 'tokens' (5,) int32.\n  Expected: shape (None, 5), rows first\n"
            "  Received: shape (2, 4)",
        ),
        (
            [np.ones((2, 5))],
            "data['tokens'] does not fit 'tokens' (5,) int32.\n  Expected: dtype int32\n  Received: dtype float64\n"
            '  Fix: Convert it: array.astype("int32").',
        ),
        (
            [[["a"] * 5]],
            "data['tokens'] does not fit 'tokens' (5,) int32.\n  Expected: dtype int32\n  Received: dtype <U1",
        ),
        ([[[1] * 5, [1]]], "data['tokens'] is no array."),
        (
            [np.ones((0, 5), "int32")],
            "data= has no rows.\n  Expected: one number of rows, at least 1\n  Received: tokens: 0",
        ),
    ],
)
def test_data_that_does_not_fit(data: Any, text: str) -> None:
    with pytest.raises(StitchError) as error:
        language().verify(data)
    assert str(error.value).startswith(text)
    assert str(error.value) == text or text.endswith("is no array.")


def test_rows_that_differ() -> None:
    graph = two_outputs().add("c", dense(3, 1, "other")).add_output("third", "c")
    with pytest.raises(StitchError) as error:
        graph.verify({"x": np.ones((2, 3)), "other": np.ones((3, 3))})
    assert str(error.value) == (
        "data= does not have the same rows for every input.\n  Expected: one number of rows, at least 1\n"
        "  Received: x: 2, other: 3"
    )


@pytest.mark.parametrize("options", [{"rows": 0}, {"rows": 2.5}, {"rows": True}, {"seed": -1}])
def test_numbers_that_are_none(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(StitchError, match=f"^{name}= is not a whole number"):
        two_outputs().verify(**options)


# -- directories ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fresh_process
@pytest.mark.parametrize("format", ["keras", "h5"])
def test_a_directory_has_its_certificate(tmp_path: Path, format: str) -> None:
    directory = two_outputs().save(tmp_path / "made", format=format)
    said = json.loads((directory / "certificate.json").read_text())
    assert said["passed"] is True and said["format"] == format and said["reloaded_in"] == "a fresh process"
    assert [(check["output"], check["inputs"], check["rows"]) for check in said["checks"]] == [
        (output, kind, 10) for kind in ("random", "example") for output in ("first", "second")
    ]
    assert str(tmp_path) not in (directory / "certificate.json").read_text()
    card = (directory / "README.md").read_text()
    assert "\n## Certificate\n" in card and "\n| second | example | 10 | " in card
    two_outputs().save(directory, overwrite=True)


@pytest.mark.parametrize("output", ["first", "second"])
def test_save_refuses_what_its_parts_do_not_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    if output == "second":
        build = building.build
        monkeypatch.setattr(building, "build", lambda *args: tampered(build(*args), "b"))
    else:
        right = merge_layers.take_part
        monkeypatch.setattr(merge_layers, "take_part", lambda t, part, *rest: right(t, part and [Span(1, 3)], *rest))
    with pytest.raises(SaveError) as error:
        two_outputs().save(tmp_path / "made")
    assert str(error.value).startswith(
        "The stitched model of graph 'composed' does not predict what its parts do: the output "
        f"'{output}' differs on random inputs.\n  Expected: a difference of at most "
    )
    if output == "second":
        assert "  Received: 5 before saving, 5 after loading again\n" in str(error.value)
    assert not any(tmp_path.iterdir())


def test_a_trained_directory_says_whose_weights_it_has(tmp_path: Path) -> None:
    graph = two_outputs().freeze("a")
    directory = graph.save(tmp_path / "made", model=trained(graph))
    said = json.loads((directory / "certificate.json").read_text())
    assert [part["weights"] for part in said["parts"]] == ["of the source", "trained"]
    assert "\n- b: weights trained\n" in (directory / "README.md").read_text()


# -- the command line -----------------------------------------------------------------------------

SPEC = "name: composed\nmodels: {a: a.h5, b: b.keras}\nconnections: {b: a}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with quiet_keras():
        dense(3, 4).save("a.h5")
        dense(4, 2, "y").save("b.keras")
    (tmp_path / "stitch.yaml").write_text(SPEC)
    np.savez(tmp_path / "data.npz", x=np.ones((4, 3)))
    return tmp_path


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "stitch.yaml", "--rows", "5", "--seed", "2", "--data", "data.npz"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Certificate of graph 'composed': passed\n")
    assert [line.split()[:3] for line in said.splitlines()[4:6]] == [["b", "random", "5"], ["b", "given", "4"]]
    assert "Random inputs of seed 2" in said


@pytest.mark.slow
@pytest.mark.fresh_process
def test_the_program_itself(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keras_stitch", "verify", "stitch.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "by Keras alone, in a fresh process." in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_a_difference_is_status_1(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = building.build
    monkeypatch.setattr(building, "build", lambda *args: tampered(build(*args), "b"))
    assert cli.main(["verify", "stitch.yaml"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("Certificate of graph 'composed': FAILED\n") and "differs" in said.out
    assert said.err == ""


def test_mistakes_are_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("one.npy", np.ones((4, 3)))
    for arguments, text in (
        (["--data", "no.npz"], "The data 'no.npz' cannot be read: No such file or directory."),
        (["--data", "a.h5"], "The data 'a.h5' is no NPZ file.\n  Expected: what numpy.savez(file, input=array, ...)"),
        (["--data", "one.npy"], "The data 'one.npy' is no NPZ file."),
        (["--rows", "0"], "rows= is not a whole number, or too small.\n  Expected: 1 or more\n  Received: 0"),
    ):
        assert cli.main(["verify", "stitch.yaml", *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.startswith(f"keras-stitch: {text}")


def test_the_record_of_a_directory_has_no_sources(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = ks.Graph.from_yaml("stitch.yaml").save("made")
    for path, received in ((directory, ""), (directory / "stitch.yaml", "  Received: There is no file")):
        assert cli.main(["verify", str(path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(
            "keras-stitch: 'made' is a generated directory: its stitch.yaml records what was stitched, and the "
            f"sources are not in it.\n{received}"
        )
        assert said.endswith(
            "  Fix: Verify the stitch.yaml beside the sources. For the directory: cd made && kipoi test . What was "
            "compared when it was written is in its certificate.json.\n"
        )


# -- the data -------------------------------------------------------------------------------------


def test_a_check_that_fails_is_named_first() -> None:
    good = Check("score", "random", 10, 2.0, 0.0, 1e-6, 10)
    bad = dataclasses.replace(good, output="other", after=1.0)
    assert good.passed and not bad.passed and bad.verdict == "differs"
    Certificate("g", (good,)).require()
    with pytest.raises(SaveError) as error:
        Certificate("g", (good, bad)).require()
    assert str(error.value) == (
        "The stitched model of graph 'g' does not predict what its parts do: the output 'other' differs on random "
        "inputs.\n  Expected: a difference of at most 2e-05\n  Received: 0 before saving, 1 after loading again\n"
        "  Fix: Nothing was written. graph.verify() shows every output."
    )
    assert not Certificate("g", ()).passed
