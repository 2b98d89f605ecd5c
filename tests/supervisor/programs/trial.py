"""A process that tries no forms at all, and ends as the file that `NS_TEST_TRIAL` names says at its start.

`wins`: the form of ONNX Runtime is the fastest; `none`: no other may serve; `refuses`: INT8 may not. `waits`: as
`wins`, once the file PATH.go exists. `damages`: a result that nobody can read. `says nothing`: ends well without one;
`gives a reason`: and none. Further `hangs`, with a child that hangs too, `crashes`, `is killed`, `eats memory`, `prints
nonsense`, `floods`.

A line with its pid is added to PATH.started first, and one with that of its child. It dies with its parent, as the real
one does.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.messages import read_memfd
from engine.tuning.folder import RESULT, TuningFolder
from engine.tuning.order import TrialNews, TrialOrder
from engine.tuning.result import CandidateResult, TuningResult

VARIABLE = "NS_TEST_TRIAL"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
WINNER = "onnxruntime-fp32"
INT8 = "onnxruntime-int8"


def tell(**news: str) -> None:
    os.write(1, TrialNews(**news).to_line())


def note(path: Path, pid: int) -> None:
    with open(path.with_suffix(".started"), "a") as started:
        started.write(f"{pid}\n")


def finish(order: TrialOrder, winner: str, *, int8: str = "", reason: str = "") -> TuningFolder:
    """Leaves a result, in which INT8 was refused for the reason `int8`."""
    agreement = {"windows": 512, "top1": 1.0, "close": 1.0, "largest": 1e-6}
    found = TuningResult(
        winner=winner,
        reason=reason,
        speedup=1.5,
        candidates=(
            CandidateResult(form="eager", items_per_s={1: 10.0, 4: 20.0}),
            CandidateResult(form=WINNER, items_per_s={1: 15.0, 4: 30.0}, **agreement),  # type: ignore[arg-type]
            CandidateResult(form=INT8, items_per_s={1: 40.0, 4: 90.0}, refused=int8, needs="" if int8 else "auto"),
        ),
        device=order.device,
        processor="none",
        versions={},
        finished_at_s=0.0,
        seconds=0.1,
    )
    folder = TuningFolder(order.terms, order.key())
    lock = folder.lock(limit_s=10.0)
    assert lock is not None
    folder.begin()
    folder.finish(found)
    lock.release()
    tell(state="done", candidate=WINNER)
    tell(state="finished")
    return folder


def behave(behaviour: str, path: Path, order: TrialOrder) -> int:
    tell(state="loading")
    if behaviour == "wins":
        finish(order, WINNER)
    elif behaviour == "none":
        finish(order, "eager", reason="nothing is worth a swap")
    elif behaviour == "refuses":
        why = "top-1 agreement: 90 %, at least 99.5 %"
        finish(order, "", int8=why, reason=f"no form in int8: {INT8}: {why}")
    elif behaviour == "waits":
        tell(state="trying", candidate=WINNER)
        while not path.with_suffix(".go").exists():
            time.sleep(0.01)
        finish(order, WINNER)
    elif behaviour == "damages":
        (finish(order, WINNER).path / RESULT).write_bytes(b'{"sha256": "", ')
    elif behaviour == "hangs":
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            note(path, child.pid)
            time.sleep(600)
    elif behaviour == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == "eats memory":
        limit = order.terms.trial_memory_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            bytearray(limit)
        except MemoryError:
            tell(state="failed", text=f"more memory than {order.terms.trial_memory_mb} MB (trial_memory_mb)")
            return 1
    elif behaviour == "prints nonsense":
        os.write(1, b"\xff\0{}\n[1]\n" + b'{"state": 1, "candidate": {}}\n{"state": "failed"' + b"x" * 70_000 + b"\n")
        return 7
    elif behaviour == "floods":
        while True:
            os.write(1, b"y\n" * 4096)
    elif behaviour == "gives a reason":
        tell(state="failed", text="no luck\nat all")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--order", type=int, required=True)
    parser.add_argument("--factory", type=int)
    parser.add_argument("--parent", type=int)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    path = Path(os.environ[VARIABLE])
    note(path, os.getpid())
    return behave(path.read_text(), path, TrialOrder.from_bytes(read_memfd(given.order)))


if __name__ == "__main__":
    sys.exit(main())
