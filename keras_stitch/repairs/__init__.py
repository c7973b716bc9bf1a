"""Files of old Keras, repaired on the way in: one small rule for each quirk, each named, reported and tested alone.

``repair`` changes the architecture, ``weights.assign`` brings the weights, ``hard_sigmoid`` what has to go into them.
A new quirk is one entry in ``QUIRKS``, or in ``ARRAY_RULES`` where arrays are repaired, and one test.
"""

from __future__ import annotations

from collections.abc import Iterable

from keras_stitch.repairs import (
    bidirectional,
    bilinear,
    changed_functions,
    gone_layers,
    keras1,
    lambdas,
    layer_arguments,
    layer_classes,
    learnt_state,
    masks,
    nested_sequentials,
    operators,
    orderings,
    shared_layers,
    stateless,
    structure,
    subclasses,
    theano,
    theano_borders,
    transposed_convolutions,
    unsupported,
    weights_order,
)
from keras_stitch.repairs.architecture import Saved
from keras_stitch.repairs.rule import ArrayRule, Check, ModelRule, Repair, Rule

# Applied before anybody looks whether a file holds code.
FIRST: tuple[Rule, ...] = (subclasses.subclasses, lambdas.backend_functions)
# In the order in which they are applied: first what the others need to find their way. A rule repairs and reports, a
# check refuses the file. Checks stand before the rules that put in layers, which they would take for the file's own.
QUIRKS: tuple[Rule | Check, ...] = (
    unsupported.mixed_versions,
    operators.operations,
    operators.function_calls,
    nested_sequentials.sequential_names,
    structure.sequential_list,
    stateless.stateless,
    keras1.class_names,
    gone_layers.gone_layers,
    keras1.merge_layers,
    nested_sequentials.several_inputs,
    structure.layer_names,
    structure.mask_operations,
    structure.nested_calls,
    structure.input_shape,
    keras1.arguments,
    orderings.orderings,
    theano.backend,
    theano.kernels,
    layer_classes.class_names,
    unsupported.interpolation,
    unsupported.random_crop,
    unsupported.renorm,
    layer_arguments.dtype_policy,
    layer_arguments.numbers_in_arrays,
    layer_classes.activation_layers,
    layer_arguments.initializers,
    layer_arguments.constraints,
    layer_classes.single_merge,
    layer_arguments.causal_padding,
    changed_functions.whole_numbers,
    changed_functions.reset_after,
    layer_classes.cudnn,
    changed_functions.recurrent_activation,
    layer_arguments.arguments,
    layer_arguments.time_major,
    layer_arguments.axis,
    learnt_state.normalization_invert,
    layer_arguments.leaky_relu,
    layer_arguments.prelu_shared_axes,
    layer_classes.thresholded_relu,
    layer_classes.layer_scale,
    layer_arguments.causal,
    masks.mask_arguments,
    masks.attention_copies,
    bidirectional.bidirectional_masks,
    theano_borders.convolutions,
    theano_borders.pooling,
    transposed_convolutions.transposed,
    bilinear.bilinear_upsampling,
    changed_functions.training,
    changed_functions.hard_sigmoid,
    structure.call_arguments,
    structure.single_ends,
    shared_layers.shared_layers,
    operators.operators,
)
ARRAY_RULES: tuple[ArrayRule, ...] = (learnt_state.ADAPTED, weights_order.BY_ORDER)
# Of files and of models in memory; see ``models/channels_last.py``.
CHANNELS_FIRST = ModelRule(
    "channels-first",
    "TensorFlow convolves channels_first on some CPUs only; the layers are channels_last now, between Permutes",
)
MODEL_RULES: tuple[ModelRule, ...] = (CHANNELS_FIRST,)
RULES: tuple[Rule | ArrayRule | ModelRule, ...] = (
    *FIRST,
    *(quirk for quirk in QUIRKS if isinstance(quirk, Rule)),
    *ARRAY_RULES,
    *MODEL_RULES,
)


def prepare(saved: Saved) -> list[Repair]:
    """Apply the rules that say what parts of an architecture are, in place, and give what was needed."""
    return _applied(FIRST, saved)


def repair(saved: Saved) -> list[Repair]:
    """Apply every other rule and check to an architecture, in place.

    Returns:
        What was needed; empty where Keras 3 reads the file as it is.

    Raises:
        SourceError: By a check, or by a rule that would have to guess.
    """
    return _applied(QUIRKS, saved)


def _applied(quirks: Iterable[Rule | Check], saved: Saved) -> list[Repair]:
    done = []
    for quirk in quirks:
        if quirk.legacy and not saved.is_legacy:
            continue
        if isinstance(quirk, Check):
            quirk.refuse(saved)
        elif where := quirk.apply(saved):
            done.append(Repair(quirk.name, quirk.why, tuple(where)))
    return done


__all__ = ["ARRAY_RULES", "CHANNELS_FIRST", "FIRST", "MODEL_RULES", "QUIRKS", "RULES", "prepare", "repair"]
