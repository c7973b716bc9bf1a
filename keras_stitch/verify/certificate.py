"""The certificate: what was compared when a stitched model was held against its parts, as data and as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from keras_stitch.errors import SaveError
from keras_stitch.graphs.spec import Shape, shape_text
from keras_stitch.terminal import Shown, Table
from keras_stitch.verify.equality import RULE, TOLERANCE, allowed

NOTHING = "nothing finite"


@dataclass(frozen=True)
class Check:
    """One graph output on one kind of input.

    Attributes:
        output: The graph output.
        inputs: ``"random"``, ``"example"`` (of the dataloaders) or ``"given"``.
        rows: How many.
        magnitude: The largest absolute value that the parts predict, run separately: ``max|b|``.
        before: The largest difference of the stitched model from the parts, before it is saved; ``None`` where
            nothing can be subtracted.
        after: The same after it is saved and loaded again.
        finite: How many finite values the parts predict.
        problems: What else differs: shapes, NaN or infinity in other places, an error.
    """

    output: str
    inputs: str
    rows: int
    magnitude: float
    before: float | None
    after: float | None
    finite: int
    problems: tuple[str, ...] = ()

    @property
    def allowed(self) -> float:
        """The largest difference that counts as equal."""
        return allowed(self.magnitude)

    @property
    def passed(self) -> bool:
        """Whether the predictions are equal; also true where there is no finite number, which says nothing."""
        differences = (self.before, self.after)
        return not self.problems and all(one is None or one <= self.allowed for one in differences)

    @property
    def verdict(self) -> str:
        """``"equal"``, ``"differs"`` or ``"nothing finite"``."""
        if not self.passed:
            return "differs"
        return "equal" if self.finite else NOTHING


@dataclass(frozen=True)
class CertifiedPart:
    """A submodel as it took part.

    Attributes:
        submodel: Its name.
        source: The label of its source, a file name, never a path; or its address with the commit.
        sha256: The sha256 of the file with its weights; ``None`` for a source in memory.
        beside: Name and sha256 of each file that goes with it: an architecture JSON, Python files of custom objects.
        weights: ``"of the source"``, ``"trained"`` (those of the model that was given) or ``"new"`` (a layer that
            had none).
        repairs: What was repaired when it was loaded.
    """

    submodel: str
    source: str
    sha256: str | None = None
    beside: tuple[tuple[str, str], ...] = ()
    weights: str = "of the source"
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputRange:
    """What went into a graph input, of one kind.

    Attributes:
        name: The graph input.
        inputs: ``"random"``, ``"example"`` or ``"given"``.
        shape: The shape of a row; no dimension is open.
        dtype: The dtype of the data.
        values: ``"normal"`` (mean 0, variance 1) or ``"0 to 19"`` or ``"12 texts"`` for random ones; empty for others.
    """

    name: str
    inputs: str
    shape: Shape
    dtype: str
    values: str = ""


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """A stitched model held against its parts, which ran separately, before and after it was saved and loaded.

    Attributes:
        graph: The graph's name.
        checks: One for each output and kind of input.
        parts: The submodels, in the graph's order.
        inputs: What went in.
        seed: The seed of the random inputs.
        format: The file that was loaded again: ``"keras"`` or ``"h5"``; empty for a model that is no Keras model.
        reloaded_in: ``"a fresh process"`` or ``"this process"``.
        versions: The versions of keras, its backend (tensorflow, jax or torch) and keras_stitch.
        notes: What was left out, and why.
        run_by: What ran the saved directory on its examples, with equal numbers: its own code, and Kipoi where it is
            installed; empty where no directory was saved.
        tolerance: The factor of ``RULE``.

    Example:
        >>> check = Check("score", "random", rows=10, magnitude=2.5, before=0.0, after=1e-7, finite=10)
        >>> print(Certificate("g", (check,), (CertifiedPart("m", "m.h5", "0a1b"),)))
        Certificate of graph 'g': passed
        <BLANKLINE>
        output   inputs   rows   largest value   before saving   after loading   allowed   verdict
        ──────────────────────────────────────────────────────────────────────────────────────────
        score    random   10     2.5             0               1e-07           2.5e-05   equal
        <BLANKLINE>
        submodel   source   sha256   weights
        ──────────────────────────────────────────
        m          m.h5     0a1b     of the source
        <BLANKLINE>
        Equal: |a - b| <= 1e-05 * max(1, max|b|), where b is what the submodels predict, each run separately.
        Saved as .keras and loaded again by Keras alone, in a fresh process.
    """

    graph: str
    checks: tuple[Check, ...]
    parts: tuple[CertifiedPart, ...] = ()
    inputs: tuple[InputRange, ...] = ()
    seed: int | None = None
    format: str = "keras"
    reloaded_in: str = "a fresh process"
    versions: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    run_by: tuple[str, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether all checks passed, and every output had a finite number in one of them."""
        return bool(self.checks) and all(check.passed for check in self.checks) and not self.unsaid

    @property
    def unsaid(self) -> tuple[str, ...]:
        """Outputs without a single finite number, about which equality says nothing."""
        told = {check.output for check in self.checks if check.finite}
        return tuple(dict.fromkeys(check.output for check in self.checks if check.output not in told))

    @property
    def trained(self) -> bool:
        """Whether some weights are those of a model that was trained after stitching."""
        return any(part.weights == "trained" for part in self.parts)

    def require(self) -> None:
        """Raise unless the certificate is passed.

        Raises:
            SaveError: With the first output that differs.
        """
        for check in self.checks:
            if not check.passed:
                raise SaveError(
                    f"The stitched model of graph '{self.graph}' does not predict what its parts do: the output "
                    f"'{check.output}' differs on {check.inputs} inputs.",
                    expected=f"a difference of at most {check.allowed:.3g}",
                    received="; ".join(check.problems)
                    or f"{_shown(check.before)} before saving, {_shown(check.after)} after loading again",
                    fix="Nothing was written. graph.verify() shows every output.",
                )
        for output in self.unsaid:
            raise SaveError(
                f"The output '{output}' of graph '{self.graph}' has not one finite number to compare.",
                received="NaN or infinity, or nothing, for all inputs",
                fix="Give inputs on which it is finite: examples= of save, data= of verify.",
            )

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain data, ready for JSON."""
        data = json.loads(json.dumps(asdict(self)))
        for made, check in zip(data["checks"], self.checks, strict=True):
            made |= {"allowed": check.allowed, "verdict": check.verdict}
        return {"graph": self.graph, "passed": self.passed, "rule": RULE, **data}

    def to_json(self) -> str:
        """The text of ``certificate.json``: no path and no time, so the same model gives the same keys."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @property
    def lines(self) -> tuple[str, ...]:
        """How it was compared, in sentences."""
        where = "by Keras alone, in a fresh process" if self.reloaded_in == "a fresh process" else "in this process"
        said = [
            f"Equal: {RULE}, where b is what the submodels predict, each run separately.",
            f"Saved as {f'.{self.format}' if self.format else 'a Kipoi model'} and loaded again {where}.",
        ]
        if self.trained:
            said.append(
                "Weights called trained are those of the model that was given, put into the submodel that runs "
                "separately: for these, the wiring was compared, not the source."
            )
        random = [item for item in self.inputs if item.inputs == "random"]
        drawn = [f"{item.name} {shape_text(item.shape)} {item.dtype} {item.values}" for item in random]
        if drawn:
            said.append(f"Random inputs of seed {self.seed}: {', '.join(drawn)}.")
        said += self.notes
        if self.run_by:
            said.append(f"The directory was run on its examples by {' and by '.join(self.run_by)}.")
        if self.unsaid:
            said.append(f"Not one finite number to compare in: {', '.join(self.unsaid)}.")
        if self.versions:
            said.append(", ".join(f"{name} {version}" for name, version in self.versions.items()))
        return tuple(said)

    @property
    def check_rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells of the table of checks, under ``CHECK_HEADERS``."""
        return tuple(
            (
                check.output,
                check.inputs,
                str(check.rows),
                f"{check.magnitude:.3g}",
                _shown(check.before),
                _shown(check.after),
                f"{check.allowed:.2g}",
                "; ".join([check.verdict, *check.problems]),
            )
            for check in self.checks
        )

    def _lines(self) -> list[str | Table]:
        verdict = "passed" if self.passed else "FAILED"
        headers = ["submodel", "source", "sha256", "weights", "repairs"]
        rows = []
        for part in self.parts:
            rows.append([part.submodel, part.source, part.sha256 or "-", part.weights, "; ".join(part.repairs)])
            rows += [["", name, sha256, "", ""] for name, sha256 in part.beside]
        columns = 5 if any(part.repairs for part in self.parts) else 4
        parts = Table(headers[:columns], [row[:columns] for row in rows])
        title = f"Certificate of graph '{self.graph}': {verdict}"
        return [title, "", Table(CHECK_HEADERS, self.check_rows), "", parts, "", *self.lines]


CHECK_HEADERS = ("output", "inputs", "rows", "largest value", "before saving", "after loading", "allowed", "verdict")


def _shown(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:.2g}"
