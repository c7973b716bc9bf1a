"""Every error a user can cause: one base class, and messages that are built here.

A message says what is wrong, what was expected, what was received and how to fix it.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

# Nobody reads more of a message; what a file says may be of any length.
_LONGEST = 20_000


class StitchError(ValueError):
    """Base of every error the user can cause.

    Args:
        message: What is wrong, with the name of the thing.
        expected: What would have been accepted.
        received: What was found instead.
        fix: What the user can do about it.

    Example:
        >>> print(StitchError("No submodel 'm5'.", expected="one of m1, m2", fix="Add it first."))
        No submodel 'm5'.
          Expected: one of m1, m2
          Fix: Add it first.
    """

    def __init__(
        self, message: str, *, expected: str | None = None, received: str | None = None, fix: str | None = None
    ):
        self.message, self.expected, self.received, self.fix = message, expected, received, fix
        parts = (("Expected", expected), ("Received", received), ("Fix", fix))
        lines = [message, *(f"  {label}: {text}" for label, text in parts if text is not None)]
        super().__init__("\n".join(map(_shortened, lines)))

    def behind(self, start: str, *, fix: str | None = None, kind: type[StitchError] | None = None) -> StitchError:
        """The same error with more before its message, and with another fix, or of another class, if one is given."""
        message, details = f"{start}{self.message}", {"expected": self.expected, "received": self.received}
        return (kind or StitchError)(message, **details, fix=fix or self.fix)


class SourceError(StitchError):
    """A file, layer or directory that cannot be used as a submodel."""


class DownloadError(SourceError):
    """All files that cannot be downloaded at once.

    Args:
        problems: One error for each file, or for several; the attribute has one for each.
    """

    def __init__(self, problems: Sequence[StitchError]):
        each = [one for problem in problems for one in getattr(problem, "problems", (problem,))]
        # Two submodels may need one file.
        self.problems = tuple({str(one): one for one in each}.values())
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(first.message, expected=first.expected, received=first.received, fix=first.fix)
        else:
            super().__init__(_numbered(f"{len(self.problems)} files cannot be had:", self.problems))

    def behind(self, start: str, *, fix: str | None = None, kind: type[StitchError] | None = None) -> DownloadError:
        """The same error with more before the message about each file; it stays of this class."""
        return DownloadError([problem.behind(start, fix=fix) for problem in self.problems])


class Downloads(list[DownloadError]):
    """Files that cannot be downloaded, collected over several sources to be reported all at once."""

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Collect those of the block. Once there are some, other problems wait: they may follow from these."""
        try:
            yield
        except DownloadError as problem:
            self.append(problem)
        except StitchError:
            if not self:
                raise

    def check(self) -> None:
        """Raise if there are any."""
        if self:
            raise DownloadError(self)


class NamingError(StitchError):
    """A name that is malformed, reserved or already taken."""


class SpecFileError(StitchError):
    """A ``stitch.yaml`` that cannot be read, with the line or the path in the file."""


class SaveError(StitchError):
    """A model or directory that cannot be written."""


class Problems(list[StitchError]):
    """The problems of one graph, collected to be reported all at once."""

    def add(self, message: str, **details: str | None) -> None:
        """Collect one more; the arguments are those of ``StitchError``."""
        self.append(StitchError(message, **details))


class WiringError(StitchError):
    """All problems of one graph at once.

    Args:
        graph: The graph's name.
        problems: One error for each problem; the attribute has them as a tuple.
    """

    def __init__(self, graph: str, problems: Sequence[StitchError]):
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(_numbered(f"Graph '{graph}' cannot be built, {count}:", problems))


def _numbered(head: str, problems: Iterable[StitchError]) -> str:
    lines = [head]
    for number, problem in enumerate(problems, 1):
        first, *rest = str(problem).split("\n")
        lines += [f"{number}. {first}", *(f"   {line}" for line in rest)]
    return "\n".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """What a message expects in place of a misspelt name: the nearest ones, or all of a few.

    Example:
        >>> nearest("modle1", ["model1", "input2"])
        "'model1', the nearest name"
    """
    known = list(known)
    # It takes the square of the length.
    close = difflib.get_close_matches(name[:200], known, n=3, cutoff=0.6)
    if close:
        return f"{' or '.join(map(repr, close))}, the nearest name{'s' if len(close) > 1 else ''}"
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"one of {listed}" if known else "there are none yet"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... and {len(text) - _LONGEST:,} more characters"


def reason(error: BaseException) -> str:
    r"""What a library's error says, in one line: no colour codes, no "Exception encountered when ..." before it.

    Example:
        >>> reason(ValueError("Exception encountered when calling X.call().\n\nSizes differ.\n\nArguments ..."))
        'Sizes differ'
    """
    if isinstance(error, RecursionError):
        return (
            f"more layers follow one another than Python's recursion limit of {sys.getrecursionlimit()} lets Keras go "
            "through; sys.setrecursionlimit(10_000) raises it"
        )
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rsplit("Exception encountered: ", 1)[-1].strip()
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    telling = [part for part in paragraphs if part and not part.startswith("Exception encountered when")]
    chosen = (telling or paragraphs)[0].split(" Inputs received: [")[0] or type(error).__name__
    return chosen[:400].rstrip(".")


@contextlib.contextmanager
def within_recursion_limit(what: str) -> Iterator[None]:
    """An error that says what to do, where Keras goes through the layers of something by recursion and does not end.

    Args:
        what: What Keras makes, such as ``"Graph 'composed'"``.

    Raises:
        StitchError: If Python's recursion limit is too low for it.
    """
    try:
        yield
    except RecursionError as error:
        raise StitchError(
            f"{what} is too deep for Keras: {reason(error)}.",
            fix="Let fewer follow one another, or raise the limit here and in every program that loads the model.",
        ) from error
