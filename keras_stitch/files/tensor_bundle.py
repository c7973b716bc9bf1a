"""TensorFlow's checkpoints, ``variables.index`` with ``variables.data-00000-of-00001``, as arrays: no TensorFlow here.

The index is a sorted table of LevelDB (https://github.com/google/leveldb/blob/main/doc/table_format.md) from keys to
descriptions of tensors, which say where their bytes are in the other files. TensorFlow's own reader ends the process
where such a description is odd, so that files of strangers are read here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.files import read_files
from keras_stitch.files.crc32c import masked_crc32c
from keras_stitch.files.protobuf_fields import BadProtobuf, fields, first, messages, varint, whole_number

_FOOTER, _MAGIC = 48, bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # bytes behind a block: its kind and its checksum
_LARGEST_INDEX, _MOST_OF_KEYS, _MOST_AXES = 1 << 28, 1 << 26, 32
_MOST_NUMBERS_BITS = 48  # of the number of numbers in a tensor
_STRING = 7
# The numbers of TensorFlow's dtypes; it has others for what is no weight. NumPy knows bfloat16 once Keras is imported.
_DTYPES = {
    **{1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool"},
    **{14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64"},
}


@dataclass(frozen=True)
class _Entry:
    """Where a tensor is; ``dtype`` is the number that TensorFlow gives it."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool


class TensorBundle:
    """The tensors of a checkpoint, by their keys.

    Args:
        prefix: The path of its files without their endings, ``variables/variables``.

    Raises:
        SourceError: If the index is damaged, or describes more than the other files hold.
    """

    def __init__(self, prefix: Path):
        self._prefix = prefix
        self._index = prefix.with_name(f"{prefix.name}.index")
        try:
            content = memoryview(read_files.plain(self._index, _LARGEST_INDEX).read_bytes())
            header, self._entries = _read_index(content)
            self._shards, order = whole_number(header, 1), whole_number(header, 2)
        except OSError as error:
            raise SourceError(f"'{self._index}' cannot be read: {error.strerror}.") from error
        except BadProtobuf as error:
            raise self._damaged(str(error)) from error
        if order:
            raise self._damaged("its numbers are big-endian")
        self._check_places()

    @property
    def keys(self) -> list[str]:
        """The keys of all tensors, sorted."""
        return list(self._entries)

    @property
    def size(self) -> int:
        """How many bytes all tensors have."""
        return sum(entry.size for entry in self._entries.values())

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._entry(key).shape

    def array(self, key: str) -> np.ndarray:
        """The numbers of a tensor.

        Raises:
            SourceError: If there is no such tensor, or it is damaged or none of numbers.
        """
        entry = self._entry(key)
        if entry.dtype not in _DTYPES or entry.is_sliced:
            raise SourceError(
                f"'{self._index}' has something else than one array of real numbers as '{key}'.",
                received="a tensor in slices" if entry.is_sliced else f"TensorFlow's dtype number {entry.dtype}",
            )
        dtype = np.dtype(_DTYPES[entry.dtype])
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise self._damaged(f"'{key}' of shape {entry.shape} and {dtype} has {entry.size:,} bytes")
        content = self._content(key, entry)
        if masked_crc32c(content) != entry.checksum:
            raise self._damaged(f"the checksum of '{key}' is not that of its bytes")
        return np.frombuffer(content, dtype).reshape(entry.shape) if content else np.zeros(entry.shape, dtype)

    def text(self, key: str) -> bytes:
        """The bytes of a tensor that is a single text.

        Raises:
            SourceError: If there is no such tensor, or it is damaged or something else.
        """
        entry = self._entry(key)
        if entry.dtype != _STRING or entry.shape or entry.is_sliced:
            raise self._damaged(f"'{key}' is not a text")
        content = memoryview(self._content(key, entry))
        try:
            length, start = varint(content, 0)
        except BadProtobuf as error:
            raise self._damaged(f"'{key}': {error}") from error
        start += 4  # the checksum of the length
        if length != len(content) - start:
            raise self._damaged(f"'{key}' is cut off")
        return bytes(content[start:])

    def _entry(self, key: str) -> _Entry:
        if key not in self._entries:
            raise self._damaged(f"it has no tensor '{key}'")
        return self._entries[key]

    def _content(self, key: str, entry: _Entry) -> bytes:
        if not entry.size:  # wherever it is said to be
            return b""
        try:
            with self._shard(entry.shard).open("rb") as file:
                file.seek(entry.offset)
                content = file.read(entry.size)
        except OSError as error:
            raise SourceError(f"'{self._shard(entry.shard)}' cannot be read: {error.strerror}.") from error
        if len(content) != entry.size:
            raise self._damaged(f"'{key}' is cut off")
        return content

    def _shard(self, number: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.data-{number:05d}-of-{self._shards:05d}")

    def _check_places(self) -> None:
        """Refuse tensors that are not in the files, or that share their bytes: they would only fill the memory."""
        ends: dict[int, int] = {}
        for key, entry in sorted(self._entries.items(), key=lambda item: (item[1].shard, item[1].offset)):
            if not entry.size:
                continue
            if entry.offset < ends.get(entry.shard, 0):
                raise self._damaged(f"'{key}' shares its bytes with another tensor")
            ends[entry.shard] = entry.offset + entry.size
        for shard, end in ends.items():
            path = self._shard(shard)
            try:
                size = read_files.plain(path).stat().st_size
            except OSError as error:
                raise SourceError(
                    f"'{self._index}' describes tensors in '{path.name}', which cannot be read: {error.strerror}.",
                    fix="Copy or download the whole directory again.",
                ) from error
            if end > size:
                raise SourceError(
                    f"'{path}' is cut off.", expected=f"at least {end:,} bytes", received=f"{size:,} bytes",
                    fix="Copy or download it again.",
                )  # fmt: skip

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"'{self._index}' is a damaged checkpoint: {why}.", fix="Copy or download it again.")


def _read_index(content: memoryview) -> tuple[memoryview, dict[str, _Entry]]:
    """The header, whose key is empty, and the descriptions by key."""
    if len(content) < _FOOTER or content[-len(_MAGIC) :] != _MAGIC:
        raise BadProtobuf("it does not end as such a file does")
    footer = content[-_FOOTER:]
    at = 0
    for _ in range(2):  # the place and the size of a block without use here
        _, at = varint(footer, at)
    header, before, of_keys = None, b"", 0
    found: dict[str, _Entry] = {}
    for _, handle in _block(content, footer[at:]):
        for key, value in _block(content, handle):
            if header is None:
                header = value
                if key:
                    raise BadProtobuf("it has no header")
                continue
            if key <= before:
                raise BadProtobuf("its keys are not in order")
            if (of_keys := of_keys + len(key)) > _MOST_OF_KEYS:
                raise BadProtobuf(f"its keys have more than {_MOST_OF_KEYS:,} bytes")
            before = key
            try:
                found[key.decode()] = _read_entry(value)
            except UnicodeDecodeError as error:
                raise BadProtobuf("a key is not UTF-8") from error
    if header is None:
        raise BadProtobuf("it has no header")
    return header, found


def _block(content: memoryview, handle: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of a block, of which a handle says where it is."""
    start, at = varint(handle, 0)
    size, _ = varint(handle, at)
    if size < 4 or start + size + _TRAILER > len(content):
        raise BadProtobuf("a block is cut off")
    block, trailer = content[start : start + size], content[start + size : start + size + _TRAILER]
    if trailer[0]:
        raise BadProtobuf("a block is compressed, which TensorFlow never does")
    if masked_crc32c(content[start : start + size + 1]) != int.from_bytes(trailer[1:], "little"):
        raise BadProtobuf("the checksum of a block is not that of its bytes")
    end = size - 4 * (1 + int.from_bytes(block[-4:], "little"))
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise BadProtobuf("a block is cut off")
        key = key[:shared] + bytes(block[at : at + own])
        at += own
        yield key, block[at : at + length]
        at += length


def _read_entry(message: memoryview) -> _Entry:
    number = {field: value for field, value in fields(message) if isinstance(value, int)}
    shape = [whole_number(axis, 1) for axis in messages(first(message, 2), 2)]
    if len(shape) > _MOST_AXES or math.prod(size or 1 for size in shape) >> _MOST_NUMBERS_BITS:
        raise BadProtobuf("a tensor has a shape that is none")
    return _Entry(
        dtype=number.get(1, 0),
        shape=tuple(shape),
        shard=number.get(3, 0),
        offset=number.get(4, 0),
        size=number.get(5, 0),
        checksum=number.get(6, 0),
        is_sliced=any(True for _ in messages(message, 7)),
    )
