"""What runs when a SavedModel is loaded and called: refused where it reaches files, processes, networks or Python.

A SavedModel is a program of TensorFlow's operations. Most of them compute; a few read and write what they like. What
Keras and TensorFlow put there to save and restore weights is not run by whoever loads a SavedModel, and passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError, reason
from keras_stitch.files import read_files
from keras_stitch.files.read_files import LARGEST_TEXT
from keras_stitch.repairs.read_file import AGAIN
from keras_stitch.repairs.saved_objects import GRAPH

# Without the version at the end of a name, and without "Experimental" before it.
_FILES = (
    "ReadFile WriteFile MatchingFiles Save SaveSlices Restore RestoreSlice MergeV2Checkpoints DistributedSave "
    "WholeFileReader TextLineReader FixedLengthRecordReader TFRecordReader LMDBReader ReaderRead ReaderReadUpTo "
    "RecordInput TextLineDataset TFRecordDataset FixedLengthRecordDataset CSVDataset LMDBDataset SqlDataset "
    "MatchingFilesDataset DatasetToTFRecord CacheDataset SaveDataset LoadDataset SnapshotDataset "
    "SnapshotDatasetReader SnapshotNestedDatasetReader SnapshotChunkDataset ListSnapshotChunksDataset "
    "GenerateVocabRemapping LoadAndRemapMatrix InitializeTableFromTextFile FileSystemSetConfiguration "
    "CreateSummaryFileWriter CreateSummaryDbWriter SummaryWriter ImportEvent StatsAggregatorSetSummaryWriter "
    "DebugIdentity DebugNanCount DebugNumericSummary DecodeProto EncodeProto"
)
_MACHINES = (
    "Abort RemoteCall RpcCall RpcClient RpcServer Send Recv DataServiceDataset RegisterDataset BigQueryReader "
    "ConfigureDistributedTPU"
)
_PYTHON = "PyFunc PyFuncStateless EagerPyFunc"
_HIDDEN = "DatasetFromGraph GeneratorDataset"  # operations in texts
_REFUSED = frozenset([*_FILES.split(), *_MACHINES.split(), *_PYTHON.split(), *_HIDDEN.split()])
_VERSION = re.compile(r"^Experimental|V[0-9]+$")
_STARTS = ("saved_model_main_op", "legacy_init_op")  # what TensorFlow 1 names as the start of a SavedModel
_PRINTS = ("PrintV2", "output_stream", b"file:")


def check_operations(directory: Path, graphs: Sequence[Any]) -> None:
    """Refuse the graphs of a SavedModel that would do more than compute; messages name the directory.

    Raises:
        SourceError: With the operations.
    """
    found: set[str] = set()
    for meta_graph in graphs:
        for asset in meta_graph.asset_file_def:
            if Path(asset.filename).name != asset.filename:
                raise SourceError(
                    f"'{directory / GRAPH}' names a file that is not in its 'assets'.",
                    received=repr(asset.filename)[:200],
                    fix="Do not use it if you do not know where it comes from.",
                )
        # TensorFlow 2 loads objects only where there is one graph, and whole graphs as TensorFlow 1 did elsewhere.
        of_objects = len(graphs) == 1 and meta_graph.HasField("object_graph_def")
        found.update(_refused(meta_graph, of_objects=of_objects))
    if found:
        raise SourceError(
            f"'{directory}' is a SavedModel that does more than compute: it has the "
            f"operation{'s' if len(found) > 1 else ''} {', '.join(sorted(found))}.",
            expected="operations that do not touch files, processes or Python",
            fix="Do not use it if you do not know where it comes from; else save it without them, with a signature "
            "that takes numbers.",
        )


def read_graphs(directory: Path, shown: Path) -> Sequence[Any]:
    """The graphs in a SavedModel, as messages of TensorFlow; errors call the directory ``shown``.

    Raises:
        SourceError: If they cannot be read.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = shown / GRAPH
    try:
        graphs: Sequence[Any] = SavedModel.FromString(
            read_files.plain(directory / GRAPH, LARGEST_TEXT).read_bytes()
        ).meta_graphs
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}.") from error
    except Exception as error:  # protobuf's own
        raise SourceError(f"'{path}' is damaged: {reason(error)}.", fix=AGAIN) from error
    if not graphs:
        raise SourceError(f"'{path}' is damaged: it holds no graph.", fix=AGAIN)
    return graphs


def _refused(meta_graph: Any, *, of_objects: bool) -> Iterator[str]:
    functions = {found.signature.name: found.node_def for found in meta_graph.graph_def.library.function}
    if of_objects:
        # Nothing but their functions runs.
        roots: Iterable[Any] = (
            node for name in meta_graph.object_graph_def.concrete_functions for node in functions.get(name, ())
        )
    else:
        roots = _of_signatures(meta_graph)
    for node in _with_called(roots, functions):
        kind = _VERSION.sub("", node.op)
        op, attribute, start = _PRINTS
        if kind in _REFUSED or (node.op == op and node.attr[attribute].s.startswith(start)):
            yield node.op


def _with_called(nodes: Iterable[Any], functions: Mapping[str, Iterable[Any]]) -> Iterator[Any]:
    """Nodes, and those of all functions that they call or are given."""
    waiting, seen = list(nodes), set[str]()
    while waiting:
        node = waiting.pop()
        yield node
        named = [item.func.name for item in node.attr.values() if item.HasField("func")]
        named += [item.name for value in node.attr.values() for item in value.list.func]
        for name in (node.op, *named):
            if name not in seen:
                seen.add(name)
                waiting += functions.get(name, ())


def _of_signatures(meta_graph: Any) -> Iterator[Any]:
    """The nodes of a graph of TensorFlow 1 that its signatures and its start need.

    The file that weights are restored from has to be the one that is given when it is loaded.
    """
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    started = [
        name
        for key in ("saved_model_main_op", "legacy_init_op")
        for name in meta_graph.collection_def[key].node_list.value
    ]
    given = [info for signature in meta_graph.signature_def.values() for info in signature.outputs.values()]
    sparse = [
        getattr(info.coo_sparse, part) for info in given for part in ("values_tensor_name", "indices_tensor_name")
    ]
    yield from _needed([*started, *(info.name for info in given), *sparse], nodes)
    saver = meta_graph.saver_def
    for node in _needed([saver.restore_op_name], nodes):
        prefix = next(iter(node.input), "")
        if node.op != "RestoreV2" or _node_name(prefix) != _node_name(saver.filename_tensor_name):
            yield node


def _needed(tensors: Iterable[str], nodes: Mapping[str, Any]) -> Iterator[Any]:
    waiting, seen = [_node_name(tensor) for tensor in tensors], set[str]()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            waiting += map(_node_name, nodes[name].input)


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
