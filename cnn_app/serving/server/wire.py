"""What a protobuf message would cost, told from its bytes: two of them may become a hundred in memory."""

from __future__ import annotations

import functools

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from cnn_app.serving.server.errors import invalid

FIELDS = 20_000  # of a message and all within it
PACKED_BYTES = 4 * 2**20  # of numbers one by one, which grow eight times and more; tensor_content does not
VARINT, I64, LEN, I32 = 0, 1, 2, 5
REAL = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_STRING)


def parse(data: bytes, kind):
    """The message of type `kind`. RequestError for what is none, or has too many parts."""
    check(data, kind.DESCRIPTOR)
    try:
        return kind.FromString(data)
    except (DecodeError, ValueError) as error:  # strings that are no UTF-8, fields without a number
        raise invalid(f"the request is no {kind.DESCRIPTOR.name}: {str(error)[:100]}") from error


def check(data: bytes, kind: Descriptor) -> None:
    """Refuse, before anything is copied."""
    left, packed, inside = FIELDS, 0, [(kind, 0, len(data))]
    try:
        while inside:
            of, at, end = inside.pop()
            messages, integers = _length_delimited(of)
            while at < end:
                left -= 1
                if left < 0:
                    raise invalid(f"the request has more than {FIELDS:,} fields; send numbers as tensor_content")
                tag, at = _varint(data, at)
                wire = tag & 7
                if wire == LEN:
                    size, at = _varint(data, at)
                    number = tag >> 3
                    if number in messages:
                        inside.append((messages[number], at, at + size))
                    elif number in integers:
                        packed += size
                    at += size
                elif wire == VARINT:
                    at = _varint(data, at)[1]
                else:
                    at += {I64: 8, I32: 4}[wire]
            if at != end:
                raise IndexError
    except (IndexError, KeyError) as error:
        raise invalid(f"the request is no {kind.name}: its bytes are damaged or cut off") from error
    if packed > PACKED_BYTES:
        raise invalid(f"the request has {packed:,} bytes of numbers one by one, at most {PACKED_BYTES:,} are taken; "
                      "send them as tensor_content")  # fmt: skip


@functools.cache
def _length_delimited(kind: Descriptor) -> tuple[dict[int, Descriptor], set[int]]:
    """The types of the messages in a message by their numbers, and the numbers of its integers."""
    messages = {field.number: field.message_type for field in kind.fields if field.message_type}
    integers = {field.number for field in kind.fields if not field.message_type and field.cpp_type not in REAL}
    return messages, integers


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A value and where the next begins."""
    value = data[at]
    if value < 128:
        return value, at + 1
    value, shift = value & 127, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise IndexError
