"""What a user says about one component dataloader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_stitch.errors import StitchError

SOURCES = (
    "a Kipoi directory, a name such as 'kipoi:DeepSEA/predict', an import path such as "
    "'kipoiseq.dataloaders.SeqIntervalDl', or a dataloader class"
)


@dataclass(frozen=True)
class Dataloader:
    """One component dataloader, with what is special about it.

    Required arguments that have the same name in several dataloaders are one argument of the merged dataloader, so
    that all of them read the same ``fasta_file``; ``args`` gives one of them a value of its own. Optional arguments
    stay apart: their names start with that of the submodel or input.

    Args:
        source: A Kipoi directory, a name in a source that Kipoi knows (``"kipoi:DeepSEA/predict"``), an import path
            such as ``"kipoiseq.dataloaders.SeqIntervalDl"`` or a Kipoi dataloader class. Random access is needed:
            Kipoi's ``Dataset`` or ``PreloadedDataset``. Files beside the one of a directory are imported at its top,
            not within functions.
        outputs: Which field of the loader feeds which graph input, or inputs. Without it a single array feeds the
            one input it stands for, and the fields of a dict or list go by name: that of the graph input, or of the
            port that it feeds.
        args: New defaults for arguments of the loader. A required argument that is given here becomes optional, and
            an example that the loader has for it is dropped. A path of an existing file is copied into the directory.

    Example:
        >>> Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": 101}).args
        {'auto_resize_len': 101}
    """

    source: str | os.PathLike[str] | type
    outputs: Mapping[str, str | Sequence[str]] | None = None
    args: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | os.PathLike | type):
            raise StitchError(
                "ks.Dataloader(...) takes the source of a dataloader.",
                expected=SOURCES,
                received=repr(self.source)[:200],
            )
        outputs = mapping_of(self.outputs, "outputs= of a ks.Dataloader", "{field of the loader: graph input}")
        mapping_of(self.args, "args= of a ks.Dataloader", "{argument: value}")
        for field, inputs in outputs.items():
            if not all(isinstance(name, str) for name in ([inputs] if isinstance(inputs, str) else _listed(inputs))):
                raise StitchError(
                    f"outputs= of a ks.Dataloader does not say which graph input the field '{field}' feeds.",
                    expected="the name of a graph input, or a list of names",
                    received=repr(inputs)[:200],
                )


def dataloader_of(key: str, value: Any) -> Dataloader:
    """What the user named for a graph input or submodel, as a ``Dataloader``.

    Raises:
        StitchError: When it is none.
    """
    if isinstance(value, Dataloader):
        return value
    if not isinstance(value, str | os.PathLike | type):
        raise StitchError(
            f"dataloaders={{{key!r}: ...}} is no dataloader.",
            expected=f"a ks.Dataloader, {SOURCES}",
            received=repr(value)[:200],
        )
    return Dataloader(value)


def mapping_of(given: Any, what: str, expected: str) -> dict[str, Any]:
    """A mapping from names that a user gave; empty for ``None``.

    Args:
        given: The mapping.
        what: What messages call it.
        expected: What it should look like.

    Raises:
        StitchError: When it is no mapping from names.

    Example:
        >>> mapping_of(None, "examples=", "{argument: file or value}")
        {}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise StitchError(f"{what} is not a mapping from names.", expected=expected, received=repr(given)[:200])
    return dict(given)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) and value else [None]
