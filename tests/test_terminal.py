import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from keras_stitch import terminal
from keras_stitch.terminal import Shown, Table, bytes_done, others_show, steps


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal is sent."""
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=80))
    return screen


def test_one_bar_is_shown_at_a_time_and_none_in_the_end(screen: io.StringIO):
    with steps() as step:
        step("loading m.h5")
        outer = terminal._shown[-1]
        with bytes_done("m.h5") as show:
            show(100_000, 200_000)
            assert not outer.live.is_started
            assert terminal._shown[-1].live.is_started
        assert outer.live.is_started
        with others_show():
            assert not outer.live.is_started
    assert terminal._shown == []
    assert re.search(r"m\.h5 .*100\.0/200\.0 kB", screen.getvalue())


def test_an_error_within_takes_all_bars_away(screen: io.StringIO):
    with pytest.raises(KeyError), steps(), bytes_done("m.h5"):
        raise KeyError
    assert terminal._shown == []


def test_without_a_terminal_nothing_is_shown(capfd: pytest.CaptureFixture[str]):
    with steps() as step, bytes_done("m.h5") as show:
        step("loading")
        show(1, None)
    assert capfd.readouterr() == ("", "")


class Example(Shown):
    def _lines(self) -> list[str | Table]:
        return [
            "Of <this>:",
            "",
            Table(("name", "shape"), [("a<b & [c]", "(None, 4)"), ("d", "()")]),
            "",
            "  two\nlines",
        ]


def test_text_at_a_prompt():
    text = (
        "Of <this>:\n\nname        shape\n─────────────────────\na<b & [c]   (None, 4)\nd           ()\n\n  two\nlines"
    )
    assert str(Example()) == repr(Example()) == text


def test_tables_in_a_notebook():
    root = ElementTree.fromstring(f"<div>{Example()._repr_html_()}</div>")
    assert [child.tag for child in root] == ["p", "table", "p"]
    assert [[cell.text for cell in row] for row in root.iter("tr")] == [
        ["name", "shape"], ["a<b & [c]", "(None, 4)"], ["d", "()"],
    ]  # fmt: skip
    assert [text.text for text in root.iter("p")] == ["Of <this>:", "two\nlines"]
