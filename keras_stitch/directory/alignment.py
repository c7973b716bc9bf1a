"""By what the rows of a component are compared and joined: ids and genomic ranges in its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_stitch.errors import StitchError, nearest
from keras_stitch.kipoi.component import Component
from keras_stitch.kipoi.dataloader import Dataloader

RANGES = "GenomicRanges"


TARGETS = "targets"


_KEYS = {"ids": "id", "ranges": "ranges"}


# What kipoiseq's sequence dataloaders resize ranges by.
_KIPOISEQ, _RESIZED_BY = "kipoiseq.", "auto_resize_len"


Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Alignment:
    """How rows of a part find those of the others.

    Attributes:
        ids: Keys that lead to the name of a row in its metadata; ``None`` where rows have none, or it is not compared.
        ranges: Keys that lead to the genomic range of a row.
        resized_by: The argument that makes all ranges as long as it says, around their centres.
        align_on: ``"ids"`` or ``"ranges"``, where rows are looked up; ``None`` where row i belongs to row i.
        missing: ``"error"`` or ``"inner"``, of rows that are not in all parts.
        known: False for a file, which says only when it is read whether its rows have names.
        compared: Whether its rows are compared at all.
    """

    ids: Path | None = None
    ranges: Path | None = None
    resized_by: str | None = None
    align_on: str | None = None
    missing: str = "error"
    known: bool = True
    compared: bool = True

    @property
    def compared_by(self) -> str:
        """What its rows are compared by, for people."""
        if not self.compared:
            return "number only, as was asked for"
        kinds = [kind for kind in ("ids", "ranges") if getattr(self, kind) is not None]
        return " and ".join(kinds) if kinds else "number" if self.known else "number, or names in the file"

    def can_provide(self, kind: str) -> bool:
        """Whether rows of others can be looked up by its keys."""
        return self.compared and (not self.known or getattr(self, kind) is not None)


def file_alignment(dataloader: Dataloader) -> Alignment:
    """What the rows of a file are compared by, and whether they are looked up.

    Raises:
        StitchError: When ``align_on`` is not a field of a file.
    """
    on = dataloader.align_on
    kind = next((kind for kind, own in _KEYS.items() if own == on), None)
    if on and kind is None:
        raise StitchError(
            f"align_on= of the file '{dataloader.source}' is no field of it.",
            expected="'id' or 'ranges'",
            received=repr(on),
        )
    return Alignment(align_on=kind, missing=dataloader.missing, known=False, compared=on is not False)


def alignment_of(component: Component, dataloader: Dataloader) -> Alignment:
    """What the rows of a component are compared by, and whether they are looked up.

    Raises:
        StitchError: When ``align_on`` is not a field of its metadata.
    """
    on, missing = dataloader.align_on, dataloader.missing
    if on is False:
        return Alignment(compared=False)
    fields = dict(_fields(component.metadata))
    ranges = next((path for path, kind in fields.items() if kind == RANGES), None)
    # The ids of ranges are often only numbers of rows.
    ids: Path | None = ("id",) if "id" in component.metadata and () not in fields else None
    if ids is None:
        # As in a directory that was generated; there, names that may be numbers of rows have no type.
        nested = (path for path, kind in fields.items() if len(path) > 1 and path[-1] == "id" and kind == "str")
        ids = next(nested, None)
    resized_by = _resized_by(component, ranges)
    if on is None:
        return Alignment(ids, ranges, resized_by, None, missing)
    path: Path = tuple(int(key) if key.isdigit() else key for key in on.split("."))
    if fields.get(path) == RANGES:
        return Alignment(ids, path, resized_by, "ranges", missing)
    # A range is a leaf of the schema, but has fields of its own.
    if path not in fields and not (path[-1] == "id" and fields.get(path[:-1]) == RANGES):
        known = [".".join(map(str, path)) for path in fields]
        raise StitchError(
            f"The metadata of the dataloader '{component.label}' has no field '{on}' to look rows up by.",
            expected=nearest(on, known) if known else "a dataloader with metadata",
        )
    return Alignment(path, ranges, resized_by, "ids", missing)


def check_joins(alignments: Mapping[str, Alignment], in_order: Sequence[str]) -> dict[str, Alignment]:
    """Checks that the rows of every part that is looked up can be; those of parts ``in_order`` cannot.

    Returns:
        The same; where every part is looked up, the first one's rows give the order.

    Raises:
        StitchError: When a part cannot be read anywhere, or no other has the kind of key.
    """
    found = dict(alignments)
    if all(alignment.align_on for alignment in found.values()):
        first = next((name for name in found if name in in_order), next(iter(found)))
        found[first] = replace(found[first], align_on=None, missing="error")
    base = {name: alignment for name, alignment in found.items() if not alignment.align_on}
    for name, alignment in found.items():
        if not alignment.align_on:
            continue
        if name in in_order:
            raise StitchError(
                f"The rows of '{name}' cannot be looked up, as its dataloader goes from the first row to the last.",
                expected="a Dataset, a PreloadedDataset, a BatchDataset, or a file",
                fix="Leave out its align_on=, and let the rows of the others be looked up.",
            )
        # Targets may be missing, as for predictions.
        others = {other: item for other, item in base.items() if other != TARGETS} or base
        if not any(other.can_provide(alignment.align_on) for other in others.values()):
            raise StitchError(
                f"The rows of '{name}' are to be looked up by their {alignment.align_on}, but no other part has any.",
                expected=f"metadata with {_KEYS[alignment.align_on]!r}"
                + (f", or a field of type {RANGES}" if alignment.align_on == "ranges" else ""),
                received=", ".join(f"{other} has {item.compared_by}" for other, item in others.items()),
            )
    return found


def _resized_by(component: Component, ranges: Path | None) -> str | None:
    """The argument that resizes the ranges: of kipoiseq, also as a part of a generated directory."""
    if not ranges:
        return None
    name = _RESIZED_BY if component.object.startswith(_KIPOISEQ) else f"{ranges[0]}_{_RESIZED_BY}"
    return name if any(argument.name == name and argument.exposed for argument in component.arguments) else None


def _fields(metadata: Any, path: Path = ()) -> Iterator[tuple[Path, str | None]]:
    """The keys that lead to each field of metadata, and its type where one is stated."""
    if isinstance(metadata, Mapping) and isinstance(metadata.get("doc"), str):
        yield path, metadata.get("type")
        return
    for key, item in metadata.items() if isinstance(metadata, Mapping) else enumerate(metadata):
        yield from _fields(item, (*path, key))
