"""Small graphs, Kipoi directories and data for the tests of ``keras_stitch.kipoi``."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml

from keras_stitch.directory.save_request import SavedGraph, SaveOptions
from keras_stitch.directory.write_directory import write_directory
from keras_stitch.graphs.spec import Feed, GraphOutput, GraphSpec, Port, Source, Submodel, Tap, Wiring
from keras_stitch.kipoi.templates import template_module
from keras_stitch.placement.cut_into_stages import Stages, stage
from keras_stitch.placement.jobs import Flow


@dataclass
class Case:
    """A graph as ``write_directory`` takes it: each submodel is a Dense layer over its inputs."""

    spec: GraphSpec
    wiring: Wiring
    model: keras.Model

    @property
    def stages(self) -> Stages:
        """Everything in the stitched model."""
        return stage(self.spec, self.wiring)

    def write(self, directory: Path, **options: Any) -> Path:
        """Writes the directory; options are those of ``SavedGraph`` and ``SaveOptions``."""
        progress = options.pop("progress", None)
        asked = {name: options.pop(name) for name in list(options) if name in SaveOptions.__dataclass_fields__}
        flow = Flow(self.spec, self.wiring, self.stages.plan, self.stages)
        defaults = {"picture": "<svg xmlns='http://www.w3.org/2000/svg'/>\n", "record": f"name: {self.spec.name!r}\n"}
        graph = SavedGraph(self.spec, flow, self.model, **{**defaults, **options})
        return write_directory(directory, graph, SaveOptions(**asked), progress)


def make_case(
    name: str = "composed",
    feeds: dict[str, dict[str, str]] | None = None,
    inputs: dict[str, tuple[tuple, str]] | None = None,
    outputs: tuple[str, ...] = ("score",),
    sources: dict[str, Source] | None = None,
    scale: float = 1.0,
    with_model: bool = True,
) -> Case:
    """Builds a graph.

    Args:
        name: Of the graph.
        feeds: Submodel -> port -> the graph input that feeds it.
        inputs: Graph input -> shape and dtype.
        outputs: Graph outputs, all from the last submodel.
        sources: Sources of submodels, a file unless said otherwise.
        scale: Factor of the outputs.
        with_model: Without one where only the plan is tested.
    """
    feeds = feeds or {"model1": {"input1": "input1"}, "model3": {"input2": "input2"}}
    inputs = inputs or {"input1": ((3,), "float32"), "input2": ((6,), "float32")}
    ports = {key: Port(key, shape, dtype) for key, (shape, dtype) in inputs.items()}
    submodels, feed_map, node_outputs = [], {}, {}
    for node, taken in feeds.items():
        own = {port: Port(port, ports[source].shape, ports[source].dtype) for port, source in taken.items()}
        source = (sources or {}).get(node) or Source("file", f"{node}.keras", path=f"{node}.keras", sha256="0" * 64)
        made = tuple(Port(f"out{number}", (1,)) for number in range(len(outputs)))
        submodels.append(Submodel(node, source, tuple(own.values()), made))
        feed_map[node] = tuple(
            Feed(node, own[port], (Tap(None, source_name),), (own[port],)) for port, source_name in taken.items()
        )
        node_outputs[node] = made
    last = submodels[-1].name
    wiring = Wiring(
        name,
        tuple(feeds),
        tuple(ports.values()),
        tuple(GraphOutput(Port(output, (1,)), Tap(last, f"out{number}")) for number, output in enumerate(outputs)),
        feed_map,
        node_outputs,
    )
    model = make_model(name, inputs, outputs, scale) if with_model else None
    return Case(GraphSpec(name, tuple(submodels)), wiring, model)


def make_model(name: str, inputs: dict[str, tuple[tuple, str]], outputs: tuple[str, ...], scale: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    tensors, flat = [], []
    for key, (shape, dtype) in inputs.items():
        tensor = keras.Input(shape, dtype=dtype, name=key)
        tensors.append(tensor)
        if np.dtype(dtype).kind != "f":
            tensor = keras.layers.Embedding(4, 2)(tensor)
        if len(tensor.shape) > 2:
            tensor = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, tensor.shape[-1]))(tensor))
        flat.append(tensor)
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    heads = {
        output: keras.layers.Rescaling(scale, name=output)(keras.layers.Dense(1, name=f"{output}_dense")(joined))
        for output in outputs
    }
    return keras.Model(tensors, heads if len(outputs) > 1 else heads[outputs[0]], name="test_model")


def load_objects(file: Path) -> dict[str, Any]:
    """The custom objects in a file, as Kipoi loads them."""
    return template_module("kipoi.merging.python_files").load_object(file, "OBJECTS")


SEQUENCES = '''
    """A data set of three numbers for every line of a file."""

    import numpy as np
    from kipoi.data import Dataset

    import helper


    class Numbers(Dataset):
        def __init__(self, numbers_file, factor=1, offsets="offsets.txt"):
            self.rows = np.loadtxt(numbers_file, dtype="float32", ndmin=2) * factor
            self.offset = helper.read(offsets)

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return {
                "inputs": INPUTS,
                "targets": {},
                "metadata": {"row": str(index)},
            }
'''


def write_loader(
    folder: Path, inputs: str = "self.rows[index] + self.offset", schema: Any = None, **changes: Any
) -> Path:
    """A Kipoi directory with a dataloader that has a helper beside it and reads a file by a relative name.

    Args:
        folder: Where to.
        inputs: Python source of the inputs of a row.
        schema: Schema of the inputs.
        changes: Other entries of ``dataloader.yaml``.
    """
    folder.mkdir(parents=True)
    source = textwrap.dedent(SEQUENCES).lstrip().replace("INPUTS", inputs)
    (folder / "dataloader.py").write_text(source)
    (folder / "helper.py").write_text(
        "def read(path):\n    with open(path) as file:\n        return float(file.read())\n"
    )
    (folder / "offsets.txt").write_text(str(len(folder.name)))
    (folder / "example.tsv").write_text("\n".join(f"{row}\t{row / 2}\t{row % 2}" for row in range(5)))
    (folder / "model_files").mkdir()
    (folder / "model_files" / "big.h5").write_bytes(b"weights")
    description = {
        "type": "Dataset",
        "defined_as": "dataloader.py::Numbers",
        "args": {
            "numbers_file": {"doc": "Three numbers a line.", "type": "str", "example": "example.tsv"},
            "factor": {"doc": "They are multiplied by it.", "type": "int", "optional": True},
            "offsets": {"doc": "A number to add.", "optional": True},
        },
        "info": {"authors": [{"name": "Ada", "github": "ada"}], "doc": "Numbers.", "license": "MIT"},
        "dependencies": {"conda": ["bioconda::samtools", "numpy"], "pip": ["tqdm", "keras==2.0"]},
        "output_schema": {
            "inputs": schema or {"name": "numbers", "shape": "(3,)", "doc": "Three numbers."},
            "metadata": {"row": {"doc": "Its number.", "type": "str"}},
        },
        **changes,
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder


def write_function_loader(folder: Path, rows: int = 5) -> Path:
    """A Kipoi directory whose dataloader is a function that returns everything."""
    folder.mkdir(parents=True)
    (folder / "dataloader.py").write_text(
        "import numpy as np\n\n\ndef load(count):\n"
        '    return {"inputs": {"a": np.ones((count, 6), "float32"), "b": np.arange(count)[:, None]}}\n'
    )
    description = {
        "type": "PreloadedDataset",
        "defined_as": "dataloader.py::load",
        "args": {"count": {"doc": "Rows.", "type": "int", "example": rows}},
        "info": {"authors": [{"name": "Bob"}], "doc": "Ones.", "license": "Apache-2.0"},
        "output_schema": {"inputs": {"a": {"shape": "(6,)", "doc": "Ones."}, "b": {"shape": "(1,)", "doc": "Counts."}}},
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder


KINDS = {
    "PreloadedDataset": """
def L(count):
    return {"inputs": INPUTS(rows(0, count)), "metadata": {"id": names(0, count)}}
""",
    "Dataset": """
class L(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"inputs": INPUTS(rows(index, index + 1)[0]), "metadata": {"id": f"row{index}"}}
""",
    "BatchDataset": """
class L(BatchDataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return -(-self.count // 4)

    def __getitem__(self, index):
        return batch(index * 4, min(self.count, index * 4 + 4))
""",
    "SampleIterator": """
class L(SampleIterator):
    def __init__(self, count):
        self.count, self.index = count, -1

    def __iter__(self):
        return self

    def __next__(self):
        self.index += 1
        if self.index == self.count:
            raise StopIteration
        return {"inputs": INPUTS(rows(self.index, self.index + 1)[0]), "metadata": {"id": f"row{self.index}"}}
""",
    "SampleGenerator": """
def L(count):
    for index in range(count):
        yield {"inputs": INPUTS(rows(index, index + 1)[0]), "metadata": {"id": f"row{index}"}}
""",
    "BatchIterator": """
class L(BatchIterator):
    def __init__(self, count):
        self.count, self.start = count, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.start == self.count:
            raise StopIteration
        first, self.start = self.start, min(self.count, self.start + 3)
        return batch(first, self.start)
""",
    "BatchGenerator": """
def L(count):
    for start in range(0, count, 7):
        yield batch(start, min(count, start + 7))
""",
}


def write_kind(folder: Path, kind: str, form: str = "array", size: int = 3, rows: int = 10) -> Path:
    """A Kipoi directory with a dataloader of any of Kipoi's kinds: row i is i, i + 0.5, ... and has the id "row<i>".

    Args:
        folder: Where to.
        kind: Kipoi's kind.
        form: Of its inputs: "array", "dict" or "list".
        size: Numbers in a row.
        rows: As many as the example has.
    """
    folder.mkdir(parents=True)
    wrapped = {"array": "x", "dict": "{'x': x}", "list": "[x]"}[form]
    (folder / "dataloader.py").write_text(
        "import numpy as np\n"
        "from kipoi.data import BatchDataset, BatchIterator, Dataset, SampleIterator\n\n\n"
        "def INPUTS(x):\n"
        f"    return {wrapped}\n\n\n"
        "def rows(start, stop):\n"
        f"    return (np.arange(start, stop)[:, None] + np.arange({size}) / 2).astype('float32')\n\n\n"
        "def names(start, stop):\n"
        "    return np.array([f'row{index}' for index in range(start, stop)])\n\n\n"
        "def batch(start, stop):\n"
        "    return {'inputs': INPUTS(rows(start, stop)), 'metadata': {'id': names(start, stop)}}\n\n" + KINDS[kind]
    )
    array = {"shape": f"({size},)", "doc": "Numbers."}
    schema = {"array": {"name": "x", **array}, "dict": {"x": array}, "list": [{"name": "x", **array}]}[form]
    description = {
        "type": kind,
        "defined_as": "dataloader.py::L",
        "args": {"count": {"doc": "How many rows.", "type": "int", "example": rows}},
        "info": {"authors": [{"name": "Ada"}], "doc": "Numbers.", "license": "MIT"},
        "output_schema": {"inputs": schema, "metadata": {"id": {"doc": "Name of the row.", "type": "str"}}},
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder


def change_yaml(folder: Path, **changes: Any) -> None:
    """Changes entries of a ``dataloader.yaml``."""
    file = folder / "dataloader.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))
