"""Two functions or classes of one name are refused: a saved model, which has one of a name, would compute wrongly."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import StitchError
from keras_stitch.models import custom_objects
from keras_stitch.models.one_of_a_name import check_together
from keras_stitch.models.save_keras import save_model
from keras_stitch.verify.equality import compare

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def made(factor: float) -> Callable[[Any], Any]:
    def swish2(x: Any) -> Any:
        return x * keras.ops.sigmoid(factor * x)

    return swish2


def swish2_of_b(x: Any) -> Any:
    return x * keras.ops.sigmoid(3.0 * x)


SCALE = """
import keras

FACTOR = {factor}

@keras.saving.register_keras_serializable("own")
class Scale(keras.layers.Layer):
    def call(self, x):
        return FACTOR * x

OBJECTS = {{"Scale": Scale}}
"""


def one_layer(layer: keras.Layer, path: Path) -> Path:
    keras.Sequential([keras.Input((3,), name="x"), layer]).save(path)
    return path


def graph(tmp_path: Path, of_b: Any, ending: str = "keras") -> ks.Graph:
    found = ks.Graph()
    for name, given, saved in (("a", made(1.0), made(1.0)), ("b", of_b, made(3.0))):
        path = one_layer(keras.layers.Dense(3, saved), tmp_path / f"{name}.{ending}")
        found.add(name, path, custom_objects={"swish2": given})
    return found.connect("a", "b")


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_two_functions_of_one_name(tmp_path: Path, ending: str) -> None:
    with pytest.raises(StitchError) as error:
        graph(tmp_path, made(3.0), ending).build()
    line = made.__code__.co_firstlineno + 1
    assert str(error.value) == (
        "'a' and 'b' need two different custom objects called 'swish2', and a saved model has one of a name.\n"
        f"  Received: one of '{__file__}', line {line}, one of '{__file__}', line {line}\n"
        "  Fix: Rename the one of 'b' in its Python code. For a model in a file, give it under the old name: "
        'custom_objects={"swish2": swish2_of_b}.'
    )


def test_the_fix_works(tmp_path: Path) -> None:
    found = graph(tmp_path, swish2_of_b)
    model = found.build()
    a, b = (model.get_layer(name) for name in "ab")
    want = np.asarray(b(a(X)))
    path = save_model(model, tmp_path / "stitched.keras")
    objects = {"swish2": made(1.0), "swish2_of_b": swish2_of_b}
    np.testing.assert_allclose(keras.saving.load_model(path, objects)(X), want, atol=1e-6)
    assert found.verify().passed


def test_the_same_code_with_the_same_numbers_is_no_other(tmp_path: Path) -> None:
    found = graph(tmp_path, made(1.0))
    save_model(found.build(), tmp_path / "stitched.keras")
    assert found.verify().passed


@pytest.mark.parametrize("factors", [(2.0, 5.0), (2.0, 2.0)])
def test_classes_that_differ_in_a_global_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factors: tuple[float, float]
) -> None:
    models = ""
    for name, factor in zip("ab", factors, strict=True):
        file = tmp_path / f"{name}.py"
        file.write_text(SCALE.format(factor=factor))
        layer = custom_objects.read(str(file), "it").objects["Scale"]()
        one_layer(layer, tmp_path / f"{name}.keras")
        models += f"  {name}: {{source: {name}.keras, custom_objects: {name}.py}}\n"
    (tmp_path / "stitch.yaml").write_text(f"models:\n{models}connections: {{b: a}}\n")
    output = tmp_path / "built.keras"
    code = cli.main(["build", str(tmp_path / "stitch.yaml"), "-o", str(output)])
    same = factors[0] == factors[1]
    assert code == (0 if same else 2) and output.exists() == same
    said = capsys.readouterr().err
    assert same or "'a' and 'b' need two different custom objects called 'own>Scale'" in said


def test_a_merge_counts() -> None:
    def scale(factor: float) -> keras.Layer:
        class Joined(keras.layers.Layer):
            def call(self, x: Any) -> Any:
                return factor * (x[0] if isinstance(x, list) else x)

        return Joined()

    found = ks.Graph().add("a", scale(2.0)).add("b", keras.layers.Rescaling(1.0)).add("c", keras.layers.Rescaling(1.0))
    found.add_input("x", ["a", "b"], shape=(3,)).connect(["a", "b"], "c", merge=scale(3.0))
    with pytest.raises(StitchError, match="'a' and 'c_merge' need two different custom objects called 'Joined'"):
        found.build()


def test_a_function_that_is_called_like_one_of_keras(tmp_path: Path) -> None:
    """An .h5 file is loaded with it, and what is saved of it would mean Keras' own."""

    def gelu(x: Any) -> Any:
        return 3 * x

    path = one_layer(keras.layers.Dense(2, gelu), tmp_path / "own.h5")
    with pytest.raises(StitchError, match=r"'own' needs the function 'gelu' of .*, and Keras has another one"):
        ks.Graph().add("own", path, custom_objects={"gelu": gelu}).build()

    def gelu_of_own(x: Any) -> Any:
        return 3 * x

    assert ks.Graph().add("own", path, custom_objects={"gelu": gelu_of_own}).verify().passed


def kinds(factor: float) -> dict[str, Callable[[Any], Any]]:
    """Functions that compute with a number in one way or another."""
    array = np.array([factor])
    multiply = functools.partial(keras.ops.multiply, factor)

    def by_default(x: Any, by: float = factor) -> Any:
        return x * by

    def by_array(x: Any) -> Any:
        return x * array

    def by_partial(x: Any) -> Any:
        return multiply(x)

    def by_inner(x: Any) -> Any:
        def inner(y: Any) -> Any:
            return y * factor

        return inner(x)

    def by_class(x: Any) -> Any:
        return Held().factor * x

    class Held:
        @property
        def factor(self) -> float:
            return factor

    class Kept(enum.Enum):
        FACTOR = factor

    def by_enum(x: Any) -> Any:
        return Kept.FACTOR.value * x

    Numbers = dataclasses.make_dataclass("Numbers", ["factor", "unknown"])
    Pair = collections.namedtuple("Pair", "factor")
    objects = Numbers(factor, math.nan), Pair(factor), types.SimpleNamespace(factor=factor), tf.Variable(factor)
    own, pair, space, variable = objects
    single, places = np.float32(factor), frozenset([factor])

    def by_objects(x: Any) -> Any:
        return x * own.factor

    def by_pair(x: Any) -> Any:
        return x * pair.factor

    def by_namespace(x: Any) -> Any:
        return x * space.factor

    def by_variable(x: Any) -> Any:
        return x * variable

    def by_single(x: Any) -> Any:
        return x * single

    def by_set(x: Any) -> Any:
        return x * max(places)

    @tf.function(autograph=False)
    def graph_function(x: Any) -> Any:
        return x * factor

    @functools.cache
    def cached() -> float:
        return factor

    def by_graph_function(x: Any) -> Any:
        return graph_function(x)

    def by_cached(x: Any) -> Any:
        return x * cached()

    def by_far_limit(x: Any) -> Any:
        return keras.ops.clip(x, 0, 10 * factor)

    found = (by_default, by_array, by_partial, by_inner, by_class, by_enum, by_objects, by_pair, by_namespace)
    others = (by_variable, by_single, by_set, by_graph_function, by_cached, by_far_limit)
    return {function.__name__: function for function in (*found, *others)}


@pytest.mark.parametrize("name", kinds(1.0))
def test_functions_that_compute_with_other_numbers(name: str) -> None:
    def two(factor: float) -> list[keras.Layer]:
        return [keras.layers.Activation(kinds(it)[name], name=f"l{it:.0f}") for it in (2.0, factor)]

    with pytest.raises(StitchError, match=f"two different custom objects called '{name}'"):
        check_together(two(3.0))
    check_together(two(2.0))


@pytest.mark.parametrize("name", ["relu", "softplus", "gelu", "tanh"])
def test_functions_of_tensorflow_are_those_of_keras(name: str, tmp_path: Path) -> None:
    """Saved, they are called as those of Keras, and compute the same."""
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(3, getattr(tf.nn, name))])
    path = save_model(ks.Graph("g").add("a", model).build(), tmp_path / "g.keras")
    assert compare(keras.saving.load_model(path).predict(X, verbose=0), model.predict(X, verbose=0)).equal


class Chain(keras.layers.Layer):
    def __init__(self, functions: list[Callable[[Any], Any]], **options: Any) -> None:
        super().__init__(**options)
        self.functions = functions

    def call(self, x: Any) -> Any:
        return self.functions[0](x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "functions": [*map(keras.saving.serialize_keras_object, self.functions)]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.Layer:
        return cls(**{**config, "functions": [*map(keras.saving.deserialize_keras_object, config["functions"])]})


def test_a_function_in_a_list_that_was_registered_anew() -> None:
    """A copy of the model would have the new one."""
    register = keras.saving.register_keras_serializable("in_a_list")
    model = keras.Sequential([keras.Input((3,)), Chain([register(made(2.0))])])
    register(made(2.0))
    ks.Graph().add("m", model).build()
    register(made(3.0))
    with pytest.raises(StitchError, match="cannot be copied: its layer 'chain' needs 'swish2'"):
        ks.Graph().add("m", model)
