"""The user's description of one component dataloader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keras_stitch.checks import mapping_of
from keras_stitch.errors import StitchError
from keras_stitch.files.read_files import is_file
from keras_stitch.kipoi import table_files

POLICIES = ("error", "inner")


@dataclass(frozen=True)
class Dataloader:
    """One component dataloader, with its options.

    Required arguments of the same name in several dataloaders become one argument of the merged dataloader, so that
    all of them read the same ``fasta_file``. Optional arguments stay separate: their names start with that of the
    submodel or input. ``share``, ``separate`` and ``args`` change this.

    Row i of the inputs is row i of every part. Ids and genomic ranges in the metadata of the parts are compared in
    every batch; ``align_on`` looks rows up by them instead.

    Args:
        source: A Kipoi directory, a name in a Kipoi source (``"kipoi:DeepSEA/predict"``), an import path such as
            ``"kipoiseq.dataloaders.SeqIntervalDl"``, or a Kipoi dataloader class of any kind. Or a table file with one
            row for each row of data, which becomes the example. The dataloader of a directory must import the files
            beside it at the top of its module, not within functions.
        outputs: The graph input, or inputs, that each field of the dataloader feeds. By default, a single array feeds
            the input that the dataloader is given for. The fields of a dict or list feed the graph inputs, or ports,
            of the same name.
        args: New defaults for arguments of the dataloader. A required argument becomes optional, and its example is
            dropped. A file that is given by its path is copied into the directory.
        align_on: The field of the metadata by which rows are looked up, for another order or missing rows: ``"id"``,
            ``"ranges"`` or ``"ranges.id"``. The part needs random access, and another part needs the same kind of
            field. ``False``: rows are only counted, not compared by any field.
        missing: What happens to rows that some parts lack, with ``align_on``: ``"error"``, or ``"inner"`` to leave
            them out.
        share: Optional arguments to share with other dataloaders that have an argument of the same name.
        separate: Required arguments not to share.
        in_order: Whether to read from the first row to the last in spite of random access; needed for a Kipoi
            ``BatchDataset`` whose batches differ in size.

    Raises:
        StitchError: If an argument is invalid.

    Example:
        >>> Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": 101}).args
        {'auto_resize_len': 101}
    """

    source: str | os.PathLike[str] | type
    outputs: Mapping[str, str | Sequence[str]] | None = None
    args: Mapping[str, Any] | None = None
    align_on: str | Literal[False] | None = None
    missing: str = "error"
    share: str | Sequence[str] | None = None
    separate: str | Sequence[str] | None = None
    in_order: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | os.PathLike | type):
            raise StitchError(
                "ks.Dataloader(...) takes the source of a dataloader.",
                expected=sources(),
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
        is_field = isinstance(self.align_on, str) and all(self.align_on.split("."))
        if not (self.align_on is None or self.align_on is False or is_field):
            raise StitchError(
                "align_on= of a ks.Dataloader is no field of the metadata.",
                expected="a name such as 'id', 'ranges' or 'ranges.id'; False to compare nothing",
                received=repr(self.align_on)[:200],
            )
        if self.missing not in POLICIES:
            raise StitchError(
                "missing= of a ks.Dataloader says what happens to rows that are not in all parts.",
                expected=" or ".join(map(repr, POLICIES)),
                received=repr(self.missing)[:200],
            )
        if self.missing != "error" and not self.align_on:
            raise StitchError(
                "missing= of a ks.Dataloader has no meaning without align_on=: only rows that are looked up can be "
                "left out.",
                fix="Name the field too, such as align_on='id'.",
            )
        for what, names in (("share", self.share), ("separate", self.separate)):
            if not all(isinstance(name, str) for name in named(names)):
                raise StitchError(
                    f"{what}= of a ks.Dataloader does not name arguments.",
                    expected="a name, or a list of names",
                    received=repr(names)[:200],
                )
        if both := set(named(self.share)) & set(named(self.separate)):
            raise StitchError(f"ks.Dataloader(...) both shares and separates the argument '{min(both)}'.")
        if not isinstance(self.in_order, bool):
            raise StitchError("in_order= of a ks.Dataloader is True or False.", received=repr(self.in_order)[:200])

    @property
    def table(self) -> Path | None:
        """The path of the table, if the source is a table file."""
        if isinstance(self.source, str | os.PathLike) and is_file(self.source):
            return Path(self.source).resolve()
        return None


def sources() -> str:
    """What the source of a dataloader can be, for messages."""
    return (
        "a Kipoi directory, a name such as 'kipoi:DeepSEA/predict', an import path such as "
        f"'kipoiseq.dataloaders.SeqIntervalDl', a dataloader class, or an {table_files.listed()} file"
    )


def dataloader_of(key: str, value: Any, what: str | None = None) -> Dataloader:
    """What the user named for a graph input or submodel, as a ``Dataloader``; ``what`` is for messages."""
    if isinstance(value, Dataloader):
        return value
    if not isinstance(value, str | os.PathLike | type):
        raise StitchError(
            f"{what or f'dataloaders={{{key!r}: ...}}'} is no dataloader.",
            expected=f"a ks.Dataloader, {sources()}",
            received=repr(value)[:200],
        )
    return Dataloader(value)


def named(value: Any) -> Sequence[Any]:
    """Names that a user gave: one, a list, or none."""
    return [] if value is None else [value] if isinstance(value, str) else _listed(value)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) and value else [None]
