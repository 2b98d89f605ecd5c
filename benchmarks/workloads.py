"""What is sent and to which model: recordings made here, real ones beside them where they lie next to the checkout."""

from __future__ import annotations

import functools
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from engine.models.sound_parts import SAMPLE_RATE_HZ
from engine.models.synthesise import synthesise

WORKLOAD_VARIABLE = "NIGHTSCAN_BENCH_WORKLOAD"  # tells the inline app which one it serves
DEMO = "demo"  # the model that is served where the settings name none
CLASSES = 10
LABELS = tuple(f"class_{number}" for number in range(CLASSES))
_BESIDE = Path(__file__).resolve().parents[2] / "shared"


def real_recordings() -> list[Path]:
    """Night recordings in `audio/` of the folder that NIGHTSCAN_SHARED names, else of `../shared`; often none."""
    folder = Path(os.environ.get("NIGHTSCAN_SHARED", _BESIDE)) / "audio"
    return sorted(folder.glob("*.wav"))


@dataclass(frozen=True)
class Workload:
    """One model, and the bodies that are sent to it in turn."""

    name: str
    model: str  # a function of benchmarks.models
    sample_rate_hz: int
    segment_s: float
    real: bool = False

    @property
    def bodies(self) -> list[bytes]:
        """WAV files; of a real workload empty where there are no recordings."""
        if self.real:
            return [path.read_bytes() for path in real_recordings()]
        return [_synthesised(self.sample_rate_hz, self.segment_s)]

    def environment(self, folder: Path) -> dict[str, str]:
        """The settings that make the engine serve this model; writes the labels into `folder`."""
        if self.model == DEMO:
            return {}
        labels = folder / "labels.json"
        labels.write_text(json.dumps(LABELS))
        settings = {
            "MODEL_FACTORY": f"benchmarks.models:{self.model}",
            "MODEL_LABELS": str(labels),
            "SAMPLE_RATE_HZ": str(self.sample_rate_hz),
            "SEGMENT_S": str(self.segment_s),
            "SEGMENTATION": "fixed",
            "PEAK_NORMALISE": "false",
        }
        return {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": value for name, value in settings.items()}


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("tiny", "tiny", 16_000, 1.0),
        Workload("resnet", "resnet", SAMPLE_RATE_HZ, 8.0),
        Workload("demo", DEMO, SAMPLE_RATE_HZ, 8.0),
        Workload("night", "resnet", SAMPLE_RATE_HZ, 8.0, real=True),
    )
}


@functools.lru_cache(maxsize=None)
def _synthesised(rate_hz: int, duration_s: float) -> bytes:
    """One synthesised call as 16-bit mono PCM."""
    sound = soxr.resample(synthesise("bird_song", 3), SAMPLE_RATE_HZ, rate_hz)
    start = (len(sound) - round(rate_hz * duration_s)) // 2
    samples = np.clip(sound[start : start + round(rate_hz * duration_s)], -1.0, 1.0)
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, "PCM_16", format="WAV")
    return file.getvalue()
