"""Makes models of the steps that it is told, and says when they are there: a process of ``tf_keras`` that stays.

Each line that it reads is JSON: ``folder``, and ``steps``, each the number of one of ``operator_models.STEPS`` and of
the two tensors that it takes, of those that there are by then. It writes ``m.h5``, ``m.keras`` and ``m.npz``, and then
prints a line. Needs ``TF_USE_LEGACY_KERAS=1``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tf_keras
from operator_models import STEPS, layers


def main() -> None:
    """Makes models until there are no more lines."""
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        tf_keras.backend.clear_session()
        x = tf_keras.Input((4, 6), name="x")
        tensors = [x, layers.Dense(6)(x)]
        for step, first, second in told["steps"]:
            tensors.append(STEPS[step](tensors[first % len(tensors)], tensors[second % len(tensors)]))
        model = tf_keras.Model(x, tensors[-3:])
        given = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")
        outputs = {f"output{number}": np.asarray(array) for number, array in enumerate(model(given, training=False))}
        folder = Path(told["folder"])
        np.savez(folder / "m.npz", x=given, **outputs)
        for ending in ("h5", "keras"):
            model.save(folder / f"m.{ending}")
        print("done", flush=True)


if __name__ == "__main__":
    main()
