"""What packages on PyPI keep in their code beside the weights of their models: architectures, and layers of their own.

Each is written anew from what its package says of it, in calls that Keras 2 and Keras 3 both know: ``keras`` is either
of them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def architecture(name: str, keras: ModuleType) -> Any:
    """A model without its weights, by the name of a function below and its numbers: ``"chars2vec 50"``."""
    kind, *numbers = name.split()
    made = {"acdc_nn_seq": acdc_nn_seq, "chars2vec": chars2vec, "deepac_cnn": deepac_cnn, "deepac_lstm": deepac_lstm}
    return made[kind](keras, *map(int, numbers))


def chars2vec(keras: ModuleType, size: int) -> Any:
    """The embedding of chars2vec: two LSTMs over one-hot characters.

    Keras 2.2.0, which saved the weights, had hard_sigmoid in its gates.
    """
    gates = {"recurrent_activation": "hard_sigmoid"}
    inputs = keras.Input((None, 59))
    x = keras.layers.LSTM(size, return_sequences=True, **gates)(inputs)
    return keras.Model(inputs, keras.layers.LSTM(size, **gates)(x))


def acdc_nn_seq(keras: ModuleType) -> Any:
    """ACDC-NN-Seq: a network of a mutation and its neighbours, applied to the mutation and to its inverse.

    Half of the difference and of the sum are Lambda layers in the package, which no file can hold; here they are
    layers of Keras.
    """
    layers = keras.layers
    neighbours = layers.Conv1D(20, 1, use_bias=False, name="net_envConv1D")
    top = keras.Sequential(
        [
            layers.Dense(128, activation="relu", name="Dense_1"),
            layers.Dropout(0.35),
            layers.Dense(64, activation="relu", name="Dense_2"),
            layers.Dropout(0.35),
            layers.Dense(1, name="Dense_3"),
        ],
        name="TopLayer",
    )
    inputs, ends = [], []
    for suffix in ("", "_i"):
        environment = keras.Input((7, 20), name=f"input_env{suffix}1D")
        mutation = keras.Input((20,), name=f"inputMut{suffix}")
        product = layers.Dot((2, 1))([neighbours(environment), mutation])
        ends.append(top(layers.Concatenate()([product, mutation])))
        inputs += [environment, mutation]
    half = layers.Rescaling(0.5, name="out_diff")
    return keras.Model(inputs, [half(layers.Subtract()(ends)), layers.Average(name="out_av")(ends)])


def deepac_cnn(keras: ModuleType) -> Any:
    """The rapid model of DeePaC: two convolutions that see both strands."""
    layers = keras.layers
    inputs = keras.Input((250, 4))
    x = layers.Dropout(0.25)(inputs)
    for pooling in (layers.AveragePooling1D(), layers.GlobalAveragePooling1D()):
        x = _both_strands(keras, x, layers.Conv1D(512, 15, padding="same"))
        x = pooling(layers.Activation("relu")(x))
    x = layers.Activation("relu")(_merged(keras, x, layers.Dense(256)))
    x = layers.Dense(256)(layers.Dropout(0.5)(x))
    x = layers.Dropout(0.5)(layers.Activation("relu")(x))
    return keras.Model(inputs, layers.Activation("sigmoid")(layers.Dense(1)(x)))


def deepac_lstm(keras: ModuleType) -> Any:
    """The sensitive model of DeePaC: a bidirectional LSTM of both strands, trained by cuDNN."""
    layers = keras.layers
    inputs = keras.Input((250, 4))
    x = _both_strands(keras, layers.Dropout(0.2)(inputs), layers.Bidirectional(layers.LSTM(384)))
    x = _merged(keras, layers.Dropout(0.5)(x), layers.Dense(1))
    return keras.Model(inputs, layers.Activation("sigmoid")(x))


def _both_strands(keras: ModuleType, x: Any, layer: Any) -> Any:
    """A layer of a sequence and of its reverse complement, which is the sequence turned round in both axes."""
    reverse = custom_layers(keras)["Reverse"]
    return keras.layers.Concatenate()([layer(x), reverse()(layer(reverse()(x)))])


def _merged(keras: ModuleType, x: Any, layer: Any) -> Any:
    """The sum of a layer of both strands."""
    reverse, half = (custom_layers(keras)[name] for name in ("Reverse", "Half"))
    return keras.layers.Add()([layer(half(0)(x)), layer(reverse()(half(1)(x)))])


def custom_layers(keras: ModuleType) -> dict[str, type]:
    """The classes of layers that files of packages name, and those of the architectures above."""

    class Reverse(keras.layers.Layer):
        """Turns all axes round but the first: the Lambda layers of DeePaC."""

        def call(self, x):
            return x[:, ::-1, ::-1] if len(x.shape) == 3 else x[:, ::-1]

        def compute_output_shape(self, shape):
            return shape

    class Half(keras.layers.Layer):
        """The first or the second half of the features, likewise."""

        def __init__(self, which: int, **options):
            super().__init__(**options)
            self.which = which

        def call(self, x):
            half = x.shape[-1] // 2
            return x[:, self.which * half : (self.which + 1) * half]

        def compute_output_shape(self, shape):
            return (*shape[:-1], shape[-1] // 2)

        def get_config(self):
            return {**super().get_config(), "which": self.which}

    class SqueezeLayer(keras.layers.Layer):
        """Takes an axis of length 1 out (crema)."""

        def __init__(self, axis: int = -1, **options):
            super().__init__(**options)
            self.axis = axis

        def call(self, x):
            place = self.axis % len(x.shape)
            return x[(*[slice(None)] * place, 0)]

        def compute_output_shape(self, shape):
            place = self.axis % len(shape)
            return (*shape[:place], *shape[place + 1 :])

        def get_config(self):
            return {**super().get_config(), "axis": self.axis}

    class ReversedLSTM(keras.layers.LSTM):
        """Reads from the end, and gives its sequence in the order of its input (rnnmorph)."""

        def __init__(self, *sizes, time_major: bool = False, **options):
            """Keras 3 has no ``time_major``; the files say False."""
            super().__init__(*sizes, **options)

        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)[:, ::-1]

    layers = (Reverse, Half, SqueezeLayer, ReversedLSTM, _tcn(keras))
    return {layer.__name__: layer for layer in layers}


def _residual_block(keras: ModuleType) -> type:
    layers = keras.layers

    class ResidualBlock(layers.Layer):
        """Two dilated convolutions; their result, and its sum with the input."""

        def __init__(self, filters: int, size: int, dilation: int, padding: str, normed: bool, **options):
            super().__init__(**options)
            self.parts = [
                part
                for _ in range(2)
                for part in (
                    layers.Conv1D(filters, size, dilation_rate=dilation, padding=padding),
                    *([layers.LayerNormalization()] if normed else []),
                    layers.Activation("relu"),
                )
            ]
            self.filters, self.matching = filters, None

        def build(self, shape):
            between = tuple(shape)
            for part in self.parts:
                part.build(between)
                between = (*between[:-1], self.filters)
            if shape[-1] != self.filters:
                self.matching = layers.Conv1D(self.filters, 1)
                self.matching.build(shape)
            self.built = True

        def call(self, x):
            y = x
            for part in self.parts:
                y = part(y)
            x = x if self.matching is None else self.matching(x)
            return keras.activations.relu(x + y), y

    return ResidualBlock


def _tcn(keras: ModuleType) -> type:
    block = _residual_block(keras)

    class TCN(keras.layers.Layer):
        """A temporal convolutional network (Bai et al. 2018), with the arguments that keras-tcn has (dgad)."""

        def __init__(self, nb_filters, kernel_size, dilations, padding, use_layer_norm, **options):
            own = {name: options.pop(name) for name in list(options) if name not in ("name", "trainable", "dtype")}
            super().__init__(**options)
            self.said = {**own, "nb_filters": nb_filters, "kernel_size": kernel_size, "dilations": tuple(dilations)}
            self.said |= {"padding": padding, "use_layer_norm": use_layer_norm}
            self.blocks = [
                block(nb_filters, kernel_size, dilation, padding, use_layer_norm, name=f"residual_block_{number}")
                for number, dilation in enumerate(dilations)
            ]

        def build(self, shape):
            for block in self.blocks:
                block.build(shape)
                shape = (*shape[:-1], self.said["nb_filters"])
            self.built = True

        def call(self, x):
            skipped = 0
            for block in self.blocks:
                x, y = block(x)
                skipped += y
            # Where the convolutions see both sides, the middle knows most.
            return skipped[:, x.shape[1] // 2 if self.said["padding"] == "same" else -1]

        def compute_output_shape(self, shape):
            return (shape[0], self.said["nb_filters"])

        def get_config(self):
            return {**super().get_config(), **self.said}

    return TCN
