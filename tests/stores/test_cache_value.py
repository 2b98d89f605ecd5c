"""What is cached comes back bit by bit, and whatever is strange about it is no value."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from engine.stores.cache_value import (
    MAX_VALUE_BYTES,
    CachedAnswer,
    CachedRecording,
    CachedWindow,
    CacheValue,
    decoded,
    encoded,
)

CLASSES = 5


def value_of(windows: int = 3, *, channels: int = 2, channel: int = 1, classes: int = CLASSES) -> CacheValue:
    chance = np.random.default_rng(windows)
    return CacheValue(
        CachedRecording(windows * 0.7 + 0.1, 22050, channels, "FLAC"),
        [CachedWindow(2 * k, 0.7 * k, 0.7 * (k + 1), channel) for k in range(windows)],
        [CachedAnswer(chance.random(classes, np.float32), 4) for _ in range(windows)],
    )


def bytes_of(value: CacheValue) -> bytes:
    made = encoded(*value)
    assert made is not None
    return made


def put(data: bytes, offset: int, form: str, *values: object) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, offset, *values)
    return bytes(changed)


@pytest.mark.parametrize("windows", [1, 2, 70])
def test_a_value_comes_back_bit_by_bit(windows: int) -> None:
    value = value_of(windows)
    found = decoded(bytes_of(value), classes=CLASSES)
    assert found is not None
    assert found.recording == value.recording and found.windows == value.windows
    for answer, original in zip(found.answers, value.answers, strict=True):
        assert answer.batch_size == original.batch_size and answer.probabilities.dtype == np.float32
        assert answer.probabilities.tobytes() == original.probabilities.tobytes()


def test_the_largest_batch_of_a_recording_is_kept() -> None:
    value = value_of(2)
    answers = [CachedAnswer(value.answers[0].probabilities, 3), CachedAnswer(value.answers[1].probabilities, 7)]
    found = decoded(bytes_of(value._replace(answers=answers)), classes=CLASSES)
    assert found is not None and {answer.batch_size for answer in found.answers} == {7}


def test_probabilities_of_activation_none_may_be_any_finite_number() -> None:
    value = value_of(1)
    strange = np.array([-3.5, 1e30, 0.0, -0.0, 2.0], np.float32)
    found = decoded(bytes_of(value._replace(answers=[CachedAnswer(strange, 1)])), classes=CLASSES)
    assert found is not None and found.answers[0].probabilities.tobytes() == strange.tobytes()


def test_what_is_too_large_is_not_kept() -> None:
    assert encoded(*value_of(2, classes=MAX_VALUE_BYTES // 8)) is None
    assert decoded(bytes(MAX_VALUE_BYTES + 1), classes=CLASSES) is None


def test_a_format_with_a_long_name_is_not_kept() -> None:
    value = value_of(1)
    assert encoded(value.recording._replace(format="A FORMAT OF TOMORROW"), value.windows, value.answers) is None


WHOLE = bytes_of(value_of())
STRANGE = {
    "empty": b"",
    "cut": WHOLE[:-1],
    "longer": WHOLE + b"\0",
    "head alone": WHOLE[:48],
    "a pickle": b"\x80\x04\x95" + WHOLE,
    "text": b'{"windows": []}' * 10,
    "another magic": b"NSCW" + WHOLE[4:],
    "another version": put(WHOLE, 4, "<H", 2),
    "no channel": put(WHOLE, 6, "<H", 0),
    "no rate": put(WHOLE, 8, "<I", 0),
    "no window": put(WHOLE, 12, "<I", 0)[:48],
    "more windows than there are": put(WHOLE, 12, "<I", 4),
    "a size that overflows": put(WHOLE, 12, "<I", 0xFFFF_FFFF),
    "fewer classes": put(WHOLE, 16, "<I", CLASSES - 1),
    "windows for classes": put(WHOLE, 12, "<II", CLASSES, 3),
    "no batch": put(WHOLE, 20, "<I", 0),
    "no duration": put(WHOLE, 24, "<d", 0.0),
    "a duration that is no number": put(WHOLE, 24, "<d", float("nan")),
    "an endless duration": put(WHOLE, 24, "<d", float("inf")),
    "a channel that is not there": put(WHOLE, 32, "<H", 3),
    "a format that is no text": put(WHOLE, 34, "<4s", b"\xff\xfe\x01\x02"),
    "a format with a quotation mark's escape": put(WHOLE, 34, "<4s", b"\x1b[0m"),
    "windows out of order": put(WHOLE, 48 + 24, "<Q", 0),
    "a start before the one before": put(WHOLE, 48 + 24 + 8, "<d", -1.0),
    "an end before its start": put(WHOLE, 48 + 16, "<d", -0.5),
    "an end after the recording's": put(WHOLE, 48 + 2 * 24 + 16, "<d", 1e6),
    "a start that is no number": put(WHOLE, 48 + 8, "<d", float("nan")),
    "a probability that is no number": put(WHOLE, len(WHOLE) - 4, "<f", float("nan")),
    "an endless probability": put(WHOLE, len(WHOLE) - 8, "<f", float("-inf")),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_strange_is_no_value(name: str) -> None:
    assert decoded(STRANGE[name], classes=CLASSES) is None


def test_a_value_for_another_number_of_classes_is_none() -> None:
    assert decoded(WHOLE, classes=CLASSES + 1) is None


def test_no_bytes_make_it_raise() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(3000):
        changed = bytearray(WHOLE)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        found = decoded(bytes(changed[: chance.randint(0, 2 * len(changed))]), classes=CLASSES)
        if found is not None:
            assert all(np.isfinite(answer.probabilities).all() for answer in found.answers)
            assert len(found.windows) == len(found.answers) >= 1
