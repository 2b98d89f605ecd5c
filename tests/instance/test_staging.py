"""Payloads become the float32 batch that the model was promised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.instance.staging import HostStaging

FRAMES = 16


@dataclass
class Item:
    payload: np.ndarray
    int16: bool
    gain: float


def item(values: list[int], *, int16: bool, gain: float) -> Item:
    samples = np.array(values, dtype=np.int16)
    typed = samples if int16 else (samples / 32768).astype(np.float32)
    return Item(typed.view(np.uint8), int16, gain)


payloads = st.builds(
    item,
    st.lists(st.integers(-32768, 32767), min_size=0, max_size=FRAMES),
    int16=st.booleans(),
    gain=st.floats(0.0078125, 100, width=32),
)


@given(batches=st.lists(st.lists(payloads, min_size=1, max_size=4), min_size=1, max_size=3))
def test_scaled_padded_and_nothing_of_the_batch_before(batches: list[list[Item]]) -> None:
    staging = HostStaging((FRAMES,), 4)
    for batch in batches:
        staged = staging.stage(batch).numpy()
        assert staged.shape == (len(batch), FRAMES) and staged.dtype == np.float32
        for row, one in zip(staged, batch):
            if one.int16:
                wanted = one.payload.view(np.int16).astype(np.float64) / 32768 * one.gain
            else:
                wanted = one.payload.view(np.float32).astype(np.float64) * one.gain
            np.testing.assert_allclose(row[: wanted.size], wanted, rtol=1e-6, atol=1e-7)
            assert not row[wanted.size :].any()


def test_items_of_any_shape() -> None:
    staging = HostStaging((2, 3), 2)
    values = np.arange(6, dtype=np.float32)
    staged = staging.stage([Item(values.view(np.uint8), False, 1.0)])
    assert staged.shape == (1, 2, 3) and staged.numpy()[0, 1, 2] == 5.0
