"""``Graph.precompute``: the frozen part runs once, and training the rest is training the whole."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from backends import as_array, close, gradients
from hypothesis import event, given
from hypothesis import strategies as st
from keras import layers
from reference import World, by_name
from strategies import Case, cases
from test_training_data import Rows as KipoiRows
from toy_models import dense

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Port, Wiring
from keras_stitch.models.save_keras import save_model
from keras_stitch.training import frozen_part, precompute_frozen, user_data
from keras_stitch.training.row_folder import folder_of, rows_so_far

ROWS = 11
RNG = np.random.default_rng(0)


def mlp(*units: int, name: str = "x", **flags: bool) -> keras.Model:
    """Dense layers with batch normalization between; sizes first, ``dense_1=False`` freezes a layer."""
    x = keras.Input((units[0],), name=name)
    tensor = x
    for number, size in enumerate(units[1:], 1):
        tensor = dense(size, f"dense_{number}")(tensor)
        if number < len(units) - 1:
            tensor = layers.BatchNormalization(name=f"bn_{number}", momentum=0.5)(tensor)
    model = keras.Model(x, tensor)
    for layer, trains in flags.items():
        model.get_layer(layer).trainable = trains
    return model


def two_headed() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, [dense(3, "a")(x), dense(2, "b")(x)])


# -- graphs: what is frozen, and what crosses the cut ---------------------------------


def chain() -> ks.Graph:
    return ks.chain({"trunk": mlp(4, 5, 3), "head": mlp(3, 4, 1)}).freeze("trunk")


def two_trunks() -> ks.Graph:
    graph = (
        ks.Graph("g").add("left", mlp(4, 3, 3, name="l")).add("right", mlp(2, 3, name="r")).add("head", mlp(6, 2, 1))
    )
    return graph.connect(["left", "right"], "head").freeze("left", "right")


def trunk_and_input() -> ks.Graph:
    graph = ks.Graph("g").add("trunk", mlp(4, 3)).add("head", mlp(7, 3, 1))
    return graph.connect(["trunk", "trunk.x"], "head").freeze("trunk")


def siamese() -> ks.Graph:
    graph = ks.Graph("g").add("trunk", mlp(4, 3, name="one")).share("twin", "trunk").add("head", mlp(3, 1))
    graph.add_input("first", "trunk").add_input("second", "twin")
    return graph.connect(["trunk", "twin"], "head", merge="subtract").freeze("trunk")


def twin_behind() -> ks.Graph:
    """A frozen submodel, and the same once more behind one that trains."""
    graph = (
        ks.Graph("g").add("trunk", mlp(3, 3)).add("middle", mlp(3, 3)).share("again", "trunk").add("head", mlp(6, 1))
    )
    return (
        graph.connect("trunk", "middle").connect("middle", "again").connect(["trunk", "again"], "head").freeze("trunk")
    )


def several_outputs() -> ks.Graph:
    """One output is made by the frozen part alone, another has the name of a graph input."""
    graph = ks.Graph("g").add("trunk", two_headed()).add("head", mlp(3, 2, 1)).add("other", mlp(2, 2))
    graph.connect("trunk.a", "head").connect("trunk.b", "other").freeze("trunk")
    return graph.add_output("trunk", "trunk.a").add_output("head", "head").add_output("late", "other")


def by_layers() -> ks.Graph:
    graph = ks.chain({"trunk": mlp(4, 5, 3), "head": mlp(3, 4, 1)})
    return graph.freeze("trunk", layers="dense_*").freeze("trunk", layers="bn_*").freeze("head", layers="bn_1")


def partly() -> ks.Graph:
    graph = ks.chain({"trunk": mlp(4, 3), "middle": mlp(3, 5, 3, dense_1=False), "head": mlp(3, 1)})
    return graph.freeze("trunk", "head")


def parts() -> ks.Graph:
    graph = ks.Graph("g").add("trunk", mlp(4, 5)).add("head", mlp(3, 1)).add("scale", layers.Rescaling(2.0))
    return graph.connect("trunk", "scale").connect(["trunk[0]", "scale[1:3]"], "head").freeze("trunk")


def inner_port() -> ks.Graph:
    """What is merged for a frozen submodel crosses, and a frozen one takes what is merged for one that trains."""
    graph = ks.Graph("g").add("a", mlp(3, 2, name="i")).add("b", mlp(2, 2, name="j")).add("trunk", mlp(4, 2))
    graph.add("head", mlp(6, 1)).add("wide", mlp(6, 2)).add("last", mlp(3, 1)).freeze("a", "b", "trunk", "wide")
    graph.connect(["a", "b"], "trunk").connect(["trunk", "trunk.x"], "head").connect("head.x", "wide")
    return graph.connect(["wide", "head"], "last")


def plain_layers() -> ks.Graph:
    """Layers without weights go with what feeds them, dropout and what trains do not."""
    x = keras.Input((4, 2), name="x")
    trunk = keras.Model(x, layers.Conv1D(3, 2, name="conv", activation="tanh")(x))
    graph = ks.Graph("g").add("scale", layers.Rescaling(0.5)).add("trunk", trunk).add("flat", layers.Flatten())
    graph.add("drop", layers.Dropout(0.0)).add("aside", layers.Flatten()).add("head", layers.Dense(1))
    graph.add_input("x", ["scale", "aside"], shape=(4, 2))
    graph.connect("scale", "trunk").connect("trunk", "flat").connect("flat", "drop")
    return graph.connect(["drop", "aside"], "head").freeze("trunk")


GRAPHS: dict[Callable[[], ks.Graph], tuple[list[str], list[str]]] = {
    chain: (["trunk"], ["trunk"]),
    two_trunks: (["left", "right"], ["left", "right"]),
    trunk_and_input: (["trunk"], ["x", "trunk"]),
    siamese: (["trunk", "twin"], ["trunk", "twin"]),
    twin_behind: (["trunk"], ["trunk_features"]),
    several_outputs: (["trunk"], ["trunk_a", "trunk_b"]),
    by_layers: (["trunk"], ["trunk"]),
    partly: (["trunk"], ["trunk"]),
    parts: (["trunk", "scale"], ["trunk", "scale"]),
    inner_port: (["a", "b", "trunk", "wide"], ["a", "b", "trunk", "wide"]),
    plain_layers: (["scale", "trunk", "flat", "drop"], ["x", "drop"]),
}


def inputs_of(model: keras.Model, rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {one.name: rng.normal(0, 1, (rows, *one.shape[1:])).astype("float32") for one in model.inputs}


def targets_of(model: keras.Model, rows: int = ROWS) -> Any:
    rng = np.random.default_rng(rows + 1)
    outputs = model.output if isinstance(model.output, dict) else {"": model.output}
    made = {name: rng.normal(0, 1, (rows, *one.shape[1:])).astype("float32") for name, one in outputs.items()}
    return made if isinstance(model.output, dict) else made[""]


def train(model: keras.Model, batches: Any) -> None:
    loss = dict.fromkeys(model.output, "mse") if isinstance(model.output, dict) else "mse"
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    for batch in batches:
        model.train_on_batch(*batch)


def in_batches(inputs: dict, targets: Any, size: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, ROWS, size):
        rows = slice(start, start + size)
        some = {name: array[rows] for name, array in targets.items()} if isinstance(targets, dict) else targets[rows]
        yield {name: array[rows] for name, array in inputs.items()}, some


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_training_the_rest_trains_the_whole(make, tmp_path):
    keras.utils.set_random_seed(0)  # steps from some weights grow so much that rounding shows
    graph = make()
    whole, beside = graph.build(), graph.build()
    beside.set_weights(whole.get_weights())  # layers that nobody trained draw their weights
    before = {id(weight): as_array(weight) for weight in whole.weights}
    inputs, targets = inputs_of(whole), targets_of(whole)
    made = graph.precompute((inputs, targets), tmp_path / "f.h5", model=whole, batch_size=4)
    ran, crossing = GRAPHS[make]
    assert (list(made.frozen), [one.name for one in made.model.inputs]) == (ran, crossing)
    assert made.whole is whole and made.rows == ROWS
    data = made.data(batch_size=4, shuffle=False)
    assert len(data) == 3 and len(data[2][1]) if isinstance(data[2][1], dict) else len(data[2][1]) == 3

    train(made.model, [data[number] for number in range(3)])
    train(beside, in_batches(inputs, targets, 4))
    pairs = list(zip(whole.weights, beside.weights, strict=True))
    assert all(close(one, other) for one, other in pairs)
    training = {id(weight) for weight in whole.trainable_weights}
    assert training == {id(weight) for weight in made.model.trainable_weights}
    assert all(not np.array_equal(weight, before[id(weight)]) for weight in whole.trainable_weights)
    ran_once = [weight for owner in frozen_part.owners(graph.spec, ran) for weight in whole.get_layer(owner).weights]
    assert all(np.array_equal(weight, before[id(weight)]) for weight in ran_once)
    features = made.data(batch_size=ROWS, shuffle=False)[0][0]
    found, want = by_name(made.model(features), made.model), by_name(whole(inputs), whole)
    assert list(found) == list(want)
    assert all(close(one, other) for one, other in zip(found.values(), want.values(), strict=True))


@given(cases(), st.integers(0, 255))
def test_random_graphs_cut_behind_what_is_frozen(case: Case, mask: int):
    world = World(case)
    graph = world.graph()
    names = [node.name for number, node in enumerate(case.nodes) if mask >> number & 1]
    if names:
        graph.freeze(*names)
    model, data = graph.build(), world.data()
    first = by_name(model(data), model)
    targets = {name: as_array(value) for name, value in first.items()}
    targets = targets if isinstance(model.output, dict) else next(iter(targets.values()))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = graph.precompute((data, targets), Path(folder, "f.h5"), model=model)
        except StitchError as error:
            event(error.message.split(" in graph")[0].split(" at the")[0])
            if error.message.startswith("Nothing is left to train"):
                assert not model.trainable_weights
            else:
                assert error.message.startswith("Nothing is frozen at the start")
                first_nodes = [node for node in case.nodes if all(feed.name is not None for feed in node.feeds)]
                first_layers = [model.get_layer(case.owner(node).name) for node in first_nodes]
                assert not any(layer.weights and not layer.trainable for layer in first_layers)
            return
        event("cut")
        features, again = made.data(batch_size=case.batch, shuffle=False)[0]
    assert np.shape(keras.tree.flatten(again)[0]) == np.shape(keras.tree.flatten(targets)[0])
    second = by_name(made.model(features), made.model)
    assert all(close(one, other) for one, other in zip(second.values(), first.values(), strict=True))
    assert {id(w) for w in model.trainable_weights} == {id(w) for w in made.model.trainable_weights}
    for one, other in zip(gradients(model, data), gradients(made.model, features), strict=True):
        assert (one is None) == (other is None)
        assert one is None or close(other, one)


def test_the_trained_model_is_saved_and_verified(tmp_path):
    graph = chain()
    made = graph.precompute((RNG.random((8, 4)), RNG.random((8, 1))), tmp_path / "f.h5")
    made.model.compile("adam", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.model.fit(made.data(batch_size=3, seed=1), epochs=2, verbose=0)
    x = RNG.random((5, 4)).astype("float32")
    for format in ("keras", "h5"):
        path = save_model(made.whole, tmp_path / f"whole.{format}")
        assert close(keras.saving.load_model(path, compile=False)([x]), made.whole([x]))
    assert graph.verify(model=made.whole).passed
    head = keras.Model(made.model.inputs, made.model.outputs)
    assert made.whole.get_layer("head") is made.model.get_layer("head") is head.get_layer("head")


def test_lists_of_targets_and_weights_are_refused(tmp_path):
    graph = several_outputs()
    whole = graph.build()
    inputs, targets = inputs_of(whole), targets_of(whole)
    for listed, said in (
        ((list(targets.values()),), "The targets in data= do not say which output they are for."),
        ((targets, [RNG.random(ROWS) for _ in targets]), "The sample weights in data= do not say which output each "),
    ):
        with pytest.raises(StitchError, match=said):
            graph.precompute((inputs["x"], *listed), tmp_path / "f.h5", model=whole)


def test_losses_by_name_and_sample_weights(tmp_path):
    graph = several_outputs()
    whole = graph.build()
    inputs, targets = inputs_of(whole), targets_of(whole)
    weights = {name: RNG.random(ROWS) for name in targets}
    made = graph.precompute((inputs["x"], targets, weights), tmp_path / "f.h5", model=whole)
    _, _, some = made.data(batch_size=4, shuffle=False)[1]
    assert list(some) == list(weights) and np.array_equal(some["late"], weights["late"][4:8])
    losses = []
    for model, data in ((whole, (inputs, targets, weights)), (made.model, made.data(batch_size=ROWS)[0])):
        names = dict.fromkeys(targets, "mae")
        model.compile("sgd", loss={"head": "mse", "trunk": "mse", "late": "mae"}, metrics=names)
        losses.append(model.test_on_batch(*data, return_dict=True))
    assert list(losses[0]) == list(losses[1])
    assert all(close(losses[0][name], losses[1][name]) for name in losses[0])
    alone = graph.precompute((inputs["x"], targets, np.arange(ROWS)), tmp_path / "g.h5", model=whole)
    assert alone.data(shuffle=False)[0][2].tolist() == list(range(ROWS))


# -- data -----------------------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    """Batches of irregular sizes."""

    sizes = (3, 1, 4)

    def __init__(self, weights: bool = False, broken: int | None = None):
        super().__init__()
        self.weights, self.broken, self.read = weights, broken, []
        self.x = np.arange(32, dtype="float32").reshape(8, 4)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        self.read.append(index)
        if index == self.broken and self.read.count(index) == 2:  # it was looked at before
            raise OSError("no such disk")
        start = sum(self.sizes[:index])
        rows = self.x[start : start + self.sizes[index]]
        return (rows, rows[:, :1], rows[:, 0]) if self.weights else (rows, rows[:, :1])


class Fours(KipoiRows):
    def __getitem__(self, index):
        return {"inputs": np.full(4, index, "float32"), "targets": np.array([index], "float32")}


def first_inputs(made: precompute_frozen.Rest) -> np.ndarray:
    data = made.data(batch_size=made.rows, shuffle=False)
    return data[0][0]["trunk"]


def test_the_ways_to_give_data(tmp_path):
    graph = chain()
    whole = graph.build()
    x, y = np.arange(32, dtype="float32").reshape(8, 4), np.zeros((8, 1))
    want = whole.get_layer("trunk")(x)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        stored = file.create_dataset("x", data=x)
        given = [(x, y), ([x], y), ({"x": x}, y), (x.tolist(), y), (x.astype("float64"), y), (stored, y), Batches()]
        for number, data in enumerate([*given, Batches(weights=True)]):
            if number == 3:
                data = ([x.tolist()], y)
            made = graph.precompute(data, tmp_path / f"{number}.h5", model=whole, batch_size=3)
            assert made.rows == 8 and close(first_inputs(made), want)
    assert len(made.data()[0]) == 3
    dataset = Batches()
    dataset.sizes, dataset.x = (0, 3, 5), x
    with pytest.raises(StitchError, match="has no rows"):
        graph.precompute(dataset, tmp_path / "empty.h5", model=whole)


def test_a_dataloader_is_read_in_order(tmp_path):
    graph = chain()
    whole = graph.build()
    data = ks.training_data(Fours, batch_size=4, seed=3)
    order = [data.rows_of(number).tolist() for number in range(3)]
    made = graph.precompute(data, tmp_path / "f.h5", model=whole, batch_size=3)
    rows = np.repeat(np.arange(10, dtype="float32")[:, None], 4, 1)
    assert close(first_inputs(made), whole.get_layer("trunk")(rows))
    assert [data.rows_of(number).tolist() for number in range(3)] == order
    # Precomputed rows know what they were made from; they become rows of another cut.
    again = ks.training_data(tmp_path / "f.h5")
    with pytest.raises(StitchError, match="names 'trunk', which is no input"):
        graph.precompute(again, tmp_path / "g.h5", model=whole)
    other = ks.chain({"trunk": mlp(3, 2), "head": mlp(2, 1)}).freeze("trunk")
    other.add_input("trunk_in", "trunk")
    with pytest.raises(StitchError, match="data= names 'trunk'"):
        other.precompute(again, tmp_path / "g.h5")


def test_frozen_parts_of_two_placements(tmp_path):
    """Where submodels run in the dataloader, the data are what the final model takes."""
    graph = (
        ks.Graph("g").add("packed", mlp(5, 4), placement="dataloader").add("trunk", mlp(4, 3)).add("head", mlp(3, 1))
    )
    graph.connect("packed", "trunk").connect("trunk", "head").freeze("trunk")
    made = graph.precompute((np.ones((6, 4)), np.ones(6)), tmp_path / "f.h5")
    assert [one.name for one in made.whole.inputs] == ["packed"]
    assert made.frozen == ("trunk",) and made.data()[0][0]["trunk"].shape == (6, 3)


def test_other_dtypes_cross(tmp_path):
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding = layers.Embedding(9, 3, dtype="bfloat16", name="embedding")
    words = keras.Model(tokens, embedding(tokens))
    graph = ks.Graph("g").add("words", words).add("head", layers.GRU(2)).add("count", layers.Embedding(9, 2))
    graph.add("flat", layers.Flatten()).add("out", layers.Dense(1))
    graph.add_input("tokens", ["words", "count"]).connect("words", "head").connect("count", "flat")
    graph.connect(["head", "flat"], "out").freeze("words")
    data = RNG.integers(0, 9, (6, 5))
    made = graph.precompute((data, np.ones((6, 1))), tmp_path / "f.h5")
    features = made.data(shuffle=False)[0][0]
    assert {name: str(array.dtype) for name, array in features.items()} == {"tokens": "int32", "words": "float32"}
    assert close(made.model(features), made.whole([data]))


# -- the file -------------------------------------------------------------------------


def test_a_finished_file_is_used_again(tmp_path, monkeypatch):
    graph = chain()
    whole, said = graph.build(), []
    data = (RNG.random((8, 4)), RNG.random((8, 1)))
    first = graph.precompute(data, tmp_path / "f.h5", model=whole, batch_size=3, progress=said.append)
    assert said[-3:] == ["3 of 8 rows", "6 of 8 rows", "8 of 8 rows"]
    stamp = first.path.stat().st_mtime_ns
    monkeypatch.setattr(precompute_frozen._Runs, "__call__", lambda *_: pytest.fail("it runs again"))
    train(first.model, [first.data()[0]])  # the rest may train meanwhile
    again = graph.precompute(data, tmp_path / "f.h5", model=whole, batch_size=5)
    # Another build of the same parts: inner names of Keras and flags of training do not matter.
    other = chain().unfreeze("trunk").freeze("trunk", layers="*").build()
    other.set_weights(whole.get_weights())
    chain().precompute(data, tmp_path / "f.h5", model=other)
    assert again.path.stat().st_mtime_ns == stamp and again.rows == 8


def test_what_is_stale_is_named_and_not_replaced(tmp_path):
    graph, path = trunk_and_input(), tmp_path / "f.h5"
    whole = graph.build()
    x, y = RNG.random((8, 4)), RNG.random((8, 1))
    made = graph.precompute((x, y), path, model=whole)
    stamp = path.stat().st_mtime_ns

    def refused(data: Any, graph: ks.Graph = graph, model: Any = whole) -> str:
        with pytest.raises(StitchError) as caught:
            graph.precompute(data, path, model=model)
        assert path.stat().st_mtime_ns == stamp and f"Fix: Delete '{path}'" in str(caught.value)
        return caught.value.message

    start = f"'{path}' holds rows of something else; these are not the same: "
    assert refused((x + 1, y)) == f"{start}input 'x'."
    assert refused((x, -y)) == f"{start}targets."
    assert refused((x, y, y[:, 0])) == f"{start}sample weights."
    assert refused((x, {"head": y})) == f"{start}targets, targets 'head'."
    swapped = ks.Graph("g").add("trunk", mlp(4, 3)).add("head", mlp(7, 3, 1))
    swapped.connect(["trunk[:2]", "trunk[2]", "trunk.x"], "head").freeze("trunk")
    model = swapped.build()
    model.set_weights(whole.get_weights())
    swapped.precompute((x, y), path, model=model)  # what crosses is the same
    twice = ks.chain({"trunk": mlp(4, 3), "middle": layers.Flatten(), "head": mlp(3, 1)}).freeze("trunk")
    assert refused((x, y), twice, None).startswith(f"{start}submodel 'trunk', connections")

    kernel = whole.get_layer("trunk").weights[0]
    before = np.array(kernel)
    kernel.assign(before + 1)
    assert refused((x, y)) == f"{start}submodel 'trunk'."
    message = f"'{path}' is stale; these changed since they ran: submodel 'trunk'."
    with pytest.raises(StitchError, match=re.escape(message)) as caught:
        made.data()
    assert caught.value.fix == f"Delete '{path}', and call graph.precompute(..., model=...) again."
    kernel.assign(before)
    path.unlink()
    with pytest.raises(StitchError, match="any more"):
        made.data()


def test_names_that_keras_made_do_not_count(tmp_path):
    def graph(**options: Any) -> ks.Graph:
        keras.utils.set_random_seed(0)
        x = keras.Input((4,))
        trunk = keras.Model(x, layers.Add()([layers.Dense(3, **options)(x), layers.Dense(3)(x)]))
        graph = ks.Graph("g").add("trunk", trunk).add("twin", keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
        graph.add("head", mlp(3, 1)).add_input("x", ["trunk", "twin"])
        return graph.connect(["trunk", "twin"], "head", merge=layers.Add()).freeze("trunk", "twin")

    x, path = RNG.random((5, 4)), tmp_path / "f.h5"
    graph().precompute((x, x[:, 0]), path)
    graph().precompute((x, x[:, 0]), path)
    for options in ({"activation": "tanh"}, {"dtype": "mixed_float16"}):
        with pytest.raises(StitchError, match=r"not the same: submodel 'trunk'\."):
            graph(**options).precompute((x, x[:, 0]), path)


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    graph, path = chain(), tmp_path / "f.h5"
    whole = graph.build()
    x, y = RNG.random((10, 4)).astype("float32"), RNG.random((10, 1))
    runs, call = [], precompute_frozen._Runs.__call__

    def counted(self, inputs):
        runs.append(len(inputs["x"]))
        if len(runs) == 3:
            raise KeyboardInterrupt
        return call(self, inputs)

    monkeypatch.setattr(precompute_frozen._Runs, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        graph.precompute((x, y), path, model=whole, batch_size=3)
    assert not path.exists() and folder_of(path).is_dir()
    with pytest.raises(StitchError, match=re.escape(f"'{folder_of(path)}' holds unfinished rows of something else")):
        graph.precompute((x + 1, y), path, model=whole)
    made = graph.precompute((x, y), path, model=whole, batch_size=2)
    assert runs == [3, 3, 3, 2, 2] and not folder_of(path).exists()
    assert close(first_inputs(made), whole.get_layer("trunk")(x))


def test_a_dataset_that_fails_goes_on(tmp_path):
    graph, path = chain(), tmp_path / "f.h5"
    whole, dataset = graph.build(), Batches(broken=1)
    with pytest.raises(StitchError) as caught:
        graph.precompute(dataset, path, model=whole)
    assert str(caught.value) == (
        "data= cannot be read from batch 1 on.\n  Received: OSError: no such disk\n"
        "  Fix: Rows before it are kept: unless the data change, the same call goes on there."
    )
    assert rows_so_far(path) == (3, None)
    made = graph.precompute(Batches(), path, model=whole)
    assert close(first_inputs(made), whole.get_layer("trunk")(dataset.x)) and made.rows == 8


# -- what is refused ------------------------------------------------------------------


def error_of(graph: ks.Graph, data: Any, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(StitchError) as caught:
        graph.precompute(data, tmp_path / "f.h5", **options)
    assert not list(tmp_path.iterdir())
    return str(caught.value)


def test_nothing_frozen_and_nothing_left(tmp_path):
    graph = ks.chain({"stem": mlp(4, 3), "trunk": mlp(3, 3), "head": mlp(3, 1)}, name="g").freeze("trunk")
    assert error_of(graph, None, tmp_path) == (
        "Nothing is frozen at the start of graph 'g'.\n"
        "  Expected: a frozen submodel that is fed by graph inputs and frozen ones alone\n"
        "  Received: 'stem' trains 2 of its 2 weights; 'trunk' is frozen, but fed by 'stem'\n"
        '  Fix: Freeze what should not train: graph.freeze("stem"), and build the model after that.'
    )
    # The model counts, not what the graph says.
    model = graph.build()
    assert "Nothing is frozen" in error_of(graph.freeze("stem"), None, tmp_path, model=model)
    model.get_layer("stem").trainable = False
    assert graph.unfreeze("stem").precompute((np.ones((3, 4)), np.ones(3)), tmp_path / "x.h5", model=model).frozen == (
        "stem",
        "trunk",
    )
    (tmp_path / "x.h5").unlink()
    assert error_of(graph.freeze("*"), None, tmp_path) == (
        "Nothing is left to train in graph 'g'.\n"
        "  Expected: a submodel with weights that train, behind the frozen ones\n"
        "  Received: frozen submodels only\n"
        '  Fix: Unfreeze some before building: graph.unfreeze("head").'
    )
    drop = (
        ks.Graph("g").add("trunk", mlp(4, 3)).add("drop", layers.Dropout(0.5)).connect("trunk", "drop").freeze("trunk")
    )
    assert "Received: 'drop' without such weights" in error_of(drop, None, tmp_path)
    plain = ks.Graph("g").add("flat", layers.Flatten()).add("noise", layers.GaussianNoise(1.0)).add("head", mlp(3, 1))
    plain.add_input("x", ["flat"], shape=(3,)).connect("flat", "noise").connect("noise", "head")
    assert "Received: 'flat' has no weights\n" in error_of(plain, None, tmp_path)
    noise = ks.Graph("g").add("noise", layers.GaussianNoise(1.0)).add("head", mlp(3, 1)).connect("noise", "head")
    noise.add_input("x", ["noise"], shape=(3,))
    assert "Received: 'noise' does something else in training (noise)\n" in error_of(noise, None, tmp_path)


def test_batch_normalization_without_weights_that_train_is_not_frozen(tmp_path):
    bn = layers.BatchNormalization(center=False, scale=False, name="bn")
    graph = ks.chain({"stem": keras.Sequential([keras.Input((4,), name="x"), bn]), "head": mlp(4, 1)}, name="g")
    assert "'stem' does something else in training (bn)" in error_of(graph, None, tmp_path)
    assert graph.freeze("stem").precompute((np.ones((3, 4)), np.ones(3)), tmp_path / "f.h5").frozen == ("stem",)


def test_a_layer_without_weights_can_be_frozen(tmp_path):
    graph = ks.Graph("g").add("scale", layers.Rescaling(2.0)).add("head", mlp(4, 1)).connect("scale", "head")
    graph.add_input("x", "scale", shape=(4,))
    made = graph.freeze("scale").precompute((np.ones((3, 4)), np.ones(3)), tmp_path / "f.h5")
    assert made.data()[0][0]["scale"].tolist() == [[2.0] * 4] * 3


def test_data_that_do_not_fit(tmp_path):
    graph = several_outputs()
    x, y = np.ones((5, 4)), {"trunk": np.ones((5, 3)), "head": np.ones((5, 1)), "late": np.ones((5, 2))}
    one = chain()

    def message(graph: ks.Graph, data: Any) -> str:
        return error_of(graph, data, tmp_path)

    assert message(one, "composed/") == (
        "data= is nothing to train on.\n"
        "  Expected: (inputs, targets), perhaps with sample weights behind them, or a keras.utils.PyDataset\n"
        "  Received: 'composed/'\n  Fix: For a directory: ks.training_data(directory, {argument: value})."
    )
    assert "Received: a tuple of 1" in message(one, (x,))
    assert "data= has no targets to train on.\n  Expected: (inputs, targets)" in message(one, (x, None))
    assert "Expected: (inputs, {output: targets}) for trunk, head, late" in message(graph, (x, {}))
    assert "The targets in data= do not say which output they are for." in message(graph, (x, y["head"]))
    assert message(graph, (x, {**y, "haed": x})) == (
        "The targets in data= name 'haed', which is no output.\n  Expected: 'head', the nearest name"
    )
    assert "The sample weights in data= name 'x'" in message(graph, (x, y, {"x": x}))
    assert message(one, (x, np.ones((4, 1)))) == (
        "data= does not have the same rows everywhere.\n  Expected: one number of rows\n"
        "  Received: input 'x': 5, targets: 4"
    )
    assert "data['x'] does not fit 'x' (4,) float32.\n  Expected: shape (None, 4)" in message(
        one, (x[:, :3], np.ones(5))
    )
    assert "data= lacks the input 'x'" in message(one, ({}, np.ones(5)))
    assert "data= names 'z', which is no input." in message(one, ({"x": x, "z": x}, np.ones(5)))
    assert "data= is not one array for each input." in message(one, ([x, x], np.ones(5)))
    assert "data= has no rows." in message(one, (x[:0], np.ones(0)))
    assert "The targets in data= cannot be stored." in message(one, (x, np.array([{}] * 5)))
    assert "data['x'] is no array" in message(one, ([[[1], [1, 2]]], np.ones(2)))
    assert "batch_size= is not a whole number" in error_of(one, (x, np.ones(5)), tmp_path, batch_size=0)
    assert "model= is not a model of graph 'chain'" in error_of(one, (x, np.ones(5)), tmp_path, model=mlp(4, 1))

    class Endless(Batches):
        def __len__(self):
            raise NotImplementedError

    class Wrong(Batches):
        def __getitem__(self, index):
            return self.x

    assert "data= has no end: Endless does not say how many batches there are." in message(one, Endless())
    assert "Batch 0 of data= is nothing to train on." in message(one, Wrong())


def test_a_merge_with_weights_is_refused(tmp_path):
    @keras.saving.register_keras_serializable("test_rest")
    class Weighted(layers.Layer):
        def build(self, shapes):
            self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

        def call(self, tensors):
            return self.factor * tensors[0] + tensors[1]

        def compute_output_shape(self, shapes):
            return shapes[0]

    graph = ks.Graph("g").add("a", mlp(3, 2, name="i")).add("b", mlp(3, 2, name="j")).add("head", mlp(2, 1))
    graph.connect(["a", "b"], "head", merge=Weighted()).freeze("a", "b")
    text = error_of(graph, (({"i": np.ones((2, 3)), "j": np.ones((2, 3))}), np.ones(2)), tmp_path)
    assert "The merge 'head_merge' has weights of its own, so graph 'g' cannot be cut there." in text


# -- what is random in training -------------------------------------------------------


def test_random_layers_in_the_frozen_part_are_named(tmp_path):
    x = keras.Input((4, 2), name="x")
    tensor = layers.LSTM(3, dropout=0.2, return_sequences=True, name="lstm")(layers.Dropout(0.0, name="none")(x))
    trunk = keras.Model(x, layers.SpatialDropout1D(0.1, name="spatial")(tensor))
    graph = ks.Graph("g").add("trunk", trunk).add("flat", layers.Flatten()).add("head", mlp(12, 1))
    graph.connect("trunk", "flat").connect("flat", "head").freeze("trunk")
    data = (np.ones((3, 4, 2)), np.ones(3))
    with pytest.warns(UserWarning) as seen:
        made = graph.precompute(data, tmp_path / "f.h5")
    (warning,) = seen
    assert warning.filename == __file__
    assert str(warning.message) == (
        "'trunk/lstm', 'trunk/spatial' would be random in training, although frozen; what is precomputed is what the "
        "model predicts. To train as the whole model does, train the whole model."
    )
    assert close(made.model(made.data()[0][0]), made.whole([data[0]]))


@pytest.mark.parametrize(
    ("layer", "acts"),
    [
        (layers.Dropout(0.1), True),
        (layers.Dropout(0), False),
        (layers.GaussianNoise(0.1), True),
        (layers.RandomFlip(), True),
        (layers.RandomCrop(2, 2), True),
        (layers.CenterCrop(2, 2), False),
        (layers.Dense(2), False),
        (layers.BatchNormalization(), True),
        (layers.BatchNormalization(trainable=False), False),
        (layers.MultiHeadAttention(2, 2, dropout=0.1), True),
        (layers.MultiHeadAttention(2, 2), False),
        (layers.Bidirectional(layers.GRU(2, recurrent_dropout=0.1)), True),
        (layers.Bidirectional(layers.GRU(2)), False),
        (layers.TimeDistributed(layers.Dropout(0.5)), True),
        (layers.SpectralNormalization(layers.Dense(2)), True),
        (layers.Normalization(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_acts_in_training(layer, acts):
    assert bool(frozen_part.acting(layer)) is acts


def test_a_custom_layer_with_a_training_flag_acts():
    class Flagged(layers.Layer):
        def call(self, tensor, training=False):
            return tensor

    class Holding(layers.Layer):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, tensor, training=False):
            return self.inner(tensor, training=training)

    assert frozen_part.acting(Flagged(name="f")) == ["f"]
    assert frozen_part.acting(Holding(layers.Dense(1))) == [] and frozen_part.acting(Holding(layers.Dropout(0.1)))


def test_rows_of_plain_arrays():
    wiring = Wiring("g", (), (Port("x", (2,)),), ())
    rows = user_data.rows_of(([np.ones((3, 2))], np.zeros(3)), wiring)
    assert rows.rows == 3 and list(rows.key.files) == ["input 'x'", "targets"]
