"""Names: which are well-formed, which are Keras' own, and how new ones are made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY

from keras_stitch.errors import NamingError
from keras_stitch.graphs.names import Names, check_name, clean, is_generated, unique_names

# Few letters, so that names repeat and numbered ones are taken already.
FEW = st.lists(st.from_regex(r"\A[ab](_[12])?\Z"), max_size=12)


@MANY
@given(st.text() | st.sampled_from(["top_level_model_weights", " top_level_model_weights!", "1", "_", "é", "ß"]))
def test_a_cleaned_name_is_a_name(text: str) -> None:
    assert check_name(clean(text), "submodel") == clean(text)


@MANY
@given(st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]*[A-Za-z0-9]\Z", fullmatch=True))
def test_a_name_is_clean_already(name: str) -> None:
    assert clean(name) == name


@MANY
@given(FEW)
def test_unique_names_are_unique_and_keep_the_first(names: list[str]) -> None:
    unique = unique_names(names)
    assert len(set(unique)) == len(unique) == len(names)
    assert unique_names(unique) == unique
    for index, name in enumerate(names):
        if name not in names[:index]:
            assert unique[index] == name
        else:
            stem, _, number = unique[index].rpartition("_")
            assert stem == name
            assert number.isdigit()
            assert unique[index] not in names


@MANY
@given(st.sets(st.sampled_from("abc")), FEW)
def test_new_names_are_new(taken: set[str], asked: list[str]) -> None:
    names = Names(taken)
    made = [names.new(base) for base in asked]
    assert len({*taken, *made}) == len(taken) + len(made)
    assert all(name in names for name in made)
    assert all(name.startswith(base) for name, base in zip(made, asked, strict=True))


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("a.b", "a_b"),
        ("it's", "it_s"),
        ('say "hi"', "say_hi"),
        ("a/b", "a_b"),
        ("modèle", "modele"),
        ("模型", "x"),
        ("1st", "x1st"),
        ("_hidden", "hidden"),
        ("two words", "two_words"),
        ("{{ name }}", "name"),
        ("name\n", "name"),
    ],
)
def test_malformed_names(name: str, example: str) -> None:
    with pytest.raises(NamingError) as caught:
        check_name(name, "submodel")
    assert str(caught.value) == (
        f"{name!r} cannot name a submodel.\n"
        "  Expected: a letter, followed by letters, digits and underscores\n"
        f"  Received: {name!r}\n"
        f"  Fix: Call it '{example}', for example."
    )


@pytest.mark.parametrize("name", ["", None, 3, b"m", ("m",)])
def test_what_is_no_name_at_all(name: object) -> None:
    with pytest.raises(NamingError) as caught:
        check_name(name, "graph input")
    assert str(caught.value) == (
        f"{name!r} cannot name a graph input.\n"
        "  Expected: a letter, followed by letters, digits and underscores\n"
        f"  Received: {name!r}"
    )


def test_the_name_that_breaks_h5() -> None:
    with pytest.raises(NamingError) as caught:
        check_name("top_level_model_weights", "submodel")
    assert str(caught.value) == (
        "'top_level_model_weights' cannot name a submodel: Keras uses it inside .h5 files.\n"
        "  Fix: Call it 'top_level_model_weights_1', for example."
    )


@pytest.mark.parametrize(
    ("name", "first", "generated"),
    [
        ("keras_tensor_9", None, True),
        ("keras_tensor", None, True),
        ("keras_tensor_9CLONE", None, True),
        ("input_layer", None, True),
        ("input_layer_3", None, True),
        ("input_1", None, True),
        ("dense_input", "dense", True),
        ("dense_input", None, False),
        ("dense_input", "conv", False),
        ("input", None, False),
        ("input1", None, False),
        ("my_input_1", None, False),
        ("sequence", None, False),
    ],
)
def test_names_that_keras_made_up(name: str, first: str | None, generated: bool) -> None:
    assert is_generated(name, first) is generated
