"""The command line: parses, delegates, and turns a user's mistake into one message and exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

from keras_stitch.cli.commands import COMMANDS
from keras_stitch.cli.parser import parse
from keras_stitch.cli.quiet import quiet
from keras_stitch.errors import StitchError
from keras_stitch.files.scratch import Scratch

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; ``sys.argv`` by default. Where they are given, nothing is changed of
            the process: its standard error and its environment are the caller's.

    Returns:
        The exit status: 0, 1 where ``verify`` finds a difference, or 2 after a mistake of the user's.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        for stop in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(stop) == signal.SIG_DFL:  # nohup ignores one
                signal.signal(stop, _stop)
        sys.unraisablehook = _stop_again
    if arguments is not None:
        return _status(options, contextlib.nullcontext())
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal cannot show is no error
        sys.stdout.reconfigure(errors="backslashreplace")
    with quiet():
        return _shown(_status(options, _temporary_files()))


@contextlib.contextmanager
def _temporary_files() -> Iterator[None]:
    """Have all temporary files of this process, those of TensorFlow, too, lie in one folder, which goes in the end."""
    before = tempfile.tempdir
    with Scratch() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def _stop(number: int, frame: object) -> NoReturn:
    """Ends a command as Ctrl-C does, so that it leaves nothing behind."""
    raise KeyboardInterrupt(number)


def _stop_again(ignored: sys.UnraisableHookArgs) -> None:
    """Sends a signal again that came in a destructor or a callback of Python's, where errors are only shown."""
    if not isinstance(ignored.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    threading.Timer(0.05, os.kill, (os.getpid(), _number_of(ignored.exc_value))).start()


def _number_of(stopped: KeyboardInterrupt) -> int:
    return stopped.args[0] if stopped.args else signal.SIGINT


def _shown(status: int) -> int:
    """The exit status, once all that was printed has gone where it should."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again in the end
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        print(f"keras-stitch: The standard output cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    return status


def _status(options: argparse.Namespace, surroundings: contextlib.AbstractContextManager[None]) -> int:
    try:
        with surroundings:
            status = COMMANDS[options.command](options)
    except KeyboardInterrupt as stopped:
        print("keras-stitch: stopped; nothing is left half-written.", file=sys.stderr)
        return 128 + _number_of(stopped)
    except StitchError as error:
        if options.debug:
            traceback.print_exc()
        else:
            print(f"keras-stitch: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads the standard output any more
        return 128 + signal.SIGPIPE
    except PermissionError as error:
        print(f"keras-stitch: No permission for '{error.filename}'.", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(
            f"keras-stitch: A path is longer than the system takes: '{str(error.filename)[:100]}...'", file=sys.stderr
        )
        return 2
    return status or 0
