"""Where the real recordings and the rival servers' models lie: beside the checkout, never inside it."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("NIGHTSCAN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
AUDIO_DIR = SHARED / "audio"
PEERS_DIR = SHARED / "peers"


def recordings() -> list[Path]:
    """The fifteen ten-second night recordings (22,000 Hz, mono, int16), sorted by name."""
    found = sorted(AUDIO_DIR.glob("*.wav"))
    assert found, f"no recordings under {AUDIO_DIR}; set NIGHTSCAN_SHARED to the folder that holds audio/"
    return found
