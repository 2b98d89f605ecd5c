"""Payloads become the float32 batch that the model was promised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.instance.cuda import CudaDevice
from engine.instance.device import HostDevice
from engine.shm.batch import Payloads
from tests.instance.conftest import FRAMES, Bench

INPUT = 16


def staged(device: HostDevice, payloads: Payloads, positions: Sequence[int] | None = None) -> np.ndarray:
    """What a model would get."""
    batch, seen = device.stage(payloads), list[torch.Tensor]()

    def compute(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return inputs.reshape(len(inputs), -1).clone()

    batch.launch(compute, positions)
    assert batch.wait().shape[0] == len(seen[0])
    batch.discard()
    return seen[0].numpy()


def item(values: list[int], int16: bool, gain: float) -> tuple[np.ndarray, float]:
    samples = np.array(values, dtype=np.int16)
    return (samples, gain / 32768) if int16 else ((samples / 32768).astype(np.float32), gain)


items = st.builds(
    item,
    st.lists(st.integers(-32768, 32767), min_size=0, max_size=INPUT),
    st.booleans(),
    st.floats(0.0078125, 100, width=32),
)


@given(batches=st.lists(st.lists(items, min_size=1, max_size=4), min_size=1, max_size=3))
def test_scaled_padded_and_nothing_of_the_batch_before(batches: list[list[tuple[np.ndarray, float]]]) -> None:
    """To the bit: each sample cast to float32, then multiplied once by its item's factor as float32."""
    device = HostDevice((INPUT,), 4)
    for batch in batches:
        samples, factors = [each for each, _ in batch], [factor for _, factor in batch]
        found = staged(device, Payloads(samples, np.array(factors, dtype=np.float32)))
        assert found.shape == (len(batch), INPUT) and found.dtype == np.float32
        for row, one, factor in zip(found, samples, factors):
            wanted = one.astype(np.float32) * np.float32(factor)
            assert row[: one.size].tobytes() == wanted.tobytes()
            assert not row[one.size :].any()


def test_only_the_items_that_are_launched_are_staged() -> None:
    samples = [np.full(INPUT, value, dtype=np.float32) for value in range(4)]
    found = staged(HostDevice((INPUT,), 4), Payloads(samples, np.ones(4, dtype=np.float32)), [3, 1])
    assert found[:, 0].tolist() == [3, 1]


def test_items_of_any_shape() -> None:
    device = HostDevice((2, 3), 2)
    found = staged(device, Payloads([np.arange(6, dtype=np.float32)], np.ones(1, dtype=np.float32)))
    assert found.shape == (1, 2, 3) and found[0, 1, 2] == 5.0


def test_slots_are_staged_in_place_with_their_gains(bench: Bench) -> None:
    whole = (np.random.default_rng(1).uniform(-1, 1, FRAMES) * 32767).astype(np.int16)
    bench.submit(whole, gain=1.7)
    bench.submit(whole[:100], gain=0.3)
    batch = bench.take_all()
    payloads = batch.payloads()
    assert all(np.shares_memory(samples, bench.segment.array) for samples in payloads.samples)
    assert [samples.flags.writeable for samples in payloads.samples] == [False, False]
    found = staged(HostDevice((FRAMES,), 4), payloads)
    assert found[0].tobytes() == (whole.astype(np.float32) * np.float32(1.7 / 32768)).tobytes()
    assert found[1, :100].tobytes() == (whole[:100].astype(np.float32) * np.float32(0.3 / 32768)).tobytes()
    assert not found[1, 100:].any()


def test_a_device_that_has_failed_is_no_end_by_its_gauge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of a batch, whose culprit is sought where the batch is waited for."""

    def fail(device: object) -> tuple[int, int]:
        raise RuntimeError("an illegal memory access was encountered")

    device = CudaDevice.__new__(CudaDevice)  # made without a GPU
    device.device = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda of: (3, 10))
    assert device.memory_bytes() == (7, 10)
    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    assert device.memory_bytes() is None
