"""HDF5 files that hold their values themselves: what would read another file, or fill the memory, is refused.

Needs h5py only, as keras_stitch and the scripts of a workflow load this file alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5fd, h5g, h5l, h5o, h5p, h5s, h5t

FIX = "Do not use it if you do not know where it comes from; else write its values into a new file, with h5py."
# The limits of Keras 3.14: a dataset above the first may be at most so many times the bytes that are stored of it.
_LARGE, _MOST_EXPANSION = 1 << 32, 1000
# HDF5 unpacks a whole chunk to read one value of it, and a chunk may be far larger than its dataset.
_LARGE_CHUNK = 1 << 28
# Strings of a dataset that are read at once to find their lengths are at most so many bytes.
_SOME_TEXT = 1 << 26
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
    text, held = 0, file.id.get_filesize()
    for name, dataset in datasets(file):
        created, size, stored = dataset.get_create_plist(), dataset.get_type().get_size(), dataset.get_storage_size()
        parts = [("the dataset", dataset.shape or (0,), _LARGE)]
        if created.get_layout() == h5d.CHUNKED:
            parts.append(("a chunk of the dataset", created.get_chunk(), _LARGE_CHUNK))
        for part, shape, large in parts:
            declared = math.prod(shape) * size
            if declared > max(large, _MOST_EXPANSION * stored):
                raise RefusedFile(f"declares {declared:,} bytes for {part} '{name}' and holds {stored:,} of them")
        if isinstance(dataset.get_type(), h5t.TypeStringID) and dataset.get_type().is_variable_str():
            for length in _text_lengths(file, dataset):
                text += length
                if text > held:
                    raise RefusedFile(f"declares more text up to the dataset '{name}' than its {held:,} bytes can hold")


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


def _text_lengths(file: h5py.File, dataset: Any) -> Iterator[int]:
    """Yields the bytes of the strings in a dataset, some at a time.

    HDF5 stores of each string its length, in four bytes, and the place of its bytes, which may be that of others, too
    (HDF5 File Format Specification 3.0, "Global Heap").
    """
    created = dataset.get_create_plist()
    stored = np.dtype([("length", "<u4"), ("place", f"V{file.id.get_create_plist().get_sizes()[0] + 4}")])
    if created.get_layout() == h5d.CONTIGUOUS and file.id.get_access_plist().get_driver() == h5fd.SEC2:
        size, start = dataset.get_storage_size(), dataset.get_offset()
        stored_bytes = os.pread(file.id.get_vfd_handle(), size, start) if size else b""
        yield int(np.frombuffer(stored_bytes, stored)["length"].sum(dtype="u8"))
    elif created.get_layout() == h5d.CHUNKED:
        for place, raw in _raw_chunks(dataset, stored.itemsize):
            inside = tuple(slice(all - first) for all, first in zip(dataset.shape, place, strict=True))
            yield int(raw.view(stored)["length"][inside].sum(dtype="u8"))
    else:
        yield from _lengths_read(dataset, max(1, _SOME_TEXT // file.id.get_filesize()))


def _raw_chunks(dataset: Any, size: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yields the place of each chunk of a dataset and its values as they are stored, of ``size`` bytes each.

    HDF5 itself undoes the filters, in a dataset of bytes that has them, too.
    """
    places: list[tuple[int, ...]] = []
    dataset.chunk_iter(lambda chunk: places.append(chunk.chunk_offset))
    chunk, first = dataset.get_create_plist().get_chunk(), (0,) * dataset.rank
    with h5py.File("raw", "w", driver="core", backing_store=False) as memory:
        for place in places:
            left_out, stored = dataset.read_direct_chunk(place)
            name = f"{left_out}".encode()
            if name not in memory:
                space, filters = h5s.create_simple(chunk), _filters(dataset, left_out)
                h5d.create(memory.id, name, h5t.create(h5t.OPAQUE, size), space, filters)
            raw = h5d.open(memory.id, name)
            raw.write_direct_chunk(first, stored)
            values = np.empty(chunk, f"V{size}")
            raw.read(h5s.ALL, h5s.ALL, values)
            yield place, values


def _filters(dataset: Any, left_out: int) -> Any:
    """How the chunks of a dataset are stored that some of its filters, a bit each, were not applied to."""
    created, found = dataset.get_create_plist(), h5p.create(h5p.DATASET_CREATE)
    found.set_chunk(created.get_chunk())
    for number in range(created.get_nfilters()):
        if not left_out >> number & 1:
            found.set_filter(*created.get_filter(number)[:3])
    return found


def _lengths_read(dataset: Any, count: int) -> Iterator[int]:
    """Yields the bytes of each ``count`` strings in a dataset, by reading them."""
    total = math.prod(dataset.shape)
    for start in range(0, total, count):
        numbers = np.arange(start, min(total, start + count))
        space, strings = dataset.get_space(), np.empty(len(numbers), dataset.dtype)
        if dataset.shape:
            space.select_elements(np.stack(np.unravel_index(numbers, dataset.shape), axis=1))
        dataset.read(h5s.create_simple((len(numbers),)), space, strings)
        yield sum(map(len, strings))
