"""A cache key is another wherever the windows, their probabilities or the refusal might be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from engine.stores.cache_key import KEY_BYTES, CacheScope, cache_key, file_digest

SCOPE = CacheScope(
    deployment="bats",
    model_version="v1",
    activation="softmax",
    classes=10,
    input_shape=(16000,),
    sample_rate_hz=16000,
    peak_normalise=False,
    segmentation="fixed",
    overlap_s=0.0,
    min_window_s=1.0,
    max_segments=100,
    max_duration_s=0.0,
    max_decoded_bytes=1 << 30,
    require_wav=False,
)
OTHERS: dict[str, Any] = {
    "deployment": "owls",
    "model_version": "v2",
    "activation": "sigmoid",
    "classes": 11,
    "input_shape": (16001,),
    "sample_rate_hz": 22050,
    "peak_normalise": True,
    "segmentation": "silence",
    "overlap_s": 0.5,
    "min_window_s": 0.5,
    "max_segments": 101,
    "max_duration_s": 600.0,
    "max_decoded_bytes": (1 << 30) + 1,
    "require_wav": True,
}


def key_of(scope: CacheScope = SCOPE, file: bytes = b"sound") -> bytes:
    return cache_key(scope.digest(), file_digest(file))


def test_the_same_file_in_the_same_scope_has_one_key() -> None:
    assert key_of() == key_of(dataclasses.replace(SCOPE), bytes(bytearray(b"sound")))
    assert len(key_of()) == KEY_BYTES


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(CacheScope)])
def test_every_field_of_the_scope_changes_the_key(name: str) -> None:
    assert key_of(dataclasses.replace(SCOPE, **{name: OTHERS[name]})) != key_of()


def test_another_file_has_another_key() -> None:
    assert len({key_of(file=file) for file in (b"sound", b"sounds", b"", b"Sound")}) == 4


def test_two_texts_that_run_into_each_other_are_not_the_same() -> None:
    one = dataclasses.replace(SCOPE, deployment="a", model_version='b","c')
    other = dataclasses.replace(SCOPE, deployment='a","b', model_version="c")
    assert key_of(one) != key_of(other)
