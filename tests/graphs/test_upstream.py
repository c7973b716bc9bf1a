"""What feeds what, along the connections of a checked graph."""

from __future__ import annotations

from plain_graphs import node, spec

from keras_stitch.graphs.spec import Merge, Tap
from keras_stitch.graphs.upstream import fed_by, levels, merged_for, producers, upstream
from keras_stitch.graphs.wiring import wire

NODES = [node("a", {"a_x": (3,)}), node("b", {"b_x": (3,)}), node("c", {"c_x": (6,)}), node("d", {"d_x": (6,)})]
WIRING = wire(spec(*NODES, node("e", {"e_x": (3,)}), connect={"c": ["a", "b"], "d": "c.c_x", "e": "d"}))


def test_an_input_port_that_is_taken_elsewhere_is_made_by_what_feeds_it() -> None:
    merged = Tap("c", "c_x", merged=True)
    assert producers(WIRING, merged) == fed_by(WIRING, "d") == ("a", "b")
    assert [feed.merge for feed in merged_for(WIRING, merged)] == [Merge()]
    assert list(merged_for(WIRING, Tap("a", "y"))) == []


def test_all_that_feeds_a_submodel() -> None:
    assert upstream(WIRING, ["e"]) == {"a", "b", "d", "e"}
    assert upstream(WIRING, []) == set()


def test_levels_count_the_changes_of_kind_on_the_way() -> None:
    assert levels(WIRING, {"a": "x", "b": "y", "d": "x", "e": "y"}) == {"a": 0, "b": 0, "d": 1, "e": 2}
