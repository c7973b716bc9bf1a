"""Files and arguments that somebody made to do harm: each is one error of ours, and exit status 2."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.cli import main
from keras_stitch.errors import StitchError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.kipoi.component import resolve
from keras_stitch.kipoi.templates import template_module
from keras_stitch.models.sample_rows import read_data
from keras_stitch.training.provenance import Key
from keras_stitch.training.stored_rows import open_features, write_features
from keras_stitch.workflow.predict_directory import predict, read_arguments

AGAIN = "\n  Fix: Copy or download it again."
DEEP = "it is nested more than 200 levels deep"
LONG_NAME, LONG_PATH = "a" * 300, "/".join(["abc"] * 2000)
TOO_LONG = "takes a path, and this is longer than the system takes."


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model in every form."""
    folder = tmp_path_factory.mktemp("saved")
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(2, name="dense")])
    with quiet_keras():
        model.save(folder / "m.keras")
        model.save(folder / "m.h5")
        model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    return folder


def nested(text: str, levels: int) -> str:
    """The architecture with lists in lists somewhere in it."""
    return text[:-1] + ', "extra": ' + "[" * levels + "]" * levels + "}"


def archive(saved: Path, folder: Path, **members: str | bytes) -> Path:
    """The model's archive with other texts in its members."""
    path = folder / "changed.keras"
    with zipfile.ZipFile(saved / "m.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.partition(".")[0], old.read(name)))
    return path


def with_attribute(saved: Path, folder: Path, name: str, value: Any) -> Path:
    """The model in HDF5 with another attribute."""
    path = folder / "changed.h5"
    shutil.copyfile(saved / "m.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    return path


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as caught:
        ks.Graph().add("m", source, **options)
    return str(caught.value).replace(f"'{source}'", "'FILE'")


# -- the architecture, and what is said about it --------------------------------------------------


@pytest.mark.parametrize("levels", [250, 1_000, 100_000])
def test_architectures_that_are_deep(saved: Path, tmp_path: Path, levels: int) -> None:
    text = nested((saved / "m.json").read_text(), levels)
    expected = f"The architecture in 'FILE' is damaged: {DEEP}.{AGAIN}"
    assert refusal(archive(saved, tmp_path, config=text)) == expected
    assert refusal(with_attribute(saved, tmp_path, "model_config", text)) == expected
    arch = tmp_path / "arch.json"
    arch.write_text(text)
    assert refusal(saved / "m.weights.h5", arch=arch).endswith(f"  Received: {DEEP}")
    assert refusal(archive(saved, tmp_path, metadata=text)) == f"'FILE' is a damaged .keras file: {DEEP}.{AGAIN}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('"units": 2', f'"units": {"9" * 5000}'), "a number has more than 100 digits"),
        (('"units": 2', '"units": 2, "units": 2'), "the key 'units' stands there twice"),
        (('"name": "dense"', '"name": "den\\ud800"'), "it holds half of a surrogate pair, which is no character"),
    ],
)
def test_architectures_that_nobody_means(saved: Path, tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    text = (saved / "m.json").read_text().replace(*change)
    expected = f"The architecture in 'FILE' is damaged: {reason}.{AGAIN}"
    assert refusal(archive(saved, tmp_path, config=text)) == expected
    assert refusal(with_attribute(saved, tmp_path, "model_config", text)) == expected


def test_an_architecture_that_is_no_text(saved: Path, tmp_path: Path) -> None:
    text = (saved / "m.json").read_bytes().replace(b'"dense"', b'"den\xff"')
    assert "can't decode byte 0xff" in refusal(archive(saved, tmp_path, config=text))
    assert "can't decode byte 0xff" in refusal(with_attribute(saved, tmp_path, "model_config", np.bytes_(text)))


@pytest.mark.parametrize("version", ["2²", "9" * 5000, "2.1e²", "٢.2"])
def test_versions_that_are_none(saved: Path, tmp_path: Path, version: str) -> None:
    expected = (
        "'FILE' is damaged. The version of the Keras that wrote it is none.\n"
        f"  Expected: numbers such as 2.2.4 or 3.10.0\n  Received: {repr(version)[:100]}{AGAIN}"
    )
    assert refusal(archive(saved, tmp_path, metadata=json.dumps({"keras_version": version}))) == expected
    assert refusal(with_attribute(saved, tmp_path, "keras_version", version)) == expected


@pytest.mark.parametrize("version", [["2.1"], {}, 2, 2.5, True, None])
def test_versions_that_are_no_text(saved: Path, tmp_path: Path, version: Any) -> None:
    metadata = {"keras_version": version}
    assert refusal(archive(saved, tmp_path, metadata=json.dumps(metadata))) == (
        "'FILE' is damaged: its metadata.json does not say which Keras wrote it.\n"
        f'  Expected: a mapping such as {{"keras_version": "3.10.0"}}\n  Received: {metadata}{AGAIN}'
    )
    if version not in (None, {}):
        said = refusal(with_attribute(saved, tmp_path, "keras_version", version))
        assert said.startswith("'FILE' is a damaged HDF5 file: text was expected, and not ")


@pytest.mark.parametrize("metadata", ["[]", "3", '"x"', "null"])
def test_metadata_of_another_type(saved: Path, tmp_path: Path, metadata: str) -> None:
    said = refusal(archive(saved, tmp_path, metadata=metadata))
    assert said.startswith("'FILE' is damaged: its metadata.json does not say which Keras wrote it.")


@pytest.mark.parametrize("metadata", ["", "{", b"\xff\xfe"])
def test_metadata_that_are_no_json(saved: Path, tmp_path: Path, metadata: str | bytes) -> None:
    assert refusal(archive(saved, tmp_path, metadata=metadata)).startswith("'FILE' is a damaged .keras file: ")


# -- archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "method", "version", "reason"),
    [
        (0x01, None, None, "is encrypted, password required for extraction"),
        (0x41, None, None, "strong encryption (flag bit 6)"),
        (0x20, None, None, "compressed patched data (flag bit 5)"),
        (0, 99, None, "That compression method is not supported"),
        (0, 9, None, "That compression method is not supported"),
        (0, None, 99, "zip file version 9.9"),
        (0, 8, None, ""),
        (0, 12, None, ""),
        (0, 14, None, ""),
    ],
)
@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_members_that_python_cannot_read(
    saved: Path, tmp_path: Path, member: str, flags: int, method: int | None, version: int | None, reason: str
) -> None:
    path = tmp_path / "changed.keras"
    content = bytearray((saved / "m.keras").read_bytes())
    with zipfile.ZipFile(saved / "m.keras") as whole:
        local = whole.getinfo(member).header_offset
    central = content.rindex(member.encode()) - 46
    for start in (local + 6, central + 8):
        had_flags, had_method = struct.unpack_from("<HH", content, start)
        struct.pack_into("<HH", content, start, had_flags | flags, had_method if method is None else method)
    if version is not None:
        content[central + 6] = version
    path.write_bytes(content)
    said = refusal(path)
    assert said.startswith("'FILE' is a damaged .keras file: ") and reason in said and said.endswith(AGAIN)


# -- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LONG_NAME, LONG_PATH])
def test_paths_that_are_too_long(saved: Path, path: str) -> None:
    assert refusal(path).startswith(f"The source of submodel 'm' {TOO_LONG}\n  Received: '{path[:99]}")
    assert refusal(saved / "m.weights.h5", arch=path).startswith(f"arch= of submodel 'm' {TOO_LONG}")
    said = refusal(saved / "m.h5", custom_objects=f"{path}.py")
    assert said.startswith(f"custom_objects= of submodel 'm' {TOO_LONG}")
    assert "cannot be imported" in refusal(saved / "m.h5", custom_objects=LONG_NAME)
    for call in (ks.Graph.from_yaml, ks.Graph().to_yaml, ks.Graph().save, ks.Graph().plot):
        with pytest.raises(StitchError, match="longer than the system takes"):
            call(path)


def test_paths_that_no_file_has(saved: Path) -> None:
    assert "takes a path" in refusal("a\0b")
    assert "takes a path, and no file can have this name" in refusal("a\ud800")


@pytest.mark.parametrize("path", [LONG_NAME, LONG_PATH])
@pytest.mark.parametrize(
    "command",
    [
        "inspect {}", "inspect m.weights.h5 --arch {}", "inspect m.h5 --custom-objects {}", "plan {}",
        "build s.yaml -o {}.keras", "save s.yaml -o {}", "save s.yaml -o d --info {}", "save s.yaml -o d --targets {}",
        "save s.yaml -o d -d m={}", "plot s.yaml -o {}.svg", "verify s.yaml --data {}", "run {}", "predict {} -o o.h5",
        "export {}", "export m.keras -o {}.onnx",
    ],
)  # fmt: skip
def test_commands_with_long_paths(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, path: str
) -> None:
    monkeypatch.chdir(saved)
    Path("s.yaml").write_text("models: {m: m.h5}")
    assert main([argument.format(path) for argument in command.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("keras-stitch: ") and len(said) < 10_000


@pytest.mark.parametrize("text", ["a\0", "\ud800", "\udfff"])
def test_commands_that_no_system_passes_on(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", text])
    assert caught.value.code == 2
    assert "an argument holds a character that the system has in none" in capsys.readouterr().err


# -- what is written on the command line, and in stitch.yaml --------------------------------------


@pytest.mark.parametrize("text", ["[" * 1_000 + "]" * 1_000, "[" * 100_000, "9" * 5_000, '{"a": 1, "a": 2}'])
def test_dataloader_arguments_that_nobody_means(text: str) -> None:
    with pytest.raises(StitchError, match=r"^--dataloader_args is no JSON: ") as caught:
        read_arguments([], text)
    assert len(str(caught.value)) < 500
    assert read_arguments([f"a={text}"], None) == {"a": text}


def test_dataloader_arguments_that_are_longer_than_a_path() -> None:
    assert read_arguments([], json.dumps({"a": "x" * 5_000})) == {"a": "x" * 5_000}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: {m: m.h5, n: m.h5}\nconnections: {n: 'm[%s]'}" % ("9" * 5_000), "Cannot read 'm[999"),
        ("models: {m: m.h5}\ninputs: {i: {targets: m, shape: [" + "9" * 400 + "]}}", "has more than 100 digits"),
        ("models: {m: m.h5}\nfreeze: " + "[" * 100_000, DEEP),
        ("models: {m: !!bool }", "line 1, models.m: cannot be read: a value does not fit its tag, '' as bool"),
        ("models: {m: " + LONG_NAME + "}", f"models.m {TOO_LONG}"),
        ('models: {m: {source: m.h5, custom_objects: "a\\0.py"}}', "takes a path"),
        ('models: {"m\\ud800": m.h5}', "half of a surrogate pair"),
        ("models:\n" + "".join(f"  {i}: m.h5\n" for i in range(1_000)), "and 900 more"),
    ],
)  # fmt: skip
def test_specs_that_nobody_means(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    monkeypatch.chdir(saved)
    Path("hostile.yaml").write_text(text)
    assert main(["plan", "hostile.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("keras-stitch: ") and reason in said and len(said) < 20_000


# -- what fuzzing found ---------------------------------------------------------------------------


def test_a_directory_that_does_not_say_what_runs_its_model(tmp_path: Path) -> None:
    schema = {"inputs": {"x": {"shape": "(3,)", "doc": "x"}}, "targets": {"shape": "(1,)", "doc": "y"}}
    said = {"defined_as": "", "args": {}, "info": {"authors": [{"name": "Ada"}], "doc": "d"}, "schema": schema}
    (tmp_path / "model.yaml").write_text(json.dumps(said))
    assert "is nothing that Kipoi runs.\n" in refusal(tmp_path)


def test_tables_that_are_damaged(tmp_path: Path) -> None:
    table = template_module("kipoi.merging.tables").Table
    np.save(tmp_path / "a.npy", np.zeros((4, 2), "float32"))
    content = (tmp_path / "a.npy").read_bytes().replace(b"}", b" ")
    (tmp_path / "a.npy").write_bytes(content)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((4, 2), "float32")
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes().replace(b"SNOD", b"XXXX"))
    for name in ("a.npy", "a.h5"):
        with pytest.raises(ValueError, match=r"The file for 'x' cannot be read") as caught:
            table("x", str(tmp_path / name), (2,), "float32")
        assert type(caught.value).__name__ == "DataError"


def test_an_id_of_many_digits_is_an_id(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"id,a,b\n{'9' * 5_000},1,2\n7,3,4\n")
    table = template_module("kipoi.merging.tables").Table("x", str(tmp_path / "a.csv"), (2,), "float32")
    assert table.length == 2


def test_messages_have_an_end() -> None:
    error = StitchError("a" * 10**6, received="b" * 10**6, fix="Do this.")
    assert len(str(error)) < 50_000 and str(error).endswith("... and 980,012 more characters\n  Fix: Do this.")


def test_an_npz_file_whose_header_does_not_end(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    content = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "a.npz") as old, zipfile.ZipFile(content, "w") as new:
        new.writestr("x.npy", old.read("x.npy").replace(b"}", b" "))
    (tmp_path / "a.npz").write_bytes(content.getvalue())
    with pytest.raises(StitchError, match=r"a\.npz' is no NPZ file\."):
        read_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("structure", {"inputs": 7, "targets": None, "metadata": None}), ("structure", {"inputs": 0}), ("structure", 3),
        ("leaves", []), ("leaves", [{}]), ("leaves", None),
        ("key", {}), ("key", {"files": 3, "data": {}}), ("key", None),
        ("leaves", [{"path": ["inputs"], "dtype": "<f8", "shape": [2]}]),
        ("leaves", [{"path": ["inputs"], "dtype": "<f4", "shape": [3]}]),
        ("leaves", [{"path": ["nowhere"], "dtype": "<f4", "shape": [2]}]),
    ],
)  # fmt: skip
def test_precomputed_rows_that_say_something_else(tmp_path: Path, key: str, value: Any) -> None:
    batch = {"inputs": np.zeros((4, 2), "float32"), "targets": None, "metadata": {}}
    path = write_features(tmp_path / "rows.h5", lambda start: iter([batch]), rows=4, key=Key({}))
    assert open_features(path, batch_size=2)[0][0].shape == (2, 2)
    with h5py.File(path, "r+") as file:
        about = json.loads(file["about"].asstr()[()])
        del file["about"]
        file["about"] = json.dumps({**about, key: value})
    with pytest.raises(StitchError) as caught:
        open_features(path)
    said = str(caught.value)
    assert said.startswith(f"'{path}' is damaged.\n  Expected: a file that precompute(...) wrote\n  Received: ")
    assert said.endswith("\n  Fix: Delete it, and precompute it again.")


@pytest.mark.parametrize("args", ["x", [1], {"a": 3}, {"a": {}, "b": None}])
def test_directories_whose_arguments_are_none(tmp_path: Path, args: Any) -> None:
    (tmp_path / "model.yaml").write_text("{}")
    (tmp_path / "dataloader.yaml").write_text(json.dumps({"args": args}))
    with pytest.raises(StitchError, match=r"dataloader\.yaml' does not describe the arguments of its dataloader\."):
        predict(tmp_path, tmp_path / "out.h5", arguments={"a": 1})


@pytest.mark.parametrize(
    "models", [None, [], "x", {"m": 3}, {"m": {}}, {"m": {"predictions": {}, "dataloader_args": []}}]
)
def test_workflows_whose_jobs_are_none(tmp_path: Path, models: Any) -> None:
    (tmp_path / "model.yaml").write_text("{}")
    (tmp_path / "dataloader.yaml").write_text("{args: {}}")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "Snakefile").touch()
    (tmp_path / "workflow" / "config.yaml").write_text(json.dumps({"models": models}))
    with pytest.raises(StitchError, match=r"config\.yaml' does not say which jobs there are\."):
        predict(tmp_path, tmp_path / "out.h5")


@pytest.mark.parametrize(
    "state",
    [[], {}, "x", {"key": 3}, {"done": -1}, {"rows": "4"}, {"key": None}, {"leaves": [{}]}, {"leaves": 3}],
)
def test_unfinished_rows_that_say_something_else(tmp_path: Path, state: Any) -> None:
    key = {"files": {}, "arguments": {}, "data": {}}
    good = {"key": key, "rows": 4, "done": 0, "whole": False, "structure": None, "leaves": []}
    said = {**good, **state} if state and isinstance(state, dict) else state
    (tmp_path / "rows.h5.part").mkdir()
    (tmp_path / "rows.h5.part" / "state.json").write_text(json.dumps(said))
    with pytest.raises(StitchError, match=r"state\.json' is damaged: "):
        write_features(tmp_path / "rows.h5", lambda start: iter([]), rows=4, key=Key({}))


@pytest.mark.parametrize("form", ["whole", "relative", "link"])
@pytest.mark.parametrize("key", ["column_labels", "pip", "conda", "conda_file"])
def test_descriptions_that_would_read_other_files(tmp_path: Path, key: str, form: str) -> None:
    directory, secret = tmp_path / "published", tmp_path / "secret.txt"
    directory.mkdir()
    secret.write_text("0123456789abcdef\n")
    (directory / "link").symlink_to(secret)
    named = {"whole": str(secret), "relative": "../secret.txt", "link": "link"}[form]
    labels = {"column_labels": named} if key == "column_labels" else {}
    schema = {"inputs": {"x": {"shape": "(3,)", "doc": "x"}}, "targets": {"shape": "(1,)", "doc": "y", **labels}}
    said = {"defined_as": "kipoi.model.KerasModel", "args": {}, "schema": schema, "info": {"authors": [], "doc": "d"}}
    said["dependencies"] = {} if labels else {key: named if key == "conda_file" else [named]}
    (directory / "model.yaml").write_text(json.dumps(said))
    text = refusal(directory)
    assert text.startswith(f"'{directory}/model.yaml' names a file outside of its directory.")
    assert f"  Received: {key}: {named}\n" in text
    (directory / "dataloader.yaml").write_text(json.dumps({"output_schema": schema, **said}))
    with pytest.raises(StitchError, match=r"dataloader\.yaml' names a file outside of its directory\."):
        resolve(ks.Dataloader(str(directory)))


@pytest.mark.parametrize("version", [2, "1", [1, 2], 1.5, h5py.Empty("f4")])
def test_precomputed_rows_of_no_version(tmp_path: Path, version: Any) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.attrs["keras_stitch_features"] = version
    with pytest.raises(StitchError, match=r"was written by another version of keras_stitch\."):
        open_features(tmp_path / "rows.h5")
