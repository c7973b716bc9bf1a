"""Files of old Keras, repaired on the way in: one small rule for each quirk, each named, reported and tested alone.

``repair`` changes the architecture, ``weights.assign`` brings the weights, ``folding`` what has to go into them.
"""

from __future__ import annotations

from keras_stitch.repairs import changed_functions, keras1, layer_arguments, masks, structure
from keras_stitch.repairs.architecture import Saved
from keras_stitch.repairs.rule import Repair, Rule

# In the order in which they are applied: first what the others need to find their way.
RULES: tuple[Rule, ...] = (
    structure.SEQUENTIAL_LIST,
    keras1.CLASS_NAMES,
    keras1.MERGE_LAYERS,
    structure.LAYER_NAMES,
    structure.MASK_OPERATIONS,
    structure.NESTED_CALLS,
    structure.INPUT_SHAPE,
    keras1.ARGUMENTS,
    layer_arguments.CLASS_NAMES,
    layer_arguments.LEFTOVERS,
    layer_arguments.DTYPE_POLICY,
    layer_arguments.NUMBERS_IN_ARRAYS,
    layer_arguments.ACTIVATION_LAYERS,
    layer_arguments.INITIALIZERS,
    layer_arguments.CONSTRAINTS,
    layer_arguments.INTERPOLATION,
    layer_arguments.RANDOM_CROP,
    layer_arguments.SINGLE_MERGE,
    layer_arguments.CAUSAL_PADDING,
    changed_functions.WHOLE_NUMBERS,
    layer_arguments.RESET_AFTER,
    layer_arguments.CUDNN,
    layer_arguments.RECURRENT_ACTIVATION,
    layer_arguments.ARGUMENTS,
    layer_arguments.TIME_MAJOR,
    layer_arguments.RENORM,
    layer_arguments.AXIS,
    layer_arguments.LEAKY_RELU,
    layer_arguments.THRESHOLDED_RELU,
    layer_arguments.CAUSAL,
    masks.CHECK,
    masks.ATTENTION_COPIES,
    changed_functions.TRAINING,
    changed_functions.HARD_SIGMOID,
    structure.CALL_ARGUMENTS,
    structure.SINGLE_ENDS,
)


def repair(saved: Saved) -> list[Repair]:
    """Apply every rule to an architecture, in place.

    Returns:
        What was needed; empty where Keras 3 reads the file as it is.

    Raises:
        SourceError: By a rule that would have to guess.

    Example:
        >>> dense = {"class_name": "Dense", "config": {"units": 2, "batch_input_shape": [None, 3], "name": "d"}}
        >>> [item.rule for item in repair(Saved({"class_name": "Sequential", "config": [dense]}, version=(2, 0, 6)))]
        ['sequential-list', 'input-shape']
    """
    done = []
    for rule in RULES:
        if saved.is_legacy or not rule.legacy:
            where = rule.apply(saved)
            if where:
                done.append(Repair(rule.name, rule.why, tuple(where)))
    return done


__all__ = ["RULES", "Repair", "Rule", "Saved", "repair"]
