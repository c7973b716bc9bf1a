"""HDF5 files that hold their values themselves: what would read another file, or fill the memory, is refused.

Needs h5py only, as keras_stitch and the scripts of a workflow load this file alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o

FIX = "Do not use it if you do not know where it comes from; else write its values into a new file, with h5py."
# The limits of Keras 3.14: a dataset above the first may be at most so many times the bytes that are stored of it.
_LARGE, _MOST_EXPANSION = 1 << 32, 1000
# HDF5 unpacks a whole chunk to read one value of it, and a chunk may be far larger than its dataset.
_LARGE_CHUNK = 1 << 28
_SHOWN = 200  # characters of a name in a message


class RefusedFile(ValueError):
    """An HDF5 file that must not be read; the message goes on after the name of the file."""


def opened(path: str) -> h5py.File:
    """Returns an HDF5 file, open for reading; one that does not hold all of its values is an error."""
    file = h5py.File(path, "r")
    try:
        check(file)
    except BaseException:
        file.close()
        raise
    return file


def check(file: h5py.File) -> None:
    """Raises an error if an open file has values that lie outside of it, or a dataset that could fill the memory."""
    for name, dataset in datasets(file):
        created, size, stored = dataset.get_create_plist(), dataset.get_type().get_size(), dataset.get_storage_size()
        parts = [("the dataset", dataset.shape or (0,), _LARGE)]
        if created.get_layout() == h5d.CHUNKED:
            parts.append(("a chunk of the dataset", created.get_chunk(), _LARGE_CHUNK))
        for part, shape, large in parts:
            declared = math.prod(shape) * size
            if declared > max(large, _MOST_EXPANSION * stored):
                raise RefusedFile(f"declares {declared:,} bytes for {part} '{name}' and holds {stored:,} of them")


def datasets(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yields name and identifier of every dataset in an open file once; what lies in other files is an error.

    Groups may hold each other, and be nested more deeply than functions may call themselves.
    """
    root = h5g.open(file.id, b"/")
    waiting, seen = [("", root)], {h5o.get_info(root).addr}
    while waiting:
        above, group = waiting.pop()
        for link, kind in _links(group):
            name = f"{above}/{link.decode(errors='replace')}"
            if kind == h5l.TYPE_SOFT:  # what it leads to has a name of its own here, or is behind another link
                continue
            if kind != h5l.TYPE_HARD:
                raise RefusedFile(_of_link(group, link, kind, name))
            item = h5o.open(group, link)
            known = h5o.get_info(item)
            if known.addr in seen:
                if known.rc < 2:
                    raise RefusedFile(f"is damaged: it holds '{name[:_SHOWN]}' at several places, and counts one")
                continue
            seen.add(known.addr)
            if isinstance(item, h5g.GroupID):
                waiting.append((name, item))
            elif isinstance(item, h5d.DatasetID):
                _check_storage(item, name[:_SHOWN])
                yield name, item


def _links(group: Any) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    if len(group):
        group.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
    return found


def _of_link(group: Any, link: bytes, kind: int, name: str) -> str:
    if kind != h5l.TYPE_EXTERNAL:
        return f"has a link that only a plug-in can follow, '{name[:_SHOWN]}'"
    file, target = (part.decode(errors="replace")[:_SHOWN] for part in group.links.get_val(link))
    return f"does not hold '{name[:_SHOWN]}' itself: it is a link to '{target}' in the file '{file}'"


def _check_storage(dataset: Any, name: str) -> None:
    """Raises an error if the values of a dataset lie in other files."""
    created = dataset.get_create_plist()
    if created.get_layout() == h5d.VIRTUAL:
        files = [created.get_virtual_filename(number) for number in range(min(3, created.get_virtual_count()))]
    else:
        files = [created.get_external(number)[0] for number in range(min(3, created.get_external_count()))]
    if files or created.get_layout() == h5d.VIRTUAL:
        shown = ", ".join(f"'{file.decode(errors='replace') if isinstance(file, bytes) else file}'" for file in files)
        where = f"they lie in the file {shown[:_SHOWN]}" if files else "it is a virtual dataset"
        raise RefusedFile(f"does not hold the values of the dataset '{name}' itself: {where}")
