"""Messages of protobuf as their fields, without the classes that protoc makes: no more is read than is asked for."""

from __future__ import annotations

from collections.abc import Iterator

Field = int | memoryview

MOST_FIELDS = 1 << 22  # of one message, each of which takes about 200 bytes here
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS = 64


class BadProtobuf(ValueError):
    """Bytes that are no message of protobuf; the text says why."""


def fields(message: memoryview) -> Iterator[tuple[int, Field]]:
    """The number and the value of each field, in order: numbers without a sign, and bytes for all else.

    Raises:
        BadProtobuf: If the message is cut off, or is none.
    """
    at, count = 0, 0
    while at < len(message):
        count += 1
        if count > MOST_FIELDS:
            raise BadProtobuf(f"a message has more than {MOST_FIELDS:,} fields")
        key, at = varint(message, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise BadProtobuf("a field has the number 0")
        if kind == _VARINT:
            whole, at = varint(message, at)
            yield number, whole
            continue
        if kind == _BYTES:
            size, at = varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise BadProtobuf(f"a field is of the kind {kind}")
        if size > len(message) - at:
            raise BadProtobuf("it is cut off")
        value, at = message[at : at + size], at + size
        yield number, value if kind == _BYTES else int.from_bytes(value, "little")


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number that is stored at a place in as many bytes as it needs, and the place behind it."""
    value = 0
    for shift in range(0, _VARINT_BITS + 6, 7):
        if at >= len(data):
            raise BadProtobuf("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << _VARINT_BITS) - 1), at
    raise BadProtobuf("a number has more than 10 bytes")


def messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages, texts or bytes in the fields of a number."""
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def first(message: memoryview, number: int) -> memoryview:
    """The only one of them; nothing where there is none."""
    return next(messages(message, number), memoryview(b""))


def text(message: memoryview, number: int) -> str:
    """The text in a field; empty where there is none.

    Raises:
        BadProtobuf: If it is no text.
    """
    try:
        return bytes(first(message, number)).decode()
    except UnicodeDecodeError as error:
        raise BadProtobuf("a text is not UTF-8") from error


def whole_number(message: memoryview, number: int) -> int:
    """The whole number in a field; 0 where there is none."""
    return next((value for found, value in fields(message) if found == number and isinstance(value, int)), 0)
