"""Which submodels leave, why, and where they run: on a small index of our own, and a few times on the real one."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from plain_graphs import node, spec

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphSpec, Merge, Submodel
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement import environments
from keras_stitch.placement.environments import OWN_BASE, Environment, Settled, final_base, settle
from keras_stitch.placement.requirements import package
from keras_stitch.placement.uv import Uv

HERE = {"keras": "3.10.0", "tensorflow": "2.18.0"}
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
LOADED = f"'{{}}' is loaded with the packages that are here: no environment for {PYTHON} has {{}}."
VERSIONS = {
    "keras": ["2.14.0", "2.15.0", "3.10.0"],
    "tensorflow": ["2.14.1", "2.15.1", "2.18.0"],
    "scikit-learn": ["1.3.2", "1.9.1"],
    "a": ["1", "2"],
    "b": ["1", "2"],
    "c": ["1", "2"],
    "d": ["1", "2"],
}
NEEDS = {
    "tensorflow==2.14.1": ["keras==2.14.0"],
    "tensorflow==2.15.1": ["keras==2.15.0"],
    "tensorflow==2.18.0": ["keras>=3"],
    # No number of a pin tells these.
    "a==2": ["b==1"],
    "c==2": ["numpy>=2"],
    "d==2": ["keras==2.14.0"],
}


class Index:
    """A package index in memory: it knows all of ``VERSIONS``, and takes any version of other packages but numpy."""

    def __init__(self, versions: Mapping[str, Sequence[str]] = VERSIONS, needs: Mapping[str, list[str]] = NEEDS):
        self.versions, self.needs = {"numpy": ["1.26", "2.1"], **versions}, needs
        self.asked: list[tuple[str, ...]] = []
        self.pythons: list[str] = []

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        self.asked.append(tuple(requirements))
        self.pythons.append(python)
        return self._search(list(requirements), {})

    def _search(self, left: list[str], chosen: dict[str, str]) -> bool:
        if not left:
            return True
        name, specifier = package(left[0]), Requirement(left[0]).specifier
        if name not in self.versions:
            return self._search(left[1:], chosen)
        if name in chosen:
            return specifier.contains(chosen[name]) and self._search(left[1:], chosen)
        return any(
            self._search([*left[1:], *self.needs.get(f"{name}=={version}", [])], {**chosen, name: version})
            for version in self.versions[name]
            if specifier.contains(version)
        )


class Nobody:
    """Knows nothing."""

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        return None


class Never:
    """Must not be asked."""

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        raise AssertionError(f"asked for {requirements}")


@pytest.fixture(autouse=True)
def _versions_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "installed", HERE.get)


def at(name: str, *pins: str, met: Iterable[str] = (), framework: str = "kipoi", **options: Any) -> Submodel:
    """A submodel with pins, of which only ``met`` are met here."""
    unmet = tuple(pin for pin in pins if pin not in met)
    return node(name, {f"{name}_x": (3,)}, framework=framework, requires=pins, unmet=unmet, **options)


def settled(*submodels: Submodel, connect: Mapping[str, Any] | None = None, index: Any = None) -> Settled:
    graph = spec(*submodels, connect=connect or {})
    return settle(graph, wire(graph), index or Index())


def reasons(made: Settled) -> dict[str, str]:
    """Why each submodel leaves, in words."""
    return {name: reason.text for name, reason in made.leaving.items()}


def chain_of(*submodels: Submodel, index: Any = None) -> Settled:
    """Each submodel feeds the next."""
    names = [submodel.name for submodel in submodels]
    return settled(*submodels, connect=dict(zip(names[1:], names, strict=False)), index=index)


# -- where nothing leaves ---------------------------------------------------------------


@pytest.mark.parametrize(
    "submodel",
    [
        node("m"),
        at("m", "a==1", "keras>=3", met=("a==1", "keras>=3")),
        at("m", "keras==2.15.0", placement="model", framework="keras"),
        at("m", "keras==2.15.0", placement="dataloader"),
    ],
)
def test_nobody_is_asked_where_this_environment_is_what_counts(submodel: Submodel) -> None:
    assert settled(submodel, index=Never()) == Settled({})


def test_pins_that_fit_together_stay_together() -> None:
    index = Index()
    assert settled(at("one", "a==2"), at("two", "b<2", "tensorflow-cpu>=2.18"), index=index) == Settled({})
    assert set(index.asked) == {
        ("kipoi", "keras>=3.10", "setuptools<80.9", "h5py", "pandas", "pyyaml", "a==2", "b<2", "tensorflow>=2.18")
    }


def test_nobody_knows_whether_they_fit() -> None:
    made = settled(at("one", "a==2"), at("two", "b==2"), at("three"), index=Nobody())
    assert (dict(made.leaving), made.environments) == ({}, ())
    assert made.remark == (
        "Nobody could find out whether the pins of 'one' and 'two' and those of the stitched model fit together: "
        "the package index could not be asked."
    )


# -- what is told to leave --------------------------------------------------------------


def test_what_is_asked_for_and_what_cannot_run_here() -> None:
    made = settled(
        at("one", placement="workflow"),
        at("two", "lightgbm", elsewhere="lightgbm is not installed"),
        at("three", "a==1", met=("a==1",)),
    )
    assert reasons(made) == {"one": "placement='workflow' asks for it", "two": "lightgbm is not installed"}
    assert made.environments == (Environment("one_two", ("one", "two"), (*OWN_BASE, "lightgbm")),)
    assert made.remark == ""


def test_what_feeds_them_and_shares_their_weights_leaves_too() -> None:
    made = settled(
        at("first"),
        at("model"),
        at("again", share="model"),
        at("before"),
        at("old", elsewhere="it is old"),
        at("last"),
        connect={"model": "first", "again": "before", "old": "model", "last": (["old", "again"], Merge("add"))},
    )
    assert reasons(made) == {
        "first": "feeds 'model', which runs in an environment of its own",
        "model": "feeds 'old', which runs in an environment of its own",
        "again": "has the same weights as 'model', which runs in an environment of its own",
        "before": "feeds 'again', which runs in an environment of its own",
        "old": "it is old",
    }
    assert list(made.leaving) == ["first", "model", "again", "before", "old"]
    assert [known.name for known in made.environments] == ["first_and_4_more"]


def test_an_earlier_stage_does_not_keep_what_feeds_them() -> None:
    made = chain_of(at("one", "a==1", placement="dataloader"), at("two", placement="workflow"))
    assert list(made.leaving) == ["one", "two"]


# -- what excludes each other -------------------------------------------------------------


def test_a_pin_of_the_stitched_model() -> None:
    made = settled(at("old", "keras==2.15.0", "tensorflow-cpu==2.15.1", framework="keras"), at("new"))
    assert reasons(made) == {"old": "its keras==2.15.0 and keras>=3.10 of the stitched model exclude each other"}
    assert made.environments == (Environment("old", ("old",), (*OWN_BASE, "keras==2.15.0", "tensorflow-cpu==2.15.1")),)
    assert made.remark == ""


@pytest.mark.parametrize("met", ["scikit-learn==1.3.2", "scikit-learn==1.9.1"])
def test_of_two_that_exclude_each_other_the_one_leaves_that_lacks_something(met: str) -> None:
    pins = {"tree": "scikit-learn==1.3.2", "forest": "scikit-learn==1.9.1"}
    made = settled(*(at(name, pin, met=(met,)) for name, pin in pins.items()))
    ((name, reason),) = reasons(made).items()
    other = "tree" if name == "forest" else "forest"
    assert pins[other] == met
    assert reason == f"its {pins[name]} and {met} of '{other}' exclude each other"


def test_of_two_that_both_lack_something_the_later_leaves() -> None:
    made = settled(at("tree", "scikit-learn==1.3.2"), at("forest", "scikit-learn==1.9.1"))
    assert reasons(made) == {
        "forest": "its scikit-learn==1.9.1 and scikit-learn==1.3.2 of 'tree' exclude each other",
    }


def test_pins_whose_numbers_do_not_tell() -> None:
    made = settled(at("one", "h5py", "a>=2", "b"), at("two", "pandas", "b>=2"), at("three", "c"))
    assert reasons(made) == {"two": "its b>=2 and a>=2 of 'one' exclude each other"}


def test_three_that_exclude_each_other() -> None:
    index = Index({"x": ["1"], "y": ["1"], "z": ["1"], "w": ["1", "2"]}, {"x==1": ["w>=1"]})
    index.needs = {"x==1": ["w!=1"], "y==1": ["w!=2"], "z==1": []}
    made = settled(at("one", "x==1"), at("two", "z==1", "y==1"), index=index)
    assert reasons(made) == {"two": "its y==1 and x==1 of 'one' exclude each other"}
    index.versions["w"], index.needs = ["1", "2", "3"], {"x==1": ["w!=1"], "y==1": ["w!=2"], "z==1": ["w!=3"]}
    made = settled(at("one", "x==1"), at("two", "z==1", "y==1"), index=index)
    assert reasons(made) == {"two": "its z==1, its y==1 and x==1 of 'one' exclude each other"}


def test_a_pin_that_needs_what_the_stitched_model_excludes() -> None:
    made = settled(at("one", "d==2", "h5py"))
    assert reasons(made) == {"one": "its d==2 and keras>=3.10 of the stitched model exclude each other"}
    assert made.environments[0].requirements == ("kipoi", "six", "h5py", "pandas", "d==2")


def test_a_version_that_only_one_name_of_tensorflow_has() -> None:
    class Renamed(Index):
        def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
            return "tensorflow==2.18.9" not in requirements and super().resolves(requirements)

    versions = {**VERSIONS, "tensorflow": [*VERSIONS["tensorflow"], "2.18.9"]}
    made = settled(at("one", "tensorflow-gpu==2.18.9"), index=Renamed(versions))
    assert reasons(made) == {"one": "no environment of the stitched model can have its tensorflow-gpu==2.18.9"}


def test_the_fewest_leave_with_all_they_take_along() -> None:
    made = settled(
        at("tree", "scikit-learn==1.3.2"),
        at("before"),
        at("forest", "scikit-learn==1.9.1"),
        connect={"forest": "before"},
    )
    assert reasons(made) == {"tree": "its scikit-learn==1.3.2 and scikit-learn==1.9.1 of 'forest' exclude each other"}


def test_one_in_the_way_of_many_leaves_alone() -> None:
    made = settled(at("a1", "a==1"), at("a2", "a==2"), at("a3", "a<2"), at("a4", "a<=1"))
    assert reasons(made) == {"a2": "its a==2 and a==1 of 'a1' exclude each other"}


def test_many_that_leave_are_found_at_once() -> None:
    old = [at(f"old{number}", "keras==2.15.0") for number in range(25)]
    pairs = [at(f"p{number}{half}", f"q{number}=={half}") for number in range(8) for half in (1, 2)]
    made = settled(*old, *pairs)
    assert list(made.leaving) == [submodel.name for submodel in (*old, *pairs[1::2])]
    assert reasons(made)["p32"] == "its q3==2 and q3==1 of 'p31' exclude each other"
    assert [known.name for known in made.environments] == ["old0_and_32_more"]


def test_twins_are_counted_once_and_leave_together() -> None:
    made = settled(
        at("old", "keras==2.15.0", framework="keras"),
        at("again", "keras==2.15.0", framework="keras", share="old"),
        connect={"again": "old"},
    )
    assert reasons(made) == {
        "old": "its keras==2.15.0 and keras>=3.10 of the stitched model exclude each other",
        "again": "has the same weights as 'old', which runs in an environment of its own",
    }
    requirements = (*OWN_BASE, "keras==2.15.0", "tensorflow")
    assert made.environments == (Environment("old_again", ("old", "again"), requirements),)


# -- what cannot leave --------------------------------------------------------------------


def test_pins_that_no_environment_has() -> None:
    made = settled(at("old", "keras==2.0", "h5py", met=("h5py",), framework="keras"), at("new", "a==2"))
    assert (dict(made.leaving), made.environments, made.unconsidered) == ({}, (), ("old",))
    assert made.remark == LOADED.format("old", "keras==2.0")


def test_they_keep_nobody_from_staying() -> None:
    made = settled(at("old", "keras==2.0", "a==1"), at("new", "a==2"), at("older", "d==2"))
    assert reasons(made) == {"older": "its d==2 and keras>=3.10 of the stitched model exclude each other"}
    assert made.unconsidered == ("old",)


def test_one_with_impossible_pins_is_as_it_is_here_where_it_has_to_leave() -> None:
    pins = ("keras==2.0", "a==1", "tensorflow>=2")
    old = at("old", *pins, met=pins[1:], framework="keras")
    made = chain_of(old, at("new", placement="workflow"))
    assert [known.requirements for known in made.environments] == [
        (*OWN_BASE, "keras==3.10.0", "tensorflow==2.18.0", "a==1")
    ]
    assert made.unconsidered == ("old",)
    made = chain_of(old, at("new", "d==2"))
    assert [known.submodels for known in made.environments] == [("old",), ("new",)]
    assert made.remark == LOADED.format("old", "keras==2.0")


def test_one_that_can_neither_be_loaded_nor_have_an_environment() -> None:
    with pytest.raises(StitchError) as caught:
        settled(at("old", "keras==1.0", framework="keras", elsewhere="needs keras==1.0 (here: it is old)"))
    assert str(caught.value) == (
        "Submodel 'old' can neither be loaded here nor have an environment of its own.\n"
        f"  Expected: dependencies in its model.yaml that an environment for {PYTHON} can have\n"
        "  Received: needs keras==1.0 (here: it is old)\n"
        "  Fix: Correct the dependencies, or mend what keeps it from being loaded here."
    )


def test_one_that_cannot_be_loaded_has_an_environment_where_nobody_knows_better() -> None:
    made = settled(at("old", "a==2", "keras==2.14.0", framework="keras", elsewhere="it is old"), index=Nobody())
    requirements = (*OWN_BASE, "a==2", "keras==2.14.0", "tensorflow")
    assert made.environments == (Environment("old", ("old",), requirements),)


@pytest.mark.parametrize(
    ("pins", "unsaid"),
    [
        (["keras==1.2.2"], ["tensorflow<2.2"]),
        (["keras>=2.0,<2.2", "tensorflow>=1.4"], ["tensorflow<2.2"]),
        (["keras==1.2.2", "theano"], ["numpy<1.22"]),
        (["keras==2.14.0"], ["tensorflow"]),
        (["keras==2.14.0", "tensorflow"], []),
    ],
)
def test_what_an_old_keras_needs_and_does_not_say(pins: list[str], unsaid: list[str]) -> None:
    class Any(Index):
        def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
            return True

    made = settled(at("old", *pins, framework="keras", elsewhere="it is old"), index=Any())
    (known,) = made.environments
    assert set(known.requirements) - set(OWN_BASE) == {*pins, *unsaid}


def test_the_python_that_a_model_asks_for() -> None:
    index = Index()
    pins = {"one": "a==1", "two": "a==1", "three": "a==1"}
    pythons = {"one": "3.9", "two": PYTHON.removeprefix("Python "), "three": "3.9"}
    made = settled(
        *(at(name, pin, elsewhere="it is old", python=pythons[name]) for name, pin in pins.items()), index=index
    )
    assert [(known.submodels, known.python) for known in made.environments] == [
        (("one", "three"), "3.9"),
        (("two",), pythons["two"]),
    ]
    assert set(index.pythons) == {"", "3.9"}
    impossible = settled(at("old", "keras==2.0", python="3.9"), at("new", "a==2"))
    assert impossible.remark == LOADED.format("old", "keras==2.0").replace(PYTHON, "Python 3.9")


def test_one_that_is_fed_by_what_has_to_stay() -> None:
    made = chain_of(at("one", placement="model"), at("two", "keras==2.15.0"))
    assert dict(made.leaving) == {}
    assert made.remark == (
        "The pins of 'two' (keras==2.15.0) are not considered: 'one' has placement='model' and would have to leave "
        "with it."
    )


def test_what_has_to_stay_and_has_all_it_needs_makes_others_leave() -> None:
    made = settled(
        at("one", placement="model"), at("two", "b==2", met=("b==2",)), at("three", "a==2"), connect={"two": "one"}
    )
    assert reasons(made) == {"three": "its a==2 and b==2 of 'two' exclude each other"}
    assert made.remark == ""


def test_nobody_leaves_where_nobody_can_be_asked() -> None:
    made = settled(at("tree", "scikit-learn==1.3.2"), at("forest", "scikit-learn==1.9.1"), index=Nobody())
    assert dict(made.leaving) == {}
    why = "are not considered: the package index could not be asked."
    assert made.remark == (
        f"The pins of 'tree' (scikit-learn==1.3.2) {why}\nThe pins of 'forest' (scikit-learn==1.9.1) {why}"
    )


def test_an_index_without_what_the_stitched_model_needs() -> None:
    versions = {**VERSIONS, "keras": ["2.14.0", "2.15.0"]}
    made = settled(at("old", "keras==2.15.0"), at("one", "a==2"), at("two", "b==2"), index=Index(versions))
    assert reasons(made) == {"old": "its keras==2.15.0 and keras>=3.10 of the stitched model exclude each other"}
    assert made.remark == (
        "Only the numbers of the pins are compared: the package index does not have what the stitched model needs "
        f"for {PYTHON}."
    )


def test_a_package_that_is_here_and_in_no_index() -> None:
    made = settled(at("own", "c==9", met=("c==9",)), at("old", "keras==2.15.0"))
    assert list(made.leaving) == ["old"]
    assert made.remark == LOADED.format("own", "c==9")


# -- their environments -------------------------------------------------------------------


def test_environments_are_shared_where_they_can_be() -> None:
    pins = {"one": ["a==2"], "two": ["b==2"], "three": ["b==1", "h5py"], "four": ["b"], "five": ["a==1"]}
    made = settled(*(at(name, *needs, elsewhere="it is old") for name, needs in pins.items()))
    assert made.environments == (
        Environment("one_three_four", ("one", "three", "four"), (*OWN_BASE, "a==2", "b==1")),
        Environment("two_five", ("two", "five"), (*OWN_BASE, "b==2", "a==1")),
    )


def test_keras_models_that_run_here_are_saved_by_this_keras() -> None:
    pins = ("keras>=3", "tensorflow-cpu", "a")
    made = chain_of(
        at("new", *pins, met=pins, framework="keras"), at("forest", "scikit-learn==1.3.2", placement="workflow")
    )
    (known,) = made.environments
    assert known.requirements == (*OWN_BASE, "keras==3.10.0", "tensorflow==2.18.0", "a", "scikit-learn==1.3.2")


def test_an_environment_has_one_tensorflow() -> None:
    made = settled(
        at("one", "tensorflow-cpu==2.15.1", elsewhere="it is old"),
        at("two", "tensorflow==2.15.1", elsewhere="it is old"),
        at("three", "keras==2.15.0", elsewhere="it is old", framework="keras"),
    )
    assert [known.submodels for known in made.environments] == [("one", "three"), ("two",)]
    assert made.environments[0].requirements == (*OWN_BASE, "tensorflow-cpu==2.15.1", "keras==2.15.0")


def test_where_nobody_knows_environments_are_shared_unless_numbers_speak_against_it() -> None:
    pins = {"one": "a==2", "two": "b==2", "three": "a==1"}
    made = settled(*(at(name, pin, elsewhere="it is old") for name, pin in pins.items()), index=Nobody())
    assert [known.name for known in made.environments] == ["one_two", "three"]


def test_no_two_environments_have_one_name() -> None:
    pins = {"a": "a==1", "a_b": "a==2", "b": "a==1"}
    made = settled(*(at(name, pin, elsewhere="it is old") for name, pin in pins.items()))
    assert [(known.name, known.submodels) for known in made.environments] == [("a_b", ("a", "b")), ("a_b_2", ("a_b",))]


# -- the smallest set, against all sets ---------------------------------------------------

PINS = ("a==1", "a==2", "b==1", "b>=2", "c==1", "c==2", "d==1", "d==2", "keras==2.15.0", "keras>=3", "a==9", "h5py")
# What is installed in the examples, as this environment shows that it fits together.
FITTING = {"a==1", "b==1", "c==1", "d==1", "keras>=3", "h5py"}


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    names = ["m1", "m2", "m3", "m4", "m5"][: draw(st.sampled_from([5, 4, 3, 2, 1]))]
    connect: dict[str, list[str]] = {}
    made: list[Submodel] = []
    for number, name in enumerate(names):
        sources = draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=2)) if number else []
        if sources:
            connect[name] = sources
        owners = [other.name for other in made if other.share is None]
        pins = draw(st.lists(st.sampled_from(PINS), unique=True, min_size=1, max_size=2))
        made.append(
            node(
                name,
                {f"{name}_x": (3 * max(1, len(sources)),)},
                framework=draw(st.sampled_from(["kipoi", "keras"])),
                requires=tuple(pins),
                unmet=tuple(pin for pin in pins if pin not in FITTING),
                placement=draw(st.sampled_from([*[None] * 16, "dataloader", "workflow"])),
                share=draw(st.sampled_from([*[None] * 4, *owners[:1]])),
            )
        )
    return spec(*made, connect=connect)


def taken_along(graph: GraphSpec, names: Iterable[str]) -> set[str]:
    gone: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in gone:
            gone.add(name)
            owner = graph.submodel(name).share or name
            left += [source for known in graph.connections if known.target == name for source in known.sources]
            left += [submodel.name for submodel in graph.submodels if owner in (submodel.name, submodel.share)]
    return gone


@pytest.mark.slow
@given(graphs())
@settings(max_examples=max(100, settings.default.max_examples))
def test_as_few_leave_as_can(graph: GraphSpec) -> None:
    index = Index()
    made = settle(graph, wire(graph), index)
    placed = {submodel.name: submodel.placement for submodel in graph.submodels}
    forced = taken_along(graph, [name for name, placement in placed.items() if placement == "workflow"])
    fixed = {name for name, placement in placed.items() if placement == "dataloader"} - forced
    pins: dict[str, tuple[str, ...]] = {}
    movable: list[str] = []
    for submodel in graph.submodels:
        twins = {submodel.name, *(twin.name for twin in graph.submodels if twin.share == submodel.name)}
        if submodel.share or submodel.name in forced or twins & fixed:
            continue
        held = taken_along(graph, [submodel.name]) & fixed
        own = (*submodel.requires, "tensorflow") if submodel.is_keras else submodel.requires
        if not submodel.unmet if held else index.resolves((*OWN_BASE, *own)):
            pins[submodel.name] = submodel.requires
            movable += [] if held else [submodel.name]

    def fits(gone: Collection[str]) -> bool:
        rest = [pin for name in pins if name not in gone for pin in pins[name]]
        return bool(index.resolves((*final_base(), *rest)))

    sets = [forced | taken_along(graph, some) for size in range(6) for some in combinations(movable, size)]
    left = set(made.leaving)
    assert left == taken_along(graph, left) and forced <= left and not fixed & left
    assert fits(left)
    assert len(left) == min(len(gone) for gone in sets if fits(gone))
    assert sorted(name for known in made.environments for name in known.submodels) == sorted(left)
    assert all(index.resolves(known.requirements) for known in made.environments)
    assert all(reasons(made).values()) and list(made.leaving) == [name for name in placed if name in left]


# -- the real index ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def index() -> Uv:
    """The real one."""
    uv = Uv()
    if uv.resolves(["scikit-learn==1.6.1"]) is None:
        pytest.skip("the package index cannot be reached")
    return uv


@pytest.mark.slow
def test_a_graph_on_the_real_index(index: Uv) -> None:
    made = settled(at("tree", "scikit-learn==1.3.2"), at("forest", "scikit-learn==1.6.1"), index=index)
    assert reasons(made) == {"forest": "its scikit-learn==1.6.1 and scikit-learn==1.3.2 of 'tree' exclude each other"}
    assert made.environments == (Environment("forest", ("forest",), (*OWN_BASE, "scikit-learn==1.6.1")),)


@pytest.mark.slow
def test_keras_of_2017_on_the_real_index(index: Uv) -> None:
    pins = {
        "one": ["keras==1.2.2"],
        "two": ["keras==1.2.2", "theano"],
        "three": ["keras==2.1.6", "tensorflow==1.4"],
        "four": ["keras==2.2.4", "h5py==2.8.0"],
        "five": ["keras==2.3.1", "tensorflow"],
    }
    made = settled(*(at(name, *some, framework="keras") for name, some in pins.items()), index=index)
    assert (dict(made.leaving), made.unconsidered) == ({}, tuple(pins))
    assert made.remark.splitlines() == [LOADED.format(name, ", ".join(some)) for name, some in pins.items()]


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there is no TensorFlow 2.15 for this Python")
def test_old_keras_on_the_real_index(index: Uv) -> None:
    old = at("old", "keras==2.15.0", "tensorflow-cpu==2.15.1", framework="keras")
    made = settled(old, at("hidden", "h5py", "tensorflow-cpu==2.15.1"), at("new", "pandas"), index=index)
    assert reasons(made) == {
        "old": "its keras==2.15.0 and keras>=3.10 of the stitched model exclude each other",
        "hidden": "its tensorflow-cpu==2.15.1 and keras>=3.10 of the stitched model exclude each other",
    }
    requirements = (
        "kipoi",
        "six",
        "h5py",
        "pandas",
        "keras==2.15.0",
        "tensorflow-cpu==2.15.1",
    )
    assert made.environments == (Environment("old_hidden", ("old", "hidden"), requirements),)
