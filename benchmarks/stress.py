"""A million hand-overs between processes that are killed at random: `python -m benchmarks.stress [--handovers N]`.

Ends with status 1 and the seed if an answer was wrong, lost or doubled, or if somebody waited on the dead.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.stress.arena import Arena, Plan
from tests.support.leaks import LeakGuard


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handovers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30))
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--consumers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--kill-every-s", type=float, default=1.0)
    parser.add_argument("--slow-share", type=float, default=0.02, help="of the batches that take up to 4 ms")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    guard = LeakGuard.now()
    outcome = Arena(Plan(**vars(options))).run()
    outcome.wrong += [f"left behind: {leak}" for leak in guard.leaked()]
    for name, value in vars(outcome).items():
        print(f"{name:20} {value}")
    print(f"{'handovers_per_s':20} {outcome.answered / outcome.duration_s:.0f}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
