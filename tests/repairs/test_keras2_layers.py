"""Every layer that Keras 2 and Keras 3 share, from files of Keras 2: loaded here, the numbers that Keras 2 gave.

``keras2_models.py`` made the files, with ``tf_keras``; they are in ``keras2_layers.tar.xz``, which ``UPDATE_GOLDEN=1``
writes anew. Each model is loaded from one of five kinds of files, another kind for the next model, and saved again in
one of two; with ``OLD_FILES=all`` in all of them, which are made first and take a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from old_keras import ALL_FILES
from tables_report import record

from keras_stitch.errors import SaveError, StitchError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.save_keras import check_format
from keras_stitch.sources import load_source
from keras_stitch.sources.added import Added
from keras_stitch.verify.equality import compare

pytestmark = pytest.mark.slow

ARCHIVE = Path(__file__).with_name("keras2_layers.tar.xz")
MAKER = Path(__file__).parents[1] / "helpers" / "keras2_models.py"
FORMATS = ("keras", "h5")
KINDS = ("h5", "keras", "old.h5", "weights.h5", "legacy.h5")
TABLE = "Files of Keras 2"

_NAMES = (
    "Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D "
    "AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate "
    "Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D "
    "Cropping2D Cropping3D CuDNNGRU CuDNNLSTM Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU "
    "EinsumDense Embedding Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D "
    "GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D Graph GroupNormalization "
    "HashedCrossing Hashing Identity Initializer IntegerLookup LSTM Lambda LayerNormalization LeakyReLU "
    "LocallyConnected1D LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum "
    "MultiHeadAttention Multiply Normalization Operation PReLU Permute Policy RNN RandomBrightness RandomContrast "
    "RandomCrop RandomFlip RandomFourierFeatures RandomHeight RandomRotation RandomTranslation RandomWidth RandomZoom "
    "ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D Sequential SimpleRNN Softmax "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StringLookup Subtract TextVectorization "
    "ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D "
    "ZeroPadding2D ZeroPadding3D "
)
FAMILIES = _NAMES.split()

# What cannot be loaded, and what is said of it: the name of a model and its kind of file, as a pattern.
REFUSED = {
    r"Lambda\..*": "holds a Lambda layer",
    r"(RandomFourierFeatures|RandomHeight|RandomWidth)\..*": "that Keras 3 no longer has",
    r"(LSTM|GRU|SimpleRNN)\.time_major.*": "time_major=True",
    r"LSTM\.stateful_batch.*": "stateful",
    r"(UpSampling2D|Resizing)\.(gaussian|mitchellcubic).*": "interpolates in a way",
    r"BatchNormalization\.two_axes.*": "over several axes",
    r"BatchNormalization\.renorm.*": "renorm=True",
    r"Graph\.training_true.*": "training=True",
    r"RandomCrop\..*": "RandomCrop",
    r"Dense\.bfloat16\.(keras|weights\.h5)": "could not be loaded",
    r"CuDNN.*\.(keras|weights\.h5)": "only ran on a GPU",
    r"(StringLookup|TextVectorization|IntegerLookup)\.adapted\.(weights|legacy|old)?\.?h5": "learnt by adapt",
    r"LayerNormalization\.axes_reversed\.(keras|weights\.h5)": "could not be loaded",
    r"Graph\.constant_input.*": "cannot load",
    r"Graph\.shared_across_levels\.(old\.)?h5": "cannot load",
    r"Graph\.shared_across_levels\.(keras|weights\.h5)": "does not hold the weights of layer 'shared'",
    r"Conv1D\.rank_4.*": "cannot load",
}

# Weights that Keras 2 held in another shape, or that make a layer that is gone, or that are arguments now; a flag that
# no public method sets; layers that make their inner layers themselves, of which Keras 3 forgets that they were frozen;
# and a shared layer, where the file does not say that it is one.
OTHER_COUNTS = (
    r"CuDNN.*|LocallyConnected.*|Normalization\..*|Graph\.(frozen_outside_only|shared_across_levels)|"
    r"(Bidirectional|MultiHeadAttention)\.frozen"
)
# Keras 3 gives indices of another type.
OTHER_DTYPE = r"Discretization\..*|StringLookup\..*|IntegerLookup\..*|TextVectorization\..*"
# Half precision: a few units in the last place.
HALF = r".*float16.*|Dense\.mixed"
HALF_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Made:
    """What Keras 2 made.

    Attributes:
        folder: Where the files are.
        index: See ``keras2_models.make``, by name.
    """

    folder: Path
    index: dict[str, dict]

    def files(self, family: str) -> Iterator[tuple[str, str]]:
        """The name and the kind of each file of a family that this run looks at."""
        for name, made in self.index.items():
            if name.split(".")[0] != family or "error" in made:
                continue
            kinds = [kind for kind in KINDS if made["formats"].get(kind, "") is None]
            yield from ((name, kind) for kind in kinds)

    def arrays(self, name: str) -> tuple[list[np.ndarray], list[np.ndarray], tuple[int, int]]:
        """Inputs, outputs, and how many numbers the model has, and how many of them train."""
        with np.load(self.folder / f"{name}.npz") as file:
            inputs, outputs = (
                [file[f"{end}{i}"] for i in range(sum(re.fullmatch(end + r"\d+", key) is not None for key in file))]
                for end in ("in", "out")
            )
            return inputs, outputs, (int(file["params"]), int(file["trainable"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("keras2")
    if ALL_FILES:
        return _make(folder)
    if "UPDATE_GOLDEN" in os.environ:
        _make(folder, "--one-format")
        (folder / "maker.sha256").write_text(_digest())
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for path in sorted(folder.iterdir(), key=lambda path: (path.suffix, path.name)):
                archive.add(path, path.name)
    else:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
    return Made(folder, json.loads((folder / "index.json").read_text()))


def _make(folder: Path, *options: str) -> Made:
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run([sys.executable, MAKER, folder, *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return Made(folder, json.loads((folder / "index.json").read_text()))


def _digest() -> str:
    return hashlib.sha256(MAKER.read_bytes()).hexdigest()


def test_the_files_are_what_keras_2_makes(made, tmp_path):
    """Of this version of ``keras2_models.py``; some are made again."""
    if not ALL_FILES:
        assert (made.folder / "maker.sha256").read_text() == _digest(), "UPDATE_GOLDEN=1 makes them again"
    again = _make(tmp_path, "--one-format", r"^(Dense|LSTM)\.")
    assert len(again.index) > 30
    for name in again.index:
        assert again.index[name].get("run") == made.index[name].get("run")
        inputs, outputs, counts = again.arrays(name)
        stored_inputs, stored_outputs, stored_counts = made.arrays(name)
        assert counts == stored_counts
        for one, other in zip([*inputs, *outputs], [*stored_inputs, *stored_outputs], strict=True):
            assert compare(one, other).equal


def test_the_families_are_all_there(made):
    assert sorted({name.split(".")[0] for name in made.index}) == sorted(FAMILIES)


def test_what_keras_2_itself_cannot_do(made):
    """Said here, so that nothing is missing without being seen."""
    assert sorted(name for name, result in made.index.items() if "error" in result) == [
        "Concatenate.axis_1_one_mask",
        "Concatenate.broadcast",
        "Discretization.adapted",
        "Masking.through_softmax",
        "Masking.through_softmax_axis",
        "RNN.reverse_state_order",
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_keras_3_computes_what_keras_2_computed(family, made, request, tmp_path):
    problems = []
    keras.backend.clear_session()
    for name, kind in made.files(family):
        try:
            problems += [f"{name}.{kind}: {problem}" for problem in _check(made, name, kind, request, tmp_path)]
        except Exception as error:
            problems.append(f"{name}.{kind}: {type(error).__name__}: {error}"[:500])
    assert not problems, "\n".join(problems)


def _check(made: Made, name: str, kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    row = {"file": f"{name}.{kind}"}
    arch = made.folder / f"{name}.json" if kind in ("weights.h5", "legacy.h5") else None
    expected = next((text for pattern, text in REFUSED.items() if re.fullmatch(pattern, f"{name}.{kind}")), None)
    try:
        loaded = load_source.load("m", made.folder / f"{name}.{kind}", arch=arch)
    except StitchError as error:
        record(request, TABLE, row | {"quirks repaired": "refused", "difference": ""})
        if expected is None or expected not in str(error):
            yield f"refused: {error}"
        return
    if expected is not None:
        yield "loaded, though it should have been refused"
        return
    model = loaded.blueprint.take()
    inputs, outputs, counts = made.arrays(name)
    if not re.fullmatch(OTHER_COUNTS, name):
        trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        if (model.count_params(), trainable) != counts:
            yield f"has {model.count_params()} numbers of which {trainable} train, Keras 2 had {counts}"
    if "run" in made.index[name]:
        record(request, TABLE, row | {"quirks repaired": _kinds(loaded), "difference": "Keras 2 cannot run it here"})
        return
    tolerance = HALF_TOLERANCE if re.fullmatch(HALF, name) else 1e-5
    difference = 0.0
    formats = FORMATS if ALL_FILES else [FORMATS[list(made.index).index(name) % 2]]
    for label, again in [("loaded", model), *_saved_again(model, folder, formats)]:
        yield from (f"{label}: custom {layer}" for layer in _not_keras(again))
        predictions = _predicted(again, inputs)
        if len(predictions) != len(outputs):
            yield f"{label}: {len(predictions)} outputs, Keras 2 gave {len(outputs)}"
        for one, other in zip(predictions, outputs, strict=False):
            if one.shape != other.shape:
                yield f"{label}: shape {one.shape}, Keras 2 gave {other.shape}"
                continue
            if one.dtype != other.dtype and not re.fullmatch(OTHER_DTYPE, name):
                yield f"{label}: {one.dtype}, Keras 2 gave {other.dtype}"
            one, other = one.astype("float64"), other.astype("float64")
            apart = float(np.max(np.abs(one - other), initial=0.0)) / max(1.0, float(np.max(np.abs(other), initial=0)))
            difference = max(difference, apart)
            if not apart <= tolerance:
                yield f"{label}: differs by {apart:.2g}"
    record(request, TABLE, row | {"quirks repaired": _kinds(loaded), "difference": f"{difference:.0e}"})


def _kinds(loaded: Added) -> str:
    return ", ".join(dict.fromkeys(str(repair).split(" ")[0].rstrip(":") for repair in loaded.submodel.repairs))


def _predicted(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    fed = [tf.constant(value) for value in inputs]
    held = getattr(model, "_inputs_struct", None)
    if isinstance(held, dict):
        fed = dict(zip(sorted(held), fed, strict=True))
    elif len(fed) == 1:
        fed = fed[0]
    outputs = model(fed, training=False)
    return [
        np.asarray(tf.cast(value, "float32") if value.dtype == tf.bfloat16 else value)
        for value in keras.tree.flatten(outputs)
    ]


def _saved_again(model: keras.Model, folder: Path, formats: Iterable[str]) -> Iterator[tuple[str, keras.Model]]:
    """The model after plain Keras saved and loaded it."""
    for format in formats:
        try:
            check_format(SimpleNamespace(layers=[model]), format)
        except SaveError:
            continue
        path = folder / f"again.{format}"
        with quiet_keras():
            try:
                model.save(path)
                again = keras.saving.load_model(path, compile=False)
            except (ValueError, TypeError):
                continue  # not without a word
            if format == "keras":
                with zipfile.ZipFile(path) as archive:
                    assert not re.search(rb'"registered_name": "[^"]*>', archive.read("config.json"))
            yield f"saved as {format}", again


def _not_keras(model: keras.Model) -> list[str]:
    return [
        f"{type(layer).__module__}.{type(layer).__name__}"
        for layer in model._flatten_layers()
        if not type(layer).__module__.startswith("keras.")
    ]
