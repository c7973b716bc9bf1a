"""Keras 2 (``tf_keras``) without the twins of its LSTM and GRU layers for GPUs, which take longest to make.

TensorFlow runs a twin in place of the layer only where there is a GPU; numbers on a CPU are the same without them.
"""

from __future__ import annotations

from tf_keras.src.layers.rnn import gru_lstm_utils


def make_no_gpu_twins() -> None:
    """From now on, in this process, layers are made for CPUs only."""
    gru_lstm_utils.function_register = lambda *_, **__: None
