"""How a recording travels: as it is, in a form, or inside the messages of the open inference protocol."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

OWN_BYTES = 8  # of each request's own: four samples, or three where they travel as base64
_BOUNDARY = "benchmark-7f31c06a"
INPUT, OUTPUT = "wav", "answer"  # tensors of the open inference protocol


@dataclass(frozen=True)
class Enveloped:
    """A body with eight bytes in it that each request replaces by its own, so that no two of them are alike."""

    body: bytes
    headers: Mapping[str, str]
    own_at: int  # offset of those bytes
    base64: bool = False  # they are digits of base64

    def own(self, number: int) -> bytes:
        """Those bytes, for the request of this number."""
        if self.base64:
            return base64.b64encode((number % (1 << 48)).to_bytes(6, "little"))
        return number.to_bytes(OWN_BYTES, "little")


def raw(wav: bytes) -> Enveloped:
    """The file is the body."""
    return Enveloped(wav, {"Content-Type": "audio/wav"}, len(wav) - OWN_BYTES)


def form(wav: bytes) -> Enveloped:
    """A form with the file in the field INPUT."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{INPUT}"; filename="night.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    ).encode()
    body = b"".join((head, wav, f"\r\n--{_BOUNDARY}--\r\n".encode()))
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return Enveloped(body, headers, len(head) + len(wav) - OWN_BYTES)


def tensor(wav: bytes) -> Enveloped:
    """The open inference protocol with its binary extension: a head of JSON, a length, the file."""
    sent = {
        "name": INPUT,
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"binary_data_size": 4 + len(wav)},
    }
    wanted = {"name": OUTPUT, "parameters": {"binary_data": False}}
    head = json.dumps({"inputs": [sent], "outputs": [wanted]}).encode()
    body = b"".join((head, len(wav).to_bytes(4, "little"), wav))
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Enveloped(body, headers, len(body) - OWN_BYTES)


def text_tensor(wav: bytes) -> Enveloped:
    """The same protocol without that extension: the file as base64 inside JSON."""
    sent = {
        "name": INPUT,
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": ["\0"],
    }
    head, tail = json.dumps({"inputs": [sent]}).encode().split(b"\\u0000")
    whole = len(wav) // 3 * 4 - OWN_BYTES  # ends with whole groups of four digits, which stand for three bytes
    body = b"".join((head, base64.b64encode(wav), tail))
    return Enveloped(body, {"Content-Type": "application/json"}, len(head) + whole, base64=True)


ENVELOPES: Mapping[str, Callable[[bytes], Enveloped]] = {
    envelope.__name__: envelope for envelope in (raw, form, tensor, text_tensor)
}
