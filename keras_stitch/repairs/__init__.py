"""Files of old Keras, repaired on the way in: one small rule for each quirk, each named, reported and tested alone.

``repair`` changes the architecture, ``weights.assign`` brings the weights, ``folding`` what has to go into them.
"""

from __future__ import annotations

from keras_stitch.repairs import arguments, keras1, masks, numbers, structure
from keras_stitch.repairs.rule import Repair, Rule
from keras_stitch.repairs.saved import Saved

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
    arguments.CLASS_NAMES,
    arguments.LEFTOVERS,
    arguments.DTYPE_POLICY,
    arguments.NUMBERS_IN_ARRAYS,
    arguments.ACTIVATION_LAYERS,
    arguments.INITIALIZERS,
    arguments.CONSTRAINTS,
    arguments.INTERPOLATION,
    arguments.RANDOM_CROP,
    arguments.SINGLE_MERGE,
    arguments.CAUSAL_PADDING,
    numbers.WHOLE_NUMBERS,
    arguments.RESET_AFTER,
    arguments.CUDNN,
    arguments.RECURRENT_ACTIVATION,
    arguments.ARGUMENTS,
    arguments.TIME_MAJOR,
    arguments.RENORM,
    arguments.AXIS,
    arguments.LEAKY_RELU,
    arguments.THRESHOLDED_RELU,
    arguments.CAUSAL,
    masks.CHECK,
    masks.ATTENTION_COPIES,
    numbers.TRAINING,
    numbers.HARD_SIGMOID,
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
