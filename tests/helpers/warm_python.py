"""Runs Python programs in processes of their own, without the seconds that Keras takes to start in each.

One process per pytest process imports Keras, does nothing else, and forks for each program. So no program sees what
the tests, or another program, have done. What depends on the start itself (what it prints, which backend it takes, how
the interpreter is set up) is run with ``subprocess`` instead.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[object],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    timeout: float = 300,
    certify_here: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Like ``subprocess.run(command, capture_output=True, text=True)``.

    Args:
        command: This Python, then ``-c CODE``, ``-m MODULE`` or the path of a script, then arguments.
        cwd: The working directory.
        env: All environment variables; TensorFlow and Keras have read theirs before.
        timeout: Seconds after which the program is killed.
        certify_here: Whether certificates do without another process, see ``reload_here``.

    Raises:
        subprocess.TimeoutExpired: The program took longer.
    """
    python, *arguments = map(str, command)
    assert python == sys.executable, python
    variables = dict(os.environ if env is None else env)
    program = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": variables, "certify_here": certify_here}
    connection = _server()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(json.dumps(program).encode())
        given.seek(0)
        socket.send_fds(connection, [b"x"], [stream.fileno() for stream in (given, out, err)])
        pid = int(connection.recv(32))
        connection.settimeout(timeout)
        try:
            status = int(connection.recv(32))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            connection.settimeout(None)
            connection.recv(32)
            raise subprocess.TimeoutExpired(arguments, timeout) from None
        finally:
            connection.settimeout(None)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess(arguments, status, *said)


@functools.cache
def _server() -> socket.socket:
    """Starts the process that forks; it ends when this one does, with which its connection closes."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.Popen([sys.executable, __file__, str(there.fileno())], pass_fds=[there.fileno()], **quiet)
    there.close()
    return here


def _serve(connection: socket.socket) -> None:
    """Forks a process for each program and says its number and its status; returns only in such a process."""
    while True:
        message, streams, _, _ = socket.recv_fds(connection, 1, 3)
        if not message:
            sys.exit()
        pid = os.fork()
        if not pid:
            connection.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            return
        for stream in streams:
            os.close(stream)
        connection.send(str(pid).encode())
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(arguments: list[str], cwd: str, env: dict[str, str], certify_here: bool) -> None:
    """Does what ``python arguments`` does after the start of Python."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if certify_here:
        from keras_stitch.verify import fresh_process

        fresh_process.start = reload_here.start
    first, *rest = arguments
    main = types.ModuleType("__main__")
    if first in ("-c", "-m"):
        what, *rest = rest
        place, code = ("", what) if first == "-c" else (cwd, "")
    else:
        main.__file__, what = first, first
        place, code = str(Path(first).resolve().parent), Path(first).read_text(encoding="utf-8")
    sys.path[:0] = [place, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [first, *rest]
    if first == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = main
        exec(compile(code, "<string>" if first == "-c" else first, "exec"), main.__dict__)


if __name__ == "__main__":
    import keras  # noqa: F401
    import reload_here

    del sys.path[0]  # this folder

    gc.freeze()  # else every program would take a second at its end to look through all of Keras
    _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(**json.load(sys.stdin))
