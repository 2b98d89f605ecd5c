"""What lies in an ONNX file, read off its bytes: whether it is one, and which other files belong to it.

An ONNX file is one protobuf message (github.com/onnx/onnx, onnx.proto), of which a few field numbers are all that is
looked at; the weights, which may be gigabytes, are skipped. Read and not mapped: a file that is cut short meanwhile is
an error then, and not the death of the process. Invariant: no field reaches beyond the message that it stands in,
whatever its length says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf; 3 and 4 have never been used in ONNX
_LONGEST_VARINT = 10  # bytes
_IR_VERSION, _GRAPH = 1, 7  # of the model
_EXTERNAL_DATA = 13  # of a tensor: pairs of key and value
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# Message -> those of its fields that lead to a tensor, and what they hold.
_WAYS: Mapping[str, Mapping[int, str]] = MappingProxyType({
    "model": {_GRAPH: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {_EXTERNAL_DATA: "pair"},
})


class NoProtobuf(ValueError):
    """Bytes that are no protobuf message, or not all of one."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: its value's bytes, of a number the number."""

    number: int
    wire: int
    begin: int
    end: int


def is_onnx(path: Path) -> bool:
    """Whether the file is one whole protobuf message with the version and the graph of an ONNX model."""
    try:
        with path.open("rb") as file:
            found = {(field.number, field.wire) for field in _fields(file, 0, path.stat().st_size)}
    except NoProtobuf:
        return False
    return {(_IR_VERSION, _VARINT), (_GRAPH, _BYTES)} <= found


def is_pointer(path: Path) -> bool:
    """Whether the file only names another, which git-lfs has not fetched."""
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def external_files(path: Path) -> tuple[str, ...]:
    """Names of the files that weights of this one lie in, relative to its folder. Raises NoProtobuf."""
    found = set()
    with path.open("rb") as file:
        left = [("model", 0, path.stat().st_size)]
        while left:  # and no recursion: a file decides how deep its graphs are nested
            kind, begin, end = left.pop()
            if kind == "pair":
                found |= _location(file, begin, end)
                continue
            ways = _WAYS[kind]
            for field in _fields(file, begin, end):
                if field.wire == _BYTES and field.number in ways:
                    left.append((ways[field.number], field.begin, field.end))
    return tuple(sorted(found))


def _location(file: BinaryIO, begin: int, end: int) -> set[str]:
    """The value of a pair whose key is `location`."""
    texts = {}
    for field in list(_fields(file, begin, end)):
        file.seek(field.begin)
        texts[field.number] = file.read(field.end - field.begin)
    return {texts.get(2, b"").decode(errors="replace")} if texts.get(1) == b"location" else set()


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[_Field]:
    """The fields of the message in these bytes of the file."""
    at = begin
    while at < end:
        tag, at = _varint(file, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, at = _varint(file, at, end)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        elif wire == _VARINT:
            length = _varint(file, at, end)[1] - at
        else:
            raise NoProtobuf(f"byte {at}: there is no wire type {wire}")
        if number == 0 or at + length > end:
            raise NoProtobuf(f"byte {at}: field {number} of {length} bytes in a message that ends at {end}")
        yield _Field(number, wire, at, at + length)
        at += length


def _varint(file: BinaryIO, at: int, end: int) -> tuple[int, int]:
    """The number at this byte of the file, and where what follows it begins."""
    file.seek(at)
    value = 0
    for index, byte in enumerate(file.read(min(_LONGEST_VARINT, end - at))):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise NoProtobuf(f"byte {at}: no number ends here")
