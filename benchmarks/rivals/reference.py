"""What the plain model says of each file: one JSON list of probabilities by label, in a process without a server.

    NIGHTSCAN_BENCH_WORKLOAD=tiny python -m benchmarks.rivals.reference 0.wav 1.wav
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.rivals.apps.model import Classifier, waveform
from benchmarks.workloads import CLASSES


def main(files: list[str]) -> int:
    classifier = Classifier()
    said = (classifier.answers([waveform(Path(file).read_bytes())], top=CLASSES)[0] for file in files)
    print(json.dumps([{row["label"]: row["score"] for row in answer} for answer in said]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
