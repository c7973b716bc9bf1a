"""Many small models, made and saved by Keras 2 (``tf_keras``), with what they predict: ``keras2_models.py FOLDER``.

Nothing here imports Keras 3. Every layer that both versions have is there, with default and with other
arguments, and with weights that are random but the same each time. The folder gets, for each case:

- ``NAME.h5``, ``NAME.keras``: the whole model; ``NAME.old.h5``: the first with a config as Keras 2.4 wrote it
- ``NAME.json`` with ``NAME.weights.h5`` or ``NAME.legacy.h5``: the architecture and the weights in either layout
- ``NAME.npz``: inputs ``in0``..., outputs ``out0``..., ``params`` and ``trainable``: how many numbers it has
- ``index.json``: what was made, and the error of each thing that Keras 2 itself cannot do
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# SpectralNormalization of tf_keras asks TensorFlow for "its" Keras.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as k2
from keras2_on_cpu import make_no_gpu_twins
from tf_keras import layers as L

BATCH, STEPS, TOKENS = 3, 5, 7
FORMATS = ("h5", "keras", "old.h5", "weights.h5", "legacy.h5")
WORDS = ["the", "cat", "sat", "on", "a", "mat", "unheard"]

MODELS: dict[str, Callable[[], k2.Model]] = {}


def model(name: str) -> Callable:
    """Register a builder of a whole model."""

    def register(build: Callable[[], k2.Model]) -> Callable[[], k2.Model]:
        assert name not in MODELS, name
        MODELS[name] = build
        return build

    return register


def case(name: str, *shapes: Any, call: Callable, dtype: str | tuple[str, ...] = "float32") -> None:
    """Register a functional model: ``call`` of inputs with these shapes."""

    def build() -> k2.Model:
        dtypes = (dtype,) * len(shapes) if isinstance(dtype, str) else dtype
        inputs = [
            L.Input(shape, dtype=kind, name=f"in{i}")
            for i, (shape, kind) in enumerate(zip(shapes, dtypes, strict=True))
        ]
        return k2.Model(inputs if len(inputs) > 1 else inputs[0], call(*inputs))

    model(name)(build)


def family(make: Callable[..., Any], shape: tuple, variants: dict[str, dict], *args: Any, name: str = "") -> None:
    """Register one layer class with several sets of arguments."""
    name = name or make.__name__
    for label, options in variants.items():
        case(f"{name}.{label}", shape, call=lambda x, options=options: make(*args, **options)(x))


# --- Dense, embeddings ---------------------------------------------------------------------------------------------

family(
    L.Dense,
    (4,),
    {
        "default": {},
        "no_bias": {"use_bias": False},
        "regularized": {
            "kernel_regularizer": k2.regularizers.L1L2(0.1, 0.2),
            "bias_regularizer": "l2",
            "activity_regularizer": k2.regularizers.l1(0.1),
            "kernel_constraint": k2.constraints.MaxNorm(2, axis=0),
            "bias_constraint": "non_neg",
        },
        "other_constraints": {
            "kernel_constraint": k2.constraints.MinMaxNorm(0.1, 2.0, rate=0.5, axis=0),
            "bias_constraint": k2.constraints.UnitNorm(axis=0),
            "kernel_regularizer": k2.regularizers.OrthogonalRegularizer(0.1, "columns"),
        },
        "radial_constraint": {"kernel_constraint": k2.constraints.RadialConstraint()},
        "frozen": {"trainable": False},
        "float64": {"dtype": "float64"},
        "float16": {"dtype": "float16"},
        "bfloat16": {"dtype": "bfloat16"},
        "mixed": {"dtype": k2.mixed_precision.Policy("mixed_float16")},
        "named": {"name": "Block.1-a/b"},
    },
    3,
)
INITIALIZERS = {
    "Constant": {"value": 0.3},
    "GlorotNormal": {"seed": 3},
    "GlorotUniform": {},
    "HeNormal": {},
    "HeUniform": {"seed": 2},
    "Identity": {"gain": 2.0},
    "LecunNormal": {},
    "LecunUniform": {},
    "Ones": {},
    "Orthogonal": {"gain": 1.1, "seed": 1},
    "RandomNormal": {"stddev": 0.2},
    "RandomUniform": {"minval": -1.0, "maxval": 2.0, "seed": 4},
    "TruncatedNormal": {"mean": 0.1},
    "VarianceScaling": {"scale": 2.0, "mode": "fan_out", "distribution": "uniform"},
    "Zeros": {},
}
for _name, _options in INITIALIZERS.items():
    case(
        f"Initializer.{_name}",
        (4,),
        call=lambda x, n=_name, o=_options: L.Dense(4, kernel_initializer=getattr(k2.initializers, n)(**o))(x),
    )
case("Dense.of_3d", (STEPS, 4), call=lambda x: L.Dense(3)(x))
case("EinsumDense.default", (4,), call=lambda x: L.EinsumDense("ab,bc->ac", 3)(x))
case(
    "EinsumDense.bias", (STEPS, 4), call=lambda x: L.EinsumDense("abc,cde->abde", (None, 2, 3), None, bias_axes="e")(x)
)
case(
    "EinsumDense.ellipsis",
    (STEPS, 4),
    call=lambda x: L.EinsumDense("...x,xy->...y", output_shape=3, bias_axes="y", activation="hard_sigmoid")(x),
)
case("Embedding.default", (STEPS,), call=lambda x: L.Embedding(TOKENS, 4)(x))
case("Embedding.int", (STEPS,), dtype="int32", call=lambda x: L.Embedding(TOKENS, 4, input_length=STEPS)(x))
case("Embedding.input_length", (STEPS,), call=lambda x: L.Flatten()(L.Embedding(TOKENS, 4, input_length=STEPS)(x)))
case("Embedding.mask_lstm", (STEPS,), call=lambda x: L.LSTM(3)(L.Embedding(TOKENS, 4, mask_zero=True)(x)))
case(
    "Embedding.mask_pool",
    (STEPS,),
    call=lambda x: L.GlobalAveragePooling1D()(L.Embedding(TOKENS, 4, mask_zero=True)(x)),
)
case(
    "Embedding.regularized",
    (STEPS,),
    call=lambda x: L.Embedding(TOKENS, 4, embeddings_regularizer="l2", embeddings_constraint="unit_norm")(x),
)
case("Embedding.sparse", (STEPS,), call=lambda x: L.Embedding(TOKENS, 4, sparse=True)(x))

# --- Activations ---------------------------------------------------------------------------------------------------

ACTIVATIONS = [
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "linear",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
    "silu",
    "leaky_relu",
    "relu6",
    "log_softmax",
]
for _name in ACTIVATIONS:
    case(f"Activation.{_name}", (4,), call=lambda x, n=_name: L.Activation(n)(x))
    case(f"Activation.dense_{_name}", (4,), call=lambda x, n=_name: L.Dense(3, n)(x))
    case(
        f"Activation.conv_{_name}",
        (STEPS, 4),
        call=lambda x, n=_name: L.Rescaling(2.0)(L.Conv1D(3, 2, activation=n)(x)),
    )
    case(f"Activation.function_{_name}", (4,), call=lambda x, n=_name: L.Dense(3, k2.activations.get(n))(x))
case("Activation.then_rescaling", (4,), call=lambda x: L.Rescaling(2.0, 0.1)(L.Activation("hard_sigmoid")(x)))
case("Activation.after_input", (4,), call=lambda x: L.Dense(2)(L.Activation("hard_sigmoid")(x)))
case(
    "Activation.hard_sigmoid_twice",
    (4,),
    call=lambda x: L.Add()([L.Activation("hard_sigmoid")(x), L.Dense(4, "hard_sigmoid")(x)]),
)
case("Activation.tf_nn_relu", (4,), call=lambda x: L.Dense(3, activation=tf.nn.relu)(x))
case("Activation.tf_nn_silu", (4,), call=lambda x: L.Dense(3, activation=tf.nn.silu)(x))
case("Activation.tf_sigmoid", (4,), call=lambda x: L.Activation(tf.sigmoid)(x))
case("Activation.tf_nn_softmax", (4,), call=lambda x: L.Activation(tf.nn.softmax)(x))
case("Activation.tf_nn_gelu", (4,), call=lambda x: L.Dense(3, activation=tf.nn.gelu)(x))
case("Activation.tf_nn_leaky_relu", (4,), call=lambda x: L.Dense(3, activation=tf.nn.leaky_relu)(x))
case("Activation.tf_nn_relu6", (4,), call=lambda x: L.Dense(3, activation=tf.nn.relu6)(x))
case("Activation.layer_as_activation", (4,), call=lambda x: L.Dense(3, activation=L.LeakyReLU(0.2))(x))
case("Activation.relu_layer_as_activation", (4,), call=lambda x: L.Dense(3, activation=L.ReLU(max_value=1.0))(x))
case(
    "Activation.hard_sigmoid_shared",
    (4,),
    call=lambda x: (lambda d: L.Subtract()([d(x), d(L.Rescaling(2.0)(x))]))(L.Dense(3, "hard_sigmoid")),
)
family(L.ReLU, (4,), {"default": {}, "args": {"max_value": 1.5, "negative_slope": 0.2, "threshold": 0.3}})
family(L.LeakyReLU, (4,), {"default": {}, "alpha": {"alpha": 0.1}})
family(L.ELU, (4,), {"default": {}, "alpha": {"alpha": 0.4}})
family(L.ThresholdedReLU, (4,), {"default": {}, "theta": {"theta": 0.4}})
family(L.Softmax, (STEPS, 4), {"default": {}, "axis": {"axis": 1}, "axes": {"axis": [1, 2]}})
case("Softmax.mask", (STEPS, 4), (STEPS, 4), dtype=("float32", "bool"), call=lambda x, m: L.Softmax()(x, m))
case(
    "Softmax.mask_keyword", (STEPS, 4), (STEPS, 4), dtype=("float32", "bool"), call=lambda x, m: L.Softmax()(x, mask=m)
)
family(
    L.PReLU,
    (STEPS, 4),
    {
        "default": {},
        "shared": {"shared_axes": [1]},
        "all": {"shared_axes": [1, 2]},
        "regularized": {"alpha_regularizer": "l2", "alpha_constraint": "non_neg", "alpha_initializer": "ones"},
    },
)

# --- Convolutions --------------------------------------------------------------------------------------------------

for _rank, _shape in ((1, (9, 4)), (2, (9, 8, 4)), (3, (6, 5, 5, 4))):
    _conv = {
        "default": {},
        "same": {"padding": "same", "strides": 2},
        "dilated": {"dilation_rate": 2},
        "dilated_same": {"dilation_rate": 2, "padding": "same", "use_bias": False},
        "groups": {"groups": 2, "activation": "relu"},
        "hard_sigmoid": {"activation": "hard_sigmoid"},
    }
    if _rank == 1:
        _conv |= {"causal": {"padding": "causal"}, "causal_dilated": {"padding": "causal", "dilation_rate": 2}}
        _conv |= {"causal_strided": {"padding": "causal", "strides": 2}}
    family(getattr(L, f"Conv{_rank}D"), _shape, _conv, 4, 2)
    _transposed = {
        "default": {},
        "same": {"padding": "same", "strides": 2},
        "valid": {"strides": 2, "use_bias": False},
        "output_padding": {"strides": 3, "output_padding": 1},
        "output_padding_same": {"strides": 2, "output_padding": 1, "padding": "same"},
        "output_padding_zero_same": {"strides": 2, "output_padding": 0, "padding": "same"},
        "hard_sigmoid": {"activation": "hard_sigmoid"},
    }
    if _rank < 3:
        _transposed |= {"dilated": {"dilation_rate": 2}, "dilated_same": {"dilation_rate": 2, "padding": "same"}}
    family(getattr(L, f"Conv{_rank}DTranspose"), _shape, _transposed, 3, 3)
    case(f"Conv{_rank}D.channels_first", _shape, call=lambda x, r=_rank: _channels_first(x, r))
    family(
        getattr(L, f"Conv{_rank}DTranspose"),
        _shape,
        {"stride_over_kernel": {"strides": 4}, "even_kernel_same": {"padding": "same", "strides": 3}},
        3,
        2,
    )
    if _rank < 3:
        _separable = {
            "default": {},
            "same": {"padding": "same", "strides": 2},
            "multiplier": {"depth_multiplier": 2, "use_bias": False},
            "dilated": {"dilation_rate": 2, "activation": "hard_sigmoid"},
            "regularized": {"depthwise_regularizer": "l2", "pointwise_constraint": "non_neg"},
        }
        family(getattr(L, f"SeparableConv{_rank}D"), _shape, _separable, 3, 2)
        _depthwise = {
            "default": {},
            "same": {"padding": "same", "strides": 2},
            "multiplier": {"depth_multiplier": 2, "use_bias": False},
            "dilated": {"dilation_rate": 2, "activation": "hard_sigmoid"},
            "regularized": {"depthwise_regularizer": "l2", "depthwise_constraint": "non_neg"},
        }
        family(getattr(L, f"DepthwiseConv{_rank}D"), _shape, _depthwise, 2)
family(L.SeparableConv1D, (9, 4), {"causal": {"padding": "causal", "dilation_rate": 2}}, 3, 2)
family(L.DepthwiseConv1D, (9, 4), {"kernel_tuple": {"kernel_size": (3,)}})
family(L.Conv2D, (9, 8, 4), {"shapes": {"kernel_size": (3, 1), "strides": (2, 1), "filters": 2}})
family(L.Conv2D, (None, None, 4), {"any_size": {"kernel_size": (3, 1), "filters": 2}})
family(L.Conv1D, (None, 4), {"any_size": {}}, 2, 3)
case("Conv1D.rank_4", (2, 9, 4), call=lambda x: L.Conv1D(3, 2)(x))
case("Conv2D.pool_dense", (9, 8, 4), call=lambda x: L.Dense(3)(L.Flatten()(L.MaxPool2D()(L.Conv2D(2, 3)(x)))))


def _channels_first(x: Any, rank: int) -> Any:
    return getattr(L, f"Conv{rank}D")(3, 2, data_format="channels_first")(x)


# --- Normalization -------------------------------------------------------------------------------------------------

family(
    L.BatchNormalization,
    (STEPS, 4),
    {
        "default": {},
        "axis_1": {"axis": 1},
        "axis_list": {"axis": [2]},
        "axis_list_1": {"axis": [1]},
        "no_center": {"center": False},
        "no_scale": {"scale": False, "epsilon": 1e-5, "momentum": 0.9},
        "neither": {"center": False, "scale": False},
        "frozen": {"trainable": False},
        "regularized": {"gamma_regularizer": "l2", "beta_constraint": "non_neg", "gamma_initializer": "zeros"},
        "synchronized": {"synchronized": True},
        "float16": {"dtype": "mixed_float16"},
    },
)
case("BatchNormalization.two_axes", (6, 5, 4), call=lambda x: L.BatchNormalization(axis=[1, 3])(x))
case("BatchNormalization.images", (6, 5, 4), call=lambda x: L.BatchNormalization()(x))
case("BatchNormalization.v1", (6, 5, 4), call=lambda x: tf.compat.v1.keras.layers.BatchNormalization()(x))
case("BatchNormalization.fused_v1", (6, 5, 4), call=lambda x: _v1_batch_norm(fused=False)(x))
case("BatchNormalization.renorm", (6, 5, 4), call=lambda x: _v1_batch_norm(renorm=True)(x))
case("BatchNormalization.sync", (6, 5, 4), call=lambda x: L.experimental.SyncBatchNormalization()(x))
case(
    "BatchNormalization.mask",
    (STEPS,),
    call=lambda x: L.LSTM(2)(L.BatchNormalization()(L.Embedding(TOKENS, 4, mask_zero=True)(x))),
)


def _v1_batch_norm(**options: Any) -> Any:
    from tf_keras.src.layers.normalization.batch_normalization_v1 import BatchNormalization

    return BatchNormalization(**options)


family(
    L.LayerNormalization,
    (STEPS, 4),
    {
        "default": {},
        "axis_list": {"axis": [2]},
        "axis_1": {"axis": 1},
        "axes": {"axis": [1, 2]},
        "axes_reversed": {"axis": [2, 1]},
        "neither": {"center": False, "scale": False, "epsilon": 0.1},
        "no_center": {"center": False},
        "regularized": {"gamma_regularizer": "l2", "beta_constraint": "non_neg"},
        "float16": {"dtype": "mixed_float16"},
    },
)
family(
    L.GroupNormalization,
    (6, 5, 4),
    {
        "default": {"groups": 2},
        "all": {"groups": -1},
        "axis": {"groups": 3, "axis": 1},
        "neither": {"groups": 4, "center": False, "scale": False, "epsilon": 0.1},
    },
)
family(L.UnitNormalization, (STEPS, 4), {"default": {}, "axis": {"axis": 1}, "axes": {"axis": [1, 2]}})
case("SpectralNormalization.dense", (4,), call=lambda x: L.SpectralNormalization(L.Dense(3))(x))
case("SpectralNormalization.conv", (9, 8, 4), call=lambda x: L.SpectralNormalization(L.Conv2D(3, 2), 2)(x))
case(
    "SpectralNormalization.hard_sigmoid",
    (4,),
    call=lambda x: L.SpectralNormalization(L.Dense(3, activation="hard_sigmoid"))(x),
)
family(
    L.Normalization,
    (STEPS, 4),
    {
        "weights": {},
        "given": {"mean": 2.0, "variance": 3.0},
        "given_list": {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 2.0, 3.0, 4.0]},
        "inverted": {"mean": 2.0, "variance": 3.0, "invert": True},
        "axis_list": {"axis": [2]},
        "axis_1": {"axis": 1},
        "axes": {"axis": [1, 2]},
        "axis_none": {"axis": None},
        "invert_weights": {"invert": True},
    },
)


def _adapted(layer: Any, x: Any) -> Any:
    layer.adapt(np.random.default_rng(1).normal(3, 2, (20, *x.shape[1:])).astype("float32"))
    return layer(x)


case("Normalization.adapted", (STEPS, 4), call=lambda x: _adapted(L.Normalization(), x))
case("Normalization.adapted_none", (4,), call=lambda x: L.Dense(2)(_adapted(L.Normalization(axis=None), x)))

# --- Recurrent -----------------------------------------------------------------------------------------------------

RECURRENT = {
    "default": {},
    "hard_gates": {"recurrent_activation": "hard_sigmoid"},
    "hard_all": {"recurrent_activation": "hard_sigmoid", "activation": "hard_sigmoid"},
    "hard_activation": {"activation": "hard_sigmoid"},
    "relu": {"activation": "relu", "recurrent_activation": "tanh"},
    "sequences": {"return_sequences": True},
    "state": {"return_state": True},
    "both": {"return_state": True, "return_sequences": True},
    "backwards": {"go_backwards": True, "return_sequences": True},
    "hard_backwards": {"go_backwards": True, "recurrent_activation": "hard_sigmoid", "return_state": True},
    "no_bias": {"use_bias": False},
    "hard_no_bias": {"use_bias": False, "recurrent_activation": "hard_sigmoid"},
    "unroll": {"unroll": True},
    "implementation_1": {"implementation": 1, "recurrent_activation": "hard_sigmoid"},
    "implementation_2": {"implementation": 2},
    "dropout": {"dropout": 0.3, "recurrent_dropout": 0.2},
    "time_major": {"time_major": True},
    "regularized": {"kernel_regularizer": "l2", "recurrent_constraint": "unit_norm", "bias_regularizer": "l1"},
    "initializers": {"recurrent_initializer": k2.initializers.Orthogonal(2.0, 1), "bias_initializer": "ones"},
    "frozen": {"trainable": False},
    "float16": {"dtype": "mixed_float16"},
}
for _kind in ("LSTM", "GRU", "SimpleRNN"):
    _variants = dict(RECURRENT)
    if _kind == "SimpleRNN":
        _gated = ("recurrent_activation", "implementation")
        _variants = {
            label: options for label, options in _variants.items() if not any(key in options for key in _gated)
        }
    if _kind == "LSTM":
        _variants["no_forget"] = {"unit_forget_bias": False, "recurrent_activation": "hard_sigmoid"}
    if _kind == "GRU":
        _variants |= {
            "before": {"reset_after": False},
            "before_hard": {"reset_after": False, "recurrent_activation": "hard_sigmoid"},
            "before_hard_no_bias": {
                "reset_after": False,
                "recurrent_activation": "hard_sigmoid",
                "use_bias": False,
                "implementation": 1,
            },
            "before_hard_all": {
                "reset_after": False,
                "recurrent_activation": "hard_sigmoid",
                "activation": "hard_sigmoid",
            },
        }
    _layer, _cell = getattr(L, _kind), getattr(L, f"{_kind}Cell")
    family(_layer, (STEPS, 4), _variants, 3)
    family(_layer, (None, 4), {"any_length": {}}, 3)
    case(f"{_kind}.masking", (STEPS, 4), call=lambda x, make=_layer: make(3)(L.Masking()(x)))
    case(
        f"{_kind}.masking_backwards",
        (STEPS, 4),
        call=lambda x, make=_layer: make(3, go_backwards=True, return_sequences=True)(L.Masking()(x)),
    )
    case(
        f"{_kind}.masking_unrolled",
        (STEPS, 4),
        call=lambda x, make=_layer: make(3, unroll=True, return_sequences=True)(L.Masking()(x)),
    )
    case(
        f"{_kind}.mask_given",
        (STEPS, 4),
        (STEPS,),
        dtype=("float32", "bool"),
        call=lambda x, m, make=_layer: make(3)(x, mask=m),
    )
    case(f"{_kind}.zero_output_for_mask", (STEPS, 4), call=lambda x, make=_layer: _zero_output(make, x))
    case(
        f"{_kind}.stacked",
        (STEPS, 4),
        call=lambda x, make=_layer: make(2)(make(3, return_sequences=True, name="first")(L.Masking()(x))),
    )
    case(f"RNN.{_kind}", (STEPS, 4), call=lambda x, cell=_cell: L.RNN(cell(3))(x))
    case(
        f"RNN.{_kind}_options",
        (STEPS, 4),
        call=lambda x, cell=_cell: L.RNN(cell(3, use_bias=False), go_backwards=True, return_sequences=True)(x),
    )
    case(f"RNN.{_kind}_masking", (STEPS, 4), call=lambda x, cell=_cell: L.RNN(cell(3))(L.Masking()(x)))
    case(f"RNN.{_kind}_unroll", (STEPS, 4), call=lambda x, cell=_cell: L.RNN(cell(3), unroll=True)(x))
    case(f"RNN.{_kind}_stacked", (STEPS, 4), call=lambda x, cell=_cell: L.RNN([cell(3), cell(2)])(x))
    case(
        f"RNN.{_kind}_initial_state",
        (STEPS, 4),
        (3,),
        (3,),
        call=lambda x, h, c, make=_layer: make(3)(x, initial_state=[h, c] if make is L.LSTM else h),
    )
    case(
        f"RNN.{_kind}_state_first",
        (STEPS, 4),
        (3,),
        (3,),
        call=lambda x, h, c, make=_layer: make(3)([x, h, c] if make is L.LSTM else [x, h]),
    )
    case(
        f"RNN.{_kind}_state_shared",
        (STEPS, 4),
        (3,),
        call=lambda x, h, make=_layer: make(3)(x, initial_state=[h, h] if make is L.LSTM else [h]),
    )
    case(f"RNN.{_kind}_encoder_decoder", (STEPS, 4), (4, 2), call=lambda x, y, make=_layer: _decoder(make, x, y))
    case(
        f"RNN.{_kind}_hard_encoder_decoder",
        (STEPS, 4),
        (4, 2),
        call=lambda x, y, make=_layer: _decoder(
            make, x, y, **({} if make is L.SimpleRNN else {"recurrent_activation": "hard_sigmoid"})
        ),
    )
for _kind, _cell in (("LSTM", L.LSTMCell), ("GRU", L.GRUCell)):
    case(
        f"RNN.{_kind}_hard_cell",
        (STEPS, 4),
        call=lambda x, cell=_cell: L.RNN(cell(3, recurrent_activation="hard_sigmoid"))(x),
    )
    case(
        f"RNN.{_kind}_hard_stacked_cells",
        (STEPS, 4),
        call=lambda x, cell=_cell: L.RNN(
            L.StackedRNNCells([cell(3, recurrent_activation="hard_sigmoid"), cell(2)]), return_state=True
        )(x),
    )
case("RNN.mixed_stack", (STEPS, 4), call=lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(2), L.SimpleRNNCell(4)])(x))
case("RNN.mixed_stack_state", (STEPS, 4), call=lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_state=True)(x))
case(
    "RNN.reverse_state_order",
    (STEPS, 4),
    call=lambda x: L.RNN(
        L.StackedRNNCells([L.LSTMCell(3), L.LSTMCell(2)], reverse_state_order=True), return_state=True
    )(x),
)
case("RNN.GRU_cell_before", (STEPS, 4), call=lambda x: L.RNN(L.GRUCell(3, reset_after=False))(x))


def _zero_output(make: Callable, x: Any) -> Any:
    return make(3, return_sequences=True, zero_output_for_mask=True)(L.Masking()(x))


def _decoder(make: Callable, x: Any, y: Any, **options: Any) -> Any:
    _, *state = make(3, return_state=True, name="encoder", **options)(x)
    return L.Dense(2)(make(3, return_sequences=True, name="decoder", **options)(y, initial_state=state))


@model("LSTM.stateful_batch")
def _() -> k2.Model:
    x = L.Input(batch_shape=(BATCH, STEPS, 4))
    return k2.Model(x, L.LSTM(3, stateful=True)(x))


case("LSTM.v1", (STEPS, 4), call=lambda x: _v1("lstm_v1", "LSTM")(3)(x))
case("GRU.v1", (STEPS, 4), call=lambda x: _v1("gru_v1", "GRU")(3)(x))
case("CuDNNLSTM.default", (STEPS, 4), call=lambda x: _v1("cudnn_lstm", "CuDNNLSTM")(3)(x))
case("CuDNNGRU.default", (STEPS, 4), call=lambda x: _v1("cudnn_gru", "CuDNNGRU")(3)(x))
case("CuDNNLSTM.bidirectional", (STEPS, 4), call=lambda x: L.Bidirectional(_v1("cudnn_lstm", "CuDNNLSTM")(3))(x))


def _v1(module: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(f"tf_keras.src.layers.rnn.{module}"), name)


for _rank, _shape in ((1, (STEPS, 6, 2)), (2, (STEPS, 6, 5, 2)), (3, (STEPS, 4, 4, 4, 2))):
    family(
        getattr(L, f"ConvLSTM{_rank}D"),
        _shape,
        {
            "default": {},
            "sigmoid": {"recurrent_activation": "sigmoid", "padding": "same"},
            "options": {"padding": "same", "return_sequences": True, "go_backwards": True, "use_bias": False},
            "hard_all": {"activation": "hard_sigmoid", "return_state": True, "strides": 2},
            "dilated": {"dilation_rate": 2, "unit_forget_bias": False},
        },
        3,
        2,
    )
for _mode in ("concat", "sum", "mul", "ave", None):
    case(f"Bidirectional.{_mode}", (STEPS, 4), call=lambda x, m=_mode: L.Bidirectional(L.LSTM(3), merge_mode=m)(x))
case("Bidirectional.sequences", (STEPS, 4), call=lambda x: L.Bidirectional(L.GRU(3, return_sequences=True))(x))
case("Bidirectional.state", (STEPS, 4), call=lambda x: L.Bidirectional(L.LSTM(3, return_state=True))(x))
case(
    "Bidirectional.hard",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.LSTM(3, recurrent_activation="hard_sigmoid"))(x),
)
case(
    "Bidirectional.hard_gru_before",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(
        L.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False, return_sequences=True)
    )(x),
)
case("Bidirectional.simple", (STEPS, 4), call=lambda x: L.Bidirectional(L.SimpleRNN(3))(x))
case(
    "Bidirectional.backward_layer",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(2, go_backwards=True))(x),
)
case(
    "Bidirectional.hard_backward_layer",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(
        L.LSTM(3), backward_layer=L.LSTM(3, go_backwards=True, recurrent_activation="hard_sigmoid", name="back")
    )(x),
)
case("Bidirectional.masking", (STEPS, 4), call=lambda x: L.Bidirectional(L.LSTM(3))(L.Masking()(x)))
case(
    "Bidirectional.masking_sequences",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.LSTM(3, return_sequences=True))(L.Masking()(x)),
)
case(
    "Bidirectional.backwards",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.GRU(3, return_sequences=True, go_backwards=True))(L.Masking()(x)),
)
case(
    "Bidirectional.backwards_last",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.LSTM(3, go_backwards=True))(L.Masking()(x)),
)
case("Bidirectional.rnn", (STEPS, 4), call=lambda x: L.Bidirectional(L.RNN(L.LSTMCell(3)))(x))
case("Bidirectional.rnn_stack", (STEPS, 4), call=lambda x: L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(2)]))(x))
case("Bidirectional.conv_lstm", (STEPS, 6, 5, 2), call=lambda x: L.Bidirectional(L.ConvLSTM2D(3, 2))(x))
case("Bidirectional.frozen", (STEPS, 4), call=lambda x: L.Bidirectional(L.LSTM(3), trainable=False)(x))
case("Bidirectional.inner_frozen", (STEPS, 4), call=lambda x: L.Bidirectional(L.LSTM(3, trainable=False))(x))
case(
    "Bidirectional.stacked",
    (STEPS, 4),
    call=lambda x: L.Bidirectional(L.LSTM(2))(L.Bidirectional(L.LSTM(3, return_sequences=True))(x)),
)
case(
    "Bidirectional.initial_state",
    (STEPS, 4),
    (3,),
    (3,),
    call=lambda x, f, b: L.Bidirectional(L.GRU(3))(x, initial_state=[f, b]),
)


@model("Bidirectional.encoder_decoder")
def _() -> k2.Model:
    x, y = L.Input((STEPS, 4), name="in0"), L.Input((4, 2), name="in1")
    _, *state = L.Bidirectional(L.LSTM(3, return_state=True))(x)
    return k2.Model([x, y], L.Bidirectional(L.LSTM(3, return_sequences=True))(y, initial_state=state))


case("TimeDistributed.dense", (STEPS, 4), call=lambda x: L.TimeDistributed(L.Dense(3))(x))
case("TimeDistributed.hard", (STEPS, 4), call=lambda x: L.TimeDistributed(L.Dense(3, "hard_sigmoid"))(x))
case("TimeDistributed.activation", (STEPS, 4), call=lambda x: L.TimeDistributed(L.Activation("hard_sigmoid"))(x))
case("TimeDistributed.conv", (STEPS, 6, 5, 2), call=lambda x: L.TimeDistributed(L.Conv2D(3, 2))(x))
case("TimeDistributed.flatten", (STEPS, 6, 2), call=lambda x: L.TimeDistributed(L.Flatten())(x))
case("TimeDistributed.pool", (STEPS, 6, 5, 2), call=lambda x: L.TimeDistributed(L.MaxPool2D())(x))
case(
    "TimeDistributed.lstm",
    (STEPS, 6, 2),
    call=lambda x: L.TimeDistributed(L.LSTM(3, recurrent_activation="hard_sigmoid"))(x),
)
case(
    "TimeDistributed.bidirectional",
    (STEPS, 6, 2),
    call=lambda x: L.TimeDistributed(L.Bidirectional(L.LSTM(3, recurrent_activation="hard_sigmoid")))(x),
)
case("TimeDistributed.batch_norm", (STEPS, 4), call=lambda x: L.TimeDistributed(L.BatchNormalization())(x))
case("TimeDistributed.masking", (STEPS, 4), call=lambda x: L.LSTM(2)(L.TimeDistributed(L.Dense(3))(L.Masking()(x))))
case("TimeDistributed.dropout", (STEPS, 4), call=lambda x: L.TimeDistributed(L.Dropout(0.3))(x))
case(
    "TimeDistributed.sequential",
    (STEPS, 4),
    call=lambda x: L.TimeDistributed(k2.Sequential([L.Dense(3, "hard_sigmoid"), L.Dense(2)]))(x),
)
case("TimeDistributed.functional", (STEPS, 6, 4), call=lambda x: L.TimeDistributed(_inner((6, 4)))(x))
case("TimeDistributed.twice", (STEPS, 2, 4), call=lambda x: L.TimeDistributed(L.TimeDistributed(L.Dense(3)))(x))
case("TimeDistributed.any_length", (None, 4), call=lambda x: L.TimeDistributed(L.Dense(3))(x))


def _inner(shape: tuple, name: str = "inner", **options: Any) -> k2.Model:
    x = L.Input(shape)
    hidden = L.BatchNormalization(name="norm", **options)(L.Dense(3, "hard_sigmoid", name="dense")(x))
    return k2.Model(x, L.Dense(4, name="dense_1")(hidden), name=name)


# --- Attention -----------------------------------------------------------------------------------------------------

ATTENTION = {
    "default": {},
    "scale": {"use_scale": True},
    "concat": {"score_mode": "concat"},
    "concat_scale": {"score_mode": "concat", "use_scale": True},
    "dropout": {"dropout": 0.3},
}
for _label, _options in ATTENTION.items():
    case(f"Attention.{_label}", (3, 4), (STEPS, 4), call=lambda q, v, o=_options: L.Attention(**o)([q, v]))
case("Attention.key", (3, 4), (STEPS, 2), (STEPS, 4), call=lambda q, v, k: L.Attention()([q, v, k]))
case("Attention.causal", (STEPS, 4), call=lambda q: L.Attention()([q, q], use_causal_mask=True))
case("Attention.scores", (3, 4), (STEPS, 4), call=lambda q, v: L.Attention()([q, v], return_attention_scores=True))
case(
    "Attention.masks",
    (3, 4),
    (STEPS, 4),
    (3,),
    (STEPS,),
    dtype=("float32", "float32", "bool", "bool"),
    call=lambda q, v, m, n: L.Attention()([q, v], mask=[m, n]),
)
case(
    "Attention.value_mask",
    (3, 4),
    (STEPS, 4),
    (STEPS,),
    dtype=("float32", "float32", "bool"),
    call=lambda q, v, n: L.Attention()([q, v], mask=[None, n]),
)
case("Attention.masking", (STEPS, 4), call=lambda x: (lambda m: L.Attention()([m, m]))(L.Masking()(x)))
case("AdditiveAttention.default", (3, 4), (STEPS, 4), call=lambda q, v: L.AdditiveAttention()([q, v]))
case("AdditiveAttention.no_scale", (3, 4), (STEPS, 4), call=lambda q, v: L.AdditiveAttention(use_scale=False)([q, v]))
case("AdditiveAttention.dropout", (3, 4), (STEPS, 4), call=lambda q, v: L.AdditiveAttention(dropout=0.2)([q, v]))
case("AdditiveAttention.causal", (STEPS, 4), call=lambda q: L.AdditiveAttention()([q, q], use_causal_mask=True))
case("AdditiveAttention.masking", (STEPS, 4), call=lambda x: (lambda m: L.AdditiveAttention()([m, m]))(L.Masking()(x)))
MHA = {
    "default": {},
    "value_dim": {"value_dim": 5},
    "no_bias": {"use_bias": False},
    "output_shape": {"output_shape": 6},
    "dropout": {"dropout": 0.3},
    "regularized": {"kernel_regularizer": "l2", "bias_constraint": "non_neg", "bias_initializer": "ones"},
    "float16": {"dtype": "mixed_float16"},
    "frozen": {"trainable": False},
}
for _label, _options in MHA.items():
    case(f"MultiHeadAttention.{_label}", (STEPS, 4), call=lambda x, o=_options: L.MultiHeadAttention(2, 3, **o)(x, x))
case("MultiHeadAttention.two", (3, 4), (STEPS, 6), call=lambda q, v: L.MultiHeadAttention(2, 3)(q, v))
case("MultiHeadAttention.keyword", (3, 4), (STEPS, 6), call=lambda q, v: L.MultiHeadAttention(2, 3)(query=q, value=v))
case(
    "MultiHeadAttention.three",
    (3, 4),
    (STEPS, 6),
    (STEPS, 2),
    call=lambda q, v, k: L.MultiHeadAttention(2, 3, value_dim=5)(q, v, k),
)
case("MultiHeadAttention.key_keyword", (3, 4), (STEPS, 6), call=lambda q, v: L.MultiHeadAttention(2, 3)(q, v, key=v))
case("MultiHeadAttention.causal", (STEPS, 4), call=lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True))
case(
    "MultiHeadAttention.scores",
    (STEPS, 4),
    call=lambda x: L.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True),
)
case(
    "MultiHeadAttention.mask_given",
    (3, 4),
    (STEPS, 4),
    (3, STEPS),
    dtype=("float32", "float32", "bool"),
    call=lambda q, v, m: L.MultiHeadAttention(2, 3)(q, v, attention_mask=m),
)
case("MultiHeadAttention.axes", (3, STEPS, 4), call=lambda x: L.MultiHeadAttention(2, 3, attention_axes=(2,))(x, x))
case("MultiHeadAttention.all_axes", (3, STEPS, 4), call=lambda x: L.MultiHeadAttention(2, 3)(x, x))
case(
    "MultiHeadAttention.embedding_mask",
    (STEPS,),
    call=lambda x: (lambda e: L.MultiHeadAttention(2, 3)(e, e))(L.Embedding(TOKENS, 4, mask_zero=True)(x)),
)
case(
    "MultiHeadAttention.embedding_mask_causal",
    (STEPS,),
    call=lambda x: (lambda e: L.MultiHeadAttention(2, 3)(e, e, use_causal_mask=True))(
        L.Embedding(TOKENS, 4, mask_zero=True)(x)
    ),
)
case(
    "MultiHeadAttention.query_mask_only",
    (STEPS,),
    (4, 4),
    call=lambda x, v: L.MultiHeadAttention(2, 3)(L.Embedding(TOKENS, 4, mask_zero=True)(x), v),
)


@model("MultiHeadAttention.transformer")
def _() -> k2.Model:
    tokens = L.Input((STEPS,), name="in0")
    x = L.Embedding(TOKENS, 4, mask_zero=True)(tokens)
    for i in range(2):
        x = L.LayerNormalization(epsilon=1e-6)(L.Add()([x, L.MultiHeadAttention(2, 2, name=f"mha_{i}")(x, x)]))
        x = L.Add()([x, L.Dense(4)(L.Dense(6, "gelu")(x))])
    return k2.Model(tokens, L.Dense(3, "softmax")(L.GlobalAveragePooling1D()(x)))


# --- Pooling, shapes -----------------------------------------------------------------------------------------------

for _rank, _shape in ((1, (9, 4)), (2, (9, 8, 4)), (3, (6, 5, 7, 4))):
    for _kind in ("Max", "Average"):
        family(
            getattr(L, f"{_kind}Pooling{_rank}D"),
            _shape,
            {
                "default": {},
                "same": {"padding": "same", "pool_size": 3, "strides": 2},
                "valid": {"pool_size": 3, "strides": 1},
                "same_odd": {"padding": "same", "pool_size": 4, "strides": 3},
                "channels_first": {"data_format": "channels_first"},
            },
        )
        family(
            getattr(L, f"Global{_kind}Pooling{_rank}D"),
            _shape,
            {"default": {}, "keepdims": {"keepdims": True}, "channels_first": {"data_format": "channels_first"}},
        )
case("GlobalAveragePooling1D.masking", (STEPS, 4), call=lambda x: L.GlobalAveragePooling1D()(L.Masking()(x)))
case(
    "GlobalAveragePooling1D.masking_keepdims",
    (STEPS, 4),
    call=lambda x: L.GlobalAveragePooling1D(keepdims=True)(L.Masking()(x)),
)
case("GlobalMaxPooling1D.masking", (STEPS, 4), call=lambda x: L.GlobalMaxPooling1D()(L.Masking()(x)))
family(L.UpSampling1D, (STEPS, 4), {"default": {}, "3": {"size": 3}})
family(
    L.UpSampling2D,
    (5, 4, 3),
    {
        mode: {"size": (2, 3), "interpolation": mode}
        for mode in ("area", "bicubic", "bilinear", "gaussian", "lanczos3", "lanczos5", "mitchellcubic", "nearest")
    },
)
family(L.UpSampling2D, (5, 4, 3), {"channels_first": {"data_format": "channels_first"}, "default": {}})
family(L.UpSampling3D, (3, 4, 3, 2), {"default": {}, "size": {"size": (1, 2, 3)}})
family(L.ZeroPadding1D, (STEPS, 4), {"default": {}, "pair": {"padding": (1, 2)}})
family(L.ZeroPadding2D, (5, 4, 3), {"default": {}, "pair": {"padding": (1, 2)}, "pairs": {"padding": ((1, 0), (2, 1))}})
family(L.ZeroPadding2D, (5, 4, 3), {"channels_first": {"data_format": "channels_first"}})
family(L.ZeroPadding3D, (5, 4, 3, 2), {"default": {}, "pairs": {"padding": ((1, 0), (2, 1), (0, 1))}})
family(L.Cropping1D, (STEPS, 4), {"default": {}, "pair": {"cropping": (1, 2)}})
family(L.Cropping2D, (5, 4, 3), {"default": {"cropping": 1}, "pairs": {"cropping": ((1, 0), (2, 1))}})
family(L.Cropping3D, (5, 4, 3, 2), {"default": {}, "pairs": {"cropping": ((1, 0), (2, 1), (0, 1))}})
family(L.Flatten, (5, 4, 3), {"default": {}, "channels_first": {"data_format": "channels_first"}})
case("Flatten.flat", (4,), call=lambda x: L.Dense(2)(L.Flatten()(x)))
case("Flatten.scalar", (), call=lambda x: L.Flatten()(x))
family(L.Reshape, (6, 4), {"default": {}, "inferred": {}}, (3, 8))
case("Reshape.minus_one", (6, 4), call=lambda x: L.Reshape((-1, 2))(x))
case("Reshape.any_length", (None, 4), call=lambda x: L.Reshape((-1, 2))(x))
family(L.Permute, (6, 5, 4), {"default": {}}, (3, 1, 2))
family(L.RepeatVector, (4,), {"default": {}}, 3)
case("Identity.default", (4,), call=lambda x: L.Identity()(x))
case("Masking.value", (STEPS, 4), call=lambda x: L.Masking(mask_value=0.0)(x))
case("Masking.through_dense", (STEPS, 4), call=lambda x: L.GRU(3)(L.Dropout(0.2)(L.Dense(3)(L.Masking()(x)))))
case("Masking.through_flatten", (STEPS, 4), call=lambda x: L.Dense(2)(L.Flatten()(L.LSTM(3, return_sequences=True)(x))))
case("Masking.through_conv", (STEPS,), call=lambda x: L.Conv1D(3, 2)(L.Embedding(TOKENS, 4, mask_zero=True)(x)))
case("Masking.through_permute", (4, 4), call=lambda x: L.LSTM(3)(L.Permute((2, 1))(L.Masking()(x))))
case("Masking.through_reshape", (6, 4), call=lambda x: L.LSTM(3)(L.Reshape((3, 8))(L.Masking()(x))))
case(
    "Masking.through_pooling",
    (6, 4),
    call=lambda x: L.LSTM(3)(L.MaxPooling1D()(L.Masking()(x))),
)
case("Masking.through_layer_norm", (STEPS, 4), call=lambda x: L.LSTM(3)(L.LayerNormalization()(L.Masking()(x))))
case("Masking.through_activation", (STEPS, 4), call=lambda x: L.LSTM(3)(L.Activation("tanh")(L.Masking()(x))))
case("Masking.through_relu", (STEPS, 4), call=lambda x: L.LSTM(3)(L.ReLU()(L.Masking()(x))))
case("Masking.through_softmax", (STEPS, 4), call=lambda x: L.LSTM(3)(L.Softmax()(L.Masking()(x))))
case("Masking.through_softmax_axis", (STEPS, 4), call=lambda x: L.LSTM(3)(L.Softmax(axis=1)(L.Masking()(x))))
case("Masking.through_rescaling", (STEPS, 4), call=lambda x: L.LSTM(3)(L.Rescaling(2.0)(L.Masking()(x))))
case("Masking.through_prelu", (STEPS, 4), call=lambda x: L.LSTM(3)(L.PReLU()(L.Masking()(x))))
case(
    "Masking.through_einsum",
    (STEPS, 4),
    call=lambda x: L.LSTM(3)(L.EinsumDense("abc,cd->abd", (None, 2))(L.Masking()(x))),
)
case(
    "Masking.through_attention", (STEPS, 4), call=lambda x: (lambda m: L.LSTM(3)(L.Attention()([m, m])))(L.Masking()(x))
)
case(
    "Masking.through_mha",
    (STEPS, 4),
    call=lambda x: (lambda m: L.LSTM(3)(L.MultiHeadAttention(2, 2)(m, m)))(L.Masking()(x)),
)
case("Masking.through_upsampling", (STEPS, 4), call=lambda x: L.LSTM(3)(L.UpSampling1D()(L.Masking()(x))))
case("Masking.through_noise", (STEPS, 4), call=lambda x: L.LSTM(3)(L.GaussianNoise(0.2)(L.Masking()(x))))
case("Masking.through_spatial", (STEPS, 4), call=lambda x: L.LSTM(3)(L.SpatialDropout1D(0.2)(L.Masking()(x))))
case("Masking.through_nested", (STEPS, 4), call=lambda x: L.LSTM(3)(_inner((STEPS, 4))(L.Masking()(x))))
case(
    "Masking.inside_nested",
    (STEPS,),
    call=lambda x: L.LSTM(3)(k2.Sequential([L.Embedding(TOKENS, 4, mask_zero=True), L.Dense(3)])(x)),
)
case("Masking.nested_first", (STEPS, 4), call=lambda x: _recurrent_inner()(L.Masking()(x)))
case("Masking.of_images", (STEPS, 6, 2), call=lambda x: L.TimeDistributed(L.LSTM(3))(L.Masking()(x)))


def _recurrent_inner() -> k2.Model:
    x = L.Input((STEPS, 4))
    return k2.Model(x, L.LSTM(3)(x), name="inner")


case(
    "Masking.shared_pools",
    (STEPS,),
    call=lambda x: (lambda e: L.Concatenate()([L.GlobalMaxPooling1D()(e), L.LSTM(2)(e), L.Flatten()(e)]))(
        L.Embedding(TOKENS, 4, mask_zero=True, input_length=STEPS)(x)
    ),
)

# --- Merges --------------------------------------------------------------------------------------------------------

for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
    case(f"{_name}.default", (STEPS, 4), (STEPS, 4), call=lambda a, b, n=_name: getattr(L, n)()([a, b]))
    case(f"{_name}.broadcast", (STEPS, 4), (1, 4), call=lambda a, b, n=_name: getattr(L, n)()([a, b]))
    case(
        f"{_name}.masks",
        (STEPS, 4),
        (STEPS,),
        call=lambda a, b, n=_name: L.LSTM(3)(
            getattr(L, n)()([L.Masking()(a), L.Embedding(TOKENS, 4, mask_zero=True)(b)])
        ),
    )
    case(
        f"{_name}.one_mask",
        (STEPS, 4),
        (STEPS,),
        call=lambda a, b, n=_name: L.LSTM(3)(getattr(L, n)()([a, L.Embedding(TOKENS, 4, mask_zero=True)(b)])),
    )
    if _name != "Subtract":
        case(f"{_name}.three", (4,), (4,), (4,), call=lambda a, b, c, n=_name: L.Dense(2)(getattr(L, n)()([a, b, c])))
    case(f"{_name}.function", (4,), (4,), call=lambda a, b, n=_name: getattr(L, n.lower())([a, b]))
case("Add.ranks", (4,), (STEPS, 4), call=lambda a, b: L.Add()([a, b]))
case("Multiply.ranks", (STEPS, 4), (4,), call=lambda a, b: L.Multiply()([a, b]))
case("Add.same_twice", (4,), call=lambda a: L.Add()([a, a]))
case("Concatenate.axis_1", (3, 4), (STEPS, 4), call=lambda a, b: L.Concatenate(axis=1)([a, b]))
case("Concatenate.one", (4,), call=lambda a: L.Concatenate()([a]))
case(
    "Concatenate.axis_1_masks",
    (STEPS, 4),
    (STEPS,),
    call=lambda a, b: L.LSTM(3)(L.Concatenate(axis=1)([L.Masking()(a), L.Embedding(TOKENS, 4, mask_zero=True)(b)])),
)
case(
    "Concatenate.axis_1_one_mask",
    (STEPS, 4),
    (STEPS,),
    call=lambda a, b: L.LSTM(3)(L.Concatenate(axis=1)([a, L.Embedding(TOKENS, 4, mask_zero=True)(b)])),
)
case("Dot.default", (4,), (4,), call=lambda a, b: L.Dot(1)([a, b]))
case("Dot.normalized", (4,), (4,), call=lambda a, b: L.Dot(-1, normalize=True)([a, b]))
case("Dot.axes", (3, 4), (4, STEPS), call=lambda a, b: L.Dot((2, 1))([a, b]))
case("Dot.axes_normalized", (3, 4), (4, STEPS), call=lambda a, b: L.Dot((2, 1), normalize=True)([a, b]))
case("Dot.last", (3, 4), (STEPS, 4), call=lambda a, b: L.Dot(2)([a, b]))
case("Dot.ranks", (3, 4), (4,), call=lambda a, b: L.Dot((2, 1))([a, b]))
case("Dot.four", (2, 3, 4), (4, STEPS), call=lambda a, b: L.Dot((3, 1))([a, b]))
case("Dot.function", (4,), (4,), call=lambda a, b: L.dot([a, b], axes=1, normalize=True))

# --- Dropout and noise, which do nothing here ------------------------------------------------------------------------

family(L.Dropout, (STEPS, 4), {"default": {}, "noise_shape": {"noise_shape": (None, 1, 4), "seed": 3}}, 0.4)
family(L.Dropout, (STEPS, 4), {"zero": {"rate": 0}, "frozen": {"rate": 0.4, "trainable": False}})
family(L.SpatialDropout1D, (STEPS, 4), {"default": {}}, 0.4)
family(L.SpatialDropout2D, (5, 4, 3), {"default": {}, "channels_first": {"data_format": "channels_first"}}, 0.4)
family(L.SpatialDropout3D, (5, 4, 3, 2), {"default": {}, "channels_first": {"data_format": "channels_first"}}, 0.4)
family(L.AlphaDropout, (STEPS, 4), {"default": {}, "args": {"noise_shape": (None, 1, 4), "seed": 1}}, 0.4)
family(L.GaussianDropout, (STEPS, 4), {"default": {}, "seed": {"seed": 3}}, 0.4)
family(L.GaussianNoise, (STEPS, 4), {"default": {}, "seed": {"seed": 3}}, 0.4)
family(L.ActivityRegularization, (4,), {"default": {}, "args": {"l1": 0.1, "l2": 0.2}})

# --- Preprocessing -------------------------------------------------------------------------------------------------

family(L.Rescaling, (4,), {"default": {"scale": 0.5}, "offset": {"scale": 1 / 127.5, "offset": -1.0}})
family(L.Rescaling, (5, 4, 3), {"per_channel": {"scale": [0.5, 1.0, 2.0], "offset": [0.0, 1.0, 2.0]}})
case("Rescaling.integers", (4,), dtype="int32", call=lambda x: L.Rescaling(0.5)(x))
family(
    L.Resizing,
    (6, 5, 3),
    {
        mode: {"interpolation": mode}
        for mode in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")
    },
    4,
    7,
)
family(L.Resizing, (6, 5, 3), {"crop": {"crop_to_aspect_ratio": True}}, 4, 4)
case("Resizing.integers", (6, 5, 3), dtype="uint8", call=lambda x: L.Resizing(4, 4)(x))
family(L.CenterCrop, (6, 5, 3), {"default": {}}, 3, 2)
family(L.CenterCrop, (6, 5, 3), {"larger": {}}, 8, 8)
case("CenterCrop.integers", (6, 5, 3), dtype="uint8", call=lambda x: L.CenterCrop(3, 2)(x))
for _name, _args in {
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomBrightness": {"factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.1},
    "RandomCrop": {"height": 4, "width": 3},
    "RandomHeight": {"factor": 0.2},
    "RandomWidth": {"factor": 0.2},
}.items():
    family(getattr(L, _name), (6, 5, 3), {"default": _args})
case("Discretization.given", (4,), call=lambda x: L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])(x))
case(
    "Discretization.one_hot",
    (4,),
    call=lambda x: L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5], output_mode="multi_hot")(x),
)
case("Discretization.adapted", (4,), call=lambda x: _adapted(L.Discretization(num_bins=3), x))
for _mode in ("multi_hot", "count", "one_hot"):
    case(
        f"CategoryEncoding.{_mode}",
        (1 if _mode == "one_hot" else STEPS,),
        dtype="int32",
        call=lambda x, m=_mode: L.CategoryEncoding(TOKENS, output_mode=m)(x),
    )
case(
    "CategoryEncoding.weights",
    (STEPS,),
    (STEPS,),
    dtype=("int32", "float32"),
    call=lambda x, w: L.CategoryEncoding(TOKENS, output_mode="count")(x, count_weights=w),
)
case("Hashing.int", (STEPS,), dtype="int64", call=lambda x: L.Hashing(3)(x))
case("Hashing.salt", (STEPS,), dtype="int64", call=lambda x: L.Hashing(3, salt=[1, 2], mask_value=0)(x))
case("Hashing.string", (STEPS,), dtype="string", call=lambda x: L.Hashing(3)(x))
case("HashedCrossing.default", (1,), (1,), dtype="int64", call=lambda a, b: L.HashedCrossing(5)((a, b)))
case("StringLookup.vocabulary", (STEPS,), dtype="string", call=lambda x: L.StringLookup(vocabulary=WORDS[:5])(x))
case(
    "StringLookup.options",
    (STEPS,),
    dtype="string",
    call=lambda x: L.StringLookup(vocabulary=WORDS[:5], num_oov_indices=2, output_mode="multi_hot")(x),
)
case(
    "StringLookup.mask",
    (STEPS,),
    dtype="string",
    call=lambda x: L.StringLookup(vocabulary=WORDS[:5], mask_token="unheard", num_oov_indices=1)(x),
)
case("IntegerLookup.vocabulary", (STEPS,), dtype="int64", call=lambda x: L.IntegerLookup(vocabulary=[1, 3, 5])(x))
case(
    "IntegerLookup.one_hot",
    (1,),
    dtype="int64",
    call=lambda x: L.IntegerLookup(vocabulary=[1, 3, 5], output_mode="one_hot", mask_token=2, num_oov_indices=1)(x),
)
case("IntegerLookup.adapted", (STEPS,), dtype="int64", call=lambda x: _lookup(L.IntegerLookup(), x, [3, 3, 1]))
case("StringLookup.adapted", (STEPS,), dtype="string", call=lambda x: _lookup(L.StringLookup(), x, ["a", "a", "cat"]))
case(
    "TextVectorization.vocabulary",
    (1,),
    dtype="string",
    call=lambda x: L.TextVectorization(vocabulary=WORDS[:5], output_sequence_length=4)(x),
)
case(
    "TextVectorization.adapted",
    (1,),
    dtype="string",
    call=lambda x: _lookup(L.TextVectorization(output_mode="count"), x, ["the cat sat", "a cat"]),
)


def _lookup(layer: Any, x: Any, values: list) -> Any:
    layer.adapt(np.array(values))
    return layer(x)


# --- Layers that Keras 3 does not have -----------------------------------------------------------------------------

LOCAL: dict[str, dict[str, Any]] = {
    "default": {},
    "strides": {"strides": 2, "use_bias": False, "activation": "hard_sigmoid"},
    "channels_first": {"data_format": "channels_first"},
    **{
        f"implementation_{number}{name}": {"implementation": number, "padding": "same", "strides": 2, **options}
        for number in (2, 3)
        for name, options in {"": {}, "_first": {"data_format": "channels_first"}}.items()
    },
}
family(L.LocallyConnected1D, (9, 4), LOCAL, 3, 2)
family(L.LocallyConnected2D, (5, 4, 3), LOCAL, 3, (2, 3))
family(L.experimental.RandomFourierFeatures, (4,), {"default": {}}, 3)

# --- Graphs --------------------------------------------------------------------------------------------------------


def _sequential(*layers: Any, **options: Any) -> Callable[[], k2.Model]:
    return lambda: k2.Sequential([make() for make in layers], **options)


MODELS |= {
    "Sequential.input_shape": _sequential(lambda: L.Dense(3, input_shape=(4,)), lambda: L.Dense(2)),
    "Sequential.batch_input_shape": _sequential(
        lambda: L.Conv1D(3, 2, batch_input_shape=(None, STEPS, 4)), lambda: L.Flatten(), lambda: L.Dense(2)
    ),
    "Sequential.batch_size": _sequential(lambda: L.Dense(3, batch_input_shape=(BATCH, 4))),
    "Sequential.input_dim": _sequential(lambda: L.Dense(3, input_dim=4, activation="hard_sigmoid")),
    "Sequential.input": _sequential(lambda: L.Input((4,)), lambda: L.Dense(3)),
    "Sequential.input_layer": _sequential(lambda: L.InputLayer(input_shape=(4,)), lambda: L.Dense(3)),
    "Sequential.embedding": _sequential(
        lambda: L.Embedding(TOKENS, 4, input_length=STEPS), lambda: L.Flatten(), lambda: L.Dense(3)
    ),
    "Sequential.lstm": _sequential(
        lambda: L.LSTM(3, return_sequences=True, input_shape=(STEPS, 4), recurrent_activation="hard_sigmoid"),
        lambda: L.LSTM(2),
    ),
    "Sequential.bidirectional": _sequential(
        lambda: L.Bidirectional(L.LSTM(3), input_shape=(STEPS, 4)), lambda: L.Dense(2)
    ),
    "Sequential.time_distributed": _sequential(
        lambda: L.TimeDistributed(L.Dense(3), input_shape=(STEPS, 4)), lambda: L.LSTM(2)
    ),
    "Sequential.first_sequential": _sequential(
        lambda: k2.Sequential([L.Dense(3, input_shape=(4,))]), lambda: L.Dense(2)
    ),
    "Sequential.first_functional": _sequential(lambda: _inner((4,)), lambda: L.Dense(2)),
    "Sequential.first_built_later": _sequential(
        lambda: L.Input((4,)), lambda: k2.Sequential([L.Dense(3), L.BatchNormalization()]), lambda: L.Dense(2)
    ),
    "Sequential.dropout_first": _sequential(lambda: L.Dropout(0.2, input_shape=(4,)), lambda: L.Dense(3)),
    "Sequential.named": _sequential(lambda: L.Dense(3, input_shape=(4,), name="only"), name="my_model"),
    "Sequential.convolutional": _sequential(
        lambda: L.Conv2D(4, 3, input_shape=(9, 8, 3), activation="relu"),
        lambda: L.BatchNormalization(),
        lambda: L.MaxPooling2D(),
        lambda: L.Dropout(0.3),
        lambda: L.Flatten(),
        lambda: L.Dense(3, "softmax"),
    ),
}


@model("Sequential.built")
def _() -> k2.Model:
    made = k2.Sequential([L.Dense(3), L.Dense(2)])
    made.build((None, 4))
    return made


@model("Sequential.called")
def _() -> k2.Model:
    made = k2.Sequential([L.Dense(3), L.Dense(2)])
    made(np.zeros((1, 4), "float32"))
    return made


def _branches(merge: Callable = L.Concatenate) -> k2.Model:
    a, b = L.Input((4,), name="b"), L.Input((4,), name="a")
    left, right = L.Dense(4, name="z")(a), L.Dense(4, name="y")(b)
    left, right = L.Dense(4, name="x")(left), L.Dense(4, name="w")(right)
    return k2.Model([a, b], L.Dense(4)(merge()([right, left])))


MODELS |= {
    "Graph.branches": _branches,
    "Graph.branches_subtract": lambda: _branches(L.Subtract),
}
case("Graph.nested", (4,), call=lambda x: L.Dense(2, name="dense")(_inner((4,))(x)))
case("Graph.nested_first", (4,), call=lambda x: _inner((4,))(x))
case("Graph.nested_twice", (4,), call=lambda x: (lambda m: L.Dense(2)(m(m(x))))(_inner((4,))))
case("Graph.nested_shared", (4,), (4,), call=lambda a, b: (lambda m: L.Subtract()([m(a), m(b)]))(_inner((4,))))
case("Graph.two_nested", (4,), call=lambda x: L.Subtract()([_inner((4,), "one")(x), _inner((4,), "two")(x)]))
case(
    "Graph.nested_deferred",
    (4,),
    call=lambda x: L.Dense(2)(k2.Sequential([L.Dense(3), L.BatchNormalization()])(x)),
)
case("Graph.nested_deferred_last", (4,), call=lambda x: k2.Sequential([L.Dense(3), L.BatchNormalization()])(x))
case("Graph.frozen_norm", (4,), call=lambda x: L.Dense(2)(_inner((4,), trainable=False)(x)))
case(
    "Graph.shared",
    (4,),
    (4,),
    call=lambda a, b: (lambda d: L.Subtract()([d(a), L.Activation("tanh")(d(b))]))(L.Dense(4)),
)
case("Graph.shared_chain", (4,), call=lambda x: (lambda d: L.Dense(2)(d(d(x))))(L.Dense(4)))
case("Graph.shared_lstm", (STEPS, 4), (STEPS, 4), call=lambda a, b: (lambda d: L.Subtract()([d(a), d(b)]))(L.LSTM(4)))
case("Graph.input_is_output", (4,), call=lambda x: [x, L.Dense(2)(x)])
case("Graph.one_in_list", (4,), call=lambda x: [L.Dense(2)(x)])
case("Graph.two_outputs", (4,), call=lambda x: [L.Dense(2, name="b")(x), L.Dense(3, name="a")(x)])
case("Graph.dict_outputs", (4,), call=lambda x: {"z": L.Dense(2, name="b")(x), "y": L.Dense(3, name="a")(x)})
case("Graph.nested_outputs", (4,), call=lambda x: [[L.Dense(2)(x), L.Dense(3)(x)], L.Dense(1)(x)])
case("Graph.dict_of_list", (4,), call=lambda x: {"z": [L.Dense(2)(x), L.Dense(3)(x)], "y": L.Dense(1)(x)})
case("Graph.same_output_twice", (4,), call=lambda x: (lambda y: [y, y])(L.Dense(2)(x)))
case("Graph.inner_output", (4,), call=lambda x: (lambda y: [y, L.Dense(2)(y)])(L.Dense(3)(x)))
case("Graph.training_true", (4,), call=lambda x: L.BatchNormalization()(x, training=True))
case("Graph.training_false", (4,), call=lambda x: L.Dense(2)(L.BatchNormalization()(x, training=False)))
case("Graph.dropout_training_false", (4,), call=lambda x: L.Dense(2)(L.Dropout(0.3)(x, training=False)))
case("Graph.nested_training_false", (4,), call=lambda x: L.Dense(2)(_inner((4,))(x, training=False)))
case("Graph.training_zero", (4,), call=lambda x: L.Dense(2)(L.Dropout(0.3)(x, training=0)))
case("Graph.inputs_keyword", (4,), call=lambda x: L.Dense(2)(inputs=x))
case("Graph.constant_input", (4,), call=lambda x: L.Add()([x, tf.constant([[1.0, 2.0, 3.0, 4.0]])]))
case("Graph.three_deep", (4,), call=lambda x: L.Dense(2)(_deep()(x)))


def _deep() -> k2.Model:
    x = L.Input((4,))
    return k2.Model(x, L.Dense(4, name="dense")(k2.Sequential([_inner((4,)), L.Dense(4, name="last")], name="mid")(x)))


@model("Graph.partly_frozen")
def _() -> k2.Model:
    x = L.Input((4,))
    inner = _inner((4,))
    inner.layers[1].trainable = False
    return k2.Model(x, L.Dense(2)(inner(x)))


@model("Graph.frozen_nested")
def _() -> k2.Model:
    x = L.Input((4,))
    inner = _inner((4,))
    inner.trainable = False
    return k2.Model(x, L.Dense(2)(inner(x)))


@model("Graph.frozen_outside_only")
def _() -> k2.Model:
    x = L.Input((4,))
    inner = _inner((4,))
    inner._trainable = False
    return k2.Model(x, L.Dense(2)(inner(x)))


@model("Graph.frozen_all")
def _() -> k2.Model:
    made = _inner((4,))
    made.trainable = False
    return made


@model("Graph.frozen_sequential")
def _() -> k2.Model:
    inner = k2.Sequential([L.Dense(3, input_shape=(4,)), L.BatchNormalization()])
    inner.trainable = False
    return k2.Sequential([inner, L.Dense(2)])


@model("Graph.frozen_then_called")
def _() -> k2.Model:
    x = L.Input((4,))
    dense, norm = L.Dense(3), L.BatchNormalization()
    dense.trainable = norm.trainable = False
    return k2.Model(x, norm(dense(x)))


@model("Graph.dict_inputs")
def _() -> k2.Model:
    inputs = {"b": L.Input((4,), name="b"), "a": L.Input((4,), name="a")}
    return k2.Model(inputs, L.Subtract()([L.Dense(3)(inputs["a"]), L.Dense(3)(inputs["b"])]))


@model("Graph.nested_dict_inputs")
def _() -> k2.Model:
    inputs = {"b": L.Input((4,), name="b"), "a": L.Input((4,), name="a")}
    inner = k2.Model(inputs, L.Subtract()([L.Dense(3)(inputs["a"]), L.Dense(3)(inputs["b"])]), name="inner")
    x = L.Input((4,), name="in0")
    return k2.Model(x, inner({"a": x, "b": L.Dense(4)(x)}))


@model("Graph.nested_many")
def _() -> k2.Model:
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    inner = k2.Model([a, b], [L.Dense(3)(a), L.Dense(2)(b)], name="inner")
    x, y = L.Input((4,), name="in0"), L.Input((4,), name="in1")
    first, second = inner([y, x])
    return k2.Model([x, y], L.Concatenate()([second, first]))


@model("Graph.nested_one_in_list")
def _() -> k2.Model:
    a = L.Input((4,), name="a")
    inner = k2.Model([a], [L.Dense(3)(a)], name="inner")
    x = L.Input((4,), name="in0")
    y = inner(x)
    return k2.Model(x, L.Dense(2)(y[0] if isinstance(y, list) else y))


@model("Graph.nested_dict_outputs")
def _() -> k2.Model:
    a = L.Input((4,), name="a")
    inner = k2.Model(a, {"z": L.Dense(3)(a), "y": L.Dense(2)(a)}, name="inner")
    x = L.Input((4,), name="in0")
    y = inner(x)
    return k2.Model(x, L.Concatenate()([y["y"], y["z"]]))


@model("Graph.nested_in_sequential")
def _() -> k2.Model:
    return k2.Sequential([L.Input((4,)), _inner((4,), "one"), _inner((4,), "two"), L.Dense(2)])


@model("Graph.trained")
def _() -> k2.Model:
    x = L.Input((4,), name="in0")
    made = k2.Model(x, L.Dense(2)(L.Dropout(0.2)(L.BatchNormalization()(x))))
    made.compile(k2.optimizers.Adam(0.01), loss="mse", metrics=["mae", k2.metrics.AUC(name="auc")])
    data = np.random.default_rng(0).random((8, 4)).astype("float32")
    made.fit(data, data[:, :2].round(), verbose=0)
    return made


@model("Graph.shared_across_levels")
def _() -> k2.Model:
    shared = L.Dense(4, name="shared")
    a = L.Input((4,))
    inner = k2.Model(a, shared(a), name="inner")
    x = L.Input((4,), name="in0")
    return k2.Model(x, L.Subtract()([inner(x), shared(shared(x))]))


@model("Graph.sub_model")
def _() -> k2.Model:
    x = L.Input((4,), name="in0")
    hidden = L.Dense(3, name="one")(x)
    made = k2.Model(x, L.Dense(2, name="two")(hidden))
    return k2.Model(made.input, made.get_layer("one").output)


@model("Graph.from_a_layer_inside")
def _() -> k2.Model:
    inner = _inner((4,))
    x = L.Input((3,), name="in0")
    return k2.Model(x, inner.layers[3](inner.layers[2](x)))


case("Graph.siamese", (STEPS, 4), (STEPS, 4), call=lambda a, b: _siamese(a, b))


def _siamese(a: Any, b: Any) -> Any:
    tower = k2.Sequential([L.Conv1D(3, 2, input_shape=(STEPS, 4)), L.BatchNormalization(), L.Flatten(), L.Dense(3)])
    return L.Dense(1, "sigmoid")(L.Dot(1)([tower(a), tower(b)]))


case("Graph.float64_inputs", (4,), dtype="float64", call=lambda x: L.Dense(2, dtype="float64")(x))
case("Graph.half_inputs", (4,), dtype="float16", call=lambda x: L.Dense(2)(x))
case("Graph.integer_inputs", (4,), dtype="int32", call=lambda x: L.Dense(2)(x))
case("Graph.integer_conv", (9, 8, 3), dtype="uint8", call=lambda x: L.Conv2D(2, 3)(L.Rescaling(1 / 255)(x)))
case("Graph.bool_inputs", (4,), dtype="bool", call=lambda x: L.Dense(2)(x))


def _with_policy(policy: str) -> Callable[[], k2.Model]:
    def build() -> k2.Model:
        k2.mixed_precision.set_global_policy(policy)
        try:
            x = L.Input((STEPS, 4), name="in0")
            hidden = L.LSTM(3, return_sequences=True)(L.LayerNormalization()(L.Conv1D(4, 2)(x)))
            return k2.Model(x, L.Dense(2, dtype="float32" if "mixed" in policy else None)(L.Flatten()(hidden)))
        finally:
            k2.mixed_precision.set_global_policy("float32")

    return build


MODELS |= {f"Policy.{name}": _with_policy(name) for name in ("float64", "mixed_float16", "mixed_bfloat16")}

# --- What no Keras layer made --------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x + 1.0,
    "radd": lambda x: 1.0 + x,
    "add_tensors": lambda x: L.Dense(4)(x) + x,
    "subtract": lambda x: 1.0 - x,
    "multiply": lambda x: x * 2.0,
    "divide": lambda x: x / 2.0,
    "power": lambda x: x**2,
    "negative": lambda x: -x,
    "matmul": lambda x: tf.matmul(x, x, transpose_b=True),
    "getitem": lambda x: x[:, 0],
    "slice": lambda x: x[:, 1:3],
    "newaxis": lambda x: x[:, tf.newaxis],
    "ellipsis": lambda x: x[..., 1:],
    "concat": lambda x: tf.concat([x, x], axis=-1),
    "stack": lambda x: tf.stack([x, x], axis=1),
    "expand_dims": lambda x: tf.expand_dims(x, 1),
    "squeeze": lambda x: tf.squeeze(L.Reshape((1, 4))(x), 1),
    "reshape": lambda x: tf.reshape(x, (-1, 2, 2)),
    "transpose": lambda x: tf.transpose(x),
    "reduce_mean": lambda x: tf.reduce_mean(x, axis=-1, keepdims=True),
    "reduce_sum": lambda x: tf.reduce_sum(x, axis=1),
    "nn_relu": lambda x: tf.nn.relu(x),
    "nn_softmax": lambda x: tf.nn.softmax(x, axis=-1),
    "nn_l2_normalize": lambda x: tf.nn.l2_normalize(x, axis=-1),
    "sigmoid": lambda x: tf.sigmoid(x),
    "tanh": lambda x: tf.math.tanh(x),
    "exp": lambda x: tf.exp(x),
    "clip": lambda x: tf.clip_by_value(x, -1, 1),
    "abs": lambda x: tf.abs(x),
    "square": lambda x: tf.square(x),
    "sqrt": lambda x: tf.sqrt(tf.abs(x)),
    "maximum": lambda x: tf.maximum(x, 0.3),
    "cast": lambda x: tf.cast(x, "float64"),
    "split": lambda x: tf.split(x, 2, axis=-1),
    "shape": lambda x: tf.reshape(x, (tf.shape(x)[0], 2, 2)),
    "greater": lambda x: x > 0.2,
    "where": lambda x: tf.where(x > 0.2, x, -x),
    "argmax": lambda x: tf.argmax(x, axis=-1),
    "backend_mean": lambda x: k2.backend.mean(x, axis=-1),
    "backend_l2_normalize": lambda x: k2.backend.l2_normalize(x, axis=-1),
}
for _name, _call in OPERATIONS.items():
    case(f"Operation.{_name}", (4,), call=_call)
case("Lambda.default", (4,), call=lambda x: L.Lambda(lambda t: t * 2.0)(x))
case("Lambda.function", (4,), call=lambda x: L.Lambda(tf.nn.relu)(x))
case("Lambda.named", (4,), call=lambda x: L.Lambda(_double)(x))
case("Lambda.arguments", (4,), call=lambda x: L.Lambda(_double, arguments={"by": 3})(x))


def _double(x: Any, by: float = 2) -> Any:
    return x * by


# --- Making them ---------------------------------------------------------------------------------------------------


def set_random_weights(made: k2.Model, seed: int) -> None:
    """Seeded values for every weight that is a number, positive for variances."""
    rng = np.random.default_rng(seed)
    for weight in made.weights:
        if not getattr(weight, "dtype", tf.string).is_floating:
            continue  # a counter, or the words of a lookup
        low_is_zero = "variance" in weight.name or "stddev" in weight.name
        values = rng.uniform(0.5, 2, weight.shape) if low_is_zero else rng.normal(0, 0.6, weight.shape)
        weight.assign(tf.cast(values, weight.dtype))
    for layer in made._flatten_layers():
        if isinstance(layer, L.Normalization):
            layer.finalize_state()  # as loading does


def sample(tensor: Any, seed: int) -> np.ndarray:
    """Seeded data for one input, with masked steps at the end of some rows."""
    rng = np.random.default_rng(seed)
    shape = (tensor.shape[0] or BATCH, *(STEPS + 1 if size is None else size for size in tensor.shape[1:]))
    dtype = tensor.dtype
    if dtype == tf.string:
        return rng.choice(WORDS, shape)
    if dtype == tf.bool:
        data = rng.random(shape) < 0.6
        data[..., :1] = True
        return data
    if dtype.is_integer:
        data = rng.integers(1, TOKENS, shape).astype(dtype.as_numpy_dtype)
    else:
        data = rng.normal(0, 1.5, shape).astype(dtype.as_numpy_dtype)
    if len(shape) == 3:
        data[0, -2:] = 0
        data[1, -1] = 0
    elif dtype.is_integer and len(shape) == 2 and shape[1] > 2:
        data[0, -2:] = 0
    return data


def tokens(made: k2.Model, tensor: Any, data: np.ndarray) -> np.ndarray:
    """The data of an input that an Embedding reads: indices, as floats if it takes floats."""
    layers = [layer for layer in made._flatten_layers() if isinstance(layer, L.Embedding)]
    if not layers or len(data.shape) != 2 or tensor.shape[1] != STEPS:
        return data
    indices = np.random.default_rng(5).integers(1, TOKENS, data.shape)
    indices[0, -2:] = 0
    indices[2, -1] = 0
    return indices.astype(data.dtype)


def old_config(config: Any) -> Any:
    """A config as Keras 2.4 wrote it: without modules, registered names, build configs and policies."""
    if isinstance(config, list):
        return [old_config(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "Policy" or config.get("class_name") == "PolicyV1":
        name = config["config"]["name"]
        return config if name.startswith("mixed") else name
    drop = {"module", "registered_name", "build_config", "compile_config", "shared_object_id", "synchronized"}
    return {key: old_config(value) for key, value in config.items() if key not in drop}


def write_old(path: Path) -> None:
    """Rewrite the configs of an .h5 file."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(old_config(config)).encode()
        file.attrs["keras_version"] = b"2.4.0"


def one_line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error))
    return f"{type(error).__name__}: {text}"[:400]


def flat(outputs: Any) -> list[np.ndarray]:
    """The tensors of an output as arrays that NumPy can save."""
    arrays = []
    for value in tf.nest.flatten(outputs):
        value = tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        arrays.append(np.asarray(tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value))
    return arrays


def make(name: str, seed: int, folder: Path, *, one_format: bool = False) -> dict[str, Any]:
    """Make, save and run one model.

    Args:
        name: Which.
        seed: For its weights and inputs.
        folder: Where to.
        one_format: Save it in one format only, by turns, which is quicker.

    Returns:
        The error of the whole, if any, or that of each format (``None`` if it was saved).
    """
    k2.backend.clear_session()
    k2.utils.set_random_seed(seed)
    try:
        made = MODELS[name]()
        set_random_weights(made, seed)
        data = [tokens(made, x, sample(x, seed + i)) for i, x in enumerate(made.inputs)]
        fed = [tf.constant(value) for value in data]
        structured = tf.nest.pack_sequence_as(made.input, fed) if made._is_graph_network else fed[0]
    except Exception as error:
        return {"error": one_line(error)}
    saved: dict[str, Any] = {"formats": {}}
    stem = str(folder / name)
    actions: dict[str, Callable[[], Any]] = {
        "h5": lambda: made.save(f"{stem}.h5"),
        "keras": lambda: made.save(f"{stem}.keras"),
        "old.h5": lambda: write_old(Path(shutil.copy(f"{stem}.h5", f"{stem}.old.h5"))),
        "weights.h5": lambda: made.save_weights(f"{stem}.weights.h5"),
        "legacy.h5": lambda: made.save_weights(f"{stem}.legacy.h5"),
    }
    with contextlib.suppress(Exception):  # the formats say what is wrong
        Path(f"{stem}.json").write_text(made.to_json())
    for position, (kind, action) in enumerate(actions.items()):
        # Made from the first, so that this one is there first.
        if one_format and position != seed % len(actions) and not (position == 0 and seed % len(actions) == 2):
            continue
        try:
            action()
            saved["formats"][kind] = None
        except Exception as error:
            saved["formats"][kind] = one_line(error)
            Path(f"{stem}.{kind}").unlink(missing_ok=True)
    counts = {
        "params": made.count_params(),
        "trainable": sum(int(np.prod(weight.shape)) for weight in made.trainable_weights),
    }
    try:
        outputs = flat(made(structured, training=False))
    except Exception as error:
        saved["run"] = one_line(error)
        outputs = []
    np.savez(
        f"{stem}.npz",
        **{f"in{i}": value for i, value in enumerate(data)},
        **{f"out{i}": value for i, value in enumerate(outputs)},
        **counts,
    )
    return saved


def main(folder: Path, *options: str) -> None:
    """Make all models, or those whose name matches, in all formats or in one each."""
    pattern = next((option for option in options if not option.startswith("--")), "")
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    index = {}
    for seed, name in enumerate(MODELS):
        if re.search(pattern, name):
            index[name] = make(name, seed, folder, one_format="--one-format" in options)
    (folder / "index.json").write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    make_no_gpu_twins()
    main(Path(sys.argv[1]), *sys.argv[2:])
