"""CRC-32C, the checksum that TensorFlow's checkpoints have for their blocks and tensors.

It is linear: the checksum of two pieces is that of the first, moved on by the length of the second, XOR that of the
second. So NumPy computes those of many short pieces side by side.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_POLYNOMIAL, _ALL = 0x82F63B78, 0xFFFFFFFF
_ROW = 1024  # bytes of a short piece
_AT_ONCE = 1 << 24  # bytes

Numbers = np.ndarray[Any, np.dtype[np.uint32]]


def crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of bytes (RFC 3720, appendix B.4).

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    table, moved, state = _table().tolist(), _moved_by_a_row(), _ALL
    for start in range(0, len(data), _AT_ONCE):
        piece = np.frombuffer(data[start : start + _AT_ONCE], np.uint8)
        rows = piece[: len(piece) // _ROW * _ROW].reshape(-1, _ROW)
        for of_row in _of_rows(rows).tolist():
            by_byte = (moved[place][state >> 8 * place & 255] for place in range(4))
            state = of_row ^ next(by_byte) ^ next(by_byte) ^ next(by_byte) ^ next(by_byte)
        for byte in piece[rows.size :].tolist():
            state = table[(state ^ byte) & 255] ^ state >> 8
    return state ^ _ALL


def masked_crc32c(data: bytes | memoryview) -> int:
    """The same as TensorFlow stores it: rotated, with a constant added."""
    found = crc32c(data)
    return ((found >> 15 | found << 17) + 0xA282EAD8) & _ALL


@functools.cache
def _table() -> Numbers:
    """What a byte does to the checksum."""
    found = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        found = np.where(found & 1, found >> 1 ^ np.uint32(_POLYNOMIAL), found >> 1)
    return found


def _of_rows(rows: np.ndarray[Any, np.dtype[np.uint8]], start: Numbers | None = None) -> Numbers:
    """The checksums of rows of bytes, which begin with 0 or with those that are given."""
    table, found = _table(), np.zeros(len(rows), np.uint32) if start is None else start
    for column in np.ascontiguousarray(rows.T):
        found = table[(found ^ column) & 255] ^ found >> 8
    return found


@functools.cache
def _moved_by_a_row() -> list[list[int]]:
    """What a checksum is after a row of zeros: by each of its four bytes, to be combined by XOR."""
    alone = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    zeros = np.zeros((alone.size, _ROW), np.uint8)
    return _of_rows(zeros, alone.ravel()).reshape(4, 256).tolist()
