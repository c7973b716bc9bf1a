"""``ks.training_data``: every row once in each epoch, inputs beside their own targets, through ``model.fit``."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import kipoi
import numpy as np
import pytest
import yaml
from backends import BACKEND
from keras import layers
from kipoi.data import (
    BatchDataset,
    BatchGenerator,
    BatchIterator,
    Dataset,
    PreloadedDataset,
    SampleGenerator,
    SampleIterator,
)
from kipoiseq.extractors import FastaStringExtractor

import keras_stitch as ks
from keras_stitch.errors import StitchError

ROWS = 30
LETTERS = "ACGT"


# -- plain Kipoi dataloaders: row i is i and i + 0.5, its target 3 i - 1 ---------


def row(index: int) -> dict[str, Any]:
    return {"inputs": np.array([index, index + 0.5], "float32"), "targets": np.array([3 * index - 1], "float32")}


def batch(start: int, stop: int) -> dict[str, Any]:
    rows = [row(index) for index in range(start, stop)]
    return {name: np.stack([one[name] for one in rows]) for name in rows[0]}


class Rows(Dataset):
    def __init__(self, count: int = 10):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return row(index)


class WithoutTargets(Rows):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "targets": {}}


class Failing(Rows):
    def __init__(self, count: int = 10):
        raise OSError("no such disk")


class OfOneProcess(Rows):
    """Like one that has a file open: another process has to make its own."""

    def __init__(self, count: int = 10):
        super().__init__(count)
        self.process = os.getpid()

    def __getitem__(self, index):
        assert os.getpid() == self.process
        return super().__getitem__(index)


class Killed(Rows):
    """Ends every process that asks for a late row, but the one that made it."""

    parent = os.getpid()

    def __getitem__(self, index):
        if index > 20 and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Loaded(PreloadedDataset):
    data_fn = staticmethod(lambda count=10: batch(0, count))


class Batches(BatchDataset):
    def __init__(self, count: int = 10):
        self.count = count

    def __len__(self):
        return -(-self.count // 4)

    def __getitem__(self, index):
        return batch(4 * index, min(self.count, 4 * index + 4))


class Samples(SampleIterator):
    def __init__(self, count: int = 10):
        self.count = count

    def __iter__(self):
        self.rows = iter(range(self.count))
        return self

    def __next__(self):
        return row(next(self.rows))


class Fours(BatchIterator):
    def __init__(self, count: int = 10):
        self.count = count

    def __iter__(self):
        self.starts = iter(range(0, self.count, 4))
        return self

    def __next__(self):
        start = next(self.starts)
        return batch(start, min(self.count, start + 4))


class Generated(SampleGenerator):
    generator_fn = staticmethod(lambda count=10: map(row, range(count)))


class GeneratedFours(BatchGenerator):
    generator_fn = staticmethod(lambda count=10: (batch(at, min(count, at + 4)) for at in range(0, count, 4)))


IN_ORDER = [Batches, Samples, Fours, Generated, GeneratedFours]


# -- what model.fit is given ----------------------------------------------------


class Recorder(keras.Model):
    """Does not learn, and keeps every batch that it is given."""

    def __init__(self):
        super().__init__()
        self.received = ([],)  # in a tuple, as Keras would wrap a list

    def train_step(self, data):
        self.received[0].append(keras.tree.map_structure(lambda tensor: tensor.numpy(), data))
        return {"loss": 0.0}


def fit(data: Any, **options: Any) -> list[Any]:
    """The batches that ``model.fit`` gets from training data."""
    if BACKEND != "tensorflow":
        pytest.skip("elsewhere than on TensorFlow, Keras calls a model before it trains it, and a recorder has no call")
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(data, verbose=0, **options)
    return list(model.received[0])


def epochs(batches: list[Any], steps: int) -> list[list[Any]]:
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


def numbers(batches: list[Any]) -> list[int]:
    """The numbers of the rows of plain dataloaders; their other values and their targets are compared."""
    inputs, targets = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    np.testing.assert_array_equal(inputs[:, 1], inputs[:, 0] + 0.5)
    np.testing.assert_array_equal(targets, 3 * inputs[:, :1] - 1)
    return inputs[:, 0].astype(int).tolist()


def assert_same(first: Any, second: Any) -> None:
    keras.tree.assert_same_structure(first, second)
    for a, b in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(autouse=True)
def _no_test_hangs():
    """Workers that nobody answers would wait forever: after two minutes the whole process is ended, with a word."""

    def end() -> None:
        os.write(2, b"\ntests/training/test_training_data.py: a test hangs; the process is ended.\n")
        os.kill(os.getpid(), signal.SIGABRT)

    timer = threading.Timer(120, end)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


# -- random access ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (9, 4, [4, 4, 1]), (3, 4, [3]), (1, 1, [1]), (40, 32, [32, 8])],
)
@pytest.mark.parametrize("loader", [Rows, Loaded])
def test_steps_of_an_epoch_and_the_short_last_batch(loader, rows, batch_size, sizes):
    data = ks.training_data(loader, {"count": rows}, batch_size=batch_size, shuffle=False)
    assert len(data) == data.steps_per_epoch == data.num_batches == len(sizes)
    assert [len(data[index][0]) for index in range(len(data))] == sizes
    assert numbers([data[index] for index in range(len(data))]) == list(range(rows))
    with pytest.raises(IndexError):
        data[len(sizes)]
    assert [len(inputs) for inputs, _ in fit(data, shuffle=False)] == sizes


def test_keras_shuffles_whole_batches_of_data_that_are_not_shuffled():
    data = ks.training_data(Rows, {"count": 10}, batch_size=4, shuffle=False)
    batches = fit(data, epochs=2)
    assert sorted(numbers(batches)) == sorted([*range(10)] * 2)
    assert {tuple(numbers([one])) for one in batches} == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_once_in_each_epoch_and_another_order_in_each(workers):
    data = ks.training_data(Rows, {"count": 23}, batch_size=4, seed=0, workers=workers)
    received = [epochs(fit(data, epochs=4, shuffle=shuffle), len(data)) for shuffle in (True, False)]
    for epoch in (*received[0], *received[1]):
        assert sorted(numbers(epoch)) == list(range(23))
    # Rows are shuffled, and not batches only, which Keras does.
    batches = [frozenset(numbers([one])) for epoch in received[0] for one in epoch if len(one[0]) == 4]
    assert len(set(batches)) == 4 * 5
    assert len({tuple(numbers(epoch)) for epoch in received[1]}) == 4


def test_the_seed_says_the_order_for_any_number_of_workers():
    def orders(seed, workers):
        data = ks.training_data(Rows, {"count": 23}, batch_size=4, seed=seed, workers=workers)
        return [numbers(epoch) for epoch in epochs(fit(data, epochs=3, shuffle=False), len(data))]

    assert orders(5, 0) == orders(5, 2) == orders(5, 0)
    assert orders(5, 0) != orders(6, 0)
    assert len(set(map(tuple, orders(5, 0)))) == 3


def test_another_order_without_a_seed_and_the_users_generator_untouched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    orders = {tuple(numbers([ks.training_data(Rows, {"count": 50}, batch_size=50)[0]])) for _ in range(3)}
    assert len(orders) == 3
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("workers", [0, 2])
def test_without_shuffle_the_order_is_that_of_the_data(workers):
    data = ks.training_data(Rows, {"count": 10}, batch_size=4, shuffle=False, workers=workers)
    assert numbers(fit(data, epochs=3, shuffle=False)) == [*range(10)] * 3


def test_each_worker_makes_its_own_dataloader():
    data = ks.training_data(OfOneProcess, {"count": 40}, batch_size=4, shuffle=False, workers=2)
    data[0]
    assert numbers(fit(data, epochs=2, shuffle=False)) == [*range(40)] * 2
    assert numbers([data[0]]) == [0, 1, 2, 3]


def test_validation_data_beside_training_data():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.set_weights([np.array([[3.0], [0.0]]), np.array([-1.0])])
    training = ks.training_data(Rows, {"count": 10}, batch_size=4, workers=1)
    validation = ks.training_data(Rows, {"count": 7}, batch_size=3, shuffle=False, workers=1)
    history = model.fit(training, validation_data=validation, epochs=2, verbose=0).history
    assert history == {"loss": [0.0, 0.0], "val_loss": [0.0, 0.0]}
    assert model.predict(validation, verbose=0)[:, 0].tolist() == [-1, 2, 5, 8, 11, 14, 17]


def test_an_object_of_a_dataloader():
    assert numbers([ks.training_data(Rows(5), batch_size=8, shuffle=False)[0]]) == [0, 1, 2, 3, 4]
    assert numbers(list(ks.training_data(Generated(5), batch_size=2, shuffle=False))) == [0, 1, 2, 3, 4]


# -- from the first row to the last ------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("loader", IN_ORDER)
def test_one_pass_in_order(loader, workers):
    data = ks.training_data(loader, {"count": 10}, batch_size=4, shuffle=False, workers=workers)
    batches = list(data)
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
    assert numbers(batches) == list(range(10))
    assert list(data) == []


@pytest.mark.parametrize("loader", IN_ORDER)
def test_so_many_batches_over_several_passes(loader):
    for steps in (1, 3, 7):
        data = ks.training_data(loader, {"count": 10}, batch_size=4, shuffle=False, steps=steps)
        assert numbers(list(data)) == ([*range(10)] * 3)[: {1: 4, 3: 10, 7: 24}[steps]]


def test_fit_on_a_generator_without_a_warning():
    data = ks.training_data(Generated, {"count": 10}, batch_size=4, shuffle=False, steps=3 * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = fit(data, steps_per_epoch=3, epochs=2, shuffle=False)
    assert [numbers(epoch) for epoch in epochs(batches, 3)] == [list(range(10))] * 2
    assert next(data, None) is None


# -- directories ------------------------------------------------------------------


def write_table(path: Path, columns: list[str], values: Callable[[int], list[float]], rows: Any = range(ROWS)) -> Path:
    """A table with an id, "row<i>", in front; ``rows`` says which rows, and in which order."""
    lines = ["\t".join(["id", *columns]), *("\t".join([f"row{i}", *map(str, values(i))]) for i in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def tables(folder: Path, targets: Any = range(ROWS), b: Any = range(ROWS)) -> dict[str, Path]:
    """Arguments of ``from_tables``: row i is i and -i in a, 2 i in b, and the target 3 i - 1."""
    folder.mkdir(exist_ok=True)
    return {
        "a_file": write_table(folder / "a.tsv", ["up", "down"], lambda i: [i, -i]),
        "b_file": write_table(folder / "b.tsv", ["double"], lambda i: [2 * i], b),
        "targets_file": write_table(folder / "y.tsv", ["label"], lambda i: [3 * i - 1], targets),
    }


def dense(size: int, units: int = 1) -> keras.Model:
    return keras.Sequential([keras.Input((size,), name="x"), layers.Dense(units, name="y")])


def two_inputs(*outputs: str) -> ks.Graph:
    graph = ks.Graph("sums").add_input("a", shape=(2,)).add_input("b", shape=(1,))
    for name in outputs:
        graph.add(name, dense(3)).connect(["a", "b"], name)
    return graph


def save(graph: ks.Graph, folder: Path, arguments: dict[str, Any], **options: Any) -> Path:
    examples = {name: value for name, value in arguments.items() if name != "targets_file"}
    targets = arguments["targets_file"]
    return graph.save(folder / "saved", examples=examples, targets=targets, progress=lambda text: None, **options)


def from_tables(folder: Path) -> Path:
    return save(two_inputs("head"), folder, tables(folder / "example"))


def two_outputs(folder: Path) -> Path:
    arguments = tables(folder / "example")
    arguments["targets_file"] = write_table(folder / "two.tsv", ["liver", "lung"], lambda i: [i, 100 - i])
    return save(two_inputs("liver", "lung"), folder, arguments)


def in_order(folder: Path) -> Path:
    """Input a comes from a generator of rows, as many as ``count``."""
    loader = folder / "loader"
    loader.mkdir()
    (loader / "dataloader.py").write_text(
        "import numpy as np\n\n\n"
        "def generate(count):\n"
        "    for i in range(count):\n"
        '        yield {"inputs": np.array([i, -i], "float32"), "metadata": {"id": f"row{i}"}}\n'
    )
    description = {
        "type": "SampleGenerator",
        "defined_as": "dataloader.py::generate",
        "args": {"count": {"doc": "Rows.", "type": "int", "example": ROWS}},
        "info": {"authors": [{"name": "Ada"}], "doc": "Rows."},
        "output_schema": {
            "inputs": {"name": "a", "shape": "(2,)", "doc": "Numbers."},
            "metadata": {"id": {"doc": "Name of the row.", "type": "str"}},
        },
    }
    (loader / "dataloader.yaml").write_text(yaml.safe_dump(description))
    arguments = tables(folder / "example")
    del arguments["a_file"]
    return save(two_inputs("head"), folder, arguments, dataloaders={"a": loader})


def write_genome(
    folder: Path, rows: int = 120, width: int = 60, lines: int = 5_000
) -> tuple[dict[str, str], np.ndarray]:
    """Arguments of ``from_genome``, and the bases of every interval, as numbers; the target is how many are A."""
    folder.mkdir(exist_ok=True)
    bases = np.random.default_rng(0).integers(4, size=(lines, width))
    order = np.random.default_rng(1).permutation(lines)[:rows]  # all over the genome, which no buffer holds
    (folder / "genome.fa").write_text(
        ">chr1\n" + "".join("".join(LETTERS[base] for base in line) + "\n" for line in bases)
    )
    (folder / "genome.fa.fai").write_text(f"chr1\t{lines * width}\t6\t{width}\t{width + 1}\n")
    spans = [f"chr1\t{at * width}\t{(at + 1) * width}" for at in order]
    (folder / "i.bed").write_text("".join(f"{span}\n" for span in spans))
    labels = (bases[order] == 0).sum(axis=1)
    table = "".join(f"{span}\t{label}\n" for span, label in zip(spans, labels, strict=True))
    (folder / "y.tsv").write_text(f"chr\tstart\tend\tcount\n{table}")
    names = {"fasta_file": "genome.fa", "intervals_file": "i.bed", "targets_file": "y.tsv"}
    return {name: str(folder / file) for name, file in names.items()}, bases[order]


def from_genome(folder: Path) -> Path:
    graph = ks.chain(layers.Conv1D(1, 1), layers.GlobalAveragePooling1D(), name="counts")
    graph.add_input("dna", graph.spec.submodels[0].name, shape=(60, 4))
    loader = ks.Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": 60})
    return save(graph, folder, write_genome(folder / "example", rows=4, lines=9)[0], dataloaders={"dna": loader})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of each kind; it is saved where it is first needed."""
    return functools.cache(lambda make: make(tmp_path_factory.mktemp(make.__name__)))


def labelled(batches: list[Any]) -> list[int]:
    """The numbers of the rows that ``tables`` wrote; all values are compared."""
    for inputs, targets in batches:
        assert list(inputs) == ["a", "b"]
        index = inputs["a"][:, :1]
        np.testing.assert_array_equal(inputs["a"][:, 1:], -index)
        np.testing.assert_array_equal(inputs["b"], 2 * index)
        np.testing.assert_array_equal(targets, 3 * index - 1)
    return np.concatenate([inputs["a"][:, 0] for inputs, _ in batches]).astype(int).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_directory(saved, tmp_path, workers):
    data = ks.training_data(saved(from_tables), tables(tmp_path), batch_size=8, seed=0, workers=workers)
    assert len(data) == 4
    orders = [labelled(epoch) for epoch in epochs(fit(data, epochs=2), 4)]
    assert [sorted(order) for order in orders] == [list(range(ROWS))] * 2
    assert orders[0] != orders[1]


def test_a_directory_says_what_its_rows_are_made_from(saved, tmp_path):
    data = ks.training_data(saved(from_tables), tables(tmp_path), shuffle=False)
    assert {"a_file", "b_file", "targets_file"} == set(data.key.data)
    assert "dataloader.py" in data.key.files
    assert ks.training_data(Rows).key is None


def test_the_same_weights_with_and_without_workers(saved, tmp_path):
    weights = []
    for workers in (0, 2):
        data = ks.training_data(saved(from_tables), tables(tmp_path), batch_size=8, seed=3, workers=workers)
        model = keras.saving.load_model(saved(from_tables) / "model_files" / "model.keras")
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(1e-5), "mse")
        model.fit(data, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert_same(*weights)
    assert not np.array_equal(before[0], weights[0][0])


def test_relative_paths_start_from_the_current_folder(saved, tmp_path, monkeypatch):
    arguments = {name: path.name for name, path in tables(tmp_path).items()}
    monkeypatch.chdir(tmp_path)
    data = ks.training_data(saved(from_tables), arguments, shuffle=False, workers=1)
    monkeypatch.chdir("/")
    assert labelled(fit(data, shuffle=False)) == list(range(ROWS))


@pytest.mark.parametrize("workers", [0, 2])
def test_targets_of_several_outputs_go_by_name(saved, tmp_path, workers):
    arguments = tables(tmp_path)
    arguments["targets_file"] = write_table(tmp_path / "two.tsv", ["lung", "liver"], lambda i: [100 - i, i])
    data = ks.training_data(saved(two_outputs), arguments, batch_size=8, seed=0, workers=workers)
    batches = fit(data)
    for inputs, targets in batches:
        assert sorted(targets) == ["liver", "lung"]
        np.testing.assert_array_equal(targets["liver"], inputs["a"][:, :1])
        np.testing.assert_array_equal(targets["lung"], 100 - inputs["a"][:, :1])
    assert sorted(np.concatenate([targets["liver"][:, 0] for _, targets in batches])) == list(range(ROWS))
    model = keras.saving.load_model(saved(two_outputs) / "model_files" / "model.keras")
    model.compile(keras.optimizers.SGD(1e-5), {"liver": "mse", "lung": "mae"})
    losses = model.fit(data, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_directory_that_goes_from_the_first_row_to_the_last(saved, tmp_path, workers):
    arguments = {**tables(tmp_path), "count": ROWS}
    del arguments["a_file"]
    options = {"batch_size": 8, "shuffle": False, "workers": workers}
    data = ks.training_data(saved(in_order), arguments, **options)
    assert labelled(list(data)) == list(range(ROWS))
    data = ks.training_data(saved(in_order), arguments, **options, steps=8)
    batches = fit(data, steps_per_epoch=4, epochs=2, shuffle=False)
    assert [labelled(epoch) for epoch in epochs(batches, 4)] == [list(range(ROWS))] * 2


PROCESS = '''
import os

import numpy as np
from kipoi.model import BaseModel


class Process(BaseModel):
    """Gives the first number of a row, and the process that it runs in."""

    def predict_on_batch(self, x):
        return np.stack([x[:, 0], np.full(len(x), os.getpid())], axis=1).astype("float64")
'''


def packed(folder: Path) -> Path:
    """Input a goes through a model that is no Keras model, and through one that is."""
    zoo = folder / "zoo"
    zoo.mkdir()
    (zoo / "model.py").write_text(PROCESS)
    array = {"shape": "(2,)", "doc": "Numbers."}
    schema = {"inputs": {"name": "x", **array}, "targets": {"name": "y", **array}}
    description = {"defined_as": "model.Process", "args": {}, "info": {"doc": "A model."}, "schema": schema}
    (zoo / "model.yaml").write_text(yaml.safe_dump(description))
    graph = ks.Graph("packed").add("process", zoo).add("double", layers.Rescaling(2.0), placement="dataloader")
    graph.add("head", dense(4)).add_input("a", ["process", "double"], shape=(2,), dtype="float32")
    graph.connect(["process", "double"], "head")
    arguments = tables(folder / "example")
    del arguments["b_file"]
    return save(graph, folder, arguments)


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_models_run_in_this_process_and_workers_read(saved, tmp_path, workers):
    arguments = tables(tmp_path)
    del arguments["b_file"]
    data = ks.training_data(saved(packed), arguments, batch_size=8, seed=0, workers=workers)
    orders = []
    for epoch in epochs(fit(data, epochs=2), 4):
        rows = np.concatenate([inputs["process"] for inputs, _ in epoch])
        assert set(rows[:, 1]) == {os.getpid()}
        double = np.concatenate([inputs["double"] for inputs, _ in epoch])
        np.testing.assert_array_equal(double[:, 0], 2 * rows[:, 0])
        np.testing.assert_array_equal(np.concatenate([targets for _, targets in epoch])[:, 0], 3 * rows[:, 0] - 1)
        orders.append(rows[:, 0].astype(int).tolist())
    assert [sorted(order) for order in orders] == [list(range(ROWS))] * 2
    assert orders[0] != orders[1]


def test_a_worker_that_is_killed_ends_the_training():
    data = ks.training_data(Killed, {"count": 40}, batch_size=4, shuffle=False, workers=2)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    # Keras has TensorFlow pass it on, with a text of its own around it.
    with pytest.raises(Exception, match=r"A worker process that reads rows has died\.") as error:
        model.fit(data, epochs=1, verbose=0, shuffle=False)
    assert "Received: exit status -9\n  Fix: Look for a lack of memory, or read without workers." in str(error.value)


def test_sequences_by_workers_after_the_parent_has_read(saved, tmp_path, monkeypatch):
    """An open FASTA file that processes share would, now and then, give one what the other asked for."""
    extract = FastaStringExtractor.extract

    def extract_in_one_process(extractor, interval):
        extractor.process = getattr(extractor, "process", os.getpid())
        assert extractor.process == os.getpid()
        return extract(extractor, interval)

    directory = saved(from_genome)
    monkeypatch.setattr(FastaStringExtractor, "extract", extract_in_one_process)
    arguments, bases = write_genome(tmp_path)
    data = ks.training_data(directory, arguments, batch_size=4, shuffle=False, workers=2)
    data[0], data[7]
    batches = fit(data, epochs=2, shuffle=False)
    sequences = np.concatenate([inputs["dna"] for inputs, _ in batches])
    np.testing.assert_array_equal(sequences, np.eye(4)[np.concatenate([bases, bases])])
    counts = np.concatenate([targets[:, 0] for _, targets in batches])
    np.testing.assert_array_equal(counts, sequences[:, :, 0].sum(axis=1))


# -- what does not belong together --------------------------------------------------

FIT = """
import sys
from pathlib import Path

import keras
import keras_stitch as ks

directory, folder, *columns = sys.argv[1:]
arguments = {name: Path(folder, file) for name, _, file in (column.partition("=") for column in columns)}
arguments |= {} if "a_file" in arguments else {"count": 30}
for workers in (0, 2):
    model = keras.saving.load_model(Path(directory, "model_files", "model.keras"))
    model.compile("sgd", "mse")
    data = ks.training_data(directory, arguments, batch_size=4, shuffle=False, workers=workers)
    try:
        model.fit(data, epochs=2, verbose=0, shuffle=False)
        print("nothing raised")
    except Exception as error:
        print(f"== {workers} workers", error, sep="\\n")
print("== end")
"""


@pytest.fixture
def stopped():
    """What ``model.fit`` raises with 0 and with 2 workers, in processes that may not take forever."""
    running = []

    def start(directory: Path, arguments: dict[str, Path]) -> Callable[[], list[str]]:
        files = [f"{name}={path.name}" for name, path in arguments.items()]
        command = [sys.executable, "-c", FIT, str(directory), str(arguments["b_file"].parent), *files]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)

        def finish() -> list[str]:
            said, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors[-3000:]
            assert "nothing raised" not in said
            _, without, two, end = said.split("== ")
            assert (without[:9], two[:9], end) == ("0 workers", "2 workers", "end\n"), said
            return [without, two]

        return finish

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_what_does_not_belong_together_stops_the_training(saved, tmp_path, stopped):
    # Only late rows are exchanged, so that the data look right until they are read.
    arguments = tables(tmp_path / "order", targets=[*range(24), 25, 24, *range(26, ROWS)])
    order = stopped(saved(from_tables), arguments)
    arguments = tables(tmp_path / "short", targets=range(ROWS - 1), b=range(ROWS - 1))
    del arguments["a_file"]
    short = stopped(saved(in_order), arguments)
    for said in order():
        assert "Row 24 is not the same in all parts" in said
        assert (
            "  Expected: the same id in 'a' and 'targets'\n  Received: 'row24' in 'a', 'row25' in 'targets'\n" in said
        )
    for said in short():
        assert (
            "The parts do not have the same number of rows.\n"
            "  Expected: one number\n"
            f"  Received: {ROWS} in 'head', {ROWS - 1} in 'b'\n"
        ) in said


def test_a_part_with_a_row_less_is_found_before_the_training(saved, tmp_path):
    with pytest.raises(StitchError) as caught:
        ks.training_data(saved(from_tables), tables(tmp_path, targets=range(ROWS - 1)))
    assert str(caught.value).startswith(
        f"The dataloader of '{saved(from_tables)}' cannot be made.\n"
        "  Received: The parts do not have the same number of rows.\n"
        "  Expected: one number\n"
        f"  Received: {ROWS} in 'a', {ROWS} in 'b', {ROWS - 1} in 'targets'\n"
    )


# -- Kipoi's own way of training ------------------------------------------------------


@pytest.mark.parametrize("make", [from_tables, in_order])
def test_batch_train_iter(saved, tmp_path, make):
    loader = kipoi.get_dataloader_factory(str(saved(make)), source="dir")
    arguments = {name: str(path) for name, path in tables(tmp_path).items()} | {"count": ROWS}
    arguments = {name: value for name, value in arguments.items() if name in loader.args}
    once = list(loader(**arguments).batch_train_iter(cycle=False, batch_size=8))
    assert labelled(once) == list(range(ROWS))
    forever = loader(**arguments).batch_train_iter(batch_size=8)
    assert labelled([next(forever) for _ in range(8)]) == [*range(ROWS)] * 2
    del arguments["targets_file"]
    with pytest.raises(ValueError) as caught:
        loader(**arguments).batch_train_iter(batch_size=8)
    assert str(caught.value) == (
        "There are no targets to train on.\n"
        "  Fix: Give the argument targets_file, or make the directory again with targets=."
    )
    assert len(list(loader(**arguments).batch_iter(batch_size=8))) == 4


# -- mistakes ------------------------------------------------------------------------


def message(*arguments: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as caught:
        data = ks.training_data(*arguments, **options)
        if not isinstance(data, keras.utils.PyDataset):
            list(data)
    return str(caught.value)


TAKES = (
    "training_data(...) takes a dataloader.\n"
    "  Expected: a Kipoi directory, or a Kipoi dataloader\n"
    "  Received: {received}"
)
BATCH_SIZE = "batch_size= is not a whole number, or too small.\n  Expected: 1 or more\n  Received: {received}"
WORKERS = "workers= is not a whole number, or too small.\n  Expected: 0 or more\n  Received: {received}"
NO_TARGETS = (
    "The dataloader of {name} gives no targets to train on.\n"
    "  Fix: Give it targets_file in dataloader_args; a directory takes one if it was saved with targets=."
)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((Rows,), {"batch_size": 0}, BATCH_SIZE.format(received="0")),
        ((Rows,), {"batch_size": 2.5}, BATCH_SIZE.format(received="2.5")),
        ((Rows,), {"batch_size": None}, BATCH_SIZE.format(received="None")),
        ((Rows,), {"workers": -1}, WORKERS.format(received="-1")),
        ((Samples,), {"steps": 0}, BATCH_SIZE.format(received="0").replace("batch_size", "steps")),
        (
            (Rows, [10]),
            {},
            "dataloader_args= is not a mapping from names.\n  Expected: {argument: value}\n  Received: [10]",
        ),
        (
            (Rows,),
            {"shuffle": False, "steps": 3},
            "steps= is for dataloaders that go from the first row to the last; this one knows how many there are.\n"
            "  Fix: Leave it out, and give model.fit(..., epochs=...).",
        ),
        (
            (Rows(10),),
            {"workers": 2},
            "A dataloader that is made already is read by one process.\n"
            "  Expected: workers=0, or the class of the dataloader and dataloader_args=\n"
            "  Received: workers=2",
        ),
        (
            (Rows(10), {"count": 3}),
            {},
            "dataloader_args= has no meaning for a dataloader that is made already.",
        ),
        ((Rows, {"count": 0}), {}, "The dataloader of Rows has no rows."),
        (
            (Samples,),
            {},
            "The rows of Samples cannot be shuffled: its dataloader goes from the first to the last.\n"
            "  Expected: shuffle=False\n"
            "  Fix: Shuffle the data themselves, or use dataloaders with random access.",
        ),
        (
            (Samples, {"count": 0}),
            {"shuffle": False, "steps": 2},
            "The dataloader of Samples has no rows.\n  Expected: 2 batches\n  Received: 0",
        ),
        (
            (iter, {}),
            {},
            TAKES.format(received="<built-in function iter>"),
        ),
        ((int,), {}, TAKES.format(received="<class 'int'>")),
        ((None,), {}, TAKES.format(received="None")),
        ((WithoutTargets,), {}, NO_TARGETS.format(name="WithoutTargets")),
        (
            (Failing,),
            {},
            "The dataloader of Failing cannot be made.\n  Received: OSError: no such disk",
        ),
        (
            ("nowhere",),
            {},
            "There is no directory 'nowhere'.\n  Expected: a Kipoi directory, such as graph.save(...) writes",
        ),
    ],
)  # fmt: skip
def test_mistakes(arguments, options, said):
    assert message(*arguments, **options) == said


def test_an_iterator_that_is_used_up():
    assert message(iter_once(), shuffle=False, steps=4) == (
        "The dataloader of IterOnce has no rows when it is read once more.\n  Expected: 4 batches\n  Received: 1"
    )


def iter_once() -> SampleIterator:
    class IterOnce(Samples):
        def __init__(self):
            self.rows = iter(range(3))

        def __iter__(self):
            return self

    return IterOnce()


def test_a_generator_without_targets():
    class Bare(SampleGenerator):
        generator_fn = staticmethod(lambda: iter([{"inputs": np.ones(2)}]))

    assert message(Bare, shuffle=False) == NO_TARGETS.format(name="Bare")


def test_mistakes_with_a_directory(saved, tmp_path):
    directory, arguments = saved(from_tables), tables(tmp_path)
    assert message(directory, {**arguments, "target_file": "y.tsv"}) == (
        f"The dataloader of '{directory}' has no argument 'target_file'.\n"
        "  Expected: 'targets_file' or 'a_file', the nearest names"
    )
    assert message(directory, {"targets_file": arguments["targets_file"]}) == (
        f"The dataloader of '{directory}' lacks 'a_file' and 'b_file'.\n  Fix: dataloader_args={{'a_file': ...}}"
    )
    without = {name: path for name, path in arguments.items() if name != "targets_file"}
    assert message(directory, without) == NO_TARGETS.format(name=f"'{directory}'")
    assert message(saved(in_order), {"count": 5, "b_file": arguments["b_file"]}) == (
        f"The rows of '{saved(in_order)}' cannot be shuffled: its dataloader goes from the first to the last.\n"
        "  Expected: shuffle=False\n"
        "  Fix: Shuffle the data themselves, or use dataloaders with random access."
    )
    file = directory / "model.yaml"
    assert message(file) == (
        f"There is no directory '{file}'.\n"
        "  Expected: a Kipoi directory, such as graph.save(...) writes\n"
        "  Received: a file"
    )


def test_a_folder_without_a_dataloader(tmp_path):
    assert message(tmp_path).startswith(f"The dataloader of '{tmp_path}' cannot be loaded.\n  Received: ")


class TwoArguments(Exception):
    def __init__(self, file: str, row: int):
        super().__init__(f"{file}: row {row} is broken")


class Broken(Rows):
    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 8:
            raise TwoArguments("x.bw", index)
        return super().__getitem__(index)


class Reads(Rows):
    """A dataloader whose own ``read`` means something else."""

    def read(self, path: str) -> str:
        return Path(path).read_text()


class FirstRowMissing(Rows):
    def __getitem__(self, index: int) -> dict[str, Any]:
        raise KeyError(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_that_python_cannot_take_from_process_to_process(workers):
    with pytest.raises(Exception, match=r"x\.bw: row 8 is broken"):
        fit(ks.training_data(Broken, {"count": 10}, batch_size=4, shuffle=False, workers=workers), shuffle=False)


def test_a_dataloader_with_a_method_called_read():
    data = ks.training_data(Reads, {"count": 10}, batch_size=4, shuffle=False)
    assert_same(data[2], ks.training_data(Rows, {"count": 10}, batch_size=4, shuffle=False)[2])


def test_a_first_row_that_cannot_be_read():
    assert message(FirstRowMissing, {"count": 3}) == (
        "The dataloader of FirstRowMissing cannot read its first row.\n  Received: KeyError: 0"
    )


def test_iterators_that_are_used_up_are_made_anew():
    class Once(Fours):
        def __init__(self, count: int):
            super().__init__(count)
            super().__iter__()

        def __iter__(self) -> Any:
            return self

    whole = list(ks.training_data(Fours, {"count": 10}, shuffle=False))
    for made, expected in zip(ks.training_data(Once, {"count": 10}, shuffle=False, steps=7), whole * 3, strict=False):
        assert_same(made, expected)
    assert len(list(ks.training_data(Once, {"count": 10}, shuffle=False, steps=7))) == 7


def test_numbers_of_numpy_and_bad_seeds():
    assert len(ks.training_data(Rows, {"count": 10}, batch_size=np.int64(4))) == 3
    for seed in (-1, "x", True):
        assert message(Rows, {"count": 3}, seed=seed) == (
            f"seed= is not a whole number, or too small.\n  Expected: 0 or more\n  Received: {seed!r}"
        )
