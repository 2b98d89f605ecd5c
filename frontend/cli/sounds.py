"""A recording for those who have none at hand."""

from __future__ import annotations

import array
import io
import math
import wave

RATE_HZ = 22_050
LENGTH_S = 3.0
_LOUDNESS = 20_000


def chirps(length_s: float = LENGTH_S, *, pitch_hz: int = 1200) -> bytes:
    """Tones that rise from `pitch_hz`, with pauses, a little like a frog: WAV, 16 bit, mono."""
    samples = array.array("h")
    for index in range(round(RATE_HZ * length_s)):
        since_s = (index / RATE_HZ) % 0.5
        loud = max(0.0, math.sin(math.pi * since_s / 0.2)) if since_s < 0.2 else 0.0
        samples.append(int(_LOUDNESS * loud * math.sin(2 * math.pi * (pitch_hz + 3000 * since_s) * since_s)))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
