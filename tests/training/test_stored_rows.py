"""``ks.precompute``: what a dataloader gives, stored once, whatever ends the process, and read at random."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import kipoi
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training_data import (
    ROWS,
    assert_same,
    epochs,
    fit,
    from_tables,
    in_order,
    labelled,
    message,
    tables,
    two_outputs,
    write_table,
)

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.training import provenance, row_folder
from keras_stitch.training.provenance import Key, key_of
from keras_stitch.training.row_folder import folder_of, rows_so_far
from keras_stitch.training.stored_rows import Features, open_features, write_features

# A directory whose dataloader writes down which rows it reads, may be slow and may fail.
LOADERS = """
import os
import time

import numpy as np
from kipoi.data import Dataset
from kipoi.metadata import GenomicRanges


def row(i, targets, fail_at):
    if i == fail_at:
        raise KeyError("no such row")
    with open(os.environ["ROWS_LOG"], "a") as log:
        print(i, file=log)
    time.sleep(float(os.environ.get("ROW_SECONDS", 0)))
    rng = np.random.default_rng(i)
    made = {
        "inputs": {"a": rng.normal(size=(3, 2)).astype("float32"), "b": rng.integers(99, size=4)},
        "metadata": {"id": "r" * (i % 7) + str(i), "at": {"ranges": GenomicRanges(f"chr{i}", i, i + 5, f"x{i}")}},
    }
    if targets == "array":
        made["targets"] = rng.normal(size=1)
    if targets == "dict":
        made["targets"] = {"y": np.float16(i), "z": rng.normal(size=2) > 0}
    if targets == "empty":
        made["targets"] = {}
    return made


class Rows(Dataset):
    def __init__(self, count, targets="array", fail_at=None, tracks=None):
        self.arguments, self.count = (targets, fail_at), count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return row(i, *self.arguments)


def generate(count, targets="array", fail_at=None, tracks=None):
    for i in range(count):
        yield row(i, targets, fail_at)


def fives(count, targets="array", fail_at=None, tracks=None):
    from kipoi_utils.data_utils import numpy_collate

    for start in range(0, count, 5):
        yield numpy_collate([row(i, targets, fail_at) for i in range(start, min(count, start + 5))])
"""
KINDS = {"Dataset": "Rows", "SampleGenerator": "generate", "BatchGenerator": "fives"}


def write_directory(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "dataloader.py").write_text(LOADERS)
    (folder / "components").mkdir()
    (folder / "components" / "model.h5").write_bytes(b"weights")
    described = {"shape": "(1,)", "doc": "Numbers."}
    arguments = {name: {"doc": "Something.", "optional": name != "count"} for name in ("targets", "fail_at", "tracks")}
    description = {
        "type": kind,
        "defined_as": f"dataloader.py::{KINDS[kind]}",
        "args": {"count": {"doc": "Rows."}, **arguments},
        "info": {"authors": [{"name": "Ada"}], "doc": "Rows."},
        "output_schema": {"inputs": described, "targets": described},
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(description))
    return folder


@pytest.fixture
def directory(tmp_path, monkeypatch) -> Callable[[str], Path]:
    monkeypatch.setenv("ROWS_LOG", str(tmp_path / "rows.log"))
    return functools.cache(lambda kind="Dataset": write_directory(tmp_path / kind, kind))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return functools.cache(lambda make: make(tmp_path_factory.mktemp(make.__name__)))


def rows_read(folder: Path) -> list[int]:
    """The rows that were read since this was asked last."""
    log = folder / "rows.log"
    read = [int(line) for line in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return read


def loaded(directory: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """All rows of a dataloader, at once."""
    loader = kipoi.get_dataloader_factory(str(directory), source="dir")
    batches = list(loader(**arguments).batch_iter(batch_size=1000))
    return kipoi_concatenated(batches)


def kipoi_concatenated(batches: list[Any]) -> Any:
    first = batches[0]
    if hasattr(first, "keys"):
        return {key: kipoi_concatenated([batch[key] for batch in batches]) for key in first}
    return np.concatenate(batches)


def assert_bitwise(first: Any, second: Any) -> None:
    assert_same(first, second)
    for one, other in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True):
        assert one.dtype.kind == other.dtype.kind == "U" or one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.dtype.kind == "U" or one.tobytes() == other.tobytes()


def quietly(text: str) -> None:
    """Progress that nobody looks at."""


precompute = functools.partial(ks.precompute, progress=quietly)


# -- the same rows ----------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("targets", ["array", "dict"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_the_dataloaders(directory, tmp_path, kind, targets, workers):
    arguments = {"count": 23, "targets": targets}
    path = precompute(directory(kind), arguments, tmp_path / "new" / "x.h5", batch_size=4, workers=workers)
    features = open_features(path, batch_size=6, seed=1)
    expected = loaded(directory(kind), arguments)
    expected["metadata"]["at"]["ranges"] = dict(expected["metadata"]["at"]["ranges"])
    assert_bitwise(features.read(np.arange(23)), expected)
    some = [7, 0, 22, 7]
    assert_bitwise(features.read(some), keras.tree.map_structure(lambda array: array[some], expected))
    assert len(features) == 4
    assert [len(features[index][0]["a"]) for index in range(4)] == [6, 6, 6, 5]
    order = np.concatenate([features.rows_of(index) for index in range(4)])
    inputs, targets = (kipoi_concatenated(list(part)) for part in zip(*(features[i] for i in range(4)), strict=True))
    assert sorted(order) == list(range(23)) != list(order)
    assert_bitwise(inputs, keras.tree.map_structure(lambda array: array[order], expected["inputs"]))
    assert_bitwise(targets, keras.tree.map_structure(lambda array: array[order], expected["targets"]))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["x.h5"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [from_tables, in_order, two_outputs])
def test_directories_of_graphs(saved, tmp_path, make, workers):
    arguments: dict[str, Any] = tables(tmp_path)
    if make is two_outputs:
        arguments["targets_file"] = write_table(tmp_path / "two.tsv", ["lung", "liver"], lambda i: [100 - i, i])
    if make is in_order:
        arguments |= {"count": ROWS}
        del arguments["a_file"]
    path = precompute(saved(make), arguments, tmp_path / "x.h5", batch_size=8, workers=workers)
    loader = kipoi.get_dataloader_factory(str(saved(make)), source="dir")
    whole = next(
        iter(loader(**{k: v if k == "count" else str(v) for k, v in arguments.items()}).batch_iter(batch_size=1000))
    )
    stored = open_features(path).read(np.arange(ROWS))
    for part in ("inputs", "targets", "metadata"):
        assert_bitwise(stored[part], whole[part])
    # In the order of an epoch, as from the dataloader itself.
    data = ks.training_data(path, arguments, batch_size=8, seed=3, workers=workers)
    assert isinstance(data, Features)
    batches = fit(data, epochs=2, shuffle=False)
    if make is not two_outputs:
        orders = [labelled(epoch) for epoch in epochs(batches, 4)]
        assert [sorted(order) for order in orders] == [list(range(ROWS))] * 2
        assert orders[0] != orders[1]
    if make is from_tables:
        direct = ks.training_data(saved(make), arguments, batch_size=8, seed=3)
        assert_same([tuple(batch) for batch in fit(direct, epochs=2, shuffle=False)], [tuple(b) for b in batches])


def test_fit_predict_and_validation(saved, tmp_path):
    path = precompute(saved(from_tables), tables(tmp_path), tmp_path / "x.h5")
    model = keras.saving.load_model(saved(from_tables) / "model_files" / "model.keras")
    model.compile(keras.optimizers.Adam(0.1), "mse")
    training, validation = ks.training_data(path, batch_size=8), ks.training_data(path, batch_size=7, shuffle=False)
    losses = model.fit(training, validation_data=validation, epochs=15, verbose=0).history["val_loss"]
    assert losses[-1] < losses[0]
    assert model.predict(validation, verbose=0).shape == (ROWS, 1)


STRUCTURES: dict[str, Any] = {
    "array": np.arange(6.0).reshape(3, 2),
    "list": [np.arange(3), np.ones((3, 2), "float16")],
    "tuple": (np.arange(3), np.ones((3, 2, 2), bool)),
    "nested": {"x": [np.zeros((3, 0)), {"y/z": np.arange(3, dtype=">f8"), ".": np.ones(3, "complex64")}]},
    "text": {"words": np.array(["a", "häßlich\n", ""]), "more": np.array([["x", "y"]] * 3)},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(tmp_path, name):
    inputs = STRUCTURES[name]
    metadata = {
        "none": [None, 1, "x"],
        "bytes": np.array([b"ab", b"\xff", b""]),
        "when": np.array(["2020-01-01"] * 3, "M8"),
    }
    batch = {"inputs": inputs, "targets": [], "metadata": metadata}
    features = open_features(write_features(tmp_path / "x.h5", lambda start: iter([batch]), rows=None, key=Key({})))
    stored = features.read(np.arange(3))
    assert_bitwise(stored["inputs"], inputs)
    assert type(stored["inputs"]) is type(inputs)
    assert stored["targets"] == {} and not features.has_targets
    given = features[0][0]
    if name == "text":  # which fit takes as tensors only
        given = {key: np.char.decode(np.asarray(text).astype("S"), "utf-8") for key, text in given.items()}
    assert_bitwise(given, keras.tree.map_structure(lambda array: array[features.rows_of(0)], inputs))
    assert {key: array.tolist() for key, array in stored["metadata"].items()} == {
        "none": ["None", "1", "x"],
        "bytes": ["ab", "\\xff", ""],
        "when": ["2020-01-01"] * 3,
    }


def test_copies_read_in_other_processes(directory, tmp_path):
    features = open_features(precompute(directory(), {"count": 9}, tmp_path / "x.h5"), batch_size=4, seed=0)
    batch = features[1]
    copy = pickle.loads(pickle.dumps(features))
    assert len(pickle.dumps(features)) < 10_000
    assert_same(copy[1], batch)
    assert in_child(lambda: assert_same(features[1], batch)) == 0
    with pytest.raises(IndexError):
        features[3]
    with pytest.raises(IndexError):
        features.read([9])
    features[0][0]["a"][:] = 0  # the user's own copy
    assert_same(features[1], batch)


def test_the_file_says_what_it_is(directory, tmp_path):
    path = precompute(directory(), {"count": 9}, tmp_path / "x.h5")
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"keras_stitch_features": 1, "rows": 9}
        about = json.loads(file["about"][()])
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert {len(file[name]) for name in set(names) - {"about"}} == {9}
        assert file["metadata/at/ranges/chr"].asstr()[8] == "chr8"
    assert {"inputs/a", "inputs/b", "targets", "metadata/id", "metadata/at/ranges/strand"} <= set(names)
    assert about["version"] == ks.__version__
    assert about["key"]["directory"] == str(directory())
    assert about["key"]["arguments"] == {"count": 9}
    assert sorted(about["key"]["files"]) == ["components/model.h5", "dataloader.py", "dataloader.yaml"]


# -- stopped and continued ----------------------------------------------------------


def in_child(do: Callable[[], Any]) -> int:
    """Runs a function in a process of its own, and returns its exit status; -9 if it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        do()
        status = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


ARRAYS = {
    "inputs": {"x": np.arange(20.0).reshape(10, 2)},
    "targets": np.arange(10),
    "metadata": {"id": np.array([f"{'long' * (i % 3)}{i}" for i in range(10)])},
}


def cut(start: int, stop: int) -> Any:
    return keras.tree.map_structure(lambda array: array[start:stop], ARRAYS)


def threes(start: int) -> Iterator[Any]:
    for at in range(start, 10, 3):
        yield cut(at, min(10, at + 3))


def die_at(number: int) -> None:
    """Has this process killed before its so-manieth change of the disk."""
    calls = itertools.count(1)

    def dying(place: Any, name: str) -> None:
        function = getattr(place, name)

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        setattr(place, name, call)

    for place, name in [
        *((os, name) for name in ("open", "pwrite", "fsync", "replace", "rename", "unlink", "rmdir")),
        *((Path, name) for name in ("mkdir", "replace", "write_text", "unlink")),
        *((h5py.File, name) for name in ("__init__", "create_dataset", "close")),
        (h5py.Dataset, "__setitem__"),
    ]:
        dying(place, name)


def write_threes(path: Path) -> Path:
    return write_features(path, threes, rows=10, key=Key({"m.h5": "ab"}), progress=quietly)


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(row_folder, "SECONDS", 0.0)
    whole = write_threes(tmp_path / "whole.h5").read_bytes()
    so_far = set()
    for number in itertools.count(1):
        path = tmp_path / f"{number}.h5"
        status = in_child(lambda path=path, number=number: (die_at(number), write_threes(path)))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        done = rows_so_far(path)
        so_far.add(done)
        if path.exists():
            assert path.read_bytes() == whole
        starts: list[int] = []
        write_features(
            path,
            lambda start, starts=starts: (starts.append(start), threes(start))[1],
            rows=10,
            key=Key({"m.h5": "ab"}),
            progress=quietly,
        )
        assert starts in ([], [done[0] if done else 0])
        assert path.read_bytes() == whole
        assert not folder_of(path).exists()
    assert number > 60
    assert so_far == {None, (0, 10), (3, 10), (6, 10), (9, 10), (10, 10)}


def test_a_process_that_is_killed_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(row_folder, "SECONDS", 0.0)
    whole = write_threes(tmp_path / "whole.h5").read_bytes()
    chosen = random.Random(0)
    path = tmp_path / "x.h5"
    deaths = 0
    while in_child(lambda: (die_at(chosen.randint(25, 60)), write_threes(path))):
        deaths += 1
        chosen.random()  # the child has a generator of its own
        assert deaths < 100
    assert deaths > 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_precompute_killed_from_outside(directory, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(row_folder, "SECONDS", 0.0)
    arguments = {"count": 60, "targets": "dict"}
    path, whole = tmp_path / "x.h5", precompute(directory(kind), arguments, tmp_path / "whole.h5", batch_size=4)
    rows_read(tmp_path)
    monkeypatch.setenv("ROW_SECONDS", "0.002")
    chosen, before, kills = random.Random(1), 0, 0
    while not path.exists():
        child = os.fork()
        if not child:
            try:
                precompute(directory(kind), arguments, path, batch_size=4)
            finally:
                os._exit(0)
        # Iterators begin again each time, and have to get further; so has a process of a busy machine.
        time.sleep(chosen.uniform(0.02, 0.1) + (0.002 if kind == "Dataset" else 0.03) * kills)
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] != 0
        read, so_far = rows_read(tmp_path), rows_so_far(path)
        if read:
            assert read[0] == (before if kind == "Dataset" else 0)
        assert path.exists() or so_far is None or so_far[0] >= before
        before = so_far[0] if so_far else before
        assert kills < 200
    assert kills
    precompute(directory(kind), arguments, path, batch_size=4)
    assert path.read_bytes() == whole.read_bytes()


@settings(max_examples=15)
@given(st.integers(1, 12), st.integers(1, 7), st.lists(st.integers(1, 4), max_size=4))
def test_the_same_file_wherever_it_stops(tmp_path_factory, rows, batch_size, stops):
    folder = tmp_path_factory.mktemp("stops")
    key = Key({})

    def batches(start: int, most: int | None = None) -> Iterator[Any]:
        for at in itertools.islice(range(start, rows, batch_size), most):
            yield cut(at, min(rows, at + batch_size)) if rows <= 10 else doubled(at, min(rows, at + batch_size))
        if most is not None:
            raise KeyboardInterrupt

    def doubled(start: int, stop: int) -> Any:
        return keras.tree.map_structure(lambda array: np.concatenate([array, array])[start:stop], ARRAYS)

    whole = write_features(folder / "whole.h5", batches, rows=rows, key=key)
    path = folder / "x.h5"
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            write_features(path, lambda start, stop=stop: batches(start, stop), rows=rows, key=key)
        assert not path.exists()
    write_features(path, batches, rows=rows, key=key)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dataloader_that_fails_and_is_mended(directory, tmp_path, monkeypatch, kind, workers):
    folder, path = directory(kind), tmp_path / "x.h5"
    whole = precompute(folder, {"count": 23}, tmp_path / "whole.h5", batch_size=4)
    options = {"batch_size": 4, "workers": workers}
    # Code that fails for a reason of its own.
    (folder / "dataloader.py").write_text(LOADERS.replace("i == fail_at", "str(i) == os.environ.get('FAIL_AT')"))
    monkeypatch.setenv("FAIL_AT", "13")
    with pytest.raises(StitchError) as caught:
        precompute(folder, {"count": 23}, path, **options)
    assert re.fullmatch(
        f"The dataloader of '{folder}' fails at the batch from row (12|10) on.\n"
        "  Received: KeyError: .*no such row.*\n"
        "  Fix: Rows before it are kept: unless the directory or its data change, the same call goes on there.",
        str(caught.value),
        re.DOTALL,
    )
    done = 10 if kind == "BatchGenerator" else 12
    assert rows_so_far(path) == (done, 23 if kind == "Dataset" else None)
    assert not path.exists()
    monkeypatch.delenv("FAIL_AT")
    rows_read(tmp_path)
    precompute(folder, {"count": 23}, path, **options)
    # Workers of the first call may read on for a moment, some rows of the second among them.
    assert sorted(set(rows_read(tmp_path))) == list(range(done if kind == "Dataset" else 0, 23))
    everything = np.arange(23)
    assert_bitwise(open_features(path).read(everything), open_features(whole).read(everything))
    precompute(folder, {"count": 23}, path, **options)
    assert rows_read(tmp_path) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_in_a_directory_of_a_graph(saved, tmp_path, workers):
    swapped = [*range(24), 25, 24, *range(26, ROWS)]
    right, wrong = tables(tmp_path / "right"), tables(tmp_path / "wrong", targets=swapped)
    path = tmp_path / "x.h5"
    with pytest.raises(StitchError, match=r"^Row 24 is not the same in all parts") as caught:
        precompute(saved(from_tables), wrong, path, batch_size=4, workers=workers)
    assert "\n  Received: 'row24' in 'a', 'row25' in 'targets'\n" in str(caught.value)
    assert rows_so_far(path) == (24, ROWS)
    with pytest.raises(StitchError, match="these are not the same: targets_file"):
        precompute(saved(from_tables), right, path)
    shutil.rmtree(folder_of(path))
    precompute(saved(from_tables), right, path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_directory_of_a_graph_goes_on(saved, tmp_path, workers):
    arguments = tables(tmp_path)
    whole, path = precompute(saved(from_tables), arguments, tmp_path / "whole.h5", batch_size=4), tmp_path / "x.h5"

    def stop(text: str) -> None:
        if text == "12 of 30 rows":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ks.precompute(saved(from_tables), arguments, path, batch_size=4, progress=stop, workers=workers)
    assert rows_so_far(path) == (12, ROWS)
    said: list[str] = []
    ks.precompute(saved(from_tables), arguments, path, batch_size=4, progress=said.append, workers=workers)
    assert said[0] == "16 of 30 rows" and said[-1] == "30 of 30 rows"
    assert path.read_bytes() == whole.read_bytes()


def test_nothing_is_left_where_the_first_row_fails(directory, tmp_path):
    with pytest.raises(StitchError, match="fails at the batch from row 0 on"):
        precompute(directory(), {"count": 4, "fail_at": 0}, tmp_path / "sub" / "x.h5")
    assert list((tmp_path / "sub").iterdir()) == []


def test_two_processes(tmp_path):
    def batches(start: int) -> Iterator[Any]:
        def second() -> None:
            with pytest.raises(StitchError) as caught:
                write_threes(tmp_path / "x.h5")
            folder = folder_of(tmp_path / "x.h5")
            assert str(caught.value) == (
                f"Another process is writing into '{folder}'.\n  Fix: Wait for it, or choose another path."
            )

        assert in_child(second) == 0
        yield from threes(start)

    write_features(tmp_path / "x.h5", batches, rows=10, key=Key({"m.h5": "ab"}))


# -- what does not fit ----------------------------------------------------------------


def refused(do: Callable[[], Any]) -> str:
    with pytest.raises(StitchError) as caught:
        do()
    return str(caught.value)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] + "..."


@pytest.fixture
def made(directory, tmp_path):
    """A directory, arguments with files of data, and rows of both."""
    track = tmp_path / "track.bw"
    track.write_text("1 2 3")
    arguments = {"count": 5, "tracks": [str(track), "x"]}
    return directory(), arguments, precompute(directory(), arguments, tmp_path / "x.h5"), track


def test_unfinished_rows_are_no_training_data(directory, tmp_path):
    path = tmp_path / "x.h5"
    for kind, done in (("Dataset", "8 rows"), ("SampleGenerator", "8 rows so far")):
        with pytest.raises(StitchError):
            precompute(directory(kind), {"count": 23, "fail_at": 9}, path, batch_size=4)
        for source in (path, folder_of(path)):
            assert refused(lambda source=source: ks.training_data(source)) == (
                f"'{source}' is not finished.\n"
                f"  Expected: {'23' if kind == 'Dataset' else 'all'} rows\n"
                f"  Received: {done}\n"
                "  Fix: Call precompute(...) as before; it goes on where it stopped."
            )
        shutil.rmtree(folder_of(path))


def test_without_a_change(made, tmp_path):
    directory, arguments, path, track = made
    for same in (None, arguments):
        assert ks.training_data(path, same).rows == 5
    assert ks.training_data(path, directory=directory).rows == 5
    # What does not decide about the rows.
    for name in ("README.md", "model.yaml", "stitch.yaml", ".gitignore"):
        (directory / name).write_text("new")
    for name in ("model_files", "example_files", "downloaded", "components/downloaded", "__pycache__"):
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "file").write_text("new")
    assert precompute(directory, arguments, path) == path
    # The same content elsewhere.
    copy = shutil.copy(track, tmp_path / "copy.bw")
    assert ks.training_data(path, {**arguments, "tracks": [copy, "x"]}).rows == 5
    moved = directory.rename(tmp_path / "moved")
    assert ks.training_data(path, directory=moved).rows == 5
    # What is gone is no change.
    track.unlink()
    assert ks.training_data(path).rows == 5
    assert ks.training_data(path, arguments).rows == 5


def test_stale_rows(made, tmp_path):
    directory, arguments, path, track = made
    stale = f"'{path}' is stale; these are not as they were when it was precomputed: "
    fix = f"  Fix: Delete '{path}', and call ks.precompute(...) again."
    assert refused(lambda: ks.training_data(path, {**arguments, "count": 6, "targets": "dict"})) == (
        f"{stale}count, targets.\n"
        f"  Expected: count: 5; targets: not given\n  Received: count: 6; targets: 'dict'\n{fix}"
    )
    first = sha(track)
    track.write_text("1 2 4")
    assert refused(lambda: ks.training_data(path)) == (
        f"{stale}tracks[0].\n"
        f"  Expected: tracks[0]: '{track}' of 5 bytes, sha256 {first}\n"
        f"  Received: tracks[0]: '{track}' of 5 bytes, sha256 {sha(track)}\n{fix}"
    )
    track.write_text("1 2 3 4")
    assert refused(lambda: ks.training_data(path)) == (
        f"{stale}tracks[0].\n"
        f"  Expected: tracks[0]: '{track}' of 5 bytes, sha256 {first}\n"
        f"  Received: tracks[0]: '{track}' of 7 bytes\n{fix}"
    )
    track.write_text("1 2 3")
    model = directory / "components" / "model.h5"
    first = sha(model)
    model.write_bytes(b"other weights")
    described = f"{provenance.hashes(directory)['dataloader.yaml'][:12]}..."
    (directory / "dataloader.yaml").rename(tmp_path / "away")
    (directory / "new.py").write_text("")
    assert refused(lambda: ks.training_data(path)) == (
        f"{stale}components/model.h5, dataloader.yaml, new.py.\n"
        f"  Expected: components/model.h5: sha256 {first}; "
        f"dataloader.yaml: sha256 {described}; new.py: not there\n"
        f"  Received: components/model.h5: sha256 {sha(model)}; "
        f"dataloader.yaml: not there; new.py: sha256 {sha(directory / 'new.py')}\n{fix}"
    )


def test_rows_of_something_else_are_not_touched(made, directory, tmp_path):
    folder, arguments, path, _ = made
    before = path.read_bytes()
    assert refused(lambda: precompute(folder, {**arguments, "count": 6}, path)) == (
        f"'{path}' holds rows of something else; these are not the same: count.\n"
        "  Expected: count: 5\n"
        "  Received: count: 6\n"
        f"  Fix: Delete '{path}', or choose another path."
    )
    assert path.read_bytes() == before
    other, part = tmp_path / "y.h5", folder_of(tmp_path / "y.h5")
    with pytest.raises(StitchError):
        precompute(folder, {"count": 5, "fail_at": 4}, other, batch_size=2)
    assert refused(lambda: precompute(folder, {"count": 5}, other)) == (
        f"'{part}' holds unfinished rows of something else; these are not the same: fail_at.\n"
        "  Expected: fail_at: 4\n"
        "  Received: fail_at: not given\n"
        f"  Fix: Delete '{part}', or choose another path."
    )
    assert rows_so_far(other) == (4, 5)
    for name in ("inputs.h5", "text.h5"):
        taken = tmp_path / name
        if name == "text.h5":
            taken.write_text("somebody's")
        else:
            with h5py.File(taken, "w") as file:
                file["inputs"] = np.ones(3)
        before = taken.read_bytes()
        assert "a file that precompute(...) wrote" in refused(lambda taken=taken: precompute(folder, arguments, taken))
        assert taken.read_bytes() == before
    folder_of(tmp_path / "z.h5").mkdir()
    (folder_of(tmp_path / "z.h5") / "thesis.doc").write_text("")
    assert refused(lambda: precompute(folder, arguments, tmp_path / "z.h5")) == (
        f"'{folder_of(tmp_path / 'z.h5')}' is where unfinished rows would lie, and holds something else.\n"
        "  Received: thesis.doc\n  Fix: Move it away, or choose another path."
    )


def test_files_that_are_none(tmp_path, directory):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["inputs"] = np.ones(3)
    said = (
        f"'{path}' holds no precomputed rows.\n"
        "  Expected: a file that precompute(...) wrote\n"
        "  Received: HDF5 with inputs"
    )
    assert refused(lambda: ks.training_data(path)) == refused(lambda: open_features(path)) == said
    with h5py.File(path, "a") as file:
        file.attrs["keras_stitch_features"] = 2
    assert refused(lambda: open_features(path)) == (
        f"'{path}' was written by another version of keras_stitch.\n"
        "  Expected: format 1\n  Received: format 2\n  Fix: Precompute it again, or use that version."
    )
    with_targets = precompute(directory(), {"count": 3}, tmp_path / "y.h5")
    without = precompute(directory(), {"count": 3, "targets": "empty"}, tmp_path / "z.h5")
    assert message(without) == (
        f"The dataloader of '{without}' gives no targets to train on.\n"
        "  Fix: Give it targets_file in dataloader_args; a directory takes one if it was saved with targets=."
    )
    assert message(with_targets, steps=3).startswith("steps= is for dataloaders that go from the first row to the last")
    assert message(with_targets, directory="nowhere") == (
        "There is no directory 'nowhere'.\n  Expected: the one that the rows were made from"
    )
    assert message(directory(), {"count": 3}, directory=directory()) == (
        f"directory= is for precomputed rows.\n  Received: the dataloader of '{directory()}'"
    )


def test_mistakes(directory, tmp_path):
    path = tmp_path / "x.h5"
    assert refused(lambda: ks.precompute("nowhere", {}, path)) == (
        "precompute(...) takes a directory.\n"
        "  Expected: a Kipoi directory, such as graph.save(...) writes\n"
        "  Received: 'nowhere'"
    )
    assert refused(lambda: ks.precompute(directory(), {"count": 3, "tracks": {"a": [np.ones(2)]}}, path)) == (
        "The argument tracks['a'][0] cannot be written down: nobody could tell later what rows were made from.\n"
        "  Expected: text, a number, True, False, None, a path, or lists and dicts of these\n"
        "  Received: array([1., 1.])"
    )
    assert refused(lambda: ks.precompute(directory(), {"count": 3, "x": 1}, path)).startswith(
        f"The dataloader of '{directory()}' has no argument 'x'."
    )
    assert refused(lambda: ks.precompute(directory(), {"count": 0}, path)) == (
        f"The dataloader of '{directory()}' has no rows."
    )
    assert (
        refused(lambda: precompute(directory("SampleGenerator"), {"count": 0}, path))
        == f"There are no rows for '{path}'."
    )
    assert refused(lambda: ks.precompute(directory(), {"count": 3}, path, batch_size=0)).startswith(
        "batch_size= is not"
    )
    assert not path.exists() and not folder_of(path).exists()
    assert key_of(directory(), {"count": np.int64(3)}) == key_of(directory(), {"count": 3})


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            {"inputs": np.ones((2, 3), "float32")},
            "  Expected: inputs with dtype <f8 and shape (3,)\n  Received: inputs with dtype <f4 and shape (3,)\n",
        ),
        (
            {"inputs": np.ones((2, 4))},
            "  Expected: inputs with dtype <f8 and shape (3,)\n  Received: inputs with dtype <f8 and shape (4,)\n",
        ),
        (
            {"inputs": np.ones((2, 3)), "targets": np.ones(2)},
            "  Expected: no targets\n  Received: targets with dtype <f8 and shape ()\n",
        ),
    ],
)
def test_batches_that_differ(tmp_path, second, said):
    batches = [{"inputs": np.ones((2, 3))}, second]
    write = functools.partial(write_features, tmp_path / "x.h5", lambda start: iter(batches), rows=None, key=Key({}))
    assert refused(write) == (
        f"The batch from row 2 on is not like those before it.\n{said}"
        "  Fix: All rows need the same arrays, each with one dtype and one shape."
    )
    assert rows_so_far(tmp_path / "x.h5") == (2, None)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"targets": np.ones(2)}, "There are no inputs in a batch.\n  Expected: a dict with 'inputs'\n"),
        (
            {"inputs": np.ones(2), "targets": np.ones(3)},
            "The arrays of a batch do not have the same number of rows.\n  Received: 2 in inputs, 3 in targets",
        ),
        ({"inputs": [1, None]}, "inputs cannot be stored.\n  Expected: numbers, truth values or text\n"),
        ({"inputs": np.ones(2), "metadata": {"n": 3}}, "metadata/n does not have one entry for each row.\n"),
        ({"inputs": {1: np.ones(2)}}, "A dict in inputs has keys that are no text.\n  Received: [1]"),
        ({"inputs": np.ones(2), "metadata": ["a\0b", "c"]}, "metadata cannot be stored: HDF5 has no text with a null"),
    ],
)
def test_batches_that_cannot_be_stored(tmp_path, batch, said):
    path = tmp_path / "x.h5"
    assert refused(lambda: write_features(path, lambda start: iter([batch]), rows=None, key=Key({}))).startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_too_many_or_too_few_rows(tmp_path):
    for rows in (9, 11):
        path = tmp_path / f"{rows}.h5"
        assert refused(lambda path=path, rows=rows: write_features(path, threes, rows=rows, key=Key({}))) == (
            f"Other rows came for '{path}' than there should be.\n"
            f"  Expected: {rows}\n  Received: 10\n"
            f"  Fix: Delete '{folder_of(path)}' if the data have changed."
        )


def test_a_disk_that_takes_no_more(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(row_folder, "_write", full)
        assert refused(lambda: write_threes(path)).startswith(
            f"'{folder_of(path)}' cannot be written: No space left on device.\n"
        )
    assert write_threes(path).is_file()


def largest_memory() -> int:
    """What this process has had at most, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_memory_and_speed(tmp_path):
    """The rows are not held in memory, and a batch of them takes little time; it is measured with much to spare."""
    rows, width = 200_000, 200
    block = np.random.default_rng(0).normal(size=(10_000, width)).astype("float32")

    def batches(start: int) -> Iterator[Any]:
        for at in range(start, rows, len(block)):
            yield {
                "inputs": block + np.float32(at),
                "targets": np.arange(at, at + 10_000, dtype="float32")[:, None],
            }

    before = largest_memory()
    path = write_features(tmp_path / "x.h5", batches, rows=rows, key=Key({}))
    assert largest_memory() - before < 60e6 < rows * width * 4 / 2
    features = open_features(path, seed=0)
    features[0]
    start = time.perf_counter()
    for index in range(200):
        inputs, targets = features[index]
    assert (time.perf_counter() - start) / 200 < 5e-3
    at = features.rows_of(199)
    np.testing.assert_array_equal(targets[:, 0], at)
    np.testing.assert_array_equal(inputs, block[at % 10_000] + (at // 10_000 * 10_000).astype("float32")[:, None])


def test_words_about_a_dataloader_do_not_count(tmp_path):
    (tmp_path / "dataloader.py").write_text('class A:\n    """Reads. Example: x.npy"""\n\n    width = 3\n')
    said = {"defined_as": "dataloader.A", "args": {"x": {"doc": "X.", "example": "x.npy"}}, "info": {"doc": "A."}}
    (tmp_path / "dataloader.yaml").write_text(yaml.safe_dump(said))
    before = provenance.hashes(tmp_path)
    (tmp_path / "dataloader.py").write_text('class A:\n    """Reads. Example: y.npy"""\n\n    width = 3\n')
    said = {**said, "args": {"x": {"doc": "Y.", "example": "y.npy"}}, "info": {"doc": "B.", "license": "MIT"}}
    (tmp_path / "dataloader.yaml").write_text(yaml.safe_dump(said))
    assert provenance.hashes(tmp_path) == before
    (tmp_path / "dataloader.py").write_text('class A:\n    """Reads. Example: y.npy"""\n\n    width = 4\n')
    (tmp_path / "dataloader.yaml").write_text(yaml.safe_dump({**said, "args": {"z": {}}}))
    assert {name for name, checksum in provenance.hashes(tmp_path).items() if checksum != before[name]} == set(before)


def test_a_model_that_is_no_keras_model_does_not_count(tmp_path):
    folder = tmp_path / "components" / "top" / "packed_model"
    other = tmp_path / "components" / "first" / "packed_model"
    for place in (folder, other):
        place.mkdir(parents=True)
        (place / "model.pkl").write_bytes(b"a")
    args = {"pkl_file": "components/top/packed_model/model.pkl", "predict_method": "predict"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    assert list(provenance.hashes(tmp_path)) == ["components/first/packed_model/model.pkl"]
