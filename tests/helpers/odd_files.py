"""Files that read other files, or that would fill the memory: HDF5, NPZ and archives of Keras."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SECRET = np.arange(64, dtype="float32")


def put_outside(file: h5py.File, name: str, kind: str, secret: Path) -> None:
    """Replace a dataset by one of the same shape whose values lie in another file, in one of the ways of HDF5."""
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    if kind == "external storage":
        secret.write_bytes(SECRET.tobytes())
        file.create_dataset(name, shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        return
    with h5py.File(secret, "w") as other:
        other["values"] = np.resize(SECRET, shape).astype(dtype)
    if kind == "external link":
        file[name] = h5py.ExternalLink(str(secret), "values")
    elif kind == "external link behind a soft link":
        file["aside"] = h5py.ExternalLink(str(secret), "/")
        file[name] = h5py.SoftLink("/aside/values")
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(secret), "values", shape)
        file.create_virtual_dataset(name, layout)


OUTSIDE = ("external storage", "external link", "external link behind a soft link", "virtual dataset")


def zeros(file: h5py.File, name: str, blocks: int) -> None:
    """Replace a dataset by blocks of 32 MiB of zeros each, which take a few kilobytes."""
    rows = 1 << 20
    if name in file:
        del file[name]
    dataset = file.create_dataset(name, (rows * blocks, 8), "f4", chunks=(rows, 8), compression="gzip")
    block = zlib.compress(bytes(rows * 32))
    for number in range(blocks):
        dataset.id.write_direct_chunk((number * rows, 0), block)


def changed(source: Path, folder: Path, change: Callable[[h5py.File], object]) -> Path:
    """A copy of a model in another folder, with changes of its HDF5 file or of that in its archive."""
    if source.suffix == ".keras":
        return with_weights(source, folder / source.name, change)
    path = folder / source.name
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def members(archive: Path) -> dict[str, bytes]:
    """What is in an archive."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write_archive(path: Path, content: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> Path:
    """An archive of some members; ``more`` have their kinds and compression."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        for info, data in more:
            archive.writestr(info, data)
    return path


def member(name: str, mode: int = 0, *, compressed: bool = False) -> zipfile.ZipInfo:
    """A member with a Unix mode."""
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr = name, mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return info


def with_weights(archive: Path, path: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy of a ``.keras`` file in whose weights something is changed."""
    content = members(archive)
    buffer = io.BytesIO(content["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return write_archive(path, {**content, "model.weights.h5": buffer.getvalue()})


def with_config(source: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a saved model in whose architecture something is changed."""
    if source.suffix == ".keras":
        content = members(source)
        config = json.loads(content["config.json"])
        change(config)
        return write_archive(path, {**content, "config.json": json.dumps(config).encode()})
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def restate(archive: Path, path: Path, name: str, field: str, value: int) -> Path:
    """A copy of an archive whose directory says something else of a member: its sizes, or where it begins."""
    data, wanted = bytearray(archive.read_bytes()), name.encode()
    at = data.index(b"PK\x01\x02")
    while data[at + 46 : at + 46 + len(wanted)] != wanted:
        at = data.index(b"PK\x01\x02", at + 4)
    struct.pack_into("<I", data, at + {"stored": 20, "size": 24, "start": 42}[field], value)
    path.write_bytes(data)
    return path


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """The bytes of an NPY file that declares a shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data
