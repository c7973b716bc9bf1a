"""The arguments of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import mutations
from hypothesis import strategies as st

# What is good, of commands that take no longer than a moment: the last words of `save` make it refuse in the end.
COMMANDS = (
    "inspect m.h5 m.keras", "inspect w.h5 --arch w.json", "inspect m.h5 --stateless --saved-backend tensorflow",
    "inspect m.h5 --custom-objects objects.py", "plan stitch.yaml", "plot stitch.yaml -o out.svg",
    "build stitch.yaml -o out.keras --overwrite", "run taken -o results -a x=1", "predict . -o out.h5 -a x=[1] -n 1",
    'predict . -o out.h5 --dataloader_args {"a":1} --batch_size 2 --cores 1 --profile local --config chunks=4',
    "predict . -o out.h5 --dry-run -- --quiet",
    "export m.keras -o out.onnx --format onnx", "export taken -o out --format saved_model --overwrite",
    "verify stitch.yaml --rows 3 --seed 1 --data rows.npz",
    "save stitch.yaml -d x=loader --targets t.tsv -e x_file=t.tsv --info info.yaml --hosting https://a.b -o taken",
)  # fmt: skip
_WORDS = [
    "-o", "--", "-d", "-e", "-a", "--debug", "-h", "--version", "=", "a=", "=b", "x=" + "[" * 2000, "a" * 300, "/", ".",
    "..", "~", "-1", "1e9", "9" * 5000, "\udcff", "x=\udcff", "stitch.yaml", "m.h5", "taken", "rows.npz", "t.tsv",
    "kipoi:a/b", "http://x", "file:///etc/passwd", "/dev/null", "/dev/null/x", "/proc/self/mem", "a\nb", "é", "",
]  # fmt: skip


def arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a command line that is good, and of the files that it names."""
    words = st.one_of(st.sampled_from(_WORDS), st.text(max_size=5), mutations.scalars.map(str))
    place = st.integers(0, 30)
    change = st.one_of(
        st.tuples(st.just("set"), place, words),
        st.tuples(st.just("insert"), place, words),
        st.tuples(st.just("delete"), place),
        st.tuples(st.just("append"), place, words),
    )
    file = st.sampled_from(["stitch.yaml", "info.yaml", "rows.npz", "w.json", "t.tsv"])
    return st.fixed_dictionaries(
        {
            "command": st.integers(0, len(COMMANDS) - 1),
            "changes": st.lists(change.map(list), max_size=3),
            "file": file,
            "bytes": st.one_of(st.just([]), mutations.byte_changes()),
        }
    )


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write the files that the commands name."""
    import fuzz_specs
    import numpy as np
    import reload_here

    import keras_stitch.verify.fresh_process

    keras_stitch.verify.fresh_process.start = reload_here.start
    fuzz_specs.prepare(folder)
    (folder / "stitch.yaml").write_text("models: {x: m.h5, y: m.keras}\nconnections: {y: x}\n")
    (folder / "info.yaml").write_text("authors: [{name: Ada}]\ndoc: Small.\n")
    (folder / "t.tsv").write_text("a\tb\n1\t2\n")
    np.savez(folder / "rows.npz", x=np.zeros((3, 4), "float32"))
    (folder / "taken").mkdir()
    (folder / "taken" / "mine.txt").touch()


def read_arguments(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Run a command; any status but 0, 1 and 2 is foreign."""
    from keras_stitch.cli import main

    given = COMMANDS[case["command"] % len(COMMANDS)].split()
    for kind, where, *details in case["changes"]:
        if kind == "insert":
            given.insert(where % (len(given) + 1), details[0])
        elif given and kind == "delete":
            del given[where % len(given)]
        elif given:
            number = where % len(given)
            given[number] = details[0] if kind == "set" else given[number] + details[0]
    if given[:1] == ["demo"]:
        return
    place = folder / "here"
    shutil.copytree(bases, place)
    file = place / case["file"]
    file.write_bytes(mutations.changed_bytes(file.read_bytes(), case["bytes"]))
    os.chdir(place)
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = main(list(given))
    if status not in (0, 1, 2):
        raise AssertionError(f"status {status}")
    if len(said.getvalue()) > 100_000:
        raise AssertionError(f"a message of {len(said.getvalue())} characters")
