"""Files of SavedModels written by hand: the index of a checkpoint, and what Keras says of its layers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from keras_stitch.files import tensor_bundle
from keras_stitch.files.crc32c import masked_crc32c
from keras_stitch.files.protobuf_fields import messages, text, varint, whole_number


def rewrite_index(index: Path, change: Callable[[bytes, bytes], bytes | None]) -> None:
    """Write the index of a checkpoint anew, in one block, with other descriptions of tensors, or without some."""
    content = memoryview(index.read_bytes())
    footer, at = content[-48:], 0
    for _ in range(2):
        _, at = varint(footer, at)
    block = b""
    for _, handle in tensor_bundle._block(content, footer[at:]):
        for key, value in tensor_bundle._block(content, handle):
            if (new := change(key, bytes(value))) is None:
                continue
            block += b"\0" + number(len(key)) + number(len(new)) + key + new
    made, of_block = _with_block(b"", block)
    made, of_rest = _with_block(made, b"")
    made, of_index = _with_block(made, b"\0\1" + number(len(of_block)) + b"\xff" + of_block)
    index.write_bytes(made + (of_rest + of_index).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))


def _with_block(before: bytes, content: bytes) -> tuple[bytes, bytes]:
    """A file with a block more, and where that is."""
    content += struct.pack("<II", 0, 1)
    made = before + content + b"\0" + struct.pack("<I", masked_crc32c(content + b"\0"))
    return made, number(len(before)) + number(len(content))


def entry(dtype: int, shape: tuple[int, ...], offset: int, size: int) -> bytes:
    """The description of a tensor."""
    axes = b"".join(b"\x12" + number(len(axis)) + axis for axis in (b"\x08" + number(length) for length in shape))
    place = b"\x20" + number(offset) + b"\x28" + number(size)
    return b"\x08" + number(dtype) + b"\x12" + number(len(axes)) + axes + place


def number(value: int) -> bytes:
    """A number as protobuf has it."""
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def read_metadata(content: bytes) -> list[tuple[int, str, str]]:
    """The numbers, paths and JSON texts of the objects in a ``keras_metadata.pb``."""
    return [(whole_number(node, 2), text(node, 3), text(node, 5)) for node in messages(memoryview(content), 1)]


def written_metadata(nodes: Iterable[tuple[int, str, str]]) -> bytes:
    """The same as a file."""
    found = b""
    for at, path, said in nodes:
        node = b"\x10" + number(at)
        for key, value in ((b"\x1a", path.encode()), (b"\x2a", said.encode("utf-8", "surrogatepass"))):
            node += key + number(len(value)) + value
        found += b"\x0a" + number(len(node)) + node
    return found
