"""However a recording travels, it arrives whole, and no two requests are alike."""

from __future__ import annotations

import base64
import email
import email.policy
import json
from collections.abc import Callable, Mapping

import pytest

from benchmarks.envelopes import ENVELOPES, INPUT, OWN_BYTES, Enveloped, form, raw, tensor, text_tensor

_HEADER_BYTES = 44


def arrived(kind: Callable[[bytes], Enveloped], body: bytes, headers: Mapping[str, str]) -> bytes:
    """The file, as a server finds it."""
    if kind is raw:
        return body
    if kind is form:
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        parts = list(email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts())
        assert [part.get_param("name", header="content-disposition") for part in parts] == [INPUT]
        file = parts[0].get_payload(decode=True)
        assert isinstance(file, bytes)
        return file
    if kind is tensor:
        size = int(headers["Inference-Header-Content-Length"])
        (sent,) = json.loads(body[:size])["inputs"]
        assert sent["parameters"]["binary_data_size"] == len(body) - size
        assert int.from_bytes(body[size : size + 4], "little") == len(body) - size - 4
        return body[size + 4 :]
    return base64.b64decode(json.loads(body)["inputs"][0]["data"][0], validate=True)


@pytest.mark.parametrize("kind", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("size", (200, 201, 202))
def test_a_recording_arrives_with_bytes_of_its_own_near_its_end(
    kind: Callable[[bytes], Enveloped], size: int
) -> None:
    wav = bytes(number % 251 for number in range(size))
    sent = kind(wav)
    assert arrived(kind, sent.body, sent.headers) == wav
    found = []
    for number in (5, 1 << 62):
        own = sent.own(number)
        assert len(own) == OWN_BYTES
        body = sent.body[: sent.own_at] + own + sent.body[sent.own_at + OWN_BYTES :]
        found.append(arrived(kind, body, sent.headers))
    for each in found:
        differing = [place for place, (old, new) in enumerate(zip(wav, each, strict=True)) if old != new]
        assert differing and differing[0] >= len(wav) - OWN_BYTES - 2 > _HEADER_BYTES
    assert found[0] != found[1]


def test_requests_that_follow_each_other_differ_as_base64_too() -> None:
    sent = text_tensor(bytes(300))
    assert len({sent.own(number) for number in range(1000)}) == 1000
