"""Graphs of thousands of submodels: no recursion, and work that grows with their size, counted in calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from plain_graphs import node, problems, spec

from keras_stitch.graphs import by_name, changes, read_stitch_yaml, write_stitch_yaml
from keras_stitch.graphs.by_name import connections_by_name
from keras_stitch.graphs.names import Names, unique_names
from keras_stitch.graphs.spec import GraphSpec, InputSpec, Merge, Submodel, Tap
from keras_stitch.graphs.upstream import fed_by, merged_for
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement.jobs import flow

MANY = 2000


def nodes(count: int) -> list[Submodel]:
    return [node(f"m{number}") for number in range(count)]


def chain(count: int, source: str = "m{}") -> GraphSpec:
    connect = {f"m{number}": source.format(number - 1) for number in range(1, count)}
    return spec(*nodes(count), connect=connect)


def test_a_chain(tmp_path):
    given = chain(MANY)
    wiring = wire(given)
    assert wiring.order == tuple(f"m{number}" for number in range(MANY))
    assert len(flow(given, wiring).plan.at("model")) == MANY
    path = tmp_path / "stitch.yaml"
    path.write_text(write_stitch_yaml.dump(given, place=str), encoding="utf-8")
    assert read_stitch_yaml.read(path).connections == given.connections


def test_ports_that_take_what_another_port_takes():
    """Each leads to the one before, in the end to one graph input."""
    wiring = wire(chain(MANY, "m{}.x"))
    assert {feed.taps for feeds in wiring.feeds.values() for feed in feeds} == {(Tap(None, "x"),)}


def test_merges_of_merges_are_gone_through_once():
    """Two paths lead to each merge, so that there are 2^300 ways back."""
    ends = node("a"), node("b", {"z": (3,)})
    merges = {f"m{number}": ([f"m{number - 1}.x"] * 2, Merge("add")) for number in range(1, 300)}
    wiring = wire(spec(*ends, *nodes(300), connect={"m0": (["a", "b"], Merge("add")), **merges}))
    assert len(list(merged_for(wiring, Tap("m299", "x", merged=True)))) == 300
    assert fed_by(wiring, "m299") == ("a", "b")


def test_300_inputs():
    many = node("many", {f"in{number}": (3,) for number in range(300)})
    given = spec(many, inputs=[InputSpec(f"x{number}", (f"many.in{number}",)) for number in range(300)])
    wiring = wire(given)
    assert [wiring.input_targets(port.name) for port in wiring.inputs] == [
        (("many", f"in{number}"),) for number in range(300)
    ]


def test_a_long_chain_of_unused_submodels():
    found = problems(_unused(MANY))
    assert len(found) == MANY
    assert found[0].endswith("or leave it and what needs it out, the last first.")
    assert found[-2].endswith('out: graph.remove("m1999"), graph.remove("m1998").')


def _unused(count: int) -> GraphSpec:
    connect = {f"m{number}": f"m{number - 1}" for number in range(1, count)}
    return spec(*nodes(count), node("end", {"z": (3,)}), connect=connect, outputs={"score": "end"})


def _calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, run: Callable[[], object]) -> int:
    """How often a function is called while something runs."""
    counted, own = [], getattr(module, name)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, lambda *args: counted.append(1) or own(*args))
        run()
    return len(counted)


def test_the_references_of_unused_submodels_are_read_once(monkeypatch):
    few, many = (_calls(monkeypatch, changes, "parse_reference", lambda n=n: problems(_unused(n))) for n in (50, 200))
    assert 0 < many <= 4.1 * few


def test_names_are_read_once_to_connect_by_name(monkeypatch):
    def connect(count: int) -> None:
        takers = [node(f"m{number}", {f"m{number - 1}": (3,)}) for number in range(1, count)]
        assert len(connections_by_name(spec(node("m0"), *takers))) == count - 1

    few, many = (_calls(monkeypatch, by_name, "clean", lambda n=n: connect(n)) for n in (50, 200))
    assert 0 < many <= 4.1 * few


def test_a_name_of_300_words():
    joined = "_".join(f"m{number}" for number in range(300))
    (connection,) = connections_by_name(spec(*nodes(300), node("end", {joined: (900,)})))
    assert connection.sources == tuple(f"m{number}" for number in range(300))


def test_equal_names_are_numbered_without_counting_anew():
    """A free number is not looked for from 1 on."""
    looked: list[str] = []

    class Counting(set[str]):
        def __contains__(self, name: object) -> bool:
            looked.append(str(name))
            return super().__contains__(name)

    names = Names(())
    names._taken = Counting()
    assert [names.new("x") for _ in range(300)][-1] == "x_299" and len(looked) <= 900
    assert unique_names(["x", "x_1", "x"]) == ("x", "x_1", "x_2")


def test_a_port_that_is_not_there_behind_a_port_that_is():
    """The second connection leads to the first, whose source does not exist."""
    found = problems(spec(*nodes(3), connect={"m1": "m0.what", "m2": "m1.x"}))
    assert any("Submodel 'm0' has no port 'what'" in text for text in found)
