"""The process that reads what was changed. It may die of it, and says what it did that no reader may do.

It takes one case for each line of its standard input, and answers each with one line of JSON.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from readers import READERS

MEMORY = 1 << 30
SECRET_TEXT = "0123456789abcdef: nobody named this file\n"
_PACKAGES = ("/keras_stitch/", "/model_templates/")
# Python says these before it does them; the last one is of loading Python objects.
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class")


class Watch:
    """What was done during one case that must not be done."""

    def __init__(self, folder: Path, secret: Path) -> None:
        self.folder, self.secret, self.is_on, self.seen = str(folder), str(secret), False, list[str]()
        self.names_files = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, _, flags = os.fsdecode(arguments[0]), *arguments[1:3]
            if path == self.secret and not self.names_files:
                self.seen.append("read the secret file")
            written = flags is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if written and not self._is_inside(path):
                self.seen.append(f"wrote {path}")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "shutil.rmtree"):
            if isinstance(arguments[0], str) and not self._is_inside(
                str(arguments[-1 if event == "os.symlink" else 0])
            ):
                self.seen.append(f"{event} {arguments[0]}")
        # uv resolves what a directory depends on; git fetches the zoo that a source names.
        elif event in _FORBIDDEN and not str(arguments[0]).endswith("/uv"):
            if self.names_files and arguments[0] == "git":
                return
            self.seen.append(f"{event} {str(arguments[:2])[:200]}")

    def _is_inside(self, path: str) -> bool:
        path = os.path.abspath(path)  # noqa: PTH100 - links stay
        return path.startswith((self.folder, "/dev/null", "/proc/self/")) or "__pycache__" in path


def main(names: list[str]) -> None:
    """Answer cases until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    top = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    tempfile.tempdir = str(top)
    secret = top.with_name(f"{top.name}-secret.txt")
    secret.write_text(SECRET_TEXT)
    try:
        modules: dict[str, Any] = {}
        for module in sorted({READERS[name].module for name in names}):
            modules[module] = importlib.import_module(module)
            (top / module).mkdir()
            modules[module].prepare(top / module)
        watch = Watch(top, secret)
        _limit_memory()
        os.dup2(quiet, 2)
        print("ready", file=answers, flush=True)
        for number, line in enumerate(sys.stdin):
            folder = top / f"case{number}"
            folder.mkdir()
            name, case = json.loads(line.replace("@SECRET@", str(secret)))
            reader = READERS[name]
            read = functools.partial(getattr(modules[reader.module], reader.read), case, top / reader.module, folder)
            os.chdir(folder)
            watch.names_files = reader.names_files
            answer = _answer(read, watch, reader.most_text)
            os.chdir(top)
            shutil.rmtree(folder, ignore_errors=True)
            print(json.dumps(answer), file=answers, flush=True)
            if number % 100 == 99:
                _forget()
    finally:
        shutil.rmtree(top, ignore_errors=True)
        secret.unlink(missing_ok=True)


def _answer(read: Callable[[], Any], watch: Watch, most_text: int) -> dict[str, Any]:
    import warnings

    from keras_stitch.errors import StitchError
    from keras_stitch.kipoi.templates import template_module

    expected = (StitchError, template_module("kipoi.merging.data_errors").DataError)
    watch.seen.clear()
    started, answer = time.process_time(), {"outcome": "worked", "what": ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watch.is_on = True
            read()
    except expected as error:
        answer["outcome"] = "refused"
        if len(str(error)) > most_text:
            answer = {"outcome": "foreign", "what": f"a message of {len(str(error)):,} characters: {str(error)[:100]}"}
    except SystemExit as error:
        answer["outcome"] = "refused" if error.code in (0, 2) else "foreign"
        answer["what"] = "" if error.code in (0, 2) else f"exit {error.code}"
    except BaseException as error:
        answer |= _foreign(error)
    finally:
        watch.is_on = False
    if watch.seen:
        answer = {"outcome": "foreign", "what": watch.seen[0]}
    return {**answer, "seconds": time.process_time() - started}


def _foreign(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(package in frame.filename for package in _PACKAGES)]
    if not own:
        return {"outcome": "no file", "what": f"{type(error).__name__}: {error}"[:200]}
    place = f"{Path(own[-1].filename).name}:{own[-1].name}"
    return {
        "outcome": "foreign",
        "what": f"{type(error).__name__} in {place}",
        "text": f"{type(error).__name__}: {error}"[:500],
        "traceback": "".join(traceback.format_exception(error)[-12:])[-4000:],
    }


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget() -> None:
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session()
    gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
