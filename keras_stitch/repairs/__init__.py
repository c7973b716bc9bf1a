"""Files of old Keras, repaired on the way in: one small rule for each quirk, each named, reported and tested alone.

``repair`` changes the architecture, ``weights.assign`` brings the weights, ``hard_sigmoid`` what has to go into them.
A new quirk is one entry in ``QUIRKS`` and one test.
"""

from __future__ import annotations

from keras_stitch.repairs import (
    changed_functions,
    keras1,
    layer_arguments,
    layer_classes,
    masks,
    structure,
    unsupported,
)
from keras_stitch.repairs.architecture import Saved
from keras_stitch.repairs.rule import Check, Repair, Rule

# In the order in which they are applied: first what the others need to find their way. A rule repairs and reports, a
# check refuses the file. Checks stand before the rules that put in layers, which they would take for the file's own.
QUIRKS: tuple[Rule | Check, ...] = (
    unsupported.MIXED_VERSIONS,
    structure.SEQUENTIAL_LIST,
    keras1.CLASS_NAMES,
    keras1.MERGE_LAYERS,
    structure.LAYER_NAMES,
    structure.MASK_OPERATIONS,
    structure.NESTED_CALLS,
    structure.INPUT_SHAPE,
    keras1.ARGUMENTS,
    layer_classes.CLASS_NAMES,
    unsupported.INTERPOLATION,
    unsupported.RANDOM_CROP,
    unsupported.RENORM,
    layer_arguments.DTYPE_POLICY,
    layer_arguments.NUMBERS_IN_ARRAYS,
    layer_classes.ACTIVATION_LAYERS,
    layer_arguments.INITIALIZERS,
    layer_arguments.CONSTRAINTS,
    layer_classes.SINGLE_MERGE,
    layer_arguments.CAUSAL_PADDING,
    changed_functions.WHOLE_NUMBERS,
    changed_functions.RESET_AFTER,
    layer_classes.CUDNN,
    changed_functions.RECURRENT_ACTIVATION,
    layer_arguments.ARGUMENTS,
    layer_arguments.TIME_MAJOR,
    layer_arguments.AXIS,
    layer_arguments.LEAKY_RELU,
    layer_classes.THRESHOLDED_RELU,
    layer_arguments.CAUSAL,
    masks.MASKS,
    masks.ATTENTION_COPIES,
    changed_functions.TRAINING,
    changed_functions.HARD_SIGMOID,
    structure.CALL_ARGUMENTS,
    structure.SINGLE_ENDS,
)
RULES = tuple(quirk for quirk in QUIRKS if isinstance(quirk, Rule))
CHECKS = tuple(quirk for quirk in QUIRKS if isinstance(quirk, Check))


def repair(saved: Saved) -> list[Repair]:
    """Apply every rule and check to an architecture, in place.

    Returns:
        What was needed; empty where Keras 3 reads the file as it is.

    Raises:
        SourceError: By a check, or by a rule that would have to guess.

    Example:
        >>> dense = {"class_name": "Dense", "config": {"units": 2, "batch_input_shape": [None, 3], "name": "d"}}
        >>> [item.rule for item in repair(Saved({"class_name": "Sequential", "config": [dense]}, version=(2, 0, 6)))]
        ['sequential-list', 'input-shape']
    """
    done = []
    for quirk in QUIRKS:
        if quirk.legacy and not saved.is_legacy:
            continue
        if isinstance(quirk, Check):
            quirk.refuse(saved)
        elif where := quirk.apply(saved):
            done.append(Repair(quirk.name, quirk.why, tuple(where)))
    return done


__all__ = ["CHECKS", "QUIRKS", "RULES", "Check", "Repair", "Rule", "Saved", "repair"]
