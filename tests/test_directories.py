"""Directories that ``Graph.save`` writes, run by Kipoi in this process: every output, every kind of graph."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import yaml
from keras import layers
from kipoi_runner import in_process, read_h5

import keras_stitch as ks
from keras_stitch.demo.demo_data import LENGTH, write_data
from keras_stitch.errors import SaveError


def dense(size: int, units: int, name: str = "x") -> keras.Model:
    return keras.Sequential([keras.Input((size,), name=name), layers.Dense(units, name="dense")], name="model")


def seed_graph() -> ks.Graph:
    """The graph of Kipoi's notebook on composing models."""
    graph = ks.Graph("composed")
    graph.add("model1", dense(3, 4, "input1")).add("model2", dense(7, 3, "input1_model1"))
    graph.add("model3", dense(6, 4, "input2")).add("model4", dense(7, 1, "model2_model3"))
    graph.connect_by_name()
    return graph


def two_outputs() -> ks.Graph:
    return seed_graph().add_output("score", "model4").add_output("first", "model1[0:2]")


def open_length() -> ks.Graph:
    inputs = keras.Input((None, 4), name="sequence")
    model = keras.Model(inputs, layers.Conv1D(2, 3, padding="same")(inputs))
    return ks.chain(model, layers.GlobalMaxPooling1D())


def integers() -> ks.Graph:
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding = keras.Model(tokens, layers.Embedding(20, 3, mask_zero=True)(tokens))
    inputs = keras.Input((5, 3), name="steps")
    return ks.chain(embedding, keras.Model(inputs, layers.LSTM(2)(inputs)), name="language")


def ensemble() -> ks.Graph:
    return ks.ensemble(*(dense(3, 2) for _ in range(3)))


def siamese() -> ks.Graph:
    return ks.siamese(dense(3, 2))


GRAPHS = [seed_graph, two_outputs, open_length, integers, ensemble, siamese]


def expected_predictions(directory, model: keras.Model) -> dict[str, np.ndarray]:
    """What the model in memory predicts for the inputs stored with the expected predictions."""
    stored = read_h5(directory / "model_files" / "expected.h5")
    inputs = {tensor.name: stored[f"inputs/{tensor.name}"] for tensor in model.inputs}
    found = model(inputs)
    return found if isinstance(found, dict) else {"": found}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        want = np.asarray(array)
        assert found[name].shape == want.shape
        assert np.abs(found[name] - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("format", ["keras", "h5"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_kipoi_predicts_what_keras_does(tmp_path, make, format):
    graph = make()
    model = graph.build()
    if format == "h5" and make is integers:
        # LSTM after Embedding(mask_zero) in one file would need Keras operations; apart, they need none.
        assert graph.save(tmp_path / "made", model=model, format="h5").is_dir()
        return
    directory = graph.save(tmp_path / "made", model=model, format=format)
    assert_equal(in_process(directory), expected_predictions(directory, model))


def test_text_from_tables(tmp_path):
    words = keras.Input((2,), dtype="string", name="words")
    known = layers.StringLookup(vocabulary=["a", "b"])(words)
    graph = ks.Graph("text").add("m", keras.Model(words, layers.Dense(2)(layers.Embedding(5, 3)(known))))
    model = graph.build()
    (tmp_path / "words.tsv").write_text("id\tx1\tx2\np\ta\tb\nq\tb\tunheard of\n")
    for number, loaders in enumerate(({}, {"words": tmp_path / "words.tsv"})):  # without a table, an example is made
        directory = graph.save(tmp_path / str(number), model=model, format="h5", dataloaders=loaders)
        found = in_process(directory)
        assert_equal(found, expected_predictions(directory, model))
    assert_equal(found, {"": model([np.array([["a", "b"], ["b", "unheard of"]])])})


# kipoiseq would read the names in the BED file as targets.
SEQUENCES = {"auto_resize_len": LENGTH, "label_dtype": "str", "ignore_targets": True}


@pytest.mark.slow
def test_text_from_sequences(tmp_path):
    """kipoiseq's strings, into a model that splits them into letters."""
    data = write_data(tmp_path)
    sequence = keras.Input((), dtype="string", name="sequence")
    letters = layers.TextVectorization(vocabulary=list("acgt"), split="character", output_sequence_length=LENGTH)
    graph = ks.Graph("text").add(
        "m", keras.Model(sequence, layers.Dense(2)(layers.Flatten()(layers.Embedding(6, 3)(letters(sequence)))))
    )
    model = graph.build()
    loader = ks.Dataloader("kipoiseq.dataloaders.StringSeqIntervalDl", args=SEQUENCES)
    examples = {"intervals_file": str(data.intervals), "fasta_file": str(data.genome)}
    directory = graph.save(tmp_path / "made", model=model, dataloaders={"sequence": loader}, examples=examples)
    assert_equal(in_process(directory, workers=2), expected_predictions(directory, model))


def test_outputs_of_bfloat16(tmp_path):
    x = keras.Input((3,), name="x")
    half, whole = layers.Dense(2, dtype="bfloat16", name="half")(x), layers.Dense(1, name="whole")(x)
    graph = ks.Graph("halves").add("m", keras.Model(x, [half, whole]))
    model = graph.build()
    directory = graph.save(tmp_path / "made", model=model)
    found = in_process(directory)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    expected = {
        name: np.asarray(array).astype("float32") for name, array in expected_predictions(directory, model).items()
    }
    assert_equal(found, expected)


def test_trained_weights_are_saved(tmp_path):
    graph = seed_graph().freeze("model1", "model3")
    model = graph.build()
    frozen = model.get_layer("model1").get_weights()
    model.compile(optimizer="adam", loss="mse")
    rng = np.random.default_rng(0)
    model.fit({"input1": rng.random((8, 3)), "input2": rng.random((8, 6))}, rng.random((8, 1)), verbose=0)
    directory = graph.save(tmp_path / "trained", model=model)
    loaded = keras.saving.load_model(directory / "model_files" / "model.keras")
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(frozen, loaded.get_layer("model1").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    trains = {layer.name: len(layer.trainable_weights) for layer in loaded.layers if layer.weights}
    assert trains == {"model1": 0, "model2": 2, "model3": 0, "model4": 2}
    assert_equal(in_process(directory), expected_predictions(directory, model))


def test_a_model_of_another_graph_is_refused(tmp_path):
    with pytest.raises(SaveError) as error:
        seed_graph().save(tmp_path / "made", model=ensemble().build())
    assert "model= is not a model of graph 'composed': its inputs differ." in str(error.value)
    assert "graph.build()" in str(error.value)
    assert not any(tmp_path.iterdir())


def test_a_generated_directory_brings_its_dataloader_along(tmp_path):
    """A directory as a source: its model is a submodel, its dataloader makes the submodel's inputs."""
    data = write_data(tmp_path)
    first = ks.Graph("first").add("pool", layers.GlobalAveragePooling1D())
    first.add_input("sequence", "pool", shape=(LENGTH, 4)).add("head", dense(4, 3)).connect("pool", "head")
    loader = ks.Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args=SEQUENCES)
    examples = {"intervals_file": str(data.intervals), "fasta_file": str(data.genome)}
    zoo = first.save(tmp_path / "first", dataloaders={"sequence": loader}, examples=examples)

    second = ks.Graph("second").add("part", zoo).add("model3", dense(6, 2, "input2")).add("top", dense(5, 1))
    second.connect(["part", "model3"], "top")
    outer = second.save(
        tmp_path / "second",
        dataloaders={"input2": ks.Dataloader(data.loader, outputs={"measurements": "input2"})},
        examples={"measurements_file": str(data.measurements)},
    )
    # Both in one process, and the inner one again after the outer one.
    assert_equal(in_process(outer, workers=2), expected_predictions(outer, second.build()))
    assert_equal(in_process(zoo), expected_predictions(zoo, first.build()))
    stored = read_h5(outer / "model_files" / "expected.h5")
    assert stored["inputs/sequence"].shape == (64, LENGTH, 4)
    record = yaml.safe_load((outer / "stitch.yaml").read_text())
    assert set(record["models"]["part"]) == {"source", "sha256"}


def test_no_path_of_this_machine_is_in_a_directory(tmp_path):
    directory = seed_graph().save(tmp_path / "made")
    for path in directory.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_the_record_says_what_was_stitched(tmp_path):
    files = {}
    for name, size, units in (("model1", 3, 4), ("model2", 4, 1)):
        files[name] = tmp_path / f"{name}.keras"
        dense(size, units).save(files[name])
    graph = ks.Graph("chained")
    for name, path in files.items():
        graph.add(name, path)
    graph.connect("model1", "model2").freeze("model1")
    directory = graph.save(tmp_path / "made")
    record = yaml.safe_load((directory / "stitch.yaml").read_text())
    sha256 = {submodel.name: submodel.source.sha256 for submodel in graph.spec.submodels}
    assert record == {
        "name": "chained",
        "models": {name: {"source": f"{name}.keras", "sha256": sha256[name]} for name in files},
        "connections": {"model2": "model1"},
        "freeze": ["model1"],
    }
    # Beside the same files, the record builds the same graph.
    again = tmp_path / "stitch.yaml"
    again.write_text((directory / "stitch.yaml").read_text())
    inputs = np.random.default_rng(0).random((4, 3))
    np.testing.assert_array_equal(ks.Graph.from_yaml(again).build()([inputs]), graph.build()([inputs]))


def test_a_source_is_not_replaced_by_what_is_made_of_it(tmp_path):
    first = ks.chain(dense(3, 4), name="first").save(tmp_path / "first")
    weights = first / "model_files" / "model.keras"
    for source in (first, weights):
        graph = ks.Graph("second").add("part", source)
        with pytest.raises(SaveError) as error:
            graph.save(first, overwrite=True)
        assert str(error.value) == (
            f"'{first}' cannot be written: the source of submodel 'part', '{source}', lies in it.\n"
            "  Fix: Choose another place."
        )
    assert_equal(in_process(first), expected_predictions(first, keras.saving.load_model(weights)))


def test_sources_stay_the_same_files_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dense(3, 4).save("a.keras")
    graph = ks.Graph("moved").add("a", "a.keras")
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "short").symlink_to(tmp_path / "far" / "deep")
    monkeypatch.chdir(tmp_path / "far")
    inputs = np.random.default_rng(0).random((4, 3))
    expected = np.asarray(graph.build()([inputs]))
    for path in ("stitch.yaml", tmp_path / "short" / "stitch.yaml"):
        graph.to_yaml(path)
        np.testing.assert_array_equal(ks.Graph.from_yaml(path).build()([inputs]), expected)
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / "far" / "stitch.yaml").read_text().count("../a.keras") == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda graph: graph.save(3), "save(...) takes a path."),
        (lambda graph: graph.save("a\0b"), "save(...) takes a path."),
        (lambda graph: graph.plot(None), "plot(...) takes a path."),
        (lambda graph: graph.to_yaml(None), "to_yaml(...) takes a path."),
        (lambda graph: ks.Graph.from_yaml("a\0b"), "from_yaml(...) takes a path."),
        (lambda graph: graph.add("m", "a\0b"), "The source of submodel 'm' takes a path."),
        (lambda graph: graph.add("m", dense(3, 2), arch=3), "arch= of submodel 'm' takes a path."),
        (
            lambda graph: graph.add("m", dense(3, 2), trainable="no"),
            "trainable= of submodel 'm' is neither on nor off.",
        ),
        (lambda graph: graph.save("x", model=keras.Sequential()), "model= is not a model of graph 'composed'."),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ks.StitchError) as error:
        call(seed_graph())
    assert str(error.value).startswith(text)
    assert "Received: " in str(error.value)


def test_a_source_that_is_gone(tmp_path):
    path = tmp_path / "a.keras"
    dense(3, 4).save(path)
    graph = ks.Graph("gone").add("a", path)
    graph.build()
    path.unlink()
    with pytest.raises(ks.StitchError, match=r"a\.keras' cannot be read any more: No such file or directory\."):
        graph.build()
