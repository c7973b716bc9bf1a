"""What messages are made of."""

from __future__ import annotations

import sys

import pytest

from keras_stitch import errors
from keras_stitch.errors import Problems, StitchError, WiringError, nearest, reason, within_recursion_limit


def test_every_error_is_a_stitch_error_and_a_value_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 6
    assert all(issubclass(kind, StitchError) and issubclass(kind, ValueError) for kind in kinds)


def test_the_parts_of_a_message() -> None:
    error = StitchError("It is wrong.", expected="this", received="that", fix="Do so.")
    assert str(error) == "It is wrong.\n  Expected: this\n  Received: that\n  Fix: Do so."
    assert (error.message, error.expected, error.received, error.fix) == ("It is wrong.", "this", "that", "Do so.")
    assert str(StitchError("It is wrong.", received="")) == "It is wrong.\n  Received: "


def test_an_error_with_more_before_its_message() -> None:
    error = StitchError("It is wrong.", expected="this", received="that", fix="Do so.")
    assert str(error.behind("Here: ")) == "Here: It is wrong.\n  Expected: this\n  Received: that\n  Fix: Do so."
    assert str(error.behind("", fix="Do this.")) == str(error).replace("so", "this")
    assert isinstance(error.behind("", kind=errors.SourceError), errors.SourceError)


def test_problems_are_collected() -> None:
    problems = Problems()
    problems.add("It is wrong.", fix="Do so.")
    assert list(map(str, problems)) == ["It is wrong.\n  Fix: Do so."]


def test_problems_are_numbered() -> None:
    error = WiringError("g", [StitchError("One.", fix="Do."), StitchError("Two.")])
    assert str(error) == "Graph 'g' cannot be built, 2 problems:\n1. One.\n     Fix: Do.\n2. Two."
    assert [problem.message for problem in error.problems] == ["One.", "Two."]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("modle1", ["model1", "input"], "'model1', the nearest name"),
        ("model", ["model1", "model2"], "'model2' or 'model1', the nearest names"),
        ("zzz", ["model1", "input"], "one of model1, input"),
        ("zzz", [f"m{number}" for number in range(13)], "one of m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, ..."),
        ("zzz", [], "there are none yet"),
    ],
)
def test_the_nearest_names(name: str, known: list[str], expected: str) -> None:
    assert nearest(name, known) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It\nfailed.", "It failed"),
        ("\x1b[1mIt\x1b[0m failed.\n\nArguments received: x", "It failed"),
        ("Exception encountered when calling Dense.call().\n\nSizes differ.", "Sizes differ"),
        ("Exception encountered when calling Dense.call().", "Exception encountered when calling Dense.call()"),
        (
            "Error when deserializing class 'D' using config={...}.\n\nException encountered: No such unit.",
            "No such unit",
        ),
        ("Dense expects 1 input. Inputs received: [<KerasTensor ...>]", "Dense expects 1 input"),
        ("x" * 500, "x" * 400),
        ("", "ValueError"),
    ],
)
def test_what_a_library_says_in_one_line(text: str, said: str) -> None:
    assert reason(ValueError(text)) == said


def test_recursion_that_does_not_end_says_what_to_do() -> None:
    def endless() -> None:
        endless()

    with pytest.raises(StitchError) as caught, within_recursion_limit("Graph 'g'"):
        endless()
    assert str(caught.value) == (
        f"Graph 'g' is too deep for Keras: more layers follow one another than Python's recursion limit of "
        f"{sys.getrecursionlimit()} lets Keras go through; sys.setrecursionlimit(10_000) raises it.\n"
        "  Fix: Let fewer follow one another, or raise the limit here and in every program that loads the model."
    )
