"""What is in a graph or a submodel, as data and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_stitch.graphs.freezing import FROZEN
from keras_stitch.graphs.spec import FRAMEWORKS, GraphSpec, Port, Submodel, Wiring, shape_text
from keras_stitch.placement.plan import Plan
from keras_stitch.terminal import Shown, Table, render


@dataclass(frozen=True)
class Row:
    """One submodel of a graph; its source is a file name or a layer's class.

    Attributes:
        frozen: ``"yes"``, ``"partly"`` or ``"no"``.
        parameters: Number of weights; shared ones count at their owner. ``None`` where Keras does not know.
        inputs: Input ports with the shapes that arrive.
    """

    submodel: str
    source: str
    placement: str
    frozen: str
    parameters: int | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """The submodels of a graph, its inputs and its outputs; ``print`` shows tables.

    Attributes:
        notes: What else there is to know about the graph, in sentences.
    """

    name: str
    rows: tuple[Row, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _lines(self) -> list[str | Table]:
        headers = ["submodel", "source", "placement", "frozen", "parameters", "inputs", "outputs"]
        cells = [
            [
                row.submodel,
                row.source,
                row.placement,
                row.frozen,
                "-" if row.parameters is None else f"{row.parameters:,}",
                ports_cell(row.inputs),
                ports_cell(row.outputs),
            ]
            for row in self.rows
        ]
        ends = [("input", port.name, shape_text(port.shape), port.dtype or "") for port in self.inputs]
        ends += [("output", port.name, shape_text(port.shape), port.dtype or "") for port in self.outputs]
        lines: list[str | Table] = [f"Graph '{self.name}'", "", Table(headers, cells), ""]
        lines.append(Table(("graph", "name", "shape", "dtype"), ends))
        repairs = [f"{row.submodel} {repaired_text(row.repairs)}" for row in self.rows if row.repairs]
        for more in (*repairs, *self.notes):
            lines += ["", more]
        return lines


def summarise(
    spec: GraphSpec, wiring: Wiring, plan: Plan, frozen: Mapping[str, str], notes: tuple[str, ...] = ()
) -> Summary:
    """Collect the summary of a checked graph."""
    return Summary(
        spec.name,
        tuple(_row(submodel, wiring, plan, frozen) for submodel in spec.submodels),
        wiring.inputs,
        tuple(output.port for output in wiring.outputs),
        (*notes, *_order_of_lists([output.port.name for output in wiring.outputs])),
    )


def _order_of_lists(outputs: Sequence[str]) -> tuple[str, ...]:
    """What there is to know where Keras would take lists in another order than that of the outputs."""
    order = sorted(outputs)
    text = f"Targets, losses and weights go by name: Keras would take a list in the order {', '.join(order)}."
    return () if order == list(outputs) else (text,)


def _row(submodel: Submodel, wiring: Wiring, plan: Plan, frozen: Mapping[str, str]) -> Row:
    return Row(
        submodel.name,
        f"shares {submodel.share}" if submodel.share else submodel.source.label,
        plan[submodel.name].placement,
        FROZEN[frozen[submodel.name]],
        None if not submodel.is_keras or submodel.elsewhere else 0 if submodel.share else submodel.parameters,
        tuple(feed.port for feed in wiring.feeds[submodel.name]),
        tuple(wiring.node_outputs[submodel.name]),
        () if submodel.share else submodel.repairs,
    )


def repaired_text(repairs: Sequence[str]) -> str:
    """What was repaired, a line each."""
    return "repaired:" + ("".join(f"\n  {repair}" for repair in repairs) or " nothing")


def describe(submodel: Submodel, title: str, about: str = "") -> str:
    """The ports of a loaded submodel as tables, with the layers and repairs of a Keras model, below a title.

    ``about`` is what a model of another framework says about itself.
    """
    ends = render(
        ("port", "name", "shape", "dtype"),
        [
            (kind, port.name + (" (generated)" if port.generated else ""), shape_text(port.shape), str(port.dtype))
            for kind, ports in (("input", submodel.inputs), ("output", submodel.outputs))
            for port in ports
        ],
    )
    head = f"{title}\nsha256 {submodel.source.sha256}"
    if not submodel.is_keras:
        runs = f"{FRAMEWORKS[submodel.framework]}, which runs in the dataloader"
        return "\n".join([head, *([about] if about else []), runs, "", ends, ""])
    layers = render(
        ("layer", "class", "parameters", "trainable"),
        [
            (info.path, info.class_name, f"{info.parameters:,}", "yes" if info.trainable else "no")
            for info in submodel.layers
        ],
    )
    return f"{head}\n{submodel.parameters:,} parameters\n{repaired_text(submodel.repairs)}\n\n{ends}\n\n{layers}\n"


def ports_cell(ports: Sequence[Port]) -> str:
    """Ports as a table shows them: ``input1 (3,), mask (None, 1) int32``; float32 goes without saying."""
    return ", ".join(
        f"{port.name} {shape_text(port.shape)}" + (f" {port.dtype}" if port.dtype not in ("float32", None) else "")
        for port in ports
    )
