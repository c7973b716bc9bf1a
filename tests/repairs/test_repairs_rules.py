"""Every rule by itself, on plain data: what it changes, where it says so, and what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from repairs_files import Layer, called, functional, given, layer, sequential

from keras_stitch.errors import SourceError
from keras_stitch.repairs import (
    ARRAY_RULES,
    FIRST,
    MODEL_RULES,
    QUIRKS,
    RULES,
    changed_functions,
    keras1,
    keras3_config,
    layer_arguments,
    layer_classes,
    repair,
    structure,
)
from keras_stitch.repairs.architecture import Saved
from keras_stitch.repairs.rule import Check, Repair, Rule

OLD = (2, 1, 6)
NEW = (3, 5, 0)
CHECKS = [quirk for quirk in QUIRKS if isinstance(quirk, Check)]
BY_NAME = {rule.name: rule for rule in RULES}
CHECKS_BY_NAME = {check.name: check for check in CHECKS}


def apply(rule: Rule, model: Layer, version: tuple[int, ...] = OLD, **options: Any) -> tuple[Layer, list[str]]:
    """What a rule makes of a model, and where it says it was needed."""
    saved = Saved(copy.deepcopy(model), version, **options)
    return saved.model, rule.apply(saved)


def on_one(rule: Rule, said: Layer, version: tuple[int, ...] = OLD, **options: Any) -> tuple[Layer, list[str]]:
    """Likewise of a single layer in a Sequential."""
    model, where = apply(rule, sequential(said), version, **options)
    (changed,) = model["config"]["layers"]
    return changed, where


def refusal(quirk: Rule | Check, said: Layer, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        if isinstance(quirk, Check):
            quirk.refuse(Saved(sequential(copy.deepcopy(said)), OLD, **options))
        else:
            on_one(quirk, said, **options)
    return str(caught.value)


def test_rules_have_names_and_reasons_of_their_own() -> None:
    assert len(BY_NAME) == len(RULES) == len({rule.why for rule in RULES})
    later = len(ARRAY_RULES) + len(MODEL_RULES) + len(FIRST)
    assert len({quirk.name for quirk in QUIRKS}) == len(QUIRKS) == len(RULES) - later + len(CHECKS)
    for rule in RULES:
        assert rule.name == rule.name.lower() and " " not in rule.name
        assert rule.why[0].islower() or rule.why.startswith(("Keras", "LeakyReLU", "SeparableConv1D", "TensorFlow",
                                                             "Theano", "ThresholdedReLU"))  # fmt: skip
        assert not rule.why.endswith(".")


def test_rules_for_files_of_keras_3() -> None:
    names = ["subclass-of-model", "operations", "axis-list", "training-flag", "shared-layers", "channels-first"]
    assert [rule.name for rule in RULES if not rule.legacy] == names
    assert [check.name for check in CHECKS if not check.legacy] == ["mixed-versions"]


def test_a_repair_as_text() -> None:
    assert str(Repair("axis-list", "an axis")) == "axis-list: an axis"
    assert str(Repair("axis-list", "an axis", ("",))) == "axis-list: an axis"
    assert str(Repair("axis-list", "an axis", ("a",))) == "axis-list (a): an axis"
    assert str(Repair("axis-list", "an axis", ("a", "b", "c"))) == "axis-list (a, b, c): an axis"
    assert str(Repair("axis-list", "an axis", ("a", "", "b", "c"))) == "axis-list (a, b, c): an axis"
    assert str(Repair("axis-list", "an axis", tuple("abcde"))) == "axis-list (a, b, c and 2 more): an axis"


# -- one layer in, one layer out ------------------------------------------------------------------

Change = tuple[str, str, dict[str, Any], str, dict[str, Any]]
# The rule, the class and the arguments in the file, the class and the arguments that it makes of them.
CHANGES: list[Change] = [
    *(
        ("class-names", old, {"momentum": 0.9}, "BatchNormalization", {"momentum": 0.9})
        for old in ("BatchNormalizationV1", "BatchNormalizationV2")
    ),
    ("class-names", "SyncBatchNormalization", {}, "BatchNormalization", {"synchronized": True}),
    *(("class-names", old, {"units": 2}, "LSTM", {"units": 2}) for old in ("UnifiedLSTM", "LSTMV2")),
    *(("class-names", old, {"units": 2}, "GRU", {"units": 2}) for old in ("UnifiedGRU", "GRUV2")),
    ("dtype-policy", "Dense", {"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}},
     "Dense", {"dtype": "mixed_float16"}),
    ("dtype-policy", "Dense", {"dtype": {"class_name": "PolicyV1", "config": {"name": "float32", "loss_scale": None}}},
     "Dense", {"dtype": "float32"}),
    ("array-arguments", "ELU", {"alpha": {"type": "ndarray", "value": 0.5}}, "ELU", {"alpha": 0.5}),
    ("array-arguments", "ELU", {"alpha": {"class_name": "__numpy__", "config": {"value": 0.5, "dtype": "float32"}}},
     "ELU", {"alpha": 0.5}),
    ("initializers", "Dense",
     {"kernel_initializer": {"class_name": "Zeros", "config": {"dtype": "float32"}}, "units": 2},
     "Dense", {"kernel_initializer": {"class_name": "Zeros", "config": {}}, "units": 2}),
    ("constraints", "Dense",
     {"kernel_constraint": {"class_name": "RadialConstraint", "config": {}}, "bias_constraint": "non_neg"},
     "Dense", {"kernel_constraint": None, "bias_constraint": "non_neg"}),
    ("gru-reset-after", "GRU", {"units": 2}, "GRU", {"units": 2, "reset_after": False}),
    ("gru-reset-after", "GRUCell", {"units": 2}, "GRUCell", {"units": 2, "reset_after": False}),
    ("cudnn", "CuDNNLSTM", {"units": 2}, "LSTM",
     {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}),
    ("cudnn", "CuDNNGRU", {"units": 2}, "GRU",
     {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": True}),
    *(
        ("gate-activation", kind, {"units": 2}, kind, {"units": 2, "recurrent_activation": "hard_sigmoid"})
        for kind in ("LSTM", "GRU", "LSTMCell", "GRUCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
    ),
    ("removed-arguments", "Conv2DTranspose", {"groups": 1, "filters": 2}, "Conv2DTranspose", {"filters": 2}),
    ("removed-arguments", "BatchNormalization", {"fused": True, "axis": 3}, "BatchNormalization", {"axis": 3}),
    ("removed-arguments", "SpatialDropout1D", {"noise_shape": None, "rate": 0.5}, "SpatialDropout1D", {"rate": 0.5}),
    ("removed-arguments", "RandomFlip", {"rng_type": None, "mode": "x"}, "RandomFlip", {"mode": "x"}),
    ("axis-list", "BatchNormalization", {"axis": [3]}, "BatchNormalization", {"axis": 3}),
    ("axis-list", "LayerNormalization", {"axis": [2, 1]}, "LayerNormalization", {"axis": [1, 2]}),
    ("axis-list", "LayerNormalization", {"axis": [-1, -2]}, "LayerNormalization", {"axis": [-1, -2]}),
    ("axis-list", "Softmax", {"axis": [2, 1]}, "Softmax", {"axis": [2, 1]}),
    ("time-major", "LSTM", {"time_major": False, "units": 2}, "LSTM", {"units": 2}),
    ("removed-arguments", "BatchNormalization",
     {"renorm": False, "renorm_clipping": {}, "renorm_momentum": 0.9, "axis": 1}, "BatchNormalization", {"axis": 1}),
    ("leaky-relu", "LeakyReLU", {"alpha": 0.2}, "LeakyReLU", {"negative_slope": 0.2}),
    ("thresholded-relu", "ThresholdedReLU", {"theta": 0.3}, "ReLU",
     {"threshold": 0.3, "negative_slope": 0.0, "max_value": None}),
    ("thresholded-relu", "ThresholdedReLU", {"theta": {"type": "ndarray", "value": 0.3}}, "ReLU",
     {"threshold": 0.3, "negative_slope": 0.0, "max_value": None}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "kind", "config", "new_kind", "new_config"), CHANGES, ids=[f"{case[0]}-{case[1]}" for case in CHANGES]
)
def test_what_a_rule_makes_of_a_layer(
    rule: str, kind: str, config: dict[str, Any], new_kind: str, new_config: dict[str, Any]
) -> None:
    changed, where = on_one(BY_NAME[rule], layer(kind, "it", **config))
    assert changed == layer(new_kind, "it", **new_config)
    assert where == ["it"]
    # Wherever it is, by its path, and again nothing once it is done.
    inside = functional([given("x", 3), called(sequential(layer(kind, "it", **config), name="s"), "x")], ["x"], ["s"])
    assert apply(BY_NAME[rule], inside)[1] == ["s/it"]


WITHOUT_A_WORD: list[Change] = [
    ("removed-arguments", "LSTM", {"implementation": 1, "units": 2}, "LSTM", {"units": 2}),
    ("initializers", "Dense",
     {"kernel_initializer": {"class_name": "VarianceScaling", "config": {"distribution": "normal"}}},
     "Dense",
     {"kernel_initializer": {"class_name": "VarianceScaling", "config": {"distribution": "truncated_normal"}}}),
    ("input-shape", "Dense", {"build_input_shape": [None, 3]}, "Dense", {}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "kind", "config", "new_kind", "new_config"), WITHOUT_A_WORD)
def test_what_every_old_file_has_is_not_reported(
    rule: str, kind: str, config: dict[str, Any], new_kind: str, new_config: dict[str, Any]
) -> None:
    changed, where = on_one(BY_NAME[rule], layer(kind, "it", **config))
    assert (changed, where) == (layer(new_kind, "it", **new_config), [])


LEFT_ALONE: list[tuple[str, str, dict[str, Any]]] = [
    ("class-names", "Dense", {}),
    ("dtype-policy", "Dense", {"dtype": "float32"}),
    ("array-arguments", "Dense", {"kernel_initializer": {"class_name": "Zeros", "config": {}}}),
    ("initializers", "Dense", {"kernel_initializer": {"class_name": "Constant", "config": {"value": 1.0}}}),
    ("constraints", "Dense", {"kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2}}}),
    ("gru-reset-after", "GRU", {"reset_after": True}),
    ("gru-reset-after", "LSTM", {}),
    ("cudnn", "LSTM", {"activation": "relu"}),
    ("gate-activation", "LSTM", {"recurrent_activation": "sigmoid"}),
    ("gate-activation", "SimpleRNN", {}),
    ("removed-arguments", "Conv2D", {"groups": 2}),
    ("removed-arguments", "Dense", {"implementation": 1}),
    ("time-major", "Dense", {"time_major": True}),
    ("axis-list", "Concatenate", {"axis": -1}),
    ("leaky-relu", "ELU", {"alpha": 0.2}),
    ("leaky-relu", "LeakyReLU", {"negative_slope": 0.2}),
    ("thresholded-relu", "ReLU", {"threshold": 0.3}),
    ("hard-sigmoid", "Dense", {"activation": "sigmoid"}),
    ("hard-sigmoid", "Activation", {"activation": "relu"}),
    ("keras-1-arguments", "Dense", {"units": 2, "kernel_regularizer": "l2", "input_dim": 3}),
    ("keras-1-classes", "Conv1D", {"filters": 2}),
]


@pytest.mark.parametrize(("rule", "kind", "config"), LEFT_ALONE)
def test_what_a_rule_leaves_alone(rule: str, kind: str, config: dict[str, Any]) -> None:
    said = layer(kind, "it", **config)
    assert on_one(BY_NAME[rule], said) == (said, [])


OF_CLASSES = [case for case in CHANGES if case[0] not in ("dtype-policy",)]


@pytest.mark.parametrize(
    ("rule", "kind", "config", "new_kind", "new_config"),
    OF_CLASSES,
    ids=[f"{case[0]}-{case[1]}" for case in OF_CLASSES],
)
def test_a_class_of_the_users_is_left_alone(
    rule: str, kind: str, config: dict[str, Any], new_kind: str, new_config: dict[str, Any]
) -> None:
    """Even where it has the name of one of Keras, or arguments that look like old ones."""
    said = layer(kind, "it", **config)
    assert on_one(BY_NAME[rule], said, custom=frozenset([kind])) == (said, [])
    said = layer(f"mine>{kind}", "it", **config)
    assert on_one(BY_NAME[rule], said) == (said, [])


# -- refusals -------------------------------------------------------------------------------------

REFUSALS: list[tuple[str, Layer, str]] = [
    (
        "time-major",
        layer("GRU", "g", time_major=True),
        "The layer 'g' has time_major=True, which Keras 3 does not have.\n"
        "  Expected: (batch, time, features) as the axes of what a recurrent layer takes\n"
        "  Fix: Transpose its input in the model that made the file, set time_major=False, and save it again.",
    ),
    (
        "axis-list",
        layer("BatchNormalization", "bn", axis=[1, 2]),
        "The layer 'bn' is a BatchNormalization over several axes, which Keras 3 does not have.\n"
        "  Expected: one axis\n"
        "  Received: axis=[1, 2]",
    ),
    (
        "renorm",
        layer("BatchNormalization", "bn", renorm=True),
        "The layer 'bn' is a BatchNormalization with renorm=True, which Keras 3 does not have.\n"
        "  Fix: Copy its gamma, beta, moving_mean and moving_variance into one without renorm in the model that made "
        "the file, which predicts the same, and save it again.",
    ),
    (
        "random-crop",
        layer("RandomCrop", "crop", height=2, width=2),
        "The layer 'crop' is a RandomCrop, which crops and resizes in Keras 2 when it predicts, and does nothing in "
        "Keras 3.\n"
        "  Fix: Use a Resizing with crop_to_aspect_ratio=True, which predicts the same, where the file was made.",
    ),
    (
        "interpolation",
        layer("Resizing", "r", interpolation="gaussian"),
        "The layer 'r' interpolates in a way that Keras 3 does not have.\n"
        "  Expected: bilinear, nearest, bicubic, lanczos3, lanczos5 or area\n"
        "  Received: interpolation='gaussian'",
    ),
    (
        "keras-1-merge",
        layer("Merge", "m", mode="other"),
        "The layer 'm' is a Merge of Keras 1 that no layer of Keras 3 does.\n"
        "  Expected: one of the modes sum, mul, ave, max, concat, dot, cos\n"
        "  Received: mode 'other'",
    ),
]


@pytest.mark.parametrize(("rule", "said", "text"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_what_a_rule_or_a_check_refuses(rule: str, said: Layer, text: str) -> None:
    quirk = (BY_NAME | CHECKS_BY_NAME)[rule]
    assert refusal(quirk, said) == text
    users = frozenset([said["class_name"]])
    if isinstance(quirk, Check):
        quirk.refuse(Saved(sequential(said), OLD, custom=users))
    elif rule != "hard-sigmoid":
        assert on_one(quirk, said, custom=users) == (said, [])


@pytest.mark.parametrize(
    ("check", "kind", "config"),
    [
        ("interpolation", "Resizing", {"interpolation": "bilinear"}),
        ("random-crop", "CenterCrop", {"height": 2, "width": 2}),
        ("renorm", "Dense", {"renorm": True}),
        ("renorm", "BatchNormalization", {"renorm": False}),
    ],
)
def test_what_a_check_lets_pass(check: str, kind: str, config: dict[str, Any]) -> None:
    CHECKS_BY_NAME[check].refuse(Saved(sequential(layer(kind, "it", **config)), OLD))


@pytest.mark.parametrize(("rule", "said", "text"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_all_rules_and_checks_together_refuse_it_too(rule: str, said: Layer, text: str) -> None:
    with pytest.raises(SourceError) as caught:
        repair(Saved(sequential(copy.deepcopy(said)), OLD))
    assert str(caught.value) == text


# -- Keras 1 --------------------------------------------------------------------------------------

KERAS_1: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Dense", {"output_dim": 2, "init": "uniform", "bias": False, "input_dim": 3},
     {"units": 2, "kernel_initializer": "uniform", "use_bias": False}),
    ("Conv1D", {"nb_filter": 2, "filter_length": 3, "border_mode": "same", "subsample_length": 2, "atrous_rate": 2},
     {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2, "dilation_rate": 2}),
    ("Conv2D", {"nb_filter": 2, "nb_row": 3, "nb_col": 4, "subsample": [2, 1], "dim_ordering": "th"},
     {"filters": 2, "kernel_size": [3, 4], "strides": [2, 1], "data_format": "channels_first"}),
    ("Conv3D", {"kernel_dim1": 1, "kernel_dim2": 2, "kernel_dim3": 3, "dim_ordering": "tf"},
     {"kernel_size": [1, 2, 3], "data_format": "channels_last"}),
    ("LSTM", {"inner_init": "zero", "inner_activation": "tanh", "forget_bias_init": "one", "consume_less": "gpu",
              "dropout_W": 0.1, "dropout_U": 0.2},
     {"recurrent_initializer": "zero", "recurrent_activation": "tanh", "unit_forget_bias": True, "dropout": 0.1,
      "recurrent_dropout": 0.2}),
    ("Dropout", {"p": 0.3}, {"rate": 0.3}),
    ("SpatialDropout1D", {"p": 0.3}, {"rate": 0.3}),
    ("MaxPooling1D", {"pool_length": 2, "stride": 1, "border_mode": "valid"},
     {"pool_size": 2, "strides": 1, "padding": "valid"}),
    ("UpSampling1D", {"length": 3}, {"size": 3}),
    ("GaussianNoise", {"sigma": 0.3}, {"stddev": 0.3}),
    ("PReLU", {"init": "zero"}, {"alpha_initializer": "zero"}),
    ("Embedding", {"input_dim": 5, "output_dim": 2, "init": "uniform", "dropout": 0.1, "W_regularizer": None},
     {"input_dim": 5, "output_dim": 2, "embeddings_initializer": "uniform", "embeddings_regularizer": None}),
    ("BatchNormalization", {"mode": 0, "beta_init": "zero", "gamma_init": "one"},
     {"beta_initializer": "zero", "gamma_initializer": "one"}),
    ("Dense", {"W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.5}, "b_regularizer": None,
               "W_constraint": {"name": "MaxNorm", "m": 3, "axis": 0}, "b_constraint": {"name": "NonNeg"}},
     {"kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}, "bias_regularizer": None,
      "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 3.0}},
      "bias_constraint": {"class_name": "NonNeg", "config": {}}}),
    ("Dense", {"W_regularizer": {"name": "EigenvalueRegularizer", "k": 0.1}}, {"kernel_regularizer": None}),
    ("ZeroPadding2D", {"padding": [1, 2, 3, 4]}, {"padding": [[1, 2], [3, 4]]}),
    ("ZeroPadding2D", {"padding": {"top_pad": 1}}, {"padding": [[1, 0], [0, 0]]}),
    ("ZeroPadding1D", {"padding": {"right_pad": 1}}, {"padding": [0, 1]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "new"), KERAS_1)
def test_arguments_of_keras_1(kind: str, config: dict[str, Any], new: dict[str, Any]) -> None:
    said = layer(kind, "it", **config)
    assert on_one(keras1.arguments, said, (1,)) == (layer(kind, "it", **new), ["it"])
    assert on_one(keras1.arguments, said, (1,), custom=frozenset([kind])) == (said, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((f"Convolution{rank}D", f"Conv{rank}D") for rank in (1, 2, 3)),
        ("AtrousConvolution2D", "Conv2D"),
        ("SeparableConvolution2D", "SeparableConv2D"),
        ("Deconvolution2D", "Conv2DTranspose"),
        ("TimeDistributedDense", "Dense"),
    ],
)
def test_classes_of_keras_1(old: str, new: str) -> None:
    assert on_one(keras1.class_names, layer(old, "it"), (1,)) == (layer(new, "it"), ["it"])
    assert on_one(keras1.class_names, layer(old, "it", nb_filter=2), OLD)[1] == ["it"]
    assert on_one(keras1.class_names, layer(old, "it"), (1,), custom=frozenset([old]))[1] == []


@pytest.mark.parametrize(("backend", "data_format"), [("theano", "channels_first"), ("tensorflow", "channels_last")])
def test_the_default_ordering_is_that_of_the_backend(backend: str, data_format: str) -> None:
    changed, _ = on_one(keras1.arguments, layer("Flatten", "f", dim_ordering="default"), (1,), backend=backend)
    assert changed == layer("Flatten", "f", data_format=data_format)


@pytest.mark.parametrize(
    ("mode", "kind"), [("sum", "Add"), ("mul", "Multiply"), ("ave", "Average"), ("max", "Maximum")]
)
def test_a_merge_of_keras_1(mode: str, kind: str) -> None:
    said = layer("Merge", "m", mode=mode, concat_axis=-1, dot_axes=-1)
    assert on_one(keras1.merge_layers, said, (1,)) == (layer(kind, "m"), ["m"])


def test_merges_of_keras_1_with_an_axis() -> None:
    concat, dot = (layer("Merge", "m", mode=mode, concat_axis=1, dot_axes=[2, 1]) for mode in ("concat", "dot"))
    assert on_one(keras1.merge_layers, concat, (1,)) == (layer("Concatenate", "m", axis=1), ["m"])
    assert on_one(keras1.merge_layers, dot, (1,)) == (layer("Dot", "m", axes=[2, 1]), ["m"])


# -- how a model is put together ------------------------------------------------------------------


def test_a_bare_list_of_layers() -> None:
    inner = {"class_name": "Sequential", "config": [layer("Dense", "d")], "name": "Inner"}
    model, where = apply(structure.sequential_list, {"class_name": "Sequential", "config": [inner]})
    assert where == ["", "Inner"]
    assert model["config"]["name"] == "sequential"
    assert model["config"]["layers"][0]["config"] == {"name": "inner", "layers": [layer("Dense", "d")]}
    assert apply(structure.sequential_list, model) == (model, [])


def test_the_shape_of_a_first_layer() -> None:
    first = layer("Dense", "d", batch_input_shape=[None, 3], dtype="float64")
    model, where = apply(structure.input_shape, sequential(first, layer("Dense", "e", batch_input_shape=[None, 9])))
    assert where == [""]
    put = {"class_name": "InputLayer", "config": {"batch_shape": [None, 3], "dtype": "float64", "name": "d_input"}}
    assert model["config"]["layers"] == [put, layer("Dense", "d", dtype="float64"), layer("Dense", "e")]
    assert apply(structure.input_shape, model) == (model, [])


@pytest.mark.parametrize(
    "first",
    [
        sequential(layer("Dense", "d", batch_input_shape=[None, 3]), name="first"),
        functional([given("x", 3), called(layer("Dense", "d"), "x")], ["x"], ["d"], name="first"),
        layer("Bidirectional", "first", layer=layer("LSTM", "l", batch_input_shape=[None, 3])),
        layer("TimeDistributed", "first", layer=layer("Dense", "d"), batch_input_shape=[None, 3]),
        layer("Mine", "first", batch_input_shape=[None, 3]),
    ],
    ids=["sequential", "functional", "bidirectional", "time_distributed", "custom"],
)
def test_the_shape_is_found_in_what_comes_first(first: Layer) -> None:
    model, where = apply(structure.input_shape, sequential(first, name="outer"), custom=frozenset(["Mine"]))
    assert where[0] == ""
    assert model["config"]["layers"][0]["config"] == {
        "batch_shape": [None, 3], "dtype": "float32", "name": "first_input"
    }  # fmt: skip
    assert model["config"]["layers"][1]["config"]["name"] == "first"


def test_a_sequential_that_never_knew_its_shape_and_one_that_was_built() -> None:
    said = sequential(layer("Dense", "d"))
    assert apply(structure.input_shape, said) == (said, [])
    said["config"]["build_input_shape"] = [None, 4]
    model, where = apply(structure.input_shape, said)
    assert where == [""] and model["config"]["layers"][0]["config"]["batch_shape"] == [None, 4]


def test_input_layers_are_said_as_keras_3_says_them() -> None:
    said = given("x", 3, ragged=True, sparse=False, dtype="int32")
    model, where = apply(structure.input_shape, functional([said], ["x"], ["x"]))
    assert where == []
    assert model["config"]["layers"][0]["config"] == {
        "batch_shape": [None, 3], "dtype": "int32", "name": "x", "ragged": True
    }  # fmt: skip


def test_slashes_in_names() -> None:
    layers = [
        given("in/put", 3),
        called(layer("Dense", "a/b"), "in/put"),
        called(layer("Dense", "a_b"), "a/b"),
        called(layer("LSTM", "rnn"), ["a_b", "a/b"]),
        called(layer("Mine", "m"), [["a_b", 0, 0, {"mask": ["a/b", 0, 0], "other": "a/b"}]]),
    ]
    model = functional(layers, ["in/put"], ["a/b", "m"])
    saved = Saved(copy.deepcopy(model), OLD)
    assert structure.layer_names.apply(saved) == ["in/put", "a/b"]
    found = saved.model["config"]["layers"]
    assert [said["name"] for said in found] == ["in_put", "a_b_", "a_b", "rnn", "m"]
    assert [said["config"]["name"] for said in found] == ["in_put", "a_b_", "a_b", "rnn", "m"]
    assert found[3]["inbound_nodes"] == [[["a_b", 0, 0, {}], ["a_b_", 0, 0, {}]]]
    assert found[4]["inbound_nodes"] == [[["a_b", 0, 0, {"mask": ["a_b_", 0, 0], "other": "a/b"}]]]
    assert saved.model["config"]["output_layers"] == [["a_b_", 0, 0], ["m", 0, 0]]
    assert saved.model["config"]["input_layers"] == [["in_put", 0, 0]]
    assert [saved.name_in_file(said) for said in found] == ["in/put", "a/b", "a_b", "rnn", "m"]
    assert structure.layer_names.apply(saved) == []


def nested(inner: Layer, *calls: int) -> Layer:
    """A model that calls an inner one twice, counted from ``calls``."""
    inner = called(inner, "x", "y")
    add = called(layer("Add", "add"), [["inner", calls[0], 0, {}], ["inner", calls[1], 0, {}]])
    return functional([given("x", 3), given("y", 3), inner, add], ["x", "y"], ["add"])


INNER = functional([given("i", 3), called(layer("Dense", "d"), "i")], ["i"], ["d"], name="inner")


@pytest.mark.parametrize("inner", [INNER, sequential(layer("Dense", "d", batch_input_shape=[None, 3]), name="inner")])
def test_calls_of_a_nested_model_are_counted_from_zero(inner: Layer) -> None:
    model, where = apply(structure.nested_calls, nested(inner, 1, 2))
    assert where == ["inner"] and model == nested(inner, 0, 1)
    assert apply(structure.nested_calls, model) == (model, [])


def test_calls_of_a_model_that_did_not_know_its_inputs_stay() -> None:
    inner = sequential(layer("Dense", "d"), name="inner")
    assert apply(structure.nested_calls, nested(inner, 0, 1)) == (nested(inner, 0, 1), [])
    only_second = nested(inner, 1, 1)
    assert apply(structure.nested_calls, only_second) == (only_second, [])


def test_calls_of_a_shared_layer_stay() -> None:
    said = nested(layer("Dense", "inner"), 1, 1)
    assert apply(structure.nested_calls, said) == (said, [])


@pytest.mark.parametrize(("inner", "counted"), [(INNER, 1), (sequential(layer("Dense", "d"), name="inner"), 0)])
def test_ends_that_are_calls_of_a_functional_model_are_counted_from_one(inner: Layer, counted: int) -> None:
    """As Keras 3 counts them there, and only there."""
    said = functional([given("x", 3), called(inner, "x", "x")], ["x"], [["inner", 0, 0], ["inner", 1, 0]])
    saved = Saved(copy.deepcopy(said), OLD)
    keras3_config.modernise(saved)
    assert saved.model["config"]["output_layers"] == [["inner", counted, 0], ["inner", 1 + counted, 0]]
    assert saved.model["config"]["input_layers"] == [["x", 0, 0]]
    new = Saved(copy.deepcopy(said), NEW)
    keras3_config.modernise(new)
    assert new.model["config"]["output_layers"] == said["config"]["output_layers"]


def tensor(name: str, call: int = 0, index: int = 0) -> dict[str, Any]:
    history = [name, call, index]
    return {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32", "keras_history": history}}


def called_with(kind: str, node: Any, **config: Any) -> tuple[Any, list[str]]:
    said = {**layer(kind, "it", **config), "name": "it", "inbound_nodes": [node]}
    model, where = apply(structure.call_arguments, functional([given("x", 3), said], ["x"], ["it"]))
    return model["config"]["layers"][1]["inbound_nodes"][0], where


@pytest.mark.parametrize(
    ("kind", "config", "node", "want"),
    [
        ("LSTM", {}, [["x", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 1, {}]],
         {"args": [tensor("x")], "kwargs": {"initial_state": [tensor("h"), tensor("c", 0, 1)]}}),
        ("RNN", {"num_constants": 1}, [["x", 0, 0, {}], ["h", 0, 0, {}], ["k", 0, 0, {}]],
         {"args": [tensor("x")], "kwargs": {"initial_state": [tensor("h")], "constants": [tensor("k")]}}),
        ("RNN", {"num_constants": 1}, [["x", 0, 0, {}], ["k", 0, 0, {}]],
         {"args": [tensor("x")], "kwargs": {"constants": [tensor("k")]}}),
        ("LSTM", {}, [["x", 0, 0, {"initial_state": [["h", 0, 0], ["c", 0, 0]]}]],
         {"args": [tensor("x")], "kwargs": {"initial_state": [tensor("h"), tensor("c")]}}),
        ("MultiHeadAttention", {}, [["x", 0, 0, {"value": ["v", 1, 0], "use_causal_mask": True, "key": None}]],
         {"args": [tensor("x")], "kwargs": {"value": tensor("v", 1), "use_causal_mask": True}}),
        ("Attention", {}, [["q", 0, 0, {"mask": [["m", 0, 0], None]}], ["v", 0, 0, {"mask": [["m", 0, 0], None]}]],
         {"args": [[tensor("q"), tensor("v")]], "kwargs": {"mask": [tensor("m"), None]}}),
        ("Add", {}, [["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, 2.0, {}]],
         {"args": [[tensor("x"), 2.0]], "kwargs": {}}),
    ],
    ids=["states", "states and constants", "constants", "states by name", "value", "masks", "a constant"],
)  # fmt: skip
def test_tensors_among_the_arguments_of_a_call(kind: str, config: dict[str, Any], node: Any, want: Any) -> None:
    assert called_with(kind, node, **config) == (want, ["it"])


@pytest.mark.parametrize(
    ("kind", "node"),
    [("Dense", [["x", 0, 0, {}]]), ("Add", [["x", 0, 0, {}], ["y", 0, 0, {}]]), ("LSTM", [["x", 0, 0, {}]]),
     ("Dense", {"args": [tensor("x")], "kwargs": {}})],
)  # fmt: skip
def test_plain_calls_stay(kind: str, node: Any) -> None:
    assert called_with(kind, copy.deepcopy(node)) == (node, [])


def test_a_layer_with_a_plain_call_and_another() -> None:
    said = called(layer("LSTM", "it"), "x", ["x", "h"])
    model, where = apply(structure.call_arguments, functional([given("x", 3), said], ["x"], ["it"]))
    assert where == ["it"]
    assert model["config"]["layers"][1]["inbound_nodes"] == [
        {"args": [tensor("x")], "kwargs": {}},
        {"args": [tensor("x")], "kwargs": {"initial_state": [tensor("h")]}},
    ]


def test_a_single_output_in_a_list() -> None:
    model, where = apply(structure.single_ends, functional([given("x", 3)], ["x"], ["x"]))
    assert where == [""] and model["config"]["output_layers"] == ["x", 0, 0] == model["config"]["input_layers"]
    assert apply(structure.single_ends, model) == (model, [])
    two = functional([given("x", 3), given("y", 3)], ["x", "y"], ["y", "x"])
    assert apply(structure.single_ends, two) == (two, [])


# -- rules that put layers in ---------------------------------------------------------------------


def test_a_merge_of_one_tensor() -> None:
    layers = [given("x", 3), called(layer("Add", "one"), "x", "x"), called(layer("Add", "two"), ["x", "one"])]
    model, where = apply(layer_classes.single_merge, functional(layers, ["x"], ["two"]))
    assert where == ["one"]
    assert model["config"]["layers"][1] == {**layers[1], **layer("Identity", "one", dtype="float32")}
    assert model["config"]["layers"][2] == layers[2]


@pytest.mark.parametrize("size", [3, [3]])
def test_causal_padding_of_a_separable_convolution(size: Any) -> None:
    said = layer("SeparableConv1D", "conv", padding="causal", kernel_size=size, dilation_rate=[2])
    model, where = apply(layer_arguments.causal_padding, sequential(said, layer("Conv1D", "c", padding="causal")))
    put, conv, other = model["config"]["layers"]
    assert where == ["conv"]
    assert put == layer("ZeroPadding1D", "conv_padding", padding=[4, 0])
    assert conv == layer("SeparableConv1D", "conv", padding="valid", kernel_size=size, dilation_rate=[2])
    assert other == layer("Conv1D", "c", padding="causal")


def test_a_layer_in_front_takes_over_every_call_and_a_free_name() -> None:
    said = called(layer("Activation", "a", activation="hard_sigmoid"), "x", "y")
    layers = [given("x", 3), given("y", 3), given("a_rescaling", 3), said]
    model, where = apply(
        changed_functions.hard_sigmoid, functional(layers, ["x", "y", "a_rescaling"], ["a", ["a", 1, 0]])
    )
    assert where == ["a"]
    put, changed = model["config"]["layers"][3:]
    assert put["name"] == put["config"]["name"] == "a_rescaling_"
    assert (put["class_name"], put["config"]["scale"], put["config"]["offset"]) == ("Rescaling", 1.2, 0.0)
    assert put["inbound_nodes"] == said["inbound_nodes"]
    assert changed["inbound_nodes"] == [[["a_rescaling_", 0, 0, {}]], [["a_rescaling_", 1, 0, {}]]]
    assert model["config"]["output_layers"] == [["a", 0, 0], ["a", 1, 0]]


@pytest.mark.parametrize(
    "activation",
    ["hard_sigmoid", {"class_name": "function", "config": "hard_sigmoid", "registered_name": "hard_sigmoid"}],
)
def test_where_a_hard_sigmoid_is(activation: Any) -> None:
    layers = [
        layer("Dense", "dense", activation=activation),
        layer("Bidirectional", "both", layer=layer("LSTM", "l", recurrent_activation=activation, activation="tanh")),
        layer("TimeDistributed", "each", layer=layer("Activation", "a", activation=activation)),
        layer("Mine", "mine", activation=activation),
    ]
    model, where = apply(changed_functions.hard_sigmoid, sequential(*layers))
    assert where == ["dense", "both/l", "each", "mine"]
    dense, both, put, each, mine = model["config"]["layers"]
    assert (dense, both, mine) == (layers[0], layers[1], layers[3])
    assert (put["class_name"], put["config"]["scale"]) == ("Rescaling", 1.2)
    assert each == layer("Activation", "each", activation=activation)
    assert apply(changed_functions.hard_sigmoid, sequential(*layers), custom=frozenset(["hard_sigmoid"])) == (
        sequential(*layers), []
    )  # fmt: skip


def test_resized_whole_numbers() -> None:
    layers = [given("x", 4, 4, 3, dtype="uint8"), given("y", 4, 4, 3)]
    layers += [called(layer("Resizing", name, height=2, width=2), name[0]) for name in ("xr", "yr")]
    model, where = apply(changed_functions.whole_numbers, functional(layers, ["x", "y"], ["xr", "yr"]))
    assert where == ["xr"]
    assert [said["config"]["name"] for said in model["config"]["layers"]] == ["x", "y", "xr_fractions", "xr", "yr"]
    assert model["config"]["layers"][2]["config"] == {"name": "xr_fractions", "scale": 1.0, "offset": 0.0}
    assert apply(changed_functions.whole_numbers, model) == (model, [])


def test_causal_attention() -> None:
    said = called(layer("Attention", "a", causal=True), ["x", "x"])
    other = called(layer("Attention", "b", causal=False), ["x", "x"])
    model, where = apply(layer_arguments.causal, functional([given("x", 3, 2), said, other], ["x"], ["a", "b"]))
    assert where == ["a"]
    _, changed, same = model["config"]["layers"]
    assert changed["inbound_nodes"] == [[["x", 0, 0, {"use_causal_mask": True}]] * 2]
    assert "causal" not in changed["config"] and same["inbound_nodes"] == other["inbound_nodes"]


# -- training=True --------------------------------------------------------------------------------


def trained(said: Layer, **more: Any) -> Layer:
    return functional([given("x", 3), called(said, [["x", 0, 0, {"training": True, **more}]])], ["x"], [name(said)])


def name(said: Layer) -> str:
    return said["config"]["name"]


@pytest.mark.parametrize(
    "said",
    [
        layer("Dropout", "d"),
        layer("GaussianNoise", "d"),
        layer("RandomFlip", "d"),
        layer("LSTM", "d", dropout=0.2),
        layer("TimeDistributed", "d", layer=layer("Dropout", "inner")),
        sequential(layer("Dropout", "inner"), name="d"),
        layer("BatchNormalization", "d", trainable=False),
    ],
    ids=lambda said: said["class_name"],
)
def test_a_layer_that_was_told_to_train(said: Layer) -> None:
    model, where = apply(changed_functions.training, trained(said, mask=None))
    assert where == ["d"]
    assert model["config"]["layers"][1]["inbound_nodes"] == [[["x", 0, 0, {"mask": None}]]]
    assert apply(changed_functions.training, model) == (model, [])


def test_a_layer_to_which_training_is_all_one() -> None:
    model, where = apply(changed_functions.training, trained(layer("LSTM", "l", dropout=0.0)))
    assert where == [] and model["config"]["layers"][1]["inbound_nodes"] == [[["x", 0, 0, {}]]]


def test_training_false_and_none_stay() -> None:
    said = functional([called(layer("Dropout", "d"), [["x", 0, 0, {"training": False}]])], ["x"], ["d"])
    assert apply(changed_functions.training, said) == (said, [])


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (layer("BatchNormalization", "bn"), "bn"),
        (sequential(layer("BatchNormalization", "inner"), name="bn"), "bn/inner"),
    ],
)
def test_batch_statistics_of_keras_2_are_refused(said: Layer, path: str) -> None:
    with pytest.raises(SourceError) as caught:
        apply(changed_functions.training, trained(said))
    assert str(caught.value) == (
        f"The layer '{path}' is a BatchNormalization that was called with training=True: what it predicts for a row "
        "depends on the other rows of the batch.\n"
        "  Expected: layers that predict each row by itself; Keras 3 predicts with the moving averages\n"
        "  Fix: Call it without training=True in the model that made the file, and save it again."
    )


def test_a_call_of_keras_3_that_trains() -> None:
    node = {"args": [tensor("x")], "kwargs": {"training": True, "mask": None}}
    said = functional([{**layer("BatchNormalization", "bn"), "name": "bn", "inbound_nodes": [node]}], ["x"], ["bn"])
    model, where = apply(changed_functions.training, said, NEW)
    assert where == ["bn"] and model["config"]["layers"][0]["inbound_nodes"][0]["kwargs"] == {"mask": None}


# -- all rules together ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [NEW, (3,), (4, 0)])
def test_files_of_keras_3_keep_what_only_looks_old(version: tuple[int, ...]) -> None:
    said = [layer(kind, f"it{number}", **config) for number, (_, kind, config, *_) in enumerate(CHANGES)]
    said = [item for item in said if not isinstance(item["config"].get("axis"), list)]
    model = sequential(layer("Dense", "first", batch_input_shape=[None, 3]), *said)
    saved = Saved(copy.deepcopy(model), version)
    assert repair(saved) == [] and saved.model == model


@pytest.mark.parametrize(("axis", "kept"), [([1, 2], [1, 2]), ([2], 2)])
@pytest.mark.parametrize("kind", ["LayerNormalization", "Softmax", "UnitNormalization"])
def test_an_axis_in_files_of_keras_3(kind: str, axis: list[int], kept: Any) -> None:
    """A longer list is forgotten where the layer has no module, as in HDF5."""
    changed, where = on_one(layer_arguments.axis, layer(kind, "n", axis=axis), NEW)
    assert (changed["config"]["axis"], where) == (kept, ["n"] if len(axis) > 1 else [])
    with_module = {**layer(kind, "n", axis=axis), "module": "keras.layers"}
    assert on_one(layer_arguments.axis, with_module, NEW)[1] == []


def test_repairs_are_in_the_order_of_the_rules_with_their_places() -> None:
    said = {"class_name": "Sequential", "config": [
        layer("GRU", "g", batch_input_shape=[None, 4, 2], units=2, time_major=False),
        layer("LeakyReLU", "l", alpha={"type": "ndarray", "value": 0.1}),
    ]}  # fmt: skip
    done = repair(Saved(said, OLD))
    assert [(item.rule, item.where) for item in done] == [
        ("sequential-list", ("",)),
        ("input-shape", ("",)),
        ("array-arguments", ("l",)),
        ("gru-reset-after", ("g",)),
        ("gate-activation", ("g",)),
        ("time-major", ("g",)),
        ("leaky-relu", ("l",)),
        ("hard-sigmoid", ("g",)),
    ]
    assert all(item.why == BY_NAME[item.rule].why for item in done)


# It says what is done to the weights afterwards, and so it says it again.
_NOT_AGAIN = ("hard-sigmoid",)
_OLD_LAYERS = [layer(kind, "it", **config) for _, kind, config, *_ in CHANGES + WITHOUT_A_WORD]


@for_all(st.lists(st.sampled_from(_OLD_LAYERS), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_a_repaired_architecture_needs_no_repair(said: list[Layer], graph: bool, slashes: bool) -> None:
    said = copy.deepcopy(said)
    for number, item in enumerate(said):
        item["config"]["name"] = f"l{'/' if slashes else '_'}{number}"
    if graph:
        names = ["x", *(item["config"]["name"] for item in said)]
        layers = [given("x", 3), *(called(item, before) for item, before in zip(said, names, strict=False))]
        model = functional(layers, ["x"], [names[-1]])
    else:
        said[0]["config"]["batch_input_shape"] = [None, 3]
        model = {"class_name": "Sequential", "config": said}
    saved = Saved(model, OLD)
    assert repair(saved)
    keras3_config.modernise(saved)
    before = copy.deepcopy(saved.model)
    assert [item.rule for item in repair(saved) if item.rule not in _NOT_AGAIN] == []
    assert saved.model == before


def test_what_keras_2_wrote_for_itself_is_dropped_without_a_repair() -> None:
    said = {**layer("Dense", "d", units=2), "shared_object_id": 3, "build_config": {"input_shape": [None, 3]}}
    saved = Saved(sequential({**layer("InputLayer", "x", batch_shape=[None, 3])}, said), OLD)
    assert repair(saved) == []
    keras3_config.modernise(saved)
    assert said.keys() == {"class_name", "config", "module", "registered_name"}


@pytest.mark.parametrize(("kind", "rank"), [("LSTM", 2), ("LSTMCell", 2), ("ConvLSTM1D", 3), ("ConvLSTM3D", 5)])
def test_hard_sigmoid_on_the_cell(kind: str, rank: int) -> None:
    changed, where = on_one(changed_functions.hard_sigmoid, layer(kind, "l", activation="hard_sigmoid"))
    activation = changed["config"]["activation"]
    assert activation["class_name"] == "Sequential" and where == ["l"]
    given, rescaling, squashing = (inner["config"] for inner in activation["config"]["layers"])
    assert (given["batch_shape"], rescaling["scale"]) == ([None] * rank, 1.2)
    assert squashing["activation"] == "hard_sigmoid"
